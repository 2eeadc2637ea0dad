"""A store that is lost."""

import shutil

import pytest

from store import Store
from store.journal import study_file
from store.upkeep import health, rebuilding


@pytest.fixture
def study(tmp_path):
    with Store.open(tmp_path) as store:
        classifier = store.ensure_classifier("lab:birds", None, ["a", "b"], 64)
        return store.ensure_study(classifier, "a", 0, {})


def test_a_new_store_is_not_damaged_by_the_log_of_a_lost_one(tmp_path, study):
    with Store.open(tmp_path) as store:
        store.add_runs(study, [(seed, {"x": "y" * 9000}) for seed in range(20)])
    with Store.open(tmp_path) as store:
        [run, *_] = store.add_runs(study, [(seed, {"x": "y" * 9000}) for seed in range(20, 30)])
        log = (tmp_path / "store.sqlite-wal").read_bytes()
    for folder in (tmp_path / "runs").iterdir():
        if folder.name != run:
            shutil.rmtree(folder)
    (tmp_path / "store.sqlite").unlink()
    (tmp_path / "store.sqlite-wal").write_bytes(log)  # as a killed process leaves it
    rebuilt = rebuilding.rebuild(tmp_path)
    assert (rebuilt.runs, rebuilt.refused) == ([run], {})
    with Store.open(tmp_path) as store:
        assert health.examine(store) == []
    [kept] = tmp_path.glob("store.*.lost.sqlite-wal")
    assert kept.read_bytes() == log


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "{}", '{"study": '], ids=["deep", "other", "torn"]
)
def test_a_file_of_a_study_that_is_none_is_named_and_written_again(tmp_path, study, content):
    with Store.open(tmp_path) as store:
        store.keep_study(study)
        file = study_file.path(tmp_path, study)
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        [trouble] = health.examine(store, repair=True)
        assert str(file) in trouble.what
        assert health.examine(store) == []
