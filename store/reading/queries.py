"""Queries that users write in SQL, with limits on statements, time and size.

The connection is read-only, an authorizer denies everything but reads, and limits stop endless
queries. No query changes the store, and each ends with an answer or a one-line error.
"""

import difflib
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from store.errors import StoreError, explained, primary_code
from store.reading.browse import connect_read_only

LIMIT = 1000  # rows
MAX_LIMIT = 1_000_000
TIMEOUT = 10.0  # seconds
MAX_TIMEOUT = 600.0
MAX_BYTES = 64_000_000  # of an answer
MAX_VALUE = 5_000_000  # bytes of one value
RANKED = 20_000  # matches up to which a search orders them by relevance
MEMORY = 512_000_000  # bytes of SQLite with its temporary space, where a query has its own process
_OPERATIONS = 5_000  # instructions of SQLite between two checks of the time limit

# The views with a stable interface, for Datasette, scripts and the examples; see docs/queries.md.
VIEWS = (
    "studies_summary",
    "runs_summary",
    "best_prompts",
    "word_gains",
    "claims_all",
    "comparisons_all",
    "screenings_all",
    "data_reports_all",
    "steps_wide",
    "frames_all",
)

EXAMPLES = (
    (
        "the best prompt of each class",
        "SELECT class_name, direction, classifier, prompt, score FROM best_prompts WHERE place = 1",
    ),
    (
        "confirmed claims of one classifier alone",
        "SELECT class_name, concept, min(classifier) AS classifier, round(avg(effect), 2) AS "
        "effect FROM claims_all WHERE verdict = 'confirmed' GROUP BY class_name, concept "
        "HAVING count(DISTINCT classifier) = 1",
    ),
    (
        "differences between two classifiers",
        "SELECT class_name, concept, a, b, effect, low, high, p_corrected FROM comparisons_all "
        "WHERE verdict = 'differ' ORDER BY abs(effect) DESC LIMIT 50",
    ),
    (
        "biases, strongest first",
        "SELECT classifier, class_name, concept, effect, low, high FROM claims_all WHERE bias "
        "ORDER BY abs(effect) DESC LIMIT 50",
    ),
    (
        "the loss at step 50 across the newest study",
        "SELECT seed, loss, words FROM steps_wide WHERE step = 50 AND study_id = "
        "(SELECT id FROM study ORDER BY created_at DESC LIMIT 1) ORDER BY seed",
    ),
    (
        "frames by a word of their caption",
        "SELECT frames_all.run_id, frames_all.prompt, search.text AS caption, frames_all.sha256 "
        "FROM search JOIN frames_all ON frames_all.sha256 = search.ref "
        "WHERE search MATCH 'sea' AND search.kind = 'caption' ORDER BY search.rowid LIMIT 20",
    ),
    (
        "runs by the hash of the classifier's weights",
        "SELECT run_id, classifier, class_name, seed, score, words FROM runs_summary "
        "WHERE weights_hash LIKE '3f%' ORDER BY score DESC LIMIT 20",
    ),
    (
        "the most frequent final words",
        "SELECT value AS word, count(*) AS runs, round(avg(score_value), 2) AS mean_score "
        "FROM run, json_each(run.words) WHERE state = 'succeeded' GROUP BY value "
        "ORDER BY runs DESC LIMIT 20",
    ),
    (
        "reasons for failed runs",
        "SELECT error, count(*) AS runs, min(run_id) AS one_of_them FROM runs_summary "
        "WHERE state IN ('failed', 'lost') GROUP BY error ORDER BY runs DESC LIMIT 20",
    ),
    (
        "everything that mentions a word: final words, captions, claims, reports, notes",
        "SELECT kind, ref, study_id, snippet(search, 3, '[', ']', '...', 12) AS found "
        "FROM search WHERE search MATCH 'lake' ORDER BY rank LIMIT 20",
    ),
)


class DamagedJson(StoreError):
    """A cell that should hold JSON does not, in a row that a query reads."""


class Answer(NamedTuple):
    """The rows of a query."""

    columns: list[str]
    """Unique names."""
    rows: list[tuple[Any, ...]]
    cut: str | None
    """A note if rows were left out."""
    seconds: float


