"""The generator as a detector, against the truth of scenes and beside the image-text model."""

import time
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.methods.rows import Row, bootstrap

SCENES = 80
"""Held-out scenes, each asked for two words of its places and items: one shown, one not."""


def measure() -> list[Row]:
    """Return the rows on places and on items."""
    from dexter.generation.generator import load_generator
    from dexter.reasoning.denoising import Denoising
    from dexter.reasoning.detection import load_detector

    pictures, asked = _asked()
    generator = load_generator("lab")
    rows = []
    found: dict[str, tuple[NDArray[np.bool_], float]] = {}
    for name, detector in (("generator", Denoising(generator)), ("model", load_detector("lab"))):
        begun = time.process_time()
        embeddings = detector.embed(pictures)
        seen = np.zeros(len(asked), np.bool_)
        for word in dict.fromkeys(word for _, _, word, _ in asked):
            own = [row for row, one in enumerate(asked) if one[2] == word]
            seen[own] = detector.sees(word, embeddings[[asked[row][0] for row in own]])
        found[name] = seen, time.process_time() - begun
    truth = np.array([shown for _, _, _, shown in asked])
    kinds = np.array([kind for _, kind, _, _ in asked])
    (answers, seconds), (model, of_model) = found["generator"], found["model"]
    for kind in ("places", "items", "places and items"):
        at = np.flatnonzero([one in kind for one in kinds])
        right = (answers == truth)[at].astype(np.float64)
        low, high = bootstrap([asked[i][0] for i in at], partial(_share, right))
        agree = float((answers == model)[at].mean())
        of_text = float((model == truth)[at].mean())
        rows.append(
            Row(
                f"detector by the generator, {kind}",
                "accuracy against the scene",
                float(right.mean()),
                low,
                high,
                len(at),
                "questions",
                "chance: one of two words is shown",
                0.5,
                seconds * len(at) / len(asked),
                f"agrees with the image-text model in {agree:.2f}, which is right in {of_text:.2f} "
                f"at {1000 * of_model / len(asked):.0f} CPU ms a question; the generator takes "
                f"{1000 * seconds / len(asked):.0f}. Places, times and threshold were chosen on 48 "
                "other scenes",
            )
        )
    return rows


def _share(right: NDArray[np.float64], rows: NDArray[np.int64]) -> float:
    return float(right[rows].mean())


def _asked() -> tuple[NDArray[np.uint8], list[tuple[int, str, str, bool]]]:
    """Return scenes' pictures, and questions: picture, kind, word, whether it is shown."""
    from dexter.lab import world
    from dexter.lab.scenes import render, sample_scene

    rng = np.random.default_rng(2303)
    pictures: list[Any] = []
    asked: list[tuple[int, str, str, bool]] = []
    while len(pictures) < SCENES:
        scene = sample_scene(rng)
        if scene.background is None or not scene.items:
            continue
        at = len(pictures)
        pictures.append(render(scene))
        absent = [word for word in world.BACKGROUNDS if word != scene.background]
        missing = [word for word in world.ITEMS if word not in scene.items]
        for kind, shown, other in (
            ("place", scene.background, str(rng.choice(absent))),
            ("item", str(rng.choice(list(scene.items))), str(rng.choice(missing))),
        ):
            asked += [(at, kind, shown, True), (at, kind, other, False)]
    return np.stack(pictures), asked
