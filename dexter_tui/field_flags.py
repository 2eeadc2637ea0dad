"""The command-line flags of RunConfig's fields, with their type, range, help and default."""

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

from dexter.config import PRESETS, RunConfig, fields_of
from dexter.loading import read_text
from dexter_tui import paths

# --class reads better than --class-name, but `class` is a keyword of Python.
SPELLING = {"class_name": "--class"}
# `run` has its own --preset and --seed, beside --seeds.
RUN_FLAGS = RunConfig.model_fields.keys() - fields_of("run")
"""The fields that are options of a run."""


def flag(field: str) -> str:
    """Return the flag of a field: ``--class`` for ``class_name``."""
    if not field.isidentifier():  # a path, or a flag already
        return field
    return SPELLING.get(field, "--" + field.replace("_", "-"))


def _parameters(model: type[BaseModel], names: Collection[str]) -> list[inspect.Parameter]:
    """Return a keyword parameter for each field, None where the user does not pass the flag."""
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


def accepts(
    command: Callable[..., object], *flags: tuple[type[BaseModel], Collection[str]]
) -> Callable[..., object]:
    """Return a command whose ``**values`` are the flags of these fields of settings.

    A field that the command has as a parameter of its own stays as it is there.
    """
    own = inspect.signature(command)
    command.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[
            *(p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD),
            *(
                one
                for model, names in flags
                for one in _parameters(model, names)
                if one.name not in own.parameters
            ),
        ]
    )
    return command


def given(values: Mapping[str, object], model: type[BaseModel] = RunConfig) -> dict[str, object]:
    """Return the values that the user passed, with ``@FILE`` replaced by the file's text.

    Raises InputError for a file that cannot be read.
    """
    overrides = {name: value for name, value in values.items() if value is not None}
    for name, value in overrides.items():
        field = model.model_fields.get(name)  # None: refused with the nearest name by the model
        if field is not None and _is_list(field) and isinstance(value, str):
            overrides[name] = _read_list(name, value)
    return overrides


def _read_list(name: str, value: str) -> str:
    if not value.startswith("@"):
        return value
    return read_text(Path(value[1:]), field=name)


def _plain(annotation: Any) -> Any:
    """Return the type without its "or None"."""
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
    else:
        # RunConfig reads the text, so that its errors name the refused value.
        if get_origin(kind) is Literal:
            choices = [str(choice) for choice in get_args(kind)]
            options["metavar"] = f"[{'|'.join(choices)}]"
            options["autocompletion"] = lambda: choices
        else:
            options["metavar"] = {int: "N", float: "X"}.get(
                kind, "A,B,…|@FILE" if _is_list(field) else "TEXT"
            )
            if name == "classifier":
                options["autocompletion"] = known_classifiers
        kind = str
    return Annotated[kind | None, typer.Option(spelling, **options)]


def known_classifiers(incomplete: str) -> list[str]:
    """Return the known classifiers, for the completion of the shell."""
    from dexter.classifiers import list_classifiers
    from dexter.model_folders import roots

    return [info.spec for info in list_classifiers(roots()) if info.spec.startswith(incomplete)]


def _help(field: FieldInfo) -> str:
    """Return the description with range and default."""
    notes = []
    bounds = {type(rule): rule for rule in field.metadata}
    if _plain(field.annotation) in (int, float) and bounds:
        notes.append(_range(bounds))
    marks = field.json_schema_extra
    unset = marks.get("unset") if isinstance(marks, dict) else None
    if unset is not None:
        notes.append(f"default: {unset}")
    elif not field.is_required() and field.default not in (None, (), "", False):
        default = "yes" if field.default is True else field.default
        notes.append(f"default: {default}")
    return f"{field.description}  [{'; '.join(notes)}]" if notes else field.description or ""


def _range(bounds: Mapping[type, Any]) -> str:
    """Return the bounds of a number in words, such as "1 to 64" or "above 0, at most 10"."""
    low, high = bounds.get(annotated_types.Ge), bounds.get(annotated_types.Le)
    if low is not None and high is not None:
        return f"{low.ge} to {high.le}"
    return ", ".join(_BOUNDS[kind](rule) for kind, rule in bounds.items())


_BOUNDS: dict[type, Callable[[Any], str]] = {
    annotated_types.Ge: lambda rule: f"at least {rule.ge}",
    annotated_types.Gt: lambda rule: f"above {rule.gt}",
    annotated_types.Le: lambda rule: f"at most {rule.le}",
    annotated_types.Lt: lambda rule: f"below {rule.lt}",
}


def configs(
    preset: str | None, seeds: Sequence[int], values: Mapping[str, object]
) -> list[RunConfig]:
    """Return a configuration per seed: the preset, then the user's config.toml, then flags.

    Raises InputError for a value that RunConfig refuses.
    """
    overrides = {**paths.settings(), **given(values)}
    own = overrides.pop("preset", "default")
    return [
        RunConfig.from_preset(preset or str(own), **{**overrides, "seed": seed}) for seed in seeds
    ]


def template() -> str:
    """Return a config.toml that explains every setting and sets none."""
    lines = [
        "# Your defaults for `dexter-tui run`: remove the # before a line and change its value.",
        "# Flags override this file, and this file overrides the preset.",
        "",
        "[run]",
        "",
        f"# the preset to start from: {', '.join(PRESETS)}",
        '# preset = "default"',
    ]
    for name, field in RunConfig.model_fields.items():
        if name in RUN_FLAGS:
            value = "" if field.is_required() else field.default
            shown = json.dumps(value if value is not None else "", ensure_ascii=False)
            lines += ["", f"# {_help(field)}", f"# {name} = {shown}"]
    return "\n".join(lines) + "\n"
