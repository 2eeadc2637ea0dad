"""The truth of a screening's findings: both fleets against known truth, and A/A tests.

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
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bias
from benchmarks.bias import Unit
from benchmarks.sharing import of_lab
from dexter import model_folders
from dexter.generation.pictures import Pictures
from dexter.lab import gated
from dexter.lab.fleet import FLEET, MANIFEST, TASKS, families
from dexter.lab.world import MARK, NEGATIVE, POSITIVE
from dexter.reasoning.candidates import sayable_by
from dexter.reasoning.claims import Candidate, Claim, Proportion
from dexter.reasoning.evidence import Experiment, Witness, corrected
from dexter.reasoning.topic import Topic, World, load_world, make_topic
from dexter.screening.concepts import Concept, Pool, lab_pool
from dexter.screening.pairs import ConceptDetector, PoolLayout, paired
from dexter.screening.regression import Regression
from dexter.screening.screen import (
    Effect,
    Judged,
    Member,
    MemoryAnswers,
    Result,
    Screening,
    Settings,
    member,
)

TARGET = bias.RESULTS / "screening.json"
WORK = Path("build/bench-screening")
TESTS = 200
CLEAN = [name for name, of_fleet in FLEET.items() if of_fleet.plant is None]


class Timed:
    """A generator that counts the CPU seconds of its drawing."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self.image_size = generator.image_size
        self.seconds = 0.0

    def pictures(self, texts: Any, seeds: Sequence[int], batch: int) -> Iterator[Any]:
        drawn = self._generator.pictures(texts, seeds, batch)
        while True:
            started = time.process_time()
            picture = next(drawn, None)
            self.seconds += time.process_time() - started
            if picture is None:
                return
            yield picture


@dataclass(frozen=True)
class Models:
    """The models and pictures that all tasks share."""

    world: World
    pool: Pool
    generator: Timed
    pictures: Pictures
    detector: Any
    sayable: Callable[[str], bool]
    """True for a word that the generator can encode."""


def load() -> Models:
    """Load the lab's generator and image-text model, with a bank in the store below `WORK`."""
    import torch

    from dexter.generation.generator import load_generator
    from dexter.reasoning.detection import load_detector
    from dexter_tui.analysis.store_bank import StoreBank
    from store import Store

    torch.set_num_threads(1)
    WORK.mkdir(parents=True, exist_ok=True)
    world = load_world()
    generator = load_generator("lab")
    timed = Timed(generator)
    bank = StoreBank(Store.open(WORK.resolve()))
    pictures = Pictures(timed, generator.weights_hash, bank)  # type: ignore[arg-type]
    sayable = sayable_by(generator.tokenizer, world)
    return Models(world, lab_pool(world), timed, pictures, load_detector("lab"), sayable)


def topic_of(task: str, world: World) -> Topic:
    """The topic of a task's target."""
    return make_topic(TASKS[task].labels, 0, world=world, core=TASKS[task].core)


@dataclass
class Task:
    """A task's screening and answers, which all budgets share."""

    name: str
    models: Models
    answers: MemoryAnswers

    @property
    def kept(self) -> Path:
        """The file of the rounds that were drawn, of the largest budget so far."""
        return WORK / f"{self.name}.json"

    def state(self, pictures: int) -> dict[str, Any]:
        """The state of its screening, as far as a budget reaches."""
        state: dict[str, Any] = json.loads(self.kept.read_text())
        state["rounds"] = [r for r in state["rounds"] if r["start"] + r["count"] <= pictures]
        return state

    def screening(self, pictures: int, before: dict[str, Any] | None = None) -> Screening:
        models = self.models
        return Screening(
            models.pool,
            topic_of(self.name, models.world),
            models.pictures,
            models.detector,
            Settings(pictures=pictures),
            self.answers,
            before,
        )

    def trained(self) -> list[Member]:
        from dexter.classifiers import load_classifier

        return [
            member(name, load_classifier(f"lab:fleet/{name}"), 0)
            for name, of_fleet in FLEET.items()
            if of_fleet.task == self.name
        ]


