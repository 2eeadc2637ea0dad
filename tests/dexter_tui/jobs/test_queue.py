"""Runs that survive: real runners and workers on tiny real models, disturbed for real."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import recorded
import short_run
from gate import Gate

from dexter.config import RunConfig
from dexter_tui.jobs import control, submit, trust
from dexter_tui.jobs.launch import log_file, worker_environment
from dexter_tui.machine import devices
from store import ENDED, State, Store, StoreError, run_queue, run_records
from store.locks import FileLock, is_locked
from store.upkeep import rebuilding

STEPS = 36  # with a checkpoint at every tenth, when a worker also looks round at the latest


def config(seed: int = 0, **changes: Any) -> RunConfig:
    """A short run with tiny models."""
    values = {**short_run.settings(), "class_name": "waterbird", "steps": STEPS, **changes}
    return RunConfig.from_preset("default", seed=seed, **values)


def flags(**changes: Any) -> list[str]:
    """The same for the command line."""
    values = config(**changes).model_dump(mode="json", exclude={"preset", "seed"})
    keep = ["classifier", "class_name", "generator", "masked_lm", "device", "steps", "stop"]
    keep += ["batch", "diffusion_steps", "frames", "frame_tries", "score_images"]
    return short_run.flags({name.removesuffix("_name"): values[name] for name in keep})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for all tests of this file, with one CPU slot."""
    path = tmp_path_factory.mktemp("queue") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEXTER_HOME", str(path))
        patch.setenv(devices.CPU_SLOTS, "1")
        yield path


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """The home's store; what is still at work at the end is ended."""
    with Store.open(home) as store:
        yield store
        run_queue.reconcile(store)
        for run in store.runs(states=set(State) - ENDED):
            control.kill(store, run.id)


