"""The detection of concepts by the generator itself, where no image-text model is at hand.

A diffusion model is a zero-shot classifier (Clark and Jaini 2023, arXiv 2303.15233): of two texts,
the one that describes a picture helps more to remove noise from it. With latents x, noised to x_t
with noise e, and the restored latents x'(x_t, t, text), let

    E(text, cell) = sum over (t, e) of |x - x'(x_t, t, text)|^2 in a cell / w(t),

with w(t) the mean error under "a picture". The paper compares sums over the whole picture. A small
thing changes little of that sum, so the best place of a quarter of the side counts here:

    d = max over places of (E("a picture", place) - E("a picture of a CONCEPT", place))
        / (E("a picture", place) + E("a picture", everywhere) / 5)

with means over places. The concept is detected if it removes at least the share d = 0.13 of the
error. Times in the middle say most. Both texts and all pictures share the noises, so that the
difference is one of texts. The place, the times and the share were chosen on scenes of the lab;
docs/methods.md has the figures on others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dexter.generation.bank import Images
from dexter.reasoning.detection import GENERATOR, Detector, Embeddings, load_detector

if TYPE_CHECKING:
    from torch import Tensor

    from dexter.generation.generator import Generator

NOISES = 16
"""Noises of a picture, at evenly spaced times from `TIMES`[0] to `TIMES`[1]."""
TIMES = (1 / 8, 7 / 8)
SHARE = 0.13
"""The share of the error that a detected concept removes."""
_SPREAD = 0.04
"""Of the logistic curve around `SHARE`."""
_FLOOR = 0.2
_SEED = 230_315_233
_BATCH = 32
_CELLS = 8
"""Cells of a side; a place is 2 by 2 of them."""
_KEPT = 20_000
"""Errors that are remembered, of a picture and a text each: 4 kB."""


class Denoising:
    """A `dexter.reasoning.detection.Detector`; its embeddings are the pictures' latents."""

    def __init__(self, generator: Generator) -> None:
        self.name = f"{GENERATOR} {generator.spec}"
        self._generator = generator
        first, last = TIMES
        self._times = [first + (last - first) * (at + 0.5) / NOISES for at in range(NOISES)]
        self._seeds = [_SEED + at for at in range(NOISES)]
        self._shape: Sequence[int] = ()
        self._known: dict[tuple[str, bytes], NDArray[np.float32]] = {}

    def embed(self, images: Images) -> Embeddings:
        """Return the latents (B, C h w) of pictures (B, H, W, 3)."""
        rows = []
        for at in range(0, len(images), _BATCH):
            latents = self._generator.encode_pictures(self._fitted(images[at : at + _BATCH]))
            self._shape = latents.shape[1:]
            rows.append(latents.flatten(1).float().cpu().numpy())
        return np.concatenate(rows)

    def sees(self, concept: str, embeddings: Embeddings) -> NDArray[np.bool_]:
        seen: NDArray[np.bool_] = self._shares(concept, embeddings) > SHARE
        return seen

    def presence(self, concept: str, embeddings: Embeddings) -> NDArray[np.float64]:
        """Return the probability of the concept, (B,): a logistic curve of the share of the error,
        fitted to scenes of the lab."""
        share = self._shares(concept, embeddings)
        found: NDArray[np.float64] = 0.5 + 0.5 * np.tanh((share - SHARE) / (2 * _SPREAD))
        return found

    def _shares(self, concept: str, embeddings: Embeddings) -> NDArray[np.float64]:
        """Return the share of the error that the concept removes at its best place, (B,)."""
        before = self._errors("a picture", embeddings).astype(np.float64)
        gain = before - self._errors(f"a picture of a {concept}", embeddings)
        each = before.mean((2, 3), keepdims=True)  # of a time
        before, gain = (_places((one / each).mean(1)) for one in (before, gain))
        everywhere = before.mean((1, 2), keepdims=True)
        found: NDArray[np.float64] = (gain / (before + _FLOOR * everywhere)).max((1, 2))
        return found

    def _errors(self, text: str, embeddings: Embeddings) -> NDArray[np.float32]:
        """Return the errors (B, `NOISES`, `_CELLS`, `_CELLS`) under a text."""
        import torch

        if len(self._known) > _KEPT:
            self._known.clear()
        keys = [(text, row.tobytes()) for row in embeddings]
        new = [at for at, key in enumerate(keys) if key not in self._known]
        for at in range(0, len(new), _BATCH):
            rows = new[at : at + _BATCH]
            errors = self._generator.denoising_errors(
                self._latents(embeddings[rows]), text, self._times, self._seeds
            )
            own = torch.nn.functional.adaptive_avg_pool2d(errors.float(), _CELLS).cpu().numpy()
            self._known.update(zip((keys[row] for row in rows), own, strict=True))
        return np.stack([self._known[key] for key in keys])

    def _latents(self, embeddings: Embeddings) -> Tensor:
        import torch

        if not self._shape:  # the pictures were embedded by another process
            side = self._generator.image_size
            blank = np.zeros((1, side, side, 3), np.uint8)
            self._shape = self._generator.encode_pictures(blank).shape[1:]
        return torch.from_numpy(np.ascontiguousarray(embeddings)).reshape(-1, *self._shape)

    def _fitted(self, images: Images) -> Images:
        """Return the pictures at the generator's size."""
        side = self._generator.image_size
        if images.shape[1:3] == (side, side):
            return images
        from PIL import Image

        small = [Image.fromarray(one).resize((side, side), Image.Resampling.BILINEAR)
                 for one in images]  # fmt: skip
        return np.stack([np.asarray(one) for one in small])


def _places(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of all places (B, n, n) of 2 by 2 of the cells (B, n + 1, n + 1)."""
    rows = cells[:, 1:] + cells[:, :-1]
    places: NDArray[np.float64] = (rows[:, :, 1:] + rows[:, :, :-1]) / 4
    return places


def detector_of(spec: str, generator: Callable[[], Generator], *, device: str) -> Detector:
    """Load the detector that a setting names: "generator", or an image-text model."""
    return Denoising(generator()) if spec == GENERATOR else load_detector(spec, device=device)
