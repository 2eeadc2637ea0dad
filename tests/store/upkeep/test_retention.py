"""Deletions and tags, while other processes change the same rows."""

import os
import resource
import sqlite3
from pathlib import Path

import pytest
import recorded
import sqlalchemy as sa

from store import State, Store, StoreError, run_queue
from store.states import Kind
from store.upkeep import retention, transfer


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path) as store:
        yield store


@pytest.fixture
def study(store):
    classifier = store.ensure_classifier("lab:birds", None, ["a", "b"], 64)
    return store.ensure_study(classifier, "a", 0, {})


def test_a_deletion_is_refused_if_more_began_since_it_was_shown(store, study):
    recorded.add_run(store, study, 0, {})
    job = run_queue.add_job(store, Kind.REPORT, {}, study_id=study)
    shown = retention.doomed(store, [study])
    new = recorded.add_run(store, study, 1, {})
    with pytest.raises(StoreError, match=f"study {study} has a new run {new}; nothing was del"):
        retention.delete(store, shown)
    shown = retention.doomed(store, [study])
    run_queue.claim(store, ids=[job])
    with pytest.raises(StoreError, match=f"{study}: its report {job} is starting; cancel it"):
        retention.delete(store, shown)
    assert len(store.runs()) == 2
    run_queue.finish_job(store, job, State.FAILED)
    retention.delete(store, shown)
    assert (store.runs(), store.studies(), run_queue.jobs(store)) == ([], [], [])


@pytest.mark.parametrize("lock_is_there", [True, False])
def test_a_run_whose_process_lives_is_not_deleted(store, study, lock_is_there):
    run = recorded.add_run(store, study, 0, {})
    shown = retention.doomed(store, [run])
    run_queue.claim(store)
    if not lock_is_there:
        run_queue.lock_path(store, run).unlink()
    for deletion in (
        lambda: retention.doomed(store, [study]),
        lambda: retention.delete(store, shown),
    ):
        with pytest.raises(StoreError, match=f"run {run} is running; cancel it first"):
            deletion()
    assert store.run(run).state is State.STARTING


def test_a_run_that_is_deleted_while_it_is_settled_is_left_out(tmp_path, store, study):
    run = recorded.add_run(store, study, 0, {})
    run_queue.claim(store)
    run_queue.release(store, run)  # as if its process had been killed
    with Store.open(tmp_path) as other:

        @sa.event.listens_for(store._writer, "engine_connect", once=True)
        def _delete(_):
            retention.delete(other, retention.doomed(other, [run]))

        assert run_queue.reconcile(store) == []
        assert other.runs() == []


@pytest.fixture
def few_files():
    """Let this process open few files more than it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path(os.devnull).open() as free:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free.fileno() + 40, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_any_number_of_runs_is_tagged_exported_and_deleted(tmp_path, monkeypatch, few_files):
    """SQLite here takes fewer variables than there are runs, and there are fewer files."""
    plain = sqlite3.connect

    def limited(*arguments, **options):
        connection = plain(*arguments, **options)
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 60)
        return connection

    monkeypatch.setattr(sqlite3, "connect", limited)
    with Store.open(tmp_path) as store:
        classifier = store.ensure_classifier("lab:birds", None, ["a", "b"], 64)
        study = store.ensure_study(classifier, "a", 0, {})
        runs = store.add_runs(study, [(seed, {}) for seed in range(70)])
        assert retention.set_tag(store, [study], "archived", given=True) == runs
        assert retention.archived(store) == {*runs}
        assert retention.set_tag(store, runs, "archived", given=False) == runs
        assert retention.archived(store) == set()
        assert len(run_queue.find_all(store, runs)) == 70
        claimed = run_queue.claim(store, ids=runs[:65])
        assert claimed is not None
        run_queue.finish_run(store, claimed.id, State.FAILED)
        assert len(transfer.gather(store, transfer.Chosen(store, runs))[0]) > 70
        retention.delete(store, retention.doomed(store, [study]))
        assert store.runs() == []


def test_a_tag_given_twice_at_the_same_time_stays(tmp_path, store, study):
    run = recorded.add_run(store, study, 0, {})
    with Store.open(tmp_path) as other:

        @sa.event.listens_for(store._writer, "engine_connect", once=True)
        def _tag(_):
            retention.set_tag(other, [run], "archived", given=True)

        retention.set_tag(store, [run], "archived", given=True)
        assert retention.archived(other) == {run}


def test_runs_without_room_for_their_journals_are_queued_all_the_same(store, study):
    (store.home / "runs").rmdir()
    (store.home / "runs").touch()
    run = recorded.add_run(store, study, 0, {})
    assert [queued.id for queued in run_queue.queue(store)] == [run]
