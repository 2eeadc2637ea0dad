"""The engines for the SQLite file, and its migrations.

WAL lets readers read while one writes. Every write transaction is BEGIN IMMEDIATE: a deferred
transaction that reads first fails at once, whatever the timeout, if another process wrote before
its own first write.

Nothing but SQLite may open the file in a process that has a connection to it: closing any other
descriptor frees the locks of that connection, and another process may then take its log away.
"""

import contextlib
import os
import random
import re
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from store.artifacts import place_atomic
from store.checking.decoding import to_text
from store.checking.file_systems import address_to_read
from store.checking.schema import check_schema, make_schema, objects_of
from store.errors import StoreError, explained, primary_code
from store.locks import FileLock
from store.tables import to_json

if TYPE_CHECKING:
    from alembic.config import Config

# The newest migration, written here so that opening an up-to-date store need not load Alembic.
HEAD = "0016"

PATIENCE = 10.0  # seconds to wait for another process that writes
# Pause between two tries. SQLite's own busy handler notices a free lock up to 0.1 s late.
_RETRY_SECONDS = (0.0005, 0.003)
_VERSION = "SELECT version_num FROM alembic_version"
_REHEARSAL = "rehearsal"  # an execution option of connections


def writer_engine(
    path: Path,
    *,
    foreign_keys: bool = True,
    patience: float = PATIENCE,
    durable: bool = False,
) -> sa.Engine:
    """Create an engine whose transactions take the write lock when they begin.

    `durable` transactions are on the disk when they end. A power cut may undo the last of the
    others; what they wrote is also in the journals of the runs.
    """
    return _engine(
        path,
        "rw",
        lambda connection: _begin_immediate(connection, patience),
        f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
        f"synchronous={'FULL' if durable else 'NORMAL'}",
        "busy_timeout=0",  # `_begin_immediate` waits
    )


def _begin_immediate(connection: sqlite3.Connection, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            busy = primary_code(error) == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(*_RETRY_SECONDS))


def reader_engine(path: Path) -> sa.Engine:
    """Create an engine that cannot write and never waits for a writer."""
    return _engine(path, "ro", lambda connection: connection.execute("BEGIN"), "query_only=ON")


def _engine(
    path: Path, mode: str, begin: Callable[[sqlite3.Connection], object], *pragmas: str
) -> sa.Engine:
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: connect(path, mode),
        poolclass=QueuePool,
        json_serializer=to_json,
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if not connection.get_execution_options().get(_REHEARSAL):
            begin(cast(sqlite3.Connection, connection.connection.dbapi_connection))

    @sa.event.listens_for(engine, "do_execute")
    @sa.event.listens_for(engine, "do_executemany")
    def _is_done(*arguments: Any) -> bool:
        return bool(arguments[-1].execution_options.get(_REHEARSAL))

    return engine


def rehearsal(engine: sa.Engine) -> sa.Engine:
    """Return a copy of the engine that compiles and caches statements but executes none.

    The first write of a process takes SQLAlchemy 10 times as long as later ones, while other
    processes wait for the lock.
    """
    return engine.execution_options(**{_REHEARSAL: True})


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a plain connection to the file, with `mode` "ro" or "rw"."""
    # isolation_level None: the driver begins no transaction of its own.
    connection = sqlite3.connect(
        address_to_read(path) if mode == "ro" else f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=PATIENCE,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = to_text
    return connection


def is_newer(path: Path) -> bool:
    """Return whether a newer program upgraded the store."""
    with explained(path):
        revision = _revision(path)
    return revision is not None and revision > HEAD


def is_current(path: Path) -> bool:
    """Return whether the store has this version; raise StoreError if a newer program wrote it."""
    revision = _revision(path)
    if revision is not None and revision > HEAD:
        raise StoreError(
            f"written by a newer version (schema {revision}; this version supports up to {HEAD})",
            field=str(path),
            remedy="update dexter-tui or name another folder with DEXTER_HOME",
        )
    return revision == HEAD


def _revision(path: Path) -> str | None:
    """Return the newest applied migration: "0000" if all were undone, None without a store.

    Raises StoreError for another database, and for an altered store of this version.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    with contextlib.closing(connect(path, "ro")) as connection:
        objects = objects_of(connection)
        if not objects:
            return None
        found = "table alembic_version" in objects
        row = connection.execute(_VERSION).fetchone() if found else None
        if found and row is None:
            return "0000"
        if row is None or not re.fullmatch(r"(?!0000)\d{4}", str(row[0])):
            raise StoreError(
                "a database, but not a store of dexter-tui",
                field=str(path),
                remedy="move it away or name another folder with DEXTER_HOME",
            )
        if row[0] == HEAD:
            check_schema(connection, path)
        return str(row[0])


