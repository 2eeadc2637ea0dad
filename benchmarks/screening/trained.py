"""The trained fleet, and one more classifier on a bank that exists."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.bias import Unit
from benchmarks.screening.tasks import Task, finish
from benchmarks.screening.truth import measures, units_of
from dexter.screening.screen import Result, member


def trained_fleet(tasks: Sequence[Task], manifest: dict[str, Any], pictures: int) -> dict[str, Any]:
    """The trained fleet at one budget."""
    units: list[Unit] = []
    results: dict[str, Result] = {}
    seconds, drawn_pictures = 0.0, 0
    for task in tasks:
        members = task.trained()
        screening = task.screening(pictures)
        started = time.process_time(), task.models.generator.seconds
        found = finish(screening, members)
        drawing = task.models.generator.seconds - started[1]
        seconds += time.process_time() - started[0] - drawing
        drawn_pictures += sum(part.count for part in screening.rounds)
        task.kept.write_text(json.dumps(screening.state()))
        results.update(found)
        for name, result in found.items():
            units += units_of(name, result, manifest[name]["effects"], manifest[name]["core"])
        print(f"{pictures} pictures, {task.name}: {task.models.pictures.drawn} drawn", flush=True)
    return {
        **measures(units, results),
        "pictures": drawn_pictures,
        "cpu_seconds_beside_drawing": seconds,
        "blond_clean": {
            e.concept: [e.verdict, round(e.effect, 3), e.explained_by]
            for e in results["blond-clean"].effects
            if e.slot == "age"
        }
        if "blond-clean" in results
        else {},
    }


def further_classifier(task: Task, pictures: int) -> dict[str, float]:
    """CPU seconds of one more classifier on an existing bank, and pictures drawn for it (0)."""
    from dexter.classifiers import load_classifier

    drawn = task.models.pictures.drawn
    started = time.process_time()
    again = member("again", load_classifier("lab:birds-biased"), 0)
    loaded = time.process_time()
    screening = task.screening(pictures, task.state(pictures))
    finish(screening, [again])
    return {
        "load": loaded - started,
        "look_and_judge": time.process_time() - loaded,
        "drawn": task.models.pictures.drawn - drawn,
    }
