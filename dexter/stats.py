"""The statistics of the evidence: tests, corrections and intervals. All are deterministic.

A claim is tested after 32, 64 and 128 pairs and at no other time. Bonferroni's factor of 3 for the
three looks applies to the p-value and to the level of the intervals.

`clopper_pearson` is own code because nothing else needs scipy: 1 interval does not justify it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LOOKS = (32, 64, 128)
"""Numbers of pairs after which a claim can be decided."""
ALPHA = 0.05
LEVEL = 1 - ALPHA / len(LOOKS)
"""The coverage of each interval, so that the intervals of all looks hold jointly at 95%."""
PERMUTATIONS = 20_000
SMALLEST_P = 1 / (PERMUTATIONS + 1)
RESAMPLES = 10_000
FEWEST_LEVELS = 3
"""Levels of a slot, below which none of them can be called an outlier."""

Floats = NDArray[np.float64]


def sign_flip_p(differences: Sequence[float] | Floats, permutations: int = PERMUTATIONS) -> float:
    """Return the two-sided p-value of "no effect" for paired differences (n,), by sign flips.

    Without an effect the two sides of a pair are exchangeable. p = (b + 1) / (B + 1), where b
    counts the random flips whose mean is at least as far from 0 as the observed mean (Phipson and
    Smyth 2010): never 0, and valid for any number of flips. Returns 1 without pairs.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not len(values):
        return 1.0
    observed = abs(values.sum())
    flipped = _signs(len(values), permutations) @ values
    # Equal sums added in another order differ in their last bits.
    slack = 1e-9 * float(np.abs(values).sum())
    b = int((np.abs(flipped) >= observed - slack).sum())
    return (b + 1) / (permutations + 1)


@lru_cache(maxsize=8)
def _signs(n: int, permutations: int) -> NDArray[np.float32]:
    """Return random signs (permutations, n); float32 holds them exactly and takes half the time."""
    rng = np.random.default_rng((20_251_014, n, permutations))
    return (2 * rng.integers(0, 2, size=(permutations, n), dtype=np.int8) - 1).astype(np.float32)


def look_corrected(p: float) -> float:
    """Return p corrected for the number of looks (Bonferroni)."""
    return min(1.0, p * len(LOOKS))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their family by Holm's step-down method (1979), in order."""
    corrected = [0.0] * len(p)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, p[index] * (len(p) - rank)))
        corrected[index] = largest
    return corrected


def bootstrap_interval(
    differences: Sequence[float] | Floats,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean of paired differences (Efron 1979).

    The differences are in [-1, 1]; whole pairs are drawn with replacement. Equal differences
    would give an interval of zero width. In that case the interval allows for pairs of the opposite
    extreme, at the largest probability with which n pairs can miss them. Returns (-1, 1) without
    pairs.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if not n:
        return -1.0, 1.0
    mean = float(values.mean())
    if float(values.max() - values.min()) < 1e-6:
        unseen = 1 - ((1 - level) / 2) ** (1 / n)
        return mean - unseen * (1 + mean), mean + unseen * (1 - mean)
    counts = _resamples(n, resamples)
    means = counts @ values / n
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    # Rounding or a skewed sample must not exclude the mean itself.
    return max(-1.0, min(float(low), mean)), min(1.0, max(float(high), mean))


@lru_cache(maxsize=8)
def _resamples(n: int, resamples: int) -> NDArray[np.float32]:
    """Return the number of times that each resample contains each of n pairs, (resamples, n)."""
    rng = np.random.default_rng((20_251_014, n, resamples))
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float32)


