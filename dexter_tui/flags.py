"""Command-line flags made from the fields of RunConfig: their type, range, help and default."""

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import typer
from pydantic.fields import FieldInfo

from dexter.config import PRESETS, RunConfig
from dexter.errors import InputError
from dexter_tui import paths

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


def given(values: Mapping[str, object]) -> dict[str, object]:
    """What the user gave, as overrides of a preset. ``@FILE`` stands for the file's words.

    Raises InputError for a file that cannot be read.
    """
    overrides = {name: value for name, value in values.items() if value is not None}
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
    options: dict[str, Any] = {"help": _help(field), "show_default": False}
    spelling = flag(name)
    if kind is bool:
        spelling = f"{spelling}/--no-{spelling[2:]}"
    elif kind in (int, float):
        options |= _range(kind, field) | {"metavar": "N" if kind is int else "X"}
    elif get_origin(kind) is tuple:
        kind, options["metavar"] = str, "A,B,…|@FILE"
    elif get_origin(kind) is not Literal:
        kind, options["metavar"] = str, "TEXT"
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


def _help(field: FieldInfo) -> str:
    if field.is_required() or field.default in (None, (), "", False):
        return field.description or ""
    return f"{field.description}  [default: {field.default}]"


def configs(
    preset: str | None, seeds: Sequence[int], values: Mapping[str, object]
) -> list[RunConfig]:
    """One configuration for each seed: the preset, the user's config.toml over it, then flags.

    Raises InputError for whatever RunConfig refuses.
    """
    overrides = {**paths.settings(), **given(values)}
    own = overrides.pop("preset", "default")
    return [
        RunConfig.from_preset(preset or str(own), **{**overrides, "seed": seed}) for seed in seeds
    ]


def template() -> str:
    """A config.toml in which every setting is explained and none is set."""
    lines = [
        "# Your own defaults for `dexter-tui run`: remove the # before a line and change it.",
        "# Flags come before this file, this file before the preset.",
        "",
        "[run]",
        "",
        f"# the preset to start from: {', '.join(PRESETS)}",
        '# preset = "default"',
    ]
    for name, field in RunConfig.model_fields.items():
        if name not in NOT_FLAGS:
            value = "" if field.is_required() else field.default
            shown = json.dumps(value if value is not None else "", ensure_ascii=False)
            lines += ["", f"# {field.description}", f"# {name} = {shown}"]
    return "\n".join(lines) + "\n"
