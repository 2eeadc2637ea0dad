"""Slices by words of a screening and of searches, by errors and by frequency, on the lab.

    pip install 'dexter-tui[slices]'
    python -m benchmarks.data.slices [--size 2000] [--pictures 400]

Five classifiers with a planted dependence, on scenes of the lab in which class and attribute are
independent. The words of the slices come from a screening, or from 4 searches a class as in the
paper; only the mixture sees errors; true groups only judge. Of each method the worst slice of each
class is judged: does it find the group of the class with the lowest accuracy? Below, the
conjunctions that hold most errors. Writes results/slices.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dexter.classifiers import Classifier, load_classifier
from dexter.data import baselines, slices
from dexter.data.concepts import concepts_of
from dexter.data.folder import class_indices, read_data
from dexter.data.searches import prototypes, search_config
from dexter.data.slices import Looked, Slice

TARGET = Path("benchmarks/results/slices.json")
MEMBERS = (
    ("lab:birds-biased", "waterbird", "lab:birds", "place"),
    ("lab:fleet/pets-ball-100", "cat", "lab:context", "item"),
    ("lab:fleet/cars-red-100-vit", "car", "lab:colours", "colour"),
    ("lab:fleet/old-dark-95-vit", "old", "lab:faces", "skin"),
    ("lab:fleet/old-male-100", "old", "lab:faces", "gender"),
)
METHODS = OURS, SEARCHED, ERRORS, FREQUENCY = (
    "words of a screening",
    "words of searches (paper)",
    "errors (mixture)",
    "frequent words",
)
SEARCHES = 4
CHANCE = {"auroc": 0.5, "f1": 0.0, "precision_at": 0.0}
"""Of a class without a slice, or whose slice fits another group."""


def screened(classifier: Classifier, label: str, pictures: int) -> list[dict[str, Any]]:
    """Return the effects of a screening, findings first."""
    from dexter.generation.bank import MemoryBank
    from dexter.generation.generator import load_generator
    from dexter.generation.pictures import Pictures
    from dexter.reasoning.detection import load_detector
    from dexter.reasoning.topic import load_world, make_topic
    from dexter.screening import screen
    from dexter.screening.concepts import lab_pool

    world = load_world()
    generator = load_generator("lab")
    target = classifier.labels.index(label)
    screening = screen.Screening(
        lab_pool(world), make_topic(classifier.labels, target, world=world),
        Pictures(generator, generator.weights_hash, MemoryBank()), load_detector("lab"),
        screen.Settings(pictures=pictures), screen.MemoryAnswers(),
    )  # fmt: skip
    result = None
    for event in screening.run([screen.member("it", classifier, target)]):
        if isinstance(event, screen.Judged) and event.finished:
            result = event.results["it"]
    assert result is not None
    ordered = [*result.findings, *(e for e in result.effects if e not in result.findings)]
    names = ("slot", "concept", "verdict", "effect", "core")
    return [{name: getattr(e, name) for name in names} for e in ordered]


def searched(classifier: Classifier, targets: Iterable[int]) -> dict[str, list[str]]:
    """Return the words of searches of each class."""
    from dexter.config import RunConfig
    from dexter.generation.generator import load_generator
    from dexter.reasoning.topic import load_world, make_topic
    from dexter.search.optimize import optimize
    from dexter.search.prompt import load_masked_lm

    generator, masked_lm = load_generator("lab"), load_masked_lm("lab")
    config = RunConfig.from_preset("quick", classifier=classifier.spec, class_name="0")
    words: dict[str, list[str]] = {}
    for target in targets:
        topic = make_topic(classifier.labels, target, world=load_world())
        own = words.setdefault(topic.class_name, [])
        while len(own) < SEARCHES:
            search = optimize(
                search_config(config, topic, own),
                classifier=classifier,
                generator=generator,
                masked_lm=masked_lm,
            )
            for _ in search:
                pass
            own.append(search.result.words[0])
    return words


def hardest(looked: Looked, target: int, column: str) -> str:
    """Return the true group of a class with the lowest accuracy, as judges name it."""
    of_class = np.flatnonzero(looked.targets == target)
    values = np.array([looked.items[int(at)].groups[column] for at in of_class])
    right = looked.right[of_class]
    worst = min(np.unique(values), key=lambda value: right[values == value].mean())
    return f"{column} = {worst}"


def row_of(found: Iterable[Slice], label: str, group: str) -> dict[str, Any]:
    """Return how well the first slice of a class finds its hardest group."""
    first = next((one for one in found if one.label == label), None)
    judged = None if first is None else first.judged
    fits = judged is not None and judged.group == group
    own = {name: getattr(judged, name) for name in CHANCE} if fits else CHANCE
    return {"slice": None if first is None else first.name, "fits": fits, **own}


def measure(size: int, pictures: int) -> dict[str, Any]:
    """Measure all members."""
    from dexter.reasoning.detection import load_detector
    from dexter.reasoning.topic import load_world
    from dexter.screening.concepts import lab_pool

    pool = lab_pool(load_world())
    detector = load_detector("lab")
    rows: list[dict[str, Any]] = []
    patterns, of_searches = {}, {}
    for spec, label, source, column in MEMBERS:
        begun = time.process_time()
        classifier = load_classifier(spec)
        labels = classifier.labels
        concepts = concepts_of(screened(classifier, label, pictures), pool)
        data = read_data(source, size=size).of_split("test")
        classes = class_indices(data.labels, labels)
        looked = slices.look(data, classes, classifier, detector)
        looks = dict.fromkeys(look for one in pool.concepts for look in one.looks)
        frequent = [look for look in looks if look not in labels]
        drawing = time.process_time()
        words = searched(classifier, sorted(set(classes.values())))
        drawing = time.process_time() - drawing
        found = {
            OURS: slices.find_slices(looked, concepts, labels, detector, group=column),
            SEARCHED: slices.find_slices(looked, prototypes(words), labels, detector, group=column),
            ERRORS: baselines.mixture_slices(looked, labels, group=column),
            FREQUENCY: baselines.frequent_slices(looked, frequent, labels, detector, group=column),
        }
        for target in sorted(set(classes.values())):
            group = hardest(looked, target, column)
            for method, own in found.items():
                one = row_of(own, labels[target], group)
                rows.append(
                    {"classifier": spec, "class": labels[target], "method": method,
                     "group": group, **one}
                )  # fmt: skip
        if concepts:
            known = baselines.conjunctions(looked, concepts, labels, detector)
            patterns[spec] = [asdict(one) for one in known[:3]]
        of_searches[spec] = {"words": words, "cpu_seconds": round(drawing)}
        seconds = time.process_time() - begun
        print(f"{spec}: {[c.name for c in concepts]}, {words}, {seconds:.0f} CPU s", flush=True)
    return {"slices": rows, "searches": of_searches, "conjunctions": patterns}


def markdown(found: dict[str, Any]) -> str:
    """Return the tables of the documents."""
    lines = [
        "| slices by | AUROC | F1 | precision@10 | hardest group found |",
        "|---|---|---|---|---|",
    ]
    by_place: dict[tuple[str, str], dict[str, Any]] = {}
    for row in found["slices"]:
        by_place.setdefault((row["classifier"], row["class"]), {})[row["method"]] = row
    for method in METHODS:
        own = [by[method] for by in by_place.values()]
        means = [f"{np.mean([row[key] for row in own]):.2f}" for key in CHANCE]
        fits = sum(row["fits"] for row in own)
        lines.append(f"| {method} | {' | '.join(means)} | {fits} of {len(own)} |")
    lines += [
        "",
        "| classifier | class | hardest group | slice by words | AUROC, F1 | searches | errors "
        "| frequency |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (spec, label), by in by_place.items():
        cells = [f"{by[m]['auroc']:.2f}, {by[m]['f1']:.2f}" for m in METHODS]
        lines.append(f"| `{spec}` | {label} | {by[OURS]['group']} | {by[OURS]['slice'] or 'none'} "
                     f"| {' | '.join(cells)} |")  # fmt: skip
    lines += ["", "| classifier | conjunction | pictures | wrong |", "|---|---|---|---|"]
    for spec, rows in found["conjunctions"].items():
        for row in rows:
            lines.append(f"| `{spec}` | {' and '.join(row['attributes'])} | {row['pictures']} | "
                         f"{row['errors']:.2f} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--target", type=Path, default=TARGET)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.process_time()
    found: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "scenes": asked.size // 2,
        "screened": asked.pictures, **measure(asked.size, asked.pictures),
    }  # fmt: skip
    found["cpu_seconds"] = round(time.process_time() - begun)
    asked.target.write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(found))


if __name__ == "__main__":
    main()
