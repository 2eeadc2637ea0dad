"""Bias explanation without data, over classifiers of people whose biases are known.

    python -m benchmarks.paper.explain_bias [--pictures 800] [--scenes 2000]

Each classifier of the lab's three tasks about people (blond, old, woman) gets two reports of one
form: a screening's, from generated pictures alone, and one from labelled scenes. The classifiers
are the trained fleet and the gated one. A classifier is biased if age, gender, skin or hair, as far
as they do not define its class, change p(class) on scenes by 0.20 or more, and clean if none of
them changes it by more than 0.05; those between are listed, not scored. The truth of the trained
fleet is its manifest; that of gated classifiers is measured in the same way, because their class
score is the image-text model's, which itself depends on people's attributes.

The bank is that of `benchmarks.screening`: what it has drawn is not drawn again. Nothing here was
tuned: verdicts, thresholds and budget are the product's defaults.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import bias
from benchmarks.screening import tasks
from dexter import model_folders, stats
from dexter.lab import fleet, gated
from dexter.lab.scenes import Scene, render
from dexter.lab.world import NEGATIVE, POSITIVE
from dexter.reasoning.agreement import Sentences, load_sentences
from dexter.screening.people import (
    Agreement,
    BiasReport,
    agreement,
    people_scenes,
    report,
)
from dexter.screening.screen import Member, MemoryAnswers, Result, Settings, judge_labelled

TASKS = ("blond", "old", "woman")
TARGET = bias.RESULTS / "explain_bias.json"
TRUTH_SCENES = 400
"""Scenes on which the effects of the gated classifiers are measured."""
_BATCH = 64


@dataclass
class Case:
    """A classifier with its truth and its two reports. truth: family to effect on scenes."""

    name: str
    task: str
    kind: str
    truth: dict[str, float]
    free: BiasReport
    driven: BiasReport
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def largest(self) -> float:
        """Return the largest true effect of an attribute."""
        return max(map(abs, self.truth.values()), default=0.0)

    @property
    def is_biased(self) -> bool | None:
        """Return whether it is biased; None between the thresholds."""
        if self.largest >= POSITIVE:
            return True
        return False if self.largest <= NEGATIVE else None

    @property
    def claims(self) -> set[tuple[str, int]]:
        """Return concept and sign of the true dependences."""
        return {(f, 1 if e > 0 else -1) for f, e in self.truth.items() if abs(e) >= POSITIVE}


def people_families(core: Sequence[str]) -> list[str]:
    """Return the families of people's attributes that do not define a class."""
    return [
        name
        for name, (kind, _) in fleet.families().items()
        if kind in ("age", "skin", "hair", "gender") and name not in core
    ]


Logits = Callable[[NDArray[np.float32]], NDArray[np.float64]]


