"""A map from texts to a classifier's answers, learned on a bank: questions without drawing.

    learned = TextMap(texts, pictures, answers, prompts)
    [guess] = learned.ask(embeddings, ["a duck at night"])

It follows Unlocking Text (arXiv 2503.10981), which maps from the texts of an image-text model to
the space of a classifier, without labels. The pictures v of a bank, and their prompts t, are points
in the space of the image-text model, each less the mean of its kind, because the two kinds lie
apart. A Gaussian process (Rasmussen and Williams 2006, Eq. 2.23 and 2.24) with the kernel

    k(x, x') = x . x' + exp(-|x - x'|^2 / 2 l^2)

gives the mean answer to a text, in log-odds, and its uncertainty. Where the bank's prompts name all
words of a text, it learns from prompts and pictures; for a text with another word from the pictures
alone, because prompts without the word mislead about it.

Intervals are widened until they hold their level (split conformal prediction, Vovk et al. 2005): by
guesses of prompts from the other prompts, and of words from the prompts that do not name them.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dexter.errors import InputError

Floats = NDArray[np.float64]

LEVEL = 0.90
"""Coverage of the intervals."""
PROBED = 32
"""Pictures whose mean answer an interval is for: those of the first look of a probe."""
FEWEST = 50
"""Pictures of a bank, below which nothing is learned."""
MOST = 1000
"""Pictures that are learned from, evenly chosen of more."""
_Z = 1.6449
"""Of a normal interval at `LEVEL`."""
_LENGTH = 0.5
"""Length scale l of the kernel, for points of which the mean square is 1."""
_NOISES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Ratios of noise to signal, among which the likelihood chooses."""
_LIKELY = 400
"""Points on which the noise is chosen."""
_NAMED = 3
"""Prompts that name a word, below which it is not left out to measure the map."""


@dataclass(frozen=True)
class Guess:
    """A guess of the mean answer to pictures of a text, in log-odds, with its interval.

    unseen: the words of the text that no prompt of the bank names.
    """

    odds: float
    low: float
    high: float
    unseen: tuple[str, ...]

    @property
    def p(self) -> float:
        """Return p(class) at the mean log-odds."""
        return _sigmoid(self.odds)

    @property
    def interval(self) -> tuple[float, float]:
        """Return the interval of `p`."""
        return _sigmoid(self.low), _sigmoid(self.high)


@dataclass(frozen=True)
class Trial:
    """The quality of guesses of words from prompts that do not name them.

    words: the number of words left out, one at a time. rank_correlation: Spearman's, over the
    words, of guessed and measured mean answers to the prompts that name them; None with fewer than
    3 words. widened: the factor on the errors of texts with an unseen word; widened_known: on those
    of other texts.
    """

    words: int
    rank_correlation: float | None
    widened: float
    widened_known: float


