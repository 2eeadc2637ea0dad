"""Which words of the best prompts carry them, by all pictures of the search.

Of the words of a prompt that does well often one does it all, and the others stand there because
nothing spoke against them. The search has tried each beside many others. So a linear model of the
loss, with a coefficient for each word that a prompt holds, tells them apart (Bayesian regression;
the spreads of prior and noise are those under which what was seen is likeliest, MacKay 1992).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch

MOST_WORDS = 500
"""Further words, those tried least, count as noise."""

_PRIOR_SPREADS = (0.1, 0.2, 0.4, 0.8, 1.6)
_NOISE_SHARES = (0.2, 0.4, 0.7, 1.0)


@dataclass(frozen=True)
class WordGain:
    """How much lower the loss of a picture is with a word in its prompt, whatever stands beside it.

    In the loss's own unit, nats by default, and shrunk towards 0. ``low`` and ``high``: the 95%
    interval, corrected (Bonferroni) for all words that the search tried, as the prompts were chosen
    among these by the same pictures.
    """

    word: str
    gain: float
    low: float
    high: float
    pictures: int
    """Of the search and the final comparison, with the word."""

    @property
    def carries(self) -> bool:
        """Whether the pictures leave no doubt that the word lowers the loss."""
        return self.low > 0


def word_gains(
    tried: Mapping[tuple[int, ...], tuple[float, int]],
    words: Sequence[int],
    vocabulary: Sequence[str],
) -> list[WordGain]:
    """The gains of ``words``, indices into ``vocabulary``, each once, the surest first.

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
    """Mean and standard deviation of each column's coefficient, given the mean losses (T,) of
    ``counts`` pictures each; holds (T, U)."""
    rest = losses - (losses * counts).sum() / counts.sum()
    variance = float((rest.square() * counts).sum() / counts.sum())
    if variance < 1e-12:  # all did the same: nothing is told
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
