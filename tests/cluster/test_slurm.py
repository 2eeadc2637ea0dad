"""Runs on a real Slurm: kills of the head and of the node, and what the place itself ends."""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cluster_head import Head
from slurm_cluster import Cluster
from waiting import until

from dexter_tui.cli.entry import main
from dexter_tui.jobs import control
from store import State
from store.states import Outcome


@pytest.fixture
def shown(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command line; returns its output with single spaces."""

    def call(*arguments: str) -> str:
        capfd.readouterr()
        assert main([*arguments]) == 0
        return " ".join(capfd.readouterr().out.split())

    return call


def is_running(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_head_killed_between_intent_and_receipt_submits_once(
    head: Head, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An sbatch that kills its keeper, once."""
    real = shutil.which("sbatch")
    wrapper = tmp_path / "sbatch"
    kill = f"[ -e {tmp_path}/done ] || {{ touch {tmp_path}/done; kill -9 $PPID; exit 1; }}"
    wrapper.write_text(f'#!/bin/sh\n{kill}\n{real} "$@"\n')
    wrapper.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    [run_id] = head.add()
    until((tmp_path / "done").exists)
    assert head.attempts(run_id)[-1].handle is None  # intent, and no receipt
    head.ends(run_id)
    assert head.outcomes(run_id) == [Outcome.FINISHED]
    assert head.is_undisturbed(run_id)
    assert cluster.jobs_named(f"dexter-{run_id}-1") == 1


def test_a_worker_outlives_the_daemons_of_its_node(head: Head, cluster: Cluster) -> None:
    run_id = head.hold()
    [attempt] = head.attempts(run_id)
    cluster.kill_node()
    cluster.start_node()
    head.until(lambda: not cluster.lists(attempt.handle))
    head.gate.open()
    head.ends(run_id)
    assert head.outcomes(run_id) == [Outcome.FINISHED]
    assert head.is_undisturbed(run_id)


def test_a_worker_that_hangs_with_its_node_is_replaced_and_fenced(
    head: Head, cluster: Cluster
) -> None:
    run_id = head.hold()
    old = head.worker(run_id)
    [attempt] = head.attempts(run_id)
    cluster.kill_node()
    os.kill(old, signal.SIGSTOP)
    try:
        cluster.start_node()
        until(lambda: not cluster.lists(attempt.handle))
        assert head.ends(run_id).outcome is Outcome.GONE
        head.until(lambda: head.store.run(run_id).steps_done >= 20)  # by the next attempt
        assert head.store.run(run_id).attempt == 2
    finally:
        os.kill(old, signal.SIGCONT)  # it continues beside its successor
    until(lambda: not is_running(old))
    head.gate.open()
    head.ends(run_id, 2)
    assert head.outcomes(run_id) == [Outcome.GONE, Outcome.FINISHED]
    assert head.is_undisturbed(run_id)
    log = (head.run_folder(run_id).attempt(1).log).read_text()
    assert "superseded by attempt 2: this process ends" in log


def test_a_job_cancelled_at_the_place_cancels_its_run(
    head: Head, cluster: Cluster, shown: Callable[..., str]
) -> None:
    run_id = head.hold()
    [attempt] = head.attempts(run_id)
    assert attempt.handle is not None
    assert f"cluster {run_id} 1" in shown("status")
    cluster.ask("scancel", attempt.handle)
    head.gate.open()
    assert head.ends(run_id).outcome is Outcome.CANCELLED
    assert head.store.run(run_id).state is State.CANCELLED
    line = f"at cluster: cancelled (cancelled at cluster: job {attempt.handle} ended as CANCELLED"
    assert line in shown("show", run_id)


def test_a_time_limit_is_a_preemption_and_the_run_continues(
    head: Head, cluster: Cluster, shown: Callable[..., str]
) -> None:
    run_id = head.hold()
    [attempt] = head.attempts(run_id)
    assert attempt.handle is not None
    cluster.ask("scontrol", "update", f"JobId={attempt.handle}", "TimeLimit=2")
    head.until(lambda: head.attempts(run_id)[0].outcome)
    assert head.outcomes(run_id)[0] is Outcome.PREEMPTED
    line = "at cluster: preempted (preempted: its time limit was near)"
    assert line in shown("show", run_id)
    assert (head.store.run(run_id).error or "").endswith("queued again")
    head.gate.open()
    head.ends(run_id, 2)
    assert head.outcomes(run_id) == [Outcome.PREEMPTED, Outcome.FINISHED]
    assert head.store.run(run_id).fruitless == 0
    assert head.is_undisturbed(run_id)


def test_a_held_job_is_shown_as_held_and_runs_when_it_is_released(
    head: Head, cluster: Cluster, shown: Callable[..., str]
) -> None:
    head.place(flags=["--hold"])
    [run_id] = head.add()
    head.until(lambda: "JobHeld" in head.seen(run_id))
    [attempt] = head.attempts(run_id)
    assert f"pending (JobHeldUser), job {attempt.handle}" in shown("show", run_id)
    assert "pending (JobHeldUser)" in shown("status")
    assert head.store.run(run_id).state is State.STARTING
    cluster.ask("scontrol", "release", str(attempt.handle))
    head.ends(run_id)
    assert head.outcomes(run_id) == [Outcome.FINISHED]
    assert head.is_undisturbed(run_id)


def test_a_pause_and_a_time_limit_in_a_job_of_several_runs(head: Head, cluster: Cluster) -> None:
    head.place(pack=3, limit=3)
    head.close()
    runs = head.add(3)
    head.until(lambda: head.store.run(runs[0]).steps_done >= 10)
    control.pause(head.store, runs[1])
    assert head.ends(runs[1]).outcome is Outcome.WITHDRAWN
    [attempt] = head.attempts(runs[2])
    assert attempt.handle == head.attempts(runs[0])[0].handle
    cluster.ask("scontrol", "update", f"JobId={attempt.handle}", "TimeLimit=2")
    head.until(lambda: head.attempts(runs[0])[0].outcome)
    head.gate.open()
    assert head.ends(runs[2]).reason == "its job ended before its turn"
    for run_id in (runs[0], runs[2]):
        head.ends(run_id, 2)
        assert head.store.run(run_id).state is State.SUCCEEDED
    assert head.outcomes(runs[0]) == [Outcome.PREEMPTED, Outcome.FINISHED]
    assert head.is_undisturbed(runs[0])
    assert head.attempts(runs[0])[1].handle == head.attempts(runs[2])[1].handle
    assert head.store.run(runs[1]).state is State.PAUSED
    assert [head.store.run(run_id).fruitless for run_id in runs] == [0, 0, 0]
