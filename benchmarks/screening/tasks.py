"""The tasks of the fleets, each with a bank that is drawn once and kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexter.generation.pictures import Pictures
from dexter.lab.fleet import FLEET, TASKS
from dexter.reasoning.candidates import sayable_by
from dexter.reasoning.topic import Topic, World, load_world, make_topic
from dexter.screening.concepts import Pool, lab_pool
from dexter.screening.screen import (
    Judged,
    Member,
    MemoryAnswers,
    Result,
    Screening,
    Settings,
    member,
)

WORK = Path("build/bench-screening")


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

    def state(self, pictures: int) -> dict[str, Any] | None:
        """The state of its screening, as far as a budget reaches; None if it has not begun."""
        if not self.kept.exists():
            return None
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
