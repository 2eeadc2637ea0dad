"""The schema that a store of this version has: made in a new file, checked in another.

A file from elsewhere may hold a view in place of a table, or triggers of its own: reading such a
view may never end, and a trigger changes what is written. `migrations/schema.json` is what the
migrations make; `python tests/store/test_store_schema.py` writes it.
"""

import json
import sqlite3
from functools import cache
from pathlib import Path

from store.errors import StoreError

FILE = Path(__file__).parents[1] / "migrations" / "schema.json"

# Not the indexes that SQLite makes for keys.
_OBJECTS = "SELECT type || ' ' || name, sql FROM sqlite_master WHERE sql IS NOT NULL"
# An index or a trigger needs its table.
_ORDER = ("table", "view", "index", "trigger")
# SQLite makes these with the full-text index.
_OF_SEARCH = "table search_"


@cache
def _made() -> dict[str, str]:
    objects: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))
    return objects


@cache
def _expected() -> dict[str, str]:
    return {name: sql for name, sql in _made().items() if not name.startswith("index ")}


def objects_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the SQL of each table, view, index and trigger, by type and name ("table run")."""
    return dict(connection.execute(_OBJECTS).fetchall())


def make_schema(connection: sqlite3.Connection, revision: str) -> None:
    """Make in an empty database what all migrations to the newest, `revision`, would make.

    The migrations themselves take ten times as long.
    """
    objects = sorted(_made().items(), key=lambda item: _ORDER.index(item[0].partition(" ")[0]))
    connection.execute("BEGIN IMMEDIATE")
    for name, sql in objects:
        if not name.startswith(_OF_SEARCH):
            connection.execute(sql)
    connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    connection.execute("COMMIT")


def check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StoreError if a table, view or trigger is not that of a store of this version.

    Further tables and views are a user's own; further triggers are refused.
    """
    found = objects_of(connection)
    for name, sql in _expected().items():
        if found.get(name) != sql:
            raise _altered(path, name)
    for name in found.keys() - _expected().keys():
        if name.startswith("trigger "):
            raise _altered(path, name)


def _altered(path: Path, name: str) -> StoreError:
    return StoreError(
        f"its {name} is not that of a store of this version",
        field=str(path),
        value=name,
        remedy="copy a backup (store.*.backup.sqlite) over it and remove its -wal and -shm files",
    )
