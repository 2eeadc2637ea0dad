"""Does the evidence find what was planted, and nothing else? The whole fleet of the lab.

    python -m benchmarks.claims [--task TASK] [--home FOLDER]

Every member is asked the same claims as the others of its task: all attributes planted in that
task, and some that are not. Its manifest says what was planted in fact, by drawing scenes with and
without the attribute: an effect of 0.20 or more is a dependence, one of 0.05 or less is none, what
lies between is not counted. Pictures, placebos and results are kept in FOLDER, so that it goes on
where it was stopped.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexter import checkpoints
from dexter.reasoning.claims import Candidate
from dexter.reasoning.world import World, load_world, make_topic

POSITIVE, NEGATIVE = 0.20, 0.05
MORE = 4  # attributes that nobody planted, a task
TARGETS = {"false alarms": 0.02, "recall": 0.90, "AUROC": 0.95}


@dataclass(frozen=True)
class Outcome:
    """A claim about a member beside the truth."""

    member: str
    family: str
    kind: str
    truth: float
    verdict: str
    reason: str | None
    effect: float

    @property
    def positive(self) -> bool | None:
        """Whether the attribute matters in fact; None where that is not clear."""
        if abs(self.truth) >= POSITIVE:
            return True
        return False if abs(self.truth) <= NEGATIVE else None

    @property
    def score(self) -> float:
        """How much the evidence says that it matters."""
        return 0.0 if self.reason == "not_drawn" else abs(self.effect)


def concepts_of(task: Sequence[Mapping[str, Any]], world: World) -> dict[str, str]:
    """Family -> the word that stands for it, for all that is planted in a task and some more."""
    planted = [m["plant"] for m in task if m["plant"]]
    core = {family for m in task for family in m["core"]}
    free = [
        name
        for name, family in world.families.items()
        if family.slot != "subject" and name not in planted and name not in core
    ]
    # Spread over the list, so that backgrounds, items and attributes are all among them.
    more = free[:: max(1, len(free) // MORE)][:MORE]
    return {
        family: world.families[family].words[0]
        for family in dict.fromkeys([*planted, *more])
        if family in world.families
    }


def auroc(outcomes: Sequence[Outcome]) -> float | None:
    """How often a dependence scores above a non-dependence, ties by half."""
    yes = [o.score for o in outcomes if o.positive]
    no = [o.score for o in outcomes if o.positive is False]
    if not yes or not no:
        return None
    return sum((a > b) + 0.5 * (a == b) for a in yes for b in no) / (len(yes) * len(no))


def table(outcomes: Sequence[Outcome]) -> str:
    """What was found, by kind of attribute, in Markdown."""
    lines = [
        "| kind | dependences found | false alarms | AUROC | not drawn |",
        "|---|---|---|---|---|",
    ]
    kinds = sorted({o.kind for o in outcomes})
    for kind in [*kinds, "all"]:
        own = [o for o in outcomes if kind in (o.kind, "all")]
        yes = [o for o in own if o.positive]
        no = [o for o in own if o.positive is False]
        area = auroc(own)
        lines.append(
            f"| {kind} | {_share(yes, 'confirmed')} | {_share(no, 'confirmed')} | "
            f"{'' if area is None else f'{area:.2f}'} | "
            f"{sum(o.reason == 'not_drawn' for o in own)} of {len(own)} |"
        )
    return "\n".join(lines)


def _share(outcomes: Sequence[Outcome], verdict: str) -> str:
    if not outcomes:
        return ""
    count = sum(o.verdict == verdict for o in outcomes)
    return f"{count} of {len(outcomes)} ({count / len(outcomes):.0%})"


def main() -> int:
    """0 if all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", help="one task alone, such as birds")
    parser.add_argument("--home", type=Path, default=Path("build/bench-bias"))
    options = parser.parse_args()
    import torch

    from dexter.classifiers import load_classifier
    from dexter.generator import load_generator
    from dexter.reasoning.candidates import sayable_by
    from dexter.reasoning.detection import load_detector
    from dexter.reasoning.evidence import Experiment, Witness
    from dexter.reasoning.pictures import Pictures
    from dexter_tui.bank import StoreBank, StoreCache
    from store import Store

    torch.set_num_threads(1)
    world = load_world()
    file = checkpoints.find("lab", "classifiers", "fleet", "manifest.json")
    manifest: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    tasks: dict[str, list[str]] = {}
    for name in manifest:
        tasks.setdefault(name.split("-")[0], []).append(name)
    if options.task:
        tasks = {options.task: tasks[options.task]}
    options.home.mkdir(parents=True, exist_ok=True)
    done = options.home / "results.jsonl"
    outcomes = [Outcome(**json.loads(line)) for line in _lines(done)]
    finished = {o.member for o in outcomes}
    began = time.monotonic()
    generator = load_generator("lab")
    detector = load_detector("lab")
    sayable = sayable_by(generator.tokenizer, world)
    with Store.open(options.home.resolve()) as store, done.open("a", encoding="utf-8") as record:
        pictures = Pictures(generator, generator.weights_hash, StoreBank(store))
        for task, names in tasks.items():
            words = concepts_of([manifest[name] for name in names], world)
            words = {family: word for family, word in words.items() if sayable(word)}
            for name in names:
                if name in finished:
                    continue
                classifier = load_classifier(f"lab:fleet/{name}")
                topic = make_topic(classifier.labels, 0, world=world, core=manifest[name]["core"])
                experiment = Experiment(
                    Witness(pictures, classifier, 0, detector),
                    topic,
                    placebo_cache=StoreCache(store),
                    known=sayable,
                )
                claims = experiment.test(
                    [Candidate(word, world.slot(word), 0) for word in words.values()]
                )
                new = [
                    Outcome(
                        member=name,
                        family=family,
                        kind=world.families[family].slot,
                        truth=manifest[name]["effects"].get(family, 0.0),
                        verdict=claim.verdict,
                        reason=claim.reason,
                        effect=claim.effect,
                    )
                    for family, claim in zip(words, claims, strict=True)
                ]
                outcomes += new
                record.writelines(json.dumps(vars(o)) + "\n" for o in new)
                record.flush()
                spent = time.monotonic() - began
                print(f"{task}: {name}, {spent:.0f} s, {pictures.drawn} pictures", flush=True)
    print(table(outcomes))
    area = auroc(outcomes)
    yes = [o for o in outcomes if o.positive]
    no = [o for o in outcomes if o.positive is False]
    met = (
        area is not None
        and area >= TARGETS["AUROC"]
        and sum(o.verdict == "confirmed" for o in yes) >= TARGETS["recall"] * len(yes)
        and sum(o.verdict == "confirmed" for o in no) <= TARGETS["false alarms"] * len(no)
    )
    return int(not met)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
