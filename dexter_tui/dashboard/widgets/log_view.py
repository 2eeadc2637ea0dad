"""The log of a run, followed as it grows."""

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.cells import cell_len, chop_cells
from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import Lines, strip_of
from dexter_tui.dashboard.host import Copied, host_of
from dexter_tui.formatting import LOG_LEVELS, clean, log_level
from store.artifacts import open_to_read

MOST_BYTES = 1_000_000
_LINE_BYTES = 400  # assumed length of a line when only the last few are read
_MAX_LINE = 4_000  # characters; a longer line is cut


def tail(path: Path, lines: int | None = None) -> list[str]:
    """Return the last ``lines`` of a file, or its last megabyte; none if it does not exist."""
    most = MOST_BYTES if lines is None else lines * _LINE_BYTES
    try:
        with open_to_read(path) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - most, 0))
            data = file.read(most)
    except OSError:
        return []
    found = data.decode("utf-8", "replace").splitlines()
    if size > most:
        found = found[1:] or found  # the first line is incomplete, but may be all there is
    return [line[:_MAX_LINE] for line in (found[-lines:] if lines is not None else found)]


_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ")


def localised(line: str) -> str:
    """Return a line of a log with its time, which is in UTC, as local time with the zone."""
    found = _TIME.match(line)
    if found is None:
        return line
    try:
        at = datetime.fromisoformat(found[0]).astimezone()
    except ValueError:  # such as a month 13 in a log that someone edited
        return line
    return f"{at:%Y-%m-%d %H:%M:%S %Z}{line[found.end() :]}"


class LogView(ScrollView, Lines, can_focus=True):
    """The lines of a log; follows the end while the end is visible."""

    BINDINGS = bindings("log")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._all: list[str] = []
        self._lines: list[tuple[str, str]] = []
        """The lines of the chosen levels as they are shown, each with its level"""
        self._rows: list[tuple[int, str]] = []
        """The lines, wrapped, each with the index of its line"""
        self._wrap = True
        self._width = 0  # that the lines are wrapped at
        self._level = 0  # the least level that is shown
        self._found: int | None = None  # the line that was searched for

    def show_lines(self, lines: list[str]) -> None:
        """Show these lines."""
        if lines == self._all:
            return
        self._all = lines
        self._choose()

    def search_lines(self) -> list[str]:
        """Return the lines that are shown, unwrapped: those of the chosen levels."""
        return [line for line, _ in self._lines]

    def go_to_line(self, n: int) -> None:
        """Scroll to line ``n`` of `search_lines` and highlight it."""
        self._found = n
        row = next((at for at, (line, _) in enumerate(self._rows) if line == n), None)
        if row is not None and not 0 <= row - self.scroll_offset.y < self.size.height:
            self.scroll_to(y=max(row - self.size.height // 2, 0), animate=False, force=True)
        self.refresh()

    def copied(self) -> Copied | None:
        """Return the lines that are shown."""
        return Copied("the log", "\n".join(self.search_lines())) if self._lines else None

    def action_wrap(self) -> None:
        self._wrap = not self._wrap
        self.styles.overflow_x = "hidden" if self._wrap else "auto"
        self._lay_out()

    def action_level(self) -> None:
        self._level = (self._level + 1) % len(LOG_LEVELS)
        self._found = None
        self._choose()

    def on_resize(self) -> None:
        self._lay_out()

    def _choose(self) -> None:
        """Take the lines of the chosen levels."""
        found = [(line, log_level(line)) for line in self._all]
        self._lines = [
            (clean(localised(line).expandtabs(4)), level)
            for line, level in found
            if LOG_LEVELS.index(level) >= self._level
        ]
        shown = ("", "Warnings and errors", "Errors")[self._level]
        count = f"{len(self._lines)} of {len(found)} lines"
        title = f"{shown}, {count}" if shown else ""
        if self.border_title != title:
            self.border_title = title
        self._lay_out()

    def _lay_out(self) -> None:
        at_end = self.scroll_offset.y >= self.virtual_size.height - self.size.height - 1
        self._width = width = max(self.scrollable_content_region.width, 1)
        if self._wrap:
            self._rows = [
                (at, part)
                for at, (line, _) in enumerate(self._lines)
                for part in chop_cells(line, width) or [""]
            ]
        else:
            self._rows = [(at, line) for at, (line, _) in enumerate(self._lines)]
        longest = max((cell_len(line) for _, line in self._rows), default=0)
        self.virtual_size = Size(width if self._wrap else longest, len(self._rows))
        if at_end:
            self.scroll_to(y=max(len(self._rows) - self.size.height, 0), animate=False, force=True)
        self.refresh()

    def line(self, y: int) -> Strip:
        x, top = self.scroll_offset
        width, palette = self.scrollable_content_region.width, host_of(self).palette
        if self._wrap and width != self._width:  # a scroll bar has come or gone
            self._width = width
            self.call_later(self._lay_out)
        if not self._lines and y == 0:
            empty = "No such lines." if self._all else "No log yet."
            return strip_of(Text(empty, palette.dim), width)
        if top + y >= len(self._rows):
            return Strip.blank(width)
        at, shown = self._rows[top + y]
        colours = {"warning": palette.warn, "error": palette.bad}
        text = Text(shown, colours.get(self._lines[at][1], ""))
        style = palette.cursor if at == self._found else ""
        return strip_of(text, max(x + width, text.cell_len), style).crop(x, x + width)


class Tail(Lines):
    """The last lines of a log, as many as fit."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._tail: list[str] = []

    def show(self, lines: list[str]) -> None:
        """Show these lines."""
        if lines != self._tail:
            self._tail = lines
            self.refresh()

    def line(self, y: int) -> Strip:
        width, height = self.size
        shown = self._tail[-height:]
        text = Text(clean(localised(shown[y])) if y < len(shown) else "")
        text.truncate(width, overflow="ellipsis")
        return strip_of(text, width)
