"""The differences between classifiers: the same claims, tested on the same pictures.

Every classifier is tested on every concept and all pairs, so pictures are drawn once and their
number does not depend on the number of classifiers. The difference between two classifiers is
tested on their paired changes: the change in each pair for the one minus that for the other.
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
"""differ: significantly, and by at least the minimum effect. alike: the interval lies within ± the
minimum effect. open: neither."""

WORST = 4  # pictures to keep of those on which two classifiers differ most


@dataclass(frozen=True)
class Difference:
    """The effect of a concept on a minus that on b, with its interval at `stats.LEVEL`.

    It covers all pairs, including contexts in which one classifier is saturated: a difference needs
    room in only one of them. reason: "not_drawn" or None.
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
    concept: str,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    *,
    detected: float | None,
    family: int = 1,
) -> Difference:
    """Return the difference of a concept's changes (n,) for a and for b in the same pairs.

    The verdict stays open until `judged`. ``detected`` is the rise of the concept's detection rate
    when the prompt names it, None without a detector. ``family``: the number of differences that
    are judged together.
    """
    values = a - b
    low, high = (2 * end for end in stats.bootstrap_interval(values / 2))  # values are in [-2, 2]
    p, flips = stats.sign_flip_p(values), 100 * family
    if p == stats.SMALLEST_P and flips > stats.PERMUTATIONS:
        # In a large family the smallest p of fewer flips is not small enough.
        p = stats.sign_flip_p(values, flips)
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
    """Return a family of differences with corrected p-values and verdicts, in order."""
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
    """Merge the studies' proposals in turn, each concept once, with the direction left open."""
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
    members: Sequence[tuple[Sequence[str], int]],
    *,
    world: World,
    core: Sequence[str] = (),
    multi_label: bool = False,
) -> Topic:
    """Return a topic for all members (labels, class index), so that they share their pictures.

    Unless a manifest names rivals, they are the labels that all members have, then the labels of
    the first member. ``multi_label``: of all members, see `make_topic`.
    """
    labels, index = members[0]
    lowered = [{label.lower() for label in other} for other, _ in members]
    others = [label for at, label in enumerate(labels) if at != index]
    common = [label for label in others if all(label.lower() in have for have in lowered)]
    return make_topic(
        labels, index, world=world, core=core, confused=common, multi_label=multi_label
    )


def most_different(a: NDArray[np.float64], b: NDArray[np.float64], count: int = WORST) -> list[int]:
    """Return the pictures on which two probabilities (n,) differ most, largest difference first."""
    return [int(i) for i in np.argsort(-np.abs(a - b), kind="stable")[:count]]
