"""The smallest change of words that flips a classifier's decision.

    question = Question(witness, pool, topic, changes)
    found = question.answer(Scene.of("duck", pool), seeds)

The search is greedy: of all changes of one concept, the one that moves the log-odds of the class
most is taken, until the decision flips; changes that turn out not to be needed are then taken back.
All pictures of a search share their noise, and the answer is checked on noise that it has not seen.
The changes are attributes in words, as in AIP (Yang et al. 2021), which perturbs
a picture in a latent space of its attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dexter import stats
from dexter.generation.bank import Images, Request
from dexter.reasoning.claims import Proportion
from dexter.reasoning.detection import Detector, Embeddings
from dexter.reasoning.evidence import Witness
from dexter.reasoning.topic import Topic
from dexter.screening.concepts import SUBJECT, Concept, Pool
from dexter.screening.pairs import ConceptDetector
from dexter.screening.regression import log_odds
from dexter.seeds import picture_seeds

MOST = 4
"""Changes of one answer."""
SEARCHED = 4
"""Noises that a change is searched on; the picture shown is of the first."""
_BEST = 12
"""Changes that are tried on all of them: those that move the picture shown most."""
_GAIN = 0.1
"""Log-odds that a further change moves at least."""
CHECKED = 32
"""Fresh noises that an answer is checked on."""
_TRIED = 12
"""Noises among which those of a search are looked for."""
_SUBJECTS = 8
"""Subjects of the class among which the start is looked for."""
_STRONGEST = 12
"""Concepts of a screening that are tried."""
_WORDINGS = 4
"""Wordings of one concept that are tried."""


@dataclass(frozen=True)
class Change:
    """A change of one concept. word: its wording; None takes the concept away."""

    concept: str
    slot: str
    word: str | None

    @property
    def name(self) -> str:
        """Return the change as a label: "forest", "woman" or "without ball"."""
        return f"without {self.concept}" if self.word is None else self.word


@dataclass(frozen=True)
class Scene:
    """The words of a prompt: a subject's noun, and wordings by slot."""

    noun: str
    said: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, subject: str, pool: Pool) -> Scene:
        """Make the scene of a topic's subject alone: "old blond woman"."""
        noun, said = pool.split_subject(subject)
        return cls(noun, {slot: (word,) for slot, word in said.items()})

    def prompt(self, pool: Pool) -> str:
        """Return its prompt."""
        return pool.prompt(self.noun, self.said)

    def changed(self, change: Change, pool: Pool) -> Scene | None:
        """Return the scene after a change; None where it changes nothing or does not fit."""
        if change.slot == SUBJECT:
            *before, last = self.noun.split()
            if change.word is None or change.word == last:
                return None
            if any(one.only and one.name in self.said and change.word not in one.only
                   for one in pool.slots):  # fmt: skip
                return None
            return replace(self, noun=" ".join([*before, change.word]))
        slot = next(one for one in pool.slots if one.name == change.slot)
        own = self.said.get(slot.name, ())
        if change.word is None:
            concept = next(
                one for one in pool.concepts
                if (one.name, one.slot) == (change.concept, change.slot)
            )  # fmt: skip
            left = tuple(word for word in own if word not in concept.words)
            return None if left == own else self._with(slot.name, left)
        if change.word in own or (slot.only and self.noun.split()[-1] not in slot.only):
            return None
        if slot.exclusive:
            return self._with(slot.name, (change.word,))
        return None if len(own) >= slot.most else self._with(slot.name, (*own, change.word))

    def _with(self, slot: str, words: tuple[str, ...]) -> Scene:
        said = {**self.said, slot: words}
        return replace(self, said={name: found for name, found in said.items() if found})


