"""The claims: effects of concepts on the probability of a class, with verdicts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from dexter.reasoning.topic import Slot
from dexter.stats import ALPHA

Verdict = Literal["confirmed", "refuted", "inconclusive"]
Reason = Literal["not_drawn", "too_few_pairs", "no_better_than_placebo", "saturated"]

MIN_EFFECT = 0.10
DRAWN = 0.30
"""The smallest rise of a concept's detection rate when the prompt names it."""
SATURATED_HIGH, SATURATED_LOW = 0.95, 0.05
OWN, RIVALS = "class", "rivals"
"""The contexts of pairs: subjects of the class, and subjects of its rivals."""

REASONS: dict[Reason, str] = {
    "not_drawn": "not drawn",
    "too_few_pairs": "interval too wide",
    "no_better_than_placebo": "no larger than a placebo",
    "saturated": "no room for an effect",
}


def in_words(reason: str, effect: float, direction: int) -> str:
    """Return a reason for readers; an effect of the opposite sign is not compared to placebos."""
    if reason == "no_better_than_placebo" and effect * direction < 0:
        return "opposite sign"
    return REASONS.get(cast(Reason, reason), reason)


@dataclass(frozen=True)
class Candidate:
    """A concept to test.

    direction: +1 if it is claimed to raise the probability, -1 to lower it, 0 to take the sign of
    the measured effect. sources: its origins, {"words": [run ids], "captions": [frame hashes]}.
    """

    concept: str
    slot: Slot = "item"
    direction: int = 1
    sources: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Proportion:
    """A proportion, hits of n, with its interval."""

    hits: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.hits / self.n if self.n else 0.0


@dataclass(frozen=True)
class ContextEvidence:
    """The pairs of one context; ``saturated`` pairs do not count.

    Each pair has seeds, prompts and the target's probability on both sides.
    """

    name: str
    saturated: bool
    control_mean: float
    pairs: int
    effect: float | None
    low: float | None
    high: float | None
    control_prompts: list[str]
    treated_prompts: list[str]
    control_seeds: list[int]
    seeds: list[int]
    control: list[float]
    treated: list[float]


@dataclass(frozen=True)
class Claim:
    """A concept, its measured effect and the verdict.

    effect: mean change of the target's probability, with its interval at `stats.LEVEL`. p:
    uncorrected p-value of the sign flips; p_corrected: corrected for looks and family. flips: share
    of pairs whose prediction changes into the class (or, for direction -1, out of it). detected:
    rise of the concept's detection rate when the prompt names it. prior: detection rate in pictures
    of the class's base prompts; in_frames: in frames that hit the class.
    """

    concept: str
    slot: Slot
    direction: int
    sources: dict[str, list[str]]
    effect: float
    low: float
    high: float
    p: float
    p_corrected: float
    pairs: int
    flips: Proportion
    placebo_threshold: float | None
    detected: float | None
    detected_control: float | None
    detected_treated: float | None
    prior: Proportion | None
    in_frames: Proportion | None
    over_represented: bool
    core: bool
    min_effect: float
    verdict: Verdict
    reason: Reason | None
    contexts: list[ContextEvidence]

    @property
    def is_bias(self) -> bool:
        """Return True for a confirmed dependence on a concept that does not belong to the class."""
        return self.verdict == "confirmed" and not self.core

    def to_dict(self) -> dict[str, Any]:
        """Return the claim as JSON-serialisable values."""
        return asdict(self)


def judge(
    *,
    direction: int,
    effect: float,
    low: float,
    high: float,
    p_corrected: float,
    placebo_threshold: float | None,
    detected: float | None,
    pairs: int,
    min_effect: float,
) -> tuple[Verdict, Reason | None]:
    """Return the verdict on a claim, and the reason if it is inconclusive.

    ``pairs`` excludes those of saturated contexts. ``detected`` is None without a detector.
    """
    if not pairs:
        return "inconclusive", "saturated"
    if detected is None or detected < DRAWN:
        return "inconclusive", "not_drawn"
    if low > -min_effect and high < min_effect:
        return "refuted", None
    if p_corrected > ALPHA or abs(effect) < min_effect:
        return "inconclusive", "too_few_pairs"
    as_claimed = effect * direction > 0
    if not as_claimed or placebo_threshold is None or abs(effect) <= placebo_threshold:
        return "inconclusive", "no_better_than_placebo"
    return "confirmed", None


def is_saturated(control_mean: float, direction: int) -> bool:
    """Return True if pictures without the concept leave no room for an effect in this direction."""
    return control_mean > SATURATED_HIGH if direction > 0 else control_mean < SATURATED_LOW
