"""Command-line flags made from the fields of RunConfig: their type, range, help and default."""

import inspect
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import typer
from pydantic.fields import FieldInfo

from dexter.config import RunConfig
from dexter.errors import InputError

# --class reads better than --class-name; Python keeps the word for itself.
SPELLING = {"class_name": "--class"}
# Not options of one run: `run` has its own --preset and --seed, which go with --seeds.
NOT_FLAGS = {"preset", "seed"}


def flag(field: str) -> str:
    """The command-line spelling of a field: ``class_name`` is ``--class``."""
    return SPELLING.get(field, "--" + field.replace("_", "-"))


def run_parameters() -> list[inspect.Parameter]:
    """One keyword parameter for each field, None where the user did not give the flag."""
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=_annotation(name, field),
        )
        for name, field in RunConfig.model_fields.items()
        if name not in NOT_FLAGS
    ]


def given(values: dict[str, Any]) -> dict[str, object]:
    """What the user gave, as overrides of a preset. ``@FILE`` stands for the file's words.

    Raises InputError for a file that cannot be read.
    """
    overrides: dict[str, object] = {k: v for k, v in values.items() if v is not None}
    for name, value in overrides.items():
        if _is_list(RunConfig.model_fields[name]) and isinstance(value, str):
            overrides[name] = _read_list(name, value)
    return overrides


def _read_list(name: str, value: str) -> str:
    if not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{flag(name)}: cannot read {value[1:]}: {error}") from None


def _plain(annotation: Any) -> Any:
    """The type without its "or None"."""
    if get_origin(annotation) in (Union, UnionType):
        [annotation] = [part for part in get_args(annotation) if part is not NoneType]
    return annotation


def _is_list(field: FieldInfo) -> bool:
    return get_origin(_plain(field.annotation)) is tuple


def _annotation(name: str, field: FieldInfo) -> Any:
    kind = _plain(field.annotation)
    options: dict[str, Any] = {"help": field.description, "show_default": _shown_default(field)}
    spelling = flag(name)
    if kind is bool:
        spelling = f"{spelling}/--no-{spelling[2:]}"
    elif kind in (int, float):
        options |= _range(kind, field)
    elif get_origin(kind) is tuple:
        kind, options["metavar"] = str, "A,B,…|@FILE"
    elif get_origin(kind) is not Literal:
        kind = str
    return Annotated[kind | None, typer.Option(spelling, **options)]


def _range(kind: type, field: FieldInfo) -> dict[str, Any]:
    """The bounds that Typer can show and check; pydantic checks the open ones of a float."""
    bounds: dict[str, Any] = {}
    for rule in field.metadata:
        if isinstance(rule, annotated_types.Ge):
            bounds["min"] = rule.ge
        elif isinstance(rule, annotated_types.Le):
            bounds["max"] = rule.le
        elif isinstance(rule, annotated_types.Gt) and kind is int:
            bounds["min"] = int(rule.gt) + 1  # type: ignore[call-overload]
        elif isinstance(rule, annotated_types.Lt) and kind is int:
            bounds["max"] = int(rule.lt) - 1  # type: ignore[call-overload]
    return bounds


def _shown_default(field: FieldInfo) -> str | bool:
    if field.is_required() or field.default in (None, (), "", False):
        return False
    return str(field.default)
