"""The estimate of an audit before it starts: pictures and seconds for a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from dexter.reasoning.settings import LOOKS
from dexter_tui.formatting import duration

if TYPE_CHECKING:
    from dexter_tui.analysis.screening_request import Prepared
    from store import Store


@dataclass(frozen=True)
class Outlook:
    """The expected work on one class: pictures, and seconds on one device."""

    class_name: str
    screening: int
    shared: int
    """The pictures of placebos and controls, which all models share"""
    claims: int
    """The claims to test: half of the most that the models can have"""
    candidates: int
    """The findings of each model to test, at most"""
    seconds: float

    @property
    def confirmation(self) -> int:
        """The pictures that test the claims."""
        return self.of_claims(self.claims)

    def of_claims(self, claims: int) -> int:
        """Return the pictures that test claims; most are decided at the first look."""
        return self.shared + claims * LOOKS[0] if claims else 0

    def line(self) -> str:
        """Return it as a sentence."""
        return (
            f"{self.class_name}: about {duration(self.seconds)}; {self.screening} pictures to find "
            f"concepts, then about {self.confirmation} to test them"
        )


def outlook(store: "Store", prepared: "Prepared", *, searched: bool = False) -> Outlook:
    """Estimate the pictures of the screening and of the pairs that confirm its findings.

    ``searched``: whether the words of a search are tested as well.
    """
    from dexter.planning.estimate import estimate
    from dexter.reasoning.evidence import PLACEBO_PAIRS
    from dexter_tui.analysis import screening_request
    from store import screening_records

    of_screening = screening_request.outlook(store, prepared)
    settings = prepared.settings
    # The words of a search are often of another slot, which has placebos of its own. Controls are
    # of plain prompts, and of prompts that name another concept of an exclusive slot.
    shared = settings.placebos * PLACEBO_PAIRS * (2 if searched else 1) + 2 * LOOKS[-1]
    most = len(prepared.members) * settings.candidates * (2 if searched else 1)
    claims = (most + 1) // 2
    confirmation = shared + claims * LOOKS[0]
    bank = screening_records.bank(store, prepared.bank_key)
    pace = bank.pace if bank is not None and bank.pace is not None else None
    pace = pace or estimate(prepared.config).seconds_per_picture
    drawn = of_screening.missing + of_screening.budget - of_screening.planned
    return Outlook(
        prepared.topic.class_name,
        drawn,
        shared,
        claims,
        settings.candidates,
        of_screening.seconds + confirmation * pace,
    )


@cache
def _slots() -> int:
    from dexter_tui.machine import devices

    return sum("auto" in slot.accepts for slot in devices.slots())


def together(seconds: Sequence[float]) -> float:
    """Return the time of works side by side on the slots of this machine."""
    busy = [one for one in seconds if one > 0]
    return max([sum(busy) / min(_slots(), len(busy)), *busy]) if busy else 0.0