def finish(screening: Screening, members: Sequence[Member]) -> dict[str, Result]:
    """Run a screening to its end."""
    for event in screening.run(members):
        if isinstance(event, Judged) and event.finished:
            return event.results
    raise AssertionError("a screening ends with a judgement")


# --- against the truth ----------------------------------------------------------------------------


def is_said(effect: Effect) -> bool:
    """True if the screening names the concept."""
    return effect.verdict in ("raises", "lowers") and not effect.core


def units_of(
    name: str, result: Result, effects: dict[str, float], core: Sequence[str]
) -> list[Unit]:
    """The questions about one classifier that have a known answer."""
    by_name = {effect.concept: effect for effect in result.effects}
    found = []
    for family, truth in effects.items():
        kind, _ = families()[family]
        if family in core or kind == MARK:
            continue
        effect = by_name.get(family)
        if effect is None:
            found.append(Unit(name, family, kind, truth, 0.0, False, "not in the pool"))
            continue
        wrong_way = abs(truth) >= POSITIVE and truth * effect.effect < 0
        why = f"in pictures {effect.effect:+.2f}, {effect.verdict}"
        if effect.explained_by:
            why += f" by {' and '.join(effect.explained_by)}"
        score = 0.0 if wrong_way else effect.score
        said = is_said(effect) and not wrong_way
        found.append(Unit(name, family, kind, truth, score, said, why))
    return found


def measures(units: Sequence[Unit], results: dict[str, Result]) -> dict[str, Any]:
    """Return the measures of a fleet. wrong: findings that are false or of the wrong sign, or about
    something that is no question of the fleet."""
    found = bias.evaluate(units)
    true = sum(unit.claimed for unit in units if unit.positive)
    false = [unit for unit in units if unit.negative and unit.claimed]
    between = sum(unit.claimed for unit in units if not unit.positive and not unit.negative)
    asked = {(unit.classifier, unit.family) for unit in units}
    unasked = [
        f"{effect.concept} of {name} ({effect.effect:+.2f})"
        for name, result in results.items()
        for effect in result.findings
        if (name, effect.concept) not in asked
    ]
    by_unit = {(u.classifier, u.family): u for u in units}
    wrong_way = [
        f"{effect.concept} of {name} ({effect.effect:+.2f})"
        for name, result in results.items()
        for effect in result.findings
        if (unit := by_unit.get((name, effect.concept)))
        and unit.positive
        and unit.effect * effect.effect < 0
    ]
    with_false = sorted({unit.classifier for unit in false} & set(CLEAN))
    clean = [name for name in results if name in CLEAN]
    said_by_clean = sorted({n for n in clean if results[n].findings})
    return {
        "measures": found,
        "true": true,
        "false": len(false),
        "between": between,
        "false_share_of_said": len(false) / max(1, true + len(false)),
        "wrong_way": wrong_way,
        "unasked": unasked,
        "clean": len(clean),
        "clean_with_a_false_finding": with_false,
        "clean_with_any_finding": said_by_clean,
        "missed": [asdict(unit) for unit in units if unit.positive and not unit.claimed],
        "false_findings": [asdict(unit) for unit in false],
        "explained": [
            f"{effect.concept} of {name} ({effect.effect:+.2f}) by {', '.join(effect.explained_by)}"
            for name, result in results.items()
            for effect in result.effects
            if effect.explained_by
        ],
    }


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
        "units": [asdict(unit) for unit in units],
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


