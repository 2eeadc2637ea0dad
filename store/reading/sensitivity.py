"""The sensitivity of a test: the smallest effect that it would have found.

A test of a concept ends without a confirmation. The reader then needs the effect that the same
procedure would have confirmed with a probability of 95%. `detectable` finds it from the numbers of
pairs, the measured spread of their changes, the placebo level and the size of the family.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

LOOKS = (32, 64, 128)  # as `dexter.stats.LOOKS`
MIN_EFFECT = 0.1  # the default of the setting
POWER = 0.95
ALPHA = 0.05

_NORMAL = NormalDist()
_EFFECTS = [round(0.01 * step, 2) for step in range(1, 101)]


def detectable(
    *,
    spread: float,
    pairs: Sequence[int],
    family: int,
    min_effect: float,
    placebo: float | None,
    power: float = POWER,
) -> float | None:
    """Return the smallest effect on the class probability that is found with 95% probability.

    An effect d is modelled in the shape that is hardest to find: a share d of the pairs changes
    from 0 to 1, the others not at all, on top of the measured spread s. The variance of a change is
    then v = s² + d(1 - d). With N pairs at the last look the claim is confirmed if the mean change
    is at least

        c = max(min_effect, placebo, z sqrt((v + d²) / N)),  z = Φ⁻¹(1 - 0.05 / (2 · 3 · family)),

    the sign-flip test in its normal approximation, with Bonferroni's correction for three looks and
    the whole family. The probability to find d is at least

        Φ((d - c) sqrt(N / v)) - Σ P(refuted at an earlier look),

    where a look of n pairs refutes if k changed pairs, k ~ Binomial(n, d), leave the interval
    k/n + 2.39 sqrt((s² + k/n (1 - k/n)) / n) below min_effect.

    Args:
        spread: The standard deviation of the change over the pairs, 0 to 1.
        pairs: The usable pairs at each look, ascending.
        family: The number of claims tested together.
        min_effect: The smallest effect that counts, 0 to 1.
        placebo: The placebo threshold, if there is one.
        power: The probability to find the effect.

    Returns None if no effect is large enough.
    """
    z = _NORMAL.inv_cdf(1 - ALPHA / (2 * len(LOOKS) * max(family, 1)))
    *earlier, last = pairs
    misses = [(n, _refuting(n, spread, min_effect)) for n in earlier]
    for effect in _EFFECTS:
        variance = spread**2 + effect * (1 - effect)
        least = max(min_effect, placebo or 0.0, z * math.sqrt((variance + effect**2) / last))
        found = _upper(effect - least, math.sqrt(variance / last))
        found -= sum(_at_most(k, n, effect) for n, k in misses)
        if found >= power:
            return effect
    return None


def detectable_by_screening(
    *,
    half_width: float,
    level: float,
    pictures: int,
    min_effect: float,
    family: int,
) -> float | None:
    """Return the smallest effect that a screening and the pairs after it find with 95% probability.

    The screening proposes a concept if its effect is at least ``min_effect`` and its interval lies
    beyond half of that. Its error is half_width / z at the interval's level. A true effect d adds
    the variance d(1 - d) of the pictures that show the concept. Pairs then have to confirm it, see
    `detectable`. Each of the two stages gets half of the 5% that may be missed.

    Args:
        half_width: Half of the width of the interval of the effect.
        level: The coverage of that interval.
        pictures: The pictures on the smaller side of the contrast.
        min_effect: The smallest effect that counts, 0 to 1.
        family: The number of claims tested together on pairs.
    """
    power = 1 - (1 - POWER) / 2
    width, miss = _NORMAL.inv_cdf((1 + level) / 2), _NORMAL.inv_cdf(power)
    confirmed = detectable(
        spread=0.0, pairs=LOOKS, family=family, min_effect=min_effect, placebo=None, power=power
    )
    for effect in _EFFECTS:
        error = math.sqrt((half_width / width) ** 2 + effect * (1 - effect) / max(pictures, 1))
        if effect - miss * error >= max(min_effect, min_effect / 2 + width * error):
            return None if confirmed is None else max(effect, confirmed)
    return None


def _upper(margin: float, error: float) -> float:
    """Return the probability that a normal mean does not fall by more than ``margin``."""
    if error < 1e-12:
        return float(margin >= 0)
    return _NORMAL.cdf(margin / error)


def _refuting(n: int, spread: float, min_effect: float) -> int:
    """Return the largest number of changed pairs with which a look still refutes; -1 if none."""
    width = _NORMAL.inv_cdf(1 - ALPHA / (2 * len(LOOKS)))
    k = -1
    while k < n:
        share = (k + 1) / n
        if share + width * math.sqrt((spread**2 + share * (1 - share)) / n) >= min_effect:
            break
        k += 1
    return k


def _at_most(k: int, n: int, p: float) -> float:
    """Return P(X <= k) of a binomial X with n trials of probability p."""
    return math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))
