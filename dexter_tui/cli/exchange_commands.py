"""The commands that carry results out of the store and into it: `export`, `import`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dexter.errors import InputError
from dexter_tui import paths

if TYPE_CHECKING:
    from store import Store

Json = Annotated[bool, typer.Option("--json", help="one JSON value on standard output")]
FORMS = ("markdown", "html", "bundle", "reference")
_BY_SUFFIX = {".md": "markdown", ".html": "html", ".htm": "html"}


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
    form = form or _BY_SUFFIX.get(target.suffix.lower(), "bundle")
    if form not in FORMS:
        raise InputError(f"--as: {form!r} is none of {', '.join(FORMS)}")
    with open_store() as store:
        store.reconcile()
        path = write(store, names, target, form).absolute()
    print(json.dumps({"path": str(path)}) if as_json else path)


def write(store: "Store", names: list[str], target: Path, form: str) -> Path:
    """Write what was asked for; where it is."""
    from dexter_tui.exchange import bundle_writer

    if form == "markdown":
        from store.markdown.report import markdown

        return markdown(store, names, target, presets=bundle_writer.presets())
    if form == "html":
        return bundle_writer.write_file(bundle_writer.html_page(store, names), target)
    if form == "reference":
        from dexter_tui.exchange.reference_folder import write_all

        return write_all(store, names, target)
    files = bundle_writer.contents(store, names)
    if target.suffix.lower() == ".zip":
        return bundle_writer.write_zip(files, target)
    return bundle_writer.write_folder(files, target)


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
    from dexter_tui.exchange import bundle_writer, reference_folder
    from store import Store

    path = source.expanduser()
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    is_bundle = not path.is_dir() or (path / bundle_writer.MANIFEST).exists()
    with Store.open(paths.home()) as store:
        if is_bundle:
            result = bundle_writer.bring_in(store, path)
        else:
            result = reference_folder.bring_in(store, path)
    if as_json:
        print(json.dumps({"added": result.added, "known": result.known}))
        return
    for name in result.added:
        print(name)
    if result.known:
        from dexter_tui.cli.compare_command import _say

        _say(f"there already, and left alone: {', '.join(result.known)}")


def open_store() -> "Store":
    """The store, which must be there; InputError if it is not."""
    from store import Store

    home = paths.home()
    if not (home / "store.sqlite").exists():
        raise InputError(f"{home}: no store here yet; start a run, or set DEXTER_HOME")
    return Store.open(home)
