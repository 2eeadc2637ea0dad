"""Runs at other places: what is taken in, what is not, and nothing twice or lost."""

import errno
import itertools
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import placed_runs
import pytest
import sqlalchemy as sa
from placed_runs import PLACE, FeignedSlurm, results

from dexter.errors import InputError
from dexter_tui.jobs import control
from dexter_tui.jobs.placement import engine, ingester, keeper, places
from dexter_tui.jobs.placement.attempt_recorder import AttemptRecorder
from dexter_tui.jobs.placement.files import Ask, RunFolder
from dexter_tui.jobs.placement.ingester import Ingester, Quarantined
from dexter_tui.jobs.placement.keeper import Keeper
from dexter_tui.jobs.placement.slurm import Slurm
from store import State, Store, run_queue
from store.clock import now
from store.journal.run_journal import Interruption, Journal
from store.placed import attempts
from store.states import Outcome
from store.tables import Run
from store.upkeep import rebuilding


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeignedSlurm:
    feigned = FeignedSlurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", feigned.path)
    monkeypatch.setattr(keeper, "LIST_SECONDS", 0.0)
    monkeypatch.setattr(engine, "COMMAND_SECONDS", 600.0)  # on a busy machine, too
    monkeypatch.setattr(keeper, "RETRY_SECONDS", (0.0, 0.0, 0.0))
    return feigned


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    with Store.open(home) as store:
        yield store


@pytest.fixture
def make(store: Store, tmp_path: Path) -> Callable[[], Keeper]:
    """Make keepers of one place, each as if the one before was killed."""

    def make() -> Keeper:
        for name in list(store._locks):
            run_queue.release(store, name)
        place = places.Place(name=PLACE, kind="slurm", folder=tmp_path / "shared", partition="p")
        return Keeper(store, place, Slurm(place))

    return make


def order_of(tmp_path: Path, run_id: str) -> RunFolder:
    return RunFolder(tmp_path / "shared", run_id)


def listed(run_id: str, attempt: int = 1, state: str = "RUNNING", reason: str = "None") -> str:
    return f"7|dexter-{run_id}-{attempt}|{state}|{reason}\n"


def note(store: Store) -> str | None:
    [row] = [row for row in run_queue.slots(store) if row.name == control.keeper_slot(PLACE)]
    return row.note


def states(store: Store, run_id: str) -> object:
    """Return all about a run but signs of life."""
    run = store.run(run_id).model_dump(exclude={"heartbeat_at", "promise", "study"})
    return run, [one.model_dump() for one in attempts.attempts_of(store, run_id)]


# The ingester


def begin(store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm) -> Run:
    """Queue a run and have it submitted."""
    run_id = placed_runs.new_run(store)
    make().tick()
    slurm.say("squeue", listed(run_id))
    return store.run(run_id)


def test_a_run_elsewhere_gives_the_same_rows_as_one_here(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm
) -> None:
    local = placed_runs.local_run(store)
    run = begin(store, tmp_path, make, slurm)
    assert (run.state, run.attempt, run.place) == (State.STARTING, 1, PLACE)
    assert "--no-requeue" in slurm.calls("sbatch")[0]
    assert f"--job-name=dexter-{run.id}-1" in slurm.calls("sbatch")[0]
    folder = order_of(tmp_path, run.id)
    order = folder.order()
    assert order is not None
    placed_runs.write_attempt(folder, order)
    make().tick()
    assert results(store, run.id) == results(store, local)
    [attempt] = attempts.attempts_of(store, run.id)
    assert (attempt.outcome, attempt.handle, attempt.quarantined) == (Outcome.FINISHED, "7", 0)
    entries = Journal(store.home / "runs" / run.id).read()
    assert [entry["n"] for entry in entries] == list(range(len(entries)))
    assert {entry["attempt"] for entry in entries[1:]} == {1}
    assert not control.ensure_runners(store)  # nothing is left to do, here or there


