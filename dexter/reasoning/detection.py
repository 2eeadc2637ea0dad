"""Is it in the picture? Asked of an image-text model that had no part in proposing the concept.

A concept is detected where "a picture of a CONCEPT" fits better than "a picture" without it:
zero-shot classification of CLIP (Radford et al. 2021) with two texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dexter.errors import InputError
from dexter.generation.bank import Images

Embeddings = NDArray[np.float32]
"""(B, D), of length 1."""


_BATCH = 32


class Detector(Protocol):
    """Sees whether concepts are in pictures, by one embedding a picture."""

    name: str

    def embed(self, images: Images) -> Embeddings:
        """Pictures (B, H, W, 3) to embeddings (B, D)."""

    def sees(self, concept: str, embeddings: Embeddings) -> NDArray[np.bool_]:
        """Whether each picture shows the concept, (B,)."""


class ImageText:
    """A transformers CLIPModel with its processor."""

    def __init__(self, folder: Path, name: str, device: str) -> None:
        import torch
        from transformers import CLIPModel, CLIPProcessor

        from dexter.loading import one_line, quiet

        try:
            with quiet():
                self._model: Any = CLIPModel.from_pretrained(folder, local_files_only=True)
                self._processor: Any = CLIPProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise InputError(
                f"image-text model {name!r} cannot be loaded: {one_line(error)}"
            ) from error
        self._model.requires_grad_(False).eval().to(device)
        self._device = torch.device(device)
        self._texts: dict[str, Embeddings] = {}
        self.name = name

    def embed(self, images: Images) -> Embeddings:
        import torch

        rows = []
        for at in range(0, len(images), _BATCH):
            chunk = list(images[at : at + _BATCH])
            inputs = self._processor(images=chunk, return_tensors="pt").to(self._device)
            with torch.inference_mode():
                rows.append(_unit(self._model.get_image_features(**inputs)))
        return np.concatenate(rows)

    def sees(self, concept: str, embeddings: Embeddings) -> NDArray[np.bool_]:
        with_it, without = self._text(f"a picture of a {concept}"), self._text("a picture")
        seen: NDArray[np.bool_] = embeddings @ with_it > embeddings @ without
        return seen

    def _text(self, text: str) -> Embeddings:
        import torch

        if text not in self._texts:
            inputs = self._processor(
                text=[text], return_tensors="pt", padding=True, truncation=True
            ).to(self._device)
            with torch.inference_mode():
                self._texts[text] = _unit(self._model.get_text_features(**inputs))[0]
        return self._texts[text]


def _unit(output: Any) -> Embeddings:
    """Features of either transformers form (a tensor, or an output with ``pooler_output``)."""
    import torch

    features = output if isinstance(output, torch.Tensor) else output.pooler_output
    unit: Embeddings = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    return unit


def load_detector(spec: str, *, device: str = "cpu", root: Path | str | None = None) -> Detector:
    """The image-text model of a spec: "lab", a Hugging Face folder or a hub id (CLIP)."""
    from huggingface_hub import snapshot_download

    from dexter import model_folders
    from dexter.loading import fetch

    if spec == "lab":
        folder = model_folders.find("lab", "image_text", root=root)
    else:
        patterns = ["*.json", "*.txt", "*.safetensors"]
        folder = fetch(spec, "image_text", partial(snapshot_download, allow_patterns=patterns))
    return ImageText(folder, spec, device)


def detection_rate(seen: Sequence[bool] | NDArray[np.bool_]) -> float:
    """The share of pictures that show it; 0 of none."""
    return float(np.mean(seen)) if len(seen) else 0.0
