"""Benchmark of the findings' truth: words and claims about the fleet against measured truth.

A unit is (classifier, its target class, attribute family). It is positive if drawing the attribute
into real scenes changes the target's probability by 0.20 or more in the mean, negative at 0.05 or
less; between them, and for what the class is by definition, nothing is scored.

Words: three seeds name a family if at least two of them have a word of it that carries their best
prompts (`dexter.search.word_gains`); the share of such seeds ranks the units. Claims: each member
is asked for the families planted in its task and some more (`benchmarks.claims`); a positive is
found if the effect is confirmed with the true sign.

`make bench-bias` takes a fixed subset, `make bench-bias-full` the whole fleet; both go on where
they were stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

from benchmarks.claims import Claimed, FleetEvidence
from benchmarks.sharing import of_lab, workers
from dexter import RunConfig, model_folders
from dexter.lab.fleet import FLEET, MANIFEST, TASKS, families
from dexter.lab.world import MARK, NEGATIVE, POSITIVE
from dexter.reasoning.claims import REASONS, Reason

RESULTS = Path("benchmarks/results")
PAGE = Path("docs/truth.md")
WORK = Path("build/bench-bias")
SEEDS = 3
SUBSET = (
    "birds-water-100", "pets-ball-100", "cars-red-100-vit", "blond-dark-100-vit",
    "old-male-100", "woman-blond-100", "birds-clean", "pets-clean", "cars-clean", "woman-clean",
)  # fmt: skip
RESAMPLES = 2000


@dataclass(frozen=True)
class Words:
    """The answer of one run: the drivers of its best prompts, and all words of the best prompt.

    recipe: its settings and a digest of all weights.
    """

    classifier: str
    seed: int
    words: tuple[str, ...]
    prompt: tuple[str, ...]
    cpu_seconds: float
    recipe: str


@dataclass(frozen=True)
class Unit:
    """A question with a known answer."""

    classifier: str
    family: str
    kind: str
    effect: float
    """Measured on real scenes."""
    score: float
    """How much the product says that it matters: share of seeds, or size of the effect."""
    claimed: bool
    why: str = ""
    """What was found, in words; of claims."""

    @property
    def positive(self) -> bool:
        return abs(self.effect) >= POSITIVE

    @property
    def negative(self) -> bool:
        return abs(self.effect) <= NEGATIVE


# --- runs -----------------------------------------------------------------------------------------


def question(name: str, seed: int, preset: str, **changes: Any) -> RunConfig:
    """The search for what this member looks for."""
    task = TASKS[FLEET[name].task]
    return RunConfig.from_preset(
        preset,
        classifier=f"lab:fleet/{name}",
        class_name=task.labels[0],
        seed=seed,
        template=task.template,
        exclude_words=task.own_words,
        device="cpu",
        **changes,
    )


_models: dict[str, tuple[Any, Any]] = {}
"""Generator and masked LM by their settings, loaded once in each worker process."""


def one_run(name: str, config: RunConfig, kept: Collection[Words]) -> Words:
    """Search words for a member, or take what was ``kept`` of the same recipe."""
    import torch

    from dexter.classifiers import ClassifierOptions, load_classifier
    from dexter.generation.generator import generator_of
    from dexter.search.optimize import optimize
    from dexter.search.prompt import load_masked_lm

    weights = of_lab("generator", "masked_lm", f"classifiers/fleet/{name}")
    recipe = f"{weights} {config.model_dump_json()}"
    for run in kept:
        if run.recipe == recipe:
            return run
    torch.set_num_threads(1)
    models = f"{config.dtype} {config.padding} {config.diffusion_steps}"
    if models not in _models:
        _models[models] = generator_of(config, "cpu"), load_masked_lm(config.masked_lm)
    generator, masked_lm = _models[models]
    classifier = load_classifier(config.classifier, config.options(ClassifierOptions, device="cpu"))
    started = time.process_time()
    search = optimize(config, classifier=classifier, generator=generator, masked_lm=masked_lm)
    for _ in search:
        pass
    result = search.result
    words = tuple(gain.word for gain in result.gains if gain.is_driver)
    return Words(name, config.seed, words, result.words, time.process_time() - started, recipe)


def search_words(
    names: Sequence[str], preset: str, jobs: int, progress: Progress, **changes: Any
) -> list[Words]:
    """Every run of these classifiers; those that the journal has are not done again."""
    journal = WORK / "words.jsonl"
    rows = (
        [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    )
    kept = [
        Words(**{**row, "words": tuple(row["words"]), "prompt": tuple(row["prompt"])})
        for row in rows
        if "prompt" in row  # of older journals the words mean something else
    ]
    done = []
    with workers(jobs) as pool:
        runs = [
            pool.submit(
                one_run,
                name,
                question(name, seed, preset, **changes),
                [r for r in kept if (r.classifier, r.seed) == (name, seed)],
            )
            for name in names
            for seed in range(SEEDS)
        ]
        what = " ".join(("words", *map(str, changes.values())))
        for future in progress.track(as_completed(runs), len(runs), description=what):
            done.append(future.result())
            if done[-1] not in kept:
                with journal.open("a") as file:
                    file.write(json.dumps(asdict(done[-1])) + "\n")
    return done


def claims_about(
    names: Sequence[str], manifest: dict[str, Any], progress: Progress
) -> list[Claimed]:
    """The claims about these classifiers; those that the journal has are not tested again."""
    evidence = FleetEvidence(manifest, WORK)
    try:
        return [
            claim
            for name in progress.track(names, description="claims")
            for claim in evidence.ask(name)
        ]
    finally:
        evidence.close()


# --- against the truth ----------------------------------------------------------------------------


def units_of_words(runs: Iterable[Words], manifest: dict[str, Any]) -> list[Unit]:
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
            score = sum(named) / len(named)
            found.append(Unit(name, family, kind, effect, score, score > 0.5))
    return found


def units_of_claims(claims: Iterable[Claimed], manifest: dict[str, Any]) -> list[Unit]:
    """Every question that was tested."""
    found = []
    for claim in claims:
        effect = manifest[claim.classifier]["effects"].get(claim.family)
        if effect is not None:
            wrong_way = abs(effect) >= POSITIVE and effect * claim.effect < 0
            confirmed = claim.verdict == "confirmed" and not wrong_way
            kind = families()[claim.family][0]
            score = 0.0 if wrong_way else claim.score
            found.append(
                Unit(claim.classifier, claim.family, kind, effect, score, confirmed, _why(claim))
            )
    return found


def _why(claim: Claimed) -> str:
    reason = REASONS.get(cast(Reason, claim.reason), claim.verdict)
    return f"in pictures {claim.effect:+.2f}, {reason}"


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
    """Over all kinds, for what raises and what lowers the target's probability, and by kind.

    The mark, which has no word, stands apart. What lowers it no search for the target can name.
    """
    rng = np.random.default_rng(0)
    worded = [unit for unit in found if unit.kind != MARK]
    parts = {
        "all": worded,
        "raises": [unit for unit in worded if unit.negative or unit.effect > 0],
        "lowers": [unit for unit in worded if unit.negative or unit.effect < 0],
    }
    for unit in sorted(found, key=lambda unit: unit.kind):
        parts.setdefault(unit.kind, []).append(unit)
    return {part: summary(members, rng) for part, members in parts.items()}


def table(what: str, results: dict[str, Any]) -> Table:
    shown = Table("kind", "positives", "negatives", *MEASURES, title=what)
    for kind, row in results.items():
        cells = [_cell(row[name]) for name in MEASURES]
        shown.add_row(kind, str(row["positives"]), str(row["negatives"]), *cells)
    return shown


def page(record: dict[str, Any]) -> str:
    """Return the text of docs/truth.md: the tables, the misses and the false claims."""
    lines = [
        "# How often the findings are true",
        "",
        f"Measured on {record['classifiers']} classifiers of the lab's fleet ([lab.md](lab.md)). "
        "The bias of each is known: the same scenes, drawn with and without an attribute, give the "
        "true change of the target's probability.",
        "",
        f"A positive changes the probability by {POSITIVE:.2f} or more, a negative by "
        f"{NEGATIVE:.2f} or less. Values in between are not scored. *Raises* and *lowers* split "
        "the positives by sign. Intervals (95%) are bootstraps over classifiers.",
        *_of_screening(),
        "",
        "## Searches, and concepts that are asked for",
        "",
        f"`make bench-bias-full`, {record['date']}: preset {record['preset']}, "
        f"{record['seeds']} seeds.",
        "",
        "- *Words*: a family counts as named if one of its words is a driver in 2 of 3 seeds. "
        "Words that define the classes are left out. A search for the target cannot name concepts "
        "that lower its probability.",
        "- *Claims*: every classifier is tested on all attributes planted in its task, and on "
        "some more. A positive counts as found if its effect is confirmed with the true sign.",
        "- The mark in a corner has no word and is counted separately.",
        "- No classifier is held out. The rules for drivers, excluded words and named families "
        "were chosen after misses on these classifiers had been seen, so the numbers flatter.",
    ]
    for what in record["units"]:
        lines += ["", f"### {what.capitalize()}", ""]
        lines += [
            "| kind | positives | recall | negatives | false claims | AUROC |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for kind, row in record[what].items():
            recall, false, area = (_cell(row[name]) for name in MEASURES)
            counts = row["positives"], row["negatives"]
            lines.append(f"| {kind} | {counts[0]} | {recall} | {counts[1]} | {false} | {area} |")
        found = [Unit(**unit) for unit in record["units"][what] if unit["kind"] != MARK]
        missed = [unit for unit in found if unit.positive and not unit.claimed]
        which = " families that raise the target" if what == "words" else ""
        if which:
            missed = [unit for unit in missed if unit.effect > 0]
        wrong = [unit for unit in found if unit.negative and unit.claimed]
        lines += [
            "",
            f"Missed{which}: {_listed(missed)}.",
            "",
            f"False claims: {_listed(wrong)}.",
        ]
    lines += [
        "",
        "No picture shows what the generator's autoencoder loses. A search cannot name it, and a "
        "claim about it is refuted or inconclusive although the dependence exists on scenes. "
        "`python -m dexter.lab.check autoencoder` measures how much of each dependence remains.",
    ]
    return "\n".join([*lines, ""])


def _of_screening() -> list[str]:
    """Return the lines on what an audit finds; none before `make bench-screening`."""
    kept = RESULTS / "screening.json"
    if not kept.exists():
        return []
    record = json.loads(kept.read_text())
    lines = [
        "",
        "## Audits",
        "",
        f"`make bench-screening`, {record['date']}: one bank of pictures for the members of a "
        "task, all concepts at once, both directions ([benchmarks.md](benchmarks.md#screening) has "
        "the rest).",
        "",
        "| pictures a task | recall | raises | lowers | false claims | AUROC | false among said "
        "| clean classifiers with a false finding |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for pictures, found in sorted(record["trained"].items(), key=lambda one: int(one[0])):
        measures = found["measures"]
        recalls = [measures[part]["recall"]["value"] for part in ("raises", "lowers")]
        cells = [
            pictures,
            _cell(measures["all"]["recall"]),
            *(f"{recall:.2f}" for recall in recalls),
            f"{measures['all']['false_claim_rate']['value']:.3f}",
            f"{measures['all']['auroc']['value']:.3f}",
            f"{found['false']} of {found['true'] + found['false']}",
            f"{len(found['clean_with_a_false_finding'])} of {found['clean']}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    pairs = record.get("confirmed")
    if pairs is None:
        return lines
    verb = "is" if len(pairs["false"]) == 1 else "are"
    return [
        *lines,
        "",
        "An audit then tests the strongest findings on pairs of pictures. Of "
        f"{pairs['tested']} that were tested with 800 pictures a task, {pairs['confirmed']} are "
        f"confirmed: {pairs['true']} are positives, {pairs['between']} lie in between, and "
        f"{len(pairs['false']) or 'none'} {verb} false"
        + "".join(f", {name}" for name in pairs["false"])
        + ", with the effect in pairs." * bool(pairs["false"])
        + f" So the precision is {pairs['precision']:.2f} and the recall of all positives "
        f"{pairs['recall']:.2f}. Clean classifiers have {len(pairs['confirmed_of_clean']) or 'no'} "
        "confirmed findings.",
    ]


def _cell(value: dict[str, float] | None) -> str:
    return f"{value['value']:.2f} ({value['low']:.2f} to {value['high']:.2f})" if value else "–"


def _listed(found: Iterable[Unit]) -> str:
    named = (
        f"{unit.family} of {unit.classifier} ({unit.effect:+.2f}{unit.why and '; ' + unit.why})"
        for unit in found
    )
    return ", ".join(named) or "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bias", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the whole fleet")
    parser.add_argument("--jobs", type=int, default=2, help="one-thread processes")
    parser.add_argument("--preset", default="quick")
    options = parser.parse_args()
    names = tuple(FLEET) if options.full else SUBSET
    folder = model_folders.find("lab", "classifiers", "fleet")
    manifest = json.loads((folder / MANIFEST).read_text())
    WORK.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        runs = search_words(names, options.preset, options.jobs, progress)
        units = {"words": units_of_words(runs, manifest)}
        record: dict[str, Any] = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "preset": options.preset,
            "classifiers": len(names),
            "seeds": SEEDS,
            "cpu_seconds_of_words": sum(run.cpu_seconds for run in runs),
        }
        write(record, units, options.full)  # keeps the words if the claims are interrupted
        units["claims"] = units_of_claims(claims_about(names, manifest, progress), manifest)
    target = write(record, units, options.full)
    console = Console(width=120)
    for what in units:
        console.print(table(what, record[what]))
    console.print(f"{time.monotonic() - started:.0f} s; written to {target}")


def write(record: dict[str, Any], units: dict[str, list[Unit]], full: bool) -> Path:
    """The measures of all units into the record, and the record into its file."""
    record.update({what: evaluate(found) for what, found in units.items()})
    record["units"] = {what: [asdict(unit) for unit in found] for what, found in units.items()}
    RESULTS.mkdir(parents=True, exist_ok=True)
    target = RESULTS / f"bias-{'full' if full else 'subset'}.json"
    target.write_text(json.dumps(record, indent=1) + "\n")
    if full:
        PAGE.write_text(page(record))
    return target


if __name__ == "__main__":
    main()
