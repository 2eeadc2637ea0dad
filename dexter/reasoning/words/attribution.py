"""The attribution of a prompt's score to its words: leave-one-out and a surrogate over subsets.

The surrogate follows gSMILE (arXiv 2505.21657): leave out subsets of the words, weight each subset
by the share of the prompt that it keeps, and fit a linear model of the target's probability. All
subsets share the same noise, so that the comparison is between words and not between pictures.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dexter.reasoning.evidence import Witness
from dexter.seeds import picture_seeds

FIRST_SEED = 1000  # in the range for evidence; pairs use the seeds before it
RESAMPLES = 2000
KERNEL_WIDTH = 0.5
_LISTED = 16
"""Words of a prompt, above which there are too many subsets to list."""


@dataclass(frozen=True)
class WordWeight:
    """A word's contribution to the target's probability, with 95% bootstrap intervals by seeds."""

    position: int
    word: str
    leave_one_out: float
    """The mean fall of the probability without the word."""
    leave_one_out_low: float
    leave_one_out_high: float
    weight: float
    """The word's coefficient in the surrogate."""
    low: float
    high: float


@dataclass(frozen=True)
class Attribution:
    """The weights of a prompt's words; r2: the surrogate's weighted R², with its interval."""

    prompt: str
    words: list[WordWeight]
    r2: float
    r2_low: float
    r2_high: float
    subsets: int
    seeds: list[int]


def attribute(
    witness: Witness,
    pieces: Sequence[str],
    words: Sequence[str],
    *,
    seeds: int = 16,
    subsets: int = 24,
) -> Attribution:
    """Attribute the target's probability to M ``words`` between M + 1 ``pieces`` of a prompt.

    seeds: number of pictures per subset. subsets: maximum number of word subsets.
    """
    count = len(words)
    kept = word_subsets(count, subsets)
    prompts = [prompt_without(pieces, words, subset) for subset in kept]
    noise = picture_seeds("evidence", FIRST_SEED, seeds)
    witness.look([(prompt, seed) for prompt in prompts for seed in noise])
    p = np.stack([witness.probabilities([(prompt, seed) for seed in noise]) for prompt in prompts])
    design = np.column_stack([np.ones(len(kept)), np.array(kept, dtype=np.float64)])
    left_out = 1 - design[:, 1:].mean(1)
    weights = np.exp(-((left_out / KERNEL_WIDTH) ** 2))
    full = kept.index((True,) * count)
    single = [kept.index(tuple(i != word for i in range(count))) for word in range(count)]
    rng = np.random.default_rng(20_251_014)
    samples = rng.integers(0, seeds, size=(RESAMPLES, seeds))
    means = p[:, samples].mean(-1).T  # (RESAMPLES, subsets)
    coefficients, r2 = _fit(design, weights, p.mean(1)[None])
    resampled, r2s = _fit(design, weights, means)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    r2_low, r2_high = np.quantile(r2s, [0.025, 0.975])
    drops = means[:, [full]] - means[:, single]
    drop_low, drop_high = np.quantile(drops, [0.025, 0.975], axis=0)
    return Attribution(
        prompt=prompts[full],
        words=[
            WordWeight(
                position=i,
                word=word,
                leave_one_out=float(p[full].mean() - p[single[i]].mean()),
                leave_one_out_low=float(drop_low[i]),
                leave_one_out_high=float(drop_high[i]),
                weight=float(coefficients[0, i + 1]),
                low=float(low[i + 1]),
                high=float(high[i + 1]),
            )
            for i, word in enumerate(words)
        ],
        r2=float(r2[0]),
        r2_low=float(r2_low),
        r2_high=float(r2_high),
        subsets=len(kept),
        seeds=noise,
    )


def word_subsets(count: int, most: int) -> list[tuple[bool, ...]]:
    """Return the kept words of each subset: all, all but one each, then random ones to ``most``."""
    needed = [(True,) * count]
    needed += [tuple(i != word for i in range(count)) for word in range(count)]
    room, known, rng = max(0, most - len(needed)), set(needed), np.random.default_rng(count)
    if count > _LISTED:
        while len(known) < len(needed) + room:
            known.add(tuple((rng.random(count) < 0.5).tolist()))
        return needed + sorted(known - set(needed))
    rest = [s for s in itertools.product((False, True), repeat=count) if s not in known]
    if room < len(rest):
        chosen = rng.choice(len(rest), room, replace=False)
        rest = [rest[i] for i in sorted(chosen)]
    return list(dict.fromkeys(needed + rest))


def _fit(
    design: NDArray[np.float64], weights: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit weighted least squares to targets (R, S); return coefficients (R, 1 + words), R² (R,)."""
    root = np.sqrt(weights)[:, None]
    solution = np.linalg.pinv(design * root) @ (targets.T * root)
    fitted = (design @ solution).T
    mean = (targets * weights).sum(1, keepdims=True) / weights.sum()
    residual = ((targets - fitted) ** 2 * weights).sum(1)
    total = ((targets - mean) ** 2 * weights).sum(1)
    # Constant targets leave nothing to explain.
    r2 = np.where(total > 1e-12, 1 - residual / np.maximum(total, 1e-12), 0.0)
    return solution.T, r2


def prompt_without(pieces: Sequence[str], words: Sequence[str], kept: Sequence[bool]) -> str:
    """Return the prompt without some of its words and without the joining words left over."""
    text = pieces[0]
    for piece, word, keep in zip(pieces[1:], words, kept, strict=True):
        text += (word if keep else "\0") + piece
    # Drop the joining word (and article) before a dropped word.
    text = re.sub(r"(?:\b(?:with|and|or|in|on|at|of)\s+)?(?:\ban?\s+)?\0", "", text)
    text = re.sub(r"\s+([.,])", r"\1", re.sub(r"\s+", " ", text)).strip()
    # Repair what followed a dropped word: "a picture and sea" becomes "a picture with sea".
    first = re.match(r"(a picture|a photo) and ", text)
    return f"{first[1]} with {text[first.end() :]}" if first else text
