"""The commands `delete`, `archive`, `tag` and `note`."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from dexter.errors import InputError
from dexter_tui.cli.listing.completion import ids
from dexter_tui.cli.output import Json, ask, open_store, print_json, print_lines, print_text

Names = Annotated[
    list[str], typer.Argument(metavar="ID...", autocompletion=ids, help="runs and studies")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application's."""
    for command in (delete, archive, tag, note):
        app.command()(command)


def delete(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...",
            autocompletion=ids,
            help="runs, studies, comparisons, screenings, reports on pictures",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="answer the first question with yes")] = False,
    really: Annotated[
        bool, typer.Option("--really", help="answer the second question with yes")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete runs and everything that belongs to them.

    Asks twice. This cannot be undone.
    """
    from store import run_queue
    from store.upkeep import retention

    with open_store() as store:
        run_queue.reconcile(store)
        what = retention.doomed(store, list(dict.fromkeys(names)))
        _ask(f"delete {what.line()}?", "y", given=yes, flag="--yes")
        count = str(what.count)
        _ask(
            f"this cannot be undone; type {count} to delete them",
            count,
            given=really,
            flag="--really",
        )
        retention.delete(store, what)
    if as_json:
        print_json({name: value for name, value in asdict(what).items() if name != "bytes"})
    else:
        print_text(f"deleted {what.line()}")


def _ask(question: str, wanted: str, *, given: bool, flag: str) -> None:
    """Raise InputError unless the user answers `wanted` or gave the flag."""
    if given:
        return
    if not sys.stdin.isatty():
        raise InputError(
            f"{question.rstrip('?')}: there is no terminal to ask on", remedy=f"pass {flag}"
        )
    if ask(f"{question} [{wanted}/n]").lower() != wanted:
        raise InputError("nothing was deleted")


def archive(
    names: Names,
    back: Annotated[bool, typer.Option("--back", help="restore them to the lists")] = False,
    as_json: Json = False,
) -> None:
    """Hide runs from the lists, or restore them.

    The filter `tag:archived` shows hidden runs.
    """
    from store.upkeep import retention

    with open_store() as store:
        ids = retention.set_tag(store, names, retention.ARCHIVED, given=not back)
    _print_ids(ids, as_json=as_json)


def tag(
    names: Names,
    name: Annotated[str, typer.Option("--name", metavar="TAG", help="letters, digits, . : + - _")],
    remove: Annotated[bool, typer.Option("--remove", help="remove the tag")] = False,
    as_json: Json = False,
) -> None:
    """Add or remove a tag on runs.

    Lists can be filtered by tag.
    """
    from store.upkeep import retention

    with open_store() as store:
        ids = retention.set_tag(store, names, name, given=not remove)
    _print_ids(ids, as_json=as_json)


def note(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            autocompletion=ids,
            help="a run, study, comparison, screening or report on pictures",
        ),
    ],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help='the note; "" removes it')
    ] = None,
    as_json: Json = False,
) -> None:
    """Write or show a note.

    `dexter-tui query --search` finds notes.
    """
    from store.upkeep import retention

    with open_store() as store:
        of = retention.named(store, name)
        if text is not None:
            retention.set_note(store, of, text)
        kept = retention.note(store, of)
    if as_json:
        print_json({"of": of, "note": kept})
    elif kept is not None:
        print_text(kept)


def _print_ids(ids: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json(ids)
    else:
        print_lines(ids)
