"""The paired tests of the trained fleet's findings.

Each member's strongest findings are tested as the product does: members of a task are one
screening, and all their claims one family.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from benchmarks.bias import Unit
from benchmarks.screening.tasks import WORK, Task, finish, topic_of
from benchmarks.screening.truth import CLEAN, units_of
from benchmarks.sharing import of_lab, plain
from dexter.lab import fleet, world
from dexter.lab.world import NEGATIVE, POSITIVE
from dexter.reasoning.claims import Candidate, Claim, Proportion
from dexter.reasoning.evidence import Experiment, Witness, corrected
from dexter.screening.pairs import ConceptDetector, PoolLayout
from dexter.screening.screen import Result
from dexter.stats import LOOKS

CANDIDATES = 6
"""Findings of each member that are tested, as `ScreenSettings.candidates`."""
TUNED = ("birds", "pets", "farm", "cars", "blond")
"""The tasks, with 35 of the 70 positives, on which the choice of control pictures was made."""


class Confirmation:
    """The paired tests of findings; the claims of a member are kept, and read on a restart."""

    def __init__(self) -> None:
        from dexter_tui.analysis.store_bank import StoreCache
        from store import Store

        self._journal = WORK / "claims.jsonl"
        self._cache = StoreCache(Store.open(WORK.resolve()))
        lines = self._journal.read_text().splitlines() if self._journal.exists() else []
        self._kept = {
            (row["member"], row["recipe"]): row["claims"] for row in map(json.loads, lines)
        }

    def of_task(self, task: Task, results: dict[str, Result]) -> dict[str, list[Claim]]:
        """Return the claims about each member, corrected as one family."""
        found: dict[str, list[Claim]] = {}
        first: Witness | None = None
        models = task.models
        layout = PoolLayout(topic_of(task.name, models.world), models.pool, known=models.sayable)
        chosen_of = {
            name: [
                Candidate(effect.concept, effect.slot, 1 if effect.effect > 0 else -1)
                for effect in result.findings[:CANDIDATES]
            ]
            for name, result in results.items()
        }
        family = sum(map(len, chosen_of.values()))
        for name, chosen in chosen_of.items():
            weights = of_lab("generator", "image_text", f"classifiers/fleet/{name}")
            pairs = [layout.pairs(one.concept, one.slot, LOOKS[-1]) for one in chosen]
            recipe = hashlib.sha256(f"{weights} {family} {chosen} {pairs}".encode()).hexdigest()
            if (name, recipe) not in self._kept:
                claims, first = self._test(task, name, chosen, family, layout, first)
                rows = [claim.to_dict() | {"contexts": []} for claim in claims]
                self._kept[name, recipe] = rows
                with self._journal.open("a") as file:
                    row = {"member": name, "recipe": recipe, "claims": rows}
                    file.write(json.dumps(row, default=plain) + "\n")
                print(f"confirmation, {name}: {len(rows)} claims", flush=True)
            found[name] = [_claim(row) for row in self._kept[name, recipe]]
        flat = iter(corrected([claim for claims in found.values() for claim in claims]))
        return {name: list(islice(flat, len(claims))) for name, claims in found.items()}

    def _test(
        self,
        task: Task,
        name: str,
        own: Sequence[Candidate],
        family: int,
        layout: PoolLayout,
        beside: Witness | None,
    ) -> tuple[list[Claim], Witness]:
        from dexter.classifiers import load_classifier

        models = task.models
        detector = ConceptDetector(models.detector, models.pool)
        classifier = load_classifier(f"lab:fleet/{name}")
        witness = Witness(models.pictures, classifier, 0, detector, beside=beside)
        topic = topic_of(task.name, models.world)
        experiment = Experiment(witness, topic, layout, placebo_cache=self._cache)
        return experiment.test(own, family=family) if own else [], witness


def _claim(row: dict[str, Any]) -> Claim:
    rates = {k: row[k] and Proportion(**row[k]) for k in ("flips", "prior", "in_frames")}
    return Claim(**(row | rates))


def confirmed_task(
    task: Task, manifest: dict[str, Any], pictures: int, confirmation: Confirmation
) -> dict[str, Any]:
    """Return what confirmation makes of the findings about a task's trained members.

    claims: with the truth of each, None where scenes have none. The truth about a place alone is
    measured on the same scenes as the manifest's families.
    """
    started = time.process_time()
    results = finish(task.screening(pictures, task.state(pictures)), task.trained())
    units = [
        unit
        for name, result in results.items()
        for unit in units_of(name, result, manifest[name]["effects"], manifest[name]["core"])
    ]
    truth = {(unit.classifier, unit.family): unit.effect for unit in units}
    found = confirmation.of_task(task, results)
    truth |= _truth_of_places(
        task.name,
        {
            (name, claim.concept)
            for name, own in found.items()
            for claim in own
            if claim.concept in world.BACKGROUNDS and (name, claim.concept) not in truth
        },
    )
    kept = (
        *("direction", "effect", "low", "high", "p_corrected", "pairs", "detected"),
        *("placebo_threshold", "verdict", "reason"),
    )
    claims = [
        {
            "classifier": name,
            "family": claim.concept,
            "truth": truth.get((name, claim.concept)),
            **{field: getattr(claim, field) for field in kept},
        }
        for name, own in found.items()
        for claim in own
    ]
    return {
        "members": len(results),
        "findings": sum(len(result.findings) for result in results.values()),
        "claims": claims,
        "positives": [asdict(unit) for unit in units if unit.positive],
        "not_drawn": [
            (name, effect.concept)
            for name, result in results.items()
            for effect in result.effects
            if effect.verdict == "not_drawn"
        ],
        "cpu_seconds": time.process_time() - started,
    }


def _truth_of_places(task: str, asked: set[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Return the effect on scenes of a place alone, for each (member, place) of a task."""
    if not asked:
        return {}
    from dexter.classifiers import load_classifier
    from dexter.lab.check import logits

    networks = {name: logits(load_classifier(f"lab:fleet/{name}")) for name, _ in asked}
    measured = fleet.effects(task, networks, only=sorted({place for _, place in asked}))
    return {(name, place): measured[name][place] for name, place in asked}


