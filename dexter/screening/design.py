"""A randomised factorial design: prompts that vary many concepts at once over the contexts.

The contexts, subjects of the class and subjects of its rivals, take turns. In every prompt each
slot draws its wording from a deck of its own (a shuffled list of all wordings, renewed when it is
empty), so wordings are balanced and slots are independent of each other. A round is a function of
(pool, topic, seed, round, weights): planned again, it is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dexter.reasoning.claims import OWN, RIVALS
from dexter.reasoning.topic import Topic
from dexter.screening.concepts import SUBJECT, Pool, Slot
from dexter.seeds import picture_seeds


@dataclass(frozen=True)
class Cell:
    """One picture of the design. said: slot to wordings; that of the subject is its noun."""

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

    def cells(self, part: Round) -> list[Cell]:
        """Return the cells of a round."""
        rng = np.random.default_rng((self._seed, part.start))
        seeds = picture_seeds("screening", self._seed * 2**16 + part.start, part.count)
        decks: dict[tuple[str, str], _Deck] = {}
        subjects = {
            context: _Deck(range(len(found)), rng) for context, found in self._subjects.items()
        }
        found = []
        for index, seed in enumerate(seeds):
            context = (OWN, RIVALS)[(part.start + index) % 2]
            noun, given = self._subjects[context][subjects[context].draw()]
            said = {SUBJECT: (noun,), **{slot: (word,) for slot, word in given.items()}}
            room = self.pool.per_prompt
            for at in rng.permutation(len(self.pool.slots)):
                slot = self.pool.slots[at]
                if slot.name in given or not _applies(slot, noun):
                    continue
                count = _how_many(slot, room, rng)
                if not count:
                    continue
                deck = decks.get((context, slot.name))
                if deck is None:
                    words = self._words(slot, noun, part.weights)
                    deck = decks[context, slot.name] = _Deck(words, rng, words.values())
                words_said = deck.several(count)
                if words_said:
                    said[slot.name] = words_said
                    room -= len(words_said)
            prompt = self.pool.prompt(noun, {s: w for s, w in said.items() if s != SUBJECT})
            found.append(Cell(prompt, seed, context, said))
        return found

    def _words(self, slot: Slot, noun: str, weights: Mapping[str, float]) -> dict[str, float]:
        by_word = self.pool.by_word
        return {
            word: weights.get(by_word[slot.name, word], 1.0)
            for word in self.pool.words[slot.name]
            if not set(word.split()) & self.topic.names
        }


def _applies(slot: Slot, noun: str) -> bool:
    return not slot.only or noun.split()[-1] in slot.only


def _how_many(slot: Slot, room: int, rng: np.random.Generator) -> int:
    named = bool(rng.random() < slot.share)
    wanted = 1 if slot.exclusive else int(rng.integers(0, slot.most + 1))
    return min(room, wanted) if named else 0


class _Deck:
    """A shuffled list that is renewed when it is empty; a weight is the probability that an entry
    is in it at all."""

    def __init__(self, entries: object, rng: np.random.Generator, weights: object = None) -> None:
        self._entries = list(entries)  # type: ignore[call-overload]
        self._weights = [1.0] * len(self._entries) if weights is None else list(weights)  # type: ignore[call-overload]
        self._rng = rng
        self._left: list[object] = []

    def draw(self):  # type: ignore[no-untyped-def]
        while not self._left:
            self._left = [
                self._entries[i]
                for i in self._rng.permutation(len(self._entries))
                if self._rng.random() < self._weights[i]
            ]
        return self._left.pop()

    def several(self, count: int) -> tuple[str, ...]:
        """Draw entries that differ."""
        found: list[str] = []
        for _ in range(count):
            word = self.draw()
            if word not in found:
                found.append(word)
        return tuple(found)
