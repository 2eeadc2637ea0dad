"""The panel beside the pages of a run: picture, words and numbers at the cursor."""

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.host import host_of
from dexter_tui.dashboard.screens.base import entitle
from dexter_tui.dashboard.widgets.picture import Picture
from dexter_tui.dashboard.widgets.summaries import frame_caption
from store.reading.browse import FrameRow, StepRow


class Inspector(Vertical):
    """The picture at the cursor with its caption, above a text."""

    _captioned: FrameRow | None = None

    def compose(self) -> ComposeResult:
        yield Picture(host_of(self).pictures, id="at-cursor")
        yield Static(id="at-cursor-caption")
        yield TextLines(id="at-cursor-words")

    @property
    def text_width(self) -> int:
        """The columns of its text; 0 where it is not shown."""
        return self.query_one("#at-cursor-words").size.width

    def show(self, title: str, frame: FrameRow | None, labels: Sequence[str], text: Text) -> None:
        """Show a picture and a text."""
        entitle(self, title)
        picture = self.query_one("#at-cursor", Picture)
        picture.sha256 = frame and frame.sha256
        if picture.display != (frame is not None):
            picture.display = frame is not None
        if frame != self._captioned:
            self._captioned = frame
            caption = frame_caption(frame, labels, host_of(self).palette) if frame else Text()
            self.query_one("#at-cursor-caption", Static).update(caption)
        self.query_one("#at-cursor-words", TextLines).put(text)


def numbers_text(step: StepRow, dim: str) -> Text:
    """List the numbers of a step."""
    text = Text()
    for name, value in {
        "p(class)": step.target_probability,
        "loss": step.losses.get("total"),
        "best loss": step.best_loss,
        "entropy": step.entropy,
        "temperature": step.temperature,
        "seconds": step.seconds,
    }.items():
        if value is not None:
            text.append(f"{name:<14}", dim).append(f"{value:.4g}\n")
    return text
