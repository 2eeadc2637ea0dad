"""The attributes of people in a screening: a report on what a classifier makes of them.

The counterpart of DEXTER's bias reports (arXiv 2510.14741, section 4.3 and appendix F). Two reports
of one form can be compared: one rests on a screening, without data, the other on labelled pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dexter.errors import InputError
from dexter.reasoning.claims import OWN, RIVALS
from dexter.reasoning.topic import Topic
from dexter.screening.concepts import SUBJECT, Pool
from dexter.screening.design import Cell

if TYPE_CHECKING:
    from dexter.lab.scenes import Scene

ATTRIBUTES = {"age": "age", "gender": "gender", "skin": "skin tone", "hair": "hair colour"}
"""The slots that hold attributes of people, and their names in a text."""
GENDERS = ("male", "female")
"""Kinds of subjects that say a gender, where a pool has no slot for it."""

State = Literal["depends", "explained", "undecided", "not_drawn", "none", "core", "untested"]
"""The knowledge of an attribute: depends: a concept of it raises or lowers the class. explained:
such an effect goes through another attribute. core: it belongs to the class."""


def attribute_of(slot: str, concept: str) -> str | None:
    """Return the attribute of people that a concept belongs to; None for any other concept."""
    if slot == SUBJECT:
        return "gender" if concept in GENDERS else None
    return slot if slot in ATTRIBUTES else None


def check_pool(pool: Pool) -> None:
    """Raise InputError for a pool without attributes of people."""
    if not any(attribute_of(one.slot, one.name) for one in (*pool.concepts, *pool.kinds)):
        raise InputError(
            f"the pool {pool.name} has none of the slots {', '.join(ATTRIBUTES)}",
            field="concepts",
            value=pool.name,
            remedy="pass a YAML file that has them (docs/bias.md)",
        )


@dataclass(frozen=True)
class Fact:
    """The effect of one concept of an attribute."""

    attribute: str
    concept: str
    verdict: str
    effect: float
    low: float
    high: float
    core: bool
    explained_by: tuple[str, ...] = ()
    confirmation: str | None = None

    @property
    def is_bias(self) -> bool:
        """Return True for a dependence that does not belong to the class and was not refuted."""
        found = self.verdict in ("raises", "lowers") and not self.core
        return found and self.confirmation != "refuted"

    @property
    def claim(self) -> tuple[str, str, int]:
        """Return attribute, concept and sign."""
        return self.attribute, self.concept, 1 if self.effect > 0 else -1


@dataclass(frozen=True)
class BiasReport:
    """A report on what a classifier makes of people's attributes. source: of the pictures."""

    class_name: str
    source: str
    facts: tuple[Fact, ...]

    @property
    def biases(self) -> list[Fact]:
        """Return the dependences, largest first."""
        return sorted((one for one in self.facts if one.is_bias), key=lambda one: -abs(one.effect))

    @property
    def score(self) -> float:
        """Return how large the largest effect of an attribute is that a finding could rest on."""
        return max(
            (
                abs(one.effect)
                for one in self.facts
                if not one.core
                and one.verdict not in ("not_drawn", "explained")
                and one.confirmation != "refuted"
            ),
            default=0.0,
        )

    def state(self, attribute: str) -> State:
        """Return what is known of an attribute."""
        own = [one for one in self.facts if one.attribute == attribute]
        if not own:
            return "untested"
        if all(one.core for one in own):
            return "core"
        verdicts = {one.verdict for one in own if not one.core}
        if any(one.is_bias for one in own):
            return "depends"
        if "explained" in verdicts:
            return "explained"
        if verdicts & {"open", "weak", "raises", "lowers"}:
            return "undecided"
        return "not_drawn" if verdicts == {"not_drawn"} else "none"

    @property
    def sentences(self) -> list[str]:
        """Return the report in words, without numbers and names of models."""
        said = self.class_name
        found = []
        by_attribute: dict[str, list[Fact]] = {}
        for one in self.biases:
            by_attribute.setdefault(one.attribute, []).append(one)
        for attribute, facts in by_attribute.items():
            ways = [
                f"{'more' if one.effect > 0 else 'less'} often for {_people(one)}" for one in facts
            ]
            found.append(
                f"The classifier depends on {ATTRIBUTES[attribute]}: it answers {said} "
                f"{_listed(ways)}."
            )
        if not found:
            found.append(
                f"No attribute of a person was found to change how often it answers {said}."
            )
        for state, ending in (
            ("none", f"no difference to {said}"),
            ("explained", "a difference only through another attribute"),
        ):
            names = [name for key, name in ATTRIBUTES.items() if self.state(key) == state]
            if names:
                verb = "makes" if len(names) == 1 else "make"
                found.append(f"{_listed(names).capitalize()} {verb} {ending}.")
        for state, text in (
            ("undecided", "Nothing is decided about"),
            ("not_drawn", "The pictures do not show"),
            ("untested", "Nothing was tested of"),
            ("core", "The class itself is defined by"),
        ):
            names = [name for key, name in ATTRIBUTES.items() if self.state(key) == state]
            if names:
                found.append(f"{text} {_listed(names)}.")
        return found

    @property
    def text(self) -> str:
        """Return the sentences on one line."""
        return " ".join(self.sentences)

    def to_json(self) -> dict[str, Any]:
        """Return all of it, JSON-able."""
        return {
            "source": self.source,
            "biased": bool(self.biases),
            "score": self.score,
            "attributes": {name: self.state(name) for name in ATTRIBUTES},
            "facts": [asdict(one) for one in self.facts],
            "text": self.text,
            "sentences": self.sentences,
        }