def prepare(path: Path, lock: Path) -> None:
    """Create or upgrade the store, one process at a time.

    A store of an older version is first copied to `store.<revision>.<time>.backup.sqlite`.
    """
    if is_current(path):
        _use_wal(path)
        return
    with FileLock(lock, wait=True):
        if is_current(path):
            return  # another process was faster
        revision = _revision(path)
        if revision is not None:
            _backup_before_upgrade(path, revision)
            migrate(path, HEAD)
            is_current(path)  # an older store may have been altered as well
        else:
            _create(path)


def _use_wal(path: Path) -> None:
    """Switch a restored backup to WAL: VACUUM wrote it in the other mode, where readers block."""
    with (
        contextlib.closing(connect(path, "rw")) as connection,
        contextlib.suppress(sqlite3.OperationalError),  # in use, or read-only
    ):
        connection.execute("PRAGMA journal_mode=WAL")


def _create(path: Path) -> None:
    """Create a store under a temporary name, so that no other process opens an incomplete one."""
    new = path.with_suffix(".new.sqlite")
    for left in path.parent.glob(f"{new.name}*"):  # left by a process that was killed
        left.unlink()
    new.touch(mode=0o600)
    with contextlib.closing(connect(new, "rw")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        make_schema(connection, HEAD)
    # SQLite would write the log of a lost store into the new one.
    move_logs(path, path.with_suffix(f".{_stamp()}.lost.sqlite"))
    new.replace(path)


def move_logs(path: Path, target: Path) -> None:
    """Give the files that SQLite keeps beside a database the name of another."""
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(target.with_name(target.name + suffix))


def _backup_before_upgrade(path: Path, revision: str) -> None:
    backup(path, path.with_suffix(f".{revision}.{_stamp()}.backup.sqlite"))


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")


def backup(path: Path, target: Path) -> None:
    """Write a complete, compact copy of the store, even while others write to it.

    A copy that fails or is killed leaves nothing under the name of the target.
    """

    def write(copy: Path) -> None:
        with contextlib.closing(connect(path, "ro")) as connection:
            connection.execute("VACUUM INTO ?", (os.fspath(copy),))
        copy.chmod(0o600)

    place_atomic(target, write)


def is_complete(copy: Path) -> bool:
    """Return whether a copy has all its pages and is a store; not whether these are sound."""
    try:
        with contextlib.closing(connect(copy, "ro")) as connection:
            [size] = connection.execute("PRAGMA page_size").fetchone()
            [count] = connection.execute("PRAGMA page_count").fetchone()
            connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return False
    return bool(copy.stat().st_size >= size * count)


def migrations() -> "Config":
    """Return Alembic's settings, by which it finds the migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "store:migrations")
    config.set_main_option("recursive_version_locations", "true")
    return config


def migrate(path: Path, to: str) -> None:
    """Migrate the existing file to revision `to` ("base" for none) in one transaction."""
    from alembic import command

    config = migrations()
    # Rebuilding a table drops the old one; with foreign keys on, that would empty other tables.
    engine = writer_engine(path, foreign_keys=False)
    try:
        with engine.connect() as connection:
            with contextlib.closing(connect(path, "rw")) as outside:
                outside.execute("PRAGMA journal_mode=WAL")  # not possible within a transaction
            with connection.begin():
                config.attributes["connection"] = connection
                if to == "base":
                    command.downgrade(config, to)
                else:
                    command.upgrade(config, to)
    finally:
        engine.dispose()
