"""The tiles of frames in the pane of a run or study."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.text import Text
from textual.message import Message
from textual.strip import Strip

from dexter_tui.dashboard.cells import Lines, fit, strip_of
from dexter_tui.dashboard.host import host_of

_TILE, _GAP = 16, 2  # cells
_ROWS = _TILE // 2 + 1  # with the caption


class Tile(NamedTuple):
    """A picture with its caption."""

    sha256: str
    caption: str


class FrameTiles(Lines):
    """Pictures in rows, as many as fit."""

    class Ready(Message):
        """A picture has been rendered."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._tiles: Sequence[Tile] = ()

    @property
    def room(self) -> int:
        """The number of tiles that fit."""
        return self._across * (self.size.height // _ROWS) if self.size.width >= _TILE else 0

    @property
    def _across(self) -> int:
        return (self.size.width + _GAP) // (_TILE + _GAP)

    def show(self, tiles: Sequence[Tile]) -> None:
        """Show these pictures."""
        if tiles != self._tiles:
            self._tiles = tiles
            self.refresh()

    def line(self, y: int) -> Strip:
        row, line = divmod(y, _ROWS)
        width = self.size.width
        some = self._tiles[row * self._across : (row + 1) * self._across]
        if not some or (row + 1) * _ROWS > self.size.height:
            return Strip.blank(width)
        parts = [part for tile in some for part in (self._part(tile, line), Strip.blank(_GAP))]
        return Strip.join(parts).adjust_cell_length(width)

    def _part(self, tile: Tile, line: int) -> Strip:
        host = host_of(self)
        if line == _ROWS - 1:
            text = Text(fit(tile.caption, _TILE, host.signs.ellipsis), host.palette.dim)
            return strip_of(text, _TILE)
        strips = host.pictures.get(tile.sha256, _TILE, self._announce)
        if strips is None or line >= len(strips):
            return Strip.blank(_TILE)
        return strips[line].adjust_cell_length(_TILE)

    def _announce(self) -> None:
        self.post_message(self.Ready())

    def on_frame_tiles_ready(self) -> None:
        self.refresh()
