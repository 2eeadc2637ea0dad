"""A real Slurm on this machine, and homes beside it with a run that nothing happened to."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import short_run
import slurm_cluster
from cluster_head import STEPS, Head
from gate import Gate
from slurm_cluster import Cluster

from dexter.config import RunConfig
from dexter_tui.jobs import submit, trust
from store import State, Store
from store.database import backup

REASON = slurm_cluster.missing()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if REASON is not None:
        pytest.skip(REASON)
    folder = tmp_path_factory.mktemp("slurm")
    with slurm_cluster.running(folder) as cluster, pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        yield cluster


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, gate: Gate) -> Path:
    """A store whose one run was done at the cluster, and nothing happened to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    home = folder / "home"
    with pytest.MonkeyPatch.context() as patch, Store.open(home) as store:
        patch.setenv("DEXTER_HOME", str(home))
        head = Head(store, folder, gate)
        values = {**short_run.settings(), "classifier": gate.classifier, "class_name": "waterbird"}
        config = RunConfig.from_preset("default", seed=3, steps=STEPS, **values)
        checked = submit.check([config], home, agreed=trust.CODE, elsewhere=True)
        [run_id] = submit.add(store, checked, place=head.place_name)
        head.ends(run_id)
        assert store.run(run_id).state is State.SUCCEEDED, store.run(run_id).error
        backup(store.path, folder / "store.sqlite")
    return folder / "store.sqlite"


@pytest.fixture
def head(
    tmp_path: Path, undisturbed: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Head]:
    """A home with the undisturbed run."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "store.sqlite").write_bytes(undisturbed.read_bytes())
    monkeypatch.setenv("DEXTER_HOME", str(home))
    gate.open()
    with Store.open(home) as store:
        yield Head(store, tmp_path, gate)
    gate.open()
