"""Words that were not drawn: how well a surrogate over text embeddings ranks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.screening.known import nobody
from benchmarks.screening.tasks import Task
from dexter.lab import gated
from dexter.screening.concepts import Concept
from dexter.screening.regression import Regression
from dexter.screening.screen import Member

RIDGE = 0.03
"""Of the surrogate; the best of 0.03, 0.1, 0.3 and 1 on the even half, by words."""


def surrogate(tasks: Sequence[Task], pictures: int) -> dict[str, Any]:
    """Return how well ridge regression of effects on text embeddings ranks unseen wordings.

    The effects are those of single wordings. Left out are one wording, its whole concept, or its
    slot. rank_correlation: Spearman's, of predicted and measured effects, the mean over members.
    own_in_top_5: how often a wording of a gate's concept is among the five largest predictions.
    """
    sums: dict[str, list[dict[str, list[float]]]] = {"tuned": [], "unseen": []}
    every = gated.fleet()
    chance = []
    for task in tasks:
        models = task.models
        screening = task.screening(pictures, task.state(pictures))
        cells = screening.cells()
        single = [
            Concept(word, slot, (word,), (word,))
            for slot, words in models.pool.words.items()
            for word in words
        ]
        regression = Regression(cells, models.pool, single)
        words = regression.concepts
        chance.append(5 / len(words))
        texts = np.stack([_direction(models.detector, word.name) for word in words])
        families = [models.pool.by_word[word.slot, word.name] for word in words]
        groups: dict[str, Sequence[Any]] = {
            "wording": list(range(len(words))),
            "concept": families,
            "slot": [word.slot for word in words],
        }
        for gate in (gate for gate in every if gate.task == task.name):
            key = screening.key(Member(gate.name, gate.name, nobody))
            odds = task.answers.read(key, [cell.request for cell in cells])
            p = 1 / (1 + np.exp(-np.array([odds[cell.request][0] for cell in cells], np.float64)))
            effects = regression.means(p)
            found: dict[str, list[float]] = {}
            for name, group in groups.items():
                guess = _left_out(texts @ texts.T, effects, group)
                top = np.argsort(-np.abs(guess))[:5]
                own = [family in gate.concepts for family in families]
                hits = [float(at in top) for at in np.flatnonzero(own)] or [np.nan]
                found[name] = [_rank_correlation(guess, effects), float(np.mean(hits))]
            sums["tuned" if every.index(gate) % 2 == 0 else "unseen"].append(found)
    return {"pictures": pictures, "ridge": RIDGE, "top_5_by_chance": float(np.mean(chance))} | {
        half: {
            name: dict(
                zip(
                    ("rank_correlation", "own_in_top_5"),
                    np.nanmean([one[name] for one in found], axis=0).tolist(),
                    strict=True,
                )
            )
            for name in ("wording", "concept", "slot")
        }
        for half, found in sums.items()
    }


def _direction(detector: Any, word: str) -> Any:
    """Return the direction, of length 1, in which a text embedding moves with a word."""
    moved = detector.text(f"a picture of a {word}") - detector.text("a picture")
    return moved / np.linalg.norm(moved)


def _left_out(kernel: Any, effects: Any, groups: Sequence[Any]) -> Any:
    """Predict each effect by kernel ridge regression on those of other groups."""
    found = np.zeros(len(effects))
    for group in set(groups):
        out = np.array([other == group for other in groups])
        rest, mean = ~out, effects[~out].mean()
        kept = kernel[np.ix_(rest, rest)] + RIDGE * np.eye(int(rest.sum()))
        weights = np.linalg.solve(kept, effects[rest] - mean)
        found[out] = mean + kernel[np.ix_(out, rest)] @ weights
    return found


def _rank_correlation(one: Any, other: Any) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    both: Any = np.corrcoef(ranks)
    return float(both[0, 1])
