"""The error for refused input; every other exception is a bug or a failed run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(ValueError):
    """Input that cannot be used: what is wrong, where, and what to do.

    The parts are for programs (a form marks the field, ``--json`` lists them all), the sentence
    is for people; programs show it on one line, without a traceback.

    Args:
        problem: What is wrong, as a clause ("must be positive, got -1").
        field: The setting or option, by its name in code (``learning_rate``), if it is about one.
        value: The refused value, where there is one.
        remedy: What to do, in the imperative ("pass --trust-pickle").
    """

    def __init__(
        self,
        problem: str,
        *,
        field: str | None = None,
        value: object = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.field = field
        self.value = value
        self.remedy = remedy

    def __str__(self) -> str:
        return self.sentence()

    def sentence(self, name: Callable[[str], str] = str) -> str:
        """Return the error as one line; `name` turns a field into what the user typed."""
        text = self.problem if self.field is None else f"{name(self.field)}: {self.problem}"
        return f"{text}; {self.remedy}" if self.remedy else text


class MissingInput(InputError):
    """A required setting that was not given."""

    def __init__(self, field: str) -> None:
        super().__init__("is required", field=field)

    def sentence(self, name: Callable[[str], str] = str) -> str:
        """Return "classifier is required", followed by what to pass where that has a name."""
        field = str(self.field)
        return f"{field} is required" + (f": pass {name(field)}" if name(field) != field else "")


# Of pydantic's types of errors: the violated bound, and the expected kind of value.
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}
_KINDS = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "yes or no",
    "bool_type": "yes or no",
    "string_type": "a text",
    "tuple_type": "a list",
}


def refusal(error: ValidationError) -> InputError:
    """Return the first fault of a validation as an InputError, with its field and value."""
    fault = error.errors()[0]
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    field = str(fault["loc"][0]) if fault["loc"] else None
    cause = context.get("error")
    remedy = None
    if isinstance(cause, InputError):  # raised by a validator
        # Its value may be absent on purpose: no message repeats a key.
        field, problem = cause.field or field, cause.problem
        value, remedy = cause.value, cause.remedy
    elif kind == "missing" and field is not None:
        return MissingInput(field)
    elif kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        problem = f"{value} is out of range: must be {words} {context[bound]:g}"
    elif kind in _KINDS:
        problem = f"{value!r} is not {_KINDS[kind]}"
    elif kind == "literal_error":
        problem, remedy = f"{value!r} is unknown", f"choose {context['expected']}"
    elif kind == "string_too_short":
        problem = "must not be empty"
    elif kind == "value_error":
        problem = str(cause)
    else:
        problem = f"{value!r} was refused: {fault['msg'][0].lower()}{fault['msg'][1:]}"
    return InputError(problem, field=field, value=value, remedy=remedy)
