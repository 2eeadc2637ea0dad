"""The lines of guessed answers, from `ask --json`."""

from collections.abc import Mapping
from typing import Any


def change_text(answer: Mapping[str, Any]) -> str:
    """Return by how much a text raises the log-odds of the class; "" without a control."""
    change = answer["change"]
    if change is None:
        return ""
    interval = f"[{change['low']:+z.1f}, {change['high']:+z.1f}]"
    return f"{change['log_odds']:+z.1f} {interval} against {answer['control']}"


def unit_text(unit: Mapping[str, Any]) -> str:
    """Return the words that name a unit, with their effects in standard deviations."""
    if not unit["words"]:
        return "no concept of the pool names it"
    return ", ".join(
        f"{one['word']} {one['effect']:+z.1f} [{one['low']:+z.1f}, {one['high']:+z.1f}]"
        for one in unit["words"]
    )
