"""The regression of a classifier's answers on the concepts of the prompts.

Ordinary least squares on indicators of all wordings and subjects at once. The effect of a concept
is a contrast: within an exclusive slot, the mean of its wordings less the mean of the others that
were named; elsewhere, and alone in its slot, the concept named against not named. Errors are robust
to heteroscedasticity (HC3, MacKinnon and White 1985), because a classifier's answers vary more in
one kind of picture than in another. Wordings are assigned at random, so the contrasts are causal
effects of the prompt whatever the pictures look like.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from dexter.screening.concepts import SUBJECT, Concept, Pool
from dexter.screening.design import Cell

Floats = NDArray[np.float64]

_RANK = 1e-8
_FEWEST = 4
"""Pictures on either side of a contrast, below which nothing is estimated."""
_FEWEST_TOGETHER = 10
"""Pictures that name two concepts, and either alone, below which no interaction is estimated."""
_STEADY = 0.02
"""Residuals with a smaller standard deviation say nothing of answers that were missed."""
_ODDS = 1e-4
"""Probabilities are cut to this far from 0 and 1 before their log-odds are taken."""


@dataclass(frozen=True)
class Estimate:
    """An effect with its standard error.

    pictures: the smaller side of the contrast. spread: standard deviation of the residuals.
    """

    effect: float
    error: float
    pictures: int
    freedom: int
    spread: float

    def half_width(self, alpha: float) -> float:
        """Return half the width of the two-sided interval at level 1 - ``alpha``."""
        return t_quantile(1 - alpha / 2, self.freedom) * self.error

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the two-sided interval of an effect on a probability at level 1 - ``alpha``.

        Where answers hardly vary, it allows for the share of other answers that this number of
        pictures can have missed.
        """
        width = self.half_width(alpha)
        if self.spread < _STEADY:
            width = max(width, 1 - alpha ** (1 / self.pictures))
        return max(-1.0, self.effect - width), min(1.0, self.effect + width)


@dataclass(frozen=True)
class Fall:
    """The share of its size by which an effect fell, with a 95% interval.

    by: 1 less the size of the effect after per size of the effect before; below 0 if it grew.
    """

    by: float
    low: float
    high: float


