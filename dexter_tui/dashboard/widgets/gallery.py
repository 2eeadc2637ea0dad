"""The gallery of pictures in tiles, in groups with headings; only visible tiles are rendered."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.text import Text
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import Lines, strip_of
from dexter_tui.dashboard.host import host_of
from store.reading.browse import FrameRow

_LEAST, _SMALL = 8, 16  # cells across a picture: at least, and where two rows need not be visible
_USUAL_ACROSS, _USUAL_DOWN = 3, 2  # tiles that are visible at least, if they are not small
_GAP = 2


class Group(NamedTuple):
    """Pictures below a heading."""

    title: str
    frames: Sequence[FrameRow]


class _Row(NamedTuple):
    """A heading, or a row of tiles: the pictures from ``first`` on."""

    top: int
    first: int
    tiles: int
    title: str


class Gallery(ScrollView, Lines, can_focus=True):
    """The pictures of a run, with a cursor."""

    BINDINGS = bindings("gallery")

    class Selected(Message):
        """The user selected another picture."""

        def __init__(self, frame: FrameRow) -> None:
            super().__init__()
            self.frame = frame

    class Ready(Message):
        """A requested picture has been rendered."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.frames: list[FrameRow] = []
        self.index = 0
        self._groups: Sequence[Group] = ()
        self._rows: list[_Row] = []
        self._laid_out = (0, 0)
        self._wanted: int | None = None  # tiles in a row; None: chosen by the size of the screen

    @property
    def selected(self) -> FrameRow | None:
        """The picture at the cursor."""
        return self.frames[self.index] if self.index < len(self.frames) else None

    @property
    def title(self) -> str:
        """The heading above the picture at the cursor."""
        at = self._row_of(self.index)
        titles = [row.title for row in self._rows[: at + 1] if row.title]
        return titles[-1] if titles else ""

    def show(self, groups: Sequence[Group]) -> None:
        """Show these pictures; the cursor stays on its picture."""
        if groups != self._groups:
            before = self.selected
            self._groups = groups
            self.frames = [frame for group in groups for frame in group.frames]
            self.index = self.frames.index(before) if before in self.frames else 0
            self._lay_out()

    def select(self, frame: FrameRow, *, notify: bool = False) -> None:
        """Move the cursor to a picture and scroll to it."""
        if frame in self.frames:
            self._move_to(self.frames.index(frame), notify=notify)

    def action_move(self, right: int, down: int) -> None:
        index = self.index + right
        if down and self._rows:
            rows = [row for row in self._rows if row.tiles]
            here = rows.index(self._rows[self._row_of(self.index)])
            row = rows[max(0, min(here + down, len(rows) - 1))]
            column = self.index - rows[here].first
            index = row.first + min(column, row.tiles - 1)
        self._move_to(index, notify=True)

    def _move_to(self, index: int, *, notify: bool) -> None:
        index = max(0, min(index, len(self.frames) - 1))
        if index == self.index or not self.frames:
            return
        self.index = index
        self._scroll_to_cursor()
        self.refresh()
        if notify:
            self.post_message(self.Selected(self.frames[index]))

    def _scroll_to_cursor(self) -> None:
        if not self._rows:
            return
        at = self._row_of(self.index)
        top, bottom = self._rows[at].top, self._rows[at].top + self._tile_height
        if at and self._rows[at - 1].title:
            top -= 1  # the heading of the first row
        if top < self.scroll_offset.y:
            self.scroll_to(y=top, animate=False, force=True)
        elif bottom > self.scroll_offset.y + self.size.height:
            self.scroll_to(y=bottom - self.size.height, animate=False, force=True)

    def action_resize(self, by: int) -> None:
        most = max((self._room + _GAP) // (_LEAST + _GAP), 1)
        self._wanted = max(1, min(self._across - by, most))
        self._lay_out()

    @property
    def _room(self) -> int:
        """The columns beside a scroll bar."""
        return self.scrollable_content_region.width

    @property
    def _across(self) -> int:
        """The number of tiles in a row; together they are as wide as the page."""
        if self._wanted is not None:
            return self._wanted
        across = _USUAL_ACROSS
        while (
            self.size.height // (self._width(across) // 2 + 2) < _USUAL_DOWN
            and self._width(across + 1) >= _SMALL
        ):
            across += 1
        return across

    def _width(self, across: int) -> int:
        return max((self._room + _GAP) // across - _GAP, 4)

    @property
    def _tile(self) -> int:
        return self._width(self._across)

    @property
    def _tile_height(self) -> int:
        return self._tile // 2 + 2

    def _row_of(self, index: int) -> int:
        """Return the index of the row of tiles that holds a picture."""
        return max(bisect_right([row.first for row in self._rows], index) - 1, 0)

    def _lay_out(self) -> None:
        self._laid_out = (self._room, self.size.height)
        rows, top, first = list[_Row](), 0, 0
        for group in self._groups:
            if not group.frames:
                continue
            rows.append(_Row(top, first, 0, group.title))
            top += 1
            for start in range(0, len(group.frames), self._across):
                count = min(self._across, len(group.frames) - start)
                rows.append(_Row(top, first + start, count, ""))
                top += self._tile_height
            first += len(group.frames)
        self._rows = rows
        self.virtual_size = Size(self._room, top)
        self.call_after_refresh(self._scroll_to_cursor)
        self.refresh()

    def on_resize(self) -> None:
        self._lay_out()

    def line(self, y: int) -> Strip:
        palette, width = host_of(self).palette, self._room
        if (self._room, self.size.height) != self._laid_out:  # a scroll bar has come or gone
            self._laid_out = (self._room, self.size.height)
            self.call_later(self._lay_out)
        if not self.frames:
            text = "No pictures yet." if y == 0 else ""
            return strip_of(Text(text, style=palette.dim), width)
        at = bisect_right([row.top for row in self._rows], self.scroll_offset.y + y) - 1
        row, line = self._rows[at], self.scroll_offset.y + y - self._rows[at].top
        if row.title:
            return strip_of(Text(row.title, f"bold {palette.primary}"), width)
        parts = []
        for index in range(row.first, row.first + row.tiles):
            frame = self.frames[index]
            if line < self._tile // 2:
                parts.append(self._picture_line(frame, line))
            elif line == self._tile // 2:
                parts.append(self._caption(frame, selected=index == self.index))
            else:
                parts.append(Strip.blank(self._tile))
            parts.append(Strip.blank(_GAP))
        return Strip.join(parts).adjust_cell_length(width) if parts else Strip.blank(width)

    def _picture_line(self, frame: FrameRow, line: int) -> Strip:
        app = host_of(self)
        strips = app.pictures.get(frame.sha256, self._tile, self._announce)
        if strips is None:
            return strip_of(Text(app.signs.dot * self._tile, style=app.palette.faint), self._tile)
        if line >= len(strips):
            return Strip.blank(self._tile)
        return strips[line].adjust_cell_length(self._tile)

    def _caption(self, frame: FrameRow, *, selected: bool) -> Strip:
        app = host_of(self)
        palette, signs = app.palette, app.signs
        text = Text(no_wrap=True)
        text.append(signs.states["succeeded" if frame.hit else "cancelled"] + " ",
                    palette.good if frame.hit else palette.warn)  # fmt: skip
        text.append(f"{frame.target_probability:.2f} ")
        if frame.kind == "preview":
            text.append(f"step {frame.step}", palette.dim)
        ground = palette.cursor if selected else ""
        return strip_of(text, self._tile, ground)

    def _announce(self) -> None:
        self.post_message(self.Ready())

    def on_gallery_ready(self) -> None:
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or not self._rows:
            return
        y = self.scroll_offset.y + offset.y
        at = bisect_right([row.top for row in self._rows], y) - 1
        column = offset.x // (self._tile + _GAP)
        if column < self._rows[at].tiles and y < self._rows[at].top + self._tile_height:
            self._move_to(self._rows[at].first + column, notify=True)
