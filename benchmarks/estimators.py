"""Which gradient finds the planted bias: straight-through, score function, or their mix.

`make bench` runs the default preset on a biased and a balanced bird classifier for several seeds
and counts in how many of them a word of the planted family is among the best words. On the biased
one it should be most seeds, on the balanced one few. The class landbird, whose family is five
places, is searched with the mix alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Collection, Iterable
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.sharing import of_lab, workers

TEMPLATE = "a picture of a bird with [MASK] and [MASK]"
CLASSIFIERS = ("lab:birds-biased", "lab:birds-balanced")
FAMILIES = {
    "waterbird": {"water", "sea", "lake"},
    "landbird": {"land", "forest", "field", "desert", "mountain"},
}
ESTIMATORS: dict[str, dict[str, float]] = {
    "straight-through": {"straight_through": 1.0, "score_function": 0.0},
    "score-function": {"straight_through": 0.0, "score_function": 1.0},
    "mix": {},  # the preset's own weights
}
RESULTS = Path("benchmarks/results/estimators.json")


@dataclass(frozen=True)
class Outcome:
    """A run: its answer and its cost. ``recipe``: settings, and a digest of all weights."""

    estimator: str
    classifier: str
    class_name: str
    seed: int
    words: tuple[str, ...]
    named: bool
    score: float
    steps: int
    stop_reason: str
    cpu_seconds: float
    recipe: str = ""


@cache
def models(classifier: str) -> tuple[Any, Any, Any]:
    """Loaded once in each worker process."""
    import torch

    from dexter import load_classifier, load_generator, load_masked_lm

    torch.set_num_threads(1)
    return load_classifier(classifier), load_generator("lab"), load_masked_lm("lab")


def one_run(
    estimator: str,
    classifier: str,
    class_name: str,
    seed: int,
    preset: str,
    kept: Collection[Outcome] = (),
) -> Outcome:
    """Search words, score them on 100 fresh pictures; or what was ``kept`` of the same recipe."""
    from dexter import RunConfig, activation_score
    from dexter.classifiers import class_index
    from dexter.search.optimize import optimize

    network, generator, masked_lm = models(classifier)
    config = RunConfig.from_preset(
        preset,
        classifier=classifier,
        class_name=class_name,
        seed=seed,
        template=TEMPLATE,
        device="cpu",
        **ESTIMATORS[estimator],
    )
    own = classifier.removeprefix("lab:")
    recipe = f"{of_lab('generator', 'masked_lm', f'classifiers/{own}')} {config.model_dump_json()}"
    for outcome in kept:
        if outcome.recipe == recipe:
            return outcome
    started = time.process_time()
    search = optimize(config, classifier=network, generator=generator, masked_lm=masked_lm)
    for _ in search:
        pass
    cpu_seconds = time.process_time() - started
    result = search.result
    index = class_index(network.labels, class_name)
    score = activation_score(generator, network, index, result.prompt, n=100, batch=20)
    return Outcome(
        estimator,
        classifier,
        class_name,
        seed,
        result.words,
        bool(FAMILIES[class_name] & set(result.words)),
        score.value,
        result.steps,
        result.stop_reason,
        cpu_seconds,
        recipe,
    )


def table(outcomes: Iterable[Outcome]) -> Table:
    """Return a table with a row for each estimator, classifier and class."""
    shown = Table("gradient", "classifier", "class", "named", "score", "steps", "CPU s", "words")
    groups: dict[tuple[str, str, str], list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda o: o.seed):
        key = (outcome.estimator, outcome.classifier, outcome.class_name)
        groups.setdefault(key, []).append(outcome)
    for (estimator, classifier, class_name), runs in sorted(groups.items(), reverse=True):
        shown.add_row(
            estimator,
            classifier,
            class_name,
            f"{sum(run.named for run in runs)} of {len(runs)}",
            f"{statistics.mean(run.score for run in runs):.2f}",
            f"{statistics.mean(run.steps for run in runs):.0f}",
            f"{statistics.mean(run.cpu_seconds for run in runs):.0f}",
            "; ".join(" ".join(run.words) for run in runs),
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0 to N-1 of each")
    parser.add_argument("--estimators", nargs="+", choices=ESTIMATORS, default=list(ESTIMATORS))
    parser.add_argument("--classes", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--classifiers", nargs="+", default=list(CLASSIFIERS))
    parser.add_argument("--preset", default="default")
    parser.add_argument("--jobs", type=int, default=2, help="one-thread processes")
    options = parser.parse_args()
    wanted = [
        (estimator, classifier, class_name, seed, options.preset)
        for classifier in options.classifiers
        for class_name in options.classes
        for estimator in options.estimators
        for seed in range(options.seeds)
        if class_name == "waterbird" or estimator == "mix"
    ]
    console = Console(width=160)
    outcomes = []
    kept = [Outcome(**row) for row in json.loads(RESULTS.read_text())] if RESULTS.exists() else []
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with (
        workers(options.jobs) as pool,
        Progress(console=Console(stderr=True)) as progress,
    ):
        bar = progress.add_task("runs", total=len(wanted))
        runs = [pool.submit(one_run, *arguments, kept) for arguments in wanted]
        for future in as_completed(runs):
            outcomes.append(future.result())
            # Kept at once: a benchmark that is stopped continues from what it has measured.
            if outcomes[-1] not in kept:
                kept.append(outcomes[-1])
                RESULTS.write_text(json.dumps([asdict(o) for o in kept], indent=1) + "\n")
            progress.advance(bar)
    console.print(table(outcomes))
    console.print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
