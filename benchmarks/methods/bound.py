"""The bound by embeddings: words and embeddings of the same question, scored on the same noise."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np

from benchmarks.bias import question
from benchmarks.methods.collected import WORK
from benchmarks.methods.rows import Row, bootstrap
from dexter.stats import wilson_interval

CLASSIFIERS = 20
PICTURES = 100
RANDOM = 20
"""Pictures of random words."""
PRESET = "quick"
SEEDS = 2
"""Searches of either kind; the best score of each counts."""


@dataclass(frozen=True)
class Bounded:
    """A classifier: scores by seed, and CPU seconds of either search.

    started: the best score of words that a search for embeddings started from. random: words drawn
    at random for each picture.
    """

    name: str
    words: list[list[str]]
    near: list[list[str]]
    scores: list[float]
    bounds: list[float]
    started: float
    random: float
    seconds: float
    bound_seconds: float

    @property
    def score(self) -> float:
        """Return the score of the best words."""
        return max(self.scores)

    @property
    def bound(self) -> float:
        """Return the score of the best embeddings."""
        return max(self.bounds)


Kept = TypeVar("Kept", Bounded, "AtOutput")


def measure() -> list[Row]:
    """Return the rows on the bound and on the words' share of it."""
    found = _kept("bound.jsonl", Bounded, _one)
    holds = sum(one.bound >= one.score for one in found)
    at_once = sum(one.bounds[0] >= one.scores[0] for one in found)
    low, high = wilson_interval(holds, len(found))
    begins = sum(one.started >= one.score for one in found)
    shares = np.array([one.score / one.bound if one.bound else np.nan for one in found])
    at_random = [one.random / one.bound for one in found if one.bound]
    names = [one.name for one in found]
    ends = bootstrap(names, lambda rows: float(np.nanmean(shares[rows])))
    seconds = sum(one.bound_seconds for one in found)
    of_words = sum(one.seconds for one in found)
    worst = ", ".join(f"{one.name} {one.score:.2f}/{one.bound:.2f}" for one in _lowest(found))
    return [
        Row(
            "bound by embeddings",
            "share of classifiers whose best embeddings of two seeds score at least as high as "
            "their best words of two seeds",
            holds / len(found),
            low,
            high,
            len(found),
            "classifiers",
            "the words that the embeddings start from",
            begins / len(found),
            seconds,
            f"preset {PRESET}, {PICTURES} pictures on the same noise, {SEEDS} seeds of either; the "
            f"first alone holds on {at_once}; words take {of_words:.0f} CPU s",
        ),
        Row(
            "words beside the bound",
            "mean share of the embeddings' score that words reach",
            float(np.nanmean(shares)),
            *ends,
            len(found),
            "classifiers",
            "random words",
            float(np.mean(at_random)),
            of_words,
            f"words/embeddings where words lack most: {worst}",
        ),
    ]


@dataclass(frozen=True)
class AtOutput:
    """A classifier: the scores of embeddings of the input and of the output, of seed 0, and the
    CPU seconds of the latter's search."""

    name: str
    input: float
    output: float
    seconds: float


def measure_output() -> list[Row]:
    """Return the row on embeddings of the text encoder's output beside those of its input."""
    found = _kept("output.jsonl", AtOutput, _at_output)
    higher = [one for one in found if one.output > one.input]
    holds = sum(one.output >= one.input for one in found)
    low, high = wilson_interval(holds, len(found))
    gains = np.array([one.output - one.input for one in found])
    ends = bootstrap([one.name for one in found], lambda rows: float(gains[rows].mean()))
    named = ", ".join(f"{one.name} {one.input:.2f} to {one.output:.2f}" for one in higher)
    return [
        Row(
            "bound by embeddings of the output",
            "share of classifiers whose embeddings of the output score at least as high as those "
            "of the input",
            holds / len(found),
            low,
            high,
            len(found),
            "classifiers",
            "a coin: either may be higher",
            0.5,
            sum(one.seconds for one in found),
            f"preset {PRESET}, {PICTURES} pictures on the same noise, one search of either; mean "
            f"gain {gains.mean():+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}]; higher: {named}",
        )
    ]


