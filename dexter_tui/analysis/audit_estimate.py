"""The estimate of an audit before it starts: pictures and seconds for a class."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean
from typing import TYPE_CHECKING

from dexter.reasoning.settings import LOOKS
from dexter_tui.formatting import duration

if TYPE_CHECKING:
    from dexter.screening.pairs import PoolLayout
    from dexter_tui.analysis.screening_request import Prepared
    from store import Store


@dataclass(frozen=True)
class Outlook:
    """The expected work on one class: pictures, and seconds on one device."""

    class_name: str
    screening: int
    confirmation: int
    """The pictures that test claims, on average over the slots that they can be of"""
    candidates: int
    """The findings of each model to test, at most"""
    seconds: float
    prepared: "Prepared"

    def of_findings(self, findings: Collection[tuple[str, str]], words: int = 0) -> int:
        """Return the pictures that test findings, by slot and concept, and words of searches."""
        return len(_pictures(self.prepared, _layout(self.prepared), findings, words))

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
    from dexter_tui.analysis import screening_request
    from store import screening_records, study_records

    of_screening = screening_request.outlook(store, prepared)
    settings = prepared.settings
    bank = screening_records.bank(store, prepared.bank_key)
    confirmation = 0
    if settings.confirm:
        words = len(prepared.members) * (settings.candidates + 1) // 2 if searched else 0
        layout = _layout(prepared)
        cases = [_pictures(prepared, layout, found, words) for found in _cases(prepared, layout)]
        if bank is not None and bank.generator is not None:
            prompts = {prompt for needed in cases for prompt, _ in needed}
            there = set(study_records.known_pictures(store, bank.generator, prompts))
            cases = [needed - there for needed in cases]
        confirmation = round(mean(map(len, cases))) if cases else 0
    pace = bank.pace if bank is not None and bank.pace is not None else None
    pace = pace or estimate(prepared.config).seconds_per_picture
    drawn = of_screening.missing + of_screening.budget - of_screening.planned
    return Outlook(
        prepared.topic.class_name,
        drawn,
        confirmation,
        settings.candidates,
        of_screening.seconds + confirmation * pace,
        prepared,
    )


def _layout(prepared: "Prepared") -> "PoolLayout":
    from dexter.screening.pairs import PoolLayout

    return PoolLayout(prepared.topic, prepared.concepts.pool)


def _cases(prepared: "Prepared", layout: "PoolLayout") -> list[set[tuple[str, str]]]:
    """Return possible findings, by slot and concept: each model has half of the most to test.

    What the models depend on is not known before the screening. The findings of one model are
    mostly of one slot: where one place raises a class, others lower it. So the models take turns
    with the slots; the cases differ in the slot of the first.
    """
    from dexter.screening.concepts import usable

    pool, topic = prepared.concepts.pool, prepared.topic
    slots: dict[str, list[tuple[str, str]]] = {}
    for one in usable(pool, topic):
        if not topic.is_core(one.name) and layout.can_test(one):
            slots.setdefault(one.slot, []).append((one.slot, one.name))
    each = (prepared.settings.candidates + 1) // 2
    own = [found[:each] for found in slots.values()]
    models = range(len(prepared.members))
    return [
        {one for at in models for one in own[(first + at) % len(own)]} for first in range(len(own))
    ]


def _pictures(
    prepared: "Prepared", layout: "PoolLayout", findings: Collection[tuple[str, str]], words: int
) -> set[tuple[str, int]]:
    """Return the pictures of a test of findings and of words that the pool lacks.

    Most claims are decided at the first look. The concepts that take the place of one another, the
    placebos and the control pictures are shared, and so are the fresh prompts of a confirmed claim.
    """
    from dexter.reasoning.claims import Candidate
    from dexter.reasoning.evidence import needed_pictures
    from dexter.screening.design import Design
    from dexter.screening.predictiveness import fresh_cells

    if not findings and not words:
        return set()
    topic, settings = prepared.topic, prepared.settings
    candidates = [Candidate(name, slot, 1) for slot, name in dict.fromkeys(findings)]
    candidates += [Candidate(f"word {number}") for number in range(words)]
    needed = needed_pictures(
        candidates,
        topic,
        layout,
        pairs=LOOKS[0],
        placebos=settings.placebos,
    )
    design: Design = Design(prepared.concepts.pool, topic, seed=settings.design_seed)
    cells = fresh_cells(design, {name for _, name in findings})
    return {*needed, *(cell.request for cell in cells)}


@cache
def _slots() -> int:
    from dexter_tui.machine import devices

    return sum("auto" in slot.accepts for slot in devices.slots())


def together(seconds: Sequence[float]) -> float:
    """Return the time of works side by side on the slots of this machine."""
    busy = [one for one in seconds if one > 0]
    return max([sum(busy) / min(_slots(), len(busy)), *busy]) if busy else 0.0
