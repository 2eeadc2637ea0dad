"""The concepts that pictures are divided by: of a screening, or words; and the one to balance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dexter.data.slices import LEAST, Concept
from dexter.screening.concepts import SUBJECT
from dexter.stats import wilson_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dexter.screening.concepts import Pool

_FOUND = ("raises", "lowers")


def concepts_of(findings: Iterable[Mapping[str, Any]], pool: Pool) -> list[Concept]:
    """Return what raises or lowers a class, strongest first, as questions to pictures.

    ``findings``: with slot, concept, verdict, effect and core, strongest first. Concepts of a slot
    of which a picture shows one, such as its place, are held against the others there, and those
    that work in the same direction make a concept together as well, before its parts: one word
    against "a picture" sees far less (docs/debiasing.md). So are kinds of subjects that were
    screened, such as men and women. Effects that other concepts explain come last: the drawing, not
    the classifier, may have tied them together.
    """
    findings = list(findings)
    screened = {(finding["slot"], finding["concept"]) for finding in findings}
    looks = {
        place: own
        for place, own in _looks(pool).items()
        if place[0] != SUBJECT or place in screened
    }
    families: dict[tuple[bool, str, bool], list[str]] = {}
    for finding in findings:
        place = finding["slot"], finding["concept"]
        explained = finding["verdict"] == "explained"
        if not explained and finding["verdict"] not in _FOUND:
            continue
        if not finding["core"] and place in looks:
            key = explained, finding["slot"], finding["effect"] > 0
            families.setdefault(key, []).append(place[1])
    found: dict[tuple[str, tuple[str, ...]], None] = {}
    for (_, slot, _), family in sorted(families.items(), key=lambda one: one[0][0]):
        found[slot, tuple(family)] = None
        for name in family:
            found[slot, (name,)] = None
    return [
        Concept(
            ", ".join(chosen),
            tuple(look for name in chosen for look in looks[slot, name]),
            _against(pool, looks, slot, chosen),
        )
        for slot, chosen in found
    ]


def concepts_of_words(words: Sequence[str], pool: Pool) -> list[Concept]:
    """Return words of a user as questions to pictures.

    Words of an exclusive slot of ``pool`` are held against its other concepts, kinds of subjects
    against the others that are named, all others against "a picture". Words of one slot make a
    concept together as well, before its parts.
    """
    looks = _looks(pool)
    of_word = {
        word: next((place for place, own in looks.items() if word in (place[1], *own)), None)
        for word in words
    }
    named = {*of_word.values()}
    looks = {place: own for place, own in looks.items() if place[0] != SUBJECT or place in named}
    slots = {place[0] if place else None for place in of_word.values()}
    families: list[tuple[str, ...]] = [(word,) for word in of_word]
    if len(of_word) > 1 and len(slots) == 1 and None not in slots:
        families = [tuple(of_word), *families]
    found = []
    for family in families:
        places = [place for word in family if (place := of_word[word])]
        own: list[str] = []
        for word in family:
            place = of_word[word]
            own += looks[place] if place and place[1] == word else (word,)
        chosen = [name for _, name in places]
        against = _against(pool, looks, places[0][0], chosen) if places else ()
        found.append(Concept(", ".join(family), tuple(dict.fromkeys(own)), against))
    return found


def _looks(pool: Pool) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return (slot, concept) to the names under which an image-text model looks for it."""
    return {(one.slot, one.name): one.looks for one in (*pool.concepts, *pool.kinds)}


def _against(
    pool: Pool, looks: Mapping[tuple[str, str], Iterable[str]], slot: str, chosen: Sequence[str]
) -> tuple[str, ...]:
    exclusive = {SUBJECT, *(one.name for one in pool.slots if one.exclusive)}
    if slot not in exclusive:
        return ()
    return tuple(
        look
        for (of, name), own in looks.items()
        if of == slot and name not in chosen
        for look in own
    )


@dataclass(frozen=True)
class Considered:
    """A concept that pictures could be balanced by.

    accuracy: of the worst of its pseudo-groups, which has ``pictures``. high: the upper end of its
    95% interval (Wilson).
    """

    concept: Concept
    accuracy: float
    high: float
    pictures: int


def hardest_first(
    concepts: Sequence[Concept],
    seen: Sequence[NDArray[np.bool_]],
    classes: NDArray[np.int64],
    right: NDArray[np.bool_],
) -> list[Considered]:
    """Order concepts by how surely the classifier fails on one of their pseudo-groups.

    No true group is needed: the worst pseudo-group of a concept that the classifier relies on is
    that which contradicts it, and a small group counts by the upper end of its interval. Concepts
    with a pseudo-group of fewer than 5 pictures, which could not be balanced, are left out; of
    those that divide the pictures alike, the first is kept.

    ``seen``: of each concept, whether each picture shows it, (n,). ``classes``, ``right``: (n,).
    """
    found: list[Considered] = []
    divided: set[bytes] = set()
    for concept, own in zip(concepts, seen, strict=True):
        groups = classes * 2 + own
        sizes = [int((groups == group).sum()) for group in range(2 * (int(classes.max()) + 1))]
        keys = {own.tobytes(), (~own).tobytes()}
        if min(sizes) < LEAST or keys & divided:
            continue
        divided |= keys
        hits = [int(right[groups == group].sum()) for group in range(len(sizes))]
        highs = [wilson_interval(hit, of)[1] for hit, of in zip(hits, sizes, strict=True)]
        group = int(np.argmin(highs))
        high = highs[group]
        found.append(Considered(concept, hits[group] / sizes[group], high, sizes[group]))
    return sorted(found, key=lambda one: one.high)