class TextMap:
    """A map from text embeddings to log-odds.

    Args:
        texts: (n, D), embeddings of the pictures' prompts.
        pictures: (n, D), embeddings of the pictures.
        answers: (n,), log-odds.
        prompts: The prompts, n.
    """

    def __init__(
        self, texts: Floats, pictures: Floats, answers: Floats, prompts: Sequence[str]
    ) -> None:
        if len(prompts) < FEWEST:
            raise InputError(
                f"{len(prompts)} pictures are too few to learn from: {FEWEST} are needed",
                remedy="screen the class with more pictures",
            )
        if len(prompts) > MOST:
            rows = np.linspace(0, len(prompts) - 1, MOST).astype(int)
            texts, pictures, answers = texts[rows], pictures[rows], answers[rows]
            prompts = [prompts[int(row)] for row in rows]
        self._centre = texts.mean(0)
        said, seen = texts - self._centre, pictures - pictures.mean(0)
        self._scale = math.sqrt(float((seen**2).sum(1).mean())) or 1.0
        self._texts = said / self._scale
        self._mean = float(answers.mean())
        self._deviation = float(answers.std()) or 1.0
        self._answers = (answers - self._mean) / self._deviation
        self.prompts = list(prompts)
        self._named = [set(words_of(prompt)) for prompt in prompts]
        points = seen / self._scale
        self._pictures = _Process(points, self._answers)
        both = np.concatenate([self._texts, points])
        self._both = _Process(both, np.tile(self._answers, 2))
        self.trial = self._try_out()

    def unseen(self, text: str) -> tuple[str, ...]:
        """Return the words of a text that no prompt names."""
        return tuple(word for word in words_of(text) if not any(word in own for own in self._named))

    def ask(
        self, embeddings: Floats, texts: Sequence[str], *, pictures: int = PROBED
    ) -> list[Guess]:
        """Guess the mean answers to a number of pictures of texts, with embeddings (m, D)."""
        found = []
        for point, text in zip(self._points(embeddings), texts, strict=True):
            unseen = self.unseen(text)
            process, widened = self._of(known=not unseen)
            mean, variance = process.mean_of(point[None], np.ones(1))
            half = _Z * widened * math.sqrt(variance + process.noise / pictures)
            low, high = self._odds(mean - half), self._odds(mean + half)
            found.append(Guess(self._odds(mean), low, high, unseen))
        return found

    def change(
        self, embeddings: Floats, controls: Floats, *, known: bool
    ) -> tuple[float, float, float]:
        """Return by how much answers to texts exceed those to controls, in log-odds, low and high.

        Both are embeddings (k, D), and the change is the mean over the k pairs. known: the bank's
        prompts name all words of the texts.
        """
        points = self._points(np.concatenate([embeddings, controls]))
        weights = np.repeat([1 / len(embeddings), -1 / len(controls)], len(embeddings))
        process, widened = self._of(known=known)
        mean, variance = process.mean_of(points, weights)
        half = _Z * widened * math.sqrt(variance)
        low, high = mean - half, mean + half
        return mean * self._deviation, low * self._deviation, high * self._deviation

    def without(self, word: str) -> TextMap:
        """Return the map without the pictures whose prompts name a word.

        Means, scales, the noise and the width of the intervals stay those of all pictures.
        """
        out = np.array([word in own for own in self._named])
        found = copy.copy(self)
        found.prompts = [p for p, gone in zip(self.prompts, out, strict=True) if not gone]
        found._named = [own for own in self._named if word not in own]
        found._texts, found._answers = self._texts[~out], self._answers[~out]
        found._pictures = self._pictures.without(out)
        found._both = self._both.without(np.tile(out, 2))
        return found

    def _points(self, embeddings: Floats) -> Floats:
        points: Floats = (embeddings - self._centre) / self._scale
        return points

    def _odds(self, value: float) -> float:
        return self._mean + self._deviation * value

    def _of(self, *, known: bool) -> tuple[_Process, float]:
        if known:
            return self._both, self.trial.widened_known
        return self._pictures, self.trial.widened

    def _try_out(self) -> Trial:
        """Guess each word's prompts from those that do not name it, and each prompt from others."""
        guessed, measured, scores = [], [], []
        words = sorted({word for own in self._named for word in own})
        for word in words:
            out = np.array([word in own for own in self._named])
            rows = np.flatnonzero(out)
            if not _NAMED <= len(rows) <= len(out) // 2:
                continue
            blind = self._pictures.without(out)
            mean, variance = blind.mean_of(self._texts[rows], np.full(len(rows), 1 / len(rows)))
            true = float(self._answers[rows].mean())
            guessed.append(mean)
            measured.append(true)
            scores.append(abs(true - mean) / math.sqrt(variance + blind.noise / len(rows)))
        correlation = rank_correlation(guessed, measured) if len(scores) > 2 else None
        known = self._both.left_out_scores(len(self.prompts))
        return Trial(len(scores), correlation, _factor(scores), _factor(known))