def confirmed_measures(tasks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the measures of all tasks together, and the main ones of both halves."""
    main = ("tasks", "tested", "confirmed", "true", "between", "false", "precision", "recall")
    halves: dict[str, dict[str, dict[str, Any]]] = {"tuned": {}, "unseen": {}}
    for name, task in tasks.items():
        halves["tuned" if name in TUNED else "unseen"][name] = task
    return _measures(tasks) | {
        "halves": {
            half: {name: of_half[name] for name in (*main, "positives")}
            for half, own in halves.items()
            for of_half in [_measures(own)]
        }
    }


def _measures(tasks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the measures of some tasks.

    precision: true ones among what is confirmed and is true or false. between: confirmed, with an
    effect that is neither. missed: positives that are not confirmed, and why.
    """
    rows = [row for task in tasks.values() for row in task["claims"]]
    positives = [Unit(**unit) for task in tasks.values() for unit in task["positives"]]
    claims = {(row["classifier"], row["family"]): row for row in rows}
    confirmed = [row for row in rows if row["verdict"] == "confirmed"]

    def is_true(row: dict[str, Any]) -> bool:
        truth = row["truth"]
        return truth is not None and truth * row["direction"] >= POSITIVE

    def is_between(row: dict[str, Any]) -> bool:
        truth = row["truth"]
        return truth is not None and NEGATIVE < abs(truth) < POSITIVE

    def why(unit: Unit) -> str:
        row = claims.get((unit.classifier, unit.family))
        if row is None:
            return f"not tested: {unit.why}"
        return f"{row['reason'] or row['verdict']}: in pairs {row['effect']:+.2f}"

    true = {(row["classifier"], row["family"]) for row in confirmed if is_true(row)}
    false = [row for row in confirmed if not is_true(row) and not is_between(row)]
    not_drawn = [tuple(one) for task in tasks.values() for one in task["not_drawn"]]
    return {
        "tasks": list(tasks),
        "findings": sum(task["findings"] for task in tasks.values()),
        "tested": len(rows),
        "confirmed": len(confirmed),
        "true": len(true),
        "between": len(confirmed) - len(true) - len(false),
        "false": [f"{r['family']} of {r['classifier']} ({r['effect']:+.2f})" for r in false],
        "precision": len(true) / max(1, len(true) + len(false)),
        "positives": len(positives),
        "recall": len(true) / max(1, len(positives)),
        "confirmed_of_clean": [
            f"{r['family']} of {r['classifier']} ({r['effect']:+.2f})"
            for r in confirmed
            if r["classifier"] in CLEAN
        ],
        "missed": [
            f"{unit.family} of {unit.classifier} ({unit.effect:+.2f}): {why(unit)}"
            for unit in positives
            if (unit.classifier, unit.family) not in true
        ],
        "not_drawn": {
            "by_screening": len(not_drawn),
            "positives_among_them": [
                f"{unit.family} of {unit.classifier}"
                for unit in positives
                if (unit.classifier, unit.family) in not_drawn
            ],
            "by_pairs": [
                f"{r['family']} of {r['classifier']}" for r in rows if r["reason"] == "not_drawn"
            ],
        },
        "verdicts": dict(Counter(row["reason"] or row["verdict"] for row in rows)),
        "cpu_seconds": sum(task["cpu_seconds"] for task in tasks.values()),
    }
