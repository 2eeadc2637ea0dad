"""The migrations lead to the tables, step by step, and keep what is there."""

import json
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import Session

from dexter_tui.cli.entry import main
from store import State, Store, StoreError, run_queue, study_records
from store.checking.schema import FILE, objects_of
from store.database import HEAD, migrate, migrations, writer_engine
from store.markdown.report import markdown
from store.reading import comparisons
from store.reading.browse import Browse
from store.tables import (
    Claim,
    Classifier,
    Comparison,
    Member,
    Report,
    Run,
    Stage,
    Study,
    Table,
)


@pytest.fixture(scope="module")
def scripts():
    return ScriptDirectory.from_config(migrations())


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
    path = tmp_path / "store.sqlite"
    newest(path)
    migrated = schema(path)
    options = {
        "compare_type": True,
        "include_name": lambda name, kind, _: kind != "table" or not of_search(name),
    }
    with writer_engine(path).connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Table.metadata) == []
    engine = sa.create_engine(f"sqlite:///{tmp_path}/direct.sqlite")
    Table.metadata.create_all(engine)
    engine.dispose()
    assert migrated == schema(tmp_path / "direct.sqlite")


def newest(path):
    """Make a store with all migrations; return its tables, views, indexes and triggers."""
    path.touch()
    migrate(path, HEAD)
    with closing(sqlite3.connect(path)) as connection:
        return objects_of(connection)


def test_the_schema_s_file_is_that_of_the_migrations(tmp_path):
    assert json.loads(FILE.read_text()) == newest(tmp_path / "store.sqlite")


def test_a_new_store_is_what_the_migrations_make(tmp_path):
    migrated = tmp_path / "migrated.sqlite"
    newest(migrated)
    with Store.open(tmp_path / "home") as store:
        settings = []
        for path in (store.path, migrated):
            with closing(sqlite3.connect(path)) as connection:
                pragmas = ("journal_mode", "user_version", "auto_vacuum", "page_size", "encoding")
                values = [connection.execute(f"PRAGMA {name}").fetchone() for name in pragmas]
                settings.append((values, sorted(connection.iterdump())))
        assert settings[0] == settings[1]


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT * FROM n WHERE i > 1"


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (["DROP TABLE tag", f"CREATE VIEW tag AS {ENDLESS}"], "table tag"),
        (["DROP VIEW runs_summary", f"CREATE VIEW runs_summary AS {ENDLESS}"], "view runs_summary"),
        (
            ["CREATE TRIGGER t AFTER UPDATE ON run BEGIN DELETE FROM step; END"],
            "trigger t",
        ),
    ],
)
def test_an_altered_store_is_refused(statements, named, tmp_path, monkeypatch, capsys):
    with Store.open(tmp_path) as store:
        path = store.path
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE VIEW own AS SELECT id FROM run")
        Store.open(tmp_path).close()
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    with pytest.raises(StoreError, match=f"its {named} is not that of a store"):
        Store.open(tmp_path)
    with pytest.raises(StoreError, match=f"its {named} is not that of a store"):
        Browse(tmp_path).state_of_schema()
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path))
    for command in ("runs", "doctor"):
        assert main([command]) == (2 if command == "runs" else 1)
        captured = capsys.readouterr()
        assert f"its {named} is not that of a store" in captured.out + captured.err


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


def test_a_store_from_before_the_jobs_opens_with_all_that_it_holds(tmp_path, monkeypatch, capsys):
    home = tmp_path / "home"
    home.mkdir()
    path = home / "store.sqlite"
    path.touch()
    migrate(path, "0006")
    config = {"device": "cpu", "seed": 1}
    evidence: dict[str, Any] = dict.fromkeys(("effect", "low", "high", "p", "p_corrected"), 0.1)
    numbers: dict[str, Any] = {"pairs": 32, "flips": 1, "min_effect": 0.1}
    numbers |= {"flip_low": 0.0, "flip_high": 0.1}
    rows = [
        Classifier(id=1, spec="lab:birds", weights_hash="w", labels=["a"], image_size=64, key="k"),
        Study(
            id="s1", classifier_id=1, class_name="a", class_index=0, settings={}, settings_hash="",
        ),
        Run(id="r1", study_id="s1", seed=1, config=config, config_hash="", state=State.QUEUED),
        Run(
            id="r2", study_id="s1", seed=2, config=config, config_hash="",
            state=State.SUCCEEDED, words=["sea"], score_value=0.5,
        ),
        Stage(study_id="s1", name="claims", state="done", done=3, total=3),
        Report(id=1, study_id="s1", author="evidence", markdown="text"),
        Claim(
            id=1, study_id="s1", number=1, concept="sea", slot="background", direction=1,
            sources={},
            over_represented=False, core=False, verdict="confirmed", generator="g",
            **evidence, **numbers,
        ),
        Comparison(id="c1", settings={}, state="done", done=7, total=7),
        Comparison(id="c2", settings={}, state="running", stage="models"),
        Member(
            id=1, comparison_id="c1", class_name="a", position=0, name="lab:birds", classifier_id=1,
            class_index=0, study_id="s1", config=config,
        ),
    ]  # fmt: skip
    engine = writer_engine(path)
    with Session(engine) as session, session.begin():
        for row in rows:
            there = {name for _, name, *_ in session.execute(
                sa.text(f"PRAGMA table_info({row.__tablename__})")
            )}  # fmt: skip
            session.execute(sa.insert(type(row)).values(row.model_dump(include=there)))
    engine.dispose()
    before = contents(path)
    monkeypatch.setenv("DEXTER_HOME", str(home))
    assert main(["compare", "--json"]) == 0  # upgrades it
    listed = json.loads(capsys.readouterr().out)
    assert {one["id"]: one["state"] for one in listed} == {"c1": "done", "c2": "failed"}
    columns = {name: list(found) for name, found in before.items()}
    with Store.open(home) as store:
        assert contents(path, columns) == before
        assert {run.id: run.state for run in store.runs()} == {
            "r1": State.QUEUED,
            "r2": State.SUCCEEDED,
        }
        assert [work.id for work in run_queue.queue(store)] == ["r1"]
        assert run_queue.jobs(store) == []
        assert [claim.concept for claim in study_records.claims(store, "s1")] == ["sea"]
        assert [report.markdown for report in store.reports("s1")] == ["text"]
        page = markdown(store, ["s1"], tmp_path / "report.md").read_text()
    # A report of an older store is shown in the form of today: the verdict first.
    verdict, limits, appendix = map(page.index, ("## Verdict", "## Limits", "## Appendix"))
    assert verdict < page.index("Relies on **sea**") < limits < appendix
    browse = Browse(home)
    assert [stage.state for stage in browse.stages("s1")] == ["done"]
    totals = {one["id"]: one["total"] for one in comparisons.listed(browse)}
    assert totals == {"c1": 7, "c2": 0}


def contents(path, columns=None):
    """Return all columns (or these) of the tables of the migration before, by table."""
    with closing(sqlite3.connect(path)) as connection:
        names = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name not in ("job", "alembic_version") and not name.startswith("search")
        ]
        columns = columns or {
            name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
            for name in names
        }
        return {
            name: {
                column: connection.execute(f"SELECT {column} FROM {name}").fetchall()
                for column in own
            }
            for name, own in columns.items()
        }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = newest(Path(folder) / "store.sqlite")
    FILE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
