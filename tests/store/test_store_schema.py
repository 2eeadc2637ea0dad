"""The migrations lead to the tables, step by step, and keep what is there."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from store import Store, StoreError
from store.database import HEAD, migrate, writer_engine
from store.reading.browse import Browse
from store.tables import Table


@pytest.fixture(scope="module")
def scripts():
    config = Config()
    config.set_main_option("script_location", "store:migrations")
    return ScriptDirectory.from_config(config)


def schema(path):
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, tbl_name FROM sqlite_master").fetchall()
        rows = [row for row in rows if not of_search(row[2])]
        tables = [name for kind, name, _ in rows if kind == "table" and name != "alembic_version"]
        columns = {
            name: sorted(
                (column, kind, not_null, key)
                for _, column, kind, not_null, _, key in connection.execute(
                    f"PRAGMA table_info('{name}')"
                )
            )
            for name in tables
        }
        keys = {
            name: sorted(
                row[2:5] for row in connection.execute(f"PRAGMA foreign_key_list('{name}')")
            )
            for name in tables
        }
        indexes = sorted(row for row in rows if row[0] == "index" and row[2] != "alembic_version")
    return columns, keys, indexes


def of_search(table):
    """Return whether a table is part of the full-text index, which no model describes."""
    return table == "search" or table.startswith("search_")


def test_head_is_the_newest_migration(scripts):
    assert scripts.get_heads() == [HEAD]


def test_migrations_from_nothing_give_the_tables(tmp_path):
    with Store.open(tmp_path / "home") as store:
        migrated = schema(store.path)
        options = {
            "compare_type": True,
            "include_name": lambda name, kind, _: kind != "table" or not of_search(name),
        }
        with writer_engine(store.path).connect() as connection:
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, Table.metadata) == []
    engine = sa.create_engine(f"sqlite:///{tmp_path}/direct.sqlite")
    Table.metadata.create_all(engine)
    engine.dispose()
    assert migrated == schema(tmp_path / "direct.sqlite")


def test_each_revision_steps_forward_and_back(tmp_path, scripts):
    path = tmp_path / "store.sqlite"
    path.touch()
    before = []
    for script in reversed(list(scripts.walk_revisions())):
        before.append(schema(path))
        migrate(path, script.revision)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [
                (script.revision,)
            ]
    migrate(path, "base")
    assert schema(path) == before[0]


def test_every_constraint_has_a_name():
    for table in Table.metadata.tables.values():
        for constraint in table.constraints:
            assert constraint.name, f"{table.name}: {constraint!r}"


def test_a_reader_never_meets_a_store_half_made(tmp_path):
    read, met = Browse(tmp_path), []
    begun, made = Event(), Event()

    def look() -> None:
        while not made.is_set():
            try:
                read.keys()
            except StoreError as error:
                met.append(str(error))
            begun.set()

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            assert begun.wait(300)
            Store.open(tmp_path).close()
        finally:
            made.set()
        looking.result()
    assert met == []
    assert read.state_of_schema() == "current"
    assert read.keys().runs == 0


def test_a_store_is_made_where_another_process_was_killed_in_the_making(tmp_path):
    (tmp_path / "store.new.sqlite").write_bytes(b"half a file")
    Store.open(tmp_path).close()
    assert Browse(tmp_path).state_of_schema() == "current"
    assert not list(tmp_path.glob("store.new.sqlite*"))


def test_an_older_store_is_copied_before_it_is_upgraded(tmp_path):
    home = tmp_path / "home"
    Store.open(home).close()
    migrate(home / "store.sqlite", "base")
    with closing(sqlite3.connect(home / "store.sqlite")) as connection:
        connection.execute("CREATE TABLE scrap AS SELECT 'keep me' AS text")
    with Store.open(home) as store:
        assert store.runs() == []
    (backup,) = home.glob("store.*.backup.sqlite")
    assert backup.name.startswith("store.0000.")
    assert backup.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT text FROM scrap").fetchone() == ("keep me",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_current_store_is_not_copied(tmp_path):
    for _ in range(2):
        Store.open(tmp_path).close()
    assert not list(tmp_path.glob("*.backup.sqlite"))


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_store_is_refused_and_left_alone(tmp_path, read_only):
    Store.open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = (tmp_path / "store.sqlite").read_bytes()
    with pytest.raises(
        StoreError, match=r"newer version .schema 9999.*update dexter-tui"
    ) as refusal:
        Store.open(tmp_path, read_only=read_only)
    assert "\n" not in str(refusal.value)
    assert (tmp_path / "store.sqlite").read_bytes() == before