def _people(fact: Fact) -> str:
    match fact.attribute:
        case "skin":
            return f"people with {fact.concept} skin"
        case "hair":
            return f"people with {fact.concept} hair"
        case _:
            return f"{fact.concept} people"


def _listed(parts: Sequence[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def report(class_name: str, source: str, findings: Iterable[Mapping[str, Any]]) -> BiasReport:
    """Return the report of a screening's findings, as stored or as `asdict` of an effect."""
    facts = []
    for one in findings:
        attribute = attribute_of(one["slot"], one["concept"])
        if attribute is None:
            continue
        tested = one.get("confirmation")
        facts.append(
            Fact(
                attribute,
                one["concept"],
                one["verdict"],
                float(one["effect"]),
                float(one["low"]),
                float(one["high"]),
                bool(one["core"]),
                tuple(one["explained_by"]),
                None if tested is None else str(tested["verdict"]),
            )
        )
    order = list(ATTRIBUTES)
    facts.sort(key=lambda one: (order.index(one.attribute), one.concept))
    return BiasReport(class_name, source, tuple(facts))


def others(of: BiasReport) -> list[BiasReport]:
    """Return reports of the same form with one other dependence each, and no other.

    What two unrelated reports have in common is their form: these give the floor of a similarity.
    """
    own = {one.claim for one in of.biases}
    free = [one for one in of.facts if not one.core]
    found = []
    for chosen in free:
        for sign in (1, -1):
            if (chosen.attribute, chosen.concept, sign) in own:
                continue
            facts = []
            for one in of.facts:
                verdict = "none" if one is not chosen else "raises" if sign > 0 else "lowers"
                effect = 0.5 * sign if one is chosen else 0.0
                facts.append(
                    Fact(one.attribute, one.concept, verdict, effect, effect, effect, one.core)
                )
            found.append(BiasReport(of.class_name, "no pictures", tuple(facts)))
    return found


@dataclass(frozen=True)
class Agreement:
    """The claims of a report against those of a reference: concept and sign count.

    precision: of the report's claims, those that the reference makes; recall: the other way round;
    None without claims.
    """

    both: int
    claims: int
    reference: int

    @property
    def precision(self) -> float | None:
        return self.both / self.claims if self.claims else None

    @property
    def recall(self) -> float | None:
        return self.both / self.reference if self.reference else None

    def to_json(self) -> dict[str, Any]:
        """Return the counts and the shares."""
        return asdict(self) | {"precision": self.precision, "recall": self.recall}


def agreement(of: BiasReport, reference: BiasReport) -> Agreement:
    """Compare the claims of two reports about concepts that both have tested."""
    shared = {(one.attribute, one.concept) for one in of.facts}
    shared &= {(one.attribute, one.concept) for one in reference.facts}
    own, other = (
        {one.claim for one in each.biases if one.claim[:2] in shared} for each in (of, reference)
    )
    return Agreement(len(own & other), len(own), len(other))


def people_scenes(topic: Topic, count: int, seed: int = 0) -> list[tuple[Scene, Cell]]:
    """Draw scenes of the lab's people with all labels: half of the class, half of its rivals.

    What the class does not fix (age, gender, skin, hair, place, things beside) is independent.
    Raises InputError for a class that is not about people.
    """
    from dexter.lab import world
    from dexter.lab.scenes import sample_scene

    sides = {}
    for context, subjects in ((OWN, topic.subjects), (RIVALS, topic.rivals)):
        sides[context] = [one.split() for one in subjects if one.split()[-1] in world.PEOPLE]
    if not all(sides.values()):
        raise InputError(
            f"{topic.class_name} is no class of the lab's people",
            field="class_name",
            value=topic.class_name,
            remedy="choose blond, old or female, or their opposites",
        )
    rng = np.random.default_rng((seed, 24, *topic.class_name.encode()))
    kinds = {**dict.fromkeys(world.HAIR, "hair"), **dict.fromkeys(world.SKIN, "skin")}
    kinds |= dict.fromkeys(world.AGES, "age")
    found = []
    for index in range(count):
        context = (OWN, RIVALS)[index % 2]
        *words, noun = sides[context][int(rng.integers(len(sides[context])))]
        fixed: dict[str, Any] = {kinds[word]: word for word in words}
        scene = sample_scene(rng, subjects=(noun,), **fixed)
        said: dict[str, tuple[str, ...]] = {SUBJECT: (noun,), "background": (scene.background,)}
        if scene.items:
            said["item"] = scene.items
        for slot in ("hair", "skin", "age"):
            if (value := getattr(scene, slot)) is not None:
                said[slot] = (value,)
        found.append((scene, Cell(f"scene {index}", index, context, said)))
    return found
