"""The panel beside the pages of a run: picture, words and numbers at the cursor."""

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.host import host_of
from dexter_tui.dashboard.screens.base import entitle
from dexter_tui.dashboard.screens.run.charts import masked_lm_weight, tried_loss
from dexter_tui.dashboard.themes import Palette, Signs
from dexter_tui.dashboard.widgets.picture import Picture
from dexter_tui.dashboard.widgets.summaries import frame_caption, words_table, wrapped
from dexter_tui.formatting import clean
from dexter_tui.presentation.run_tables import hit_meaning
from store.reading.browse import FrameRow, RunRow, StepRow


class Inspector(Vertical):
    """The picture at the cursor with its caption, above a text."""

    _captioned: FrameRow | None = None

    def compose(self) -> ComposeResult:
        yield Picture(host_of(self).pictures, id="at-cursor")
        yield Static(id="at-cursor-caption")
        yield TextLines(id="at-cursor-words")

    def repaint(self) -> None:
        """Write the caption again at the next `show`: the theme has changed."""
        self._captioned = None

    @property
    def text_width(self) -> int:
        """The columns of its text; 0 where it is not shown."""
        return self.query_one("#at-cursor-words").size.width

    def show(self, title: str, frame: FrameRow | None, answers: Sequence[str], text: Text) -> None:
        """Show a picture and a text."""
        entitle(self, title)
        picture = self.query_one("#at-cursor", Picture)
        picture.sha256 = frame and frame.sha256
        if picture.display != (frame is not None):
            picture.display = frame is not None
        if frame != self._captioned:
            self._captioned = frame
            caption = frame_caption(frame, answers, host_of(self).palette) if frame else Text()
            self.query_one("#at-cursor-caption", Static).update(caption)
        self.query_one("#at-cursor-words", TextLines).put(text)


def step_text(run: RunRow, step: StepRow | None, width: int, palette: Palette) -> Text:
    """List the words and the numbers of a step; the latter are means over its pictures."""
    if step is None:
        return Text("No steps yet.", palette.dim)
    # The words of the result, which were compared after the last step, are no step's.
    text = words_table(run._replace(words=[]), step, width, palette)
    text.append(f"\n\nAll pictures of step {step.step}\n", palette.dim)
    for name, value in {
        "mean p(class)": step.target_probability,
        "loss tried": tried_loss(step, masked_lm_weight(run)),
        "best loss": step.best_loss,
        "entropy": step.entropy,
        "temperature": step.temperature,
        "seconds": step.seconds,
    }.items():
        if value is not None:
            text.append(f"{name:<15}", palette.dim).append(f"{value:.4g}\n", palette.text)
    return text


def result_text(run: RunRow, width: int, palette: Palette, signs: Signs) -> Text:
    """Describe the result of a run: its words and how often they lead to a hit."""
    text = Text()
    text.append("words   ", palette.dim)
    text.append(f"{clean(', '.join(run.words))}\n", f"bold {palette.accent}")
    if run.score_value is None:
        return text
    text.append("score   ", palette.dim).append(f"{run.score_value:.0%}", palette.good)
    if run.score_low is not None and run.score_high is not None:
        text.append(f" [{100 * run.score_low:.0f}{signs.dash}{100 * run.score_high:.0f}]")
    meaning = hit_meaning(run.config, clean(run.class_name))
    share = f"of {run.score_n} fresh pictures of the best prompt, this share is {meaning}"
    for line in wrapped(Text(share, palette.dim), width):
        text.append("\n").append_text(line)
    return text
