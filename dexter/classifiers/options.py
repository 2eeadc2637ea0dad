"""The description of a classifier, and the options that it is loaded with."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ClassifierInfo:
    """What is known of a classifier before it is loaded.

    spec: with paths made absolute. image_size: side in px. weights_hash: SHA-256 (hex) of the
    weights, None where only loading tells.
    """

    spec: str
    labels: list[str]
    image_size: int
    weights_hash: str | None


@dataclass(frozen=True)
class Options:
    """How a classifier is to be loaded; see `load_classifier`."""

    labels: list[str] | None = None
    device: str = "cpu"
    dtype: str = "float32"
    trust_pickle: bool = False
    arch: str | None = None
    normalization: str | None = None
    input: str = "trained"
    root: Path | str | None = None
