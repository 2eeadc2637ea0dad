"""The commands `delete`, `archive`, `tag` and `note`."""

import json
import sys
from typing import Annotated

import typer

from dexter.errors import InputError
from dexter_tui.cli.output import open_store

Json = Annotated[bool, typer.Option("--json", help="one JSON value on standard output")]
Names = Annotated[list[str], typer.Argument(metavar="ID...", help="runs and studies")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application's."""
    for command in (delete, archive, tag, note):
        app.command()(command)


def delete(
    names: Annotated[
        list[str], typer.Argument(metavar="ID...", help="runs, studies and comparisons")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="the first answer, for scripts")] = False,
    really: Annotated[
        bool, typer.Option("--really", help="the second answer, for scripts")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete runs with all that belongs to them, after asking twice. Nothing brings them back."""
    from store.upkeep import retention

    with open_store() as store:
        store.reconcile()
        what = retention.doomed(store, list(dict.fromkeys(names)))
        _ask(f"delete {what.line()}?", "y", given=yes, flag="--yes")
        count = str(len(what.runs) + len(what.comparisons))
        _ask(f"for good; type {count} to delete them", count, given=really, flag="--really")
        retention.delete(store, what)
    if as_json:
        print(json.dumps({"runs": what.runs, "studies": what.studies,
                          "comparisons": what.comparisons, "pictures": what.pictures}))  # fmt: skip
    else:
        print(f"deleted {what.line()}")


def _ask(question: str, wanted: str, *, given: bool, flag: str) -> None:
    """Refused unless the user answers as wanted, or gave the flag."""
    if given:
        return
    if not sys.stdin.isatty():
        raise InputError(f"{question} nobody to ask here; give {flag}")
    print(f"dexter-tui: {question} [{wanted}/n] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != wanted:
        raise InputError("nothing was deleted")


def archive(
    names: Names,
    back: Annotated[bool, typer.Option("--back", help="bring them back into the lists")] = False,
    as_json: Json = False,
) -> None:
    """Keep runs out of the lists; `tag:archived` shows them, and nothing is lost."""
    from store.upkeep import retention

    with open_store() as store:
        ids = retention.set_tag(store, names, retention.ARCHIVED, given=not back)
    _told(ids, as_json=as_json)


def tag(
    names: Names,
    name: Annotated[str, typer.Option("--name", metavar="TAG", help="letters, digits, . : + - _")],
    remove: Annotated[bool, typer.Option("--remove", help="take it away")] = False,
    as_json: Json = False,
) -> None:
    """Give runs a tag, by which lists can be filtered."""
    from store.upkeep import retention

    with open_store() as store:
        ids = retention.set_tag(store, names, name, given=not remove)
    _told(ids, as_json=as_json)


def note(
    name: Annotated[str, typer.Argument(metavar="ID", help="a run, study or comparison")],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help='what to keep; "" takes it away')
    ] = None,
    as_json: Json = False,
) -> None:
    """Keep a note about a run, study or comparison, or show it. Notes can be searched for."""
    from dexter_tui.formatting import clean
    from store.upkeep import retention

    with open_store() as store:
        of = retention.named(store, name)
        if text is not None:
            retention.set_note(store, of, text)
        kept = retention.note(store, of)
    if as_json:
        print(json.dumps({"of": of, "note": kept}, ensure_ascii=False))
    elif kept is not None:
        print("\n".join(clean(line) for line in kept.splitlines()))


def _told(ids: list[str], *, as_json: bool) -> None:
    print(json.dumps(ids) if as_json else "\n".join(ids))
