"""The words and styles of verdicts on claims and on differences between classifiers."""

VERDICT_STYLES = {"confirmed": "bold red", "refuted": "green", "inconclusive": "dim"}
DIFFERENCE_STYLES = {"differ": "bold red", "alike": "green", "open": "dim"}
DIFFERENCES = {
    "differ": "significantly different",
    "alike": "no relevant difference",
    "open": "inconclusive",
}
_REASONS = {
    "not_drawn": "the generator did not draw the concept",
    "too_few_pairs": "the interval is too wide",
    "no_better_than_placebo": "no larger than the placebo level",
    "saturated": "no room for an effect (saturated)",
}
_SHORT = {
    "not_drawn": "not drawn",
    "too_few_pairs": "interval too wide",
    "no_better_than_placebo": "placebo level",
    "saturated": "saturated",
}


def reason_text(reason: str, effect: float, direction: int, *, short: bool = False) -> str:
    """Return the reason for an inconclusive verdict; an effect may have the opposite sign."""
    if reason == "no_better_than_placebo" and effect * direction < 0:
        return "opposite sign" if short else "the effect has the opposite sign"
    return (_SHORT if short else _REASONS).get(reason, reason)
