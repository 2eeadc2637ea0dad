"""Trials of the store's promises: upgrades that are killed, and a crowd of readers.

``make trials`` plays the long form: a kill before every statement, and 1,000 readers.
"""

import multiprocessing
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import recorded
import sqlalchemy as sa

from store import Store
from store.database import HEAD, is_complete, migrate
from store.reading.browse import Browse, connect_read_only

FULL = "DEXTER_TRIALS" in os.environ
EVERY = 1 if FULL else 16  # statements
REVISIONS = [f"{n:04}" for n in range(1, int(HEAD))]
READERS = 1000 if FULL else 100
PER_PROCESS = 200 if FULL else 50  # connections: each has up to 3 files open
STEPS = 200 if FULL else 50

forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(["store", "alembic.command", "pytest"])


def upgrade_and_die(send, home, statement):
    """Open a store, and die before a statement of the upgrade; send the number of statements."""
    count = 0

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def die(*_):
        nonlocal count
        count += 1
        if count == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    Store.open(home).close()
    send(count)


def in_a_process(target, *arguments):
    """Run a function in a process; return what it sends, None if it kills itself."""
    receive, send = forkserver.Pipe(duplex=False)
    process = forkserver.Process(target=target, args=(send.send, *arguments), daemon=True)
    process.start()
    send.close()
    try:
        return receive.recv()
    except EOFError:
        return None
    finally:
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)


def old_store(home: Path, revision: str) -> None:
    """Make a store of an older version with a row in each of its first tables."""
    home.mkdir()
    path = home / "store.sqlite"
    path.touch()
    migrate(path, revision)
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, own in (
            ("classifier", {"id": 1, "labels": '["a"]'}),
            ("study", {"id": "s1", "classifier_id": 1, "settings": "{}"}),
            ("run", {"id": "r1", "study_id": "s1", "state": "succeeded", "config": "{}"}),
            ("step", {"run_id": "r1", "step": 1, "losses": "{}", "words": '["sea"]'}),
        ):
            columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
            needed = [(name, kind) for _, name, kind, must, *_ in columns if must]
            row = {**{name: 0 if "INT" in kind else "" for name, kind in needed}, **own}
            marks = ",".join("?" * len(row))
            connection.execute(
                f"INSERT INTO {table} ({','.join(row)}) VALUES ({marks})", list(row.values())
            )


def content(path: Path) -> list[list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [
            connection.execute(f"SELECT {columns} FROM {table}").fetchall()
            for table, columns in (
                ("classifier", "id, labels"),
                ("study", "id, classifier_id"),
                ("run", "id, study_id, state"),
                ("step", "run_id, step, words"),
            )
        ]


def revision_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        [[revision]] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(revision)


@pytest.mark.parametrize("revision", REVISIONS if FULL else [REVISIONS[0], REVISIONS[-1]])
def test_an_upgrade_that_is_killed_changes_nothing_and_can_be_repeated(tmp_path, revision):
    home = tmp_path / "home"
    path = home / "store.sqlite"
    old_store(home, revision)
    before = content(path)
    statement, killed = 1, 0
    while in_a_process(upgrade_and_die, home, statement) is None:
        assert (revision_of(path), content(path)) == (revision, before)
        for backup in home.glob("store.*.backup.sqlite"):
            assert is_complete(backup)
            backup.unlink()
        statement += EVERY
        killed += 1
    assert killed > 0
    assert (revision_of(path), content(path)) == (HEAD, before)
    assert Browse(home).state_of_schema() == "current"
    [backup] = home.glob("store.*.backup.sqlite")
    assert content(backup) == before


def read_on(send, home, go, stop):
    """Read over many connections until a writer has ended; send the number of reads."""
    path = home / "store.sqlite"
    connections = [connect_read_only(path) for _ in range(PER_PROCESS)]
    reads = 0
    for connection in connections:
        connection.execute("SELECT count(*) FROM step").fetchone()
    go.release()
    while not stop.is_set():
        for connection in connections:
            [steps] = connection.execute("SELECT count(*) FROM step").fetchone()
            [last] = connection.execute("SELECT coalesce(max(step), 0) FROM step").fetchone()
            assert last >= steps  # a later look sees no less
            reads += 1
    for connection in connections:
        connection.close()
    send(reads)


def test_a_crowd_of_readers_neither_stops_a_writer_nor_reads_half_of_a_step(tmp_path):
    go, stop = forkserver.Semaphore(0), forkserver.Event()
    with Store.open(tmp_path) as store:
        classifier = store.ensure_classifier("lab:birds", None, ["a", "b"], 64)
        run = recorded.add_run(store, store.ensure_study(classifier, "a", 0, {}), 0, {})
        readers = []
        for _ in range(READERS // PER_PROCESS):
            receive, send = forkserver.Pipe(duplex=False)
            process = forkserver.Process(
                target=read_on, args=(send.send, tmp_path, go, stop), daemon=True
            )
            process.start()
            send.close()
            readers.append((process, receive))
        for _ in readers:
            go.acquire()
        for number in range(1, STEPS + 1):
            step = {"step": number, "losses": {"total": 1.0}, "words": ["sea"] * 6}
            recorded.record_steps(store, run, [step])
        stop.set()
        assert all(receive.recv() > 0 for _, receive in readers)
        for process, _ in readers:
            process.join()
            assert process.exitcode == 0
        assert len(store.steps(run)) == STEPS
