"""The commands that carry results out of the store and into it: `export`, `import`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dexter.errors import InputError
from dexter_tui import paths
from dexter_tui.cli.output import open_store
from dexter_tui.exchange.write import BY_SUFFIX, FORMS, write

if TYPE_CHECKING:
    pass

Json = Annotated[bool, typer.Option("--json", help="one JSON value on standard output")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application's."""
    app.command()(export)
    app.command("import")(import_)


def export(
    names: Annotated[
        list[str], typer.Argument(metavar="ID...", help="runs, studies and comparisons")
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
            help=f"{', '.join(FORMS)} (a folder for each run, as the public DEXTER code writes "
            "them)  [default: as the name of the file says]",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a report: Markdown with its pictures beside it, one HTML file, or a whole bundle.

    A bundle holds the report, all pictures, plots, the data as CSV, configuration, environment,
    commands and a manifest; `dexter-tui import` brings it into another store.
    """
    target = output.expanduser()
    form = form or BY_SUFFIX.get(target.suffix.lower(), "bundle")
    if form not in FORMS:
        raise InputError(f"--as: {form!r} is none of {', '.join(FORMS)}")
    with open_store() as store:
        store.reconcile()
        path = write(store, names, target, form).absolute()
    print(json.dumps({"path": str(path)}) if as_json else path)


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
    """Bring a bundle, or a run folder of the public DEXTER code, into the store.

    What is there already stays as it is. A bundle that is not what its manifest says is refused.
    """
    from dexter_tui.exchange import bundle_reader, bundle_writer, reference_folder
    from store import Store

    path = source.expanduser()
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    is_bundle = not path.is_dir() or (path / bundle_writer.MANIFEST).exists()
    with Store.open(paths.home()) as store:
        if is_bundle:
            result = bundle_reader.import_bundle(store, path)
        else:
            result = reference_folder.import_folder(store, path)
    if as_json:
        print(json.dumps({"added": result.added, "known": result.known}))
        return
    for name in result.added:
        print(name)
    if result.known:
        from dexter_tui.cli.output import say

        say(f"there already, and left alone: {', '.join(result.known)}")