def gated_fleet(tasks: Sequence[Task], pictures: int) -> dict[str, Any]:
    """Both halves of the gated fleet, on the pictures drawn for the trained one."""
    import torch

    every = gated.fleet()
    halves: dict[str, tuple[list[Unit], dict[str, Result], list[tuple[float, float]]]] = {
        "tuned": ([], {}, []),
        "unseen": ([], {}, []),
    }
    for task in tasks:
        gates = [gate for gate in every if gate.task == task.name]
        truth = gated.exact_effects(task.name, gates)
        screening = task.screening(pictures, task.state(pictures))
        requests = [cell.request for cell in screening.cells()]
        finish(screening, [])  # embeds what was not embedded in this process
        kept = task.answers.read(screening.detector_key, requests)
        features = torch.from_numpy(np.stack([kept[r] for r in requests]))
        members = []
        network = None
        for gate in gates:
            network = gated.Gated(gate, beside=network)
            with torch.inference_mode():
                logits = network.logits(features).double()
            one = Member(gate.name, gate.name, _nobody)
            odds = (logits[:, 0] - logits[:, 1:].logsumexp(1)).float().numpy()[:, None]
            task.answers.keep(screening.key(one), requests, odds)
            members.append(one)
        # The budget is what was drawn: a screening that stopped early is not continued.
        screening = task.screening(len(requests), task.state(len(requests)))
        results = finish(screening, members)
        for gate in gates:
            half = "tuned" if every.index(gate) % 2 == 0 else "unseen"
            units, of_half, pairs = halves[half]
            result = results[gate.name]
            core = list(TASKS[task.name].core)
            units += units_of(gate.name, result, truth[gate.name], core)
            of_half[gate.name] = result
            for effect in result.effects:
                exact = truth[gate.name].get(effect.concept)
                drawn = effect.drawn is not None and effect.drawn.asked >= 0.9
                if exact is not None and abs(exact) > 0.02 and drawn and not effect.core:
                    pairs.append((exact, effect.effect))
        print(f"gated, {task.name}: {len(gates)} members", flush=True)
    found: dict[str, Any] = {"pictures": pictures}
    for half, (units, of_half, pairs) in halves.items():
        exact, estimated = np.array(pairs).T
        found[half] = {
            "members": len(of_half),
            **measures(units, of_half),
            "slope": float((exact @ estimated) / (exact @ exact)),
            "r": float(np.corrcoef(exact, estimated)[0, 1]),
            "pairs": len(pairs),
        }
    return found


def _nobody(images: Any) -> Any:
    raise AssertionError("every answer was kept")


# --- words that were not drawn --------------------------------------------------------------------

RIDGE = 0.03
"""Of the surrogate; the best of 0.03, 0.1, 0.3 and 1 on the even half, by words."""


def surrogate(tasks: Sequence[Task], pictures: int) -> dict[str, Any]:
    """Return how well ridge regression of effects on text embeddings ranks unseen wordings.

    The effects are those of single wordings. Left out are one wording, its whole concept, or its
    slot. rank_correlation: Spearman's, of predicted and measured effects, the mean over members.
    own_in_top_5: how often a wording of a gate's concept is among the five largest predictions.
    """
    sums: dict[str, list[dict[str, list[float]]]] = {"tuned": [], "unseen": []}
    every = gated.fleet()
    chance = []
    for task in tasks:
        models = task.models
        screening = task.screening(pictures, task.state(pictures))
        cells = screening.cells()
        single = [
            Concept(word, slot, (word,), (word,))
            for slot, words in models.pool.words.items()
            for word in words
        ]
        regression = Regression(cells, models.pool, single)
        words = regression.concepts
        chance.append(5 / len(words))
        texts = np.stack([_direction(models.detector, word.name) for word in words])
        families = [models.pool.by_word[word.slot, word.name] for word in words]
        groups: dict[str, Sequence[Any]] = {
            "wording": list(range(len(words))),
            "concept": families,
            "slot": [word.slot for word in words],
        }
        for gate in (gate for gate in every if gate.task == task.name):
            key = screening.key(Member(gate.name, gate.name, _nobody))
            odds = task.answers.read(key, [cell.request for cell in cells])
            p = 1 / (1 + np.exp(-np.array([odds[cell.request][0] for cell in cells], np.float64)))
            effects = regression.means(p)
            found: dict[str, list[float]] = {}
            for name, group in groups.items():
                guess = _left_out(texts @ texts.T, effects, group)
                top = np.argsort(-np.abs(guess))[:5]
                own = [family in gate.concepts for family in families]
                hits = [float(at in top) for at in np.flatnonzero(own)] or [np.nan]
                found[name] = [_rank_correlation(guess, effects), float(np.mean(hits))]
            sums["tuned" if every.index(gate) % 2 == 0 else "unseen"].append(found)
    return {"pictures": pictures, "ridge": RIDGE, "top_5_by_chance": float(np.mean(chance))} | {
        half: {
            name: dict(
                zip(
                    ("rank_correlation", "own_in_top_5"),
                    np.nanmean([one[name] for one in found], axis=0).tolist(),
                    strict=True,
                )
            )
            for name in ("wording", "concept", "slot")
        }
        for half, found in sums.items()
    }