def ask(
    path: Path, sql: str, *, limit: int = LIMIT, timeout: float = TIMEOUT, in_memory: bool = False
) -> Answer:
    """Answer a query from the store at ``path``; raise StoreError if it is refused.

    With `in_memory`, temporary space is memory, and the memory of SQLite in this process is
    limited to `MEMORY`.
    """
    return _answer(path, sql, (), limit, timeout, in_memory)


def find(
    path: Path, words: str, *, limit: int = 50, timeout: float = TIMEOUT, in_memory: bool = False
) -> Answer:
    """Return the words, captions, claims, reports and notes that contain all these words.

    The best match (BM25) comes first; above `RANKED` matches, the newest.
    """
    terms = re.findall(r"\w+", words)
    if not terms:
        raise StoreError("no word to search for", field="search", value=words, remedy="give words")
    match = " ".join(f'"{term}"' for term in terms)
    count = "SELECT count(*) FROM (SELECT 1 FROM search WHERE search MATCH ? LIMIT ?)"
    [(found,)] = _answer(path, count, (match, RANKED + 1), 1, timeout, in_memory).rows
    order = "rank" if found <= RANKED else "rowid DESC"
    sql = (
        "SELECT kind, ref, study_id, snippet(search, 3, '', '', '...', 16) AS text FROM search "
        f"WHERE search MATCH ? ORDER BY {order}"
    )
    return _answer(path, sql, (match,), limit, timeout, in_memory)


def schema(path: Path) -> dict[str, list[str]]:
    """Return the columns of the views, the search index and the tables; views come first."""
    with explained(path), closing(connect_read_only(path)) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
                "AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'search_%' "
                "AND name <> 'alembic_version'"
            )
        ]
        order = {name: place for place, name in enumerate((*VIEWS, "search"))}
        names.sort(key=lambda name: (order.get(name, len(order)), name))
        return {
            name: [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')]
            for name in names
        }


def literal(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def check_limits(limit: int, timeout: float) -> None:
    """Raise StoreError for a limit that is out of range."""
    if not 1 <= limit <= MAX_LIMIT:
        raise StoreError(
            f"{limit} is out of range",
            field="limit",
            value=limit,
            remedy=f"give 1 to {MAX_LIMIT:,} rows",
        )
    if not 0 < timeout <= MAX_TIMEOUT:
        raise StoreError(
            f"{timeout:g} s is out of range",
            field="timeout",
            value=timeout,
            remedy=f"give at most {MAX_TIMEOUT:g} s",
        )


def _answer(
    path: Path,
    sql: str,
    parameters: tuple[object, ...],
    limit: int,
    timeout: float,
    in_memory: bool,
) -> Answer:
    check_limits(limit, timeout)
    if not sql.strip(" ;\n\t"):
        raise StoreError("an empty query", remedy="see `dexter-tui query --help` for examples")
    if not path.exists():
        raise StoreError(
            "no store here yet", field=str(path), remedy="start a run, or set DEXTER_HOME"
        )
    with explained(path), closing(connect_read_only(path)) as connection:
        guard = _Guard()
        began = time.monotonic()
        _limit(connection)
        if in_memory:
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute(f"PRAGMA hard_heap_limit = {MEMORY}")
        for table in _VIRTUAL:  # SQLite registers them on first use, which the guard denies
            connection.execute(f"SELECT 1 FROM {table} LIMIT 0")
        connection.set_authorizer(guard)
        connection.set_progress_handler(lambda: time.monotonic() > began + timeout, _OPERATIONS)
        try:
            cursor = connection.execute(sql, parameters)
            columns = _unique([column[0] for column in cursor.description or ()])
            rows, cut = _fetch(cursor, limit)
        except (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError, MemoryError) as error:
            raise _refusal(error, guard, connection, timeout) from None
        return Answer(columns, rows, cut, time.monotonic() - began)


_VIRTUAL = ("search", "json_each('[]')", "json_tree('[]')", "pragma_table_info('run')")


def _limit(connection: sqlite3.Connection) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 100_000)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 500)
    connection.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 200)


def _fetch(cursor: sqlite3.Cursor, limit: int) -> tuple[list[tuple[Any, ...]], str | None]:
    rows: list[tuple[Any, ...]] = []
    size = 0
    for row in cursor:
        if len(rows) == limit:
            return rows, f"cut after {limit:,} rows; raise --limit (at most {MAX_LIMIT:,})"
        size += sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in row)
        if size > MAX_BYTES:
            megabytes = MAX_BYTES // 1_000_000
            return rows, f"cut after {len(rows):,} rows: an answer has at most {megabytes} MB"
        rows.append(row)
    return rows, None


