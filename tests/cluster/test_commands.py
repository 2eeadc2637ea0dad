"""Commands of a real Slurm that are missing, hang, fail or print something else."""

import shutil
from pathlib import Path

import pytest
from cluster_head import Head
from slurm_cluster import Cluster

from dexter_tui.jobs import control
from store import State
from store.states import Outcome

LOST_RECEIPTS = {
    "hanging": "exec /bin/sleep 600",
    "garbage": "echo '<html>'",
    "failing": "exit 1",
}
"""What an sbatch does that has submitted its job."""


class Commands:
    """A folder with the commands of Slurm, each the real one or something else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.real = {}
        for name in ("sbatch", "squeue", "scontrol", "scancel"):
            path = shutil.which(name)
            assert path is not None
            self.real[name] = path
            self.restore(name)

    def restore(self, name: str) -> None:
        """Have the real command."""
        new = self.folder / ".new"
        new.symlink_to(self.real[name])
        new.replace(self.folder / name)

    def replace(self, name: str, script: str | None) -> None:
        """Have a script of a shell, or no command."""
        if script is None:
            (self.folder / name).unlink()
            return
        new = self.folder / ".new"
        new.write_text(f"#!/bin/sh\n{script}\n")
        new.chmod(0o700)
        new.replace(self.folder / name)


@pytest.fixture
def commands(head: Head, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands = Commands(head.folder / "bin")
    monkeypatch.setenv("PATH", str(commands.folder))
    return commands


def states(head: Head, run_id: str) -> object:
    run = head.store.run(run_id)
    rows = [(one.outcome, one.handle) for one in head.attempts(run_id)]
    return run.state, run.attempt, rows


def test_a_listing_without_sense_changes_no_state(head: Head, commands: Commands) -> None:
    run_id = head.hold()
    head.until(lambda: head.seen(run_id))
    before = states(head, run_id)
    older = f"exec {commands.real['squeue']} -h -o '%i %j %t %M'"
    for script, line in (
        (None, "squeue: No such file or directory"),
        ("exit 3", "squeue: exit code 3"),
        ("echo '<html>'", "squeue printed '<html>'"),
        (older, "squeue printed '"),
        ("exec /bin/sleep 600", "squeue gave no answer in 20 s"),
    ):
        commands.replace("squeue", script)
        head.until(lambda line=line: (head.note() or "").startswith(line))
        assert "; states as of " in (head.note() or "")
        assert states(head, run_id) == before
        commands.restore("squeue")
        head.until(lambda: head.note() is None)
    head.gate.open()
    head.ends(run_id)
    assert head.outcomes(run_id) == [Outcome.FINISHED]
    assert head.is_undisturbed(run_id)


@pytest.mark.parametrize("after", [*LOST_RECEIPTS, "missing"])
def test_a_submission_without_a_receipt_is_looked_up(
    after: str, head: Head, cluster: Cluster, commands: Commands
) -> None:
    real = commands.real["sbatch"]
    script = None if after == "missing" else f'{real} "$@" > /dev/null\n{LOST_RECEIPTS[after]}'
    commands.replace("sbatch", script)
    [run_id] = head.add()
    head.until(lambda: "sbatch" in (head.note() or ""))
    assert head.store.run(run_id).state is State.STARTING
    commands.restore("sbatch")
    head.ends(run_id)
    assert head.outcomes(run_id) == [Outcome.FINISHED]
    assert head.is_undisturbed(run_id)
    assert cluster.jobs_named(f"dexter-{run_id}-1") == 1


@pytest.mark.parametrize("script", [None, "exit 1", "exec /bin/sleep 600"])
def test_a_request_that_cannot_be_passed_on_is_repeated(
    script: str | None, head: Head, commands: Commands
) -> None:
    head.place(flags=["--hold"])
    [run_id] = head.add()
    head.until(lambda: head.seen(run_id))
    commands.replace("scancel", script)
    control.pause(head.store, run_id)
    head.until(lambda: "scancel" in (head.note() or ""))
    assert head.store.run(run_id).state is State.PAUSING
    commands.restore("scancel")
    assert head.ends(run_id).outcome is Outcome.WITHDRAWN
    assert head.store.run(run_id).state is State.PAUSED


@pytest.mark.parametrize("script", [None, "exit 1", "echo JOBID STATE", "exec /bin/sleep 600"])
def test_an_end_that_cannot_be_asked_for_is_waited_for(
    script: str | None, head: Head, cluster: Cluster, commands: Commands
) -> None:
    head.place(flags=["--hold"])
    [run_id] = head.add()
    head.until(lambda: head.seen(run_id))
    commands.replace("scontrol", script)
    before = states(head, run_id)
    cluster.ask("scancel", str(head.attempts(run_id)[0].handle))
    head.until(lambda: "scontrol" in (head.note() or ""))
    assert states(head, run_id) == before
    commands.restore("scontrol")
    assert head.ends(run_id).outcome is Outcome.CANCELLED
    assert head.store.run(run_id).state is State.CANCELLED
