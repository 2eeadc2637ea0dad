"""The exports in all forms."""

from pathlib import Path
from typing import TYPE_CHECKING

from dexter.errors import InputError

if TYPE_CHECKING:
    from store import Store


FORMS = ("markdown", "html", "bundle", "reference")


BY_SUFFIX = {
    ".md": "markdown",
    ".html": "html",
    ".htm": "html",
    ".zip": "bundle",
    "": "bundle",
}


def form_of(target: Path) -> str:
    """Return the form of an export by its ending; raise InputError for an unknown ending."""
    form = BY_SUFFIX.get(target.suffix.lower())
    if form is None and not target.is_dir():
        raise InputError(
            f"cannot export as {target.suffix}",
            field="output",
            value=str(target),
            remedy="choose .md, .html (a browser prints it as PDF), .zip or a folder",
        )
    return form or "bundle"


def write(store: "Store", names: list[str], target: Path, form: str) -> Path:
    """Write an export; return its path."""
    from dexter_tui.exchange import bundle_writer

    if form == "markdown":
        from dexter_tui.presentation.run_tables import presets
        from store.markdown.report import markdown

        return markdown(store, names, target, presets=presets())
    if form == "html":
        return bundle_writer.write_file(bundle_writer.html_page(store, names), target)
    if form == "reference":
        from dexter_tui.exchange.reference_folder import write_all

        return write_all(store, names, target)
    files = bundle_writer.contents(store, names)
    if target.suffix.lower() == ".zip":
        return bundle_writer.write_zip(files, target)
    return bundle_writer.write_folder(files, target)