class _Guard:
    """An authorizer that allows only reads and records the first action that it denied."""

    # Pragmas that describe the schema; the search index itself uses the last one.
    PRAGMAS = frozenset(
        ("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo",
         "foreign_key_list", "data_version")
    )  # fmt: skip
    FUNCTIONS = frozenset(("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"))

    def __init__(self) -> None:
        self.denied: str | None = None

    def __call__(
        self, action: int, one: str | None, two: str | None, _db: str | None, _by: str | None
    ) -> int:
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION and (two or "").lower() not in self.FUNCTIONS:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_PRAGMA and (one or "").lower() in self.PRAGMAS:
            return sqlite3.SQLITE_OK
        name = _ACTIONS.get(action, "this action")
        self.denied = self.denied or " ".join(part for part in (name, one or two) if part)
        return sqlite3.SQLITE_DENY


_REFUSED = """
    alter_table analyze attach create_index create_table create_temp_index create_temp_table
    create_temp_trigger create_temp_view create_trigger create_view create_vtable delete detach
    drop_index drop_table drop_temp_index drop_temp_table drop_temp_trigger drop_temp_view
    drop_trigger drop_view drop_vtable function insert pragma reindex savepoint transaction update
"""
_ACTIONS = {
    getattr(sqlite3, f"SQLITE_{name.upper()}"): name.replace("_", " ") for name in _REFUSED.split()
}


def too_slow(timeout: float) -> StoreError:
    """Return the refusal of a query that reached its time limit."""
    return StoreError(
        f"stopped after {timeout:g} s without an answer",
        field="timeout",
        value=timeout,
        remedy="narrow the query or raise --timeout",
    )


def _refusal(
    error: BaseException, guard: _Guard, connection: sqlite3.Connection, timeout: float
) -> StoreError:
    if guard.denied is not None:
        return StoreError(f"refused: {guard.denied}", remedy="a query can only read")
    if primary_code(error) == sqlite3.SQLITE_INTERRUPT:
        return too_slow(timeout)
    if isinstance(error, MemoryError):
        return StoreError(
            f"stopped: it needs more than {MEMORY // 1_000_000} MB of temporary space",
            remedy="sort or group fewer rows, or fewer columns",
        )
    if primary_code(error) == sqlite3.SQLITE_TOOBIG:
        return StoreError(
            f"refused: a value of more than {MAX_VALUE // 1_000_000} MB",
            remedy="select less of it, for example with substr()",
        )
    if isinstance(error, sqlite3.ProgrammingError):
        return StoreError(
            "not a single statement without parameters or null characters",
            remedy="run one statement at a time, with values in place of ?",
        )
    message = " ".join(f"{error}".split())
    # SQLite reports an unknown name with the general code SQLITE_ERROR: only the text contains it.
    if match := re.search(r"no such (table|column): (?:\w+\.)?(\w+)", message):
        connection.set_progress_handler(None, 0)
        connection.set_authorizer(None)
        near = difflib.get_close_matches(match[2], _names(connection, match[1]), n=3, cutoff=0.5)
        return StoreError(
            message,
            remedy=f"did you mean {' or '.join(near)}?"
            if near
            else "`dexter-tui query --schema` lists views, tables and columns",
        )
    # SQLite reports these with the general code as well.
    if re.match(r"malformed JSON|JSON path error|JSON cannot hold", message):
        return DamagedJson(
            f"a row holds no JSON where the query reads some ({message})",
            remedy="leave out that row, or test with json_valid()",
        )
    return StoreError(f"not a valid query: {message}", remedy="see `dexter-tui query --help`")


def _names(connection: sqlite3.Connection, kind: str) -> list[str]:
    tables = [
        name
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
        )
    ]
    if kind == "table":
        return tables
    columns: dict[str, None] = {}
    for table in tables:
        if not table.startswith("search_"):
            rows = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
            columns.update(dict.fromkeys(name for (name,) in rows))
    return list(columns)


def _unique(names: list[str]) -> list[str]:
    """Number the names that several columns share."""
    found: dict[str, None] = {}
    for name in names:
        unique, number = name, 2
        while unique in found:
            unique, number = f"{name}_{number}", number + 1
        found[unique] = None
    return list(found)
