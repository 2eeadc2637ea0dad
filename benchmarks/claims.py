"""The evidence about the fleet: every member is asked the same claims as others of its task.

All attributes planted in the task, and some that are not, each by one word. Members of a task share
their pictures, which are kept in a store, so that a benchmark goes on where it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.sharing import of_lab
from dexter.lab.fleet import FLEET
from dexter.reasoning.topic import World

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.reasoning.claims import Claim

MORE = 4  # attributes that nobody planted, a task


@dataclass(frozen=True)
class Claimed:
    """A claim about a member. ``recipe``: digest of the weights that it rests on, and all words
    that the member was asked."""

    classifier: str
    family: str
    verdict: str
    reason: str | None
    effect: float
    recipe: str = ""

    @property
    def score(self) -> float:
        """Return the size of the effect, 0 if it was not drawn."""
        return 0.0 if self.reason == "not_drawn" else abs(self.effect)


def concepts_of(task: Sequence[Mapping[str, Any]], world: World) -> dict[str, str]:
    """Family -> the word that stands for it, for all that is planted in a task and some more.

    That is its own name where it has one ("land", not "forest"): the truth is of the family.
    """
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
        family: family if family in words else words[0]
        for family in dict.fromkeys([*planted, *more])
        if family in world.families and (words := world.families[family].words)
    }


class FleetEvidence:
    """Asks members of the fleet, with what all of them share."""

    def __init__(self, manifest: Mapping[str, Mapping[str, Any]], home: Path) -> None:
        import torch

        from dexter.config import RunConfig
        from dexter.generation.drawing_process import Helper
        from dexter.generation.generator import load_generator
        from dexter.generation.pictures import Pictures
        from dexter.reasoning.candidates import sayable_by
        from dexter.reasoning.detection import load_detector
        from dexter.reasoning.topic import load_world
        from dexter.screening.concepts import lab_pool
        from dexter_tui.analysis.store_bank import StoreBank, StoreCache
        from store import Store

        torch.set_num_threads(1)
        home.mkdir(parents=True, exist_ok=True)
        self.manifest = manifest
        self.world = load_world()
        self.generator, self.detector = load_generator("lab"), load_detector("lab")
        self.pool = lab_pool(self.world)
        self.sayable = sayable_by(self.generator.tokenizer, self.world)
        self.store = Store.open(home.resolve())
        self.cache = StoreCache(self.store)
        self.helper = Helper(RunConfig(classifier="lab:birds-biased", class_name="waterbird"))
        self.pictures = Pictures(
            self.generator,
            self.generator.weights_hash,
            StoreBank(self.store),
            helper=self.helper,
        )
        self.journal = home / "claims.jsonl"
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        self.kept = [Claimed(**json.loads(line)) for line in lines]

    def ask(self, name: str) -> list[Claimed]:
        """The claims about a member, from the journal if it has any of the same recipe."""
        from dexter.classifiers import load_classifier

        classifier = load_classifier(f"lab:fleet/{name}")
        words = self._words(name)
        weights = of_lab("generator", "image_text", f"classifiers/fleet/{name}")
        recipe = " ".join([weights, *words.values()])
        found = [c for c in self.kept if c.classifier == name and c.recipe == recipe]
        if not found:
            found = [
                Claimed(name, family, claim.verdict, claim.reason, claim.effect, recipe)
                for family, claim in self._test(name, classifier, words)
            ]
            with self.journal.open("a") as file:
                file.writelines(json.dumps(asdict(claim)) + "\n" for claim in found)
        return found

    def _words(self, name: str) -> dict[str, str]:
        """Family -> word, for all that the members of its task are asked."""
        task = [m for other, m in self.manifest.items() if FLEET[other].task == FLEET[name].task]
        return {f: w for f, w in concepts_of(task, self.world).items() if self.sayable(w)}

    def _test(
        self, name: str, classifier: Classifier, words: Mapping[str, str]
    ) -> Iterator[tuple[str, Claim]]:
        from dexter.reasoning.claims import Candidate
        from dexter.reasoning.evidence import Experiment, Witness
        from dexter.reasoning.topic import make_topic
        from dexter.screening.pairs import ConceptDetector, PoolLayout, worded

        core = self.manifest[name]["core"]
        topic = make_topic(classifier.labels, 0, world=self.world, core=core)
        asked = [Candidate(word, direction=0) for word in words.values()]
        own, candidates = worded(self.pool, asked)
        experiment = Experiment(
            Witness(self.pictures, classifier, 0, ConceptDetector(self.detector, self.pool)),
            topic,
            PoolLayout(topic, self.pool, own, known=self.sayable),
            placebo_cache=self.cache,
        )
        return zip(words, experiment.test(candidates), strict=True)

    def close(self) -> None:
        """Let go of the second process and the store."""
        self.helper.close()
        self.store.close()
