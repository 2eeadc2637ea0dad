"""Activation score and frames, on tiny models."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from dexter.classifiers import load_classifier
from dexter.generation.generator import load_generator
from dexter.generation.options import GeneratorOptions
from dexter.search.score import activation_score, draw_frames
from dexter.seeds import seed_range
from dexter.stats import wilson_interval

PROMPT = "a picture of a bird with sea"


@pytest.fixture(scope="module")
def generator():
    return load_generator(
        str(tiny.generator_folder()),
        GeneratorOptions(scheduler="LCM", diffusion_steps=1, image_size=32),
    )


HALF_RED = """\
import torch
class HalfRed(torch.nn.Module):
    labels, image_size = ["red", "not red"], 32
    def forward(self, x):
        red = x[:, 0].mean((1, 2)) - {middle}
        return torch.stack([red, -red], 1)
def make():
    return HalfRed()
"""


@pytest.fixture(scope="module")
def classifier(generator, tmp_path_factory):
    """Says "red" of the redder half of the pictures that a score sees."""
    seeds = range(seed_range("score")[0], seed_range("score")[0] + 10)
    with torch.no_grad():
        images = generator.sample(generator.encode_text([PROMPT] * 10), list(seeds))
    middle = float(images[:, 0].mean((1, 2)).median()) + 1e-6
    file = tmp_path_factory.mktemp("half") / "half.py"
    file.write_text(HALF_RED.format(middle=middle))
    return load_classifier(f"python:{file}:make")


def test_score_counts_the_pictures_taken_for_the_target(generator, classifier):
    red = activation_score(generator, classifier, 0, PROMPT, n=10, batch=4)
    assert (red.hits, red.n, red.value) == (5, 10, 0.5)
    assert red.low < 0.5 < red.high
    assert activation_score(generator, classifier, 1, PROMPT, n=10, batch=4).hits == 5


def test_score_does_not_depend_on_the_batch(generator, classifier):
    one = activation_score(generator, classifier, 0, PROMPT, n=7, batch=1)
    assert activation_score(generator, classifier, 0, PROMPT, n=7, batch=7) == one


def test_classifiers_are_scored_on_the_same_pictures_made_once(generator, classifier):
    other = load_classifier(f"hf:{tiny.classifier_folder()}")
    alone = [activation_score(generator, c, 0, PROMPT, n=5, batch=5) for c in (classifier, other)]
    assert activation_score(generator, [classifier, other], 0, PROMPT, n=5, batch=5) == alone
    both = activation_score(generator, [classifier, classifier], [0, 1], PROMPT, n=10, batch=5)
    assert sum(score.hits for score in both) == 10


def test_frames_end_with_the_last_hit_wanted(generator, classifier):
    frames = list(draw_frames(generator, classifier, 0, PROMPT, wanted=3, tries=50, batch=4))
    assert sum(frame.hit for frame in frames) == 3
    assert frames[-1].hit
    assert all(frame.hit == (frame.predicted_class == 0) for frame in frames)
    assert all(frame.hit == (frame.target_probability > 0.5) for frame in frames)


def test_frames_end_after_the_last_try(generator, classifier):
    frames = list(draw_frames(generator, classifier, 0, PROMPT, wanted=50, tries=5, batch=4))
    assert len(frames) == 5
    first = seed_range("frames")[0]
    assert [frame.seed for frame in frames] == list(range(first, first + 5))
    assert frames[0].image.shape == (32, 32, 3)
    assert frames[0].image.dtype == np.uint8


def test_callers_of_frames_keep_their_gradients(generator, classifier):
    for _ in draw_frames(generator, classifier, 0, PROMPT, wanted=1, tries=2, batch=1):
        assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    # scipy.stats.binomtest(hits, n).proportion_ci(method="wilson")
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (100, 100, 0.9630, 1.0),
        (1, 3, 0.0615, 0.7923),
    ],
)
def test_wilson_interval(hits, n, low, high):
    assert wilson_interval(hits, n) == pytest.approx((low, high), abs=1e-4)