def _at_output(name: str) -> AtOutput:
    by_input, _ = _searched(name, "continuous")
    by_output, seconds = _searched(name, "continuous", embeddings="output")
    reached = _score(name, by_input.result.conditioning)
    return AtOutput(name, reached, _score(name, by_output.result.conditioning), seconds)


def _lowest(found: list[Bounded]) -> list[Bounded]:
    return sorted(found, key=lambda one: one.score - one.bound)[:4]


def _kept(file: str, kind: type[Kept], one: Callable[[str], Kept]) -> list[Kept]:
    """Return the answers on each classifier; those that the journal has are not searched again."""
    from dexter.lab.fleet import FLEET

    names = list(FLEET)
    chosen = [names[at * len(names) // CLASSIFIERS] for at in range(CLASSIFIERS)]
    WORK.mkdir(parents=True, exist_ok=True)
    journal = WORK / file
    rows = journal.read_text().splitlines() if journal.exists() else []
    kept = {row["name"]: kind(**row) for row in map(json.loads, rows)}
    for name in chosen:
        if name not in kept:
            kept[name] = one(name)
            with journal.open("a") as lines:
                lines.write(json.dumps(asdict(kept[name])) + "\n")
            print(kept[name], flush=True)
    return [kept[name] for name in chosen]


@cache
def _models() -> tuple[Any, Any]:
    import torch

    from dexter.generation.generator import load_generator
    from dexter.search.prompt import load_masked_lm

    torch.set_num_threads(1)
    return load_generator("lab"), load_masked_lm("lab")


def _searched(name: str, kind: str, seed: int = 0, **settings: Any) -> tuple[Any, float]:
    """Return a search that ended, and its CPU seconds."""
    from dexter.classifiers import load_classifier
    from dexter.search.optimize import optimize

    generator, masked_lm = _models()
    classifier = load_classifier(f"lab:fleet/{name}")
    begun = time.process_time()
    config = question(name, seed, PRESET, search=kind, **settings)
    search = optimize(config, classifier=classifier, generator=generator, masked_lm=masked_lm)
    for _ in search:
        pass
    assert search.result
    return search, time.process_time() - begun


def _score(name: str, prompt: Any) -> float:
    from dexter.classifiers import load_classifier
    from dexter.search.score import activation_score

    generator, _ = _models()
    classifier = load_classifier(f"lab:fleet/{name}")
    return activation_score(generator, classifier, 0, prompt, n=PICTURES, batch=20).value


def _one(name: str) -> Bounded:
    words = [_searched(name, "words", seed) for seed in range(SEEDS)]
    embeddings = [_searched(name, "continuous", seed) for seed in range(SEEDS)]
    starts = [
        next(one for one in search.result.prompts if not any("≈" in word for word in one.words))
        for search, _ in embeddings
    ]
    return Bounded(
        name,
        [list(search.result.words) for search, _ in words],
        [list(search.result.words) for search, _ in embeddings],
        [_score(name, search.result.prompt) for search, _ in words],
        [_score(name, search.result.conditioning) for search, _ in embeddings],
        max(_score(name, start.text) for start in starts),
        _at_random(name, words[0][0]),
        sum(seconds for _, seconds in words),
        sum(seconds for _, seconds in embeddings),
    )


def _at_random(name: str, search: Any) -> float:
    """Return the score of random words in the template of a search."""
    import torch

    from dexter.classifiers import load_classifier
    from dexter.seeds import picture_seeds

    generator, _ = _models()
    rng = np.random.default_rng(0)
    prompt = search._prompt
    count, masks = len(prompt.vocabulary), len(search.result.words)
    drawn = [prompt.text(rng.choice(count, masks, replace=False).tolist()) for _ in range(RANDOM)]
    with torch.no_grad():
        images = generator.sample(generator.encode_text(drawn), picture_seeds("score", 0, RANDOM))
        classifier = load_classifier(f"lab:fleet/{name}")
        return int((classifier(images).predicted(0) == 0).sum()) / RANDOM
