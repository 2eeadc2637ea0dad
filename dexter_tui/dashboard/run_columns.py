"""The columns of the list of runs: their cells, and which of them fit."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from rich.text import Text

from dexter_tui.dashboard.cells import bar, fit, sparkline
from dexter_tui.dashboard.themes import Palette, Signs
from dexter_tui.formatting import clean, duration, short_spec
from store.reading.browse import RunRow
from store.states import State

_BAR = 7  # cells
FIRST = 4  # cells of the mark and the state before the first column
_LEAST = 24  # cells of the last column, below which other columns are left out; fewer if narrow
LOSS_POINTS = 24
NARROWEST, WIDEST = 4, 60


class Sheet(NamedTuple):
    """The context of a cell, beside its run."""

    palette: Palette
    signs: Signs
    losses: Mapping[int, Sequence[float]]
    """Losses over the steps, by the key of the run"""


class Column(NamedTuple):
    """A column of the list."""

    name: str
    title: str
    width: int
    order: str | None
    """The order of `store.reading.browse.ORDERS` by this column"""
    rank: int
    """Where not all fit, columns with the highest rank are left out first"""
    cell: Callable[[Text, RunRow, int, Sheet], None]
    help: str


class Layout(NamedTuple):
    """The choice of columns."""

    hidden: frozenset[str] = frozenset()
    widths: Mapping[str, int] = {}

    def width(self, column: Column) -> int:
        """Return the width of a column."""
        return self.widths.get(column.name, column.width)


def placed(layout: Layout, width: int, *, grouped: bool, order: str) -> list[tuple[Column, int]]:
    """Return the columns that fit with their widths; the last one takes the rest."""
    some = [
        column
        for column in COLUMNS
        if column.name not in layout.hidden and not (grouped and column.name in _OF_STUDY)
    ]

    def rest() -> int:
        return width - FIRST - sum(layout.width(column) + 1 for column in some)

    words = next((column for column in some if column.name == "words"), None)
    if words is not None:
        some.remove(words)
    least = min(_LEAST, width // 4) if words is not None else 0
    for column in sorted(some, key=lambda one: -one.rank):
        if rest() >= least or column.rank == 0:
            break
        if column.order != order or order == "study":
            some.remove(column)
    found = [(column, layout.width(column)) for column in some]
    return found + ([(words, max(rest(), 0))] if words is not None else [])


def _id(text: Text, run: RunRow, width: int, sheet: Sheet) -> None:
    dim = sheet.palette.dim if run.state is State.CANCELLED else ""
    text.append(fit(clean(run.id), width, sheet.signs.ellipsis), dim)


def _classifier(text: Text, run: RunRow, width: int, sheet: Sheet) -> None:
    text.append(fit(short_spec(run.classifier), width, sheet.signs.ellipsis))


def _class(text: Text, run: RunRow, width: int, sheet: Sheet) -> None:
    text.append(fit(clean(run.class_name), width, sheet.signs.ellipsis), sheet.palette.accent)


def _seed(text: Text, run: RunRow, width: int, sheet: Sheet) -> None:
    text.append(f"{run.seed:>{min(width, 4)}}", sheet.palette.dim)


def _score(text: Text, run: RunRow, width: int, sheet: Sheet) -> None:
    """Show the score with its interval, the progress, or the state in which the run stopped."""
    palette, signs = sheet.palette, sheet.signs
    steps = f"{run.steps_done}/{run.steps_total}" if run.steps_total else ""
    if run.state is State.SUCCEEDED and run.score_value is not None:
        full, empty = bar(run.score_value, _BAR, signs.bar)
        text.append(full, palette.good).append(empty, palette.faint)
        text.append(f" {run.score_value:>4.0%}")
        if run.score_low is not None and run.score_high is not None:
            interval = f"{100 * run.score_low:.0f}{signs.dash}{100 * run.score_high:.0f}"
            text.append(f" {interval}", palette.dim)
        return
    if run.state in (State.QUEUED, State.STARTING):
        text.append(run.state.value, palette.state(run.state))
        return
    if run.state is not State.RUNNING:
        at = f" at {steps}" if steps else ""
        text.append(fit(f"{run.state.value}{at}", width, signs.ellipsis), palette.state(run.state))
        return
    share = run.steps_done / run.steps_total if run.steps_total else 0.0
    if run.frames_tried is not None and run.frames_wanted:
        hit = run.frames_hit or 0
        share, steps = hit / run.frames_wanted, f"{hit}/{run.frames_wanted} frames"
    full, empty = bar(share, _BAR, signs.bar)
    text.append(full, palette.state(run.state)).append(empty, palette.faint)
    text.append(f" {fit(steps, max(width - _BAR - 1, 0), signs.ellipsis)}", palette.dim)


def _time(text: Text, run: RunRow, width: int, sheet: Sheet) -> None:
    """Show the time left of a running run, else the time that it took."""
    if run.seconds_left is not None:
        shown, style = f"{duration(run.seconds_left)} left", sheet.palette.active
    elif run.seconds is not None:
        shown, style = duration(run.seconds), sheet.palette.dim
    else:
        return
    text.append(fit(shown, width, sheet.signs.ellipsis), style)


def _loss(text: Text, run: RunRow, width: int, sheet: Sheet) -> None:
    if values := sheet.losses.get(run.key):
        text.append(sparkline(values, width, sheet.signs.levels), sheet.palette.primary)


def _created(text: Text, run: RunRow, width: int, sheet: Sheet) -> None:
    try:
        at = datetime.fromisoformat(run.created_at).astimezone()
    except ValueError:  # a damaged row
        return
    text.append(fit(f"{at:%Y-%m-%d %H:%M}", width, sheet.signs.ellipsis), sheet.palette.dim)


def _words(text: Text, run: RunRow, width: int, sheet: Sheet) -> None:
    shown, style = ", ".join(map(clean, run.words)), ""
    if run.error and run.state is not State.QUEUED:
        shown, style = clean(run.error), sheet.palette.bad
    text.append(fit(shown, width, sheet.signs.ellipsis), style)


COLUMNS = (
    Column("run", "run", 9, "study", 0, _id, "the id"),
    Column("classifier", "classifier", 16, "classifier", 5, _classifier, "shown when not grouped"),
    Column("class", "class", 12, "class", 4, _class, "shown when not grouped"),
    Column("seed", "seed", 4, "seed", 1, _seed, "the seed of the search"),
    Column("score", "progress or score", 20, "score", 2, _score, "with its 95% interval"),
    Column("time", "time", 12, "duration", 6, _time, "the time that it took, or that is left"),
    Column("loss", "loss", 8, None, 7, _loss, "the loss over the steps"),
    Column("created", "created", 16, "created", 8, _created, "local time"),
    Column("words", "words", 0, "words", 0, _words, "the words found, or the error"),
)
_OF_STUDY = ("classifier", "class")


def title(column: Column, width: int, order: str, *, reverse: bool) -> str:
    """Return the title of a column, with an arrow if the list is sorted by it."""
    text = column.title
    if column.name == "created":
        text = f"created ({time.strftime('%Z')})"
    if column.order == order and order != "study":
        text = f"{'▴' if reverse else '▾'}{text}"
    return fit(text, width) if width else text
