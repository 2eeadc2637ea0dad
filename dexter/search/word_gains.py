"""The drivers of the best prompts: words that drive the score, estimated from the whole search.

Often one word of a good prompt does all the work, and the others are there only because they do no
harm. The search has tried each word beside many others, so a linear model of the loss with a
coefficient per word separates them (Bayesian regression; the spreads of prior and noise maximise
the evidence, MacKay 1992).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch

MOST_WORDS = 500
"""The number of other words in the model; the words tried least count as noise."""

_PRIOR_SPREADS = (0.1, 0.2, 0.4, 0.8, 1.6)
_NOISE_SHARES = (0.2, 0.4, 0.7, 1.0)


@dataclass(frozen=True)
class WordGain:
    """The fall of a picture's loss with a word in its prompt, beside any other words.

    In the unit of the loss, nats by default, and shrunk towards 0. ``low`` and ``high`` are the 95%
    interval, Bonferroni-corrected for all words that the search tried, because the same pictures
    selected the prompts.
    """

    word: str
    gain: float
    low: float
    high: float
    pictures: int
    """The number of pictures with the word, in the search and the final comparison."""

    @property
    def is_driver(self) -> bool:
        """Return True if the whole interval lies above 0: the word lowers the loss."""
        return self.low > 0


def word_gains(
    tried: Mapping[tuple[int, ...], tuple[float, int]],
    words: Sequence[int],
    vocabulary: Sequence[str],
) -> list[WordGain]:
    """Return the gain of each of ``words`` (indices into ``vocabulary``), most certain first.

    tried: the sum of losses and the number of pictures of each tuple of words.
    """
    pictures: dict[int, int] = {}
    for prompt, (_, n) in tried.items():
        for word in set(prompt):
            pictures[word] = pictures.get(word, 0) + n
    wanted = list(dict.fromkeys(words))
    others = sorted(pictures.keys() - set(wanted), key=lambda word: -pictures[word])
    column = {word: i for i, word in enumerate([*wanted, *others[:MOST_WORDS]])}
    holds = torch.zeros(len(tried), len(column), dtype=torch.float64)
    for row, prompt in enumerate(tried):
        holds[row, [column[word] for word in prompt if word in column]] = 1
    sums, counts = torch.tensor(list(tried.values()), dtype=torch.float64).unbind(1)
    mean, deviation = _coefficients(holds, sums / counts, counts)
    far = NormalDist().inv_cdf(1 - 0.025 / len(pictures))
    gains = [
        WordGain(
            word=vocabulary[word],
            gain=-float(mean[i]),
            low=-float(mean[i]) - far * float(deviation[i]),
            high=-float(mean[i]) + far * float(deviation[i]),
            pictures=pictures.get(word, 0),
        )
        for i, word in enumerate(wanted)
    ]
    return sorted(gains, key=lambda gain: -gain.low)


def _coefficients(
    holds: torch.Tensor, losses: torch.Tensor, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation (U,) of each column's coefficient.

    ``holds`` (T, U) marks the words of each tuple; ``losses`` (T,) are mean losses over ``counts``
    pictures (T,).
    """
    rest = losses - (losses * counts).sum() / counts.sum()
    variance = float((rest.square() * counts).sum() / counts.sum())
    if variance < 1e-12:  # all pictures scored the same; nothing to estimate
        return holds.new_zeros(holds.shape[1]), holds.new_zeros(holds.shape[1])
    weighted = holds.T * counts
    values, vectors = torch.linalg.eigh(weighted @ holds)
    values = values.clamp(min=0)
    towards = vectors.T @ (weighted @ rest)
    squares = float((rest.square() * counts).sum())
    best = None
    for spread in _PRIOR_SPREADS:
        for share in _NOISE_SHARES:
            prior, noise = variance * spread**2, variance * share
            precision = 1 / prior + values / noise
            fitted = float((towards.square() / precision).sum()) / noise**2
            likelihood = -0.5 * (
                squares / noise
                - fitted
                + len(rest) * torch.log(torch.tensor(noise))
                + torch.log(prior * precision).sum()
            )
            if best is None or likelihood > best[0]:
                best = (likelihood, precision, noise)
    assert best is not None
    _, precision, noise = best
    mean = vectors @ (towards / precision) / noise
    return mean, (vectors.square() / precision).sum(1).sqrt()
