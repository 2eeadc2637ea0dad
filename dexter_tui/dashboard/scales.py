"""Scales of charts: round numbers on an axis, and smoothed values."""

import math
from collections.abc import Sequence

_ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)


def number(value: float) -> str:
    """Return a number in at most 7 characters."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000 or abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """Return up to ``most`` evenly spaced round numbers from ``low`` to ``high``.

    ``whole`` allows whole numbers only.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low or most < 1:
        return []
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (*_ROUND, *(10 * one for one in _ROUND)):
        step = factor * power
        if whole and (step < 1 or step % 1):
            continue
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [round(k * step, 12) for k in range(first, last + 1)]
    return []


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return up to ``most`` numbers 1, 2 or 5 times a power of 10, as their decimal logarithms.

    ``low`` and ``high`` are logarithms as well.
    """
    powers = range(math.floor(low), math.ceil(high) + 1)
    for factors in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        found = [math.log10(factor) + power for power in powers for factor in factors]
        found = sorted(one for one in found if low - 1e-9 <= one <= high + 1e-9)
        if len(found) <= most:
            return found
    return found[:: -(-len(found) // most)]


def smoothed(values: Sequence[float | None], weight: float) -> list[float | None]:
    """Return the exponential moving average of the values, corrected for its start.

    ``weight`` is the share of the past, from 0 (unchanged) to below 1, as in TensorBoard.
    """
    average, share, result = 0.0, 0.0, list[float | None]()
    for value in values:
        if value is None or not math.isfinite(value):
            result.append(value)
            continue
        average = weight * average + (1 - weight) * value
        share = weight * share + (1 - weight)
        result.append(average / share)
    return result
