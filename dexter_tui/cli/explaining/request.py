"""The request of the commands that explain, checked: the screening that a command line asks for."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dexter.config import fields_of
from dexter.errors import MissingInput
from dexter.reasoning.settings import ScreenSettings
from dexter_tui import field_flags, paths
from dexter_tui.cli.output import say

if TYPE_CHECKING:
    from dexter_tui.analysis.screening_request import Prepared, ScreenRequest

MODEL_FIELDS = [
    name
    for name in fields_of("classifier", "generator", "machine")
    if name not in ("classifier", "trust_pickle")
]

ClassName = Annotated[str | None, typer.Option("--class", metavar="TEXT", help="a label or index")]


def request_of(
    classifier: str,
    class_name: str | None,
    concepts: Path | None,
    values: Mapping[str, object],
    settings: Collection[str],
    agreed: frozenset[str],
    *,
    pickle: bool,
) -> "ScreenRequest":
    """Return the screening that a command line asks for. settings: names of those it can set."""
    from dexter_tui.analysis.screening_request import ScreenRequest

    if class_name is None:
        raise MissingInput("class_name")
    models = {field: values[field] for field in MODEL_FIELDS if field in values}
    given = {field: values.get(field) for field in (*settings, "device")}
    return ScreenRequest(
        classifiers=[classifier],
        class_name=class_name,
        settings=ScreenSettings.from_values(field_flags.given(given, ScreenSettings)),
        pool=None if concepts is None else str(concepts),
        values=models | ({"trust_pickle": True} if pickle else {}),
        agreed=agreed,
    )


def prepared_of(request: "ScreenRequest") -> "Prepared":
    """Return the checked request; raise InputError, also where consent is missing."""
    from dexter_tui.analysis import screening_request

    return screening_request.prepare(request, paths.home(), say)
