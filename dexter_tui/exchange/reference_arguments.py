"""The command line of the public DEXTER code, `python main.py …`, as `dexter-tui run …`."""

import os
from collections.abc import Callable, Sequence

from dexter.errors import InputError
from dexter.reference_options import FLAGS_WITHOUT_VALUE, ITS_OWN, OPTIONS, translate
from dexter_tui.field_flags import SPELLING

_SPELLING = {**SPELLING, "preset": "--preset", "seed": "--seed"}


def translated(arguments: Sequence[str], note: Callable[[str], None]) -> list[str]:
    """Translate the reference's options behind `run` into ours; leave all others as they are.

    An API key goes where the report looks for it: into this process's environment. ``note``
    receives a line for each option without effect.
    """
    given, rest = _split(arguments[1:])
    if not ITS_OWN & given.keys():
        return list(arguments)
    if key := given.pop("api_key", None):
        os.environ["OPENAI_API_KEY"] = key
    settings, notes = translate(given)
    for line in notes:
        note(line)
    names = {argument.partition("=")[0] for argument in rest}
    translation = ["run"]
    for name, value in settings.items():
        flag = _SPELLING.get(name, "--" + name.replace("_", "-"))
        if flag not in names:  # one that the user gave in our terms
            translation += [flag, str(value)]
    if {"vlm", "llm"} & settings.keys() and "--report" not in names:
        translation.append("--report")
    return translation + rest


def _split(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the reference's options by name, and all other arguments."""
    given: dict[str, str] = {}
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        flag, equals, value = argument.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in OPTIONS:
            rest.append(argument)
        elif name in FLAGS_WITHOUT_VALUE:
            given[name] = ""
        elif equals:
            given[name] = value
        elif waiting:
            given[name] = waiting.pop(0)
        else:
            raise InputError(f"{flag} has no value", remedy="give one")
    return given, rest