class Task:
    """A task's classifiers, seen on generated pictures and on scenes."""

    def __init__(self, name: str, models: tasks.Models, pictures: int, scenes: int) -> None:
        self.name = name
        self.models = models
        self.inner = tasks.Task(name, models, MemoryAnswers())
        self.topic = tasks.topic_of(name, models.world)
        self.pictures = pictures
        self.scenes = scenes
        self.core = list(fleet.TASKS[name].core)
        self.gates = [gate for gate in gated.fleet() if gate.task == name]

    def cases(self, manifest: Mapping[str, Any]) -> list[Case]:
        """Return all classifiers of the task with their reports."""
        trained = self.inner.trained()
        results = self._free(trained)
        drawn = people_scenes(self.topic, self.scenes)
        cells = [cell for _, cell in drawn]
        odds = self._on_scenes(trained, [scene for scene, _ in drawn])
        truth = {name: manifest[name]["effects"] for name in (one.name for one in trained)}
        truth |= self._truth_of_gates()
        wanted = people_families(self.core)
        found = []
        for name, result in results.items():
            free = report(self.topic.class_name, "screening", map(asdict, result.effects))
            driven_result = judge_labelled(
                name, odds[name], cells, self.models.pool, self.topic, Settings()
            )
            driven = report(self.topic.class_name, "scenes", map(asdict, driven_result.effects))
            own = {family: float(truth[name][family]) for family in wanted if family in truth[name]}
            kind = "gated" if name.startswith("gated-") else "trained"
            found.append(Case(name, self.name, kind, own, free, driven))
        print(f"{self.name}: {len(found)} classifiers", flush=True)
        return found

    def _free(self, trained: Sequence[Member]) -> dict[str, Result]:
        """Screen the trained fleet, then the gated one on the same pictures."""
        one = self.inner.screening(self.pictures)
        results = tasks.finish(one, trained)
        self.inner.kept.write_text(json.dumps(one.state()))
        requests = [cell.request for cell in one.cells()]
        kept = self.inner.answers.read(one.detector_key, requests)
        features = torch.from_numpy(np.stack([kept[r] for r in requests]))
        members = []
        for gate in self.gates:
            member = Member(gate.name, gate.name, _nobody)
            rows = _odds(gated.Gated(gate), features).astype(np.float32)[:, None]
            self.inner.answers.keep(one.key(member), requests, rows)
            members.append(member)
        state = self.inner.state(len(requests))
        return results | tasks.finish(self.inner.screening(len(requests), state), members)

    def _on_scenes(
        self, trained: Sequence[Member], scenes: Sequence[Scene]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the log-odds of every classifier for the scenes."""
        rows: dict[str, list[NDArray[np.float64]]] = {one.name: [] for one in trained}
        features = []
        for at in range(0, len(scenes), _BATCH):
            images = np.stack([render(scene) for scene in scenes[at : at + _BATCH]])
            for member in trained:
                rows[member.name].append(member.classify(images))
            features.append(torch.from_numpy(self.models.detector.embed(images)))
        found = {name: np.concatenate(parts) for name, parts in rows.items()}
        together = torch.cat(features)
        return found | {gate.name: _odds(gated.Gated(gate), together) for gate in self.gates}

    def _truth_of_gates(self) -> dict[str, dict[str, float]]:
        """Measure the effects of the gated classifiers as the fleet's were: on swapped scenes."""
        detector = self.models.detector

        def view(scenes: list[Scene]) -> torch.Tensor:
            images = np.stack([render(scene) for scene in scenes])
            return torch.from_numpy(detector.embed(images))[:, :, None, None]

        def network(gate: gated.Gate) -> Callable[[torch.Tensor], torch.Tensor]:
            own = gated.Gated(gate)
            return lambda features: own.logits(features[:, :, 0, 0])

        networks = {gate.name: network(gate) for gate in self.gates}
        wanted = people_families(self.core)
        return fleet.effects(self.name, networks, TRUTH_SCENES, wanted, view)


def _odds(network: gated.Gated, features: torch.Tensor) -> NDArray[np.float64]:
    with torch.inference_mode():
        logits = network.logits(features).double()
    found: NDArray[np.float64] = (logits[:, 0] - logits[:, 1:].logsumexp(1)).numpy()
    return found


def _nobody(images: Any) -> Any:
    raise AssertionError("every answer was kept")


# --- measures -------------------------------------------------------------------------------------


def against_truth(case: Case, of: BiasReport) -> dict[str, int]:
    """Count true claims, false ones and dependences. A claim whose true effect lies between the
    thresholds, with its sign, is neither true nor false."""
    said = {(one.concept, 1 if one.effect > 0 else -1) for one in of.biases}
    true = said & case.claims
    false = {
        (concept, sign)
        for concept, sign in said - true
        if abs(case.truth.get(concept, 0.0)) <= NEGATIVE or case.truth[concept] * sign < 0
    }
    return {"true": len(true), "false": len(false), "planted": len(case.claims)}


def detection(cases: Sequence[Case], which: str) -> dict[str, Any]:
    """Return how well the reports separate biased classifiers from clean ones."""
    biased = [case for case in cases if case.is_biased]
    clean = [case for case in cases if case.is_biased is False]
    of = {case.name: getattr(case, which) for case in cases}
    hits = sum(bool(of[case.name].biases) for case in biased)
    alarms = [case.name for case in clean if of[case.name].biases]
    scores = [[of[case.name].score for case in side] for side in (biased, clean)]
    counts = [against_truth(case, of[case.name]) for case in cases]
    total = {key: sum(count[key] for count in counts) for key in ("true", "false", "planted")}
    return {
        "biased": len(biased),
        "clean": len(clean),
        "between": len(cases) - len(biased) - len(clean),
        "auroc": auroc(*scores),
        "detected": _share(hits, len(biased)),
        "false_alarms": _share(len(alarms), len(clean)),
        "alarms": alarms,
        "missed": [case.name for case in biased if not of[case.name].biases],
        "claims": total
        | {
            "precision": total["true"] / max(1, total["true"] + total["false"]),
            "recall": total["true"] / max(1, total["planted"]),
        },
    }


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """Return the probability that a positive scores above a negative; ties count as half."""
    if not positive or not negative:
        return None
    one, other = np.array(positive)[:, None], np.array(negative)[None]
    return float((one > other).mean() + 0.5 * (one == other).mean())


def _share(hits: int, n: int) -> dict[str, Any]:
    if not n:
        return {"hits": 0, "n": 0}
    low, high = stats.wilson_interval(hits, n)
    return {"hits": hits, "n": n, "value": hits / n, "low": low, "high": high}


def similarities(cases: Sequence[Case], sentences: Sentences) -> dict[str, Any]:
    """Return the similarity of the two reports of a classifier, beside that of unrelated ones.

    Unrelated: the data-free report of a classifier and the data-driven one of another of the same
    class that makes other claims. nearest: its own data-driven report is more similar to a report
    than every unrelated one.
    """
    texts = sorted({text for case in cases for text in (case.free.text, case.driven.text)})
    embedded = dict(zip(texts, sentences.embed(texts), strict=True))
    own, floor, nearest, same = [], [], 0, 0
    for case in cases:
        mine = embedded[case.free.text]
        own.append(float(mine @ embedded[case.driven.text]))
        case.numbers["sts"] = own[-1]
        claims = {one.claim for one in case.driven.biases}
        unrelated = [
            float(mine @ embedded[other.driven.text])
            for other in cases
            if other.task == case.task and {one.claim for one in other.driven.biases} != claims
        ]
        floor += unrelated
        nearest += own[-1] > max(unrelated, default=-1.0)
        same += case.free.text == case.driven.text
    return {
        "model": sentences.name,
        "sts": float(np.mean(own)),
        "sts_sd": float(np.std(own)),
        "floor": float(np.mean(floor)),
        "floor_sd": float(np.std(floor)),
        "unrelated_pairs": len(floor),
        "above_unrelated": auroc(own, floor),
        "nearest": _share(nearest, len(cases)),
        "word_for_word": same,
    }


def together(cases: Sequence[Case]) -> dict[str, Any]:
    """Return the agreement of the two reports' claims, over all classifiers."""
    counts = [agreement(case.free, case.driven) for case in cases]
    return Agreement(
        sum(one.both for one in counts),
        sum(one.claims for one in counts),
        sum(one.reference for one in counts),
    ).to_json()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper.explain_bias", description=__doc__
    )
    parser.add_argument("--pictures", type=int, default=800, help="budget of each task's bank")
    parser.add_argument("--scenes", type=int, default=2000, help="labelled scenes of each task")
    options = parser.parse_args()
    started = time.process_time()
    models = tasks.load()
    manifest = json.loads(
        (model_folders.find("lab", "classifiers", "fleet") / fleet.MANIFEST).read_text()
    )
    cases = [
        case
        for name in TASKS
        for case in Task(name, models, options.pictures, options.scenes).cases(manifest)
    ]
    sentences = load_sentences()
    record: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "pictures": options.pictures,
        "scenes": options.scenes,
        "truth_scenes_of_gates": TRUTH_SCENES,
        "cpu_seconds": time.process_time() - started,
        "pictures_drawn_now": models.pictures.drawn,
    }
    parts = {
        "trained": [case for case in cases if case.kind == "trained"],
        "gated": [case for case in cases if case.kind == "gated"],
        "all": cases,
    }
    for name, own in parts.items():
        record[name] = {
            "classifiers": len(own),
            "data_free": detection(own, "free"),
            "data_driven": detection(own, "driven"),
            "claims_against_data_driven": together(own),
            "sts": None if sentences is None else similarities(own, sentences),
        }
    record["classifiers"] = {
        case.name: {
            "truth": {name: round(effect, 3) for name, effect in case.truth.items()},
            "biased": case.is_biased,
            "data_free": {"score": round(case.free.score, 3), "text": case.free.text},
            "data_driven": {"score": round(case.driven.score, 3), "text": case.driven.text},
            **case.numbers,
        }
        for case in cases
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(record, indent=1) + "\n")
    for name in parts:
        show(name, record[name])


def show(name: str, part: Mapping[str, Any]) -> None:
    """Print the measures of a part."""
    for which in ("data_free", "data_driven"):
        of = part[which]
        score = "-" if of["auroc"] is None else f"{of['auroc']:.3f}"
        print(
            f"{name}, {which}: AUROC {score}, detected {of['detected']['hits']} of "
            f"{of['detected']['n']}, false alarms {of['false_alarms']['hits']} of "
            f"{of['false_alarms']['n']}, precision {of['claims']['precision']:.2f}, recall "
            f"{of['claims']['recall']:.2f}"
        )
    if part["sts"] is not None:
        print(f"  STS {part['sts']['sts']:.3f}, floor {part['sts']['floor']:.3f}")


if __name__ == "__main__":
    main()
