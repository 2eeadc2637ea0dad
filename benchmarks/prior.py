"""Searches with and without the effects of a screening: how soon they find what matters.

    python -m benchmarks.prior [--seeds 3] [--pictures 800] [--jobs 2]

The preset ``quick``, with and without the effects of a screening of the same member, for members of
two tasks and for both directions. A search has found something when its best words name a family
that moves the class its way by 0.20 or more (`POSITIVE`), and is no part of the class.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import as_completed
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np

from benchmarks.bias import RESULTS
from benchmarks.screening.tasks import Task, finish, load
from benchmarks.sharing import workers
from dexter import RunConfig, model_folders
from dexter.lab.fleet import FLEET, MANIFEST, TASKS, families
from dexter.lab.world import KINDS, MARK, POSITIVE, SUBJECTS
from dexter.screening.screen import MemoryAnswers
from dexter.screening.word_effects import WordEffects, word_effects

TARGET = RESULTS / "prior.json"
NAMING = {
    "birds": "a picture of a [MASK] duck with [MASK] and [MASK]",
    "old": "a picture of a old [MASK] man with [MASK] and [MASK]",
}
"""Tasks, and templates that name the class, for a search that lowers it."""
STEPS = 12
NEVER = STEPS + 1


def screened(task: str, pictures: int) -> dict[str, WordEffects]:
    """Return the effects of words on the log-odds of the target, by member of a task."""
    models = load()
    own = Task(task, models, MemoryAnswers())
    return {
        name: word_effects(
            models.pool, [(e.slot, e.concept, *e.log_odds) for e in result.effects], result.level
        )
        for name, result in finish(own.screening(pictures), own.trained()).items()
    }


def sought(name: str, row: dict[str, Any], direction: str) -> set[str]:
    """Return the words of the families that move the target of a member this way."""
    sign = 1 if direction == "raise" else -1
    found = set()
    for family, effect in row["effects"].items():
        slot, words = families()[family]
        said = family not in row["core"] and family != MARK
        # Gender is a choice of subjects, which a search that lowers may not name.
        if said and sign * effect >= POSITIVE and (sign > 0 or slot != "gender"):
            found |= {family, *words}
    return found


def question(name: str, direction: str, seed: int, effects: WordEffects | None) -> RunConfig:
    task = TASKS[FLEET[name].task]
    lower = direction == "lower"
    subjects = {*SUBJECTS, *KINDS} - {"water", "land"}  # which are places too
    return RunConfig.from_preset(
        "quick",
        classifier=f"lab:fleet/{name}",
        class_name=task.labels[0],
        seed=seed,
        template=NAMING[FLEET[name].task] if lower else task.template,
        exclude_words=(*task.own_words, *(sorted(subjects) if lower else ())),
        direction=direction,
        word_effects=effects,
        stop="none",
        steps=STEPS,
        device="cpu",
    )


@cache
def _models() -> dict[str, Any]:
    import torch

    from dexter.generation.generator import load_generator
    from dexter.search.prompt import load_masked_lm

    torch.set_num_threads(1)
    return {"generator": load_generator("lab"), "masked_lm": load_masked_lm("lab")}


def best_words(config: RunConfig) -> list[tuple[str, ...]]:
    """Return the best words so far, by step."""
    from dexter.classifiers import load_classifier
    from dexter.search.optimize import optimize

    models = _models()  # one thread, before anything is loaded
    classifier = load_classifier(config.classifier)
    return [step.best_words for step in optimize(config, classifier=classifier, **models)]


def questions(seeds: int, pictures: int) -> Iterator[tuple[dict[str, Any], RunConfig, set[str]]]:
    """Return the row, the settings and the words sought of every search."""
    folder = model_folders.find("lab", "classifiers", "fleet")
    manifest = json.loads((folder / MANIFEST).read_text())
    for task in NAMING:
        for name, effects in screened(task, pictures).items():
            for direction in ("raise", "lower"):
                words = sought(name, manifest[name], direction)
                for seed in range(seeds if words else 0):
                    row = {"classifier": name, "direction": direction, "seed": seed}
                    for arm, known in (("without", None), ("with", effects)):
                        config = question(name, direction, seed, known)
                        yield row | {"arm": arm}, config, words


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return counts by direction: searches, steps until something is found, which arm was first."""
    result = {}
    for direction in ("raise", "lower"):
        arms = [
            {(row["classifier"], row["seed"]): row["found_at"] for row in rows
             if (row["direction"], row["arm"]) == (direction, arm)}
            for arm in ("without", "with")
        ]  # fmt: skip
        pairs = np.array([[arm[key] for arm in arms] for key in sorted(arms[0])])
        earlier, later = (int((sign * np.diff(pairs)[:, 0] < 0).sum()) for sign in (1, -1))
        result[direction] = {
            "searches": len(pairs),
            "median_step": dict(zip(("without", "with"), np.median(pairs, 0), strict=True)),
            "found": dict(zip(("without", "with"), (pairs < NEVER).sum(0).tolist(), strict=True)),
            "earlier_with": earlier,
            "later_with": later,
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prior", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=800, help="of the screening")
    parser.add_argument("--jobs", type=int, default=2, help="one-thread processes")
    options = parser.parse_args()
    rows = []
    with workers(options.jobs) as pool:
        asked = {
            pool.submit(best_words, config): (row, words)
            for row, config, words in questions(options.seeds, options.pictures)
        }
        for future in as_completed(asked):
            row, words = asked[future]
            best = future.result()
            step = next((at for at, one in enumerate(best, 1) if words & set(one)), NEVER)
            rows.append(row | {"found_at": step, "best": best[-1]})
            print(f"{len(rows)} of {len(asked)}: {rows[-1]}", flush=True)
    record = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "steps": STEPS, **summary(rows)}
    rows.sort(key=lambda row: (row["classifier"], row["direction"], row["seed"], row["arm"]))
    TARGET.write_text(json.dumps({**record, "rows": rows}, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
