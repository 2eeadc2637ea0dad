"""The detection of concepts in pictures, by an image-text model that proposed none of them.

A concept is detected if "a picture of a CONCEPT" fits a picture better than "a picture": zero-shot
classification with CLIP (Radford et al. 2021) and two texts.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dexter.errors import InputError
from dexter.generation.bank import Images

Embeddings = NDArray[np.float32]
"""Embeddings (B, D) of length 1."""

GENERATOR = "generator"
"""The name of the detector that is the generator itself; see `dexter.reasoning.denoising`."""
_BATCH = 32


class Detector(Protocol):
    """A detector of concepts in pictures, from one embedding per picture."""

    name: str

    def embed(self, images: Images) -> Embeddings:
        """Return embeddings (B, D) of pictures (B, H, W, 3)."""

    def sees(self, concept: str, embeddings: Embeddings) -> NDArray[np.bool_]:
        """Return True for each picture that shows the concept, (B,)."""

    def presence(self, concept: str, embeddings: Embeddings) -> NDArray[np.float64]:
        """Return the probability that each picture shows the concept, (B,); `sees` is above 1/2."""


class ImageText:
    """A transformers CLIPModel with its processor."""

    def __init__(self, folder: Path, name: str, device: str) -> None:
        import torch
        from safetensors import SafetensorError
        from transformers import CLIPModel, CLIPProcessor

        from dexter.loading import LOADING_ERRORS, one_line, quiet

        try:
            with quiet():
                self._model: Any = CLIPModel.from_pretrained(folder, local_files_only=True)
                self._processor: Any = CLIPProcessor.from_pretrained(folder, local_files_only=True)
        except (*LOADING_ERRORS, SafetensorError) as error:
            raise InputError(
                f"image-text model {name!r} cannot be loaded: {one_line(error)}",
                field="image_text",
                value=name,
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
        seen: NDArray[np.bool_] = self.fit(concept, embeddings) > 0
        return seen

    def presence(self, concept: str, embeddings: Embeddings) -> NDArray[np.float64]:
        # The softmax over the two texts, at the temperature that the model was trained with.
        scale = float(self._model.logit_scale.exp())
        fit = self.fit(concept, embeddings).astype(np.float64)
        found: NDArray[np.float64] = 0.5 + 0.5 * np.tanh(scale / 2 * fit)
        return found

    def fit(self, concept: str, embeddings: Embeddings) -> NDArray[np.float32]:
        """Return how much better a concept fits each picture than none does, (B,), by cosine."""
        with_it, without = self.text(f"a picture of a {concept}"), self.text("a picture")
        better: NDArray[np.float32] = embeddings @ with_it - embeddings @ without
        return better

    def text(self, text: str) -> Embeddings:
        """Return the embedding (D,) of a text."""
        import torch

        if text not in self._texts:
            inputs = self._processor(
                text=[text], return_tensors="pt", padding=True, truncation=True
            ).to(self._device)
            with torch.inference_mode():
                self._texts[text] = _unit(self._model.get_text_features(**inputs))[0]
        return self._texts[text]


def _unit(output: Any) -> Embeddings:
    """Normalise features of either transformers form (a tensor, or with ``pooler_output``)."""
    import torch

    features = output if isinstance(output, torch.Tensor) else output.pooler_output
    unit: Embeddings = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    return unit


def load_detector(spec: str, *, device: str = "cpu", root: Path | str | None = None) -> ImageText:
    """Load an image-text model: "lab", a Hugging Face folder or a hub id (CLIP)."""
    from huggingface_hub import snapshot_download

    from dexter import model_folders
    from dexter.loading import fetch

    if spec == GENERATOR:
        raise InputError(
            "the generator detects concepts only in its own pictures",
            field="image_text",
            value=spec,
            remedy="name lab, a folder or a hub id",
        )
    if spec == "lab":
        folder = model_folders.find("lab", "image_text", root=root)
    else:
        patterns = ["*.json", "*.txt", "*.safetensors"]
        folder = fetch(spec, "image_text", partial(snapshot_download, allow_patterns=patterns))
    return ImageText(folder, spec, device)
