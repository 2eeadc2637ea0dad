"""Runs on a real Ray: kills of its head, pauses and cancellations."""

import os
import signal
from collections.abc import Iterator

import pytest
import ray_cluster
from cluster_head import Head
from ray_cluster import RayCluster

from dexter_tui.jobs import control
from store import State
from store.states import Outcome

REASON = ray_cluster.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")


@pytest.fixture(scope="module")
def ray() -> Iterator[RayCluster]:
    with ray_cluster.running() as cluster:
        yield cluster


@pytest.fixture
def head(head: Head, ray: RayCluster) -> Head:
    head.place(kind="ray", address=ray.address)
    return head


def test_runs_of_a_ray_whose_head_is_killed_are_done_once(head: Head, ray: RayCluster) -> None:
    head.close()
    begun = head.add() + head.add()
    head.until(lambda: all(head.store.run(run_id).steps_done >= 10 for run_id in begun))
    [waiting] = head.add()
    head.until(lambda: "pending" in head.seen(waiting))
    ray.kill_head()
    os.kill(head.worker(begun[0]), signal.SIGKILL)
    head.until(lambda: "states as of" in (head.note() or ""))
    assert [head.store.run(run_id).attempt for run_id in (*begun, waiting)] == [1, 1, 1]
    ray.start()
    head.gate.open()
    for run_id in (*begun, waiting):
        head.until(lambda run_id=run_id: head.outcomes(run_id)[-1] is Outcome.FINISHED)
        assert head.outcomes(run_id).count(Outcome.FINISHED) == 1
        assert head.is_undisturbed(run_id)
    # A worker that outlives its head counts.
    again = [Outcome.GONE, Outcome.FINISHED]
    assert head.outcomes(begun[0]) == head.outcomes(waiting) == again


def test_a_run_at_a_ray_is_paused_and_resumed(head: Head) -> None:
    run_id = head.hold()
    control.pause(head.store, run_id)
    head.until(lambda: head.attempts(run_id)[0].outcome)
    assert head.outcomes(run_id) == [Outcome.FINISHED]
    assert head.store.run(run_id).state is State.PAUSED
    head.gate.open()
    control.resume(head.store, run_id)
    head.ends(run_id, 2)
    assert head.is_undisturbed(run_id)


def test_a_job_stopped_at_a_ray_cancels_its_run(head: Head, ray: RayCluster) -> None:
    run_id = head.hold()
    ray.end_job(f"dexter-{run_id}-1")
    head.gate.open()
    assert head.ends(run_id).outcome is Outcome.CANCELLED
    assert head.store.run(run_id).state is State.CANCELLED
