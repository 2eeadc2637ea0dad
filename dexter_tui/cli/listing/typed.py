"""The options that the user typed, against those that showing something stored uses."""

import shlex
from collections.abc import Iterator

from typer._click.globals import get_current_context  # typer's own copy of click

from dexter.errors import InputError
from dexter_tui import field_flags


def refuse_others(stored: str, *used: str) -> None:
    """Raise InputError for an option that has no effect beside the id of something stored.

    ``used``: the names of the parameters that have.
    """
    field = next(_fields_but(used), None)
    if field is None:
        return
    if ":" in stored or "/" in stored:
        raise InputError(f"{stored} is no id", remedy=f"pass --classifier {shlex.quote(stored)}")
    raise InputError(
        f"has no effect beside {stored}, which is read as an id",
        field=field,
        remedy="omit it, or omit the id for a new one",
    )


def any_but(*used: str) -> bool:
    """Return whether an option was typed besides ``used``."""
    return any(_fields_but(used))


def _fields_but(used: tuple[str, ...]) -> Iterator[str]:
    """Yield the typed options but for some, each by the field whose flag it is, or as its flag."""
    context = get_current_context()
    for one in context.command.params:
        source = context.get_parameter_source(str(one.name))
        if (
            one.param_type_name == "option"
            and source is not None
            and source.name == "COMMANDLINE"
            and one.name not in used
        ):
            name, flags = str(one.name), [flag for flag in one.opts if flag.startswith("--")]
            yield name if field_flags.flag(name) in flags else flags[0]
