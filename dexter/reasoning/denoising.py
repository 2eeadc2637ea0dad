"""The detection of concepts by the generator itself, where no image-text model is at hand.

A diffusion model is a zero-shot classifier (Clark and Jaini 2023, arXiv 2303.15233): of two texts,
the one that describes a picture helps more to remove noise from it. With latents x, noised to x_t
with noise e, and the restored latents x'(x_t, t, text), the concept is detected if

    d = mean over (t, e) of w(t) (|x - x'(x_t, t, "a picture")|^2 - |x - x'(x_t, t, text)|^2) > 0,

where text is "a picture of a CONCEPT" and w(t) = exp(-7 t), the paper's weight, for t in (0, 1).
Both texts and all pictures share the noises, so that the difference is one of texts.
"""

from __future__ import annotations

import math
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
"""Noises of a picture, at evenly spaced times."""
_SEED = 230_315_233
_BATCH = 32
_DECAY = 7.0
_KEPT = 200_000
"""Errors that are remembered, of a picture and a text each."""


class Denoising:
    """A `dexter.reasoning.detection.Detector`; its embeddings are the pictures' latents."""

    def __init__(self, generator: Generator) -> None:
        self.name = f"{GENERATOR} {generator.spec}"
        self._generator = generator
        self._times = [(at + 0.5) / NOISES for at in range(NOISES)]
        self._seeds = [_SEED + at for at in range(NOISES)]
        self._weights = np.exp([-_DECAY * time for time in self._times])
        self._shape: Sequence[int] = ()
        self._known: dict[tuple[str, bytes], NDArray[np.float64]] = {}

    def embed(self, images: Images) -> Embeddings:
        """Return the latents (B, C h w) of pictures (B, H, W, 3)."""
        rows = []
        for at in range(0, len(images), _BATCH):
            latents = self._generator.encode_pictures(self._fitted(images[at : at + _BATCH]))
            self._shape = latents.shape[1:]
            rows.append(latents.flatten(1).float().cpu().numpy())
        return np.concatenate(rows)

    def sees(self, concept: str, embeddings: Embeddings) -> NDArray[np.bool_]:
        seen: NDArray[np.bool_] = self._gains(concept, embeddings).mean(1) > 0
        return seen

    def presence(self, concept: str, embeddings: Embeddings) -> NDArray[np.float64]:
        """Return the probability that the concept lowers the error, (B,): of the mean difference
        over the noises, in its normal approximation."""
        gains = self._gains(concept, embeddings)
        error = gains.std(1, ddof=1) / math.sqrt(gains.shape[1])
        z = gains.mean(1) / np.maximum(error, 1e-12)
        return np.array([0.5 * math.erfc(-one / math.sqrt(2)) for one in z])

    def _gains(self, concept: str, embeddings: Embeddings) -> NDArray[np.float64]:
        """Return the weighted differences (B, `NOISES`)."""
        with_it = self._errors(f"a picture of a {concept}", embeddings)
        gains: NDArray[np.float64] = self._errors("a picture", embeddings) - with_it
        return gains * self._weights

    def _errors(self, text: str, embeddings: Embeddings) -> NDArray[np.float64]:
        if len(self._known) > _KEPT:
            self._known.clear()
        keys = [(text, row.tobytes()) for row in embeddings]
        new = [at for at, key in enumerate(keys) if key not in self._known]
        for at in range(0, len(new), _BATCH):
            rows = new[at : at + _BATCH]
            errors = self._generator.denoising_errors(
                self._latents(embeddings[rows]), text, self._times, self._seeds
            )
            own = errors.double().cpu().numpy()
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


def detector_of(spec: str, generator: Callable[[], Generator], *, device: str) -> Detector:
    """Load the detector that a setting names: "generator", or an image-text model."""
    return Denoising(generator()) if spec == GENERATOR else load_detector(spec, device=device)