def clopper_pearson(hits: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact interval of a proportion (Clopper and Pearson 1934); (0, 1) for n = 0."""
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else _solve(lambda p: _at_least(hits, n, p) - tail)
    high = 1.0 if hits == n else _solve(lambda p: tail - _at_least(n - hits, n, 1 - p))
    return low, high


def _at_least(hits: int, n: int, p: float) -> float:
    """Return P(X >= hits) of a binomial X with n trials of probability p in (0, 1)."""
    return math.fsum(
        math.exp(
            math.lgamma(n + 1)
            - math.lgamma(k + 1)
            - math.lgamma(n - k + 1)
            + k * math.log(p)
            + (n - k) * math.log1p(-p)
        )
        for k in range(hits, n + 1)
    )


def _solve(increasing: Callable[[float], float]) -> float:
    """Return the p in (0, 1) at which an increasing function crosses 0, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if increasing(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def wilson_interval(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's 95% interval of a proportion (1927); (0, 1) for n = 0."""
    if not n:
        return 0.0, 1.0
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p))


def newcombe_interval(
    hits: int, n: int, other_hits: int, other_n: int, z: float = 1.959964
) -> tuple[float, float]:
    """Return the 95% interval of the first of two independent proportions minus the second.

    Newcombe's method 10 (1998), from their Wilson intervals; (-1, 1) where either n is 0.
    """
    if not n or not other_n:
        return -1.0, 1.0
    p, q = hits / n, other_hits / other_n
    low, high = wilson_interval(hits, n, z)
    other_low, other_high = wilson_interval(other_hits, other_n, z)
    return (
        p - q - math.hypot(p - low, other_high - q),
        p - q + math.hypot(high - p, q - other_low),
    )


def t_quantile(probability: float, freedom: int) -> float:
    """Return Student's quantile for a probability in (0.5, 1) and whole degrees of freedom.

    Inverts the closed form of the distribution (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).
    """
    angle = (
        math.pi / 2 * _solve(lambda x: _t_within(math.pi / 2 * x, freedom) - 2 * probability + 1)
    )
    return math.sqrt(freedom) * math.tan(angle)


def _t_within(angle: float, freedom: int) -> float:
    """Return P(|t| <= sqrt(freedom) tan(angle))."""
    odd = freedom % 2
    term = total = math.cos(angle) if odd else 1.0
    for k in range(1, freedom // 2):
        term *= math.cos(angle) ** 2 * (2 * k if odd else 2 * k - 1) / (2 * k + 1 if odd else 2 * k)
        total += term
    if not odd:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0.0))


def swap_threshold(
    tested: float, own: Sequence[float], elsewhere: Sequence[Sequence[float]] = ()
) -> float | None:
    """Return the largest |effect| to expect of a concept in an exclusive slot that does not matter.

    A picture shows one concept of such a slot, so the effect of a concept is its *level*, the mean
    probability of its pictures, less the mean level of the others. Suppose that the classifier
    depends on none of them, and that all differences are side effects: the generator changes the
    subject along with the place. Then the concept under test is one more draw from the distribution
    of the levels, and its effect lies within the prediction interval of the others: their standard
    deviation s times t sqrt(1 + 1/n), at 95%. This exceeds the largest of a few placebos, as it has
    to: an effect is larger than n exchangeable ones once in n + 1 times.

    Levels that are themselves effects (water, where snow is tested) are no placebos. The
    generalised test for outliers (Rosner 1983) finds them: the most extreme level is set aside,
    then the next, at most a minority, and the last that stands out from the rest takes all before
    it along, so two effects do not hide each other. Under the supposition above it seldom sets any
    aside, so the threshold does not shrink to what is left: where every swap matters, nothing
    stands out. (Among 6 normal levels the effect of a concept that does not matter exceeds the
    threshold in 7% of cases, among 7 in 8%: the test is approximate for few levels.) A side effect
    of one concept alone looks like an effect here: that something else was drawn along with the
    concept is for the image-text model to see.

    ``tested``: level of the concept under test; ``own``: those of the other concepts of its slot.
    Where they are few, the levels of other exclusive slots (``elsewhere``) add to the standard
    deviation, which is pooled within slots. A slot of fewer than 3 placebos cannot show which of
    them is an effect and is left out. Returns None if nothing is left.
    """
    squares, freedom = 0.0, 0
    for levels, at in ((np.array([tested, *own]), 1), *((np.array(one), 0) for one in elsewhere)):
        kept = levels[at:][~_outliers(levels)[at:]]
        if len(levels) - at >= FEWEST_LEVELS and len(kept) > 1:
            squares += float(((kept - kept.mean()) ** 2).sum())
            freedom += len(kept) - 1
    if not freedom:
        return None
    rest = 1 + 1 / max(1, len(own))
    return t_quantile(1 - ALPHA / 2, freedom) * math.sqrt(squares / freedom * rest)


def _outliers(levels: Floats) -> NDArray[np.bool_]:
    """Return True for the levels (n,) that the generalised test for outliers finds."""
    order = list(np.argsort(levels))
    set_aside: list[int] = []
    count = 0
    for _ in range((len(levels) - 1) // 2):
        n, mean = len(order), levels[order].mean()
        ends = sorted((order[0], order[-1]), key=lambda at: -abs(levels[at] - mean))
        set_aside.append(ends[0])
        order.remove(ends[0])
        rest = levels[order]
        error = float(rest.std(ddof=1)) * math.sqrt(1 + 1 / (n - 1))
        if abs(levels[ends[0]] - rest.mean()) > t_quantile(1 - ALPHA / (2 * n), n - 2) * error:
            count = len(set_aside)
    return np.isin(np.arange(len(levels)), set_aside[:count])


def placebo_threshold(effects: Sequence[float]) -> float | None:
    """Return the 95th percentile of the placebos' |effects|; None without placebos."""
    if not len(effects):
        return None
    return float(np.quantile(np.abs(np.asarray(effects, dtype=np.float64)), 0.95))
