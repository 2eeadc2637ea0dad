"""The findings of the reference's arithmetic for equal compute, and the cost of bfloat16.

    python -m benchmarks.presets [--steps 120] [--jobs 2]

Words against the measured truth, as in `benchmarks.bias`: preset "quick" beside `--preset
reference` on the whole fleet, and beside itself in bfloat16 on the fixed subset. The reference's
run does not stop at its third hit in a row and has as many steps as the same CPU time allows; it
takes its words from those that both models know, and leaves out the class's own, as ours does, for
else it would be asked something else. Its answer is the words of its best prompt; the table also
has its answer by drivers alone, as in ours. A stopped benchmark continues where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

from benchmarks import bias
from benchmarks.bias import Unit, Words
from dexter import model_folders
from dexter.lab.fleet import FLEET, MANIFEST
from dexter.lab.world import MARK

TARGET = bias.RESULTS / "presets.json"


def what_raises(runs: Sequence[Words], manifest: dict[str, Any]) -> list[Unit]:
    """The questions that a search for the target can answer."""
    units = bias.units_of_words(runs, manifest)
    return [u for u in units if u.kind != MARK and (u.negative or (u.positive and u.effect > 0))]


def differences(ours: Sequence[Unit], theirs: Sequence[Unit]) -> dict[str, Any]:
    """Each measure of both, and the 95% interval of its difference, by a bootstrap over classifiers
    that draws the same ones for both; over all and by kind."""
    rng = np.random.default_rng(0)
    names = sorted({unit.classifier for unit in ours})
    parts = {"all": None, **{kind: kind for kind in sorted({unit.kind for unit in ours})}}
    result: dict[str, Any] = {}
    draws = rng.integers(len(names), size=(bias.RESAMPLES, len(names)))
    for part, kind in parts.items():
        sides = [[u for u in side if kind is None or u.kind == kind] for side in (ours, theirs)]
        by_name = [[[u for u in side if u.classifier == n] for n in names] for side in sides]
        result[part] = {"positives": sum(unit.positive for unit in sides[0])}
        for name, measure in bias.MEASURES.items():
            values = [measure(side) for side in sides]
            if np.isnan(values).any():
                continue
            samples = [
                measure([u for i in draw for u in by_name[0][i]])
                - measure([u for i in draw for u in by_name[1][i]])
                for draw in draws
            ]
            low, high = np.nanpercentile(samples, (2.5, 97.5))
            result[part][name] = {
                "ours": values[0],
                "theirs": values[1],
                "low": float(low),
                "high": float(high),
            }
    return result


def table(title: str, found: dict[str, Any]) -> Table:
    shown = Table("kind", "positives", *bias.MEASURES, title=title)
    for kind, row in found.items():
        cells = [_cell(row.get(name)) for name in bias.MEASURES]
        shown.add_row(kind, str(row["positives"]), *cells)
    return shown


def _cell(value: dict[str, float] | None) -> str:
    if value is None:
        return "–"
    interval = f"{value['low']:+.2f} to {value['high']:+.2f}"
    return f"{value['ours']:.2f} / {value['theirs']:.2f} ({interval})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.presets", description=__doc__)
    parser.add_argument("--steps", type=int, default=120, help="of the reference's arithmetic")
    parser.add_argument("--jobs", type=int, default=2, help="one-thread processes")
    options = parser.parse_args()
    folder = model_folders.find("lab", "classifiers", "fleet")
    manifest = json.loads((folder / MANIFEST).read_text())
    for needed in (bias.WORK, bias.RESULTS):
        needed.mkdir(parents=True, exist_ok=True)
    reference = {"steps": options.steps, "stop": "none", "vocabulary": "shared"}
    comparisons = {
        "reference": (tuple(FLEET), "reference", reference),
        "bfloat16": (bias.SUBSET, "quick", {"dtype": "bfloat16"}),
    }
    record: dict[str, Any] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "steps": options.steps}
    columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn())
    console = Console(width=120)
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for what, (names, preset, changes) in comparisons.items():
            ours = bias.search_words(names, "quick", options.jobs, progress)
            theirs = bias.search_words(names, preset, options.jobs, progress, **changes)
            cpu = [sum(run.cpu_seconds for run in runs) / len(runs) for runs in (ours, theirs)]
            answers = {what: theirs}
            if what == "reference":
                whole = [replace(run, words=run.prompt) for run in theirs]
                answers = {what: whole, f"{what}, words that carry": theirs}
            for whose, runs in answers.items():
                found = differences(what_raises(ours, manifest), what_raises(runs, manifest))
                record[whose] = {"cpu_seconds": cpu, "measures": found}
                title = f"quick / {whose}, {cpu[0]:.1f} / {cpu[1]:.1f} CPU s a search"
                console.print(table(title, found))
            TARGET.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
