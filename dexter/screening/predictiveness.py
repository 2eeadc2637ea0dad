"""The predictiveness of a confirmed claim: on fresh prompts, how often is the order right?

A claim that "sea" raises the class predicts that a picture of a prompt with it scores higher than
one of a prompt without it, whatever else the two name and whatever their noise. The prompts vary
all concepts freely, as a screening's do, and no screening has seen them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from dexter.reasoning.claims import Proportion
from dexter.screening.concepts import SUBJECT, Concept
from dexter.screening.design import FRESH, MOST_PICTURES, Cell, Design, Round
from dexter.stats import wilson_interval


def fresh_cells(design: Design, concepts: Collection[str]) -> list[Cell]:
    """Return prompts that name each of these concepts about as often as all others of its slot."""
    wanted = Counter(c.slot for c in design.pool.concepts if c.name in concepts)
    others = Counter(c.slot for c in design.pool.concepts if c.name not in concepts)
    weights = {
        c.name: min(1.0, wanted[c.slot] / others[c.slot])
        for c in design.pool.concepts
        if c.name not in concepts and wanted[c.slot]
    }
    return design.cells(Round(MOST_PICTURES, FRESH, weights))


def predictiveness(
    cells: Sequence[Cell],
    p: Mapping[tuple[str, int], float],
    concept: Concept,
    direction: int,
    *,
    exclusive: bool,
) -> Proportion | None:
    """Return the share of pairs of pictures whose order is as claimed; None without a pair.

    Each picture with the concept is paired with one without it (of an exclusive slot, with another
    of its concepts if there is one) of the same context; no picture is in two pairs. p: of each
    request.
    """
    others = (set(cell.said.get(concept.slot, ())) - set(concept.words) for cell in cells)
    exclusive = exclusive and any(others)
    right = pairs = 0
    for context in dict.fromkeys(cell.context for cell in cells):
        with_it, without = (
            [p[cell.request] for cell in cells if cell.context == context and chosen(cell)]
            for chosen in _sides(concept, exclusive=exclusive)
        )
        found = list(zip(with_it, without, strict=False))
        pairs += len(found)
        right += sum(bool((high - low) * direction > 0) for high, low in found)
    if not pairs:
        return None
    return Proportion(right, pairs, *wilson_interval(right, pairs))


def _sides(
    concept: Concept, *, exclusive: bool
) -> tuple[Callable[[Cell], bool], Callable[[Cell], bool]]:
    """Return tests of a prompt: does it name the concept, and does it name no such thing?"""

    def said(cell: Cell) -> set[str]:
        words = cell.said.get(concept.slot, ())
        return {words[0].split()[-1]} if concept.slot == SUBJECT and words else set(words)

    def names(cell: Cell) -> bool:
        return bool(said(cell) & set(concept.words))

    def lacks(cell: Cell) -> bool:
        return not names(cell) and (bool(said(cell)) or not exclusive)

    return names, lacks
