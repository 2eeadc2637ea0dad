"""The bank's pictures as drawn, not as asked for, in the view of the image-text model.

A generator that is asked for "old" also draws gray hair. How much of an effect goes through such a
companion is computed from what was assigned at random alone: how much more the companion is shown
when the concept is asked (its shift), times the effect of the companion itself when *it* is asked,
per time that it is drawn. Answers are never regressed on what was seen, which would blame one place
for another of the same slot.

How much a companion is shown is the model's probability, not its yes or no: a woman who looks less
old than a man counts as less old, even where both pass for old.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from dexter.reasoning.detection import Detector, Embeddings
from dexter.screening.concepts import SUBJECT, Concept, Pool
from dexter.screening.design import Cell
from dexter.screening.regression import Estimate, Floats, Regression

DRAWN = 0.30
"""How much more often a concept must be seen when asked for, to count as drawn."""
SHIFT = 0.05
"""How much more or less a companion must be shown to be one. Of the two sides of one change (less
"young", more "old") a high bar lets one pass and not the other."""
SURE = 3.0
"""Standard errors by which a companion's shift must differ from 0."""


@dataclass(frozen=True)
class Companion:
    """A concept of another slot that is shown more or less along with the one asked for.

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


@dataclass(frozen=True)
class Split:
    """Effects over some pictures, split into what goes through companions and the rest.

    Rows and columns are the concepts of the whole regression. shift: how much more a column is
    shown where a row is asked for. through: change of a row's effect per effect of a column.
    weights: the contrasts less what goes through companions, over all pictures.
    """

    shift: Floats
    companions: NDArray[np.bool_]
    through: Floats
    weights: Floats


class Mediation:
    """Splits effects into what goes through companions and the rest.

    Args:
        regression: Of all concepts, those that are core to the class and the subjects included.
        shown: The probability that a picture shows a concept of the regression, (n, concepts).
        pool: The concepts' slots.
        alone: Those of the regression's concepts that are single wordings of others of them, and so
            no companions of anything.
        parts: Regressions over some of the pictures, each with their indices.
    """

    def __init__(
        self,
        regression: Regression,
        shown: Floats,
        pool: Pool,
        alone: Collection[Concept] = (),
        parts: Mapping[str, tuple[NDArray[np.int64], Regression]] = MappingProxyType({}),
    ) -> None:
        self.regression = regression
        self._shown = shown
        concepts = regression.concepts
        own = np.diag(regression.means(self._shown))
        exclusive = {s.name: s.exclusive for s in pool.slots} | {SUBJECT: True}
        sizes = {s: sum(c.slot == s and c not in alone for c in concepts) for s in exclusive}
        # The contrast of one of L levels with the others is L/(L-1) of its distance from the mean.
        levels = [sizes[c.slot] if exclusive[c.slot] else 1 for c in concepts]
        scale = np.array([1 - 1 / count if count > 1 else 1.0 for count in levels])
        known = own >= DRAWN
        self._per_draw = np.where(known, scale / np.where(known, own, 1.0), 0.0)
        slots = np.array([c.slot for c in concepts])
        self._elsewhere = slots[:, None] != slots[None, :]
        self._elsewhere[:, [concept in alone for concept in concepts]] = False
        self.whole = self._split(np.arange(len(shown)), regression)
        self.parts = {name: self._split(*part) for name, part in parts.items()}

    def _split(self, at: NDArray[np.int64], regression: Regression) -> Split:
        """Split the effects of a regression over the pictures ``at``; a companion's own effect is
        that over all pictures, where it was assigned the most often."""
        concepts = self.regression.concepts
        place = {concept: index for index, concept in enumerate(concepts)}
        rows = np.array([place[concept] for concept in regression.concepts], dtype=np.int64)
        shown = self._shown[at]
        shift, errors = np.zeros((2, len(concepts), len(concepts)))
        shift[rows] = regression.means(shown)
        errors[rows] = np.array(
            [[e.error for e in regression.estimate(column)] for column in shown.T]
        ).T
        companions = (np.abs(shift) >= SHIFT) & (np.abs(shift) >= SURE * errors) & self._elsewhere
        through: Floats = np.where(companions, shift * self._per_draw, 0.0)
        weights = np.zeros(self.regression.weights.shape)
        weights[np.ix_(rows, at)] = regression.weights
        return Split(shift, companions, through, weights - through @ self.regression.weights)

    def direct(self, answers: Floats, split: Split) -> list[Estimate]:
        """Estimate each concept's effect less what goes through its companions."""
        return self.regression.estimate(answers, split.weights)

    def companions(self, index: int, effects: Floats, split: Split) -> list[Companion]:
        """Return the companions of the concept at ``index``, strongest first.

        effects: of all concepts of the regression.
        """
        concepts = self.regression.concepts
        found = [
            Companion(
                concepts[m].name,
                concepts[m].slot,
                float(split.shift[index, m]),
                float(split.through[index, m] * effects[m]),
            )
            for m in np.flatnonzero(split.companions[index])
        ]
        return sorted(found, key=lambda c: (-abs(c.through), -abs(c.shift)))


def presence(detector: Detector, looks: Sequence[str], embeddings: Embeddings) -> Floats:
    """Return the probability that each picture shows one of these, (n,): that of the likeliest."""
    found = np.max([detector.presence(look, embeddings) for look in looks], axis=0)
    return np.asarray(found, dtype=np.float64)


def drawing(
    cells: Sequence[Cell],
    concept: Concept,
    seen: NDArray[np.bool_],
    *,
    exclusive: bool,
    parent: Concept | None = None,
) -> Drawing:
    """Return how often a concept is seen (n,) where it was asked for, and otherwise: where another
    one of an exclusive slot was, if there is one, else where it was not. Of a single wording,
    others of its parent are no other concept."""
    said = [cell.said.get(concept.slot, ()) for cell in cells]
    asked = np.array([bool(set(words) & set(concept.words)) for words in said])
    kin = set((parent or concept).words)
    others = ~asked & np.array([bool(set(words) - kin) or not exclusive for words in said])
    if not others.any():  # it is alone in its slot
        others = ~asked
    rates = [float(seen[at].mean()) if at.any() else math.nan for at in (asked, others)]
    return Drawing(*rates)
