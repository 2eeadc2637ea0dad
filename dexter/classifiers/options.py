"""The description of a classifier, and the options that it is loaded with."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from dexter.classifiers.label_lists import read_labels

# The options that change what a network answers to its input; labels only name it.
_OF_ANSWERS = ("arch", "multi_label", "positive_class", "threshold")


@dataclass(frozen=True)
class ClassifierInfo:
    """The facts about a classifier that are known before it is loaded.

    spec: with absolute paths. image_size: side in px. weights_hash: SHA-256 (hex) of the
    weights, None where it takes loading to get it. recognised: a line with all that was recognised
    and assumed. gradients: False for a black box. multi_label: True for labels that do not exclude
    each other. constant: True if it answered all pictures of a trial alike. answers_key: as of
    `Classifier`.
    """

    spec: str
    labels: list[str]
    image_size: int
    weights_hash: str | None
    recognised: str = ""
    gradients: bool = True
    multi_label: bool = False
    constant: bool = False
    answers_key: str | None = None


@dataclass(frozen=True)
class ClassifierOptions:
    """The options of `load_classifier`; `RunConfig.options` fills those that are fields of a run.

    labels: a file with one label per line, or a shipped list, used before any labels that the
    classifier has. trust_pickle: load weights from a pickle, which can run code. arch: of a
    checkpoint, see `dexter.classifiers.checkpoint`. input_size in px, normalization, mean and std
    (3 numbers each) replace what the model's files state; multi_label, positive_class and threshold
    the meaning of its answers, see `dexter.classifiers.reading`. classifier_input: "trained" or
    "reference", the scaling of pictures. root: folder of the lab's models.
    """

    labels: str | Path | None = None
    arch: str | None = None
    input_size: int | None = None
    normalization: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    multi_label: bool | None = None
    positive_class: str | None = None
    threshold: float | None = None
    classifier_input: str = "trained"
    trust_pickle: bool = False
    device: str = "cpu"
    dtype: str = "float32"
    root: Path | str | None = None

    def label_names(self) -> list[str] | None:
        """Return the names in `labels`, if it is given; raise InputError for a faulty file."""
        return None if self.labels is None else read_labels(self.labels)

    def answers_key(self, weights_hash: str, preprocessing_key: str) -> str:
        """Return a key of the answers of these weights to pictures."""
        own = [preprocessing_key, *(getattr(self, name) for name in _OF_ANSWERS)]
        return f"{weights_hash}/{hashlib.sha256(json.dumps(own).encode()).hexdigest()}"
