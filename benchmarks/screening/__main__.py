"""The table of the screening: both fleets against known truth, and A/A tests.

    python -m benchmarks.screening [--pictures 800 400 1600]
        [--parts trained gated surrogate confirmed aa] [--tasks birds ...]

Units, truth and bootstraps are those of `benchmarks.bias`. Members of a task share one bank, drawn
once; it is kept, so that a benchmark that was stopped continues. The gated fleet
(`dexter.lab.gated`) looks at the same pictures: whatever was tuned was tuned on its even half, and
the odd half is reported. Confirmation tests each trained member's strongest findings on pairs, as
the product does: members of a task are one screening, and all their claims one family. An A/A test
screens a classifier that cannot depend on anything.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks import bias
from benchmarks.screening.blind import TESTS, aa_tests
from benchmarks.screening.confirmation import Confirmation, confirmed_measures, confirmed_task
from benchmarks.screening.known import gated_fleet
from benchmarks.screening.tasks import Task, load
from benchmarks.screening.trained import further_classifier, trained_fleet
from benchmarks.screening.unseen_words import surrogate
from benchmarks.sharing import plain
from dexter import model_folders
from dexter.lab.fleet import MANIFEST, TASKS
from dexter.screening.screen import MemoryAnswers, Settings

TARGET = bias.RESULTS / "screening.json"
PARTS = ("trained", "gated", "surrogate", "confirmed", "aa")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screening", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--pictures", type=int, nargs="+", default=[800, 400, 1600])
    parser.add_argument(
        "--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="tasks to confirm"
    )
    parser.add_argument("--tests", type=int, default=TESTS, help="A/A tests")
    options = parser.parse_args()
    record = json.loads(TARGET.read_text()) if TARGET.exists() else {"trained": {}}
    record["date"] = f"{datetime.now(UTC):%Y-%m-%d}"
    if "aa" in options.parts:
        record["aa"] = aa_tests(options.tests)
        write(record)
    if set(options.parts) - {"aa"}:
        fleets(record, options.parts, options.pictures, options.tasks)
    show(record)


def fleets(
    record: dict[str, Any], parts: Sequence[str], budgets: Sequence[int], only: Sequence[str]
) -> None:
    """Measure the fleets, and write the record after each budget."""
    folder = model_folders.find("lab", "classifiers", "fleet")
    manifest = json.loads((folder / MANIFEST).read_text())
    models = load()
    tasks = [Task(name, models, MemoryAnswers()) for name in TASKS]
    for pictures in budgets:
        if "trained" in parts:
            record["trained"][str(pictures)] = trained_fleet(tasks, manifest, pictures)
            record["further_classifier"] = further_classifier(tasks[0], pictures)
            if models.pictures.drawn:
                record["cpu_seconds_a_picture"] = models.generator.seconds / models.pictures.drawn
            write(record)
        if "gated" in parts:
            record.setdefault("gated", {})[str(pictures)] = gated_fleet(tasks, pictures)
            write(record)
    if "surrogate" in parts:  # reads the answers of the gated fleet
        record["surrogate"] = surrogate(tasks, max(budgets))
        write(record)
    if "confirmed" in parts:
        kept = record.setdefault("confirmed", {}).setdefault("by_task", {})
        confirmation = Confirmation()
        for task in tasks:
            if task.name in only:
                kept[task.name] = confirmed_task(task, manifest, Settings().pictures, confirmation)
                record["confirmed"] |= confirmed_measures(kept)
                write(record)


def write(record: dict[str, Any]) -> None:
    """Write the record, complete or not."""
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(record, indent=1, default=plain) + "\n")


def show(record: dict[str, Any]) -> None:
    """Print the measures, one line a part."""
    parts = {f"trained, {n} pictures": row for n, row in record["trained"].items()}
    for n, row in record.get("gated", {}).items():
        parts |= {f"gated, {n} pictures, {half}": row[half] for half in ("tuned", "unseen")}
    for name, row in parts.items():
        found = row["measures"]
        numbers = [
            f"{label} {found[part][measure]['value']:.3f}"
            for label, part, measure in (
                ("recall", "all", "recall"),
                ("raises", "raises", "recall"),
                ("lowers", "lowers", "recall"),
                ("false claims", "all", "false_claim_rate"),
                ("AUROC", "all", "auroc"),
            )
            if found[part][measure] is not None
        ]
        more = f"false among said {row['false_share_of_said']:.3f}"
        clean = (
            f"clean with a false finding {len(row['clean_with_a_false_finding'])}/{row['clean']}"
        )
        print(f"{name}: {', '.join(numbers)}, {more}, {clean}")
        if "slope" in row:
            print(f"  slope {row['slope']:.3f}, r {row['r']:.3f} over {row['pairs']} effects")
    if "confirmed" in record:
        for name, row in {"all": record["confirmed"], **record["confirmed"]["halves"]}.items():
            print(
                f"confirmed, {name}, {len(row['tasks'])} tasks: {row['confirmed']} of "
                f"{row['tested']} tested, precision {row['precision']:.3f}, recall "
                f"{row['recall']:.3f} of {row['positives']}, false: {row['false'] or 'none'}"
            )
    if "aa" in record:
        aa = record["aa"]
        print(f"A/A: {aa['false']} of {aa['tests']} screenings with a finding")
    if "further_classifier" in record:
        print(f"further classifier: {record['further_classifier']}")


if __name__ == "__main__":
    main()
