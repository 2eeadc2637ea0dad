"""The screening that a command line asks for: of `screen` and of the commands that explain."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dexter.config import fields_of
from dexter.errors import MissingInput
from dexter.reasoning.settings import ScreenSettings
from dexter_tui import field_flags

if TYPE_CHECKING:
    from dexter_tui.analysis.screening_request import ScreenRequest

MODEL_FIELDS = [
    name
    for name in fields_of("classifier", "generator", "machine")
    if name not in ("classifier", "trust_pickle")
]

ClassName = Annotated[str | None, typer.Option("--class", metavar="TEXT", help="a label or index")]
Concepts = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="concepts of your own, in YAML (docs/screening.md)"),
]


def settings_of(values: Mapping[str, object], names: Collection[str]) -> ScreenSettings:
    """Return the settings of a screening among a command's values; InputError for a bad one."""
    given = {name: values.get(name) for name in (*names, "device")}
    return ScreenSettings.from_values(field_flags.given(given, ScreenSettings))


def request_of(
    classifiers: Sequence[str],
    class_name: str | None,
    concepts: Path | None,
    values: Mapping[str, object],
    settings: Collection[str],
    agreed: frozenset[str],
    *,
    pickle: bool,
    pool: str | None = None,
) -> "ScreenRequest":
    """Return the screening that a command line asks for.

    settings: names of those it can set. pool: of shipped concepts, where the user gives no own.
    """
    from dexter_tui.analysis.screening_request import ScreenRequest

    if class_name is None:
        raise MissingInput("class_name")
    models = {field: values[field] for field in MODEL_FIELDS if field in values}
    return ScreenRequest(
        classifiers=classifiers,
        class_name=class_name,
        settings=settings_of(values, settings),
        pool=pool if concepts is None else str(concepts),
        values=models | ({"trust_pickle": True} if pickle else {}),
        agreed=agreed,
    )
