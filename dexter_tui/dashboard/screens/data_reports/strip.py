"""The strip of a what-if: pictures in a row, each with two lines under it."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from dexter_tui.dashboard.cells import Lines, strip_of
from dexter_tui.dashboard.host import host_of
from dexter_tui.formatting import clean
from store.data_reports.pictures import Tile

_LEAST, _MOST = 6, 48  # cells across a picture
_GAP = 2
_CAPTION = 2  # lines
_TEXT = 24  # cells of a caption, where there is room


class PictureStrip(Lines):
    """A strip as wide as the screen, at most half as high; no height without pictures."""

    class Ready(Message):
        """A requested picture has been rendered."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._tiles: Sequence[Tile] = ()

    def show(self, tiles: Sequence[Tile]) -> None:
        """Show these pictures."""
        if tiles != self._tiles:
            self._tiles = tiles
            self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if not self._tiles:
            return 0
        if host_of(self).pictures.mode == "off":
            return _CAPTION
        across = (width + _GAP) // len(self._tiles) - _GAP
        high = max(viewport.height // 2 - _CAPTION - 2, 3)  # beside title, tabs and frame
        return max(_LEAST, min(_MOST, across, 2 * high)) // 2 + _CAPTION

    def line(self, y: int) -> Strip:
        if not self._tiles:
            return Strip.blank(self.size.width)
        host = host_of(self)
        high = self.size.height - _CAPTION
        room = self.size.width // len(self._tiles) - _GAP
        column = max(2 * high, min(_TEXT, room), _LEAST)
        parts = []
        for tile in self._tiles:
            if y >= high:
                text = Text(clean(tile.lines[y - high]), "bold" if y == high else host.palette.dim)
                text.truncate(column, overflow="ellipsis")
                parts.append(strip_of(text, column))
            else:
                parts.append(self._picture(tile, 2 * high, y).adjust_cell_length(column))
            parts.append(Strip.blank(_GAP))
        return Strip.join(parts).adjust_cell_length(self.size.width)

    def _picture(self, tile: Tile, across: int, y: int) -> Strip:
        host = host_of(self)
        if tile.place is None:
            text = "deleted from the bank" if y == 0 else ""
            return strip_of(Text(text, style=host.palette.warn), across)
        made = host.pictures.get(tile.place, across, self._announce)
        if made is None:
            return strip_of(Text(host.signs.dot * across, style=host.palette.faint), across)
        return made[y].adjust_cell_length(across) if y < len(made) else Strip.blank(across)

    def _announce(self) -> None:
        self.post_message(self.Ready())

    def on_picture_strip_ready(self) -> None:
        self.refresh()
