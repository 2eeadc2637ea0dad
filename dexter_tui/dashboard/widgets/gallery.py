"""The gallery of pictures in tiles; only visible tiles are rendered."""

from collections.abc import Sequence
from typing import Any

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

WIDTHS = (12, 16, 24, 32, 48)  # cells across a tile's picture
_GAP = 2


class Gallery(ScrollView, Lines, can_focus=True):
    """The frames and previews of a run, with a cursor."""

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
        self.frames: Sequence[FrameRow] = ()
        self.index = 0
        self._size_index = 1

    @property
    def selected(self) -> FrameRow | None:
        """The picture at the cursor."""
        return self.frames[self.index] if self.index < len(self.frames) else None

    def show(self, frames: Sequence[FrameRow]) -> None:
        """Show these pictures."""
        if frames != self.frames:
            self.frames = frames
            self.index = min(self.index, max(len(frames) - 1, 0))
            self._lay_out()

    def select(self, index: int, *, notify: bool = False) -> None:
        """Move the cursor to a picture and scroll to it."""
        index = max(0, min(index, len(self.frames) - 1))
        if index == self.index or not self.frames:
            return
        self.index = index
        row = index // self._across
        top, height = row * self._tile_height, self._tile_height
        if top < self.scroll_offset.y:
            self.scroll_to(y=top, animate=False, force=True)
        elif top + height > self.scroll_offset.y + self.size.height:
            self.scroll_to(y=top + height - self.size.height, animate=False, force=True)
        self.refresh()
        if notify:
            self.post_message(self.Selected(self.frames[index]))

    def action_move(self, right: int, down: int) -> None:
        self.select(self.index + right + down * self._across, notify=True)

    def action_resize(self, by: int) -> None:
        self._size_index = max(0, min(self._size_index + by, len(WIDTHS) - 1))
        self._lay_out()

    @property
    def _tile(self) -> int:
        return min(WIDTHS[self._size_index], max(self.size.width - _GAP, 4))

    @property
    def _tile_height(self) -> int:
        return self._tile // 2 + 2

    @property
    def _across(self) -> int:
        return max((self.size.width + _GAP) // (self._tile + _GAP), 1)

    def _lay_out(self) -> None:
        rows = -(-len(self.frames) // self._across)
        self.virtual_size = Size(self.size.width, rows * self._tile_height)
        self.refresh()

    def on_resize(self) -> None:
        self._lay_out()

    def line(self, y: int) -> Strip:
        app = host_of(self)
        width = self.size.width
        row, line = divmod(self.scroll_offset.y + y, self._tile_height)
        first = row * self._across
        if not self.frames:
            text = "No pictures yet." if y == 0 else ""
            return strip_of(Text(text, style=app.palette.dim), width)
        parts = []
        for index in range(first, min(first + self._across, len(self.frames))):
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
        name = f"sample {frame.step}" if frame.kind == "preview" else "frame"
        text = Text(no_wrap=True)
        text.append(signs.states["succeeded" if frame.hit else "cancelled"] + " ",
                    palette.good if frame.hit else palette.warn)  # fmt: skip
        text.append(f"{frame.target_probability:.2f} ")
        text.append(name, palette.dim)
        ground = palette.cursor if selected else ""
        return strip_of(text, self._tile, ground)

    def _announce(self) -> None:
        self.post_message(self.Ready())

    def on_gallery_ready(self) -> None:
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        column = offset.x // (self._tile + _GAP)
        row = (self.scroll_offset.y + offset.y) // self._tile_height
        if column < self._across:
            self.select(row * self._across + column, notify=True)
