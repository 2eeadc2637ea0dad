"""Runs at a box over SSH: what its program sends, what is taken of it, and bad answers.

`ssh` is a script here that runs the command on this machine; tests/cluster has a real one.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import placed_runs
import pytest
from placed_runs import PLACE
from run_results import results
from waiting import until

from dexter.errors import InputError
from dexter_tui.jobs import control
from dexter_tui.jobs.placement import box, engine, keeper, machines, places
from dexter_tui.jobs.placement.files import Ask, RunFolder
from dexter_tui.jobs.placement.keeper import Keeper
from dexter_tui.jobs.placement.wire import GREETING, MAX_FILES
from dexter_tui.machine.nvidia_smi import COMMAND, parse
from dexter_tui.paths import PACKAGED
from store import State, Store, run_queue
from store.clock import now
from store.locks import FileLock, is_locked
from store.placed import attempts
from store.states import Outcome

SSH = """#!/bin/sh
while [ "$1" != "--" ]; do shift; done
[ "$2" = me@far.example ] || exit 9
echo "Last login: never"
exec sh -c "$3"
"""


class Far:
    """The disk of a box with two GPUs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "far"
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.say(SSH)
        self._used: list[FileLock] = []

    def say(self, script: str) -> None:
        """Replace the program ssh."""
        path = self.bin / "ssh"
        path.write_text(script)
        path.chmod(0o755)

    def answer(self, code: str) -> None:
        """Have ssh be a program that greets and then does what the code says."""
        script = self.bin / "answer.py"
        script.write_text(
            f"import json, sys, time\nout = sys.stdout.buffer\n"
            f"def send(data):\n    out.write(data)\n    out.flush()\n"
            f"send({GREETING!r})\n{code}\n"
        )
        self.say(f"#!/bin/sh\nexec {sys.executable} {script}\n")

    def use_gpus(self) -> None:
        """Use both GPUs, so that jobs wait for one and no worker is started."""
        (self.folder / "locks").mkdir(parents=True, exist_ok=True)
        self._used = [FileLock(box.gpu_lock(self.folder, gpu), wait=True) for gpu in "01"]

    def free_gpus(self) -> None:
        for lock in self._used:
            lock.release()

    def run(self, run_id: str) -> RunFolder:
        return RunFolder(self.folder, run_id)

    def is_at(self, run_id: str, attempt: int = 1) -> bool:
        """Return whether an attempt has a process."""
        return is_locked(box.job_lock(self.run(run_id).attempt(attempt)))


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    far = Far(tmp_path)
    monkeypatch.setenv("PATH", f"{far.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(PACKAGED))
    monkeypatch.setattr(keeper, "LIST_SECONDS", 0.0)
    monkeypatch.setattr(keeper, "RETRY_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(engine, "COMMAND_SECONDS", 600.0)  # on a busy machine, too
    far.use_gpus()
    yield far
    far.free_gpus()


@pytest.fixture
def store(home: Path, far: Far) -> Iterator[Store]:
    home.mkdir()
    (home / "config.toml").write_text(
        f'[places.{PLACE}]\nkind = "ssh"\nhost = "me@far.example"\ngpus = [0, "1"]\n'
        f'folder = "{far.folder}"\npython = "{sys.executable}"\n'
    )
    with Store.open(home) as store:
        yield store


@pytest.fixture
def make(store: Store) -> Callable[[], Keeper]:
    """Make keepers of the place, each as if the one before was killed."""

    def make() -> Keeper:
        for name in list(store._locks):
            run_queue.release(store, name)
        place = places.place(PLACE)
        return Keeper(store, place, keeper.engine_of(store, place))

    return make


def seen(store: Store, run_id: str) -> str:
    return attempts.attempts_of(store, run_id)[-1].seen or ""


def note(store: Store) -> str:
    rows = [row for row in run_queue.slots(store) if row.name == control.keeper_slot(PLACE)]
    return (rows[0].note or "") if rows else ""


def test_what_an_attempt_writes_is_fetched_and_taken(
    store: Store, far: Far, make: Callable[[], Keeper]
) -> None:
    local = placed_runs.local_run(store)
    run_id = placed_runs.new_run(store)
    make().tick()
    [attempt] = attempts.attempts_of(store, run_id)
    assert (attempt.handle, store.run(run_id).attempt) == (f"dexter-{run_id}-1", 1)
    assert far.is_at(run_id)
    make().tick()  # which looks for the name, and starts nothing
    assert seen(store, run_id).startswith("waiting for a GPU at ")
    folder = far.run(run_id)
    order = folder.order()
    assert order is not None
    placed_runs.write_attempt(folder, order)
    (folder.attempt(1).path / "checkpoint.pt").write_bytes(b"the state behind the last step")
    make().tick()
    assert results(store, run_id) == results(store, local)
    [attempt] = attempts.attempts_of(store, run_id)
    assert (attempt.outcome, attempt.quarantined) == (Outcome.FINISHED, 0)
    assert (store.run_folder(run_id) / "checkpoint.pt").read_bytes().startswith(b"the state")
    until(lambda: not far.is_at(run_id))  # claimed by another: it does not wait for its GPU
    [machine] = machines.read(store.home)
    assert (machine.place, machine.work) == (PLACE, {"0": "other", "1": "other"})


def test_the_gpus_of_the_box_are_read_over_the_connection(
    store: Store, far: Far, make: Callable[[], Keeper]
) -> None:
    printed = Path(__file__).parents[2] / "data" / "nvidia_smi_8.csv"
    program = far.bin / "nvidia-smi"
    program.write_text(f'#!/bin/sh\n[ "$*" = "{" ".join(COMMAND[1:])}" ] && cat {printed}\n')
    program.chmod(0o755)
    placed_runs.new_run(store)
    keeping = make()
    before = now()
    keeping.tick()
    keeping.tick()  # within seconds: nvidia-smi is not asked again
    [machine] = machines.read(store.home)
    assert machine.gpus == printed.read_text() and before <= machine.at <= now()
    found = parse(machine.gpus)
    assert machine.history == {device.uuid: [one.utilisation] for device, one in found}
    assert [device.index for device, _ in found] == [*range(8)]
    program.unlink()
    make().tick()
    assert machines.read(store.home)[0].gpus is None


def test_a_long_journal_comes_in_parts(
    store: Store, far: Far, make: Callable[[], Keeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The box sends 3 kB of a journal at a time."""
    program = far.bin / "python"
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from dexter_tui.jobs.placement import box; '
        f"box.MAX_LINES = 3000; box.ENOUGH = 500; box.main(['{far.folder}'])\"\n"
    )
    program.chmod(0o755)
    config = store.home / "config.toml"
    config.write_text(config.read_text().replace(sys.executable, str(program)))
    local = placed_runs.local_run(store, 160)
    run_id = placed_runs.new_run(store)
    folder = far.run(run_id)
    keeping = make()
    monkeypatch.setattr(keeper, "PROMISE", 0.0)  # nothing but what is behind keeps it
    keeping.tick()
    order = folder.order()
    assert order is not None
    placed_runs.write_attempt(folder, order, 160)
    ticks = 0
    while attempts.attempts_of(store, run_id)[-1].outcome is None:
        keeping.tick()
        ticks += 1
        assert ticks < 500
    assert ticks > 5
    assert results(store, run_id) == results(store, local)
    assert attempts.attempts_of(store, run_id)[-1].outcome is Outcome.FINISHED


def test_links_and_pipes_there_are_not_read(
    store: Store, far: Far, make: Callable[[], Keeper], tmp_path: Path
) -> None:
    run_id = placed_runs.new_run(store)
    keeping = make()
    keeping.tick()
    secret = tmp_path / "secret"
    secret.write_text('{"n": 1}\n')
    folder = far.run(run_id).attempt(1)
    folder.journal.symlink_to(secret)
    folder.log.unlink()
    os.mkfifo(folder.log)
    (folder.path / "checkpoint.pt").symlink_to(secret)
    keeping.tick()
    mirror = RunFolder(store.home / "places" / PLACE, run_id).attempt(1)
    assert not mirror.journal.exists()
    assert not (mirror.path / "checkpoint.pt").exists()
    assert store.run(run_id).state is State.STARTING


def test_a_picture_of_another_content_is_not_taken(
    store: Store, far: Far, make: Callable[[], Keeper]
) -> None:
    run_id = placed_runs.new_run(store)
    make().tick()
    folder = far.run(run_id)
    order = folder.order()
    assert order is not None
    placed_runs.write_attempt(folder, order, end=False)
    pictures = sorted((folder.attempt(1).path / "artifacts").iterdir())
    shutil.copy(pictures[0], pictures[1])
    make().tick()
    mirror = RunFolder(store.home / "places" / PLACE, run_id).attempt(1)
    assert not mirror.artifact(pictures[1].name).exists()
    assert mirror.artifact(pictures[0].name).read_bytes() == pictures[0].read_bytes()
    assert 0 < store.run(run_id).steps_done < 20


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("raise SystemExit('No module named dexter_tui')", "No module named dexter_tui"),
        ("pass", "connection lost: closed"),
        ("sys.stdin.readline(); send(b'\\x00' * 100 + b'\\n'); time.sleep(600)", "is no message"),
        ("sys.stdin.readline(); send(b'[1]\\n'); time.sleep(600)", "is no message"),
        ("sys.stdin.readline(); send(b'x' * 2**21); time.sleep(600)", "is no message"),
        (f"sys.stdin.readline(); send(b'{{\"sizes\": [{MAX_FILES + 1}]}}\\n'); time.sleep(600)",
         "more than"),
        ("sys.stdin.readline(); send(b'{\"sizes\": [-1]}\\n'); time.sleep(600)", "more than"),
        ("sys.stdin.readline(); send(b'{\"sizes\": []}\\n'); time.sleep(600)", "is no listing"),
        ("sys.stdin.readline(); send(b'{\"sizes\": [], \"error\": \"another version\"}\\n')",
         "another version"),
        ("time.sleep(600)", "no answer in 2 s"),
    ],
)  # fmt: skip
def test_a_bad_answer_changes_no_state(
    code: str, line: str, store: Store, far: Far, make: Callable[[], Keeper],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run_id = placed_runs.new_run(store)
    make().tick()
    make().tick()
    before = store.run(run_id).model_dump(exclude={"study", "heartbeat_at"})
    attempt = attempts.attempts_of(store, run_id)[-1].model_dump()
    far.answer(code)
    if "sleep(600)" in code:
        monkeypatch.setattr(engine, "COMMAND_SECONDS", 2.0)
    keeping = make()
    keeping.tick()
    assert line in note(store) and "; states as of never" in note(store)
    assert store.run(run_id).model_dump(exclude={"study", "heartbeat_at"}) == before
    assert attempts.attempts_of(store, run_id)[-1].model_dump() == attempt
    far.say(SSH)
    monkeypatch.setattr(engine, "COMMAND_SECONDS", 600.0)
    keeping.tick()  # which may find the connection closed
    keeping.tick()
    assert note(store) == ""


def test_files_that_were_not_asked_for_are_left(
    store: Store, far: Far, make: Callable[[], Keeper]
) -> None:
    run_id = placed_runs.new_run(store)
    make().tick()
    names = ["../../../../evil", "evil", "order.json", "claim", "a" * 64, "/tmp/evil"]
    runs = [run_id, "../..", "rother777"]
    files: list[dict[str, object]] = [
        {"run": run, "attempt": 1, "name": n, "at": 0} for run in runs for n in names
    ]
    files.append({"run": run_id, "attempt": 2, "name": "journal", "at": 0})
    files.append({"run": run_id, "attempt": 1, "name": "journal", "at": 7})
    answer: dict[str, object] = {
        "host": "\x1b[31mhost",
        "jobs": [{"run": "rother777", "attempt": 1, "lives": True, "pid": 1, "claimed": True,
                  "behind": False}],
        "files": files,
        "work": {},
        "gpus": None,
        "gpus_age": 0.0,
        "sizes": [4] * len(files),
    }  # fmt: skip
    far.answer(
        f"while sys.stdin.readline():\n    send({json.dumps(answer).encode()!r} + b'\\n')\n"
        f"    send(b'evil' * {len(files)})"
    )
    root = store.home / "places"
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    make().tick()
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    changed = {path.name for path in before | after if before.get(path) != after.get(path)}
    assert changed == {"machine.json"}
    assert not (root / PLACE / "runs" / "rother777").exists()


def test_a_request_reaches_a_job_that_waits(
    store: Store, far: Far, make: Callable[[], Keeper]
) -> None:
    run_id = placed_runs.new_run(store)
    keeping = make()
    keeping.tick()
    control.pause(store, run_id)
    keeping.tick()
    order = far.run(run_id).order()
    assert order is not None and order.ask is Ask.PAUSE
    until(lambda: not far.is_at(run_id))
    keeping.tick()
    keeping.tick()
    assert store.run(run_id).state is State.PAUSED
    assert attempts.attempts_of(store, run_id)[-1].outcome is Outcome.WITHDRAWN
    assert far.run(run_id).attempt(1).is_claimed()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ('host = "-oProxyCommand=evil"', "host"),
        ("", "host: Field required"),
        ('host = "box"\ngpus = ["../x"]', "gpus.0"),
        ('host = "box"\npartition = "gpu"', "partition: Extra inputs"),
    ],
)
def test_boxes_that_cannot_be_used_are_refused(home: Path, settings: str, fault: str) -> None:
    home.mkdir()
    (home / "config.toml").write_text(f'[places.a]\nkind = "ssh"\nfolder = "/x"\n{settings}\n')
    with pytest.raises(InputError, match=rf"\[places.a\]: {fault}"):
        places.place("a")
