"""Curves over the steps, drawn with braille dots; all charts of a screen share an axis."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip

from dexter_tui.dashboard.cells import Lines
from dexter_tui.dashboard.host import host_of

GUTTER = 8  # cells for the numbers to the left of a curve
# Bits of the dots of a braille cell, by column and row.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


class Axis(NamedTuple):
    """The range of visible steps, and the step at the cursor."""

    first: int
    last: int
    cursor: int

    def column(self, step: float, width: int) -> int:
        """Return the column of a step among ``width`` columns."""
        span = max(self.last - self.first, 1)
        return round((step - self.first) / span * (width - 1))

    def step(self, column: int, width: int) -> int:
        """Return the step at a column."""
        span = self.last - self.first
        return round(self.first + column / max(width - 1, 1) * span)


class CursorWanted(Message):
    """The request to move the cursor to a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step


class Chart(Lines):
    """A curve of ``values`` over ``steps``, with gaps where a value is None."""

    def __init__(self, name: str, *, series: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.border_title = name
        self._series = series
        self._steps: Sequence[int] = ()
        self._values: Sequence[float | None] = ()
        self._axis = Axis(1, 1, 1)
        self._log = False
        self._drawn: tuple[object, list[str], tuple[str, str]] | None = None

    def show(
        self, steps: Sequence[int], values: Sequence[float | None], axis: Axis, *, log: bool
    ) -> None:
        """Show a curve on an axis."""
        if (len(steps), axis, log) == (len(self._steps), self._axis, self._log) and (
            not values or values[-1] == self._values[-1]
        ):
            return
        self._steps, self._values, self._axis, self._log = steps, values, axis, log
        self.border_subtitle = self._value_at(axis.cursor)
        self.refresh()

    def _value_at(self, step: int) -> str:
        index = index_at(self._steps, step)
        value = self._values[index] if index is not None else None
        return "" if value is None else f"{_number(value)}"

    def line(self, y: int) -> Strip:
        width, height = self.size
        palette = host_of(self).palette
        plot = width - GUTTER
        if plot < 4 or height < 1:
            return Strip.blank(width)
        ascii_only = host_of(self).options.ascii
        key = (len(self._steps), self._axis[:2], self._log, width, height, self._values[-1:])
        if self._drawn is None or self._drawn[0] != key:
            rows, low, high = draw(
                self._steps, self._values, self._axis, plot, height, log=self._log,
                ascii_only=ascii_only,
            )  # fmt: skip
            self._drawn = (key, rows, (low, high))
        _, rows, (low, high) = self._drawn
        label = high if y == 0 else low if y == height - 1 else ""
        dim = Style.parse(palette.dim)
        ink = Style.parse(palette.series[self._series % len(palette.series)])
        line = rows[y] if y < len(rows) else " " * plot
        segments = [Segment(f"{label:>{GUTTER - 1}} ", dim)]
        at = self._axis.column(self._axis.cursor, plot)
        if 0 <= at < plot and self._steps:
            mark = line[at] if line[at] not in " ⠀" else ("|" if ascii_only else "│")
            segments += [
                Segment(line[:at], ink),
                Segment(mark, Style.parse(palette.accent)),
                Segment(line[at + 1 :], ink),
            ]
        else:
            segments.append(Segment(line, ink))
        return Strip(segments, width)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and offset.x >= GUTTER:
            self.post_message(
                CursorWanted(self._axis.step(offset.x - GUTTER, self.size.width - GUTTER))
            )


def draw(
    steps: Sequence[int],
    values: Sequence[float | None],
    axis: Axis,
    width: int,
    height: int,
    *,
    log: bool,
    ascii_only: bool = False,
) -> tuple[list[str], str, str]:
    """Return the curve as ``height`` lines of ``width`` characters, with its minimum and maximum.

    Where several points share a column of dots, the column spans their minimum to their maximum.
    """
    across, down = (1, 1) if ascii_only else (2, 4)
    points = [
        (step, _scaled(value, log))
        for step, value in zip(steps, values, strict=True)
        if value is not None and axis.first <= step <= axis.last and math.isfinite(value)
        and (not log or value > 0)
    ]  # fmt: skip
    if not points:
        return [" " * width] * height, "", ""
    least, greatest = min(y for _, y in points), max(y for _, y in points)
    # A constant curve lies in the middle.
    low, span = (least, greatest - least) if greatest > least else (least - 0.5, 1.0)
    columns, rows = width * across, height * down
    reach: list[tuple[int, int] | None] = [None] * columns
    before: tuple[int, int] | None = None
    for step, y in points:
        column = axis.column(step, columns)
        row = round((1 - (y - low) / span) * (rows - 1))
        if before is not None:
            _line(reach, before, (column, row))
        else:
            _extend(reach, column, row, row)
        before = (column, row)
    cells = [[0] * width for _ in range(height)]
    for column, extent in enumerate(reach):
        if extent is not None:
            for row in range(extent[0], extent[1] + 1):
                cells[row // down][column // across] |= (
                    1 if ascii_only else _DOTS[column % 2][row % 4]
                )
    if ascii_only:
        lines = ["".join("*" if cell else " " for cell in row) for row in cells]
    else:
        lines = ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in cells]
    if log:
        least, greatest = 10**least, 10**greatest
    return lines, "" if height == 1 or least == greatest else _number(least), _number(greatest)


def _scaled(value: float, log: bool) -> float:
    return math.log10(value) if log and value > 0 else value


def _line(
    reach: list[tuple[int, int] | None], start: tuple[int, int], end: tuple[int, int]
) -> None:
    (x0, y0), (x1, y1) = start, end
    if x0 == x1:
        _extend(reach, x0, min(y0, y1), max(y0, y1))
        return
    last = y0
    for x in range(x0 + 1, x1 + 1):
        y = round(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
        _extend(reach, x, min(last, y), max(last, y))
        last = y


def _extend(reach: list[tuple[int, int] | None], column: int, low: int, high: int) -> None:
    known = reach[column]
    reach[column] = (low, high) if known is None else (min(known[0], low), max(known[1], high))


def index_at(steps: Sequence[int], step: int) -> int | None:
    """Return the index of the last step up to ``step``, or None."""
    at = bisect_right(steps, step)
    return at - 1 if at else None


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 10_000 or abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
