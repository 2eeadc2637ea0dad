"""The DEXTER engine: it describes in words what an image classifier looks for in a class.

Source: arXiv 2510.14741.

    from dexter import RunConfig, load_classifier, load_generator, load_masked_lm
    from dexter.search.optimize import optimize

Importing this package does not load torch: the names below are imported at first use.
``optimize`` and ``estimate`` are not among them because their modules have the same names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dexter.classifiers import ClassifierOptions, load_classifier
    from dexter.config import PRESETS, RunConfig
    from dexter.errors import InputError
    from dexter.generation.generator import load_generator
    from dexter.generation.options import GeneratorOptions
    from dexter.reference import DEXTER, build_classifier_and_transforms
    from dexter.search.prompt import load_masked_lm
    from dexter.search.score import activation_score, draw_frames

__all__ = [
    "DEXTER",
    "PRESETS",
    "ClassifierOptions",
    "GeneratorOptions",
    "InputError",
    "RunConfig",
    "activation_score",
    "build_classifier_and_transforms",
    "draw_frames",
    "load_classifier",
    "load_generator",
    "load_masked_lm",
]

_HOME = {
    "DEXTER": "dexter.reference",
    "build_classifier_and_transforms": "dexter.reference",
    "PRESETS": "dexter.config",
    "ClassifierOptions": "dexter.classifiers",
    "GeneratorOptions": "dexter.generation.options",
    "InputError": "dexter.errors",
    "RunConfig": "dexter.config",
    "activation_score": "dexter.search.score",
    "draw_frames": "dexter.search.score",
    "load_classifier": "dexter.classifiers",
    "load_generator": "dexter.generation.generator",
    "load_masked_lm": "dexter.search.prompt",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'dexter' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
