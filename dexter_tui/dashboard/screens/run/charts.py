"""The page of charts: one for each number of the steps."""

from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.containers import Grid

from dexter_tui.dashboard.screens.run.steps_page import StepsPage
from dexter_tui.dashboard.widgets.chart import Axis, Chart
from store.reading.browse import StepRow

# The charts of every run; charts of the single losses follow.
CHARTS: tuple[tuple[str, Callable[[StepRow], float | None]], ...] = (
    ("p(class)", lambda step: step.target_probability),
    ("loss", lambda step: step.losses.get("total")),
    ("best loss", lambda step: step.best_loss),
    ("entropy", lambda step: step.entropy),
)


class ChartsPage(StepsPage):
    """The charts of a run."""

    def compose(self) -> ComposeResult:
        yield Grid(id="chart-grid")

    def on_mount(self) -> None:
        self._charts: dict[str, Chart] = {}

    def make(self, steps: Sequence[StepRow]) -> None:
        """Create the missing charts."""
        if not steps:
            return
        names = [name for name, _ in CHARTS]
        names += sorted(set(steps[-1].losses) - {"total"})
        grid = self.query_one("#chart-grid", Grid)
        for series, name in enumerate(names):
            if name not in self._charts:
                self._charts[name] = Chart(name, series=series, classes="chart panel")
                grid.mount(self._charts[name])
        across = 2 if self.screen.has_class("-huge") else 1
        # As tall as the page; taller if the page is too small for legible curves.
        grid.styles.min_height = -(-len(self._charts) // across) * (9 if across == 2 else 7)

    def show(self, steps: Sequence[StepRow], axis: Axis, *, log: bool) -> None:
        """Draw the charts."""
        getters = dict(CHARTS)
        numbers = [step.step for step in steps]
        for name, chart in self._charts.items():
            get = getters.get(name) or _loss(name)
            values = [get(step) for step in steps]
            # Log-odds may be negative, where a logarithm is undefined.
            positive = all(value > 0 for value in values if value is not None)
            chart.show(numbers, values, axis, log=log and positive and "loss" in name)


def _loss(name: str) -> Callable[[StepRow], float | None]:
    return lambda step: step.losses.get(name)
