"""A judge of latents: says which words a latent shows, and teaches the generator to show them.

The squared error of denoising says little about what is in a picture: a bird that is drawn as
another bird is nearly as good. The judge's cross-entropy on the denoised latents says just that, at
a twentieth of the cost. It is trained on latents of scenes with noise and blur, frozen, and never
used to measure anything: `evaluate` has its own network, on pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dexter.lab import models
from dexter.lab.evaluate import FAMILIES, LABELS, family_slice, scene_loss
from dexter.lab.scenes import Scene


def network() -> nn.Module:
    """Latents (B, 4, 16, 16) to logits (B, number of words that can be seen)."""
    layers: list[nn.Module] = []
    channels = models.LATENT_CHANNELS
    for width, stride in ((64, 1), (64, 1), (96, 2), (128, 1), (160, 2), (192, 1)):
        layers += [
            nn.Conv2d(channels, width, 3, stride=stride, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
        ]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, len(LABELS))]
    module: nn.Module = nn.Sequential(*layers)
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def scene_latent_loss(
    module: nn.Module, latents: Tensor, scenes: Sequence[Scene], rng: np.random.Generator
) -> Tensor:
    """How badly the judge reads noisy, blurred latents of scenes."""
    if rng.random() < 0.4:
        latents = functional.avg_pool2d(latents, 3, stride=1, padding=1, count_include_pad=False)
    latents = latents + float(rng.uniform(0, 0.6)) * torch.randn_like(latents)
    return scene_loss(module(latents), scenes)


JUDGED = ("subject", "background")
"""What the judge is asked about: the rest is too small for it to be a reliable teacher of."""


def caption_loss(
    module: nn.Module, latents: Tensor, scenes: Sequence[Scene], captions: Sequence[str]
) -> Tensor:
    """Mean over (B,) latents of the cross-entropy of what their captions say of their scenes.

    Only what the caption names is asked for: nobody can draw what was not said.
    """
    logits = module(latents)
    total = logits.new_zeros(())
    spoken = [set(caption.split()) for caption in captions]
    for family in JUDGED:
        words = FAMILIES[family]
        pairs = [
            (i, words.index(value))
            for i, scene in enumerate(scenes)
            if (value := getattr(scene, family)) in words and value in spoken[i]
        ]
        if pairs:
            rows, truth = zip(*pairs, strict=True)
            total = total + functional.cross_entropy(
                logits[list(rows), family_slice(family)], torch.tensor(truth), reduction="sum"
            )
    mean: Tensor = total / len(captions)
    return mean
