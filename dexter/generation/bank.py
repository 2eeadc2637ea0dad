"""A bank of pictures: each is a function of (generator, prompt, seed), drawn once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Request = tuple[str, int]
"""Prompt and seed."""


Images = NDArray[np.uint8]
"""(B, H, W, 3)."""


KEEP = 64  # pictures stored at a time


class PictureBank(Protocol):
    """A store of pictures; ``generator`` identifies weights and all settings of the drawing."""

    def missing(self, generator: str, requests: Sequence[Request]) -> list[Request]:
        """Return the requests without a picture."""

    def read(
        self, generator: str, requests: Sequence[Request]
    ) -> Iterator[tuple[list[Request], Images]]:
        """Yield the stored pictures, some at a time, in any order."""

    def claim(self, generator: str, requests: Sequence[Request]) -> list[Request]:
        """Return the requests to draw here: those without a picture that nobody else draws."""

    def keep(self, generator: str, requests: Sequence[Request], images: Images) -> None:
        """Store pictures, all of the same size."""


class MemoryBank:
    """A bank that lasts as long as the process."""

    def __init__(self) -> None:
        self._pictures: dict[tuple[str, Request], NDArray[np.uint8]] = {}

    def missing(self, generator: str, requests: Sequence[Request]) -> list[Request]:
        return [r for r in requests if (generator, r) not in self._pictures]

    def read(
        self, generator: str, requests: Sequence[Request]
    ) -> Iterator[tuple[list[Request], Images]]:
        found = [r for r in requests if (generator, r) in self._pictures]
        for at in range(0, len(found), KEEP):
            chunk = found[at : at + KEEP]
            yield chunk, np.stack([self._pictures[generator, r] for r in chunk])

    def claim(self, generator: str, requests: Sequence[Request]) -> list[Request]:
        return self.missing(generator, requests)

    def keep(self, generator: str, requests: Sequence[Request], images: Images) -> None:
        for request, image in zip(requests, images, strict=True):
            self._pictures[generator, request] = image
