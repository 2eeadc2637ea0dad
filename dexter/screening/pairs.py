"""Pairs of pictures that test a screening's finding: a prompt with the concept and without.

In an exclusive slot the prompt without it names another concept of the slot, as the screening's
effect is this place against the other places named. Its placebos are swaps of the slot's other
concepts. Pairs are worded by the grammar of the concept pool, over all wordings of the concept, and
their noise is of the range for evidence, which no screening sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dexter import stats
from dexter.generation.bank import Images
from dexter.reasoning.claims import OWN, RIVALS, Candidate
from dexter.reasoning.detection import Detector, Embeddings
from dexter.reasoning.evidence import Layout, Pair
from dexter.reasoning.topic import Topic
from dexter.screening.concepts import SUBJECT, Concept, Pool, Slot
from dexter.screening.drawn import presence
from dexter.seeds import picture_seeds

_KINDS = {"after": "background", "beside": "item", "end": "item", "medium": "item"}
_BESIDE = Slot("with", exclusive=False, position="beside")
"""The slot of words that a pool lacks."""
_ENOUGH = 5
"""Other concepts of a slot that show by themselves how much a swap does."""


def paired(candidate: Candidate, pool: Pool) -> Candidate:
    """Return a finding as a candidate of the evidence, whose slot says how placebos are worded."""
    return replace(candidate, slot=_slot_of_evidence(pool, candidate.slot))


def with_words(pool: Pool, words: Sequence[Candidate]) -> tuple[Pool, list[Candidate]]:
    """Return a pool that can word these candidates too, and the candidates by its names.

    A word of one of the pool's concepts stands for that concept. Another is named beside the
    subject, as in the prompts of a search.
    """
    concepts, found = list(pool.concepts), []
    for word in words:
        concept = next((c for c in (*concepts, *pool.kinds) if _says(c, word.concept)), None)
        if concept is None:
            concept = Concept(word.concept, _BESIDE.name, (word.concept,), (word.concept,))
            concepts.append(concept)
        found.append(replace(word, concept=concept.name, slot=concept.slot))
    slots = pool.slots if _BESIDE.name in pool_slots(pool) else (*pool.slots, _BESIDE)
    return replace(pool, slots=slots, concepts=tuple(concepts)), found


def _says(concept: Concept, word: str) -> bool:
    return word in (concept.name, *concept.words, *concept.looks)


def pool_slots(pool: Pool) -> dict[str, Slot]:
    """Return the slots of a pool by name."""
    return {slot.name: slot for slot in pool.slots}


def _slot_of_evidence(pool: Pool, name: str) -> str:
    if name in (SUBJECT, "background", "item"):
        return name
    return _KINDS.get(pool_slots(pool)[name].position, name)


class PoolLayout(Layout):
    """A layout that alternates between the subjects of a class and those of its rivals, and takes
    turns with their wordings."""

    def __init__(self, topic: Topic, pool: Pool) -> None:
        self._topic = topic
        self._pool = pool
        self._subjects = {
            context: [pool.split_subject(subject) for subject in subjects]
            for context, subjects in ((OWN, topic.subjects), (RIVALS, topic.rivals))
        }
        self._seeds = picture_seeds("evidence", 0, stats.LOOKS[-1])
        self._concepts = {
            (_slot_of_evidence(pool, concept.slot), concept.name): concept
            for concept in (*pool.kinds, *reversed(pool.concepts))
        }

    def pairs(self, concept: str, slot: str, count: int) -> list[Pair]:
        """Return the first ``count`` pairs, fewer where a context has no subject for them."""
        found = []
        asked = self._concepts[slot, concept]
        words = self._wordings(asked)
        for i, seed in enumerate(self._seeds[:count]):
            context = (OWN, RIVALS)[i % 2]
            subjects = [one for one in self._subjects[context] if self._can_have(asked, *one)]
            if subjects:
                noun, said = subjects[i // 2 % len(subjects)]
                word = words[i // 2 // len(subjects) % len(words)]
                treated = self._treated(asked, noun, said, word)
                control = self._prompt(noun, said | self._instead(asked, i // 2))
                found.append(Pair(context, (control, seed), (treated, seed)))
        return found

    def _wordings(self, concept: Concept) -> Sequence[str]:
        """Return the wordings of a concept that pairs use: those that do not name the class.

        Of a kind, they are the subjects that belong to it, as in the screening. Another of its
        words may be a thing that is never seen so: where old men and women are the subjects, a
        picture of an old boy shows a boy, and the age changes along with the kind.
        """
        if concept.slot == SUBJECT:
            nouns = {noun.split()[-1] for own in self._subjects.values() for noun, _ in own}
            own_words = [word for word in concept.words if word in nouns]
        else:
            own_words = [word for word in concept.words if self._is_free(word)]
        return own_words or concept.words

    def can_test(self, concept: Concept) -> bool:
        """Return True if a subject of the class or of a rival can have the concept."""
        nouns = [one for subjects in self._subjects.values() for one in subjects]
        return any(self._can_have(concept, *one) for one in nouns)

    def swaps(self, concept: str, slot: str, count: int) -> list[list[tuple[str, str]]]:
        """Return the other concepts of an exclusive slot; where they are fewer than 5, so that one
        or two that matter would leave too few, also those of the other exclusive slots."""
        asked = self._concepts[slot, concept]
        exclusive = [own.name for own in self._pool.slots if own.exclusive]
        if asked.slot not in (SUBJECT, *exclusive):
            return []
        own = self._others(asked, asked.slot)[:count]
        elsewhere = [self._others(asked, name) for name in exclusive if name != asked.slot]
        return [own, *([] if len(own) >= _ENOUGH else (other[:count] for other in elsewhere))]

    def _others(self, asked: Concept, slot: str) -> list[tuple[str, str]]:
        """Return the concepts of a slot that a subject can have, but for the one asked for."""
        named = _slot_of_evidence(self._pool, slot)
        return [
            (named, other.name)
            for other in self._pool.concepts
            if other.slot == slot
            and other is not asked
            and all(map(self._is_free, other.words))
            and self.can_test(other)
        ]

    def _instead(self, asked: Concept, index: int) -> dict[str, str]:
        """Return what the control of a context's pair at ``index`` names in place of the concept:
        in an exclusive slot another wording, all equally often, elsewhere nothing.

        Concepts of a slot share most controls: each takes the first wording that is not its own.
        """
        if asked.slot == SUBJECT or not pool_slots(self._pool)[asked.slot].exclusive:
            return {}
        words = [word for word in self._pool.words[asked.slot] if self._is_free(word)]
        turn, first = divmod(index, max(1, len(words)))
        order = np.roll(np.random.default_rng(turn).permutation(len(words)), -first)
        other = next((words[at] for at in order if words[at] not in asked.words), None)
        return {} if other is None else {asked.slot: other}

    def _is_free(self, word: str) -> bool:
        """Return True for a wording that does not name the class."""
        return not set(word.split()) & self._topic.names

    def _can_have(self, concept: Concept, noun: str, said: dict[str, str]) -> bool:
        if concept.slot == SUBJECT:
            return noun.split()[-1] not in concept.words
        slot = pool_slots(self._pool)[concept.slot]
        return slot.name not in said and (not slot.only or noun.split()[-1] in slot.only)

    def _prompt(self, noun: str, said: dict[str, str]) -> str:
        return self._pool.prompt(noun, {slot: (word,) for slot, word in said.items()})

    def _treated(self, concept: Concept, noun: str, said: dict[str, str], word: str) -> str:
        if concept.slot == SUBJECT:
            return self._prompt(" ".join([*noun.split()[:-1], word]), said)
        return self._prompt(noun, {**said, concept.slot: word})


class ConceptDetector:
    """A detector of a pool's concepts: each is seen if one of its names is."""

    def __init__(self, detector: Detector, pool: Pool) -> None:
        self._detector = detector
        self._looks = {c.name: c.looks for c in (*pool.kinds, *reversed(pool.concepts))}
        self.name = detector.name

    def embed(self, images: Images) -> Embeddings:
        """Return embeddings (B, D) of pictures (B, H, W, 3)."""
        return self._detector.embed(images)

    def sees(self, concept: str, embeddings: Embeddings) -> NDArray[np.bool_]:
        """Return True for each picture that shows the concept, (B,)."""
        looks = self._looks.get(concept, (concept,))
        seen: NDArray[np.bool_] = np.any(
            [self._detector.sees(look, embeddings) for look in looks], axis=0
        )
        return seen

    def presence(self, concept: str, embeddings: Embeddings) -> NDArray[np.float64]:
        """Return the probability that each picture shows the concept, (B,)."""
        return presence(self._detector, self._looks.get(concept, (concept,)), embeddings)
