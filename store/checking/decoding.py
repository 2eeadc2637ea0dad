"""The one place where cells of a store become values, for all readers.

A store may be from elsewhere, or edited. So each cell passes the checks of an import. A row with a
cell that fails is noted once as damaged (`found`), and shown without that cell if it is the head of
other rows, such as a run; any other such row is left out.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from store.checking.checks import check_cell, check_row, no_constant
from store.errors import StoreError
from store.states import Kind, State

_Row = TypeVar("_Row", bound=tuple[Any, ...])

_HEADS = frozenset({"run", "study", "classifier", "job", "comparison", "member", "slot"})
_NAMES = frozenset({"id", "study_id", "comparison_id"})
"""Columns that a row is found by; a head with damage in one of them is left out as well."""
_MOST = 1000  # damaged rows that are noted

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEUTRAL: dict[Any, Callable[[], Any]] = {
    int: int,
    float: float,
    str: str,
    bool: bool,
    list: list,
    dict: dict,
    datetime: lambda: _EPOCH,
    State: lambda: State.FAILED,
    Kind: lambda: Kind.RUN,
}
_NOUNS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false",
          list: "a list", dict: "an object", datetime: "a time"}  # fmt: skip

found: dict[str, None] = {}
"""A line for each damaged row that this process has read, until they are reported."""


def take_found() -> list[str]:
    """Return the lines in `found`, and clear it."""
    lines = list(found)
    found.clear()
    return lines


class Unreadable(NamedTuple):
    """The content of a cell that is no value of its column's type."""

    raw: object


to_text = partial(str, encoding="utf-8", errors="replace")
"""The texts of a connection: bytes that are no UTF-8 are replaced."""


class Cell(NamedTuple):
    """The type that a column's values have in Python."""

    type: Any
    nullable: bool

    def fits(self, value: object) -> bool:
        """Return whether a value is of the type."""
        if value is None:
            return self.nullable
        if isinstance(value, bool):
            return self.type is bool
        return isinstance(value, (int, float) if self.type is float else self.type)

    def neutral(self, name: str) -> Any:
        """Return the value that is shown in place of a damaged one."""
        if self.nullable:
            return None
        if self.type is str and name.endswith("_at"):
            return _EPOCH.isoformat()
        if self.type is int and name in ("image_size", "direction"):
            return 1
        if self.type is str and name == "state":
            return "failed"
        return _NEUTRAL[self.type]()


def cell(annotation: Any) -> Cell:
    """Return the cell that holds values of an annotated type, such as `list[str] | None`."""
    union = get_origin(annotation) in (Union, UnionType)
    parts = get_args(annotation) if union else (annotation,)
    [kind] = [part for part in parts if part is not NoneType]
    return Cell(get_origin(kind) or kind, NoneType in parts)


def parse_json(raw: object) -> Any:
    """Return the value of a JSON text, or `Unreadable`."""
    if raw is None:
        return None
    try:
        return json.loads(raw, parse_constant=no_constant)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):
        return Unreadable(raw)


def parse_time(raw: object) -> Any:
    """Return an aware time, or `Unreadable`."""
    if raw is None:
        return None
    try:
        return datetime.fromisoformat(raw)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return Unreadable(raw)


def parse_enum(kind: type[StrEnum], raw: object) -> Any:
    """Return a member of an enumeration, or `Unreadable`."""
    if raw is None:
        return None
    try:
        return kind(raw)  # type: ignore[arg-type]
    except ValueError:
        return Unreadable(raw)


def parse_bool(raw: object) -> Any:
    """Return a truth value, or `Unreadable`."""
    return raw if raw is None else bool(raw) if raw in (0, 1) else Unreadable(raw)


def _parse(raw: object, kind: Any) -> Any:
    """Return the value of a cell as the driver gives it."""
    if kind in (list, dict):
        return parse_json(raw)
    if kind is bool:
        return parse_bool(raw)
    return parse_enum(kind, raw) if kind in (State, Kind) else raw


def problems(kind: str, cells: Mapping[str, Cell], values: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with the values of a row of the table `kind`, by column.

    An empty problem means that the value is not shown, although the row is not damaged.
    """
    bad = {}
    for name, value in values.items():
        expected = cells[name]
        if value is None and expected.nullable:
            continue
        if expected.nullable and isinstance(value, float) and not math.isfinite(value):
            bad[name] = ""  # a loss may be infinite; it is shown as missing, and is no damage
            continue
        if not expected.fits(value):
            raw = value.raw if isinstance(value, Unreadable) else value
            noun = _NOUNS.get(expected.type, f"a {name}")
            bad[name] = f"{kind}.{name}: {str(raw)[:40]!r} is not {noun}"
        elif not name.endswith("_json"):  # which is decoded when it is read
            try:
                check_cell(kind, name, value)
            except StoreError as error:
                bad[name] = error.problem
    if not bad:
        for name, problem in check_row(kind, values).items():
            bad.setdefault(name, problem)
    return bad


def note(kind: str, values: Mapping[str, Any], bad: Mapping[str, str]) -> str | None:
    """Note a damaged row; return the line, None if it has no damage."""
    problem = next(filter(None, bad.values()), None)
    if problem is None:
        return None
    own = ("id",) if values.get("id") is not None else ("run_id", "study_id", "step", "rank")
    keys = [values.get(name) for name in own]
    where = " ".join(str(key)[:40] for key in keys if isinstance(key, str | int))
    line = f"damaged {kind}{' ' if where else ''}{where}: {problem}"
    note_line(line)
    return line


def note_line(line: str) -> None:
    """Note what could not be read."""
    if len(found) < _MOST:
        found[line] = None


def is_usable(kind: str, bad: Mapping[str, str]) -> bool:
    """Return whether a row with this damage is shown without it, or else is left out."""
    damage = {name for name, problem in bad.items() if problem}
    return not damage or (kind in _HEADS and not _NAMES & damage)


@cache
def _cells(row: type[tuple[Any, ...]]) -> dict[str, Cell]:
    return {name: cell(annotation) for name, annotation in get_type_hints(row).items()}


def decoded_values(
    kind: str, row: type[tuple[Any, ...]], raw: Sequence[Any]
) -> dict[str, Any] | None:
    """Return the values of a row of the table `kind`, by name; None if it is left out.

    The names and annotations of the named tuple `row` are the columns and types; `raw` holds the
    first of them as the driver gives them.
    """
    cells = _cells(row)
    values = {name: _parse(one, cells[name].type) for name, one in zip(cells, raw, strict=False)}
    for name, value in values.items():
        if value is None and cells[name].type is list:  # no list is an empty one
            values[name] = None if cells[name].nullable else []
    bad = problems(kind, cells, values)
    if bad:
        line = note(kind, values, bad)
        if not is_usable(kind, bad):
            return None
        values |= {name: cells[name].neutral(name) for name in bad}
        if "error" in values and line is not None:
            values["error"] = {"problem": line} if cells["error"].type is dict else line
    return values


def decoded(kind: str, row: type[_Row], rows: Iterable[Sequence[Any]]) -> list[_Row]:
    """Return rows of the table `kind` as named tuples, but for those left out."""
    some = (decoded_values(kind, row, raw) for raw in rows)
    return [row(**values) for values in some if values is not None]


def decoded_cell(kind: str, name: str, annotation: Any, raw: object) -> Any:
    """Return one value of a row; a damaged one is noted and replaced."""
    one = cell(annotation)
    value = _parse(raw, one.type)
    if bad := problems(kind, {name: one}, {name: value}):
        note(kind, {}, bad)
        return one.neutral(name)
    return value
