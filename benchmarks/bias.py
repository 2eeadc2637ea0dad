"""How often the findings are true: the fleet of planted classifiers, words against measured truth.

A unit is (classifier, its target class, attribute family). It is positive if drawing the attribute
into real scenes changes the target's probability by 0.20 or more in the mean, negative at 0.05 or
less; between them, and for what the class is by definition, nothing is scored. The words of three
seeds name a family if at least two of them have a word of it; what ranks the units is the share of
seeds that do. `make bench-bias` takes a fixed subset, `make bench-bias-full` the whole fleet; both
go on where they were stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

from dexter.lab.fleet import FLEET, MANIFEST, MARK, NEGATIVE, POSITIVE, TASKS, families

RESULTS = Path("benchmarks/results")
SEEDS = 3
SUBSET = (
    "birds-water-100", "pets-ball-100", "cars-red-100", "blond-female-100", "old-dark-95",
    "woman-blond-100", "birds-clean", "pets-clean", "cars-clean", "woman-clean",
)  # fmt: skip
RESAMPLES = 2000


@dataclass(frozen=True)
class Words:
    """What one run answered."""

    classifier: str
    seed: int
    words: tuple[str, ...]
    cpu_seconds: float


@dataclass(frozen=True)
class Unit:
    """One question with a known answer."""

    classifier: str
    family: str
    kind: str
    effect: float
    """Measured on real scenes."""
    score: float
    """What the product says: here the share of seeds that name the family."""

    @property
    def positive(self) -> bool:
        return abs(self.effect) >= POSITIVE

    @property
    def negative(self) -> bool:
        return abs(self.effect) <= NEGATIVE

    @property
    def claimed(self) -> bool:
        return self.score > 0.5


# --- runs -----------------------------------------------------------------------------------------


@cache
def _models() -> tuple[Any, Any]:
    """Loaded once in each worker process."""
    import torch

    from dexter import load_generator, load_masked_lm

    torch.set_num_threads(1)
    return load_generator("lab"), load_masked_lm("lab")


def one_run(name: str, seed: int, overrides: dict[str, Any]) -> Words:
    from dexter import RunConfig, load_classifier
    from dexter.optimize import optimize

    generator, masked_lm = _models()
    task = TASKS[FLEET[name].task]
    settings = {"preset": "quick", **overrides}
    config = RunConfig.from_preset(
        str(settings.pop("preset")),
        classifier=f"lab:fleet/{name}",
        class_name=task.labels[0],
        seed=seed,
        template=task.template,
        device="cpu",
        **settings,
    )
    started = time.process_time()
    search = optimize(
        config,
        classifier=load_classifier(config.classifier),
        generator=generator,
        masked_lm=masked_lm,
    )
    for _ in search:
        pass
    return Words(name, seed, search.result.words, time.process_time() - started)


def collect(
    names: Sequence[str], journal: Path, jobs: int, overrides: dict[str, Any]
) -> list[Words]:
    """Every run of these classifiers; those that the journal has are not done again."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    done = []
    if journal.exists():
        rows = [json.loads(line) for line in journal.read_text().splitlines()]
        done = [Words(**{**row, "words": tuple(row["words"])}) for row in rows]
    have = {(run.classifier, run.seed) for run in done}
    wanted = [(name, seed) for name in names for seed in range(SEEDS) if (name, seed) not in have]
    with (
        ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool,
        Progress(
            *Progress.get_default_columns()[:-1],
            TimeRemainingColumn(),
            console=Console(stderr=True),
        ) as progress,
    ):
        bar = progress.add_task("runs", total=len(wanted) + len(have), completed=len(have))
        for future in as_completed([pool.submit(one_run, *pair, overrides) for pair in wanted]):
            run = future.result()
            done.append(run)
            with journal.open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")
            progress.advance(bar)
    return [run for run in done if run.classifier in names]


# --- against the truth ----------------------------------------------------------------------------


def units(runs: Iterable[Words], manifest: dict[str, Any]) -> list[Unit]:
    """Every question about the classifiers that were run."""
    answers: dict[str, list[set[str]]] = {}
    for run in runs:
        answers.setdefault(run.classifier, []).append(set(run.words))
    found = []
    for name, seeds in answers.items():
        member = manifest[name]
        for family, effect in member["effects"].items():
            kind, words = families()[family]
            if family in member["core"]:
                continue
            named = [bool(set(words) & said) for said in seeds]
            found.append(Unit(name, family, kind, effect, sum(named) / len(named)))
    return found


