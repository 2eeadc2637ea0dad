"""The models that a run names, loaded together."""

from pathlib import Path
from typing import Any, NamedTuple

from dexter.classifiers import Classifier, load_classifier
from dexter.config import RunConfig
from dexter.device import select_device
from dexter.generation.generator import Generator, generator_of
from dexter.search.prompt import MaskedLM, load_masked_lm

_FIELDS = {
    "classifier", "labels", "trust_pickle", "arch", "normalization", "classifier_input",
    "masked_lm",
    "generator", "lora", "decoder", "safety_checker", "scheduler", "diffusion_steps", "guidance",
    "image_size", "padding",
    "device", "dtype", "compile",
}  # fmt: skip


class Models(NamedTuple):
    """What a run needs, on its device ("cpu" or "cuda:N")."""

    classifier: Classifier
    generator: Generator
    masked_lm: MaskedLM
    device: str


def classifier_of(config: RunConfig, device: str, *, root: Path | str | None = None) -> Classifier:
    """The classifier that ``config`` names. Raises InputError."""
    return load_classifier(
        config.classifier,
        labels=config.labels,
        device=device,
        dtype=config.dtype,
        trust_pickle=config.trust_pickle,
        arch=config.arch,
        normalization=config.normalization,
        input=config.classifier_input,
        root=root,
    )


def load_models(config: RunConfig, *, root: Path | str | None = None) -> Models:
    """Load what ``config`` names; ``root``: where the lab's models lie. Raises InputError."""
    device = select_device(config.device)
    classifier = classifier_of(config, device, root=root)
    generator = generator_of(config, device, root=root)
    return Models(
        classifier, generator, load_masked_lm(config.masked_lm, device=device, root=root), device
    )


def model_settings(config: RunConfig) -> dict[str, Any]:
    """What `load_models` reads of ``config``: two runs that agree in it can share their models."""
    return config.model_dump(include=_FIELDS)
