"""A picture, as large as its widget."""

from typing import Any

from rich.text import Text
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from dexter_tui.dashboard.cells import Lines, Pictures, columns_for, strip_of


class Picture(Lines):
    """The picture ``sha256`` in half blocks; empty if there is none."""

    ALLOW_SELECT = False
    sha256: reactive[str | None] = reactive(None, repaint=False)

    class Ready(Message):
        """The picture has been rendered."""

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
        # The old picture stays until the new one is rendered, which avoids flicker.
        if y < len(self._shown):
            return self._shown[y].adjust_cell_length(width)
        return Strip.blank(width)

    def watch_sha256(self, sha256: str | None) -> None:
        """Redraw now only if the picture is rendered already: pictures are the largest updates."""
        width, height = self.size
        pending = sha256 is not None and self._pictures.mode != "off" and width > 0
        if pending and sha256 is not None:
            columns = columns_for(width, height)
            pending = self._pictures.get(sha256, columns, self._announce) is None
        if not pending:
            self.refresh()

    def _announce(self) -> None:
        self.post_message(self.Ready())

    def on_picture_ready(self) -> None:
        self.refresh()
