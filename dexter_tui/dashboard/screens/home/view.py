"""The user's view of the list of runs: columns, order and saved filters, as remembered."""

from typing import Any

from dexter_tui.dashboard.remembered import Remembered
from dexter_tui.dashboard.run_columns import COLUMNS, NARROWEST, WIDEST, Layout
from store.reading.browse import ORDERS

_NAMES = frozenset(column.name for column in COLUMNS)
FIXED = "run"
"""The column that is always shown"""


def layout(remembered: Remembered) -> Layout:
    """Return the choice of columns."""
    found = _table(remembered.get("columns"))
    hidden = found.get("hidden")
    names = [name for name in hidden if name in _NAMES] if isinstance(hidden, list) else []
    widths = {
        name: width
        for name, width in _table(found.get("widths")).items()
        if name in _NAMES and type(width) is int and NARROWEST <= width <= WIDEST
    }
    return Layout(frozenset(names) - {FIXED}, widths)


def put_layout(remembered: Remembered, chosen: Layout) -> None:
    """Remember the choice of columns."""
    remembered.put("columns", {"hidden": sorted(chosen.hidden), "widths": dict(chosen.widths)})


def order(remembered: Remembered) -> tuple[str, bool]:
    """Return the order of the list, and True if it is reversed."""
    found = _table(remembered.get("sort"))
    name = found.get("by")
    return (name, found.get("reverse") is True) if name in ORDERS else ("study", False)


def put_order(remembered: Remembered, name: str, *, reverse: bool) -> None:
    """Remember the order of the list."""
    remembered.put("sort", {"by": name, "reverse": reverse})


def filters(remembered: Remembered) -> dict[str, str]:
    """Return the saved filters by name."""
    found = _table(remembered.get("filters"))
    return {name: text for name, text in found.items() if isinstance(text, str)}


def put_filters(remembered: Remembered, saved: dict[str, str]) -> None:
    """Remember the saved filters."""
    remembered.put("filters", dict(sorted(saved.items())))


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
