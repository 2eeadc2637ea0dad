"""The bound by embeddings: words and embeddings of the same question, scored on the same noise."""

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

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


@dataclass(frozen=True)
class Bounded:
    """A classifier: scores, and CPU seconds of either search.

    started: the best words that the search for embeddings started from. random: words drawn at
    random for each picture.
    """

    name: str
    words: list[str]
    near: list[str]
    score: float
    bound: float
    started: float
    random: float
    seconds: float
    bound_seconds: float


def measure() -> list[Row]:
    """Return the rows on the bound and on the words' share of it."""
    found = _all()
    holds = sum(one.bound >= one.score for one in found)
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
            "share of classifiers whose embeddings score at least as high as their words",
            holds / len(found),
            low,
            high,
            len(found),
            "classifiers",
            "the words that the embeddings start from",
            begins / len(found),
            seconds,
            f"preset {PRESET}, seed 0, {PICTURES} pictures on the same noise; words take "
            f"{of_words:.0f} CPU s. No setting was tuned on these classifiers",
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


def _lowest(found: list[Bounded]) -> list[Bounded]:
    return sorted(found, key=lambda one: one.score - one.bound)[:4]


def _all() -> list[Bounded]:
    """Return the answers on each classifier; those that the journal has are not searched again."""
    from dexter.lab.fleet import FLEET

    names = list(FLEET)
    chosen = [names[at * len(names) // CLASSIFIERS] for at in range(CLASSIFIERS)]
    WORK.mkdir(parents=True, exist_ok=True)
    journal = WORK / "bound.jsonl"
    rows = journal.read_text().splitlines() if journal.exists() else []
    kept = {one.name: one for one in (Bounded(**json.loads(row)) for row in rows)}
    models: list[Any] = []
    for name in chosen:
        if name not in kept:
            kept[name] = _one(name, models)
            with journal.open("a") as file:
                file.write(json.dumps(asdict(kept[name])) + "\n")
            print(kept[name], flush=True)
    return [kept[name] for name in chosen]


def _one(name: str, models: list[Any]) -> Bounded:
    import torch

    from dexter.classifiers import load_classifier
    from dexter.generation.generator import load_generator
    from dexter.search.loop import Search
    from dexter.search.optimize import optimize
    from dexter.search.prompt import load_masked_lm
    from dexter.search.score import activation_score
    from dexter.seeds import picture_seeds

    torch.set_num_threads(1)
    if not models:
        models += [load_generator("lab"), load_masked_lm("lab")]
    generator, masked_lm = models
    classifier = load_classifier(f"lab:fleet/{name}")

    def searched(kind: str) -> tuple[Search, float]:
        begun = time.process_time()
        config = question(name, 0, PRESET, search=kind)
        search = optimize(config, classifier=classifier, generator=generator, masked_lm=masked_lm)
        for _ in search:
            pass
        assert search.result
        return search, time.process_time() - begun

    def score(prompt: Any) -> float:
        return activation_score(generator, classifier, 0, prompt, n=PICTURES, batch=20).value

    by_words, seconds = searched("words")
    by_embeddings, bound_seconds = searched("continuous")
    found, bound = by_words.result, by_embeddings.result
    started = next(one for one in bound.prompts if not any("≈" in word for word in one.words))
    rng = np.random.default_rng(0)
    vocabulary = by_words._prompt.vocabulary
    drawn = [
        by_words._prompt.text(rng.choice(len(vocabulary), len(found.words), replace=False).tolist())
        for _ in range(RANDOM)
    ]
    with torch.no_grad():
        images = generator.sample(generator.encode_text(drawn), picture_seeds("score", 0, RANDOM))
        hits = int((classifier(images).predicted(0) == 0).sum())
    return Bounded(
        name,
        list(found.words),
        list(bound.words),
        score(found.prompt),
        score(bound.conditioning),
        score(started.text),
        hits / RANDOM,
        seconds,
        bound_seconds,
    )
