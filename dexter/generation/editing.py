"""Pictures that are edits of one picture: a function of (picture, strength, prompt, seed)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dexter.generation.generator import Generator

STEPS = 8
"""Diffusion steps from pure noise to a picture, of which an edit takes the last ones. Few-step
generators leave only one place to begin between the picture and noise; with 8 there are 7."""


class Editor:
    """Redraws one picture under other prompts; `Pictures` draws with it as with a generator.

    Args:
        generator: Draws.
        picture: (H, W, 3) of the generator's size.
        start: The first of `STEPS` diffusion steps; a smaller one draws more of the picture new.
    """

    def __init__(self, generator: Generator, picture: NDArray[np.uint8], start: int) -> None:
        self._generator = generator
        self._picture = picture
        self._start = start
        self.image_size = generator.image_size

    @property
    def key(self) -> str:
        """Return a digest of all that determines an edit besides generator, prompt and seed."""
        own = [hashlib.sha256(self._picture.tobytes()).hexdigest(), STEPS, self._start]
        return hashlib.sha256(repr(own).encode()).hexdigest()

    @property
    def strength(self) -> float:
        """Return the share of the diffusion that is done again."""
        return 1 - self._start / STEPS

    def pictures(
        self, texts: Sequence[str], seeds: Sequence[int], batch: int
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield an edit (H, W, 3) per text and seed, computed ``batch`` at a time."""
        for at in range(0, len(seeds), batch):
            part = slice(at, at + batch)
            yield from self._generator.edit(
                self._picture, texts[part], seeds[part], steps=STEPS, start=self._start
            )
