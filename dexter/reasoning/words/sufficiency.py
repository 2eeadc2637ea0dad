"""The smallest set of words that keeps a prompt's score, the score without them, and a control.

Adversarial infidelity learning (Liang et al., KDD 2020) asks of an explanation that the chosen
features be enough for the answer and the others not, and compares it with random choices. Here the
features are the words of a prompt, and the score s is the share of its pictures that are classified
as the class:

    sufficiency  s(S) for the smallest S with s(S) >= 0.9 s(all words)
    necessity    s(all words without S)
    control      s(R) for sets R of as many random words at the places of S

S is chosen on the noise of the word attribution, and all that is reported is measured on other
noise. If S is as good as a random set, S would be the highest of 20 sets by a chance of 1 in 20. So
words that one of 19 random sets matches are unfaithful: they explain nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dexter import stats
from dexter.reasoning.claims import Proportion
from dexter.reasoning.evidence import Witness
from dexter.reasoning.topic import PLACEBO_WORDS, Topic, wording
from dexter.reasoning.words.attribution import FIRST_SEED, prompt_without, word_subsets
from dexter.seeds import picture_seeds

KEPT = 0.9
"""Share of the score of all words that a sufficient set keeps."""
CONTROLS = 19
CONTROL_PICTURES = 16
MOST_PICTURES = (CONTROLS + 3) * CONTROL_PICTURES
"""Pictures that are drawn at most, beside those of the attribution."""


@dataclass(frozen=True)
class Scored:
    """A prompt and the share of its pictures that are classified as the class."""

    text: str
    score: Proportion


@dataclass(frozen=True)
class Sufficiency:
    """The smallest sufficient set of a prompt's words.

    words: the set; empty if the template alone keeps the score. sufficient: only these words;
    without: only the others; None where these are none. controls: random words in place of the set.
    """

    words: tuple[str, ...]
    full: Scored
    sufficient: Scored
    without: Scored | None
    controls: list[Scored]

    @property
    def matched(self) -> int:
        """Return the number of random sets that score at least as high on the same noise."""
        own = self.sufficient.score
        return sum(one.score.value >= own.value for one in self.controls)

    @property
    def faithful(self) -> bool | None:
        """Return False if random words match the set; None with too few random sets to tell."""
        if not self.words or self.matched:
            return False
        return True if len(self.controls) >= CONTROLS else None

    @property
    def control(self) -> Proportion:
        """Return the score over the pictures of all random sets."""
        hits = sum(one.score.hits for one in self.controls)
        return _proportion(hits, sum(one.score.n for one in self.controls))

    def rows(self) -> list[tuple[str, str, Proportion]]:
        """Return the scores for a table: kind, text, score."""
        found = [("smallest sufficient words", self.sufficient.text, self.sufficient.score)]
        if self.without is not None:
            found.append(("without them", self.without.text, self.without.score))
        if self.controls:
            text = f"{len(self.controls)} sets of random words in their place"
            found.append(("random control", text, self.control))
        return found

    def sentences(self, class_name: str) -> list[str]:
        """Return the finding as sentences, the verdict last."""
        full = f"The words of “{self.full.text}” score {self.full.score.value:.0%} for {class_name}"
        if not self.words:
            return [
                f"{full}; the template without them scores {self.sufficient.score.value:.0%}.",
                "Unfaithful: no word is needed for the score.",
            ]
        names = " and ".join(f"“{word}”" for word in self.words)
        alone = f"{names} alone {'keeps' if len(self.words) == 1 else 'keep'}"
        said = [f"{full}; {alone} {self.sufficient.score.value:.0%}."]
        if self.without is not None:
            said.append(f"Without {names} the score is {self.without.score.value:.0%}.")
        if self.controls:
            count = len(self.controls)
            control = f"{count} random sets of as many words score {self.control.value:.0%}"
            said.append(f"{control}; {self.matched} of {count} reach the score of {names}.")
        if self.faithful is None:
            said.append("Not decided: there are too few random words to compare with.")
        elif self.faithful:
            said.append("Faithful: no random set of words reaches this score.")
        else:
            said.append("Unfaithful: random words reach the same score.")
        return said


def sufficiency(
    witness: Witness,
    pieces: Sequence[str],
    words: Sequence[str],
    pool: Sequence[str],
    *,
    seeds: int,
    subsets: int,
) -> Sufficiency | None:
    """Find the smallest sufficient set of M ``words`` between M + 1 ``pieces`` of a prompt.

    None where no picture of the prompt is classified as the class: there is no score to keep.

    Args:
        witness: The classifier and its pictures.
        pool: The words of the random sets.
        seeds: Pictures per word subset, as in the attribution: none of them is drawn again.
        subsets: The maximum number of word subsets, as in the attribution.
    """
    chosen = _smallest(witness, pieces, words, seeds=seeds, subsets=subsets)
    if chosen is None:
        return None
    noise = picture_seeds("score", 0, CONTROL_PICTURES)
    every = tuple([True] * len(words))
    texts = {
        "full": prompt_without(pieces, words, every),
        "sufficient": prompt_without(pieces, words, chosen),
        "without": prompt_without(pieces, words, [not one for one in chosen]),
    }
    controls = [prompt_without(pieces, one, chosen) for one in _random_words(words, chosen, pool)]
    requests = [(text, seed) for text in (*texts.values(), *controls) for seed in noise]
    witness.look(list(dict.fromkeys(requests)))

    def scored(text: str) -> Scored:
        hits = witness.hits([(text, seed) for seed in noise])
        return Scored(text, _proportion(int(hits.sum()), len(hits)))

    return Sufficiency(
        tuple(word for word, kept in zip(words, chosen, strict=True) if kept),
        scored(texts["full"]),
        scored(texts["sufficient"]),
        None if all(chosen) else scored(texts["without"]),
        [scored(text) for text in controls],
    )


def _smallest(
    witness: Witness, pieces: Sequence[str], words: Sequence[str], *, seeds: int, subsets: int
) -> tuple[bool, ...] | None:
    """Return the smallest sufficient subset; of several, the one with the highest score.

    None where the score of all words is 0.
    """
    kept = word_subsets(len(words), subsets)
    noise = picture_seeds("evidence", FIRST_SEED, seeds)
    requests = [
        [(prompt_without(pieces, words, subset), seed) for seed in noise] for subset in kept
    ]
    witness.look(list(dict.fromkeys(one for own in requests for one in own)))
    hits = [float(witness.hits(own).mean()) for own in requests]
    means = [float(witness.probabilities(own).mean()) for own in requests]
    least = KEPT * hits[kept.index((True,) * len(words))]
    if not least:
        return None
    enough = [at for at in range(len(kept)) if hits[at] >= least]
    return kept[min(enough, key=lambda at: (sum(kept[at]), -hits[at], -means[at]))]


def _random_words(
    words: Sequence[str], chosen: Sequence[bool], pool: Sequence[str]
) -> list[list[str]]:
    """Return up to `CONTROLS` copies of the words with random ones at the chosen places."""
    size = sum(chosen)
    fit = [word for word in dict.fromkeys(pool) if word not in words]
    if not size or len(fit) < size:
        return []
    rng: np.random.Generator = np.random.default_rng(20_200_823)
    sets: dict[tuple[str, ...], None] = {}
    for _ in range(50 * CONTROLS):
        order: NDArray[np.int64] = rng.permutation(len(fit))
        sets.setdefault(tuple(fit[int(at)] for at in order[:size]))
        if len(sets) == CONTROLS:
            break
    found = []
    for own in sets:
        left = iter(own)
        found.append(
            [next(left) if kept else word for word, kept in zip(words, chosen, strict=True)]
        )
    return found


def control_pool(words: Sequence[str], topic: Topic, sayable: Callable[[str], bool]) -> list[str]:
    """Return the words that random sets are drawn from.

    They are said in the same way as one of ``words``. None is of a word's family, and none belongs
    to the class or names one. sayable: True for a word that the generator can encode.
    """
    world = topic.world
    if not world.families:
        fit = list(PLACEBO_WORDS)
    else:
        ways = {wording(world.slot(word)) for word in words}
        fit = [word for word in world.words() if wording(world.slot(word)) in ways]
    families = {world.family(word) for word in words} - {None}
    return [
        word
        for word in fit
        if world.family(word) not in families
        and word not in topic.names
        and not topic.is_core(word)
        and sayable(word)
    ]


def _proportion(hits: int, n: int) -> Proportion:
    return Proportion(hits, n, *stats.wilson_interval(hits, n))
