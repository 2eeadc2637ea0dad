"""Files that are lost while a run is on them: noticed, repaired and reported, by real workers."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import short_run
from gate import Gate
from waiting import until

from dexter.config import RunConfig
from dexter_tui.jobs import control, submit, trust
from dexter_tui.jobs.recorder import FLUSH_SECONDS
from dexter_tui.machine import devices
from store import ENDED, State, Store, run_queue
from store.clock import now
from store.journal.run_journal import NAME, Journal
from store.locks import is_locked, try_lock
from store.tables import Run
from store.upkeep import health, rebuilding

pytestmark = pytest.mark.long

STEPS = 16


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("accidents") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEXTER_HOME", str(path))
        patch.setenv(devices.CPU_SLOTS, "1")
        yield path


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def store(home: Path) -> Iterator[Store]:
    with Store.open(home) as store:
        yield store


@pytest.fixture(scope="module")
def runs(store: Store, gate: Gate) -> list[str]:
    """Two runs, which one worker does one after the other, held after their first steps."""
    gate.close(3)
    values = {**short_run.settings(), "classifier": gate.classifier, "class_name": "waterbird"}
    configs = [
        RunConfig.from_preset("default", seed=seed, steps=steps, **values)
        for seed, steps in enumerate((STEPS, 100_000))
    ]
    run_ids = submit.enqueue(store, configs, agreed=trust.CODE)
    control.ensure_runners(store, again=True)
    return run_ids


class Disturbed:
    """A run that stands still while its files are lost."""

    def __init__(self, store: Store, gate: Gate, run_id: str) -> None:
        self.store = store
        self.gate = gate
        self.run_id = run_id
        self.path = store.home / "runs" / run_id / NAME

    def run(self) -> Run:
        return self.store.run(self.run_id)

    def step_on(self) -> None:
        """Let the run do a step, and wait until it is in the store."""
        before = self.run()
        assert before.heartbeat_at is not None
        due = before.heartbeat_at + timedelta(seconds=1.5 * FLUSH_SECONDS)
        until(lambda: now() > due)  # so that the worker writes after this step
        self.gate.close(1)
        until(lambda: self.run().steps_done > before.steps_done)

    def check(self, accident: str) -> None:
        """Assert that the journal is whole, and that the doctor says what happened."""
        found = Journal(self.path.parent).inspect()
        assert (found.fault, found.entries[0]["kind"]) == (None, "rows")
        assert found.last >= self.run().journal_entries
        [trouble] = health.examine(self.store)
        assert (trouble.kind, trouble.repaired) == ("accident", True)
        assert self.run_id in trouble.what and accident in trouble.what


def test_lost_files_of_a_run_are_noticed_and_written_again(
    store: Store, gate: Gate, runs: list[str]
) -> None:
    run = Disturbed(store, gate, runs[0])
    until(lambda: run.run().state is State.RUNNING)
    run.step_on()
    first = run.run()

    run.path.unlink()
    [trouble] = health.examine(store, repair=True)
    assert (trouble.kind, trouble.repaired) == ("journal", False)
    assert "is missing; its process writes it again" in trouble.what
    run.step_on()
    run.check("deleted")

    other = run.path.with_suffix(".other")
    shutil.copy(run.path, other)
    other.replace(run.path)
    run.step_on()
    run.check("replaced")

    with run.path.open("r+b") as file:
        file.truncate(run.path.stat().st_size // 2)
    run.step_on()
    run.check("cut")

    shutil.rmtree(run.path.parent)
    run.step_on()
    run.check("deleted")

    locks = store.home / "locks"
    path = run_queue.lock_path(store, runs[0])
    shutil.rmtree(locks)
    assert run_queue.is_alive(store, runs[0])
    assert run_queue.reconcile(store) == []
    assert control.ensure_runners(store, again=True) == []
    locks.mkdir(exist_ok=True)
    assert try_lock(path) is None
    slot = run_queue.slot_lock(store, "cpu-0")
    until(lambda: is_locked(path) and path.read_text() == f"{first.pid}\n")
    until(lambda: slot.exists() and slot.read_text() == f"{first.pid}\n")
    run.step_on()
    assert "its lock was deleted" in health.examine(store)[-1].what

    gate.open()
    until(lambda: run.run().state in ENDED)
    last = run.run()
    assert (last.state, last.attempt, last.pid) == (State.SUCCEEDED, 1, first.pid)
    assert [step.step for step in store.steps(runs[0])] == [*range(1, STEPS + 1)]


def test_a_store_is_rebuilt_from_journals_that_were_written_again(
    store: Store, runs: list[str], tmp_path: Path, gate: Gate
) -> None:
    until(lambda: store.run(runs[0]).state in ENDED)
    gate.close(0)
    shutil.copytree(store.home / "runs", tmp_path / "runs")
    shutil.copytree(store.home / "artifacts", tmp_path / "artifacts")
    assert rebuilding.rebuild(tmp_path).refused == {}
    with Store.open(tmp_path) as rebuilt:
        assert rebuilt.steps(runs[0]) == store.steps(runs[0])
        assert rebuilt.run(runs[0]).state is State.SUCCEEDED


def test_a_deleted_home_ends_its_processes_and_is_not_made_again(
    store: Store, home: Path, runs: list[str], gate: Gate
) -> None:
    gate.open()
    until(lambda: store.run(runs[1]).steps_done >= 1)
    run = store.run(runs[1])
    [slot] = run_queue.slots(store)
    shutil.rmtree(home)
    for pid in (run.pid, slot.pid):
        until(lambda pid=pid: not _lives(pid))  # type: ignore[misc]
    assert not home.exists()
    assert store.is_gone()


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