def _direction(detector: Any, word: str) -> Any:
    """Return the direction, of length 1, in which a text embedding moves with a word."""
    moved = detector.text(f"a picture of a {word}") - detector.text("a picture")
    return moved / np.linalg.norm(moved)


def _left_out(kernel: Any, effects: Any, groups: Sequence[Any]) -> Any:
    """Predict each effect by kernel ridge regression on those of other groups."""
    found = np.zeros(len(effects))
    for group in set(groups):
        out = np.array([other == group for other in groups])
        rest, mean = ~out, effects[~out].mean()
        kept = kernel[np.ix_(rest, rest)] + RIDGE * np.eye(int(rest.sum()))
        weights = np.linalg.solve(kept, effects[rest] - mean)
        found[out] = mean + kernel[np.ix_(out, rest)] @ weights
    return found


def _rank_correlation(one: Any, other: Any) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    both: Any = np.corrcoef(ranks)
    return float(both[0, 1])


# --- confirmation ---------------------------------------------------------------------------------

CANDIDATES = 6
"""Findings of each member that are tested, as `ScreenSettings.candidates`."""


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
        for name, result in results.items():
            chosen = [
                Candidate(effect.concept, effect.slot, 1 if effect.effect > 0 else -1)
                for effect in result.findings[:CANDIDATES]
            ]
            weights = of_lab("generator", "image_text", f"classifiers/fleet/{name}")
            recipe = " ".join([weights, *(f"{c.slot} {c.concept} {c.direction}" for c in chosen)])
            if (name, recipe) not in self._kept:
                claims, first = self._test(task, name, chosen, first)
                rows = [claim.to_dict() | {"contexts": []} for claim in claims]
                self._kept[name, recipe] = rows
                with self._journal.open("a") as file:
                    row = {"member": name, "recipe": recipe, "claims": rows}
                    file.write(json.dumps(row, default=_plain) + "\n")
                print(f"confirmation, {name}: {len(rows)} claims", flush=True)
            found[name] = [_claim(row) for row in self._kept[name, recipe]]
        flat = iter(corrected([claim for claims in found.values() for claim in claims]))
        return {name: list(islice(flat, len(claims))) for name, claims in found.items()}

    def _test(
        self, task: Task, name: str, chosen: Sequence[Candidate], beside: Witness | None
    ) -> tuple[list[Claim], Witness]:
        from dexter.classifiers import load_classifier

        models = task.models
        detector = ConceptDetector(models.detector, models.pool)
        classifier = load_classifier(f"lab:fleet/{name}")
        witness = Witness(models.pictures, classifier, 0, detector, beside=beside)
        topic = topic_of(task.name, models.world)
        experiment = Experiment(witness, topic, placebo_cache=self._cache, known=models.sayable)
        own = [paired(candidate, models.pool) for candidate in chosen]
        found = experiment.test(own, PoolLayout(topic, models.pool)) if own else []
        return [
            replace(c, slot=asked.slot) for c, asked in zip(found, chosen, strict=True)
        ], witness


def _claim(row: dict[str, Any]) -> Claim:
    rates = {k: row[k] and Proportion(**row[k]) for k in ("flips", "prior", "in_frames")}
    return Claim(**(row | rates))


