"""A toy world in which causes are known: a painter, a classifier and a detector around it.

Pictures are 8 by 8. Their noise comes from the seed; each word of the prompt adds its effect to the
brightness and lights a pixel of its own, unless it is one of those that the painter cannot draw.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dexter.classifiers import ClassifierOptions
from dexter.classifiers.base import Classifier, Preprocessing

SIZE = 8
LABELS = ["target", "other"]
_PIXELS: dict[str, int] = {}
CODE_WORDS = 5 * SIZE * 3  # values of the lower five rows


def pixel(word: str) -> int:
    """The value, of the lower rows, that stands for a word: each word that is met has its own."""
    return _PIXELS.setdefault(word, len(_PIXELS))


@dataclass
class Painter:
    """Draws prompts; `dexter.generation.generator.Generator` as far as the evidence needs it."""

    effects: Mapping[str, float] = field(default_factory=dict)
    undrawable: frozenset[str] = frozenset()
    base: float = 0.5
    noise: float = 0.15
    image_size: int = SIZE
    count: int = 0

    def pictures(
        self, texts: Sequence[str], seeds: Sequence[int], batch: int
    ) -> Iterator[np.ndarray[Any, Any]]:
        for text, seed in zip(texts, seeds, strict=True):
            self.count += 1
            rng = np.random.default_rng(seed)
            words = [word for word in text.split() if word not in self.undrawable]
            level = self.base + sum(self.effects.get(word, 0.0) for word in words)
            level += rng.normal(0, self.noise)
            image = np.zeros((SIZE, SIZE, 3))
            image[:3] = level
            lower = np.zeros(CODE_WORDS)
            for word in words:
                lower[pixel(word)] = 1
            image[3:] = lower.reshape(5, SIZE, 3)
            yield (image.clip(0, 1) * 255).round().astype(np.uint8)


class _Brightness(nn.Module):
    """The target's probability is the brightness of the upper rows."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        p = images[:, :, :3].mean((1, 2, 3)).clamp(1e-4, 1 - 1e-4)
        return torch.stack([p.log(), (1 - p).log()], -1)


def classifier(
    name: str = "toy",
    options: ClassifierOptions = ClassifierOptions(),  # noqa: B008
) -> Classifier:
    """Says "target" as surely as a picture is bright, where the options do not change it."""
    return Classifier(
        _Brightness(),
        spec=name,
        labels=LABELS,
        preprocessing=Preprocessing(SIZE, SIZE).with_options(options),
        weights_hash=name,
        device="cpu",
        dtype=torch.float32,
        options=options,
    )


class Reader:
    """A detector that reads the pixels that the painter lit."""

    name = "reader"

    def embed(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return images[:, 3:].reshape(len(images), -1).astype(np.float32) / 255

    def sees(self, concept: str, embeddings: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = np.all(
            [embeddings[:, pixel(word)] > 0.5 for word in concept.split()], axis=0
        )
        return found

    def presence(self, concept: str, embeddings: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        lit = [embeddings[:, pixel(word)] for word in concept.split()]
        found: np.ndarray[Any, Any] = np.min(lit, axis=0).astype(np.float64)
        return found
