"""The form: settings drawn line by line, because 200 widgets would take seconds to build.

A single `Input` lies over the row with the cursor.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from rich.segment import Segment
from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Input

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import Lines, ascii_strip, fit, padded, strip_of
from dexter_tui.dashboard.host import host_of
from dexter_tui.formatting import clean

NAME_WIDTH = 24
VALUE_WIDTH = 34
_INDENT = 2  # of an error below its setting
_ERROR_LINES = 5  # which leaves room for other settings on 24 lines


@dataclass
class Row:
    """A setting or, without a name, a heading."""

    name: str
    title: str
    value: str = ""
    placeholder: str = ""
    """The value in effect while `value` is empty"""
    values: Sequence[str] = field(default_factory=tuple)
    """The allowed values; empty if any text is allowed"""
    note: str = ""
    error: str = ""
    shown: bool = True
    required: bool = False


class Field(Input):
    """The editor of the row with the cursor, which for a row with fixed values chooses one."""

    BINDINGS = bindings("form-row")

    def __init__(self) -> None:
        super().__init__(compact=True, select_on_focus=False)
        self.cursor_blink = False  # a blinking cursor would send bytes all the time
        self.choices: Sequence[str] = ()
        self._edits: list[str] = []
        self._loading = False

    def load(self, row: Row) -> None:
        """Edit a row."""
        self.choices = row.values
        self.placeholder = clean(row.placeholder)
        self._put(row.value)
        self._edits.clear()
        self.refresh()

    def _put(self, value: str) -> None:
        self._loading = True
        self.value = value
        self._loading = False
        self.cursor_position = len(value)

    def watch_value(self, before: str, value: str) -> None:
        """Record an edit for undo."""
        if not self._loading:
            self._edits.append(before)

    def action_undo(self) -> None:
        if self._edits:
            self._put(self._edits.pop())

    def action_row(self, by: int) -> None:
        self._form.action_row(by)

    def action_turn(self, by: int) -> None:
        if self.choices:
            at = self.choices.index(self.value) if self.value in self.choices else 0
            self._put(self.choices[(at + by) % len(self.choices)])
        elif by < 0:
            self.action_cursor_left()
        else:
            self.action_cursor_right()

    @property
    def _form(self) -> "Form":
        assert isinstance(self.parent, Form)
        return self.parent

    def replace(self, text: str, start: int, end: int) -> None:
        """Replace a part of the text; a row with fixed values returns to its first value."""
        if self.choices:
            self._put(self.choices[0])
        else:
            super().replace(text, start, end)

    def on_key(self, event: events.Key) -> None:
        if event.is_printable and self.choices:
            event.stop()
            event.prevent_default()
            if event.key == "space":
                self.action_turn(1)
            elif matches := [v for v in self.choices if v.startswith(event.character or " ")]:
                self._put(matches[0])

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        if not self.choices:
            self.replace(clean(" ".join(event.text.split())), *self.selection)

    def on_click(self, event: events.Click) -> None:
        if self.choices:
            self.action_turn(1)

    def render_line(self, y: int) -> Strip:
        host, width = host_of(self), self.size.width
        strip = super().render_line(y)
        if self.choices:
            text = Text(self.value or self.placeholder, "" if self.value else host.palette.dim)
            text.append("  ← →", host.palette.accent)
            strip = Strip(list(Segment.apply_style(strip_of(text, width), self.rich_style)), width)
        return ascii_strip(strip) if host.options.ascii else strip


class _Rows(ScrollView, Lines, can_focus=False):
    """The rows of the form, each with its error below."""

    def __init__(self, rows: Sequence[Row], **options: Any) -> None:
        super().__init__(**options)
        self._rows = rows
        self._shown: list[tuple[Any, ...]] = []
        """The content of each line: the index of its row, a line of its error, and what it shows"""

    def update_lines(self) -> None:
        """Arrange the lines; redraw only the changed ones."""
        before, self._shown = self._shown, []
        for index, row in enumerate(self._rows):
            if row.shown:
                here = row is self._form.here
                texts = (row.value, row.placeholder, row.note, bool(row.error), here)
                width = max(self.columns_shown - _INDENT, 20)
                errors = textwrap.wrap(
                    clean(row.error), width, max_lines=_ERROR_LINES, placeholder=" …"
                )
                self._shown += [(index, error, texts) for error in (None, *errors)]
        self.virtual_size = Size(self.size.width, len(self._shown))
        for y, (old, new) in enumerate(zip_longest(before, self._shown)):
            if old != new:
                self.refresh(Region(0, y - self.scroll_offset.y, self.size.width, 1))

    def line_of(self, index: int) -> int:
        """Return the line of a row."""
        return next(
            y for y, (row, error, _) in enumerate(self._shown) if (row, error) == (index, None)
        )

    def scroll_to_row(self, index: int) -> None:
        """Scroll to a row and its error, with the heading above and a row below."""
        y, top, height = self.line_of(index), self.scroll_offset.y, self.size.height
        end = y + sum(row == index for row, *_ in self._shown) + 1
        if y - 1 < top:
            self.scroll_to(y=max(y - 2, 0), animate=False, force=True)
        elif end > top + height:
            self.scroll_to(y=end - height, animate=False, force=True)

    @property
    def columns(self) -> tuple[int, int]:
        """The widths of names and values."""
        wide = self.columns_shown > 70
        return (NAME_WIDTH, VALUE_WIDTH) if wide else (NAME_WIDTH - 4, VALUE_WIDTH - 8)

    def line(self, y: int) -> Strip:
        palette, width = host_of(self).palette, self.columns_shown
        if self.scroll_offset.y + y >= len(self._shown):
            return Strip.blank(width)
        index, error, _ = self._shown[self.scroll_offset.y + y]
        row = self._rows[index]
        if error is not None:
            return strip_of(Text(f"{'':{_INDENT}}{error}", style=palette.bad), width)
        if not row.name:
            return strip_of(Text(row.title, style=f"bold {palette.primary}"), width)
        names, room = self.columns
        style = palette.dim if row is not self._form.here else f"bold {palette.primary}"
        style = palette.bad if row.error else style
        title = f"{row.title} *" if row.required else row.title
        text = Text(no_wrap=True).append(f"{padded(title, names - 1)} ", style)
        value = Text(clean(row.value or row.placeholder), style="" if row.value else palette.dim)
        value.truncate(room - 1, overflow="ellipsis", pad=True)
        text.append_text(value)
        text.append(f"  {fit(clean(row.note), max(width - names - room - 1, 0))}", palette.dim)
        return strip_of(text, width)

    @property
    def _form(self) -> "Form":
        assert isinstance(self.parent, Form)
        return self.parent

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and 0 <= self.scroll_offset.y + offset.y < len(self._shown):
            index, *_ = self._shown[self.scroll_offset.y + offset.y]
            if self._rows[index].name:
                self._form.move_to(index)

    def on_resize(self) -> None:
        self._shown = []
        self.update_lines()
        self._form.place_field()

    def watch_scroll_y(self, old: float, new: float) -> None:
        super().watch_scroll_y(old, new)
        self._form.place_field()


class Form(Container):
    """A list of settings, of which the one with the cursor is edited."""

    class Changed(Message):
        """A value has changed."""

    class Moved(Message):
        """The cursor moved to another row."""

    def __init__(self, rows: Sequence[Row], **options: Any) -> None:
        super().__init__(**options)
        self.rows = list(rows)
        for row in self.rows:
            row.value = clean(row.value)  # an editor draws its text unfiltered
        self._at = next(k for k, row in enumerate(rows) if row.name)
        self._lines = _Rows(self.rows)
        self._field = Field()
        self._loaded = False  # until then, the editor is empty and says nothing about its row

    def compose(self) -> ComposeResult:
        yield self._lines
        yield self._field

    def on_mount(self) -> None:
        self._field.load(self.here)
        self._loaded = True

    @property
    def here(self) -> Row:
        """The row with the cursor."""
        return self.rows[self._at]

    def __getitem__(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    def values(self) -> dict[str, str]:
        """Return the values by the names of the settings."""
        self.read_field()
        return {row.name: row.value.strip() for row in self.rows if row.name}

    def put(self, value: str) -> None:
        """Set the value of the row with the cursor."""
        self.here.value = value
        self._field.load(self.here)
        self.post_message(self.Changed())

    def update_rows(self) -> None:
        """Redraw rows whose content has changed."""
        self._lines.update_lines()
        if self.here.shown and self.here.error:
            self._lines.scroll_to_row(self._at)
        self._field.placeholder = clean(self.here.placeholder)
        self.place_field()

    def go_to(self, name: str) -> None:
        """Move the cursor to a setting."""
        self.move_to(self.rows.index(self[name]))

    def move_to(self, index: int) -> None:
        """Move the cursor to a row."""
        self.read_field()
        self._at = index
        self._lines.update_lines()  # shows the value of the row that the cursor leaves
        self._lines.scroll_to_row(index)
        self._field.load(self.here)
        self.place_field()
        self.post_message(self.Moved())

    def action_row(self, by: int) -> None:
        shown = [k for k, row in enumerate(self.rows) if row.shown and row.name]
        at = shown.index(self._at) if self._at in shown else 0
        self.move_to(shown[max(0, min(at + by, len(shown) - 1))])

    def place_field(self) -> None:
        """Put the editor over the row with the cursor."""
        if not self.here.shown or not self._lines.size.width:
            return
        names, room = self._lines.columns
        y = self._lines.line_of(self._at) - self._lines.scroll_offset.y
        visible = 0 <= y < self._lines.size.height
        # A hidden editor would lose the focus, so out of view it is moved away instead.
        self._field.styles.offset = (names, y if visible else -10)
        self._field.styles.width = room - 1

    @on(Input.Changed)
    def read_field(self) -> None:
        """Take the text of the editor, which reports changes with a delay."""
        if self._loaded and self.here.value != self._field.value:
            self.here.value = self._field.value
            self.post_message(self.Changed())
