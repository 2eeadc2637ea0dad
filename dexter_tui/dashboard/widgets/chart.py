"""Curves over the steps, drawn with braille dots; all charts of a screen share an axis.

Drawn here rather than by plotext, which has no ASCII form of its curves, redraws a whole chart
where two cells have changed, and knows no cursor.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.message import Message
from textual.strip import Strip

from dexter_tui.dashboard.cells import Lines
from dexter_tui.dashboard.host import host_of
from dexter_tui.dashboard.scales import log_ticks, number, ticks
from dexter_tui.dashboard.themes import Palette

GUTTER = 8  # cells for the numbers to the left of a curve
SIGNS = "*o+x#@%"
"""The characters of curves where there are no braille dots, or no colours"""
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of the dots of a braille cell, by column and row"""
_MOST_LABELS = 8  # at the left of a chart
_TICK_COLUMNS = 12  # between two numbers of the axis of steps


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


class Curve(NamedTuple):
    """Values over steps, with gaps where a value is None."""

    label: str
    steps: Sequence[int]
    values: Sequence[float | None]
    colour: int
    """The index of its colour and its sign"""

    def at(self, step: int) -> float | None:
        """Return the value at a step."""
        index = index_at(self.steps, step)
        return None if index is None else self.values[index]


class CursorWanted(Message):
    """The request to move the cursor to a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step


class Chart(Lines):
    """Curves with numbers on both axes."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(**options)
        self._heading = name
        self.border_title = name
        self._curves: Sequence[Curve] = ()
        self._range: Sequence[Curve] = ()
        self._axis = Axis(1, 1, 1)
        self._log = False
        self._shown: object = None
        self._drawn: tuple[object, _Plot] | None = None

    def show(
        self,
        curves: Sequence[Curve],
        axis: Axis,
        *,
        log: bool = False,
        beside: Sequence[Curve] = (),
        legend: bool = False,
    ) -> None:
        """Show curves on an axis; those of a chart `beside` it count for the vertical scale."""
        shown = (axis, log, legend, [_mark(curve) for curve in (*curves, *beside)])
        if shown == self._shown:
            return
        self._shown = shown
        self._curves, self._axis, self._log = curves, axis, log
        self._range = [*curves, *beside]
        self._entitle(legend=legend)
        self.refresh()

    def repaint(self) -> None:
        """Draw everything again at the next `show`: the theme has changed."""
        self._shown = self._drawn = None

    def _entitle(self, *, legend: bool) -> None:
        """Write the names of the curves above them, and their values at the cursor below."""
        title, values = Text(self._heading), Text()
        for curve in self._curves:
            colour = ink(host_of(self).palette, curve.colour)
            if legend:
                title.append_text(Text("  ").append_text(self.key(curve)))
            value = curve.at(self._axis.cursor)
            if value is not None:
                values.append(" " if values else "").append(number(value), colour)
        self.border_title, self.border_subtitle = title, values

    def key(self, curve: Curve) -> Text:
        """Return the entry of a curve in a legend."""
        app = host_of(self)
        sign = SIGNS[curve.colour % len(SIGNS)] if self._plain else app.signs.bar[0]
        text = Text(f"{sign} ", ink(app.palette, curve.colour))
        return text.append(curve.label, "not bold")

    @property
    def _plain(self) -> bool:
        """True where curves are drawn with signs: without braille, or without colours."""
        app = host_of(self)
        return app.options.ascii or (app.options.no_colour and len(self._curves) > 1)

    def line(self, y: int) -> Strip:
        width, height = self.size
        app = host_of(self)
        palette, signs = app.palette, app.signs
        across = width - GUTTER
        if across < 4 or height < 1:
            return Strip.blank(width)
        dim, faint = Style.parse(palette.dim), Style.parse(palette.faint)
        rows = height - 1 if height > 3 else height
        if y >= rows:
            return Strip(
                [Segment(f"{'step':>{GUTTER - 2}}  ", dim),
                 Segment(step_line(self._axis, across), dim)], width
            )  # fmt: skip
        plot = self._plot(across, rows)
        label = plot.labels.get(y, "")
        edge = ("+" if label else "|") if app.options.ascii else ("┤" if label else "│")
        segments = [Segment(f"{label:>{GUTTER - 1}}", dim), Segment(edge, faint)]
        at = self._axis.column(self._axis.cursor, across)
        cursor = Style.parse(palette.accent)
        for x, (character, colour) in enumerate(plot.rows[y]):
            if x == at and self._curves:
                shown = character if character != " " else signs.vertical
                segments.append(Segment(shown, cursor))
            else:
                segments.append(Segment(character, Style.parse(ink(palette, colour))))
        return Strip(Segment.simplify(segments), width)

    def _plot(self, width: int, height: int) -> "_Plot":
        key = (self._shown, self._axis[:2], width, height, self._plain)
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = (
                key,
                _plot(
                    self._curves, self._axis, width, height, log=self._log, plain=self._plain,
                    limits=_limits(self._range, self._axis, log=self._log),
                ),
            )  # fmt: skip
        return self._drawn[1]

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and offset.x >= GUTTER:
            self.post_message(
                CursorWanted(self._axis.step(offset.x - GUTTER, self.size.width - GUTTER))
            )


def ink(palette: Palette, colour: int) -> str:
    """Return the style of a curve."""
    return palette.series[colour % len(palette.series)]


