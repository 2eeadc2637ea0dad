"""`--preset reference` against what the public code computed (tests/data/reference)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dexter.classifiers import ClassifierOptions, load_classifier
from dexter.config import RunConfig
from dexter.generation.frozen import keep_less
from dexter.generation.generator import load_generator
from dexter.generation.options import GeneratorOptions
from dexter.search.optimize import optimize
from dexter.search.prompt import load_masked_lm

DATA = Path(__file__).parents[1] / "data" / "reference"
RECORD = json.loads((DATA / "steps.json").read_text())
# What the reference had drawn from the stream of seed 0 before its first step.
DRAWN_BEFORE = 4256


@pytest.fixture(scope="module")
def recorded():
    return load_file(DATA / "steps.safetensors")


def make_config(**overrides):
    return RunConfig.from_preset(
        "reference",
        **{
            "classifier": f"python:{DATA / 'classifier.py'}:make",
            "class_name": str(RECORD["class_id"]),
            "generator": str(DATA / "pipeline"),
            "lora": str(DATA / "lora"),
            "masked_lm": str(DATA / "masked_lm"),
            "scheduler": "LCM",
            "features": RECORD["feature_units"],
            "image_size": RECORD["image_size"],
            "steps": len(RECORD["steps"]),
            "device": "cpu",
            **overrides,
        },
    )


@pytest.fixture(scope="module", params=["small", "large"])
def models(request):
    config = make_config()
    generator = load_generator(
        config.generator,
        GeneratorOptions(
            lora=config.lora,
            scheduler=config.scheduler,
            image_size=config.image_size,
            padding=config.padding,
        ),
    )
    if request.param == "large":  # as it is done with networks of Stable Diffusion's size
        for network in generator.networks:
            keep_less(network)
    return {
        "classifier": load_classifier(
            config.classifier, ClassifierOptions(classifier_input=config.classifier_input)
        ),
        "generator": generator,
        "masked_lm": load_masked_lm(config.masked_lm),
    }


@pytest.fixture(scope="module")
def steps(models, recorded):
    """Each step with what it left behind: gradients and final latents."""
    config = make_config()
    # The image losses' gradient alone: on random weights they are 0.3% of the whole.
    image_config = make_config(masked_lm_weight=0)
    search = optimize(config, **models)
    state = search.state_dict()
    stream = torch.Generator().manual_seed(0)
    torch.rand(DRAWN_BEFORE, generator=stream)
    state |= {"soft_prompt": recorded["0.soft_prompt"][0], "rng": stream.get_state()}
    search.load_state_dict(state)
    found = []
    decode, latents = models["generator"].decode, []

    def decode_and_keep(x, **options):
        latents.append(x)
        return decode(x, **options)

    models["generator"].decode = decode_and_keep
    for _ in RECORD["steps"]:
        state = search.state_dict()
        state["settings"] = {**state["settings"], "masked_lm_weight": 0}
        image_search = optimize(image_config, **models, state=state)
        next(image_search)
        before = search.state_dict()["soft_prompt"]
        step = next(search)
        grad = search._prompt.soft_prompt.grad
        assert grad is not None
        found.append(
            {
                "step": step,
                "soft_prompt": before,
                "grad": grad.clone(),
                "grad_image": image_search._prompt.soft_prompt.grad,
                "latents": latents[-1].detach(),
            }
        )
    del models["generator"].decode
    return found


def worst(ours, theirs):
    """The largest difference, as a share of the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


NUMBERS = range(len(RECORD["steps"]))


@pytest.mark.parametrize("number", NUMBERS)
def test_losses(steps, number):
    ours, theirs = steps[number]["step"].losses, RECORD["steps"][number]
    expected = {
        "class": theirs["ce"],
        **{
            f"feature {unit}": loss
            for unit, loss in zip(RECORD["feature_units"], theirs["features"], strict=True)
        },
        "masked_lm": theirs["masked"],
        "total": theirs["loss"],
    }
    assert ours == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("number", NUMBERS)
def test_words_targets_and_class(steps, number):
    ours, theirs = steps[number]["step"], RECORD["steps"][number]
    assert ours.words == tuple(theirs["words"])
    assert ours.pseudo_targets == tuple(theirs["target_words"])
    assert [ours.predicted_class] == theirs["predicted_class"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("what", "tolerance"),
    [("grad", 1e-5), ("grad_image", 1e-4), ("latents", 1e-5), ("soft_prompt", 1e-5)],
)
def test_gradients_latents_and_soft_prompt(steps, recorded, number, what, tolerance):
    theirs = recorded[f"{number}.{what}"].squeeze()
    assert worst(steps[number][what].squeeze(), theirs) <= tolerance
