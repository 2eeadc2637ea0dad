"""Command-line flags made from the fields of RunConfig: their type, range, help and default."""

import inspect
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import typer
from pydantic import BaseModel
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
    if not field.isidentifier():  # a path, or a flag already
        return field
    return SPELLING.get(field, "--" + field.replace("_", "-"))


def run_parameters() -> list[inspect.Parameter]:
    """One keyword parameter for each field, None where the user did not give the flag."""
    return parameters(RunConfig, set(RunConfig.model_fields) - NOT_FLAGS)


def parameters(model: type[BaseModel], names: Collection[str]) -> list[inspect.Parameter]:
    """The same for some fields of any settings."""
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=_annotation(name, field),
        )
        for name, field in model.model_fields.items()
        if name in names
    ]


def given(values: Mapping[str, object], model: type[BaseModel] = RunConfig) -> dict[str, object]:
    """What the user gave, as overrides of a preset. ``@FILE`` stands for the file's words.

    Raises InputError for a file that cannot be read.
    """
    overrides = {name: value for name, value in values.items() if value is not None}
    for name, value in overrides.items():
        if _is_list(model.model_fields[name]) and isinstance(value, str):
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
    spelling = flag(name)
    options: dict[str, Any] = {"help": _help(field), "show_default": False}
    if kind is bool:
        spelling = f"{spelling}/--no-{spelling[2:]}"
    elif get_origin(kind) is not Literal:
        # RunConfig reads the text, so that its errors name the value that is wrong.
        options["metavar"] = {int: "N", float: "X"}.get(
            kind, "A,B,…|@FILE" if _is_list(field) else "TEXT"
        )
        kind = str
    return Annotated[kind | None, typer.Option(spelling, **options)]


def _help(field: FieldInfo) -> str:
    """The description, and what it does not tell: range and default."""
    notes = []
    if field.metadata and _plain(field.annotation) in (int, float):
        notes.append(", ".join(_BOUNDS[type(rule)](rule) for rule in field.metadata))
    if not field.is_required() and field.default not in (None, (), "", False):
        notes.append(f"default: {field.default}")
    return f"{field.description}  [{'; '.join(notes)}]" if notes else field.description or ""


_BOUNDS: dict[type, Callable[[Any], str]] = {
    annotated_types.Ge: lambda rule: f">= {rule.ge}",
    annotated_types.Gt: lambda rule: f"> {rule.gt}",
    annotated_types.Le: lambda rule: f"<= {rule.le}",
    annotated_types.Lt: lambda rule: f"< {rule.lt}",
}


def configs(
    preset: str | None, seeds: Sequence[int], values: Mapping[str, object]
) -> list[RunConfig]:
    """One configuration for each seed: the preset, the user's config.toml over it, then flags.

    Raises InputError for whatever RunConfig refuses.
    """
    overrides = {**paths.settings(), **given(values)}
    own = overrides.pop("preset", "default")
    try:
        return [
            RunConfig.from_preset(preset or str(own), **{**overrides, "seed": seed})
            for seed in seeds
        ]
    except InputError as error:
        field, colon, told = str(error).partition(":")
        if field in RunConfig.model_fields:
            raise InputError(f"{flag(field)}{colon}{told}") from error
        raise


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
