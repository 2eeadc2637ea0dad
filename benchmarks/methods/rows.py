"""The rows of the table of methods."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 500


@dataclass(frozen=True)
class Row:
    """A method's figure with its 95% interval, beside a trivial baseline's.

    n: the units that the interval resamples, named in ``of``. seconds: CPU, without what a part
    before it has drawn. note: what the method was tuned on, and what the figure leaves out.
    """

    method: str
    measure: str
    figure: float
    low: float
    high: float
    n: int
    of: str
    baseline: str
    baseline_figure: float
    seconds: float
    note: str

    @property
    def holds(self) -> bool:
        """Return True if the method is at least as good as its baseline."""
        return self.figure >= self.baseline_figure


def bootstrap(
    groups: Sequence[object], statistic: Callable[[NDArray[np.int64]], float]
) -> tuple[float, float]:
    """Return the 95% percentile interval of a statistic of row numbers, resampled by group."""
    names = list(dict.fromkeys(groups))
    rows = {name: np.array([at for at, own in enumerate(groups) if own == name]) for name in names}
    rng = np.random.default_rng(27)
    found = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(names), len(names))
        found.append(statistic(np.concatenate([rows[names[at]] for at in drawn])))
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| method | figure | value [95%] | n | trivial baseline | baseline's | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        worse = "" if row.holds else " **worse than its baseline**"
        lines.append(
            f"| {row.method} | {row.measure} | {row.figure:.2f} [{row.low:.2f}, {row.high:.2f}]"
            f"{worse} | {row.n} {row.of} | {row.baseline} | {row.baseline_figure:.2f} | "
            f"{row.seconds:.0f} |"
        )
    return "\n".join(lines)
