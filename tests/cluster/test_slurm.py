"""Runs on a real Slurm, which these tests start on this machine and stop: `make cluster-test`."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import short_run
import slurm_cluster
from slurm_cluster import Cluster
from waiting import until

from dexter.config import RunConfig
from dexter_tui.jobs import control, submit
from store import State, Store
from store.placed import attempts
from store.states import Outcome
from store.tables import Attempt

REASON = slurm_cluster.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

STEPS = 40


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
    (home / "config.toml").write_text(
        f'[places.cluster]\nkind = "slurm"\nfolder = "{folder}/shared"\n'
        'gres = "gpu:1"\ntime = "50"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEXTER_HOME", str(home))
        yield home


@pytest.fixture(scope="module")
def store(home: Path) -> Iterator[Store]:
    with Store.open(home) as store:
        yield store


def add(store: Store) -> str:
    """Queue a run at the cluster and have it kept; return its id."""
    values = {**short_run.settings(), "class_name": "waterbird"}
    config = RunConfig.from_preset("default", seed=3, steps=STEPS, **values)
    checked = submit.check([config], store.home, elsewhere=True)
    [run_id] = submit.add(store, checked, place="cluster")
    control.ensure_runners(store, again=True)
    return run_id


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


def jobs_named(cluster: Cluster, name: str) -> int:
    """Return the number of jobs that Slurm ever had under a name."""
    return sum(f"JobName={name} " in line for line in cluster.ask(
        "scontrol", "--oneliner", "show", "jobs").splitlines())  # fmt: skip


def test_a_head_killed_between_intent_and_receipt_submits_once(
    store: Store, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An sbatch that kills its keeper, once."""
    real = shutil.which("sbatch")
    wrapper = tmp_path / "sbatch"
    kill = f"[ -e {tmp_path}/done ] || {{ touch {tmp_path}/done; kill -9 $PPID; exit 1; }}"
    wrapper.write_text(f'#!/bin/sh\n{kill}\n{real} "$@"\n')
    wrapper.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    run_id = add(store)
    until((tmp_path / "done").exists)
    assert last(store, run_id).handle is None  # intent, and no receipt
    assert until(lambda: has_ended(store, run_id, 1, Outcome.FINISHED))
    assert store.run(run_id).state is State.SUCCEEDED
    assert jobs_named(cluster, f"dexter-{run_id}-1") == 1
    assert len(attempts.attempts_of(store, run_id)) == 1
