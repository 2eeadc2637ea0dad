"""The page of charts: the numbers of a run over its steps, alone or beside other runs."""

from collections.abc import Callable, Sequence
from typing import Any, get_args

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Grid
from textual.message import Message

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.host import host_of
from dexter_tui.dashboard.scales import smoothed
from dexter_tui.dashboard.screens.run.history import History
from dexter_tui.dashboard.screens.run.reading import Beside
from dexter_tui.dashboard.screens.run.steps_page import StepsPage
from dexter_tui.dashboard.widgets.chart import Axis, Chart, Curve
from dexter_tui.formatting import clean
from store.reading.browse import RunRow, StepRow

SMOOTHING = (0.0, 0.6, 0.9)
"""The weights of the past in a moving average"""
_ROWS, _ROWS_IN_TWO_COLUMNS = 8, 10  # of a legible chart, with its frame
_Get = Callable[[StepRow], float | None]


def masked_lm_weight(run: RunRow) -> float:
    """Return the weight of the masked LM's loss in the total; 0 where the run does not say."""
    return float(run.config.get("masked_lm_weight", 0) or 0)


def tried_loss(step: StepRow, weight: float) -> float | None:
    """Return the loss of the words tried, on the scale of the best loss: without the masked LM's.

    ``weight`` is the masked LM's in the run. None if the step has no such loss.
    """
    total, masked_lm = step.losses.get("total"), step.losses.get("masked_lm")
    if total is None:
        return None
    return total - weight * (masked_lm or 0.0)


class ChartsPage(StepsPage):
    """The charts of a run, with the legend of the runs where there are several."""

    BINDINGS = bindings("chart")

    class Changed(Message):
        """The user chose another scale, smoothing or other runs."""

    def __init__(self, marked: bool, **options: Any) -> None:
        super().__init__(**options)
        self.beside: Beside = "marked" if marked else "alone"
        self._marked = marked
        self._log = False
        self._smoothing = 0
        self._charts: dict[str, Chart] = {}

    def compose(self) -> ComposeResult:
        yield TextLines(id="legend")
        yield Grid(id="chart-grid")

    def action_log_scale(self) -> None:
        self._log = not self._log
        self.post_message(self.Changed())

    def action_smooth(self) -> None:
        self._smoothing = (self._smoothing + 1) % len(SMOOTHING)
        self.post_message(self.Changed())

    def action_beside(self) -> None:
        choices = [one for one in get_args(Beside) if one != "marked" or self._marked]
        self.beside = choices[(choices.index(self.beside) + 1) % len(choices)]
        self.post_message(self.Changed())

    @property
    def state(self) -> str:
        """The scale and the smoothing, if they are not the usual ones."""
        weight = SMOOTHING[self._smoothing]
        parts = ["log scale"] * self._log + [f"smoothing {weight:g}"] * bool(weight)
        return ", ".join(parts)

    def repaint(self) -> None:
        """Draw everything again at the next `show`: the theme has changed."""
        for chart in self._charts.values():
            chart.repaint()

    def show(self, histories: Sequence[History], axis: Axis, left_out: int) -> None:
        """Draw the charts of a run, the first history, and of the runs beside it."""
        if not histories[0].steps:
            return
        several = len(histories) > 1
        charts = self._curves(histories)
        self._make(list(charts))
        for name, curves in charts.items():
            values = [value for curve in curves for value in curve.values if value is not None]
            # Entropies and log-odds may be 0 or less, where a logarithm is undefined.
            log = self._log and all(value > 0 for value in values)
            pair = {"loss": "best loss", "best loss": "loss"} if several else {}
            beside = charts[pair[name]] if name in pair else []
            legend = len(curves) > 1 and not several
            self._charts[name].show(curves, axis, log=log, beside=beside, legend=legend)
        self._show_legend(histories, left_out)

    def _curves(self, histories: Sequence[History]) -> dict[str, list[Curve]]:
        """Return the curves of each chart."""
        if len(histories) == 1:
            names = [name for name in self._numbers(histories[0]) if name != "best loss"]
            made = {
                name: [self._curve(histories[0], name, name, at)] for at, name in enumerate(names)
            }
            tried = self._curve(histories[0], "loss", "tried", 1)
            best = self._curve(histories[0], "best loss", "best so far", 2)
            made["loss"] = [best, tried]
            return made
        return {
            name: [self._curve(history, name, str(at), at) for at, history in enumerate(histories)]
            for name in self._numbers(histories[0])
        }

    def _curve(self, history: History, name: str, label: str, colour: int) -> Curve:
        get = self._numbers(history).get(name, _missing)
        values = [get(step) for step in history.steps]
        if weight := SMOOTHING[self._smoothing]:
            values = values if name == "best loss" else smoothed(values, weight)
        return Curve(label, [step.step for step in history.steps], values, colour)

    def _numbers(self, history: History) -> dict[str, _Get]:
        """Return the numbers of a run's steps, by the name of their chart."""
        run, steps = history.run, history.steps
        assert run is not None
        weight = masked_lm_weight(run)  # read from the run's settings once, not for each step
        numbers: dict[str, _Get] = {
            "p(class)": lambda step: step.target_probability,
            "loss": lambda step: tried_loss(step, weight),
            "best loss": lambda step: step.best_loss,
            "entropy": lambda step: step.entropy,
        }
        terms = sorted(set(steps[-1].losses) - {"total"}) if steps else []
        if terms in (["class"], ["class", "masked_lm"]):
            terms.remove("class")  # which is the loss
        for name in terms:
            numbers[f"{name.replace('_lm', ' LM')} loss"] = _loss(name)
        return numbers

    def _make(self, names: Sequence[str]) -> None:
        """Create the missing charts and hide the others."""
        grid = self.query_one("#chart-grid", Grid)
        for name in names:
            if name not in self._charts:
                self._charts[name] = Chart(name, classes="chart panel")
                after = self._charts.get("loss") if name == "best loss" else None
                grid.mount(self._charts[name], after=after)
        for name, chart in self._charts.items():
            if chart.display != (name in names):
                chart.display = name in names
        across = 2 if self.screen.has_class("-huge") else 1
        # As tall as the page; taller if the page is too small for legible curves.
        rows = _ROWS_IN_TWO_COLUMNS if across == 2 else _ROWS
        grid.styles.min_height = -(-len(names) // across) * rows

    def _show_legend(self, histories: Sequence[History], left_out: int) -> None:
        legend, palette = self.query_one("#legend", TextLines), host_of(self).palette
        if legend.display != (len(histories) > 1):
            legend.display = len(histories) > 1
        if len(histories) == 1:
            return
        chart, one_study = self._charts["loss"], self.beside == "seeds"
        lines, width = [Text()], max(self.size.width - 2, 20)
        for at, history in enumerate(histories):
            assert history.run is not None
            label = f"seed {history.run.seed}" if one_study else clean(history.run.id)
            key = chart.key(Curve(label, (), (), at))
            if lines[-1] and len(lines[-1]) + len(key) + 3 > width:
                lines.append(Text())
            lines[-1].append("   " if lines[-1] else "").append_text(key)
        if left_out:
            lines.append(Text(f"{left_out} more are not drawn", palette.dim))
        legend.put(Text("\n").join(lines))


def _missing(step: StepRow) -> None:
    return None


def _loss(name: str) -> _Get:
    return lambda step: step.losses.get(name)
