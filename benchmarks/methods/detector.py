"""The generator as a detector: on scenes against their truth, on drawn pictures against the lab's
evaluator, and the image-text model beside it."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.methods.rows import Row, bootstrap

PICTURES = 80
"""Held-out scenes, and as many drawn pictures, each asked for two places and two items: one that
the scene shows, or that the prompt names, and another."""

Questions = list[tuple[int, str, str]]
"""Picture, kind (place or item) and word."""
Answers = NDArray[np.bool_]


def measure() -> list[Row]:
    """Return the rows on places and on items."""
    from dexter.generation.generator import load_generator
    from dexter.lab.check import evaluator
    from dexter.reasoning.denoising import Denoising
    from dexter.reasoning.detection import load_detector

    generator = load_generator("lab")
    network = evaluator()
    detectors = {"generator": Denoising(generator), "model": load_detector("lab")}
    scenes, asked, truth = _scenes()
    found = {name: _answers(one, scenes, asked) for name, one in detectors.items()}
    found["evaluator"] = _judged(network, scenes, asked), 0.0
    rows = _rows("scenes", "accuracy against the scene", asked, truth, found)
    drawn, asked = _drawn(generator)
    found = {name: _answers(one, drawn, asked) for name, one in detectors.items()}
    judged = _judged(network, drawn, asked)
    return rows + _rows("pictures", "agreement with the lab's evaluator", asked, judged, found)


def _rows(
    what: str,
    figure: str,
    asked: Questions,
    right: Answers,
    found: dict[str, tuple[Answers, float]],
) -> list[Row]:
    kinds = np.array([kind for _, kind, _ in asked])
    answers, seconds = found["generator"]
    rows = []
    for kind in ("places", "items", "places and items"):
        at = np.flatnonzero([one in kind for one in kinds])
        same = (answers == right)[at].astype(np.float64)
        low, high = bootstrap([asked[i][0] for i in at], partial(_share, same))
        shown = float(right[at].mean())
        notes = [f"agrees with the image-text model in {_same(found, 'generator', 'model', at)}"]
        for name, (others, cost) in found.items():
            alike = float((others == right)[at].mean())
            notes.append(f"{name} {alike:.2f} at {1000 * cost / len(asked):.0f} CPU ms a question")
        rows.append(
            Row(
                f"detector by the generator, {what}, {kind}",
                figure,
                float(same.mean()),
                low,
                high,
                len(at),
                "questions",
                "always the more frequent answer",
                max(shown, 1 - shown),
                seconds * len(at) / len(asked),
                f"{'; '.join(notes)}. Places, times and threshold were chosen on 48 other scenes",
            )
        )
    return rows


def _same(
    found: dict[str, tuple[Answers, float]], one: str, other: str, at: NDArray[np.int64]
) -> str:
    return f"{float((found[one][0] == found[other][0])[at].mean()):.2f}"


def _share(same: NDArray[np.float64], rows: NDArray[np.int64]) -> float:
    return float(same[rows].mean())


def _answers(detector: Any, pictures: NDArray[np.uint8], asked: Questions) -> tuple[Answers, float]:
    """Return a detector's answers and its CPU seconds."""
    begun = time.process_time()
    embeddings = detector.embed(pictures)
    seen = np.zeros(len(asked), np.bool_)
    for word in dict.fromkeys(word for _, _, word in asked):
        own = [row for row, one in enumerate(asked) if one[2] == word]
        seen[own] = detector.sees(word, embeddings[[asked[row][0] for row in own]])
    return seen, time.process_time() - begun


def _judged(network: Any, pictures: NDArray[np.uint8], asked: Questions) -> Answers:
    """Return the evaluator's answers."""
    import torch

    from dexter.lab.evaluate import answers

    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    found = answers(network, images)
    return np.array(
        [
            word == found[at]["background"] if kind == "place" else word in found[at]["items"]
            for at, kind, word in asked
        ]
    )


def _questions(count: int, take: Callable[[Any], None], seed: int) -> tuple[Questions, Answers]:
    """Return the questions about scenes with a place and an item, each given to ``take``."""
    from dexter.lab import world
    from dexter.lab.scenes import sample_scene

    rng = np.random.default_rng(seed)
    asked: Questions = []
    shown: list[bool] = []
    taken = 0
    while taken < count:
        scene = sample_scene(rng)
        if scene.background is None or not scene.items:
            continue
        take(scene)
        absent = [word for word in world.BACKGROUNDS if word != scene.background]
        missing = [word for word in world.ITEMS if word not in scene.items]
        for kind, own, other in (
            ("place", scene.background, str(rng.choice(absent))),
            ("item", str(rng.choice(list(scene.items))), str(rng.choice(missing))),
        ):
            asked += [(taken, kind, own), (taken, kind, other)]
            shown += [True, False]
        taken += 1
    return asked, np.array(shown)


def _scenes() -> tuple[NDArray[np.uint8], Questions, Answers]:
    """Return pictures of scenes, the questions about them and their truth."""
    from dexter.lab.scenes import render

    pictures: list[Any] = []
    asked, truth = _questions(PICTURES, lambda scene: pictures.append(render(scene)), 2303)
    return np.stack(pictures), asked, truth


def _drawn(generator: Any) -> tuple[NDArray[np.uint8], Questions]:
    """Return drawn pictures of subjects with a place and items, and the questions about them."""
    from dexter.seeds import picture_seeds

    prompts: list[str] = []

    def say(scene: Any) -> None:
        things = " and ".join([scene.background, *scene.items])
        prompts.append(f"a picture of a {scene.subject} with {things}")

    asked, _ = _questions(PICTURES, say, 15233)
    seeds = picture_seeds("evidence", 0, PICTURES)
    return np.stack(list(generator.pictures(prompts, seeds, 16))), asked
