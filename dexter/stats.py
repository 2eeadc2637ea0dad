"""The statistics of the evidence, in numpy alone. Every function gives the same answer again.

A claim is looked at after 32, 64 and 128 pairs, and at no other time. The three looks are paid for
by a factor of three: on p, and on the level of the intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LOOKS = (32, 64, 128)
"""Pairs after which a claim may be decided."""
ALPHA = 0.05
LEVEL = 1 - ALPHA / len(LOOKS)
"""Coverage of each interval, so that those of all looks hold together at 95%."""
PERMUTATIONS = 20_000
RESAMPLES = 10_000

Floats = NDArray[np.float64]


def sign_flip_p(differences: Sequence[float] | Floats, permutations: int = PERMUTATIONS) -> float:
    """Two-sided p of "no effect" for paired differences (n,), by random flips of their signs.

    Under no effect a pair's two sides could as well have been exchanged. p = (b + 1) / (B + 1)
    with b the flips whose mean is as far from 0 as the one observed, or further (Phipson and Smyth
    2010): never 0, and valid at any number of flips. 1 without pairs.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not len(values):
        return 1.0
    observed = abs(values.sum())
    flipped = _signs(len(values), permutations) @ values
    # Equal sums, added up in another order, differ in their last bits.
    slack = 1e-9 * float(np.abs(values).sum())
    b = int((np.abs(flipped) >= observed - slack).sum())
    return (b + 1) / (permutations + 1)


@lru_cache(maxsize=8)
def _signs(n: int, permutations: int) -> NDArray[np.float32]:
    """Random signs (permutations, n); float32 holds them exactly, at half the time."""
    rng = np.random.default_rng((20_251_014, n, permutations))
    return (2 * rng.integers(0, 2, size=(permutations, n), dtype=np.int8) - 1).astype(np.float32)


def look_corrected(p: float) -> float:
    """p after paying for the looks (Bonferroni)."""
    return min(1.0, p * len(LOOKS))


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their family by Holm's step-down method (1979), in their order."""
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
    """Percentile bootstrap interval of the mean of paired differences in [-1, 1] (Efron 1979).

    The pairs are drawn with replacement, so that what belongs together stays together. Differences
    that are all alike would give a point: then the interval allows for what so many pairs can have
    missed, a pair of the opposite extreme with the largest probability that n pairs leave open.
    (-1, 1) without pairs.
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
    # The mean itself must not be left out, by rounding or by a skewed sample.
    return max(-1.0, min(float(low), mean)), min(1.0, max(float(high), mean))


@lru_cache(maxsize=8)
def _resamples(n: int, resamples: int) -> NDArray[np.float32]:
    """How often each of n pairs is in each resample, (resamples, n)."""
    rng = np.random.default_rng((20_251_014, n, resamples))
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float32)


def clopper_pearson(hits: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Exact interval of a proportion (Clopper and Pearson 1934); (0, 1) for n = 0."""
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else _solve(lambda p: _at_least(hits, n, p) - tail)
    high = 1.0 if hits == n else _solve(lambda p: tail - _at_least(n - hits, n, 1 - p))
    return low, high


def _at_least(hits: int, n: int, p: float) -> float:
    """P(X >= hits) of a binomial X with n tries of probability p in (0, 1)."""
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
    """Where an increasing function of p in (0, 1) crosses 0."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if increasing(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def wilson_interval(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion (1927); (0, 1) for n = 0."""
    if not n:
        return 0.0, 1.0
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p))


def newcombe_interval(hits: int, n: int, other_hits: int, other_n: int) -> tuple[float, float]:
    """95% interval of the difference of two independent proportions, the first less the second.

    Newcombe's method 10 (1998), from their Wilson intervals; (-1, 1) where either n is 0.
    """
    if not n or not other_n:
        return -1.0, 1.0
    p, q = hits / n, other_hits / other_n
    low, high = wilson_interval(hits, n)
    other_low, other_high = wilson_interval(other_hits, other_n)
    return (
        p - q - math.hypot(p - low, other_high - q),
        p - q + math.hypot(high - p, q - other_low),
    )


def placebo_threshold(effects: Sequence[float]) -> float | None:
    """The 95th percentile of the |effects| of placebos; None without any."""
    if not len(effects):
        return None
    return float(np.quantile(np.abs(np.asarray(effects, dtype=np.float64)), 0.95))
