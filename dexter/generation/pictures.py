"""Pictures for the evidence: each drawn once, kept in a bank, as bytes.

A picture is a function of (generator, prompt, seed), so a repeated request, also for another
classifier, gets the stored one. Everything is measured on the rounded bytes: results are the same
for pictures that are drawn and pictures from the bank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dexter.generation.bank import KEEP, Images, MemoryBank, PictureBank, Request

if TYPE_CHECKING:
    from dexter.generation.drawing_process import Helper
    from dexter.generation.generator import Generator


_KEEP_PIXELS = 16_000_000


class Pictures:
    """A bank that draws missing pictures; ``key`` identifies the generator and its settings."""

    def __init__(
        self,
        generator: Generator,
        key: str,
        bank: PictureBank | None = None,
        *,
        batch: int = 16,
        helper: Helper | None = None,
        on_picture: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Draw half of them with ``helper``; call ``on_picture`` with each number drawn or read."""
        self.generator = generator
        self.key = key
        self.drawn = 0
        self._bank: PictureBank = MemoryBank() if bank is None else bank
        self._batch = batch
        self._helper = helper
        self.on_picture = on_picture

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[list[Request], Images]]:
        """Yield the requested pictures, each once, some at a time, in any order."""
        wanted = list(dict.fromkeys(requests))
        missing = self._bank.missing(self.key, wanted)
        there = set(wanted) - set(missing)
        for chunk, images in self._bank.read(self.key, [r for r in wanted if r in there]):
            self.on_picture(len(chunk))
            yield chunk, images
        size = self.generator.image_size
        keep = max(1, min(KEEP, _KEEP_PIXELS // (size * size)))
        # Neighbours share a prompt, which is then encoded once.
        missing.sort()
        for at in range(0, len(missing), keep):
            sheet = missing[at : at + keep]
            images = self._draw(sheet)
            self._bank.keep(self.key, sheet, images)
            self.drawn += len(sheet)
            yield sheet, images

    def _draw(self, requests: list[Request]) -> Images:
        """Draw pictures, half of them with the helper if it is idle."""
        helper = self._helper
        half = (len(requests) + 1) // 2
        if helper is None or len(requests) < 2 or not helper.ready():
            return self._draw_here(requests)
        if not helper.begin(requests[half:], self._batch):
            return self._draw_here(requests)
        own = self._draw_here(requests[:half])
        others = helper.end()
        if others is None:
            others = self._draw_here(requests[half:])
        else:
            self.on_picture(len(others))
        return np.concatenate([own, others])

    def _draw_here(self, requests: list[Request]) -> Images:
        prompts, seeds = [p for p, _ in requests], [s for _, s in requests]
        drawn = []
        for image in self.generator.pictures(prompts, seeds, self._batch):
            drawn.append(image)
            self.on_picture(1)
        return np.stack(drawn)
