"""Runs at a box over a real SSH, which these tests start on this machine: `make cluster-test`."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import short_run
import ssh_box
from cluster_head import SLOWLY
from gate import Gate
from run_results import results
from ssh_box import SshBox
from waiting import until

from dexter.config import RunConfig
from dexter_tui.jobs import control, submit, trust
from dexter_tui.jobs.placement.files import Ask
from dexter_tui.jobs.status import describe
from dexter_tui.machine import devices
from store import State, Store, run_queue
from store.locks import holder
from store.placed import attempts
from store.states import Outcome
from store.tables import Attempt

REASON = ssh_box.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

STEPS = 24
SAVED = 10
"""The step of a checkpoint, with which all before it is written."""
HELD = 12
PLACE = "box"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshBox]:
    with ssh_box.running(tmp_path_factory.mktemp("box")) as box:
        yield box


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, box: SshBox) -> Iterator[Store]:
    home = tmp_path_factory.mktemp("head") / "home"
    home.mkdir()
    (home / "config.toml").write_text(box.table(PLACE, "gpus = [0, 1]"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEXTER_HOME", str(home))
        patch.setenv(devices.CPU_SLOTS, "1")
        with Store.open(home) as store:
            yield store


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def here(store: Store, gate: Gate) -> dict[str, object]:
    """The results of an uninterrupted run on this machine."""
    run_id = add(store, gate, place=None)
    until(lambda: store.run(run_id).state is State.SUCCEEDED)
    return results(store, run_id)


def add(store: Store, gate: Gate, place: str | None = PLACE) -> str:
    """Queue a run and have it kept; return its id."""
    values = {**short_run.settings(), "classifier": gate.classifier, "class_name": "waterbird"}
    config = RunConfig.from_preset("default", seed=3, steps=STEPS, **values)
    checked = submit.check([config], store.home, agreed=trust.CODE, elsewhere=place is not None)
    [run_id] = submit.add(store, checked, place=place)
    control.ensure_runners(store, again=True)
    return run_id


def last(store: Store, run_id: str) -> Attempt:
    return attempts.attempts_of(store, run_id)[-1]


def is_in(store: Store, run_id: str, state: State) -> bool:
    """Return whether a run is in a state; its keeper is there to bring it there."""
    control.ensure_runners(store)
    run = store.run(run_id)
    assert state is State.FAILED or run.state is not State.FAILED, run.error
    return run.state is state


def check(store: Store, run_id: str, here: dict[str, object], *outcomes: Outcome) -> None:
    """Wait for the end of a run; it must have these attempts and the results of the one here."""
    until(lambda: is_in(store, run_id, State.SUCCEEDED))
    until(lambda: last(store, run_id).outcome)
    assert results(store, run_id) == here
    assert [one.outcome for one in attempts.attempts_of(store, run_id)] == [*outcomes]


def at_step(store: Store, run_id: str, step: int) -> bool:
    control.ensure_runners(store)
    run = store.run(run_id)
    assert run.state is not State.FAILED, run.error
    return run.steps_done >= step


def note(store: Store) -> str:
    rows = [row for row in run_queue.slots(store) if row.name == control.keeper_slot(PLACE)]
    return (rows[0].note or "") if rows else ""


def test_runs_at_the_box_one_on_a_gpu(
    store: Store, box: SshBox, gate: Gate, here: dict[str, object]
) -> None:
    gate.close(HELD, every=SLOWLY)
    first, second, third = (add(store, gate) for _ in range(3))
    until(lambda: at_step(store, first, SAVED) and at_step(store, second, SAVED))
    used = {}
    for run_id in (first, second):
        environ = Path(f"/proc/{box.workers()[f'{run_id}/1']}/environ").read_bytes().split(b"\0")
        [used[run_id]] = [one for one in environ if one.startswith(b"CUDA_VISIBLE_DEVICES=")]
    assert set(used.values()) == {b"CUDA_VISIBLE_DEVICES=0", b"CUDA_VISIBLE_DEVICES=1"}
    assert "GPU " in (last(store, first).seen or "")
    assert store.run(third).state is State.QUEUED
    gate.open()
    for run_id in (first, second, third):
        check(store, run_id, here, Outcome.FINISHED)


def test_pause_and_resume(store: Store, box: SshBox, gate: Gate, here: dict[str, object]) -> None:
    gate.close(HELD, every=SLOWLY)
    run_id = add(store, gate)
    until(lambda: at_step(store, run_id, SAVED))
    control.pause(store, run_id)
    until(lambda: (order := box.run(run_id).order()) is not None and order.ask is Ask.PAUSE)
    gate.open()
    until(lambda: is_in(store, run_id, State.PAUSED))
    until(lambda: f"{run_id}/1" not in box.workers())
    assert store.run(run_id).steps_done < STEPS
    control.resume(store, run_id, agreed=trust.CODE)
    check(store, run_id, here, Outcome.FINISHED, Outcome.FINISHED)


def test_a_dropped_connection_changes_no_state(
    store: Store, box: SshBox, gate: Gate, here: dict[str, object]
) -> None:
    gate.close(HELD, every=SLOWLY)
    run_id = add(store, gate)
    until(lambda: at_step(store, run_id, SAVED))
    box.drop()
    until(lambda: "states as of" in note(store))
    assert "ssh box: " in note(store)
    gate.open()  # the run goes on, and ends
    until(lambda: f"{run_id}/1" not in box.workers())
    assert store.run(run_id).state is State.RUNNING
    [shown] = [one for one in describe(store)["places"] if one["run"] == run_id]
    assert shown["seconds_since_seen"] > 0
    box.start()
    check(store, run_id, here, Outcome.FINISHED)


def test_a_killed_worker_is_replaced_from_its_checkpoint(
    store: Store, box: SshBox, gate: Gate, here: dict[str, object]
) -> None:
    gate.close(HELD, every=SLOWLY)
    run_id = add(store, gate)
    until(lambda: at_step(store, run_id, SAVED))
    os.kill(box.workers()[f"{run_id}/1"], signal.SIGKILL)
    gate.open()
    check(store, run_id, here, Outcome.GONE, Outcome.FINISHED)
    log = (store.run_folder(run_id) / "log").read_text()
    assert f"going on behind step {SAVED}" in log


def test_a_killed_keeper_starts_nothing_twice(
    store: Store, box: SshBox, gate: Gate, here: dict[str, object]
) -> None:
    gate.close(HELD, every=SLOWLY)
    run_id = add(store, gate)
    until(lambda: f"{run_id}/1" in box.workers())
    keeper = holder(run_queue.runner_lock(store, control.keeper_slot(PLACE)))
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    worker = box.workers()[f"{run_id}/1"]
    # As if it was killed before it could record what it had started.
    [attempt] = attempts.attempts_of(store, run_id)
    attempts.update(store, attempt, handle=None, submitted_at=None)
    until(lambda: at_step(store, run_id, SAVED))
    assert box.workers()[f"{run_id}/1"] == worker
    gate.open()
    check(store, run_id, here, Outcome.FINISHED)
