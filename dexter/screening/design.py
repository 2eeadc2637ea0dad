"""A randomised factorial design: prompts that vary many concepts at once over the contexts.

The contexts, subjects of the class and subjects of its rivals, take turns. In every prompt each
slot draws its wording from a deck of its own (a shuffled list of all wordings, renewed when it is
empty), so wordings are balanced and slots are independent of each other. A round is a function of
(pool, topic, seed, round, weights): planned again, it is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from dexter.reasoning.claims import OWN, RIVALS
from dexter.reasoning.topic import Topic
from dexter.screening.concepts import SUBJECT, Pool, Slot
from dexter.seeds import picture_seeds

T = TypeVar("T")

_ROOM = 2**16
"""Pictures of one design, so that designs of other seeds share no noise."""
FRESH = 128
"""The last of them, which no screening sees."""
MOST_PICTURES = _ROOM - FRESH
"""Pictures of a screening."""
SEEDS = 64
"""Designs that the range of seeds has room for."""


@dataclass(frozen=True)
class Cell:
    """A picture of the design. said: slot to wordings; that of the subject is its noun."""

    prompt: str
    seed: int
    context: str
    said: Mapping[str, tuple[str, ...]]

    @property
    def request(self) -> tuple[str, int]:
        """Return the picture's prompt and seed."""
        return self.prompt, self.seed


@dataclass(frozen=True)
class Round:
    """A part of the design: pictures ``start`` to ``start + count``.

    weights: concept name to how often it is drawn, relative to the others of its slot (default 1).
    """

    start: int
    count: int
    weights: Mapping[str, float] = field(default_factory=dict)


class Design:
    """Plans the rounds of a screening of one topic."""

    def __init__(self, pool: Pool, topic: Topic, *, seed: int = 0) -> None:
        self.pool = pool
        self.topic = topic
        self._seed = seed
        self._subjects = {
            context: [pool.split_subject(subject) for subject in subjects]
            for context, subjects in ((OWN, topic.subjects), (RIVALS, topic.rivals))
        }

    @property
    def columns(self) -> int:
        """Return the number of wordings and subjects that a prompt of this topic can name."""
        return len(self._nouns) + self.wordings

    @property
    def wordings(self) -> int:
        """Return the number of wordings that a prompt of this topic can name."""
        applies = self.pool.applies
        slots = [s for s in self.pool.slots if any(applies(s, noun) for noun in self._nouns)]
        return sum(len(self._words(slot, {})) for slot in slots)

    @property
    def _nouns(self) -> set[str]:
        return {noun for subjects in self._subjects.values() for noun, _ in subjects}

    def cells(self, part: Round) -> list[Cell]:
        """Return the cells of a round."""
        rng = np.random.default_rng((self._seed, part.start))
        seeds = picture_seeds("screening", self._seed * _ROOM + part.start, part.count)
        decks: dict[tuple[str, str], _Deck[str]] = {}
        subjects = {
            context: _Deck(dict.fromkeys(range(len(found)), 1.0), rng)
            for context, found in self._subjects.items()
        }
        words = {slot.name: self._words(slot, part.weights) for slot in self.pool.slots}
        alone = {slot for slot, own in words.items() if self._are_one(slot, own)}
        found = []
        for index, seed in enumerate(seeds):
            context = (OWN, RIVALS)[(part.start + index) % 2]
            noun, given = self._subjects[context][subjects[context].draw()]
            said: dict[str, tuple[str, ...]] = {
                SUBJECT: (noun,),
                **{slot: (word,) for slot, word in given.items()},
            }
            room = self.pool.per_prompt
            for at in rng.permutation(len(self.pool.slots)):
                slot = self.pool.slots[at]
                if slot.name in given or not self.pool.applies(slot, noun):
                    continue
                count = _how_many(slot, room, rng, alone=slot.name in alone)
                if not count or not any(words[slot.name].values()):
                    continue
                deck = decks.get((context, slot.name))
                if deck is None:
                    deck = decks[context, slot.name] = _Deck(words[slot.name], rng)
                words_said = deck.several(count)
                if words_said:
                    said[slot.name] = words_said
                    room -= len(words_said)
            prompt = self.pool.prompt(noun, {s: w for s, w in said.items() if s != SUBJECT})
            found.append(Cell(prompt, seed, context, said))
        return found

    def _are_one(self, slot: str, words: Iterable[str]) -> bool:
        return len({self.pool.by_word[slot, word] for word in words}) == 1

    def _words(self, slot: Slot, weights: Mapping[str, float]) -> dict[str, float]:
        by_word = self.pool.by_word
        return {
            word: weights.get(by_word[slot.name, word], 1.0)
            for word in self.pool.words[slot.name]
            if not self.topic.is_named(word)
        }


def _how_many(slot: Slot, room: int, rng: np.random.Generator, *, alone: bool) -> int:
    named = bool(rng.random() < slot.share)
    # What has no other concept to be compared with is compared with none.
    wanted = 1 if slot.exclusive and not alone else int(rng.integers(0, slot.most + 1))
    return min(room, wanted) if named else 0


class _Deck(Generic[T]):
    """A shuffled list that is renewed when it is empty; a weight is the probability that an entry
    is in it at all."""

    def __init__(self, entries: Mapping[T, float], rng: np.random.Generator) -> None:
        self._entries = list(entries.items())
        self._rng = rng
        self._left: list[T] = []

    def draw(self) -> T:
        """Draw one entry."""
        while not self._left:
            order = self._rng.permutation(len(self._entries))
            kept = self._rng.random(len(order))
            self._left = [
                self._entries[i][0]
                for i, u in zip(order, kept, strict=True)
                if u < self._entries[i][1]
            ]
        return self._left.pop()

    def several(self, count: int) -> tuple[T, ...]:
        """Draw up to this number of entries, no two alike."""
        return tuple(dict.fromkeys(self.draw() for _ in range(count)))
