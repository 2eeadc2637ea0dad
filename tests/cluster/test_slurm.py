"""Runs on a real Slurm, which these tests start on this machine and stop: `make cluster-test`."""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import short_run
import slurm_cluster
from gate import Gate
from slurm_cluster import Cluster
from waiting import until

from dexter.config import RunConfig
from dexter_tui.jobs import control, submit, trust
from store import State, Store, run_queue
from store.journal.run_journal import Journal
from store.placed import attempts
from store.states import Outcome
from store.tables import Attempt

REASON = slurm_cluster.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

LONG = 100_000  # steps that no test waits for
SHORT = 40


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("slurm")
    with slurm_cluster.running(folder) as cluster, pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        yield cluster


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("head")
    home = folder / "home"
    home.mkdir()
    table = '[places.{}]\nkind = "slurm"\nfolder = "{}"\ngres = "gpu:1"\ntime = "50"\n'
    (home / "config.toml").write_text(
        table.format("cluster", folder / "shared")
        + table.format("held", folder / "shared")
        + 'flags = ["--hold"]\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEXTER_HOME", str(home))
        yield home


@pytest.fixture(scope="module")
def store(home: Path) -> Iterator[Store]:
    with Store.open(home) as store:
        yield store


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def add(store: Store, gate: Gate) -> Callable[..., str]:
    """Queue a run at a place and have it kept; return its id."""
    values = {**short_run.settings(), "classifier": gate.classifier, "class_name": "waterbird"}
    configs = {
        steps: RunConfig.from_preset("default", seed=3, steps=steps, **values)
        for steps in (SHORT, LONG)
    }
    checked = submit.check([*configs.values()], store.home, agreed=trust.CODE, elsewhere=True)

    def add(steps: int, place: str = "cluster") -> str:
        [run_id] = submit.add(store, [checked[list(configs).index(steps)]], place=place)
        control.ensure_runners(store, again=True)
        return run_id

    return add


def last(store: Store, run_id: str) -> Attempt:
    return attempts.attempts_of(store, run_id)[-1]


def has_ended(store: Store, run_id: str, attempt: int, outcome: Outcome) -> bool:
    """Return whether an attempt has ended; it must have this outcome."""
    control.ensure_runners(store)
    found = [one for one in attempts.attempts_of(store, run_id) if one.attempt == attempt]
    if not found or found[0].outcome is None:
        return False
    assert found[0].outcome is outcome, found[0].reason
    return True


def worker_of(store: Store, run_id: str, attempt: int) -> int | None:
    """Return the process of an attempt, once it is recorded."""
    for entry in Journal(store.home / "runs" / run_id).read():
        if entry["kind"] == "start" and entry["attempt"] == attempt:
            return int(entry["pid"])
    return None


def results(store: Store, run_id: str) -> object:
    """Return what a run found, bit by bit."""
    with closing(sqlite3.connect(store.path)) as connection:
        connection.row_factory = sqlite3.Row
        own = {"run_id", "id", "created_at", "seconds"}
        rows = {
            table: sorted(
                repr([(key, value) for key, value in dict(row).items() if key not in own])
                for row in connection.execute(f"SELECT * FROM {table} WHERE run_id = ?", (run_id,))
            )
            for table in ("step", "prompt", "frame")
        }
    run = store.run(run_id)
    return rows, run.words, run.prompt, run.word_gains, run.score_value, run.frames_hit


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def jobs_named(cluster: Cluster, name: str) -> int:
    """Return the number of jobs that Slurm ever had under a name."""
    return sum(f"JobName={name} " in line for line in cluster.ask(
        "scontrol", "--oneliner", "show", "jobs").splitlines())  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_head_killed_between_intent_and_receipt_submits_once(
    when: str, store: Store, cluster: Cluster, gate: Gate, add: Callable[..., str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """An sbatch that kills its keeper, once, before or after the real one took the job."""
    gate.open()
    real = subprocess.run(["which", "sbatch"], capture_output=True, text=True, check=True)
    wrapper = tmp_path / "sbatch"
    kill = f"[ -e {tmp_path}/done ] || {{ touch {tmp_path}/done; kill -9 $PPID; exit 1; }}\n"
    call = f'{real.stdout.strip()} "$@"\n'
    first = kill + call if when == "before" else f"answer=$({call.strip()})\n{kill}echo $answer\n"
    wrapper.write_text(f"#!/bin/sh\n{first}")
    wrapper.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    until(lambda: not control.runner_alive(store, "place-cluster"))
    run_id = add(SHORT)
    until((tmp_path / "done").exists)
    assert last(store, run_id).handle is None  # intent, and no receipt
    assert until(lambda: has_ended(store, run_id, 1, Outcome.FINISHED))
    assert store.run(run_id).state is State.SUCCEEDED
    assert jobs_named(cluster, f"dexter-{run_id}-1") == 1
    assert len(attempts.attempts_of(store, run_id)) == 1


def test_a_node_is_lost_and_its_worker_fenced(
    store: Store, cluster: Cluster, gate: Gate, add: Callable[..., str]
) -> None:
    gate.close(12)
    run_id = add(SHORT)
    until(lambda: store.run(run_id).steps_done >= 10)
    old = worker_of(store, run_id, 1)
    assert old is not None
    os.kill(old, signal.SIGSTOP)  # nobody hears of it, and it is still there
    cluster.kill_node()
    cluster.start_node()
    until(lambda: has_ended(store, run_id, 1, Outcome.GONE))
    new = until(lambda: worker_of(store, run_id, 2))
    os.kill(old, signal.SIGCONT)
    gate.open()
    until(lambda: is_gone(old))
    until(lambda: has_ended(store, run_id, 2, Outcome.FINISHED))
    assert new != old
    assert store.run(run_id).state is State.SUCCEEDED
    log = store.run_folder(run_id) / "log"
    assert "going on behind step 10" in log.read_text()
    undisturbed = add(SHORT)
    until(lambda: has_ended(store, undisturbed, 1, Outcome.FINISHED))
    assert results(store, run_id) == results(store, undisturbed)


def test_hold_release_time_limit_and_scancel_are_shown_as_what_they_are(
    store: Store, cluster: Cluster, gate: Gate, add: Callable[..., str]
) -> None:
    gate.open()
    run_id = add(LONG, "held")
    until(lambda: "JobHeldUser" in (last(store, run_id).seen or ""))
    assert store.run(run_id).state is State.STARTING
    job = str(last(store, run_id).handle)
    assert f"job {job}" in run_queue.activities(store)[run_id]
    cluster.ask("scontrol", "release", job)
    until(lambda: store.run(run_id).steps_done >= 1)
    # Its limit is 2 minutes from now, so that the signal comes within one.
    used = cluster.ask("squeue", "-h", "-j", job, "-o", "%M").split(":")[0]
    cluster.ask("scontrol", "update", f"JobId={job}", f"TimeLimit={int(used) + 3}")
    until(lambda: has_ended(store, run_id, 1, Outcome.PREEMPTED))
    run = store.run(run_id)
    assert run.state in (State.QUEUED, State.STARTING) and run.fruitless == 0
    until(lambda: last(store, run_id).attempt == 2 and last(store, run_id).handle)
    job = str(last(store, run_id).handle)
    cluster.ask("scontrol", "release", job)
    until(lambda: worker_of(store, run_id, 2))
    until(lambda: store.run(run_id).state is State.RUNNING)
    cluster.ask("scancel", job)
    until(lambda: has_ended(store, run_id, 2, Outcome.CANCELLED))
    run = store.run(run_id)
    assert run.state is State.CANCELLED
    assert f"cancelled at held: job {job} ended as CANCELLED" in (run.error or "")
