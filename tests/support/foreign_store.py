"""A store from elsewhere: a small store, some of whose cells hypothesis changes to anything."""

import atexit
import copy
import functools
import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import outside
import shown_store
from hypothesis import strategies as st

from store import State, Store, run_queue
from store.states import Kind, NoteKind
from store.upkeep import retention

_INTEGERS = range(-(2**63), 2**63)


class Change(NamedTuple):
    """A new content of a cell; bytes with `as_text` become a text that need not be UTF-8."""

    table: str
    row: int
    column: str
    value: Any
    as_text: bool


@functools.cache
def _whole() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="foreign-", dir=outside.MEMORY))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    home = shown_store.copy(folder / "home")
    shown_store.compare(home)
    shown_store.screen(home)
    shown_store.report_on_pictures(home)
    with Store.open(home) as store:
        retention.set_note(store, shown_store.DONE, "a note")
        store.toggle_tag([shown_store.DONE], "kept")
        config = store.run(shown_store.DONE).config
        asked = {"llm": "none"}
        run_queue.add_job(store, Kind.REPORT, asked, config=config, study_id=shown_store.STUDY)
        run_queue.add_job(
            store, Kind.COMPARISON, {}, config=config, comparison_id=shown_store.COMPARISON
        )
        found = run_queue.add_job(store, Kind.REPORT, {}, study_id=shown_store.OTHER)
        run_queue.add_note(store, found, {"kind": NoteKind.AGAINST.value, "prompt": "a duck"})
        run_queue.set_state(store, found, State.CANCELLED)
        run_queue.set_slot(store, "cpu-0", "cpu", note="waits")
    return home


def copied(home: Path) -> Path:
    """Copy the store before its cells are changed: it has rows in nearly all tables."""
    return shutil.copytree(_whole(), home)


@functools.cache
def _rows() -> dict[str, tuple[dict[str, str], list[tuple[Any, ...]]]]:
    """The columns with their types, and the rows with their numbers, of each table."""
    found = {}
    with closing(sqlite3.connect(_whole() / "store.sqlite")) as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%search%' "
            "AND sql NOT LIKE '%WITHOUT ROWID%' "
            "AND name NOT IN ('alembic_version', 'document') ORDER BY name"
        ).fetchall():
            rows = connection.execute(f"SELECT rowid, * FROM {name} LIMIT 6").fetchall()
            if rows:
                columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
                found[name] = ({row[1]: row[2] for row in columns}, rows)
    return found


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """A change of one cell to anything."""
    table = draw(st.sampled_from(sorted(_rows())))
    columns, rows = _rows()[table]
    row = draw(st.sampled_from(rows))
    at = draw(st.integers(0, len(columns) - 1))
    column, kind = list(columns.items())[at]
    if kind == "JSON" and row[at + 1] is not None and draw(st.booleans()):
        [value] = draw(outside.changed([json.loads(row[at + 1])]).filter(lambda v: len(v) == 1))
        return Change(table, row[0], column, json.dumps(value), False)
    value = copy.deepcopy(draw(outside.anything))
    if isinstance(value, int) and value not in _INTEGERS:
        value = float(value)
    if isinstance(value, list | dict) or draw(st.integers(0, 3)) == 0:
        value = json.dumps(value)
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        return Change(table, row[0], column, data, draw(st.integers(0, 3)) > 0)
    return Change(table, row[0], column, value, False)


def apply(home: Path, wanted: list[Change]) -> None:
    """Change cells, but for changes that a constraint of the table excludes."""
    with closing(sqlite3.connect(home / "store.sqlite")) as connection:
        for table, row, column, value, as_text in wanted:
            new = "CAST(? AS TEXT)" if as_text else "?"
            try:
                with connection:
                    connection.execute(
                        f'UPDATE "{table}" SET "{column}" = {new} WHERE rowid = ?', (value, row)
                    )
            except sqlite3.IntegrityError:
                pass
