"""Pairs of pictures that test a concept: a prompt with it, and the same prompt without it.

Both prompts also name the same other concepts, drawn at random from the other slots, as the prompts
of a screening do. What a prompt leaves open, the generator fills in, and it may do so differently
when a word is added: where only "a gift" is said, the place can change along with it. With the rest
named, the effect is that of the concept, and not of what the generator draws by habit.

In an exclusive slot the prompt without the concept names another concept of the slot, as the
screening's effect is this place against the other places named; its placebos are swaps of the
slot's other concepts. Pairs are worded by the grammar of a concept pool, over all wordings of the
concept, and their noise is of the range for evidence, which no search and no screening sees.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from dexter import stats
from dexter.generation.bank import Images
from dexter.reasoning.claims import OWN, RIVALS, Candidate
from dexter.reasoning.detection import Detector, Embeddings
from dexter.reasoning.evidence import Layout, Pair, Place
from dexter.reasoning.topic import PLACEBO_WORDS, Topic
from dexter.screening.concepts import SUBJECT, Concept, Pool, Slot
from dexter.screening.drawn import presence
from dexter.seeds import picture_seeds

_BESIDE = Slot("with", exclusive=False, position="beside")
"""The slot of words that a pool lacks."""
_ENOUGH = 5
"""Other concepts of a slot that show by themselves how much a swap does."""

Said = dict[str, tuple[str, ...]]
"""Slot to wordings."""


def worded(pool: Pool, words: Sequence[Candidate]) -> tuple[list[Concept], list[Candidate]]:
    """Return concepts for the words that a pool lacks, and all candidates in their slots.

    The name of a concept of the pool stands for it in all its wordings. One of its words alone is a
    concept of the same slot. A word that the pool does not know is named beside the subject, as in
    the prompts of a search.
    """
    names = {concept.name: concept for concept in (*pool.kinds, *reversed(pool.concepts))}
    own, found = [], []
    for word in words:
        concept = names.get(word.concept)
        if concept is None:
            concept = _of_word(pool, word.concept)
            own.append(concept)
        found.append(replace(word, slot=concept.slot))
    return own, found


def _of_word(pool: Pool, word: str) -> Concept:
    for like in (*pool.concepts, *pool.kinds):
        if word in (*like.words, *like.looks):
            wordings = (word,) if word in like.words else like.words
            return Concept(word, like.slot, wordings, (word,))
    return Concept(word, _BESIDE.name, (word,), (word,))


def pool_slots(pool: Pool) -> dict[str, Slot]:
    """Return the slots of a pool by name."""
    return {slot.name: slot for slot in pool.slots}


class PoolLayout(Layout):
    """A layout that alternates between the subjects of a class and those of its rivals, and takes
    turns with their wordings.

    Args:
        topic: The class, its subjects and its rivals.
        pool: The concepts that pairs test, those that both prompts name, and the placebos.
        words: More concepts to test, of `worded`.
        known: Returns True for a word that the generator can encode.
    """

    def __init__(
        self,
        topic: Topic,
        pool: Pool,
        words: Sequence[Concept] = (),
        *,
        known: Callable[[str], bool] = lambda word: True,
    ) -> None:
        if _BESIDE.name not in pool_slots(pool):
            pool = replace(pool, slots=(*pool.slots, _BESIDE))
        self._topic = topic
        self._pool = pool
        self._known = cache(known)  # a tokenizer is slow
        self._slots = pool_slots(pool)
        self._subjects = {
            context: [pool.split_subject(subject) for subject in subjects]
            for context, subjects in ((OWN, topic.subjects), (RIVALS, topic.rivals))
        }
        self._seeds = picture_seeds("evidence", 0, stats.LOOKS[-1])
        self._concepts = {(c.slot, c.name): c for c in words} | {**pool.by_name}
        self._free = {
            slot: [word for word in of_slot if self._is_free(word)]
            for slot, of_slot in pool.words.items()
        }
        self._made: dict[Concept, list[tuple[int, Pair]]] = {}
        self._plans: dict[int, list[tuple[int, int]]] = {}

    def pairs(self, concept: str, slot: str, count: int) -> list[Pair]:
        """Return the first ``count`` pairs, fewer where a context has no subject for them."""
        asked = self._concept(concept, slot)
        if asked not in self._made:
            self._made[asked] = list(self._every(asked))
        return [pair for index, pair in self._made[asked] if index < count]

    def _every(self, asked: Concept) -> Iterator[tuple[int, Pair]]:
        words, kin = self._wordings(asked), self._kin(asked)
        for i, seed in enumerate(self._seeds):
            context = (OWN, RIVALS)[i % 2]
            subjects = [one for one in self._subjects[context] if self._can_have(asked, *one)]
            if subjects:
                noun, given = subjects[i // 2 % len(subjects)]
                word = words[i // 2 // len(subjects) % len(words)]
                with_it = noun if asked.slot != SUBJECT else " ".join([*noun.split()[:-1], word])
                said = self._shared(asked, kin, (noun, with_it), i // 2)
                said |= {slot: (own,) for slot, own in given.items()}
                without = self._pool.prompt(noun, said)
                if asked.slot != SUBJECT:
                    beside = () if self._slots[asked.slot].exclusive else said.get(asked.slot, ())
                    said[asked.slot] = (word, *beside)
                treated = self._pool.prompt(with_it, said)
                yield i, Pair(context, (without, seed), (treated, seed))

    def _concept(self, concept: str, slot: str) -> Concept:
        """Return a concept, as a word beside the subject if no subject can have it otherwise."""
        known = self._concepts.get((slot, concept))
        if known is None or (known.slot != SUBJECT and not self.can_test(known)):
            return Concept(concept, _BESIDE.name, (concept,), (concept,))
        return known

    def _shared(
        self, asked: Concept, kin: Collection[str], nouns: Sequence[str], index: int
    ) -> Said:
        """Return what both prompts of a pair at ``index`` name besides; in the concept's own slot
        it is what the prompt without it names, in its place if the slot is exclusive.

        A slot's wordings are named equally often. All concepts share what they can: each only takes
        the next wording where one is its own.
        """
        said: Said = {}
        room = self._pool.per_prompt - 1
        for at, most in self._plan(index):
            slot = self._pool.slots[at]
            own = slot.name == asked.slot
            in_place = own and slot.exclusive
            count = 1 if in_place else min(room, most, slot.most - own)
            if not count or not all(self._pool.applies(slot, noun) for noun in nouns):
                continue
            others = (word for word in self._order(at, index) if word not in kin)
            if found := tuple(islice(others, count)):
                said[slot.name] = found
                room -= 0 if in_place else len(found)
        return said

    def _plan(self, index: int) -> list[tuple[int, int]]:
        """Return the slots in the order in which they find room, and how many each names."""
        if index not in self._plans:
            rng, plan = np.random.default_rng(index), []
            for at in rng.permutation(len(self._pool.slots)).tolist():
                slot = self._pool.slots[at]
                most = 1 if slot.exclusive else int(rng.integers(max(2, slot.most)))
                plan.append((at, most * (rng.random() < slot.share)))
            self._plans[index] = plan
        return self._plans[index]

    def _order(self, at: int, index: int) -> Iterator[str]:
        """Yield the wordings of the slot ``at``, each the first of as many indices as any other."""
        words = self._free[self._pool.slots[at].name]
        turn, first = divmod(index, max(1, len(words)))
        order = _shuffled(turn, at, len(words))
        return (words[order[(first + k) % len(words)]] for k in range(len(words)))

    def _kin(self, asked: Concept) -> frozenset[str]:
        """Return the wordings of a concept and of those of its slot that share one with it."""
        own = set(asked.words)
        like = (c for c in self._pool.concepts if c.slot == asked.slot and own & {*c.words})
        return frozenset(own.union(*(concept.words for concept in like)))

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

    def swaps(self, concept: str, slot: str, count: int) -> list[list[Place]]:
        """Return the other concepts of an exclusive slot; where they are fewer than 5, so that one
        or two that matter would leave too few, also those of the other exclusive slots."""
        asked = self._concept(concept, slot)
        exclusive = [own.name for own in self._pool.slots if own.exclusive]
        if asked.slot not in (SUBJECT, *exclusive):
            return []
        own = self._others(asked, asked.slot)[:count]
        elsewhere = [self._others(asked, name) for name in exclusive if name != asked.slot]
        return [own, *([] if len(own) >= _ENOUGH else (other[:count] for other in elsewhere))]

    def placebos(self, concept: str, slot: str) -> list[Place]:
        """Return what pictures can show besides: concepts of the same slot, if it is not exclusive,
        then of others like it, then things of a fixed list."""
        asked = self._concept(concept, slot)
        slots = [own.name for own in self._pool.slots if not own.exclusive]
        slots.sort(key=lambda name: name != asked.slot)
        things = [word for word in PLACEBO_WORDS if self._is_free(word)]
        found = [own for name in slots for own in self._others(asked, name)]
        named = {name for _, name in (*found, (asked.slot, asked.name))}
        return [*found, *((_BESIDE.name, word) for word in things if word not in named)]

    def _others(self, asked: Concept, slot: str) -> list[Place]:
        """Return the concepts of a slot that a subject can have, but for the one asked for."""
        own_words = self._kin(asked) if slot == asked.slot else frozenset()
        return [
            (slot, other.name)
            for other in self._pool.concepts
            if other.slot == slot
            and not own_words & {*other.words}
            and all(map(self._is_free, other.words))
            and self.can_test(other)
        ]

    def _is_free(self, word: str) -> bool:
        """Return True for a wording that the generator can encode and that names no class."""
        return not self._topic.is_named(word) and all(map(self._known, word.split()))

    def _can_have(self, concept: Concept, noun: str, given: dict[str, str]) -> bool:
        if concept.slot == SUBJECT:
            return noun.split()[-1] not in concept.words
        slot = self._slots[concept.slot]
        return slot.name not in given and self._pool.applies(slot, noun)


@cache
def _shuffled(turn: int, at: int, count: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng((turn, at)).permutation(count).tolist())


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
