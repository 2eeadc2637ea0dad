"""A picture enlarged to the whole terminal."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Center, Vertical
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.host import Host, host_of
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.picture import Picture
from dexter_tui.dashboard.widgets.summaries import frame_caption
from dexter_tui.machine.terminal_images import without_queries
from store.reading.browse import FrameRow


class PictureScreen(Screen[None]):
    """A picture in Kitty graphics or Sixel if the terminal supports them, else in half blocks."""

    BINDINGS = bindings("picture")

    def __init__(self, frames: Sequence[FrameRow], index: int, labels: Sequence[str]) -> None:
        super().__init__()
        self._frames = frames
        self._index = index
        self._labels = labels

    @property
    def host(self) -> Host:
        """The application."""
        return host_of(self)

    def compose(self) -> ComposeResult:
        with Vertical(id="large"), Center():
            yield self._widget()
        yield Static(id="large-caption")
        yield KeyBar()

    def on_mount(self) -> None:
        self._show()

    def action_back(self) -> None:
        self.app.pop_screen()

    def action_turn(self, by: int) -> None:
        self._index = (self._index + by) % len(self._frames)
        self._show()

    def _widget(self) -> Widget:
        made: Widget | None = hires(self.host.options.enlarged)
        if made is not None:
            made.id = "large-picture"
            return made
        return Picture(self.host.pictures, id="large-picture")

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """Fit the picture, a square, into the screen."""
        picture = self.query_one("#large-picture")
        width, height = self.size.width, max(self.size.height - 6, 2)
        columns = max(min(width, height * 2), 2)
        picture.styles.width, picture.styles.height = columns, columns // 2

    def _show(self) -> None:
        frame = self._frames[self._index]
        picture: Any = self.query_one("#large-picture")
        self._fit()
        if isinstance(picture, Picture):
            picture.sha256 = frame.sha256
        else:
            from store.artifacts import open_picture
            from store.errors import StoreError

            try:
                picture.image = open_picture(self.host.browse.picture(frame.sha256, small=False))
            except (StoreError, OSError) as error:
                self.host.complain(str(error))
        lines = frame_caption(frame, self._labels, self.host.palette).split("\n")
        caption = Text("  ", justify="center").join(line for line in lines if line)
        caption.append(f"   {self._index + 1} of {len(self._frames)}", self.host.palette.dim)
        self.query_one("#large-caption", Static).update(caption)


def hires(kind: str) -> Any:
    """Return a widget of textual-image, or None if it is not wanted or does not work."""
    if kind == "blocks":
        return None
    try:
        with without_queries():
            from textual_image.widget import SixelImage, TGPImage
    except Exception:  # any failure: half blocks always work
        return None
    return (TGPImage if kind == "kitty" else SixelImage)()
