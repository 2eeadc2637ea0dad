"""The history of word tuples and their losses."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

Words = tuple[int, ...]
"""The words of a prompt: one index into the vocabulary per mask."""


class TupleHistory:
    """The running mean loss of every tried tuple of words; the best tuple is a run's answer.

    Most tuples are tried once, and one lucky picture is weak evidence. A tuple's mean is therefore
    shrunk, by TUPLE_PRIOR pictures, towards the results of its words in other tuples: the mean of
    all pictures plus, for each mask, the word's own deviation from it. That deviation is shrunk
    towards 0 by WORD_PRIOR pictures; a picture with the word in another mask has the weight
    ELSEWHERE. A word that does well with many others is found long before any of its tuples has
    been tried twice.
    """

    TUPLE_PRIOR = 1.0
    WORD_PRIOR = 2.0
    ELSEWHERE = 0.5
    MOST_KNOWN = 8.0
    """Pictures that what is known of a word before counts as, at most: the search can unlearn what
    other prompts and wordings taught."""

    def __init__(self, known: Mapping[int, tuple[float, float]] | None = None) -> None:
        """Start from what is ``known`` of words: how they change the loss, with standard errors.

        It guides `explore` alone. The answer rests on the pictures of the search.
        """
        self._known = dict(known or {})
        self._sums: dict[Words, tuple[float, int]] = {}
        self._by_word: list[dict[int, tuple[float, int]]] = []
        self._total = 0.0
        self._squares = 0.0
        self._count = 0

    def update(self, words: Words, loss: float) -> None:
        """Record one picture."""
        total, n = self._sums.get(words, (0.0, 0))
        self._sums[words] = (total + loss, n + 1)
        self._by_word = self._by_word or [{} for _ in words]
        for by_word, word in zip(self._by_word, words, strict=True):
            total, n = by_word.get(word, (0.0, 0))
            by_word[word] = (total + loss, n + 1)
        self._total += loss
        self._squares += loss * loss
        self._count += 1

    def best(self, count: int = 1) -> list[Words]:
        """Return ``count`` tuples with the lowest shrunk mean, best first (ties: older first)."""
        effects = self._effects()
        mean = self._total / max(self._count, 1)

        def shrunk(words: Words) -> float:
            total, n = self._sums[words]
            prior = mean + sum(by_word[word] for by_word, word in zip(effects, words, strict=True))
            return (total + self.TUPLE_PRIOR * prior) / (n + self.TUPLE_PRIOR)

        return heapq.nsmallest(count, self._sums, key=shrunk)

    def joined(self) -> Words:
        """Return the best word per mask, assigned by strength; possibly never tried together."""
        chosen: dict[int, int] = {}
        effects = [(e, k, w) for k, own in enumerate(self._effects()) for w, e in own.items()]
        for again in (False, True):  # repeat a word only if there are too few
            for _, mask, word in sorted(effects):
                if mask not in chosen and (again or word not in chosen.values()):
                    chosen[mask] = word
        return tuple(chosen[mask] for mask in sorted(chosen))

    def explore(self, count: int, log_p: Tensor, rng: torch.Generator) -> Tensor:
        """Choose words to explore, (count, M): per mask, with equal odds, by novelty or by promise.

        Novelty: one of the least tried words, drawn from the policy ``log_p`` (M, V). Promise:
        Thompson sampling (Thompson 1933) of the words' deviations. The policy alone keeps to words
        that it already prefers: where its start is peaked, it may never try the one word of a
        hundred that matters.

        A word that is known before has its deviation from the first picture on. An effect with
        standard error e counts as spread² / e² pictures of the word, where spread is the standard
        deviation of all losses.
        """
        masks, size = log_p.shape
        mean = self._total / max(self._count, 1)
        spread = math.sqrt(max(self._squares / max(self._count, 1) - mean * mean, 0.0))
        before = {
            word: (effect, min((spread / error) ** 2, self.MOST_KNOWN))
            for word, (effect, error) in self._known.items()
        }
        effects = torch.full((masks, size), math.inf)
        for mask, own in enumerate(self._effects(before)):
            effects[mask, list(own)] = torch.tensor(list(own.values()))
        tries, worth = torch.zeros(size), torch.full((size,), self.WORD_PRIOR)
        for by_word in self._by_word:
            for word, (_, n) in by_word.items():
                tries[word] += n
        for word, (_, pictures) in before.items():
            worth[word] += pictures
        rows = torch.empty(count, masks, dtype=torch.int64)
        for row in rows:
            taken = torch.zeros(size, dtype=torch.bool)
            for mask in range(masks):
                best = bool(torch.rand((), generator=rng) < 0.5) and self._count > 0
                if best:
                    doubt = spread / (tries + worth).sqrt()
                    value = effects[mask] + doubt * torch.randn(size, generator=rng)
                else:
                    fewest = tries == tries[~taken].min()
                    draw = log_p[mask] - torch.empty(size).exponential_(generator=rng).log()
                    value = -draw.masked_fill(~fewest, -math.inf)
                chosen = int(value.masked_fill(taken, math.inf).argmin())
                row[mask] = chosen
                tries[chosen] += 1
                taken[chosen] = size > masks
        return rows

    def _effects(
        self, before: Mapping[int, tuple[float, float]] = MappingProxyType({})
    ) -> list[dict[int, float]]:
        """Return, per mask, the shrunk effect on the mean loss of each word that was tried, or is
        known ``before``: an effect, and the number of pictures that it counts as."""
        mean = self._total / max(self._count, 1)
        anywhere: dict[int, tuple[float, int]] = {}
        for by_word in self._by_word:
            for word, (total, n) in by_word.items():
                deviation, m = anywhere.get(word, (0.0, 0))
                anywhere[word] = (deviation + total - n * mean, m + n)
        effects: list[dict[int, float]] = []
        for by_word in self._by_word:
            effects.append({})
            for word in {**anywhere, **before}:
                total, n = anywhere.get(word, (0.0, 0))
                here, m = by_word.get(word, (0.0, 0))
                effect, known = before.get(word, (0.0, 0.0))
                deviation = here - m * mean
                pictures = m + self.ELSEWHERE * (n - m) + self.WORD_PRIOR + known
                effects[-1][word] = (
                    deviation + self.ELSEWHERE * (total - deviation) + known * effect
                ) / pictures
        return effects

    def tried_with(self, more: Mapping[Words, tuple[float, int]]) -> dict[Words, tuple[float, int]]:
        """Return the sum of losses and number of pictures of each tuple, with ``more`` added."""
        tried = dict(self._sums)
        for words, (total, count) in more.items():
            before, n = tried.get(words, (0.0, 0))
            tried[words] = (before + total, n + count)
        return tried

    def mean(self, words: Words) -> tuple[float, int]:
        """Return a tuple's mean loss and number of pictures; (nan, 0) if it was never tried."""
        total, count = self._sums.get(words, (math.nan, 0))
        return total / max(count, 1), count

    def state_dict(self) -> dict[str, Any]:
        """Return the state in plain types."""
        return {
            "sums": dict(self._sums),
            "by_word": [dict(by_word) for by_word in self._by_word],
            "total": self._total,
            "squares": self._squares,
            "count": self._count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        self._sums = dict(state["sums"])
        self._by_word = [dict(by_word) for by_word in state["by_word"]]
        self._total = state["total"]
        self._squares = state["squares"]
        self._count = state["count"]
