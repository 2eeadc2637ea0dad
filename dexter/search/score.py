"""The activation score of a prompt, and pictures that show it.

Both use noise that no search has seen, the same for all runs and classifiers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from numpy.typing import NDArray

from dexter.config import Direction
from dexter.generation.generator import to_uint8
from dexter.search.objective import is_hit
from dexter.seeds import picture_seeds
from dexter.stats import wilson_interval

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.generation.generator import Generator


@dataclass(frozen=True)
class Score:
    """An activation score: ``value`` = hits / n, with its 95% Wilson interval [low, high]."""

    value: float
    low: float
    high: float
    n: int
    hits: int


@dataclass(frozen=True)
class Frame:
    """A picture of a prompt and the classifier's answer."""

    seed: int
    image: NDArray[np.uint8]
    """(H, W, 3)."""
    predicted_class: int
    target_probability: float
    hit: bool
    """True if the answer is what the search looks for: the target or, to lower it, another one."""


@overload
def activation_score(
    generator: Generator,
    classifiers: Classifier,
    class_index: int,
    prompt: str | torch.Tensor,
    *,
    n: int = ...,
    batch: int = ...,
    direction: Direction = ...,
) -> Score: ...
@overload
def activation_score(
    generator: Generator,
    classifiers: Sequence[Classifier],
    class_index: int | Sequence[int],
    prompt: str | torch.Tensor,
    *,
    n: int = ...,
    batch: int = ...,
    direction: Direction = ...,
) -> list[Score]: ...
def activation_score(
    generator: Generator,
    classifiers: Classifier | Sequence[Classifier],
    class_index: int | Sequence[int],
    prompt: str | torch.Tensor,
    *,
    n: int = 100,
    batch: int = 8,
    direction: Direction = "raise",
) -> Score | list[Score]:
    """Return the fraction of ``n`` fresh pictures of ``prompt`` that are classified as the target,
    or with direction "lower" as any other class.

    Paper, section 5, with n = 100. Several classifiers are scored on the same pictures, each drawn
    once; ``class_index`` is then one index for all, or one per classifier. Raises ValueError if the
    numbers of classifiers and indices differ, or if n is below 1.
    """
    if not isinstance(classifiers, Sequence):
        return activation_score(
            generator, [classifiers], class_index, prompt, n=n, batch=batch, direction=direction
        )[0]
    targets = (
        [class_index] * len(classifiers) if isinstance(class_index, int) else list(class_index)
    )
    if len(targets) != len(classifiers):
        raise ValueError(f"{len(classifiers)} classifiers but {len(targets)} class indices")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    hits = [0] * len(classifiers)
    for images, _ in draw_pictures(generator, prompt, picture_seeds("score", 0, n), batch):
        for k, (classifier, target) in enumerate(zip(classifiers, targets, strict=True)):
            predicted = classifier(images).predicted(target)
            hits[k] += int(is_hit(predicted, target, direction).sum())
    return [Score(count / n, *wilson_interval(count, n), n, count) for count in hits]


def draw_frames(
    generator: Generator,
    classifier: Classifier,
    class_index: int,
    prompt: str | torch.Tensor,
    *,
    wanted: int = 50,
    tries: int = 200,
    batch: int = 8,
    direction: Direction = "raise",
) -> Iterator[Frame]:
    """Yield fresh pictures of ``prompt`` until ``wanted`` of them hit or ``tries`` were drawn.

    Yields hits and misses, except pictures that the generator's safety checker flags. The last
    picture is the last wanted hit, or the last try.
    """
    hits = 0
    for images, seeds in draw_pictures(generator, prompt, picture_seeds("frames", 0, tries), batch):
        output = classifier(images)
        p, answers = output.probability(class_index), output.predicted(class_index)
        pixels = to_uint8(images)
        unsafe = generator.unsafe(pixels)
        for row, seed in enumerate(seeds):
            if unsafe[row]:
                continue
            predicted = int(answers[row])
            hit = is_hit(predicted, class_index, direction)
            hits += hit
            yield Frame(seed, pixels[row], predicted, float(p[row]), hit)
            if hits >= wanted:
                return


def draw_pictures(
    generator: Generator, prompt: str | torch.Tensor, seeds: list[int], batch: int
) -> Iterator[tuple[torch.Tensor, list[int]]]:
    """Yield a prompt's pictures (B, 3, H, W) in batches, with their seeds; no gradient.

    ``prompt`` is a text, or the conditioning (1, T, C) of one that is none.
    """
    for at in range(0, len(seeds), batch):
        chunk = seeds[at : at + batch]
        # Not around the yield: the caller's code would run without gradients too.
        with torch.no_grad():
            one = generator.encode_text([prompt]) if isinstance(prompt, str) else prompt
            images = generator.sample(one.expand(len(chunk), -1, -1), chunk)
        yield images, chunk
