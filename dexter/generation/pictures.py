"""Pictures for the evidence: each drawn once, kept in a bank, as bytes.

A picture is a function of (generator, prompt, seed), so a repeated request, also for another
classifier, gets the stored one. Everything is measured on the rounded bytes: results are the same
for pictures that are drawn and pictures from the bank.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Generator as Drawn
from typing import TYPE_CHECKING

import numpy as np

from dexter.generation.bank import KEEP, Images, MemoryBank, PictureBank, Request

if TYPE_CHECKING:
    from dexter.generation.drawing_process import Helper
    from dexter.generation.generator import Generator


_KEEP_PIXELS = 16_000_000
WAIT_SECONDS = 0.2
"""Between looks at pictures that another process draws."""


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
        """Draw half of them with ``helper``; call ``on_picture`` with each number drawn or read.

        While others draw what is wanted here, ``on_picture`` is called with 0.
        """
        self.generator = generator
        self.key = key
        self.drawn = 0
        self._bank: PictureBank = MemoryBank() if bank is None else bank
        self._batch = batch
        self.helper = helper
        self.on_picture = on_picture
        self.pace: float | None = None
        """Seconds per picture of the last sheet drawn."""

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[list[Request], Images]]:
        """Yield the requested pictures, each once, some at a time, in any order."""
        wanted = list(dict.fromkeys(requests))
        while wanted:
            missing = set(self._bank.missing(self.key, wanted))
            there = [request for request in wanted if request not in missing]
            for chunk, images in self._bank.read(self.key, there):
                self.on_picture(len(chunk))
                yield chunk, images
            # Neighbours share a prompt, which is then encoded once.
            wanted = yield from self._draw_missing(sorted(missing))
            if len(wanted) == len(missing) > 0:  # others draw all of them
                self.on_picture(0)
                time.sleep(WAIT_SECONDS)

    def _draw_missing(
        self, missing: list[Request]
    ) -> Drawn[tuple[list[Request], Images], None, list[Request]]:
        """Yield the pictures drawn here; return the requests that others draw."""
        others: list[Request] = []
        if not missing:
            return others
        size = self.generator.image_size
        keep = max(1, min(KEEP, _KEEP_PIXELS // (size * size)))
        for at in range(0, len(missing), keep):
            wanted = missing[at : at + keep]
            sheet = self._bank.claim(self.key, wanted)
            others += [request for request in wanted if request not in set(sheet)]
            if sheet:
                begun = time.monotonic()
                images = self._draw(sheet)
                self.pace = (time.monotonic() - begun) / len(sheet)
                self._bank.keep(self.key, sheet, images)
                self.drawn += len(sheet)
                yield sheet, images
        return others

    def _draw(self, requests: list[Request]) -> Images:
        """Draw pictures, half of them with the helper if it is idle."""
        helper = self.helper
        half = (len(requests) + 1) // 2
        if helper is None or len(requests) < 2 or not helper.ready(len(requests)):
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
