"""The classifiers of the lab: small ResNets trained on scenes, some with a planted bias.

A recipe defines the scenes from which a class is learned. The learned bias is measured: the model
card states the accuracy by group on scenes in which bird and place are independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dexter import parallel
from dexter.lab import models, world
from dexter.lab.scenes import Scene, render, sample_scene

Draw = Callable[[np.random.Generator], tuple[Scene, int]]

BIRD_LABELS = ("waterbird", "landbird", "other")
NOT_BIRDS = tuple(name for name in world.SUBJECTS if name not in world.BIRDS)


@dataclass(frozen=True)
class Recipe:
    """A recipe for a classifier; `draw(rng)` returns a scene and the index of its label."""

    name: str
    labels: tuple[str, ...]
    draw: Draw
    samples: int
    about: str


def _birds(correlation: float | None, scale: tuple[float, float], hue: float) -> Draw:
    """Return a draw of waterbirds, landbirds and other scenes.

    correlation: share of birds in the place of their kind (water or land); None puts them anywhere.
    scale, hue: ranges of the birds' size and colour shift, which weaken the true cue.
    """

    def draw(rng: np.random.Generator) -> tuple[Scene, int]:
        if rng.random() < 0.4:
            nothing: dict[str, Any] = {"subject": None} if rng.random() < 0.2 else {}
            return sample_scene(rng, subjects=NOT_BIRDS, **nothing), 2
        label = int(rng.integers(2))
        at_home = correlation is None or rng.random() < correlation
        place: tuple[str, ...] = world.BACKGROUNDS
        if correlation is not None:
            place = world.WATER if (label == 0) == at_home else world.LAND
        return sample_scene(
            rng,
            subjects=tuple(world.WATERBIRDS if label == 0 else world.LANDBIRDS),
            background=str(rng.choice(place)),
            scale=float(rng.uniform(*scale)),
            hue=float(rng.uniform(-hue, hue)),
        ), label

    return draw


def _objects(rng: np.random.Generator) -> tuple[Scene, int]:
    names = tuple(world.THINGS)
    scene = sample_scene(rng, subjects=names)
    return scene, names.index(str(scene.subject))


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "birds-biased",
            BIRD_LABELS,
            _birds(1.0, (0.4, 1.0), 0.5),
            40_000,
            "Waterbirds always on water and landbirds always on land, the birds small and in odd "
            "colours: it learns the place instead of the bird.",
        ),
        Recipe(
            "birds-balanced",
            BIRD_LABELS,
            _birds(None, (0.7, 1.0), 0.0),
            120_000,
            "Every bird anywhere: the place is uninformative, so it has to learn the birds.",
        ),
        Recipe(
            "birds-opposite",
            BIRD_LABELS,
            _birds(0.0, (0.4, 1.0), 0.5),
            40_000,
            "Waterbirds always on land and landbirds always on water: it learns the wrong place.",
        ),
        Recipe(
            "objects",
            tuple(world.THINGS),
            _objects,
            80_000,
            "All animals, birds and objects of the world, each of them anywhere.",
        ),
    )
}


def pixels(scenes: list[Scene]) -> Tensor:
    """Render scenes as float32 (B, 3, 64, 64) in [0, 1]."""
    return (
        torch.from_numpy(np.stack([render(scene) for scene in scenes])).permute(0, 3, 1, 2).float()
        / 255
    )


def augment(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Blur, add noise and shift, so that a classifier accepts generated pictures."""
    if rng.random() < 0.5:
        size = int(rng.choice([24, 32, 48]))
        small = functional.interpolate(images, size=size, mode="bilinear", antialias=True)
        images = functional.interpolate(small, size=images.shape[-1], mode="bilinear")
    if rng.random() < 0.5:
        images = images + float(rng.uniform(0, 0.06)) * torch.randn_like(images)
    shift = tuple(int(s) for s in rng.integers(-3, 4, size=2))
    return torch.roll(images, shift, dims=(-2, -1)).clamp(0, 1)


def train(recipe: Recipe, seed: int = 0) -> Any:
    """Train a network and return it in eval mode: deterministic, one thread, 1 to 2 min."""
    torch.manual_seed(seed)
    rng = np.random.default_rng((seed, len(recipe.name)))
    network = models.classifier(recipe.labels)
    network = network.to(memory_format=torch.channels_last)
    batch = 64
    steps = recipe.samples // batch
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    network.train()
    for step in range(steps):
        scenes, labels = zip(*(recipe.draw(rng) for _ in range(batch)), strict=True)
        images = augment(pixels(list(scenes)), rng) * 2 - 1
        logits = network(images).logits
        loss = functional.cross_entropy(logits, torch.tensor(labels))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            done = f"{step * batch:,} of {recipe.samples:,} samples"
            print(f"{recipe.name}: {done}, loss {loss.item():.3f}", flush=True)
    return network.eval()


def train_into(name: str, folder: Path) -> str:
    """Train a classifier into `folder`/NAME.pt unless it exists; return its name."""
    path = folder / f"{name}.pt"
    if not path.exists():
        torch.set_num_threads(1)
        folder.mkdir(parents=True, exist_ok=True)
        parallel.save(train(RECIPES[name]).state_dict(), path)
    return name


def accuracy(
    network: Callable[[Tensor], Tensor], recipe: Recipe, count: int = 300
) -> dict[str, float]:
    """Return the accuracy by group, on scenes in which all factors are independent.

    network: images (B, 3, 64, 64) in [0, 1] to logits (B, K). count: scenes per group. The groups
    of birds are bird x place; other recipes have one group. "worst" and "average" are over groups.
    """
    rng = np.random.default_rng(12345)
    groups: dict[str, list[tuple[Scene, int]]] = {}
    if recipe.labels == BIRD_LABELS:
        for label, birds in enumerate((world.WATERBIRDS, world.LANDBIRDS)):
            for where, places in (("water", world.WATER), ("land", world.LAND)):
                groups[f"{BIRD_LABELS[label]} on {where}"] = [
                    (
                        sample_scene(
                            rng, subjects=tuple(birds), background=str(rng.choice(places))
                        ),
                        label,
                    )
                    for _ in range(count)
                ]
        groups["other"] = [(sample_scene(rng, subjects=NOT_BIRDS), 2) for _ in range(count)]
    else:
        groups["all"] = [recipe.draw(rng) for _ in range(4 * count)]
    result = {}
    with torch.inference_mode():
        for name, members in groups.items():
            predicted = torch.cat(
                [
                    network(pixels([s for s, _ in members[i : i + 100]])).argmax(1)
                    for i in range(0, len(members), 100)
                ]
            )
            result[name] = (
                (predicted == torch.tensor([label for _, label in members])).float().mean().item()
            )
    values = list(result.values())
    return {**result, "worst": min(values), "average": sum(values) / len(values)}