def step_line(axis: Axis, width: int) -> str:
    """Return the numbers below an axis of steps, each centred below its column."""
    line = [" "] * width
    free = 0
    for tick in ticks(axis.first, axis.last, max(width // _TICK_COLUMNS, 2), whole=True):
        text = f"{tick:.0f}"
        start = max(min(axis.column(tick, width) - len(text) // 2, width - len(text)), 0)
        if start >= free:
            line[start : start + len(text)] = text
            free = start + len(text) + 1
    return "".join(line)


class _Plot(NamedTuple):
    """Curves as cells: a character and the index of its colour, row by row."""

    rows: list[list[tuple[str, int]]]
    labels: dict[int, str]
    """The number at the left of a row"""


def _mark(curve: Curve) -> tuple[object, ...]:
    """Return a mark that differs between states of a curve, without comparing all of its values."""
    return (curve.label, curve.colour, len(curve.steps), curve.steps[-1:], curve.values[-1:],
            curve.values[:1], curve.values[len(curve.values) // 2 :][:1])  # fmt: skip


def _points(curve: Curve, axis: Axis, *, log: bool) -> list[tuple[int, float]]:
    """Return the visible points of a curve, logarithms of their values with ``log``."""
    return [
        (step, math.log10(value) if log else value)
        for step, value in zip(curve.steps, curve.values, strict=True)
        if value is not None and axis.first <= step <= axis.last and math.isfinite(value)
        and (not log or value > 0)
    ]  # fmt: skip


def _limits(curves: Iterable[Curve], axis: Axis, *, log: bool) -> tuple[float, float] | None:
    """Return the least and the greatest visible value; None if there is none."""
    values = [y for curve in curves for _, y in _points(curve, axis, log=log)]
    return (min(values), max(values)) if values else None


def _plot(
    curves: Sequence[Curve],
    axis: Axis,
    width: int,
    height: int,
    *,
    log: bool,
    plain: bool,
    limits: tuple[float, float] | None,
) -> _Plot:
    """Draw curves on a grid of cells, the first curve on top.

    Where several points share a column of dots, the column spans their minimum to their maximum.
    """
    cells = [[(" ", 0)] * width for _ in range(height)]
    if limits is None:
        return _Plot(cells, {})
    across, down = (1, 1) if plain else (2, 4)
    least, greatest = limits
    # A constant curve lies in the middle.
    low, span = (least, greatest - least) if greatest > least else (least - 0.5, 1.0)
    bits = [[0] * width for _ in range(height)]
    for curve in reversed(curves):
        reach = _reach(_points(curve, axis, log=log), axis, width * across, height * down,
                       low, span)  # fmt: skip
        sign = SIGNS[curve.colour % len(SIGNS)]
        for column, extent in enumerate(reach):
            for row in range(extent[0], extent[1] + 1) if extent is not None else ():
                x, y = column // across, row // down
                if plain:
                    cells[y][x] = (sign, curve.colour)
                else:
                    if cells[y][x][1] != curve.colour:
                        bits[y][x] = 0  # the upper curve alone: shared dots would thicken it
                    bits[y][x] |= _DOTS[column % 2][row % 4]
                    cells[y][x] = (chr(0x2800 + bits[y][x]), curve.colour)
    return _Plot(cells, _labels(low, span, height, down, log=log))


def _labels(low: float, span: float, height: int, down: int, *, log: bool) -> dict[int, str]:
    """Return round numbers by the row that they stand at."""
    most = min(max((height + 1) // 2, 2), _MOST_LABELS)
    found = (log_ticks if log else ticks)(low, low + span, most)
    if len(found) < 2:  # such as 1.31 to 1.32 on a logarithmic scale
        found = [low, low + span]
    labels = {}
    for value in found:
        row = round((1 - (value - low) / span) * (height * down - 1)) // down
        labels[row] = number(10**value if log else value)
    return labels


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
    """Return a curve as ``height`` lines of ``width`` characters, with its minimum and maximum."""
    curve = Curve("", steps, values, 0)
    limits = _limits([curve], axis, log=log)
    plot = _plot([curve], axis, width, height, log=log, plain=ascii_only, limits=limits)
    lines = ["".join(character for character, _ in row) for row in plot.rows]
    if limits is None:
        return lines, "", ""
    least, greatest = (10 ** limits[0], 10 ** limits[1]) if log else limits
    return lines, "" if height == 1 or least == greatest else number(least), number(greatest)


_Reach = list[tuple[int, int] | None]


def _reach(
    points: Sequence[tuple[int, float]],
    axis: Axis,
    columns: int,
    rows: int,
    low: float,
    span: float,
) -> _Reach:
    """Return the first and last row of dots in each column."""
    reach: _Reach = [None] * columns
    before: tuple[int, int] | None = None
    for step, y in points:
        column = axis.column(step, columns)
        row = round((1 - (y - low) / span) * (rows - 1))
        if before is not None:
            _line(reach, before, (column, row))
        else:
            _extend(reach, column, row, row)
        before = (column, row)
    return reach


def _line(reach: _Reach, start: tuple[int, int], end: tuple[int, int]) -> None:
    (x0, y0), (x1, y1) = start, end
    if x0 == x1:
        _extend(reach, x0, min(y0, y1), max(y0, y1))
        return
    last = y0
    for x in range(x0 + 1, x1 + 1):
        y = round(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
        _extend(reach, x, min(last, y), max(last, y))
        last = y


def _extend(reach: _Reach, column: int, low: int, high: int) -> None:
    known = reach[column]
    reach[column] = (low, high) if known is None else (min(known[0], low), max(known[1], high))


def index_at(steps: Sequence[int], step: int) -> int | None:
    """Return the index of the last step up to ``step``, or None."""
    at = bisect_right(steps, step)
    return at - 1 if at else None
