"""The bench of an analysis: models loaded once, with progress and cancellation."""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dexter.config import RunConfig, fields_of
from dexter.reasoning.settings import ReportSettings
from dexter.reasoning.topic import Topic, World
from dexter_tui.formatting import clean
from store import Store

TELL_SECONDS = 0.5


class Cancelled(Exception):
    """The user asked for an end."""


@dataclass
class Progress:
    """Of one stage, written to the store twice a second."""

    tell: Callable[[str, int, int], None]
    done: int = 0
    total: int = 0
    _told_at: float = 0.0

    def plan(self, more: int) -> None:
        """So much is still to do."""
        self.total = self.done + more
        self.add(0)

    def add(self, count: int) -> None:
        self.done += count
        self.total = max(self.total, self.done)
        now = time.monotonic()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            self.tell("running", self.done, self.total)


class Bench:
    """The models that evidence needs, around the store's pictures."""

    def __init__(
        self, store: Store, config: RunConfig, class_index: int, settings: ReportSettings
    ) -> None:
        import torch

        from dexter.device import select_device
        from dexter.generation.drawing_process import Helper, helps
        from dexter.generation.pictures import Pictures
        from dexter.models import load_models
        from dexter.planning.estimate import estimate
        from dexter.reasoning.candidates import sayable_by
        from dexter.reasoning.detection import load_detector
        from dexter.reasoning.evidence import Witness
        from dexter.reasoning.topic import load_world
        from dexter_tui.analysis.store_bank import StoreBank

        torch.set_num_threads(1)
        if settings.device != "auto":
            config = config.model_copy(update={"device": settings.device})
        device = select_device(config.device)
        # Started first, so that it loads its models while this process loads its own.
        self.helper = Helper(config) if helps(config, device) else None
        models = load_models(config)
        self.store = store
        self.labels = models.classifier.labels
        self.class_index = class_index
        self.world = load_world() if config.generator == "lab" else World()
        self.key = generator_key(config, models.generator.weights_hash)
        self.detector = (
            None
            if settings.image_text == "none"
            else load_detector(settings.image_text, device=models.device)
        )
        self.pictures = Pictures(
            models.generator,
            self.key,
            StoreBank(store),
            batch=estimate(config, device=models.device).picture_batch,
            helper=self.helper,
        )
        self.witness = Witness(self.pictures, models.classifier, class_index, self.detector)
        self.sayable = sayable_by(models.generator.tokenizer, self.world)

    def close(self) -> None:
        """Let go of the memory, here and in the helper."""
        if self.helper is not None:
            self.helper.close()

    def topic(self, core: Sequence[str], confused: Sequence[str] = ()) -> Topic:
        from dexter.reasoning.topic import make_topic

        return make_topic(
            self.labels, self.class_index, world=self.world, core=core, confused=confused
        )

    def experiment(self, topic: Topic, settings: ReportSettings, progress: Progress) -> Any:
        from dexter.reasoning.evidence import Experiment
        from dexter_tui.analysis.store_bank import StoreCache

        self.pictures.on_picture = progress.add
        return Experiment(
            self.witness,
            topic,
            min_effect=settings.min_effect,
            placebo_cache=StoreCache(self.store),
            placebos=settings.placebos,
            known=self.sayable,
            on_plan=progress.plan,
        )


def generator_key(config: RunConfig, weights_hash: str) -> str:
    """Return a digest of all that determines a picture besides prompt and seed."""
    settings = config.model_dump(mode="json", include=set(fields_of(picture=True)))
    return digest(json.dumps([weights_hash, settings], sort_keys=True))


def digest(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def log(line: str) -> None:
    """One line to the worker's log."""
    print(clean(line), file=sys.stderr, flush=True)
