"""One picture, as large as its place allows."""

from typing import Any

from rich.text import Text
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from dexter_tui.dashboard.cells import Lines, Pictures, columns_for, strip_of


class Picture(Lines):
    """Half blocks of the picture ``sha256``; empty while there is none."""

    sha256: reactive[str | None] = reactive(None, repaint=False)

    class Ready(Message):
        """The picture can be drawn now."""

    def __init__(self, pictures: Pictures, **options: Any) -> None:
        super().__init__(**options)
        self._pictures = pictures
        self._shown: list[Strip] = []

    def line(self, y: int) -> Strip:
        width, height = self.size
        if self.sha256 is None:
            return Strip.blank(width)
        if self._pictures.mode == "off":
            return strip_of(Text("(pictures off)" if y == 0 else "", style="dim"), width)
        made = self._pictures.get(self.sha256, columns_for(width, height), self._announce)
        if made is not None:
            self._shown = made
        # Until the new one is made the old one stays, which flickers less.
        if y < len(self._shown):
            return self._shown[y].adjust_cell_length(width)
        return Strip.blank(width)

    def watch_sha256(self, sha256: str | None) -> None:
        """Drawn again when it is made: a picture is the largest thing that goes over the line."""
        width, height = self.size
        waits = sha256 is not None and self._pictures.mode != "off" and width > 0
        if waits and sha256 is not None:
            columns = columns_for(width, height)
            waits = self._pictures.get(sha256, columns, self._announce) is None
        if not waits:
            self.refresh()

    def _announce(self) -> None:
        self.post_message(self.Ready())

    def on_picture_ready(self) -> None:
        self.refresh()