def recall(found: Sequence[Unit]) -> float:
    hits = [unit.claimed for unit in found if unit.positive]
    return float(np.mean(hits)) if hits else float("nan")


def false_claims(found: Sequence[Unit]) -> float:
    hits = [unit.claimed for unit in found if unit.negative]
    return float(np.mean(hits)) if hits else float("nan")


def auroc(found: Sequence[Unit]) -> float:
    """Probability that a positive is ranked above a negative, ties counting half."""
    positive = np.array([unit.score for unit in found if unit.positive])
    negative = np.array([unit.score for unit in found if unit.negative])
    if not len(positive) or not len(negative):
        return float("nan")
    above = positive[:, None] - negative[None, :]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


MEASURES: dict[str, Callable[[Sequence[Unit]], float]] = {
    "recall": recall,
    "false_claim_rate": false_claims,
    "auroc": auroc,
}


def summary(found: Sequence[Unit], rng: np.random.Generator) -> dict[str, Any]:
    """Each measure with its 95% interval, by a bootstrap over classifiers."""
    by_classifier: dict[str, list[Unit]] = {}
    for unit in found:
        by_classifier.setdefault(unit.classifier, []).append(unit)
    groups = list(by_classifier.values())
    draws: dict[str, list[float]] = {name: [] for name in MEASURES}
    for _ in range(RESAMPLES):
        chosen = rng.integers(len(groups), size=len(groups))
        sample = [unit for index in chosen for unit in groups[index]]
        for name, measure in MEASURES.items():
            draws[name].append(measure(sample))
    result: dict[str, Any] = {
        "positives": sum(unit.positive for unit in found),
        "negatives": sum(unit.negative for unit in found),
    }
    for name, measure in MEASURES.items():
        values = np.array(draws[name])
        value = measure(found)
        if np.isnan(value):
            result[name] = None
            continue
        low, high = np.nanpercentile(values, (2.5, 97.5))
        result[name] = {"value": value, "low": float(low), "high": float(high)}
    return result


def evaluate(found: Sequence[Unit]) -> dict[str, Any]:
    """Over all kinds and by kind; the mark, which has no word, stands apart."""
    rng = np.random.default_rng(0)
    worded = [unit for unit in found if unit.kind != MARK]
    kinds = sorted({unit.kind for unit in found})
    return {"all": summary(worded, rng)} | {
        kind: summary([unit for unit in found if unit.kind == kind], rng) for kind in kinds
    }


def table(results: dict[str, Any]) -> Table:
    shown = Table("kind", "positives", "negatives", *MEASURES)
    for kind, row in results.items():
        cells = [
            f"{row[name]['value']:.2f} ({row[name]['low']:.2f} to {row[name]['high']:.2f})"
            if row[name]
            else "–"
            for name in MEASURES
        ]
        shown.add_row(kind, str(row["positives"]), str(row["negatives"]), *cells)
    return shown


def main() -> None:
    from dexter import checkpoints

    parser = argparse.ArgumentParser(prog="python -m benchmarks.bias", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the whole fleet")
    parser.add_argument("--jobs", type=int, default=2, help="one-thread processes")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier call measured")
    options = parser.parse_args()
    names = tuple(FLEET) if options.full else SUBSET
    name = "bias-full" if options.full else "bias-subset"
    journal = Path("build") / "bench" / f"bias-{options.preset}.jsonl"
    if options.fresh:
        journal.unlink(missing_ok=True)
    folder = checkpoints.find("lab", "classifiers", "fleet")
    manifest = json.loads((folder / MANIFEST).read_text())
    started = time.monotonic()
    runs = collect(names, journal, options.jobs, {"preset": options.preset})
    found = units(runs, manifest)
    results = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "preset": options.preset,
        "classifiers": len(names),
        "seeds": SEEDS,
        "cpu_seconds": sum(run.cpu_seconds for run in runs),
        "words": evaluate(found),
        "units": [asdict(unit) for unit in found],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    target = RESULTS / f"{name}.json"
    target.write_text(json.dumps(results, indent=1) + "\n")
    console = Console(width=120)
    console.print(table(results["words"]))
    console.print(f"{time.monotonic() - started:.0f} s; written to {target}")


if __name__ == "__main__":
    main()