class Regression:
    """The contrasts of all concepts over a set of cells, for any number of answers.

    Args:
        cells: The pictures' prompts, by slot.
        pool: The concepts.
        concepts: The ones to estimate, kinds of subjects among them.
        parents: Of single wordings among them, the concept: they are not compared with the rest of
            it.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        pool: Pool,
        concepts: Collection[Concept],
        parents: Mapping[Concept, Concept] = MappingProxyType({}),
    ) -> None:
        exclusive = {slot.name: slot.exclusive for slot in pool.slots} | {SUBJECT: True}
        said = [{(s, w) for s, words in cell.said.items() for w in words} for cell in cells]
        columns = sorted({pair for pairs in said for pair in pairs})
        place = {pair: index for index, pair in enumerate(columns, 1)}
        x = np.zeros((len(cells), len(columns) + 1))
        x[:, 0] = 1
        for at, pairs in enumerate(said):
            x[at, [place[pair] for pair in pairs]] = 1
        u, s, vt = np.linalg.svd(x, full_matrices=False)
        rank = int((s > _RANK * s[0]).sum())
        u, s, vt = u[:, :rank], s[:rank], vt[:rank]
        self._u = u
        self._leverage = 1 - np.minimum((u**2).sum(1), 1 - 1e-6)
        self.freedom = max(1, len(cells) - rank)
        counts = x.sum(0)
        self.concepts: list[Concept] = []
        contrasts, self._pictures, named = [], [], []
        self._own: list[list[int]] = []  # the columns of each concept
        for concept in concepts:
            own = [place[concept.slot, w] for w in _words(concept, columns) if w]
            kin = {(concept.slot, w) for w in _words(parents.get(concept, concept), columns)}
            row = np.zeros(x.shape[1])
            if not own:
                continue
            row[own] = 1 / len(own)
            n_own = counts[own].sum()
            others = [i for pair, i in place.items() if pair[0] == concept.slot and pair not in kin]
            if exclusive[concept.slot] and others:
                row[others] = -1 / len(others)
                n_others = counts[others].sum()
            else:
                n_others = len(cells) - n_own
            if min(n_own, n_others) < _FEWEST:
                continue
            # A contrast outside the space of the rows cannot be separated from another slot's.
            if np.abs(row - (row @ vt.T) @ vt).max() > 1e-6:
                continue
            self.concepts.append(concept)
            self._own.append(own)
            contrasts.append(row)
            named.append(x[:, own].any(1))
            self._pictures.append(int(min(n_own, n_others)))
        stacked = np.array(contrasts).reshape(len(contrasts), x.shape[1])
        self._counts = counts
        self._solve: Floats = (vt.T / s) @ u.T
        self.weights: Floats = stacked @ self._solve
        self._named = np.array(named, dtype=bool).reshape(len(named), len(cells))

    def estimate(self, answers: Floats, weights: Floats | None = None) -> list[Estimate]:
        """Estimate the effect of each of `concepts` on the answers (n,).

        weights: other contrasts of the same space, (concepts, n).
        """
        weights = self.weights if weights is None else weights
        return self._estimates(answers, weights, self._pictures)

    def difference(self, answers: Floats, first: Sequence[int], others: Sequence[int]) -> Estimate:
        """Estimate the mean effect of the wordings of the concepts at ``first`` less that of the
        concepts at ``others``: of the same slot, or none."""
        row = np.zeros(len(self._counts))
        counts = []
        for at, sign in ((first, 1), (others, -1)):
            columns = [column for one in at for column in self._own[one]]
            if columns:
                row[columns] = sign / len(columns)
                counts.append(int(self._counts[columns].sum()))
        return self._estimates(answers, (row @ self._solve)[None], [min(counts)])[0]

    def _estimates(
        self, answers: Floats, weights: Floats, pictures: Sequence[int]
    ) -> list[Estimate]:
        residuals = self._residuals(answers)
        spread = math.sqrt(float(residuals @ residuals) / self.freedom)
        squares = weights**2
        robust = squares @ (residuals / self._leverage) ** 2
        errors = np.sqrt(np.maximum(robust, squares.sum(1) * spread**2))
        return [
            Estimate(float(effect), float(error), n, self.freedom, spread)
            for effect, error, n in zip(weights @ answers, errors, pictures, strict=True)
        ]

    def falls(self, before: Floats, after: Floats, alpha: float = 0.05) -> list[Fall | None]:
        """Return by how much each effect fell from the answers before (n,) to those after (n,).

        None where the effect before may be 0. The interval is of the ratio of the two effects
        (Fieller 1954). Both are of the same pictures, so that the noise that they share cancels.
        """
        square = t_quantile(1 - alpha / 2, self.freedom) ** 2
        one, other = (self._residuals(answers) / self._leverage for answers in (before, after))
        squares = self.weights**2
        pairs = zip(
            self.weights @ before, self.weights @ after,
            square * (squares @ one**2), square * (squares @ other**2),
            square * (squares @ (one * other)), strict=True,
        )  # fmt: skip
        clear = (low > 0 or high < 0 for low, high in
                 (estimate.interval(alpha) for estimate in self.estimate(before)))  # fmt: skip
        return [
            _fall(*map(float, pair)) if sure else None
            for pair, sure in zip(pairs, clear, strict=True)
        ]

    def interaction(self, answers: Floats, first: int, second: int) -> Estimate | None:
        """Estimate how much larger the effect of the concept at ``first`` is beside that at
        ``second``; None where too few pictures name both, or one alone.

        It is the coefficient of their product beside all other columns, which it is orthogonal to:
        its error is independent of the effects by which the two were chosen.
        """
        one, other = self._named[first], self._named[second]
        both = one & other
        least = min(int(part.sum()) for part in (both, one & ~other, other & ~one))
        product = self._residuals(both.astype(np.float64))
        square = float(product @ product)
        if least < _FEWEST_TOGETHER or square < _RANK * len(answers):
            return None
        weights = product / square
        residuals = self._residuals(answers)
        effect = float(weights @ residuals)
        residuals = residuals - effect * product
        freedom = max(1, self.freedom - 1)
        spread = math.sqrt(float(residuals @ residuals) / freedom)
        leverage = np.maximum(self._leverage - product * weights, 1e-6)
        robust = float(weights**2 @ (residuals / leverage) ** 2)
        return Estimate(effect, math.sqrt(max(robust, spread**2 / square)), least, freedom, spread)

    def _residuals(self, answers: Floats) -> Floats:
        found: Floats = answers - self._u @ (self._u.T @ answers)
        return found

    def means(self, answers: Floats) -> Floats:
        """Return the effects alone, for answers (n,) or (n, k)."""
        found: Floats = self.weights @ answers
        return found


def _fall(
    before: float, after: float, square_before: float, square_after: float, product: float
) -> Fall:
    """Return by how much an effect fell that is clearly not 0 before.

    square_before, square_after, product: variances and covariance, times the squared quantile.
    """
    # The ratios r with (after - r before)^2 <= its variance.
    first, second = before**2 - square_before, before * after - product
    root = math.sqrt(max(0.0, second**2 - first * (after**2 - square_after)))
    ends = (second - root) / first, (second + root) / first
    least = 0.0 if ends[0] <= 0 <= ends[1] else min(map(abs, ends))
    return Fall(1 - abs(after / before), 1 - max(map(abs, ends)), 1 - least)


def log_odds(p: Floats) -> Floats:
    """Return the log-odds of probabilities, cut to be finite."""
    cut = p.clip(_ODDS, 1 - _ODDS)
    found: Floats = np.log(cut) - np.log1p(-cut)
    return found


def t_quantile(probability: float, freedom: int) -> float:
    """Return Student's quantile by the expansion of Cornish and Fisher, good from 10 degrees on."""
    z = NormalDist().inv_cdf(probability)
    v = max(freedom, 1)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )


def spent(fraction: float, alpha: float) -> float:
    """Return the share of ``alpha`` that looks up to this fraction of the budget may spend.

    The power family of Kim and DeMets (1987) with exponent 2: little is spent on early looks.
    """
    return alpha * min(1.0, max(0.0, fraction)) ** 2


def _words(concept: Concept, columns: Sequence[tuple[str, str]]) -> list[str]:
    """The concept's wordings that were said; of a kind, the subjects that belong to it."""
    said = [word for slot, word in columns if slot == concept.slot]
    if concept.slot == SUBJECT:
        return [w for w in said if w in concept.words or w.split()[-1] in concept.words]
    return [word for word in said if word in concept.words]


def by_context(cells: Sequence[Cell]) -> Mapping[str, NDArray[np.int64]]:
    """Return the indices of the cells of each context."""
    return {
        context: np.array([i for i, cell in enumerate(cells) if cell.context == context])
        for context in dict.fromkeys(cell.context for cell in cells)
    }
