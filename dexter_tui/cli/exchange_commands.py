"""The commands `export` and `import`."""

from pathlib import Path
from typing import Annotated

import typer

from dexter.errors import InputError
from dexter_tui import paths
from dexter_tui.cli.listing.completion import ids
from dexter_tui.cli.output import (
    Json,
    open_store,
    print_json,
    print_lines,
    print_text,
    say,
    settle,
)
from dexter_tui.exchange.write import FORMS, form_of, write


def register(app: typer.Typer) -> None:
    """Add the commands to the application's."""
    app.command()(export)
    app.command("import")(import_)


def export(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...",
            help="runs, studies, comparisons, screenings, reports on pictures",
            autocompletion=ids,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="FILE.md, FILE.html, or a bundle: FILE.zip or a new folder"
        ),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="FORM",
            help=f"{', '.join(FORMS)}; reference: one folder per run, as the public DEXTER "
            "code writes them  [default: by the suffix of the file]",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a report as Markdown or HTML, or a whole bundle.

    Markdown has its pictures beside it; HTML is one file. A bundle holds the report, all pictures,
    plots, the data as CSV, configuration, environment, commands and a manifest;
    `dexter-tui import` reads it into another store.
    """
    target = paths.expanded(output, "output")
    form = form or form_of(target)
    if form not in FORMS:
        raise InputError(
            f"{form!r} is not a form",
            field="as",
            value=form,
            remedy=f"choose from {', '.join(FORMS)}",
        )
    with open_store() as store:
        settle(store)
        path = write(store, names, target, form).absolute()
    if as_json:
        print_json({"path": str(path)})
    else:
        print_text(path)


def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="a bundle (folder or .zip), or a run folder of the public DEXTER code",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Import a bundle, or a run folder of the public DEXTER code.

    Runs that are already in the store stay as they are. A bundle that disagrees with its manifest
    is refused.
    """
    from dexter_tui.exchange import bundle_reader, bundle_writer, reference_folder
    from store import Store

    path = paths.expanded(source)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder", value=str(path))
    is_bundle = not path.is_dir() or (path / bundle_writer.MANIFEST).exists()
    with Store.open(paths.home()) as store:
        if is_bundle:
            result = bundle_reader.import_bundle(store, path)
        else:
            result = reference_folder.import_folder(store, path)
    for note in result.notes:
        say(note)
    if as_json:
        print_json({"added": result.added, "known": result.known, "notes": result.notes})
        return
    print_lines(result.added)
    if result.known:
        say(f"already in the store, left as they are: {', '.join(result.known)}")
