"""The description of a classifier, and the options that it is loaded with."""

import hashlib
import json
import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path

from dexter.classifiers.label_lists import read_labels
from dexter.errors import InputError

# The options that change what a network answers to its input; labels only name it.
_OF_ANSWERS = ("arch", "multi_label", "positive_class", "threshold")
ANSWERS = "answers:"
"""The beginning of a `weights_hash` that stands for answers, of a server; 32-bit floats follow."""
_JITTER = 0.003  # relative difference of answers up to which they are the same
_FAINT = 0.1  # answers below are compared as if they were as large


def same_weights(one: str | None, other: str | None) -> bool:
    """Return whether two hashes are of the same classifier; answers of a server may jitter."""
    if one is None or other is None or not (one.startswith(ANSWERS) and other.startswith(ANSWERS)):
        return one == other
    first, second = (_numbers(text.removeprefix(ANSWERS)) for text in (one, other))
    most = _JITTER * max(_FAINT, *map(abs, first + second))
    return len(first) == len(second) > 0 and all(
        abs(a - b) <= most for a, b in zip(first, second, strict=True)
    )


def _numbers(text: str) -> tuple[float, ...]:
    """Return the numbers of an identity; none for what `http_endpoint` never wrote, which a
    foreign store may hold."""
    try:
        data = bytes.fromhex(text)
        numbers = struct.unpack(f">{len(data) // 4}f", data)
    except (ValueError, struct.error):
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


@dataclass(frozen=True)
class ClassifierInfo:
    """The facts about a classifier that are known before it is loaded.

    spec: with absolute paths. image_size: side in px. weights_hash: SHA-256 (hex) of the
    weights, compared by `same_weights`; None where it takes loading to get it. recognised: a line
    with all that was recognised and assumed. gradients: False for a black box. multi_label: True
    for labels that do not exclude each other. constant: True if it answered all pictures of a trial
    alike. answers_key: as of `Classifier`.
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

    def known_as(self, weights_hash: str) -> "ClassifierInfo":
        """Return the same with an earlier hash that is the same by `same_weights`."""
        own = str(self.answers_key).removeprefix(str(self.weights_hash))
        return replace(self, weights_hash=weights_hash, answers_key=weights_hash + own)


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

    def __post_init__(self) -> None:
        for name in ("multi_label", "trust_pickle"):
            value = getattr(self, name)
            # A text such as "no" would count as true.
            if not isinstance(value, bool | None):
                raise InputError(f"must be True or False, got {value!r}", field=name, value=value)

    def label_names(self) -> list[str] | None:
        """Return the names in `labels`, if it is given; raise InputError for a faulty file."""
        return None if self.labels is None else read_labels(self.labels)

    def answers_key(self, weights_hash: str, preprocessing_key: str) -> str:
        """Return a key of the answers of these weights to pictures."""
        own = [preprocessing_key, *(getattr(self, name) for name in _OF_ANSWERS)]
        return f"{weights_hash}/{hashlib.sha256(json.dumps(own).encode()).hexdigest()}"
