"""The command `query`: read-only SQL and full-text search over the store."""

import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from dexter.errors import InputError
from dexter_tui import paths
from dexter_tui.cli.output import print_text, print_view, say
from dexter_tui.formatting import plain
from dexter_tui.presentation.answers import answer_table, csv_text, json_text, markdown_text
from store.reading import queries, query_process
from store.reading.browse import Browse
from store.reading.queries import EXAMPLES, LIMIT, MAX_LIMIT, TIMEOUT, Answer


def _epilog() -> str:
    """Return the example queries; \\b keeps the lines of a paragraph."""
    parts = ["\b\nTen queries to start from (docs/queries.md explains the views):"]
    for number, (title, sql) in enumerate(EXAMPLES, 1):
        parts.append("\b\n" + f"{number}. {title}:\n" + "\n".join(_wrapped(f'"{sql}"')))
    return "\n\n".join(parts)


def _wrapped(text: str, width: int = 76) -> list[str]:
    return textwrap.wrap(text, width, initial_indent="   ", subsequent_indent="    ",
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    app.command(epilog=_epilog())(query)


def query(
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL", help="a SELECT; - reads it from standard input")
    ] = None,
    *,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help="full-text search instead of SQL: words, captions, claims, reports, notes",
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="list the views and tables with their columns")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="comma-separated values")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="a list of objects, one per row")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="a Markdown table")] = False,
    limit: Annotated[
        int, typer.Option(metavar="N", help=f"maximum number of rows, up to {MAX_LIMIT:,}")
    ] = LIMIT,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="time limit, up to 600 s")
    ] = TIMEOUT,
) -> None:
    """Query the store in SQL, or search its texts.

    The store is opened read-only. The views studies_summary, runs_summary, best_prompts,
    word_gains, claims_all, comparisons_all, screenings_all, data_reports_all, steps_wide and
    frames_all, and the search index `search`, keep their columns from version to version.
    """
    if sum((sql is not None, search is not None, schema)) != 1:
        raise InputError(
            "nothing, or more than one thing, to answer",
            remedy="give one of: a query in SQL, --search WORDS, --schema",
        )
    if as_csv + as_json + as_markdown > 1:
        raise InputError("--csv, --json and --markdown exclude each other", remedy="give one")
    if as_json and not schema and Browse(paths.home()).state_of_schema() == "none":
        # A home without a store has no rows: scripts need not tell the two apart.
        print_text(json_text(Answer([], [], None, 0.0)))
        say(f"{paths.home()}: no store here yet")
        return
    path = store_file()
    if schema:
        rows = [(name, column) for name, own in queries.schema(path).items() for column in own]
        answer = Answer(["name", "column"], rows, None, 0.0)
        if not (as_csv or as_json or as_markdown):
            _print_schema(path)
            return
    elif search is not None:
        answer = query_process.find(path, search, limit=limit, timeout=timeout)
    else:
        assert sql is not None
        text = sys.stdin.read(200_000) if sql == "-" else sql
        answer = query_process.ask(path, text, limit=limit, timeout=timeout)
    if as_csv:
        print_text(csv_text(answer), end="")
    elif as_json:
        print_text(json_text(answer))
    elif as_markdown:
        print_text(markdown_text(answer))
    else:
        _print_table(answer)
    if answer.cut:
        say(answer.cut)


def store_file() -> Path:
    """Return the store's file, upgraded to this version; raise InputError if there is none."""
    home = paths.home()
    browse = Browse(home)
    state = browse.state_of_schema()
    if state == "none":
        raise InputError(f"{home}: no store here yet", remedy="start a run, or set DEXTER_HOME")
    if state != "current":
        from store import Store

        Store.open(home).close()  # upgrades an older store, refuses a newer one
    return browse.path


def _print_table(answer: Answer) -> None:
    print_view(answer_table(answer))
    count = f"{len(answer.rows):,} row{'' if len(answer.rows) == 1 else 's'}"
    say(f"{count}, {1000 * answer.seconds:.0f} ms")


def _print_schema(path: Path) -> None:
    lines = []
    for name, columns in queries.schema(path).items():
        stable = name in queries.VIEWS or name == "search"
        lines.append(Text.assemble((name, "bold"), ("  view" if stable else "  table", "dim")))
        lines.append(plain("    " + ", ".join(columns), "dim"))
    print_view(Group(*lines))