def until(store: Store, condition: Any, seconds: float = 600) -> Any:
    """Wait for the condition to hold, as somebody who looks on; what it gives."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        run_queue.reconcile(store)
        time.sleep(0.05)
    return answer


def ended(store: Store, run: str) -> Any:
    """The run when it has ended."""
    return until(store, lambda: (row := store.run(run)).state in ENDED and row)


def begin(store: Store, *configs: RunConfig) -> list[str]:
    run_ids = submit.enqueue(store, configs, agreed=trust.CODE)
    control.ensure_runners(store, again=True)
    return run_ids


def numbers(store: Store, run_id: str) -> list[dict[str, object]]:
    """Return the record of each step, without its time."""
    return [step.model_dump(exclude={"run_id", "seconds"}) for step in store.steps(run_id)]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def undisturbed(home: Path, gate: Gate) -> Iterator[tuple[Any, list[Any]]]:
    """A run of seed 0 that nothing happened to."""
    with Store.open(home) as store:
        [run] = begin(store, config(classifier=gate.classifier))
        assert ended(store, run).state is State.SUCCEEDED
        yield store.run(run), numbers(store, run)


@pytest.fixture
def begin_gated(store: Store, gate: Gate, undisturbed: Any) -> Iterator[Callable[[int], str]]:
    """Begins the same run again, held after a number of steps."""

    def call(steps: int) -> str:
        gate.close(steps)
        first, _ = undisturbed
        run = recorded.add_run(store, first.study_id, first.seed, first.config)
        control.ensure_runners(store, again=True)
        return run

    yield call
    gate.open()


@pytest.mark.long
def test_a_paused_run_has_no_process_and_goes_on_bit_for_bit(store, gate, begin_gated, undisturbed):
    run = begin_gated(15)
    until(store, lambda: store.run(run).steps_done >= 5)
    before = control.pause(store, run)
    gate.open()
    paused = until(store, lambda: (row := store.run(run)).state is not State.PAUSING and row)
    assert paused.state is State.PAUSED
    until(store, lambda: not is_locked(run_queue.slot_lock(store, "cpu-0")))
    until(store, lambda: not Path(f"/proc/{before.pid}").exists())
    control.resume(store, run)
    control.ensure_runners(store)
    again = ended(store, run)
    assert (again.state, again.attempt) == (State.SUCCEEDED, 2)
    assert again.pid != before.pid
    whole, steps = undisturbed
    assert numbers(store, run) == steps
    assert (again.words, again.score_value) == (whole.words, whole.score_value)


@pytest.mark.long
def test_a_killed_search_for_embeddings_goes_on_bit_for_bit(store, gate):
    [whole] = begin(store, config(classifier=gate.classifier, search="continuous"))
    assert ended(store, whole).state is State.SUCCEEDED
    first = store.run(whole)
    gate.close(3)  # behind the steps that try words
    run = recorded.add_run(store, first.study_id, first.seed, first.config)
    control.ensure_runners(store, again=True)
    begun = until(store, lambda: (row := store.run(run)).steps_done >= 12 and row)
    os.kill(begun.pid, signal.SIGKILL)
    gate.open()
    until(store, lambda: control.ensure_runners(store) or store.run(run).attempt == 2)
    again = ended(store, run)
    assert again.state is State.SUCCEEDED
    assert numbers(store, run) == numbers(store, whole)
    assert (again.words, again.score_value) == (first.words, first.score_value)
    assert [row.text for row in store.prompts(run)] == [row.text for row in store.prompts(whole)]


@pytest.mark.long
def test_whoever_dies_or_is_sent_away_the_run_goes_on(store, gate, begin_gated, undisturbed):
    run = begin_gated(11)
    first = until(store, lambda: (row := store.run(run)).steps_done >= 3 and row)
    [slot] = run_queue.slots(store)
    for pid in (slot.pid, first.pid):  # both hold what they have, and do nothing
        os.kill(pid, signal.SIGSTOP)
    stood = store.run(run).steps_done
    gate.close(10)
    until(store, lambda: control.ensure_runners(store) or store.run(run).steps_done > stood)
    assert not control.is_stopped(slot.pid)
    os.kill(slot.pid, signal.SIGKILL)  # the worker sees to a new runner
    gate.close(10)
    until(store, lambda: run_queue.slots(store)[0].pid != slot.pid)
    assert store.run(run).attempt == 1
    os.kill(first.pid, signal.SIGTERM)  # as at a shutdown: it is given back
    gate.close(1)
    second = until(store, lambda: (row := store.run(run)).attempt == 2 and row)
    until(store, lambda: store.run(run).state is not State.STARTING)
    os.kill(second.pid, signal.SIGKILL)
    gate.open()
    last = ended(store, run)
    assert (last.state, last.attempt, last.error) == (State.SUCCEEDED, 3, None)
    assert numbers(store, run) == undisturbed[1]


@pytest.mark.long
def test_torn_checkpoints_and_foreign_ones_are_passed_over(store, gate, begin_gated, undisturbed):
    run = begin_gated(25)
    until(store, lambda: store.run(run).steps_done >= 20)
    control.cancel(store, run)
    gate.open()
    ended(store, run)
    new, old = (store.run_folder(run) / name for name in control.CHECKPOINTS)
    new.write_bytes(new.read_bytes()[:-100])
    assert old.exists()
    control.retry(store, run)
    control.ensure_runners(store)
    assert ended(store, run).state is State.SUCCEEDED
    assert numbers(store, run) == undisturbed[1]
    log = log_file(store, run).read_text()
    assert f"{new} cannot be read" in log
    assert "going on behind step" in log


def test_a_run_that_starts_over_gets_further_than_its_new_start(tmp_path):
    with Store.open(tmp_path) as store:
        classifier = store.ensure_classifier("lab:birds", None, ["a"], 64)
        run = recorded.add_run(store, store.ensure_study(classifier, "a", 0, {}), 0, {})

        def begin_and_reach(step: int) -> None:
            recorded.claim(store)
            run_queue.set_state(store, run, State.RUNNING)
            row = {"step": step, "losses": {"total": 1.0}, "words": ["sea"]}
            recorded.record_steps(store, run, [row])

        begin_and_reach(900)
        run_queue.finish_run(store, run, State.FAILED)
        assert control.retry(store, run, from_start=True).steps_done == 0
        assert store.steps(run) == []
        [entry] = run_records.journal(store, run).read()  # also a rebuilt store starts over
        assert entry["steps"] == []
        for step in range(100, 900, 100):
            begin_and_reach(step)
            run_queue.release(store, run)  # as if its process had been killed
            run_queue.reconcile(store)
            assert store.run(run).state is State.QUEUED


def test_a_run_that_cannot_start_over_keeps_its_checkpoints(tmp_path):
    with Store.open(tmp_path) as store:
        classifier = store.ensure_classifier("lab:birds", None, ["a"], 64)
        run = recorded.add_run(store, store.ensure_study(classifier, "a", 0, {}), 0, {})
        kept = store.run_folder(run) / control.CHECKPOINTS[0]
        kept.touch()
        control.cancel(store, run)
        with FileLock(run_queue.lock_path(store, run), wait=False):
            with pytest.raises(StoreError, match="another process still holds it"):
                control.retry(store, run, from_start=True)
            assert kept.exists()
        control.retry(store, run, from_start=True)
        assert not kept.exists()


@pytest.mark.long
def test_a_checkpoint_whose_record_was_lost_is_not_used(tmp_path):
    """As a disk leaves them that had promised more than it kept."""
    from dexter.models import load_models
    from dexter.search.optimize import optimize
    from dexter_tui.jobs.recorder import Recorder
    from dexter_tui.jobs.run_checkpoints import Checkpoints, Saving

    models = load_models(config())

    def search():
        return optimize(
            config(),
            classifier=models.classifier,
            generator=models.generator,
            masked_lm=models.masked_lm,
        )

    def resumed(store):
        recorder = Recorder(store, recorded.claim(store))
        again = search()
        Checkpoints(store.run_folder(run), store.run(run)).load(again, recorder)
        run_queue.release(store, run)
        return again.state_dict()["step"]

    with Store.open(tmp_path) as store:
        [run] = submit.enqueue(store, [config()])
        recorder = Recorder(store, recorded.claim(store))
        recorder.start(store.run(run))
        going = search()
        step = next(iter(going))
        recorder.step({"step": 1, "losses": step.losses, "words": step.words})
        recorder.flush()
        recorder.fields(device="cpu")  # or a picture of that step
        checkpoints = Checkpoints(store.run_folder(run), store.run(run))
        Saving(recorder, checkpoints, going).save(30.0)
        run_queue.release(store, run)
        run_queue.reconcile(store)
        control.pause(store, run)
        control.resume(store, run)  # at once, without the wait after a crash
        assert resumed(store) == 1
    journal = tmp_path / "runs" / run / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    (tmp_path / "store.sqlite").unlink()
    rebuilding.rebuild(tmp_path)
    with Store.open(tmp_path) as store:
        assert [row.step for row in store.steps(run)] == [1]
        control.resume(store, run)
        assert resumed(store) == 0
        assert not (tmp_path / "runs" / run / control.CHECKPOINTS[0]).exists()


# A worker has less memory than the trial before a run is queued.
OUT_OF_MEMORY = """\
import sys
import torch
from torch import nn

