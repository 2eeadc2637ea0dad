"""The log of a run, followed as it grows."""

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import Lines, strip_of
from dexter_tui.dashboard.host import Copied
from dexter_tui.formatting import clean
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
        found = found[1:]  # the first line is incomplete
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
        self._lines: list[str] = []
        self._rows: list[str] = []
        self._wrap = True

    def show_lines(self, lines: list[str]) -> None:
        """Show these lines."""
        if lines == self._lines:
            return
        self._lines = lines
        self._lay_out()

    def search_lines(self) -> list[str]:
        """Return the lines as they are shown, before they are wrapped."""
        return [clean(localised(line).expandtabs(4)) for line in self._lines]

    def go_to_line(self, number: int) -> None:
        """Scroll to a line."""
        width = max(self.size.width, 1)
        before = self.search_lines()[:number]
        rows = sum(-(-len(line) // width) or 1 for line in before) if self._wrap else number
        self.scroll_to(y=max(rows - self.size.height // 2, 0), animate=False, force=True)

    def copied(self) -> Copied | None:
        """Return the whole log."""
        return Copied("the log", "\n".join(map(localised, self._lines))) if self._lines else None

    def action_wrap(self) -> None:
        self._wrap = not self._wrap
        self.styles.overflow_x = "hidden" if self._wrap else "auto"
        self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        at_end = self.scroll_offset.y >= self.virtual_size.height - self.size.height - 1
        width = max(self.size.width, 1)
        lines = [clean(localised(line).expandtabs(4)) for line in self._lines]
        if self._wrap:
            self._rows = [
                line[start : start + width]
                for line in lines
                for start in range(0, max(len(line), 1), width)
            ]
            self.virtual_size = Size(width, len(self._rows))
        else:
            self._rows = lines
            self.virtual_size = Size(max(map(len, lines), default=0), len(lines))
        if at_end:
            self.scroll_to(y=max(len(self._rows) - self.size.height, 0), animate=False, force=True)
        self.refresh()

    def line(self, y: int) -> Strip:
        x, top = self.scroll_offset
        row = top + y
        width = self.size.width
        if row >= len(self._rows):
            return Strip.blank(width)
        return strip_of(Text(self._rows[row][x : x + width]), width)


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
