"""Classifiers side by side: the same claims on the same pictures, and where they differ.

Every classifier is asked about every concept, on all pairs at once, so that pictures are made once
and their number does not depend on how many classifiers look at them. A difference between two is
tested on what the concept changes in each pair for the one, less what it changes for the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dexter import stats
from dexter.reasoning.claims import DRAWN, Candidate
from dexter.reasoning.topic import Topic, World, make_topic

Verdict = Literal["differ", "alike", "open"]
"""differ: significantly, and by as much as counts. alike: the interval lies within what counts."""

WORST = 4  # pictures kept of those on which two classifiers differ most


@dataclass(frozen=True)
class Difference:
    """The effect of a concept on a, less that on b, with its interval at `stats.LEVEL`.

    Over all pairs, also of contexts that one of the claims leaves out as saturated: to tell two
    apart it is enough that one of them has room. reason: "not_drawn", else None.
    """

    concept: str
    effect: float
    low: float
    high: float
    p: float
    p_corrected: float
    pairs: int
    verdict: Verdict
    reason: str | None


def difference(
    concept: str, a: NDArray[np.float64], b: NDArray[np.float64], *, detected: float | None
) -> Difference:
    """What a concept changes for a, less what for b, from their changes (n,) in the same pairs.

    The verdict is open until `judged`. ``detected``: how much more often the concept is seen with
    it in the prompt than without, None where nobody could look.
    """
    values = a - b
    low, high = (2 * end for end in stats.bootstrap_interval(values / 2))  # they are in [-2, 2]
    p = stats.sign_flip_p(values)
    drawn = detected is not None and detected >= DRAWN
    return Difference(
        concept,
        float(values.mean()) if len(values) else 0.0,
        low,
        high,
        p,
        1.0,
        len(values),
        "open",
        None if drawn else "not_drawn",
    )


def judged(differences: Sequence[Difference], min_effect: float) -> list[Difference]:
    """The differences with corrected p and verdicts, where they are one family, in their order."""
    ps = stats.holm([stats.look_corrected(d.p) for d in differences])
    found = []
    for d, p in zip(differences, ps, strict=True):
        verdict: Verdict = "open"
        if d.reason is None and d.low > -min_effect and d.high < min_effect:
            verdict = "alike"
        elif d.reason is None and p <= stats.ALPHA and abs(d.effect) >= min_effect:
            verdict = "differ"
        found.append(replace(d, p_corrected=p, verdict=verdict))
    return found


def union(proposed: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    """All that any study proposes, each concept once, by turns; the sign is as it turns out."""
    found: dict[str, Candidate] = {}
    longest = max(map(len, proposed), default=0)
    for place in range(longest):
        for candidates in proposed:
            if place < len(candidates):
                new = candidates[place]
                old = found.get(new.concept)
                sources = {name: list(ids) for name, ids in (old.sources if old else {}).items()}
                for name, ids in new.sources.items():
                    sources[name] = [*sources.get(name, []), *ids]
                found[new.concept] = Candidate(new.concept, new.slot, 0, sources)
    return list(found.values())


def shared_topic(
    members: Sequence[tuple[Sequence[str], int]], *, world: World, core: Sequence[str] = ()
) -> Topic:
    """One topic for all members, each labels and class index, so that they get the same pictures.

    Rivals are, where no manifest names any, labels that all have, then those of the first.
    """
    labels, index = members[0]
    lowered = [{label.lower() for label in other} for other, _ in members]
    others = [label for at, label in enumerate(labels) if at != index]
    common = [label for label in others if all(label.lower() in have for have in lowered)]
    return make_topic(labels, index, world=world, core=core, confused=common)


def most_different(a: NDArray[np.float64], b: NDArray[np.float64], count: int = WORST) -> list[int]:
    """The pictures on which two classifiers' probabilities (n,) differ most, the most first."""
    return [int(i) for i in np.argsort(-np.abs(a - b), kind="stable")[:count]]
