"""The bench of an analysis: its models, loaded once, around the pictures of the store."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dexter.classifiers.options import ANSWERS
from dexter.config import RunConfig, fields_of
from dexter.errors import InputError
from dexter.reasoning.settings import ReportSettings
from dexter.reasoning.topic import Topic
from dexter_tui.analysis.desk import Progress
from dexter_tui.jobs import trust
from store import Store

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.screening.concepts import Concept
    from dexter.screening.pairs import PoolLayout


class Bench:
    """The models that evidence needs, around the store's pictures."""

    def __init__(
        self,
        store: Store,
        config: RunConfig,
        class_index: int,
        settings: ReportSettings,
        *,
        job_id: str | None = None,
        may_lack_detector: bool = False,
        loading: Callable[[str], None] = lambda what: None,
    ) -> None:
        """Load the models. With `may_lack_detector`, `lacking` says why there is no detector.

        `job_id`: of the job that draws, so that no other draws the same pictures meanwhile.
        `loading` is called before each model, as in `dexter.models.load_models`.
        """
        import torch

        from dexter.device import select_device
        from dexter.generation.drawing_process import Helper, helps
        from dexter.generation.pictures import Pictures
        from dexter.planning.estimate import estimate
        from dexter.reasoning.candidates import sayable_by
        from dexter.reasoning.denoising import detector_of
        from dexter.reasoning.evidence import Witness
        from dexter.reasoning.topic import world_of
        from dexter.screening.concepts import LAB, SHIPPED, load_pool
        from dexter.screening.pairs import ConceptDetector
        from dexter_tui.analysis.store_bank import StoreBank

        torch.set_num_threads(1)
        if settings.device != "auto":
            config = config.model_copy(update={"device": settings.device})
        trust.require([config])
        device = select_device(config.device)
        models = trust.load_models(config, loading)
        self.store = store
        self.labels = models.classifier.labels
        self.multi_label = models.classifier.answers.multi_label
        self.class_index = class_index
        self.world = world_of(config.generator)
        self.key = generator_key(config, models.generator.weights_hash)
        self.pool = load_pool(LAB if config.generator == LAB else SHIPPED)
        self.detector: ConceptDetector | None = None
        self.lacking: InputError | None = None
        if settings.image_text != "none":
            try:
                detector = detector_of(
                    settings.image_text, lambda: models.generator, device=models.device
                )
                self.detector = ConceptDetector(detector, self.pool)
            except InputError as error:
                if not may_lack_detector:
                    raise
                self.lacking = error
        self.pictures = Pictures(
            models.generator,
            self.key,
            StoreBank(store, job_id),
            batch=estimate(config, device=models.device).picture_batch,
            helper=Helper(config) if helps(config, device) else None,
        )
        self.witness = Witness(self.pictures, models.classifier, class_index, self.detector)
        self.sayable = sayable_by(models.generator.tokenizer, self.world)

    def close(self) -> None:
        """Let go of the memory, here and in the helper."""
        if self.pictures.helper is not None:
            self.pictures.helper.close()

    def topic(self, core: Sequence[str], confused: Sequence[str] = ()) -> Topic:
        from dexter.reasoning.topic import make_topic

        return make_topic(
            self.labels,
            self.class_index,
            world=self.world,
            core=core,
            confused=confused,
            multi_label=self.multi_label,
        )

    def layout(self, topic: Topic, words: "Sequence[Concept]" = ()) -> "PoolLayout":
        """Return the pairs of a class; ``words``: concepts that the pool lacks."""
        from dexter.screening.pairs import PoolLayout

        return PoolLayout(topic, self.pool, words, known=self.sayable)

    def experiment(
        self, topic: Topic, layout: "PoolLayout", settings: ReportSettings, progress: Progress
    ) -> Any:
        from dexter.reasoning.evidence import Experiment
        from dexter_tui.analysis.store_bank import StoreCache

        self.pictures.on_picture = progress.add
        return Experiment(
            self.witness,
            topic,
            layout,
            min_effect=settings.min_effect,
            placebo_cache=StoreCache(self.store),
            placebos=settings.placebos,
            on_plan=progress.plan,
        )


def require_words(texts: Iterable[str], sayable: Callable[[str], bool]) -> None:
    """Raise InputError for words that the generator cannot encode."""
    bare = {word: word.strip(".,;:!?\"'") for text in texts for word in text.split()}
    lacking = dict.fromkeys(one or word for word, one in bare.items() if not sayable(one))
    if lacking:
        raise InputError(
            f"the generator has no word for {', '.join(map(repr, lacking))}",
            remedy="use other words",
        )


def require_weights(loaded: "Classifier", spec: str, weights_hash: str | None) -> None:
    """Raise InputError if a classifier is no longer the one that was searched or screened.

    weights_hash: of that one, None if it is not known.
    """
    if weights_hash is None or loaded.adopt_identity(weights_hash):
        return
    parts, remedy = "weights", "restore them, or search or screen it again"
    if loaded.weights_hash.startswith(ANSWERS):
        parts, remedy = "answers", "restore its model, or search or screen it again"
        if not weights_hash.startswith(ANSWERS):
            raise InputError(
                f"{spec} was searched or screened by an earlier version of dexter-tui, which "
                "identified servers in another way",
                field="classifier",
                value=spec,
                remedy="search or screen it again",
            )
    raise InputError(
        f"the {parts} of {spec} have changed since it was searched or screened",
        field="classifier",
        value=spec,
        remedy=remedy,
    )


def generator_key(config: RunConfig, weights_hash: str) -> str:
    """Return a digest of all that determines a picture besides prompt and seed."""
    settings = config.model_dump(mode="json", include=set(fields_of(picture=True)))
    return digest(json.dumps([weights_hash, settings], sort_keys=True))


def digest(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
