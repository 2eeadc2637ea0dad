"""The command `concepts`: what WordNet says around the name of a class."""

from dataclasses import asdict
from typing import Annotated

import typer

from dexter.errors import InputError
from dexter.reasoning import wordnet
from dexter_tui.cli.output import Json, print_json, print_view
from dexter_tui.formatting import plain, plain_table

_SHOWN = 40  # concepts of a kind; --json lists all


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    app.command()(concepts)


def concepts(
    label: Annotated[
        str, typer.Argument(metavar="CLASS", help="the name of a class, or its names with commas")
    ],
    as_json: Json = False,
) -> None:
    """List WordNet's concepts around a class, and which belong to it."""
    database = wordnet.load_wordnet()
    if database is None:
        raise InputError(
            f"no WordNet in {wordnet.folder()}",
            remedy="install Debian's package wordnet-base, or set WNSEARCHDIR to its folder",
        )
    found = database.concepts(label)
    if found is None:
        raise InputError(f"WordNet has no noun {label!r}", remedy="use another name of the class")
    if as_json:
        print_json({"class_name": label, **asdict(found), "core": found.core})
        return
    table = plain_table()
    for name in ("concepts", "core by default", "words"):
        table.add_column(name, no_wrap=name != "words")
    for kind, words in asdict(found).items():
        more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
        core = "no" if kind == "related" else "yes"
        table.add_row(kind, core, plain(", ".join(words[:_SHOWN]) + more))
    print_view(table)
