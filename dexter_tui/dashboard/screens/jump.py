"""Jump mode: labels each panel with a letter that focuses it."""

from collections.abc import Mapping

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Static

_LETTERS = "asdfghjkl" + "qwertyuiop" + "zxcvbnm"


def targets(screen: Screen[object]) -> dict[str, Widget]:
    """Assign letters to the visible focusable widgets, in reading order."""
    found = [
        widget
        for widget in screen.focus_chain
        if widget.region.area and screen.region.overlaps(widget.region)
    ]
    found.sort(key=lambda widget: (widget.region.y, widget.region.x))
    return dict(zip(_LETTERS, found, strict=False))


class JumpScreen(ModalScreen[None]):
    """An overlay that waits for a letter."""

    def __init__(self, found: Mapping[str, Widget]) -> None:
        super().__init__()
        self._found = found

    def compose(self) -> ComposeResult:
        for letter, widget in self._found.items():
            label = Static(Text(f" {letter} ", style="bold reverse"), classes="jump")
            label.styles.position = "absolute"
            label.styles.offset = (widget.region.x + 1, widget.region.y)
            yield label

    def on_key(self, event: events.Key) -> None:
        event.stop()
        widget = self._found.get(event.character or "")
        self.dismiss()
        if widget is not None:
            widget.focus()