IN_WORKER = any("run_worker" in argument for argument in sys.orig_argv)

def make():
    torch.manual_seed(4)
    class Net(nn.Module):
        labels, image_size = ["waterbird", "landbird"], 32
        def __init__(self):
            super().__init__()
            self.body = nn.Conv2d(3, 8, 5, 4)
            self.head = nn.Linear(8, 2)
        def forward(self, x):
            if IN_WORKER and x.requires_grad and len(x) > LIMIT:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return self.head(self.body(x).relu().mean((2, 3)))
    return Net()
"""


@pytest.mark.long
def test_a_run_out_of_memory_is_done_again_with_half_the_pictures_at_a_time(store, tmp_path):
    files = []
    for limit in (2, 1):
        path = tmp_path / f"net{limit}.py"
        path.write_text(OUT_OF_MEMORY.replace("LIMIT", str(limit)))
        files.append(f"python:{path}:make")
    common = {"steps": 3, "batch": 4, "n_grad": 4, "explore": 0}
    half, never = begin(store, *(config(classifier=file, **common) for file in files))
    done, failed = ended(store, half), ended(store, never)
    assert (done.state, done.attempt, done.reduced) == (State.SUCCEEDED, 2, True)
    assert "half the pictures at a time" in log_file(store, half).read_text()
    assert (failed.state, failed.attempt) == (State.FAILED, 2)
    assert "also with half" in failed.error and "--micro-batch" in failed.error


@pytest.mark.long
@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_a_run_goes_on_when_the_terminal_s_server_is_killed(store, home, tmp_path):
    socket = tmp_path / "tmux"
    command = [sys.executable, "-m", "dexter_tui", "run", *flags(steps=100_000)]
    env = {**worker_environment(), "TERM": "xterm-256color"}
    tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
    subprocess.run(
        [*tmux, "new-session", "-d", "-x", "80", "-y", "24", *command], env=env, check=True
    )
    try:
        run = until(
            store,
            lambda: [r for r in store.runs(states={State.RUNNING}) if r.config["steps"] == 100_000],
        )[0]
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    steps = store.run(run.id).steps_done
    until(store, lambda: store.run(run.id).steps_done > steps + 2)
    result = subprocess.run(
        [sys.executable, "-m", "dexter_tui", "status", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    [slot] = json.loads(result.stdout)["slots"]
    assert (slot["run"]["id"], slot["run"]["state"], slot["runner"]) == (run.id, "running", True)
    assert store.run(run.id).attempt == 1


# The commands, with nobody at work: this test holds the place of the slot's runner


@pytest.fixture
def quiet(home: Path, store: Store) -> Iterator[None]:
    """A slot whose runner takes nothing."""

    def take() -> FileLock | None:
        try:
            return FileLock(run_queue.runner_lock(store, "cpu-0"), wait=False)
        except BlockingIOError:
            return None

    for slot in run_queue.slots(store):
        if is_locked(run_queue.runner_lock(store, slot.name)):
            os.kill(slot.pid, signal.SIGTERM)
    with until(store, take):
        until(store, lambda: not is_locked(run_queue.slot_lock(store, "cpu-0")))
        yield


@pytest.mark.long
def test_a_sweep_is_queued_listed_reordered_and_cleared(quiet, store, cli, tmp_path, home):
    settings = flags()
    sweep = ["--class", "landbird", "--preset", "paper", "--preset", "default", "--seeds", "2"]
    result = cli("queue", "add", *settings, *sweep, "--json").json
    assert [(run["class_name"], run["seed"], run["state"]) for run in result] == [
        (name, seed, "queued")
        for _ in range(2)
        for name in ("waterbird", "landbird")
        for seed in (0, 1)
    ]
    ids = [run["id"] for run in result]
    assert len({run["study"] for run in result}) == 4
    file = tmp_path / "sweep.yaml"
    values = config().model_dump(mode="json")
    file.write_text(
        f"- classifier: {values['classifier']}\n  class: [waterbird, landbird]\n"
        f"  generator: {values['generator']}\n  masked-lm: {values['masked_lm']}\n"
        "  seed: [3, 4]\n  steps: 5\n  device: cpu\n"
    )
    urgent = cli("queue", "add", "--file", str(file), "--priority", "2", "--json").json
    assert [run["seed"] for run in urgent] == [3, 4, 3, 4]
    order = [*(run["id"] for run in urgent), *ids]
    assert [run["id"] for run in cli("queue", "list", "--json").json] == order
    assert cli("queue", "reorder", ids[5], "--first").out.split() == [ids[5]]
    assert cli("queue", "reorder", ids[0], "--last").code == 0
    order = [ids[5], *(run["id"] for run in urgent), *ids[1:5], *ids[6:], ids[0]]
    assert [run["id"] for run in cli("queue", "list", "--json").json] == order
    assert cli("pause", ids[1]).code == 0
    assert cli("queue", "cancel", ids[2]).code == 0
    assert cli("status", "--json").json["queued"] == 10
    assert cli("status", "--json").json["paused"] == 1
    assert len(cli("queue", "clear", "--json").json) == 10
    assert cli("queue", "list", "--json").json == []
    states = {run: store.run(run).state for run in ids}
    assert states.pop(ids[1]) is State.PAUSED
    assert set(states.values()) == {State.CANCELLED}
    assert cli("retry", ids[3], "--from-start", "--json").json[0]["state"] == "queued"
    assert cli("retry", result[0]["study"], "--json").json[0]["state"] == "queued"


def test_several_are_cancelled_as_far_as_they_can_be(quiet, store, cli):
    first, second, ended = submit.enqueue(
        store, [config(seed=seed, steps=1000 + len(store.runs())) for seed in (5, 6, 7)]
    )
    control.cancel(store, ended)
    result = cli("cancel", first, ended, "rzzzzzzz", second, "--json")
    assert result.code == 1
    assert [run["id"] for run in result.json] == [first, second]
    refusals = result.err.strip().splitlines()
    assert [ended in refusals[0], "rzzzzzzz" in refusals[1], len(refusals)] == [True, True, 2]
    assert {store.run(run).state for run in (first, second)} == {State.CANCELLED}
    result = cli("cancel", first, second)
    assert (result.code, result.out, len(result.err.splitlines())) == (1, "", 2)


def test_what_was_paused_as_a_study_is_resumed_as_one(quiet, store, cli):
    paused = submit.enqueue(
        store, [config(seed=seed, steps=1000 + len(store.runs())) for seed in (5, 6)]
    )
    study = store.run(paused[0]).study_id
    assert cli("pause", study).code == 0
    again = cli("resume", study, paused[1], "--detach", "--json")
    assert [run["id"] for run in again.json] == paused
    assert {store.run(run).state for run in paused} == {State.QUEUED}
    cli("cancel", study)
    refused = cli("resume", "rzzzzzzz", study, "--detach")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["queue", "add", "--file", "TYPO"], ["--file", "'masked_llm'", "'masked_lm'"]),
        (["queue", "add", "--file", "ALIEN"], ["--file", "'7'", "--help"]),
        (["queue", "add"], ["classifier is required", "--classifier"]),
        (["queue", "add", "--file", "nowhere.yaml"], ["--file", "nowhere.yaml"]),
        (["queue", "add", "--file", "LIST"], ["--file", "settings by name"]),
        (["queue", "add", "--file", "BROKEN"], ["--file", "not YAML"]),
        (["queue", "add", "--file", "MANY"], ["seeds", "1000"]),
        (["queue", "add", "GOOD", "--seeds", "2", "--seed", "1"], ["--seeds", "--seed"]),
        (["queue", "add", "GOOD", "--device", "cuda:7"], ["--device", "cuda:7"]),
        (["queue", "add", "GOOD", "--priority", "9" * 30], ["--priority"]),
        (["queue", "reorder", "RUN"], ["--priority", "--first"]),
        (["queue", "reorder", "--first"], ["name runs"]),
        (["queue", "reorder", "RUN", "--first"], ["is paused", "reorder"]),
        (["pause"], ["--all"]),
        (["pause", "RUN"], ["is paused", "pause"]),
        (["cancel", "rzzzzzzz"], ["rzzzzzzz"]),
        (["retry", "RUN"], ["is paused", "retry"]),
        (["retry", "STUDY"], ["none of its runs"]),
        (["backup", "-o", "/nowhere/at/all.sqlite"], ["/nowhere/at"]),
    ],
)
def test_refused(quiet, store, cli, tmp_path, arguments, names):
    # In a study of its own: no other test has runs of this many steps.
    [run] = submit.enqueue(store, [config(seed=9, steps=1000 + len(store.runs()))])
    paused = control.pause(store, run)
    texts = {
        "TYPO": "{classifier: x, masked-llm: y}",
        "ALIEN": "7: 8",
        "LIST": "[1, 2]",
        "BROKEN": "a: [",
        "MANY": "seeds: 5000",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    given: list[object] = []
    for argument in arguments:
        stand_ins: dict[str, Sequence[object]]
        stand_ins = {"RUN": [run], "STUDY": [paused.study_id], "GOOD": flags()}
        stand_ins |= {name: [str(tmp_path / name)] for name in texts}
        given += stand_ins.get(argument, [argument])
    before = {row.id: row.state for row in store.runs()}
    outcome = cli(*given)
    assert outcome.code == 2
    assert outcome.out == ""
    [line] = outcome.err.strip().splitlines()
    for name in names:
        assert name in line, line
    assert {row.id: row.state for row in store.runs()} == before


def test_the_pictures_after_a_search_are_those_in_its_estimate() -> None:
    from dexter.search.loop import FINAL_PICTURES
    from dexter.search.optimize import FINAL_TUPLES
    from store.reading import browse

    assert browse.COMPARED_PICTURES == FINAL_TUPLES * FINAL_PICTURES
