"""A/A tests: screenings of classifiers that cannot depend on anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.screening.tasks import topic_of
from dexter.lab.fleet import TASKS
from dexter.reasoning.topic import load_world
from dexter.screening.concepts import lab_pool
from dexter.screening.screen import Judged, Member, Screening, Settings

TESTS = 200


class Blank:
    """Pictures for classifiers that do not look at them."""

    key = "blank"

    def stream(self, requests: Sequence[Any]) -> Iterator[tuple[list[Any], Any]]:
        wanted = list(requests)
        if wanted:
            yield wanted, np.zeros((len(wanted), 1, 1, 3), np.uint8)


BLIND: dict[str, Callable[[np.random.Generator, float, int], Any]] = {
    "uniform": lambda rng, level, n: rng.random(n),
    "half": lambda rng, level, n: (rng.random(n) < 0.5).astype(float),
    "rare": lambda rng, level, n: (rng.random(n) < 0.1).astype(float),
    "skewed": lambda rng, level, n: rng.beta(0.2, 0.6, n),
    "constant": lambda rng, level, n: np.full(n, level),
}
"""Classifiers that answer without looking; ``level`` is one number for all pictures."""


def aa_tests(tests: int) -> dict[str, Any]:
    """Screenings of blind classifiers, with adaptive rounds and stopping, over the tasks by turns.

    false: with a finding; false_interval: with an interval that excludes 0, however small.
    """
    world = load_world()
    pool = lab_pool(world)
    names = list(BLIND)
    rows: dict[str, dict[str, int]] = {
        name: {"tests": 0, "false": 0, "false_interval": 0} for name in names
    }
    for test in range(tests):
        name = names[test % len(names)]
        rng = np.random.default_rng((7, test))
        answer = BLIND[name]
        level = rng.random()

        def classify(images: Any, rng: Any = rng, answer: Any = answer, level: Any = level) -> Any:
            p = answer(rng, level, len(images)).clip(1e-9, 1 - 1e-9)
            return np.log(p) - np.log1p(-p)

        task = list(TASKS)[test // len(names) % len(TASKS)]
        screening = Screening(
            pool,
            topic_of(task, world),
            Blank(),  # type: ignore[arg-type]
            settings=Settings(seed=1 + test % 50),
        )
        any_found = any_interval = False
        for event in screening.run([Member("blind", "blind", classify)]):
            if isinstance(event, Judged):
                result = event.results["blind"]
                any_found |= bool(result.findings)
                any_interval |= any(e.low > 0 or e.high < 0 for e in result.effects if not e.core)
        rows[name]["tests"] += 1
        rows[name]["false"] += any_found
        rows[name]["false_interval"] += any_interval
    false = sum(row["false"] for row in rows.values())
    interval = sum(row["false_interval"] for row in rows.values())
    return {
        "tests": tests,
        "false": false,
        "false_interval": interval,
        "family_wise": false / tests,
        "by_kind": rows,
    }
