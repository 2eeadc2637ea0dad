"""Two hundred runs on two GPUs of a real Slurm: each once, never two on one GPU at a time."""

import shlex
import sys
import time
from collections.abc import Iterable

import pytest
from cluster_head import Head
from slurm_cluster import Cluster

from store import ACTIVE, State
from store.clock import now
from store.journal.run_journal import Journal
from store.states import Outcome

SMALL = {"steps": 2, "frames": 1, "frame_tries": 1, "score_images": 2}
GPUS = 2


def gpu_python(head: Head) -> str:
    """Return a Python that notes its GPU, and ends if another process has it.

    The clocks of the two GPUs' processes are two hours apart.
    """
    path = head.folder / "python"
    for gpu, hours in enumerate((-1, 1)):
        (head.folder / f"skew{gpu}").write_text(str(hours * 3600))
    lock = f"{head.folder}/gpu$CUDA_VISIBLE_DEVICES.lock"
    path.write_text(
        f'#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES" >> {head.folder}/gpus\n'
        f"export DEXTER_CLOCK_SKEW={head.folder}/skew$CUDA_VISIBLE_DEVICES\n"
        f'exec flock --no-fork --nonblock {lock} {shlex.quote(sys.executable)} "$@"\n'
    )
    path.chmod(0o700)
    return str(path)


def do(head: Head, count: int) -> list[str]:
    """Have runs done; return their ids."""
    runs = head.add(count, **SMALL, seed=100)

    def are_done() -> bool:
        states = [head.store.run(run_id).state for run_id in runs]
        return State.QUEUED not in states and not ACTIVE.intersection(states)

    head.until(are_done)
    return runs


def overhead(head: Head, runs: Iterable[str], wall: float) -> str:
    """Return the time on a GPU per run besides the run's own."""
    own = [head.store.run(run_id).seconds or 0.0 for run_id in runs]
    mean = sum(own) / len(own)
    each = GPUS * wall / len(own) - mean
    return f"{len(own)} runs in {wall:.0f} s; {each:.2f} s of a GPU per run beside its {mean:.2f} s"


@pytest.mark.parametrize(("count", "pack"), [(6, 1), (200, 25)])
def test_each_run_is_done_once_and_no_gpu_is_shared(
    count: int, pack: int, head: Head, cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    head.place(python=gpu_python(head), limit=200, pack=pack)
    before, begun = now(), time.monotonic()
    runs = do(head, count)
    wall = time.monotonic() - begun
    with capfd.disabled():
        print(f"\npack = {pack}: {overhead(head, runs, wall)}")
    for run_id in runs:
        run = head.store.run(run_id)
        assert run.state is State.SUCCEEDED, run.error
        assert head.outcomes(run_id) == [Outcome.FINISHED]
        assert run.started_at is not None and run.ended_at is not None
        assert before <= run.started_at <= run.ended_at <= now()
        assert [step.step for step in head.store.steps(run_id)] == [1, 2]
        entries = Journal(head.store.run_folder(run_id)).read()
        assert sum(entry["kind"] == "start" for entry in entries) == 1
    jobs = (head.folder / "gpus").read_text().split()
    assert len(jobs) == -(-count // pack)
    assert {*jobs} == {"0", "1"}
    assert sum(cluster.jobs_named(f"dexter-{run_id}-1") for run_id in runs) == len(jobs)
