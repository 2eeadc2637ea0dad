"""The effects of single words, by which a search can begin where a screening ended."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import NormalDist

from dexter.screening.concepts import Pool

WordEffects = dict[str, tuple[float, float]]
"""Word to its effect on the log-odds of the class, and the standard error of that."""

_LEAST = 1e-3
"""The smallest standard error: answers that hardly vary are no proof."""


def word_effects(
    pool: Pool, intervals: Iterable[tuple[str, str, float, float, float]], level: float
) -> WordEffects:
    """Return the effect of each word by which a search can name a concept of the pool.

    Args:
        pool: The concepts.
        intervals: Slot, concept, effect on log-odds and the ends of its interval, as of `Effect`.
            Of a word of several concepts, the first counts.
        level: The level of each interval, as of `Result`.
    """
    alone = {(one.slot, one.name) for concept in pool.concepts for one in concept.alone}
    quantile = NormalDist().inv_cdf(1 - (1 - level) / 2)
    found: WordEffects = {}
    # What is known of a wording alone counts before what its concept says of it.
    for slot, name, effect, low, high in sorted(intervals, key=lambda one: one[:2] not in alone):
        concept = pool.by_name.get((slot, name))
        if concept is None:  # a subject by itself
            continue
        error = max((high - low) / 2 / quantile, _LEAST)
        for word in (concept.name, *concept.words, *concept.looks):
            if word.isalpha():
                found.setdefault(word.lower(), (effect, error))
    return found
