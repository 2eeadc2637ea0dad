"""The bank's pictures as drawn, not as asked for, in the view of the image-text model.

A generator that is asked for "old" also draws gray hair. How much of an effect goes through such a
companion is computed from what was assigned at random alone: how much more often the companion is
seen when the concept is asked (its shift), times the effect of the companion itself when *it* is
asked, per time that it is drawn. Answers are never regressed on what was seen, which would blame
one place for another of the same slot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dexter.screening.concepts import SUBJECT, Concept, Pool
from dexter.screening.design import Cell
from dexter.screening.regression import Estimate, Floats, Regression

DRAWN = 0.30
"""How much more often a concept must be seen when asked for, to count as drawn."""
SHIFT = 0.10
"""How much more or less often a companion must be seen to be one."""
SURE = 3.0
"""Standard errors by which a companion's shift must differ from 0."""


@dataclass(frozen=True)
class Companion:
    """A concept of another slot that is drawn more or less often along with the one asked for.

    through: the part of the effect that goes through it; 0 where its own effect is unknown.
    """

    concept: str
    slot: str
    shift: float
    through: float


@dataclass(frozen=True)
class Drawing:
    """The drawing of a concept. asked, otherwise: the share of pictures that show it."""

    asked: float
    otherwise: float

    @property
    def shift(self) -> float:
        """Return how much more often it is seen when asked for."""
        return self.asked - self.otherwise


def subjects(cells: Sequence[Cell]) -> list[Concept]:
    """Return each subject of the cells as a concept of its own, to be looked for."""
    nouns = dict.fromkeys(cell.said[SUBJECT][0] for cell in cells)
    return [Concept(noun, SUBJECT, (noun,), (noun,)) for noun in nouns]


class Mediation:
    """Splits effects into what goes through companions and the rest.

    Args:
        regression: Of all concepts, those that are core to the class and the subjects included.
        seen: Whether each picture shows each concept of the regression, (n, concepts).
        pool: The concepts' slots.
    """

    def __init__(self, regression: Regression, seen: NDArray[np.bool_], pool: Pool) -> None:
        self.regression = regression
        concepts = regression.concepts
        shown = seen.astype(np.float64)
        # shift[c, m]: how much more often m is seen where c is asked for.
        self.shift: Floats = regression.means(shown)
        errors = np.array([[e.error for e in regression.estimate(column)] for column in shown.T]).T
        own = np.diag(self.shift)
        exclusive = {s.name: s.exclusive for s in pool.slots} | {SUBJECT: True}
        sizes = {s: sum(c.slot == s for c in concepts) for s in exclusive}
        # The contrast of one of L levels with the others is L/(L-1) of its distance from the mean.
        scale = np.array([1 - 1 / sizes[c.slot] if exclusive[c.slot] else 1.0 for c in concepts])
        slots = np.array([c.slot for c in concepts])
        self._companions = (
            (np.abs(self.shift) >= SHIFT)
            & (np.abs(self.shift) >= SURE * errors)
            & (slots[:, None] != slots[None, :])
        )
        known = own >= DRAWN
        per_draw = np.where(known, scale / np.where(known, own, 1.0), 0.0)
        self._through: Floats = np.where(self._companions, self.shift * per_draw, 0.0)

    def direct(self, answers: Floats) -> list[Estimate]:
        """Estimate each concept's effect less what goes through its companions."""
        weights = self.regression.weights
        return self.regression.estimate(answers, weights - self._through @ weights)

    def companions(self, index: int, effects: Floats) -> list[Companion]:
        """Return the companions of the concept at ``index``, strongest first.

        effects: of all concepts of the regression.
        """
        concepts = self.regression.concepts
        found = [
            Companion(
                concepts[m].name,
                concepts[m].slot,
                float(self.shift[index, m]),
                float(self._through[index, m] * effects[m]),
            )
            for m in np.flatnonzero(self._companions[index])
        ]
        return sorted(found, key=lambda c: (-abs(c.through), -abs(c.shift)))


def drawing(
    cells: Sequence[Cell], concept: Concept, seen: NDArray[np.bool_], *, exclusive: bool
) -> Drawing:
    """Return how often a concept is seen (n,) where it was asked for, and otherwise: where another
    one of an exclusive slot was, else where it was not."""
    said = [cell.said.get(concept.slot, ()) for cell in cells]
    asked = np.array([bool(set(words) & set(concept.words)) for words in said])
    others = ~asked & np.array([bool(words) or not exclusive for words in said])
    rates = [float(seen[at].mean()) if at.any() else math.nan for at in (asked, others)]
    return Drawing(*rates)
