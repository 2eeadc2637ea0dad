"""A form of many settings, drawn line by line: two hundred widgets would take seconds to build."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import Lines, fit, strip_of
from dexter_tui.dashboard.host import host_of
from dexter_tui.formatting import clean

NAME_WIDTH = 24
VALUE_WIDTH = 34


@dataclass
class Row:
    """A setting, or, without a name, a heading."""

    name: str
    title: str
    value: str = ""
    placeholder: str = ""
    """What counts while the value is empty."""
    values: Sequence[str] = field(default_factory=tuple)
    """What it may be; empty if anything may be typed."""
    note: str = ""
    wrong: bool = False
    shown: bool = True


class Form(ScrollView, Lines, can_focus=True):
    """Rows, of which the one with the cursor can be edited."""

    BINDINGS = bindings("form-row")

    class Changed(Message):
        """A value is another."""

    class Moved(Message):
        """The cursor is on another row."""

    def __init__(self, rows: Sequence[Row], **options: Any) -> None:
        super().__init__(**options)
        self.rows = list(rows)
        self._at = next(k for k, row in enumerate(rows) if row.name)
        self._caret = len(self.here.value)

    @property
    def here(self) -> Row:
        """The row with the cursor."""
        return self.rows[self._at]

    def __getitem__(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    def values(self) -> dict[str, str]:
        """What was typed, by the settings' names."""
        return {row.name: row.value.strip() for row in self.rows if row.name}

    def put(self, value: str) -> None:
        """Another value for the row with the cursor."""
        self.here.value = value
        self._caret = len(value)
        self.refresh()
        self.post_message(self.Changed())

    def lay_out(self) -> None:
        """After rows were shown or hidden, or the size changed."""
        self.virtual_size = Size(self.size.width, len(self._shown))
        self.refresh()

    def go_to(self, name: str) -> None:
        """Put the cursor on a setting."""
        self._go(self.rows.index(self[name]))

    # Moving and editing

    def action_row(self, by: int) -> None:
        shown = [k for k in self._shown if self.rows[k].name]
        at = shown.index(self._at) if self._at in shown else 0
        self._go(shown[max(0, min(at + by, len(shown) - 1))])

    def action_turn(self, by: int) -> None:
        row = self.here
        if row.values:
            at = row.values.index(row.value) if row.value in row.values else 0
            self.put(row.values[(at + by) % len(row.values)])
        else:
            self._caret = max(0, min(self._caret + by, len(row.value)))
            self.refresh()

    def action_caret(self, end: int) -> None:
        self._caret = len(self.here.value) if end else 0
        self.refresh()

    def action_erase(self, what: str) -> None:
        row, caret = self.here, self._caret
        if row.values:
            self.put(row.values[0])
            return
        if what == "before" and caret:
            row.value = row.value[: caret - 1] + row.value[caret:]
            self._caret -= 1
        elif what == "under":
            row.value = row.value[:caret] + row.value[caret + 1 :]
        elif what == "all":
            row.value, self._caret = "", 0
        self.refresh()
        self.post_message(self.Changed())

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Letters are typed here, whatever they do elsewhere."""
        return character is not None and character.isprintable()

    def on_key(self, event: events.Key) -> None:
        if event.character is None or not event.is_printable:
            return
        event.stop()
        event.prevent_default()
        if self.here.values:
            if event.key == "space":
                self.action_turn(1)
            else:  # to the value that begins so
                fitting = [v for v in self.here.values if v.startswith(event.character)]
                if fitting:
                    self.put(fitting[0])
            return
        self._insert(event.character)

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        if not self.here.values:
            self._insert(" ".join(event.text.split()))

    def _insert(self, text: str) -> None:
        row, caret = self.here, self._caret
        row.value = row.value[:caret] + text + row.value[caret:]
        self._caret += len(text)
        self.refresh()
        self.post_message(self.Changed())

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        shown = self._shown
        if offset is None or not 0 <= self.scroll_offset.y + offset.y < len(shown):
            return
        index = shown[self.scroll_offset.y + offset.y]
        if self.rows[index].name:
            again = index == self._at
            self._go(index)
            if again and self.here.values:
                self.action_turn(1)

    def _go(self, index: int) -> None:
        self._at = index
        self._caret = len(self.here.value)
        shown = self._shown
        y = shown.index(index)
        # With the heading above it, and one row to come below.
        if y - 1 < self.scroll_offset.y:
            self.scroll_to(y=max(y - 2, 0), animate=False, force=True)
        elif y + 2 > self.scroll_offset.y + self.size.height:
            self.scroll_to(y=y + 2 - self.size.height, animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved())

    @property
    def _shown(self) -> list[int]:
        return [k for k, row in enumerate(self.rows) if row.shown]

    def on_resize(self) -> None:
        self.lay_out()

    # Drawing

    def line(self, y: int) -> Strip:
        app = host_of(self)
        palette, width = app.palette, self.size.width
        shown = self._shown
        if self.scroll_offset.y + y >= len(shown):
            return Strip.blank(width)
        index = shown[self.scroll_offset.y + y]
        row, here = self.rows[index], index == self._at and self.has_focus
        if not row.name:
            return strip_of(Text(row.title, style=f"bold {palette.primary}"), width)
        names = NAME_WIDTH if width > 70 else NAME_WIDTH - 4
        room = VALUE_WIDTH if width > 70 else VALUE_WIDTH - 8
        style = palette.bad if row.wrong else palette.primary if here else palette.dim
        text = Text(no_wrap=True).append(f"{fit(row.title, names - 1):<{names}}", style)
        self._value(text, row, room, here=here)
        note = fit(clean(row.note), max(width - names - room - 1, 0))
        text.append(f" {note}", palette.bad if row.wrong else palette.dim)
        return strip_of(
            text, width, palette.cursor if here and "reverse" not in palette.cursor else ""
        )

    def _value(self, text: Text, row: Row, room: int, *, here: bool) -> None:
        app = host_of(self)
        shown, style = clean(row.value), ""
        if not row.value:
            shown, style = clean(row.placeholder), app.palette.dim
        if row.values:
            shown = f"< {shown} >" if here else f"  {shown}"
        start = 0
        if here and not row.values and row.value:
            start = max(self._caret - room + 2, 0)
        cell = fit(shown[start:], room - 1) if not start else shown[start : start + room - 1]
        text.append(cell, style)
        text.append(" " * (room - len(cell)))
        if here and not row.values:
            at = len(text) - room + (self._caret - start if row.value else 0)
            text.stylize(Style(reverse=True), at, at + 1)
