"""The models that a run names, loaded together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dexter.classifiers import ClassifierOptions, load_classifier
from dexter.config import RunConfig, fields_of
from dexter.device import select_device

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.generation.generator import Generator
    from dexter.search.prompt import MaskedLM


class Models(NamedTuple):
    """The models of a run, on its device ("cpu" or "cuda:N")."""

    classifier: Classifier
    generator: Generator
    masked_lm: MaskedLM
    device: str


def load_models(
    config: RunConfig,
    *,
    root: Path | str | None = None,
    loading: Callable[[str], None] = lambda what: None,
) -> Models:
    """Load the models of ``config``, the lab's from ``root``; raise InputError.

    ``loading`` is called before each, with such as "generator, 2 of 3".
    """
    from dexter.generation.generator import generator_of
    from dexter.search.prompt import load_masked_lm

    device = select_device(config.device)
    options = config.options(ClassifierOptions, device=device, root=root)
    loading("classifier, 1 of 3")
    classifier = load_classifier(config.classifier, options)
    loading("generator, 2 of 3")
    generator = generator_of(config, device, root=root)
    loading("masked LM, 3 of 3")
    masked_lm = load_masked_lm(config.masked_lm, device=device, root=root)
    return Models(classifier, generator, masked_lm, device)


def model_settings(config: RunConfig) -> dict[str, Any]:
    """Return the fields that `load_models` reads: runs that agree in them can share models."""
    names = fields_of("classifier", "masked LM", "generator", "machine")
    return config.model_dump(include=set(names))
