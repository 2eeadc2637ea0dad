"""The names of concepts, and the reasons why one is undecided, in all tables, cards and reports."""

from collections import Counter
from collections.abc import Iterable

REASONS = {
    "not_drawn": "not drawn",
    "too_few_pairs": "interval too wide",
    "no_better_than_placebo": "no larger than a placebo",
    "saturated": "no room for an effect",
    "raises": "proposed, not tested on pairs",
    "lowers": "proposed, not tested on pairs",
    "explained": "explained by another concept",
    "weak": "may be large enough to count",
    "open": "too few pictures",
}
"""Of claims (see `dexter.reasoning.claims`, which has the same words), then of screenings."""
OPPOSITE = "opposite sign"


def in_words(reason: str, effect: float, direction: int) -> str:
    """Return a reason for readers; an effect of the opposite sign is not compared to placebos."""
    if reason == "no_better_than_placebo" and effect * direction < 0:
        return OPPOSITE
    return REASONS.get(reason, reason)


def concept_names(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the names of concepts by concept and slot: with the slot where several have it."""
    slots = dict.fromkeys(pairs)
    count = Counter(concept for concept, _ in slots)
    return {
        (concept, slot): f"{concept} ({slot})" if slot and count[concept] > 1 else concept
        for concept, slot in slots
    }