def possible_changes(
    pool: Pool, topic: Topic, effects: Mapping[tuple[str, str], float] | None = None
) -> list[Change]:
    """Return the changes to try: of all concepts that do not belong to the class.

    effects: (slot, concept) to its effect on the class, of a screening; then only the concepts
    with the largest effects are tried.
    """
    concepts = [*pool.concepts, *pool.kinds]
    free = [one for one in concepts if not _belongs(one, topic)]
    if effects is not None:
        known = [one for one in free if (one.slot, one.name) in effects]
        free = sorted(known, key=lambda one: -abs(effects[one.slot, one.name]))[:_STRONGEST]
    nouns = {subject.split()[-1] for subject in topic.subjects}
    found = []
    for one in free:
        if one.slot == SUBJECT:
            # A kind that all subjects of the class are of, or none, is the class itself.
            own = [word for word in one.words if word in nouns]
            found += [Change(one.name, SUBJECT, word) for word in own if len(own) < len(nouns)]
            continue
        words = [word for word in one.words if not topic.is_named(word)]
        found += [Change(one.name, one.slot, word) for word in words[:_WORDINGS]]
        found.append(Change(one.name, one.slot, None))
    return found


def _belongs(concept: Concept, topic: Topic) -> bool:
    """Return True for a part of the class. A subject's kind is one only if it is core: words of
    all subjects are names of the class, and yet a man can become a woman."""
    words = concept.looks if concept.slot == SUBJECT else (*concept.words, *concept.looks)
    if any(topic.is_core(word) for word in words):
        return True
    return concept.slot != SUBJECT and any(look.lower() in topic.names for look in concept.looks)


@dataclass(frozen=True)
class Step:
    """A picture of the strip. change: from the picture before, None of the first.

    p: of the class, on the noise that is shown. flips: of the fresh noises on which the unchanged
    picture has the decision, those on which this one has not; None without such a noise.
    """

    prompt: str
    change: Change | None
    p: float
    hit: bool
    flips: Proportion | None = None
    mean: float = float("nan")
    """Mean p(class) over the fresh noises."""
    seen: Proportion | None = None
    """Of the pictures on the fresh noises, those in which the image-text model sees the change."""


@dataclass(frozen=True)
class Answer:
    """The answer to a question. hit: the decision at the start is the class. flipped: a change was
    found that flips it on the noise of the search. noises: fresh ones that it was checked on; kept:
    those of them on which the start has the same decision."""

    hit: bool
    flipped: bool
    seed: int
    steps: list[Step]
    noises: int
    kept: int

    @property
    def is_drawn(self) -> bool:
        """Return True unless some change is not seen in most of the pictures."""
        seen = [step.seen for step in self.steps if step.seen is not None]
        return all(2 * one.hits > one.n for one in seen)

    @property
    def changes(self) -> list[Change]:
        """Return the changes, in order."""
        return [step.change for step in self.steps if step.change is not None]


class NoStart(Exception):
    """No noise gives the start a decision that holds; ``held`` of ``tried`` noises did."""

    def __init__(self, held: int, tried: int) -> None:
        self.held, self.tried = held, tried


def noises(start: int, count: int) -> list[int]:
    """Return noises of what-ifs, behind those of the tests of claims."""
    return picture_seeds("evidence", stats.LOOKS[-1] + start, count)