def confirmed_task(
    task: Task, manifest: dict[str, Any], pictures: int, confirmation: Confirmation
) -> dict[str, Any]:
    """Return what confirmation makes of the findings about a task's trained members.

    claims: with the truth of each, None where the fleet does not ask.
    """
    started = time.process_time()
    results = finish(task.screening(pictures, task.state(pictures)), task.trained())
    units = [
        unit
        for name, result in results.items()
        for unit in units_of(name, result, manifest[name]["effects"], manifest[name]["core"])
    ]
    truth = {(unit.classifier, unit.family): unit.effect for unit in units}
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
        for name, own in confirmation.of_task(task, results).items()
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


def confirmed_measures(tasks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The measures of all tasks together.

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


# --- A/A ------------------------------------------------------------------------------------------


class Blank:
    """Pictures for classifiers that do not look at them."""

    key = "blank"

    def stream(self, requests: Sequence[Any]) -> Iterator[tuple[list[Any], Any]]:
        wanted = list(requests)
        if wanted:
            yield wanted, np.zeros((len(wanted), 1, 1, 3), np.uint8)


BLIND: dict[str, Callable[[np.random.Generator, float, int], Any]] = {
    "uniform": lambda rng, level, n: rng.random(n),
    "half": lambda rng, level, n: (rng.random(n) < 0.5).astype(float),
    "rare": lambda rng, level, n: (rng.random(n) < 0.1).astype(float),
    "skewed": lambda rng, level, n: rng.beta(0.2, 0.6, n),
    "constant": lambda rng, level, n: np.full(n, level),
}
"""Classifiers that answer without looking; ``level`` is one number for all pictures."""


def aa_tests(tests: int) -> dict[str, Any]:
    """Screenings of blind classifiers, with adaptive rounds and stopping, over the tasks by turns.

    false: with a finding; false_interval: with an interval that excludes 0, however small.
    """
    world = load_world()
    pool = lab_pool(world)
    names = list(BLIND)
    rows: dict[str, dict[str, int]] = {
        name: {"tests": 0, "false": 0, "false_interval": 0} for name in names
    }
    for test in range(tests):
        name = names[test % len(names)]
        rng = np.random.default_rng((7, test))
        answer = BLIND[name]
        level = rng.random()

        def classify(images: Any, rng: Any = rng, answer: Any = answer, level: Any = level) -> Any:
            p = answer(rng, level, len(images)).clip(1e-9, 1 - 1e-9)
            return np.log(p) - np.log1p(-p)

        task = list(TASKS)[test // len(names) % len(TASKS)]
        screening = Screening(
            pool,
            topic_of(task, world),
            Blank(),  # type: ignore[arg-type]
            settings=Settings(seed=1 + test % 50),
        )
        any_found = any_interval = False
        for event in screening.run([Member("blind", "blind", classify)]):
            if isinstance(event, Judged):
                result = event.results["blind"]
                any_found |= bool(result.findings)
                any_interval |= any(e.low > 0 or e.high < 0 for e in result.effects if not e.core)
        rows[name]["tests"] += 1
        rows[name]["false"] += any_found
        rows[name]["false_interval"] += any_interval
    false = sum(row["false"] for row in rows.values())
    interval = sum(row["false_interval"] for row in rows.values())
    return {
        "tests": tests,
        "false": false,
        "false_interval": interval,
        "family_wise": false / tests,
        "by_kind": rows,
    }


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
    TARGET.write_text(json.dumps(record, indent=1, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


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
        row = record["confirmed"]
        print(
            f"confirmed, {len(row['tasks'])} tasks: {row['confirmed']} of {row['tested']} tested, "
            f"precision {row['precision']:.3f}, recall {row['recall']:.3f} of {row['positives']}, "
            f"false: {row['false'] or 'none'}"
        )
    if "aa" in record:
        aa = record["aa"]
        print(f"A/A: {aa['false']} of {aa['tests']} screenings with a finding")
    if "further_classifier" in record:
        print(f"further classifier: {record['further_classifier']}")


if __name__ == "__main__":
    main()