def test_times_are_those_of_the_clock_beside_the_store(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    before = now()
    runs = []
    for hours in (-1, 1):
        run = begin(store, tmp_path, make, slurm)
        order = order_of(tmp_path, run.id).order()
        assert order is not None
        skew = tmp_path / "skew"
        skew.write_text(str(hours * 3600))
        monkeypatch.setenv("DEXTER_CLOCK_SKEW", str(skew))
        placed_runs.write_attempt(order_of(tmp_path, run.id), order)
        monkeypatch.delenv("DEXTER_CLOCK_SKEW")
        make().tick()
        runs.append(store.run(run.id))
    for run in runs:
        assert run.state is State.SUCCEEDED
        assert run.started_at is not None and run.ended_at is not None
        assert before <= run.started_at <= run.ended_at <= now()
        assert all(before <= frame.created_at <= now() for frame in store.frames(run.id))


def _take_until_killed(home: Path, run_id: str, folder: RunFolder, point: int) -> None:
    """Take what there is in a process of its own, which is killed at its `point`-th write."""
    left = [point]

    def reached() -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    write, fsync, replace = os.write, os.fsync, Path.replace

    def half_write(descriptor: int, data: bytes) -> int:
        reached()
        done = write(descriptor, data[: len(data) // 2])
        reached()
        return done + write(descriptor, data[len(data) // 2 :])

    def watched_fsync(descriptor: int) -> None:
        reached()
        fsync(descriptor)

    def watched_replace(self: Path, target: Path) -> Path:
        reached()
        return replace(self, target)

    with pytest.MonkeyPatch.context() as patch, Store.open(home) as store:
        patch.setattr(os, "write", half_write)
        patch.setattr(os, "fsync", watched_fsync)
        patch.setattr(Path, "replace", watched_replace)
        for engine_ in (store._writer, store._durable):
            sa.event.listen(engine_, "after_cursor_execute", lambda *_: reached())
            sa.event.listen(engine_, "commit", lambda *_: reached())
        assert attempts.adopt(store, run_id)
        order = folder.order()
        assert order is not None
        Ingester(
            store, store.run(run_id), folder.attempt(1), order.first_entry, order.log_from
        ).take()


@pytest.mark.long
def test_an_ingester_killed_anywhere_takes_everything_once(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm
) -> None:
    local = placed_runs.local_run(store, 160)
    run = begin(store, tmp_path, make, slurm)
    folder = order_of(tmp_path, run.id)
    order = folder.order()
    assert order is not None
    placed_runs.write_attempt(folder, order, 160)
    journal = folder.attempt(1).journal
    whole = journal.read_bytes()
    run_queue.release(store, run.id)
    rng = random.Random(26)
    killed = 0
    cuts = sorted(rng.randrange(len(whole)) for _ in range(90))  # mostly within a line
    while killed < 50:
        cut = cuts.pop(0)
        journal.write_bytes(whole[:cut])
        child = os.fork()
        if child == 0:
            try:
                _take_until_killed(store.home, run.id, folder, rng.randrange(4, 28))
            finally:
                os._exit(3)
        killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    journal.write_bytes(whole)
    assert attempts.adopt(store, run.id)
    for _ in range(2):  # the second finds nothing new
        taking = Ingester(store, run, folder.attempt(1), order.first_entry, order.log_from)
        taking.take()
        assert taking.ended
        assert results(store, run.id) == results(store, local)
    entries = Journal(store.home / "runs" / run.id).read()
    assert [entry["n"] for entry in entries] == list(range(len(entries)))
    assert len(entries) == 1 + whole.count(b"\n")


def test_duplicated_lines_and_those_of_another_attempt_change_nothing(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm
) -> None:
    local = placed_runs.local_run(store)
    run = begin(store, tmp_path, make, slurm)
    folder = order_of(tmp_path, run.id)
    order = folder.order()
    assert order is not None
    placed_runs.write_attempt(folder, order)
    journal = folder.attempt(1).journal
    mixed = []
    for line in list(placed_runs.lines(folder, 1)):
        other = json.loads(line) | {"attempt": 4}
        mixed += [line, line, json.dumps(other).encode() + b"\n"]
    fragment = b"".join(mixed[3:9])
    journal.write_bytes(b"".join(mixed[:12]) + fragment + b"".join(mixed[12:]))
    make().tick()
    assert results(store, run.id) == results(store, local)
    [attempt] = attempts.attempts_of(store, run.id)
    assert attempt.outcome is Outcome.FINISHED
    assert attempt.quarantined == len(mixed) // 3 + 2


def test_a_torn_last_line_is_not_taken_and_the_next_attempt_replaces_it(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    local = placed_runs.local_run(store)
    run = begin(store, tmp_path, make, slurm)
    folder = order_of(tmp_path, run.id)
    order = folder.order()
    assert order is not None
    placed_runs.write_attempt(folder, order, upto=10, end=False)
    journal = folder.attempt(1).journal
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-20])
    keeping = make()
    keeping.tick()
    assert store.run(run.id).journal_entries == whole.count(b"\n") - 1
    slurm.say("squeue", "")
    monkeypatch.setattr(keeper, "PROMISE", 0.0)
    keeping.tick()
    assert attempts.attempts_of(store, run.id)[0].outcome is Outcome.GONE
    keeping.tick()
    journal.write_bytes(whole)  # it comes too late
    monkeypatch.setattr(keeper, "PROMISE", 60.0)
    slurm.say("squeue", listed(run.id, 2))
    second = folder.order()
    assert second is not None
    placed_runs.write_attempt(folder, second)
    keeping.tick()
    assert [one.quarantined for one in attempts.attempts_of(store, run.id)] == [1, 0]
    assert results(store, run.id) == results(store, local)


def test_a_torn_line_before_others_is_waited_for_and_then_given_up(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = begin(store, tmp_path, make, slurm)
    folder = order_of(tmp_path, run.id)
    order = folder.order()
    assert order is not None
    placed_runs.write_attempt(folder, order)
    found = list(placed_runs.lines(folder, 1))
    found[4] = found[4][:30] + b"\n"
    folder.attempt(1).journal.write_bytes(b"".join(found))
    keeping = make()
    keeping.tick()
    assert store.run(run.id).journal_entries == order.first_entry + 3
    monkeypatch.setattr(ingester, "PROMISE", 0.0)
    keeping.tick()
    assert "quarantined: its journal lacks a line" in (store.run(run.id).error or "")
    assert store.run(run.id).state is State.QUEUED


def test_what_a_full_disk_cut_off_is_written_again_as_it_was(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Lines before the cut may have been taken when the worker writes again."""
    local = placed_runs.local_run(store)
    run = begin(store, tmp_path, make, slurm)
    folder = order_of(tmp_path, run.id)
    order = folder.order()
    assert order is not None
    assert folder.attempt(1).claim()
    recorder = AttemptRecorder(folder.attempt(1), order)
    keeping = make()
    keeping.tick()
    write, missing = os.write, itertools.cycle([10, 0])  # bytes

    def cut(descriptor: int, data: bytes) -> int:
        write(descriptor, data[: len(data) - next(missing)])
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(number: int) -> None:
        if number % 4 == 0:
            assert recorder.flush(30.0)
            return
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "write", cut)
            assert not recorder.flush(30.0)
        keeping.tick()

    placed_runs.record(recorder, flush=flush)
    keeping.tick()
    assert attempts.attempts_of(store, run.id)[0].outcome is Outcome.FINISHED
    assert results(store, run.id) == results(store, local)


@pytest.mark.parametrize("damage", ["two", "version", "kind", "state", "value", "columns"])
def test_a_journal_that_cannot_be_believed_is_quarantined(
    damage: str, store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm
) -> None:
    run = begin(store, tmp_path, make, slurm)
    folder = order_of(tmp_path, run.id)
    order = folder.order()
    assert order is not None
    placed_runs.write_attempt(folder, order, end=False)
    found = [json.loads(line) for line in placed_runs.lines(folder, 1)]
    if damage == "two":
        found.insert(4, found[3] | {"at": "another"})
    elif damage == "version":
        found[0]["version"] = 99
    elif damage == "kind":
        found[3] = {**found[3], "kind": "rows"}
    elif damage == "state":
        found[1]["to"] = "lost"
    elif damage == "value":
        next(one for one in found if one["kind"] == "steps")["rows"][0]["step"] = -1
    else:
        found[2]["fields"]["place"] = "here"
    text = "".join(json.dumps(one) + "\n" for one in found)
    folder.attempt(1).journal.write_text(text)
    make().tick()
    run = store.run(run.id)
    assert run.state is State.QUEUED and run.error is not None
    assert "quarantined: its journal" in run.error or "quarantined: entry" in run.error
    [attempt] = attempts.attempts_of(store, run.id)
    assert attempt.outcome is Outcome.QUARANTINED and attempt.quarantined > 0


def test_a_picture_is_taken_when_it_is_whole(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = begin(store, tmp_path, make, slurm)
    folder = order_of(tmp_path, run.id)
    order = folder.order()
    assert order is not None
    placed_runs.write_attempt(folder, order, end=False)
    pictures = sorted((folder.attempt(1).path / "artifacts").iterdir())
    data = {path: path.read_bytes() for path in pictures}
    for path in pictures:
        path.write_bytes(data[path][:-10])
    keeping = make()
    keeping.tick()
    assert store.run(run.id).steps_done == 5 or store.run(run.id).steps_done == 4
    assert not store.frames(run.id)
    for path in pictures:
        path.write_bytes(data[path])
    keeping.tick()
    assert len(store.frames(run.id)) == 4 and store.run(run.id).steps_done == 20
    assert all(store.read_artifact(frame.sha256) for frame in store.frames(run.id))


def test_what_is_missing_for_long_is_given_up(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = begin(store, tmp_path, make, slurm)
    folder = order_of(tmp_path, run.id)
    order = folder.order()
    assert order is not None
    placed_runs.write_attempt(folder, order, end=False)
    kept = list(placed_runs.lines(folder, 1))
    folder.attempt(1).journal.write_bytes(b"".join(kept[:3] + kept[4:]))
    make()
    assert attempts.adopt(store, run.id)
    taking = Ingester(store, run, folder.attempt(1), order.first_entry, order.log_from)
    taking.take()
    assert store.run(run.id).journal_entries == order.first_entry + 2
    monkeypatch.setattr(ingester, "PROMISE", 0.0)
    with pytest.raises(Quarantined, match=f"lacks entry {order.first_entry + 3}"):
        taking.take()


# Fencing


def test_only_the_current_attempt_is_taken(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    local = placed_runs.local_run(store)
    run = begin(store, tmp_path, make, slurm)
    folder = order_of(tmp_path, run.id)
    first = folder.order()
    assert first is not None
    placed_runs.write_attempt(folder, first, upto=10, end=False)
    (folder.attempt(1).path / "checkpoint.pt").write_bytes(b"the state behind step 10")
    make().tick()
    # Gone from the queue: it may be alive, until it gave no sign for as long as it promised.
    slurm.say("squeue", "")
    slurm.say("scontrol", "JobState=NODE_FAIL Reason=NodeDown ExitCode=0:1")
    keeping = make()
    for _ in range(3):
        keeping.tick()
    assert store.run(run.id).state is State.RUNNING
    monkeypatch.setattr(keeper, "PROMISE", 0.0)
    keeping.tick()
    assert attempts.attempts_of(store, run.id)[0].outcome is Outcome.GONE
    # The old worker goes on; the next attempt has its checkpoint and what was taken.
    make().tick()
    second = folder.order()
    assert second is not None
    assert (second.attempt, second.steps) == (2, 10)
    assert (folder.attempt(2).path / "checkpoint.pt").exists()
    late = json.loads(list(placed_runs.lines(folder, 1))[-1])
    with folder.attempt(1).journal.open("a") as journal:
        for number in range(1, 4):
            journal.write(json.dumps({**late, "n": late["n"] + number}) + "\n")
    monkeypatch.setattr(keeper, "PROMISE", 60.0)
    slurm.say("squeue", listed(run.id, 2))
    placed_runs.write_attempt(folder, second)
    make().tick()
    assert store.run(run.id).state is State.SUCCEEDED
    assert [one.quarantined for one in attempts.attempts_of(store, run.id)] == [3, 0]
    assert [one.step for one in store.steps(run.id)] == list(range(1, 21))
    assert results(store, run.id) == results(store, local)


def test_a_keeper_leaves_the_runs_of_a_store_that_was_rebuilt_under_it(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm
) -> None:
    run = begin(store, tmp_path, make, slurm)
    order = order_of(tmp_path, run.id).order()
    assert order is not None
    placed_runs.write_attempt(order_of(tmp_path, run.id), order, upto=10, end=False)
    keeping = make()
    keeping.tick()
    store.path.unlink()
    assert rebuilding.rebuild(store.home).paused == [run.id]
    assert not keeping.tick()  # nothing is left to keep
    assert control.resume(store, run.id).attempt == 1
    keeping.tick()
    assert store.run(run.id).attempt == 2


# Intent and receipt


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("received", [True, False])
def test_a_keeper_killed_between_intent_and_receipt(
    received: bool, store: Store, tmp_path: Path, make: Callable[[], Keeper],
    slurm: FeignedSlurm, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run_id = placed_runs.new_run(store)
    keeping = make()

    def killed(*arguments: object) -> str:
        if received:
            Slurm.submit(keeping.engine, *arguments)  # type: ignore[arg-type]
        raise Killed

    monkeypatch.setattr(keeping.engine, "submit", killed)
    with pytest.raises(Killed):
        keeping.tick()
    [attempt] = attempts.attempts_of(store, run_id)
    assert attempt.handle is None and attempt.first_entry == 1
    if received:
        slurm.say("squeue", listed(run_id, state="PENDING", reason="Priority"))
    slurm.say("squeue", "slurm_load_jobs error", code=1) if not received else None
    if not received:  # nothing is submitted again before the look-up
        make().tick()
        assert not slurm.calls("sbatch")
        assert "squeue" in (note(store) or "")
        slurm.say("squeue", "")
    make().tick()
    assert len(slurm.calls("sbatch")) == 1
    [attempt] = attempts.attempts_of(store, run_id)
    assert (attempt.attempt, attempt.handle) == (1, "7")
    assert store.run(run_id).state is State.STARTING
    if received:
        assert attempt.seen == "pending (Priority), job 7"
    # A job that began and is gone from the list was received, too.
    attempts.update(store, attempt, handle=None)
    assert order_of(tmp_path, run_id).attempt(1).claim()
    slurm.say("squeue", "")
    make().tick()
    assert len(slurm.calls("sbatch")) == 1


def test_a_place_that_refuses_fails_the_run_with_its_line(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm
) -> None:
    run_id = placed_runs.new_run(store)
    slurm.say("sbatch", "", code=1)
    keeping = make()
    for _ in range(4):
        assert store.run(run_id).state in (State.QUEUED, State.STARTING)
        keeping.tick()
    run = store.run(run_id)
    assert run.state is State.FAILED and "not accepted at farm: sbatch" in (run.error or "")
    assert len(slurm.calls("sbatch")) == 4
    assert order_of(tmp_path, run_id).attempt(1).is_claimed()  # no worker can begin it
    control.retry(store, run_id)
    slurm.say("sbatch", "8")
    make().tick()
    assert [one.handle for one in attempts.attempts_of(store, run_id)] == [None, "8"]


# What the place says


@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        ("missing", "squeue: No such file or directory"),
        ("hanging", "squeue gave no answer in 0 s"),
        ("failing", "squeue: exit code 1"),
        ("garbage", "squeue printed '<html>', not ID|NAME|STATE|REASON"),
        ("columns", "squeue printed '7 test R 0:01', not ID|NAME|STATE|REASON"),
        ("header", "squeue printed 'JOBID|NAME|STATE|REASON', not ID|NAME|STATE|REASON"),
    ],
)
def test_without_an_answer_states_stay_and_a_line_says_so(
    trouble: str, line: str, store: Store, tmp_path: Path, make: Callable[[], Keeper],
    slurm: FeignedSlurm, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = begin(store, tmp_path, make, slurm)
    keeping = make()
    keeping.tick()
    assert note(store) is None
    monkeypatch.setattr(keeper, "PROMISE", 0.0)
    match trouble:
        case "missing":
            slurm.lose("squeue")
        case "hanging":
            slurm.say("squeue", "", hang=True)
            monkeypatch.setattr(engine, "COMMAND_SECONDS", 0.3)
        case "failing":
            slurm.say("squeue", "", code=1)
        case "garbage":
            slurm.say("squeue", "<html>\n")
        case "columns":
            slurm.say("squeue", f"7 test R 0:01\n{listed(run.id)}")
        case "header":
            slurm.say("squeue", f"JOBID|NAME|STATE|REASON\n{listed(run.id)}")
    placed_runs.new_run(store, 1)
    before = states(store, run.id)
    keeping.tick()
    assert (note(store) or "").startswith(f"{line}; states as of ")
    assert states(store, run.id) == before
    keeping.tick()
    assert len(slurm.calls("sbatch")) == 1  # what waits is not submitted without a look-up
    monkeypatch.setattr(engine, "COMMAND_SECONDS", 600.0)
    slurm.say("squeue", listed(run.id))
    keeping.tick()
    assert note(store) is None


def test_a_state_of_a_newer_slurm_is_one_of_a_job_that_is_there(slurm: FeignedSlurm) -> None:
    slurm.say("squeue", listed("raaaaaa", state="POWER_UP_NODE") + "9_3|array|PENDING|None\n")
    place = places.Place(name=PLACE, kind="slurm", folder=Path("/nowhere"))
    [(name, job)] = Slurm(place).jobs().items()
    assert (name, job.line) == ("dexter-raaaaaa-1", "power_up_node, job 7")


@pytest.mark.parametrize(
    ("answer", "state", "outcome"),
    [
        ("JobState=CANCELLED Reason=None ExitCode=0:15", State.CANCELLED, Outcome.CANCELLED),
        ("JobState=TIMEOUT Reason=TimeLimit ExitCode=0:15", State.QUEUED, Outcome.PREEMPTED),
        ("JobState=FAILED Reason=NonZeroExit ExitCode=127:0", State.QUEUED, Outcome.GONE),
        ("nothing known", State.QUEUED, Outcome.GONE),
    ],
)
def test_an_end_at_the_place_is_shown_as_what_it_is(
    answer: str, state: State, outcome: Outcome, store: Store, tmp_path: Path,
    make: Callable[[], Keeper], slurm: FeignedSlurm, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = begin(store, tmp_path, make, slurm)
    folder = order_of(tmp_path, run.id)
    order = folder.order()
    assert order is not None
    placed_runs.write_attempt(folder, order, upto=10, end=False)
    make().tick()
    slurm.say("squeue", "")
    slurm.say("scontrol", answer)
    monkeypatch.setattr(keeper, "PROMISE", 0.0)
    make().tick()
    run = store.run(run.id)
    assert run.state is state
    assert attempts.attempts_of(store, run.id)[0].outcome is outcome
    assert run.fruitless == 0  # it got further


def test_a_time_limit_is_a_preemption_and_no_failure(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm
) -> None:
    run = begin(store, tmp_path, make, slurm)
    folder = order_of(tmp_path, run.id)
    order = folder.order()
    assert order is not None
    attempt = folder.attempt(1)
    assert attempt.claim()
    recorder = AttemptRecorder(attempt, order)
    placed_runs.record(recorder, 10, end=False)
    recorder.stopped(Interruption.TIME_LIMIT)
    assert recorder.flush(30.0)
    keeping = make()
    keeping.tick()
    run = store.run(run.id)
    assert (run.state, run.fruitless) == (State.QUEUED, 0)
    assert run.error == ("attempt 1: preempted: its time limit was near at step 10; queued again")
    assert attempts.attempts_of(store, run.id)[0].outcome is Outcome.PREEMPTED
    keeping.tick()
    assert store.run(run.id).attempt == 2


@pytest.mark.parametrize(
    ("act", "asked", "state"),
    [(control.pause, Ask.PAUSE, State.PAUSED), (control.cancel, Ask.CANCEL, State.CANCELLED)],
)
def test_a_request_reaches_a_worker_and_ends_a_pending_job(
    act: Callable[[Store, str], object], asked: Ask, state: State, store: Store, tmp_path: Path,
    make: Callable[[], Keeper], slurm: FeignedSlurm,
) -> None:  # fmt: skip
    run = begin(store, tmp_path, make, slurm)
    slurm.say("squeue", listed(run.id, state="PENDING", reason="JobHeldUser"))
    make().tick()
    [attempt] = attempts.attempts_of(store, run.id)
    assert attempt.seen == "pending (JobHeldUser), job 7"
    assert run_queue.activities(store)[run.id] == "farm: pending (JobHeldUser), job 7"
    act(store, run.id)
    make().tick()
    order = order_of(tmp_path, run.id).order()
    assert order is not None and order.ask is asked
    assert slurm.calls("scancel") == ["--state=PENDING 7", "--batch --signal=USR1 7"]
    slurm.say("squeue", "")
    slurm.say("scontrol", "JobState=CANCELLED ExitCode=0:0")
    keeping = make()
    keeping.tick()
    keeping.tick()
    assert store.run(run.id).state is state
    assert attempts.attempts_of(store, run.id)[0].outcome is Outcome.WITHDRAWN


def test_runs_elsewhere_are_left_to_their_keeper(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm
) -> None:
    run_id = placed_runs.new_run(store)
    assert [work.id for work in run_queue.queue(store)] == [run_id]
    assert run_queue.queue(store, devices={"auto", "cpu"}) == []
    assert run_queue.claim(store, devices={"auto", "cpu"}, slot="cpu-0") is None
    make().tick()
    make()  # it is killed: no process of this machine has the run's lock
    assert not run_queue.is_alive(store, run_id)
    assert run_queue.reconcile(store) == []
    assert store.run(run_id).state is State.STARTING
    assert control.kill(store, run_id).state is State.CANCELLING


def test_places_that_cannot_be_used_are_refused(home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text(
        '[places.good]\nkind = "slurm"\nfolder = "/shared"\n'
        '[places.bad]\nkind = "slurm"\nfolder = "/shared"\npartitoin = "gpu"\n'
        '[places.box]\nkind = "slurm"\nfolder = "dexter"\n'
        '[places.odd]\nkind = "slrum"\nfolder = "/shared"\n'
    )
    assert places.place("good").limit == 20
    with pytest.raises(InputError, match="choose from good, bad, box, odd"):
        places.place("other")
    with pytest.raises(InputError, match=r"\[places.bad\]: partitoin: Extra inputs"):
        places.place("bad")
    with pytest.raises(InputError, match=r"\[places.box\]: folder must be a full path"):
        places.place("box")
    with pytest.raises(InputError, match=r"\[places.odd\]: kind 'slrum' is unknown.*ray, ssh"):
        places.place("odd")


# Commands that fail


def spoil(slurm: FeignedSlurm, name: str, trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a command fail in one way."""
    match trouble:
        case "missing":
            slurm.lose(name)
        case "hanging":
            slurm.say(name, "", hang=True)
            monkeypatch.setattr(engine, "COMMAND_SECONDS", 0.3)
        case "failing":
            slurm.say(name, "", code=1)
        case "garbage":
            slurm.say(name, "<html>")
        case "columns":
            slurm.say(name, "JOBID STATE\n7 CD")


@pytest.mark.parametrize("trouble", ["missing", "hanging", "failing", "garbage", "columns"])
def test_a_submission_without_an_answer_is_looked_up_and_tried_again(
    trouble: str, store: Store, make: Callable[[], Keeper], slurm: FeignedSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run_id = placed_runs.new_run(store)
    keeping = make()
    spoil(slurm, "sbatch", trouble, monkeypatch)
    keeping.tick()
    assert (note(store) or "").startswith("sbatch")
    assert store.run(run_id).state is State.STARTING
    assert attempts.attempts_of(store, run_id)[0].handle is None
    monkeypatch.setattr(engine, "COMMAND_SECONDS", 600.0)
    slurm.say("sbatch", "7")
    slurm.say("squeue", listed(run_id) if trouble == "hanging" else "")
    calls = len(slurm.calls("sbatch"))
    keeping.tick()
    assert attempts.attempts_of(store, run_id)[0].handle == "7"
    assert len(slurm.calls("sbatch")) == calls + (trouble != "hanging")


@pytest.mark.parametrize("trouble", ["missing", "hanging", "failing", "garbage", "columns"])
def test_an_end_is_not_decided_while_it_cannot_be_asked_for(
    trouble: str, store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = begin(store, tmp_path, make, slurm)
    keeping = make()
    keeping.tick()
    slurm.say("squeue", "")
    spoil(slurm, "scontrol", trouble, monkeypatch)
    before = states(store, run.id)
    keeping.tick()
    assert (note(store) or "").startswith(f"run {run.id}: scontrol")
    assert states(store, run.id) == before
    monkeypatch.setattr(engine, "COMMAND_SECONDS", 600.0)
    slurm.say("scontrol", "JobState=CANCELLED ExitCode=0:15")
    keeping.tick()
    assert attempts.attempts_of(store, run.id)[0].outcome is Outcome.CANCELLED


@pytest.mark.parametrize("trouble", ["missing", "hanging", "failing"])
def test_a_request_is_repeated_until_it_is_passed_on(
    trouble: str, store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = begin(store, tmp_path, make, slurm)
    control.pause(store, run.id)
    spoil(slurm, "scancel", trouble, monkeypatch)
    keeping = make()
    keeping.tick()
    assert (note(store) or "").startswith(f"run {run.id}: scancel")
    assert store.run(run.id).state is State.PAUSING
    monkeypatch.setattr(engine, "COMMAND_SECONDS", 600.0)
    slurm.say("scancel", "")
    make().tick()  # also by the next keeper
    assert slurm.calls("scancel")[-1] == "--batch --signal=USR1 7"
    assert note(store) is None


# Folders that are away


def test_nothing_is_decided_while_the_folder_is_away(
    store: Store, tmp_path: Path, make: Callable[[], Keeper], slurm: FeignedSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    local = placed_runs.local_run(store)
    run = begin(store, tmp_path, make, slurm)
    folder = order_of(tmp_path, run.id)
    order = folder.order()
    assert order is not None
    attempt = folder.attempt(1)
    assert attempt.claim()
    recorder = AttemptRecorder(attempt, order)
    keeping = make()
    keeping.tick()
    waiting = placed_runs.new_run(store, 1)
    slurm.say("squeue", "")
    shared, away = tmp_path / "shared", tmp_path / "away"

    def flush(number: int) -> None:
        if number == 10:
            shared.rename(away)
            shared.mkdir()
        if not 10 <= number < 16:
            assert recorder.flush(30.0)
            return
        assert not recorder.flush(30.0)
        monkeypatch.setattr(keeper, "PROMISE", 0.0)
        before = states(store, run.id)
        make().tick()
        keeping.tick()
        assert states(store, run.id) == before
        assert "is not there: runs wait" in (note(store) or "")
        assert store.run(waiting).state is State.QUEUED
        assert list(shared.iterdir()) == []
        monkeypatch.setattr(keeper, "PROMISE", 60.0)
        if number == 14:
            shared.rmdir()
            away.rename(shared)

    placed_runs.record(recorder, flush=flush)
    make().tick()
    assert attempts.attempts_of(store, run.id)[0].outcome is Outcome.FINISHED
    assert results(store, run.id) == results(store, local)


# Several runs in one job


@pytest.fixture
def pack(
    store: Store, tmp_path: Path, slurm: FeignedSlurm, make: Callable[[], Keeper]
) -> tuple[Callable[[], Keeper], list[str]]:
    """Three runs for a place whose jobs do three each, and what makes its keepers."""

    def make_packing() -> Keeper:
        keeping = make()
        keeping.place = keeping.place.model_copy(update={"pack": 3, "limit": 4})
        return keeping

    return make_packing, [placed_runs.new_run(store, seed) for seed in range(5)]


def test_a_job_does_several_runs(
    store: Store, tmp_path: Path, slurm: FeignedSlurm,
    pack: tuple[Callable[[], Keeper], list[str]],
) -> None:  # fmt: skip
    make, runs = pack
    keeping = make()
    keeping.tick()
    [first, second] = slurm.calls("sbatch")
    assert f"--job-name=dexter-{runs[0]}-1" in first and f"--job-name=dexter-{runs[3]}-1" in second
    assert order_of(tmp_path, runs[0]).attempt(1).pack() == [(runs[1], 1), (runs[2], 1)]
    assert order_of(tmp_path, runs[3]).attempt(1).pack() == []
    assert store.run(runs[4]).state is State.QUEUED
    slurm.say("squeue", listed(runs[0]) + listed(runs[3]).replace("7", "8", 1))
    for run_id in runs[:2]:
        order = order_of(tmp_path, run_id).order()
        assert order is not None
        placed_runs.write_attempt(order_of(tmp_path, run_id), order)
    keeping.tick()
    assert [store.run(run_id).state for run_id in runs[:2]] == [State.SUCCEEDED] * 2
    assert store.run(runs[4]).state is State.QUEUED  # until there is room for three
    [third] = attempts.attempts_of(store, runs[2])
    assert (third.handle, third.seen) == ("7", "waits for its turn (running, job 7)")
    # A run leaves its job without a signal to the one that the job does now.
    control.pause(store, runs[2])
    keeping.tick()
    assert store.run(runs[2]).state is State.PAUSED
    assert not slurm.calls("scancel")
    assert not order_of(tmp_path, runs[2]).attempt(1).claim()  # its worker cannot begin it


@pytest.mark.parametrize("begun", [True, False])
def test_runs_whose_job_ended_before_their_turn_are_queued_again(
    begun: bool, store: Store, tmp_path: Path, slurm: FeignedSlurm,
    pack: tuple[Callable[[], Keeper], list[str]], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    make, runs = pack
    make().tick()
    slurm.say("squeue", "")
    slurm.say("scontrol", "JobState=FAILED ExitCode=1:0")
    if begun:
        order = order_of(tmp_path, runs[0]).order()
        assert order is not None
        placed_runs.write_attempt(order_of(tmp_path, runs[0]), order, end=False)
        monkeypatch.setattr(keeper, "PROMISE", 0.0)
        make().tick()
    make().tick()
    ends = [attempts.attempts_of(store, run_id)[0].outcome for run_id in runs[:3]]
    assert ends == [Outcome.GONE, Outcome.WITHDRAWN, Outcome.WITHDRAWN]
    # Only the run with which a job failed to begin counts that as an attempt in vain.
    assert [store.run(run_id).fruitless for run_id in runs[:3]] == [0 if begun else 1, 0, 0]


@pytest.mark.parametrize("received", [True, False])
def test_a_keeper_killed_while_it_submits_several(
    received: bool, store: Store, tmp_path: Path, slurm: FeignedSlurm,
    pack: tuple[Callable[[], Keeper], list[str]], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    make, runs = pack
    keeping = make()

    def killed(*arguments: object) -> str:
        raise Killed

    monkeypatch.setattr(keeping.engine, "submit", killed)
    with pytest.raises(Killed):
        keeping.tick()
    if received:
        slurm.say("squeue", listed(runs[0]))
    make().tick()
    names = [call.split("--job-name=")[1].split()[0] for call in slurm.calls("sbatch")]
    assert names.count(f"dexter-{runs[0]}-1") == (not received)
    assert {attempts.attempts_of(store, run_id)[0].handle for run_id in runs[:3]} == {"7"}
    assert [len(attempts.attempts_of(store, run_id)) for run_id in runs[:4]] == [1] * 4


def test_a_refused_pack_fails_all_of_its_runs(
    store: Store, slurm: FeignedSlurm, pack: tuple[Callable[[], Keeper], list[str]]
) -> None:
    make, runs = pack
    slurm.say("sbatch", "", code=1)
    keeping = make()
    for _ in range(4):
        keeping.tick()
    assert [store.run(run_id).state for run_id in runs[:4]] == [State.FAILED] * 4
    assert len(slurm.calls("sbatch")) == 2 * 4
