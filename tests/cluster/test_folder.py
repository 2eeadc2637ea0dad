"""A shared folder that is full, read-only, or gone for a minute, on a real Slurm."""

import errno
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_head import Head
from slurm_cluster import Cluster

from dexter_tui.jobs import control
from store import State
from store.states import Outcome

SECONDS = 62  # longer than any worker or keeper waits for a sign of life


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def unmount(path: Path) -> None:
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def shared(head: Head) -> Iterator[Path]:
    """A place's folder of 16 MB."""
    shared = head.folder / "shared"
    shared.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", shared)
    except subprocess.CalledProcessError:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield shared
    finally:
        unmount(shared)


def fill(path: Path) -> None:
    """Leave no room."""
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC


def wait(head: Head, run_id: str) -> int:
    """Let a run do steps that it cannot record, for as long as a loss would be noticed.

    Returns the step up to which it is recorded.
    """
    begun = time.monotonic()
    head.until(lambda: time.monotonic() > begun + 5)  # for what was on its way
    recorded = head.store.run(run_id).steps_done
    head.until(lambda: time.monotonic() > begun + SECONDS)
    run = head.store.run(run_id)
    assert (run.state, run.attempt, run.steps_done) == (State.RUNNING, 1, recorded)
    assert head.outcomes(run_id) == [None]
    return recorded


def test_runs_wait_for_a_folder_that_is_full_read_only_or_gone(
    head: Head, cluster: Cluster, shared: Path
) -> None:
    run_id = head.hold()

    def goes_on() -> bool:
        return head.store.run(run_id).steps_done > recorded

    fill(shared / "filler")
    [other] = head.add()  # its order finds no room
    head.until(lambda: "No space left on device" in (head.note() or ""))
    recorded = wait(head, run_id)
    assert head.attempts(other)[0].handle is None
    (shared / "filler").unlink()
    head.until(goes_on)
    head.until(lambda: head.attempts(other)[0].handle)
    control.cancel(head.store, other)
    head.until(lambda: head.attempts(other)[0].outcome)

    mount("--bind", shared, shared)
    mount("-o", "remount,bind,ro", shared)
    recorded = wait(head, run_id)
    unmount(shared)
    head.until(goes_on)

    mount("-t", "tmpfs", "tmpfs", shared)  # empty, as a folder on which nothing is mounted
    head.until(lambda: "is not there: runs wait" in (head.note() or ""))
    [late] = head.add()
    recorded = wait(head, run_id)
    assert head.store.run(late).state is State.QUEUED
    assert list(shared.iterdir()) == []
    unmount(shared)
    head.until(goes_on)
    control.cancel(head.store, late)

    head.gate.open()
    head.ends(run_id)
    assert head.outcomes(run_id) == [Outcome.FINISHED]
    assert head.attempts(run_id)[0].quarantined == 0
    assert head.is_undisturbed(run_id)
