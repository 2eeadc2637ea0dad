"""The page of words: their probabilities over the steps, and the words at the cursor."""

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult

from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.screens.run.steps_page import StepsPage
from dexter_tui.dashboard.widgets.chart import Axis
from dexter_tui.dashboard.widgets.word_strip import WordStrip
from store.reading.browse import StepRow


class WordsPage(StepsPage):
    """The heat map of the words; below it, where no panel is beside it, the words at the cursor."""

    def compose(self) -> ComposeResult:
        yield WordStrip(id="word-strip")
        yield TextLines(id="words-here")

    def show(self, steps: Sequence[StepRow], axis: Axis, here: Text) -> None:
        """Show the steps and the text on the step at the cursor."""
        self.query_one(WordStrip).show(steps, axis, max(self.size.height, 1))
        self.query_one("#words-here", TextLines).put(here)
