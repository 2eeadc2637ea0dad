"""The concepts that pictures are divided by, from the findings of a screening."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dexter.data.slices import Concept
from dexter.screening.concepts import SUBJECT

if TYPE_CHECKING:
    from dexter.screening.concepts import Pool


def concepts_of(findings: Iterable[Mapping[str, Any]], pool: Pool) -> list[Concept]:
    """Return what raises or lowers a class, strongest first, as questions to pictures.

    ``findings``: with slot, concept, verdict and core, strongest first. Concepts of a slot of which
    a picture shows one, such as its place, are held against the others there, and those that work
    in the same direction make a concept together as well, before its parts: one word against "a
    picture" sees far less (docs/debiasing.md). So are kinds of subjects that were screened, such as
    men and women.
    """
    findings = list(findings)
    screened = {(finding["slot"], finding["concept"]) for finding in findings}
    kinds = [one for one in pool.kinds if (one.slot, one.name) in screened]
    looks = {(one.slot, one.name): one.looks for one in (*pool.concepts, *kinds)}
    exclusive = {SUBJECT, *(slot.name for slot in pool.slots if slot.exclusive)}
    families: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        place = finding["slot"], finding["concept"]
        if finding["verdict"] in ("raises", "lowers") and not finding["core"] and place in looks:
            families.setdefault((finding["slot"], finding["verdict"]), []).append(place[1])
    found: dict[tuple[str, tuple[str, ...]], None] = {}
    for (slot, _), family in families.items():
        found[slot, tuple(family)] = None
        for name in family:
            found[slot, (name,)] = None
    concepts = []
    for slot, chosen in found:
        others = [name for of, name in looks if of == slot and name not in chosen]
        against = [look for name in others for look in looks[slot, name]]
        own = tuple(look for name in chosen for look in looks[slot, name])
        concepts.append(
            Concept(", ".join(chosen), own, tuple(against) if slot in exclusive else ())
        )
    return concepts