class _Process:
    """A Gaussian process with noise. points (N, D), y (N,); noise: the variance of an answer."""

    def __init__(self, points: Floats, y: Floats) -> None:
        self._points, self._y = points, y
        ratio = _likeliest_noise(points, y)
        noised = _kernel(points, points)
        noised.flat[:: len(noised) + 1] += ratio
        self._inverse = np.linalg.inv(noised)
        self._weights = self._inverse @ y
        # The signal's variance that the likelihood prefers, given the ratio.
        self._variance = max(float(y @ self._weights) / len(y), 1e-12)
        self.noise = ratio * self._variance

    def mean_of(self, points: Floats, weights: Floats) -> tuple[float, float]:
        """Return the weighted sum (m,) of the values at points (m, D), and its variance."""
        step = weights @ _kernel(points, self._points)
        prior = float(weights @ _kernel(points, points) @ weights)
        variance = max(prior - float(step @ self._inverse @ step), 1e-12) * self._variance
        return float(step @ self._weights), variance

    def without(self, out: NDArray[np.bool_]) -> _Process:
        """Return the process without some of its points, with the noise of all."""
        found = copy.copy(self)
        found._points, found._y = self._points[~out], self._y[~out]
        # The inverse of a block, from the inverse of the whole (Schur complement).
        cross = self._inverse[np.ix_(~out, out)]
        solved = np.linalg.solve(self._inverse[np.ix_(out, out)], cross.T)
        found._inverse = self._inverse[np.ix_(~out, ~out)] - cross @ solved
        found._weights = self._weights[~out] - solved.T @ self._weights[out]
        return found

    def left_out_scores(self, pairs: int) -> list[float]:
        """Return |error| / standard error of each answer, guessed at its first point.

        Points i and i + ``pairs`` have the same answer and are left out together (Rasmussen and
        Williams 2006, Eq. 5.12, for two points).
        """
        found = []
        for at in range(pairs):
            own = np.array([at, at + pairs])
            block = np.linalg.inv(self._inverse[np.ix_(own, own)])
            error = float((block @ self._weights[own])[0])
            found.append(abs(error) / math.sqrt(float(block[0, 0]) * self._variance))
        return found


def _factor(scores: Sequence[float]) -> float:
    """Return the factor, of at least 1, that makes intervals hold `LEVEL` of the scores."""
    if not scores:
        return 3.0
    place = min(len(scores), math.ceil((len(scores) + 1) * LEVEL)) - 1
    return max(1.0, sorted(scores)[place] / _Z)


_OPENING = "a an the of and or with in on at to by from picture photo no for under near its"
_JOINING = frozenset(_OPENING.split())


def words_of(text: str) -> list[str]:
    """Return the words of a text that stand for something in the picture, each once."""
    found = re.findall(r"[\w'-]+", text.lower())
    return [word for word in dict.fromkeys(found) if word not in _JOINING]


def rank_correlation(one: Sequence[float] | Floats, other: Sequence[float] | Floats) -> float:
    """Return Spearman's rank correlation; ties have the mean of their ranks, 0 without variance."""
    a, b = _ranks(np.asarray(one, np.float64)), _ranks(np.asarray(other, np.float64))
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size else 0.0


def _ranks(values: Floats) -> Floats:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    found: Floats = (ends - (counts - 1) / 2)[places]
    return found


def _kernel(one: Floats, other: Floats) -> Floats:
    product = one @ other.T
    square = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * product
    found: Floats = product + np.exp(-square.clip(0) / (2 * _LENGTH**2))
    return found


def _likeliest_noise(points: Floats, y: Floats) -> float:
    """Return the ratio of noise to signal with the highest marginal likelihood on some points."""
    rows = np.linspace(0, len(y) - 1, min(len(y), _LIKELY)).astype(int)
    values, vectors = np.linalg.eigh(_kernel(points[rows], points[rows]))
    rotated = vectors.T @ y[rows]

    def likelihood(noise: float) -> float:
        spectrum = values.clip(0) + noise
        variance = max(float((rotated**2 / spectrum).mean()), 1e-12)
        return -len(rows) * math.log(variance) - float(np.log(spectrum).sum())

    return max(_NOISES, key=likelihood)


def _sigmoid(odds: float) -> float:
    return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0