@dataclass
class Question:
    """A classifier, a class, and the changes that may flip its decision.

    Args:
        witness: The classifier, and where its pictures come from.
        pool: The concepts and the grammar of the prompts.
        changes: Those to try.
        detector: Looks whether the changes were drawn; without one nothing is said of that.
        on_plan: Called with the number of pictures of the next part.
    """

    witness: Witness
    pool: Pool
    changes: Sequence[Change]
    detector: Detector | None = None
    on_plan: Callable[[int], None] = lambda pictures: None

    def choose(self, scenes: Sequence[Scene]) -> tuple[Scene, list[int], bool]:
        """Return a scene, noises that agree on its decision, and the decision.

        The scene that is of the class on most of `_TRIED` noises; where none is on at least
        `SEARCHED`, the first one, which is not.
        """
        seeds = noises(0, _TRIED)
        held = [self._held(scene, seeds, True) for scene in scenes[:_SUBJECTS]]
        best = max(range(len(held)), key=lambda at: len(held[at]))
        if len(held[best]) >= SEARCHED:
            return scenes[best], held[best][:SEARCHED], True
        others = [seed for seed in seeds if seed not in held[0]]
        return scenes[0], others[:SEARCHED], False

    def starts(self, scene: Scene, hit: bool) -> list[int]:
        """Return the noises of a search on which a scene has a decision; NoStart for too few."""
        seeds = noises(0, _TRIED)
        held = self._held(scene, seeds, hit)
        if 4 * len(held) < 3 * len(seeds):
            raise NoStart(len(held), len(seeds))
        return held[:SEARCHED]

    def _held(self, scene: Scene, seeds: Sequence[int], hit: bool) -> list[int]:
        _, hits = self._look([scene], seeds)
        return [seed for seed, found in zip(seeds, hits[0], strict=True) if found == hit]

    def answer(self, start: Scene, seeds: Sequence[int], hit: bool) -> Answer:
        """Search on the noises ``seeds``, on which the start has the decision ``hit``."""
        chosen, flipped = self._search(start, seeds, hit)
        if flipped:
            chosen = self._needed(start, chosen, seeds, hit)
        scenes = list(_course(start, chosen, self.pool))
        p, hits = self._look(scenes, seeds[:1])
        fresh = noises(_TRIED, CHECKED)
        of_fresh, hits_of_fresh = self._look(scenes, fresh)
        same = hits_of_fresh[0] == hit
        steps = []
        for at, scene in enumerate(scenes):
            gone = int((hits_of_fresh[at][same] != hit).sum())
            kept = int(same.sum())
            steps.append(
                Step(
                    scene.prompt(self.pool),
                    chosen[at - 1] if at else None,
                    float(p[at, 0]),
                    bool(hits[at, 0]),
                    Proportion(gone, kept, *stats.wilson_interval(gone, kept)) if kept else None,
                    float(of_fresh[at].mean()),
                    self._seen(chosen[at - 1], scene, fresh) if at else None,
                )
            )
        return Answer(hit, flipped, seeds[0], steps, len(fresh), int(same.sum()))

    def _seen(self, change: Change, scene: Scene, seeds: Sequence[int]) -> Proportion | None:
        if self.detector is None:
            return None
        prompt = scene.prompt(self.pool)
        hits = 0
        for _, images in self.witness.pictures.stream([(prompt, seed) for seed in seeds]):
            embeddings = self.detector.embed(images)
            looks = ConceptDetector(self.detector, self.pool)
            named = change.word if change.slot == SUBJECT and change.word else change.concept
            sees = looks.sees(named, embeddings)
            hits += int((~sees if change.word is None else sees).sum())
        return Proportion(hits, len(seeds), *stats.wilson_interval(hits, len(seeds)))

    def _search(self, start: Scene, seeds: Sequence[int], hit: bool) -> tuple[list[Change], bool]:
        """Add changes until the decision flips, none helps, or there are `MOST`."""
        chosen: list[Change] = []
        scene, sign = start, -1 if hit else 1
        p, _ = self._look([scene], seeds)
        reached = sign * log_odds(p).mean()
        while len(chosen) < MOST:
            taken = {(one.slot, one.concept) for one in chosen}
            taken |= {(one.slot, "") for one in chosen if self._is_exclusive(one.slot)}
            options = [
                (change, after)
                for change in self.changes
                if not {(change.slot, change.concept), (change.slot, "")} & taken
                and (after := scene.changed(change, self.pool)) is not None
            ]
            if not options:
                break
            p, _ = self._look([after for _, after in options], seeds[:1])
            order = np.argsort(-sign * log_odds(p)[:, 0], kind="stable")[:_BEST]
            options = [options[at] for at in order]
            p, hits = self._look([after for _, after in options], seeds)
            gains = sign * log_odds(p).mean(axis=1)
            best = int(np.argmax(gains))
            if gains[best] < reached + _GAIN:
                break
            change, scene = options[best]
            chosen.append(change)
            reached = gains[best]
            if _is_flipped(hits[best], hit):
                return chosen, True
        return chosen, False

    def _needed(
        self, start: Scene, chosen: list[Change], seeds: Sequence[int], hit: bool
    ) -> list[Change]:
        """Take back each change without which the decision flips as well."""
        for change in list(chosen[:-1]):
            left = [one for one in chosen if one is not change]
            *_, scene = _course(start, left, self.pool)
            _, hits = self._look([scene], seeds)
            if _is_flipped(hits[0], hit):
                chosen = left
        return chosen

    def _is_exclusive(self, slot: str) -> bool:
        return slot == SUBJECT or any(one.exclusive for one in self.pool.slots if one.name == slot)

    def _look(
        self, scenes: Sequence[Scene], seeds: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return p(class) and whether the decision is the class, (scenes, seeds)."""
        requests: list[Request] = [
            (scene.prompt(self.pool), seed) for scene in scenes for seed in seeds
        ]
        self.on_plan(len(requests))
        self.witness.look(requests)
        shape = len(scenes), len(seeds)
        return (
            self.witness.probabilities(requests).reshape(shape),
            self.witness.hits(requests).reshape(shape),
        )


def _course(start: Scene, changes: Sequence[Change], pool: Pool) -> Iterator[Scene]:
    """Yield the start, and the scene after each of the changes."""
    scene = start
    yield scene
    for change in changes:
        scene = scene.changed(change, pool) or scene
        yield scene


def _is_flipped(hits: NDArray[np.bool_], hit: bool) -> bool:
    """Return True if the decision changed on the noise that is shown and on more than half."""
    changed = hits != hit
    return bool(changed[0]) and 2 * int(changed.sum()) > len(changed)


class Fits(Protocol):
    """An image-text model that says how well words fit pictures."""

    def embed(self, images: Images) -> Embeddings:
        """Return embeddings (B, D) of pictures (B, H, W, 3)."""

    def fit(self, concept: str, embeddings: Embeddings) -> Any:
        """Return how much better a concept fits each picture than none does, (B,)."""


class NotSeen(Exception):
    """The image-text model sees none of the subjects; ``noun`` fits best, by ``fit``."""

    def __init__(self, noun: str, fit: float) -> None:
        self.noun, self.fit = noun, fit


def described(picture: NDArray[np.uint8], pool: Pool, topic: Topic, detector: Fits) -> Scene:
    """Return the words of a picture (H, W, 3), as the image-text model sees it; NotSeen for one
    that shows none of the subjects.

    The noun is the one of the subjects of the class and its rivals that fits best. In a slot of
    which a picture shows one concept, the best that fits better than no word; elsewhere as many
    such as the slot has room for.
    """
    embedded = detector.embed(picture[None])

    def fit(look: str) -> float:
        return float(detector.fit(look, embedded)[0])

    nouns = dict.fromkeys(
        pool.split_subject(subject)[0] for subject in (*topic.subjects, *topic.rivals)
    )
    noun = max(nouns, key=fit)
    if (best := fit(noun)) <= 0:
        raise NotSeen(noun, best)
    said = {}
    for slot in pool.slots:
        if slot.only and noun.split()[-1] not in slot.only:
            continue
        found: list[tuple[float, str]] = []
        for concept in (one for one in pool.concepts if one.slot == slot.name):
            words = concept.words if set(concept.words) <= set(concept.looks) else concept.looks
            fits = [fit(word) for word in words]
            place = int(np.argmax(fits))
            if fits[place] > 0:
                word = words[place] if words[place] in concept.words else concept.words[0]
                found.append((fits[place], word))
        found.sort(reverse=True)
        if found:
            said[slot.name] = tuple(word for _, word in found[: slot.most])
    return Scene(noun, said)
