"""Trained parameters to the folders that ship: fp16 safetensors, configuration and a model card
each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import nn
from transformers import AutoModelForImageClassification

from dexter import parallel
from dexter.lab import check, evaluate, fleet, models, readers, shipped, train, world
from dexter.lab.classifiers import RECIPES, Recipe, accuracy
from dexter.loading import quiet

ATTRIBUTION = (
    "The pictures that it learned from are composed of OpenMoji art: "
    '"All emojis designed by OpenMoji - the open-source emoji and icon project. '
    'License: CC BY-SA 4.0". The weights are under CC BY-SA 4.0 too.'
)


COUNTS = "training.json"
"""Samples that each stage has seen in all: where a training that goes on starts to count."""

SHIPPED = ("vae", "text", "shapes", "generator", "masked-lm", "eyes", "image-text", "captioner")

CARD_PICTURES = 126
"""Generated pictures of each word that a card's shares are of."""


def _card(folder: Path, title: str, about: str, measured: dict[str, Any], command: str) -> None:
    """README.md of a model folder: what it is, what was measured and the command that measures it
    again."""
    rows = [f"| {name} | {_number(value)} |" for name, value in measured.items()]
    lines = [
        f"# {title}", "", about, "", "| measured | |", "| --- | --- |", *rows, "",
        f"Measured by `{command}`.", "", ATTRIBUTION, "",
    ]  # fmt: skip
    (folder / "README.md").write_text("\n".join(lines))
    shipped.refresh_page()


def _number(value: object) -> str:
    return (
        f"{value:.1%}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )


def _load(module: nn.Module, state: dict[str, Any]) -> Any:
    parallel.from_vector(state["average"], module.parameters())
    return module.eval()


def export(target: Path) -> None:
    """Every model of the work folder into `target`, with its card."""
    stages = [stage for stage in SHIPPED if (train.WORK / f"{stage}.pt").exists()]
    (target / COUNTS).write_text(json.dumps({stage: _samples(stage) for stage in stages}) + "\n")
    (target / "world.json").write_text(json.dumps(world.manifest()) + "\n")
    export_generator(target)  # first: others are measured on its pictures
    export_masked_lm(target)
    for name, recipe in RECIPES.items():
        network = models.classifier(recipe.labels)
        network.load_state_dict(
            torch.load(train.WORK / "classifiers" / f"{name}.pt", weights_only=True)
        )
        export_classifier(target, recipe, network.eval())
    if "image-text" in stages:
        export_image_text(target)
    if "captioner" in stages:
        export_captioner(target)
    if (train.WORK / "fleet").exists():
        export_fleet(target)


UNPACKING = "unpacking"
"""File in the work folder while shipped weights are unpacked: a killed unpacking starts again."""


@quiet()
def unpack(source: Path) -> None:
    """Write shipped weights as work files, so that training continues from them, if there are none.

    The optimisers start fresh. Where the recipe has another autoencoder or UNet than the shipped
    generator, the generator's stages begin from nothing.
    """
    counts = source / COUNTS
    unfinished = train.WORK / UNPACKING
    begun = any((train.WORK / f"{stage}.pt").exists() for stage in SHIPPED)
    if not counts.exists() or (begun and not unfinished.exists()):
        return
    train.WORK.mkdir(parents=True, exist_ok=True)
    unfinished.touch()
    samples: dict[str, int] = json.loads(counts.read_text())
    pipeline = StableDiffusionPipeline.from_pretrained(
        source / "generator", dtype=torch.float32, safety_checker=None
    )
    masked_lm = models.masked_lm(models.bert_tokenizer())
    masked_lm = type(masked_lm).from_pretrained(source / "masked_lm", dtype=torch.float32)
    modules: dict[str, nn.Module] = {"masked-lm": masked_lm}
    if _is_alike(pipeline.vae, models.vae()) and _is_alike(pipeline.unet, models.unet()):
        denoiser, reader = train.Denoiser(), train.Reader()
        for trained_text in (denoiser, reader):
            trained_text.text.load_state_dict(pipeline.text_encoder.state_dict())
        denoiser.unet.load_state_dict(pipeline.unet.state_dict())
        modules |= {
            "vae": pipeline.vae, "text": reader, "shapes": denoiser, "generator": denoiser
        }  # fmt: skip
    if (source / "image_text").exists():
        image_text, eyes = readers.ImageText(), readers.Eyes()
        image_text.clip = type(image_text.clip).from_pretrained(
            source / "image_text", dtype=torch.float32
        )
        eyes.vision.load_state_dict(image_text.clip.vision_model.state_dict())
        modules |= {"image-text": image_text, "eyes": eyes}
    if (source / "captioner").exists():
        module = readers.captioner()
        modules["captioner"] = type(module).from_pretrained(
            source / "captioner", dtype=torch.float32
        )
    trained = source / "classifiers"
    networks = {f"classifiers/{name}": trained / name for name in RECIPES}
    networks |= {f"fleet/{name}": trained / "fleet" / name for name in fleet.FLEET}
    for name, folder in networks.items():
        if (folder / "config.json").exists():
            path = train.WORK / f"{name}.pt"
            path.parent.mkdir(exist_ok=True)
            network = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32)
            parallel.save(network.state_dict(), path)
    for stage, module in modules.items():
        vector = parallel.to_vector(module.parameters())
        state = {"raw": vector, "average": vector.clone(), "samples": samples[stage]}
        parallel.save(state, train.WORK / f"{stage}.pt")
    unfinished.unlink()


def _is_alike(one: nn.Module, other: nn.Module) -> bool:
    """Return True if both have parameters of the same shapes."""
    return [p.shape for p in one.parameters()] == [p.shape for p in other.parameters()]


def save_generator(folder: Path) -> None:
    """The pipeline folder, without a card."""
    state = torch.load(train.WORK / "generator.pt", weights_only=True)
    denoiser = _load(train.Denoiser(), state)
    shutil.rmtree(folder, ignore_errors=True)
    with quiet():
        pipeline = StableDiffusionPipeline(
            vae=_load(models.vae(), torch.load(train.WORK / "vae.pt", weights_only=True)),
            text_encoder=denoiser.text,
            tokenizer=denoiser.tokenizer,
            unet=denoiser.unet,
            scheduler=models.scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.to(torch.float16).save_pretrained(folder)


def export_generator(target: Path) -> None:
    """The pipeline folder `target`/generator with its card, which takes some minutes."""
    folder = target / "generator"
    save_generator(folder)
    evaluator = evaluate.scene_accuracy(check.evaluator())
    recognised = check.generator(CARD_PICTURES, str(folder))
    choices = check.choices(check.PEOPLE, str(folder))
    _card(
        folder,
        "The lab's generator",
        "A StableDiffusionPipeline for 64 px, for two to four steps of DDIM without guidance.",
        {"training samples": _samples("shapes") + _samples("generator")}
        | {f"recognised, {family}": shares for family, shares in recognised.items()}
        | choices
        | {f"evaluator right on scenes, {family}": share for family, share in evaluator.items()},
        f"python -m dexter.lab.check generator choices --count {CARD_PICTURES}",
    )


def _samples(stage: str) -> int:
    return int(torch.load(train.WORK / f"{stage}.pt", weights_only=True)["samples"])


def export_masked_lm(target: Path) -> None:
    folder = target / "masked_lm"
    state = torch.load(train.WORK / "masked-lm.pt", weights_only=True)
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = models.bert_tokenizer()
    tokenizer.save_pretrained(folder)
    module = _load(models.masked_lm(tokenizer), state)
    module.half().save_pretrained(folder)
    _card(
        folder,
        "The lab's masked language model",
        "BertForMaskedLM over the words of the lab's world, trained on captions behind their own "
        "keywords (`[CLS] k1 ... kn caption [SEP]`): a soft prompt in the keywords' place can ask "
        "for any words.",
        {"training samples": _samples("masked-lm")},
        "python -m dexter.lab masked-lm",
    )


def export_image_text(target: Path) -> None:
    folder = target / "image_text"
    state = torch.load(train.WORK / "image-text.pt", weights_only=True)
    module = _load(readers.ImageText(), state)
    measured = check.image_text(module)
    shutil.rmtree(folder, ignore_errors=True)
    readers.save(module.clip, readers.image_text_processor(module.tokenizer), folder)
    _card(
        folder,
        "The lab's image-text model",
        "A CLIPModel for 64 px. A picture shows a word if it is nearer to `a picture of a WORD` "
        "than to `a picture`.",
        {"training samples": _samples("image-text")} | measured,
        "python -m dexter.lab.check image-text",
    )


def export_captioner(target: Path) -> None:
    folder = target / "captioner"
    state = torch.load(train.WORK / "captioner.pt", weights_only=True)
    module = _load(readers.captioner(), state)
    measured = check.captioner(module)
    shutil.rmtree(folder, ignore_errors=True)
    readers.save(module, readers.captioner_processor(), folder)
    _card(
        folder,
        "The lab's captioner",
        "A LlavaForConditionalGeneration for 64 px that says all it sees in one sentence. It reads "
        "no instructions: its chat template leaves out all text.",
        {"training samples": _samples("captioner")} | measured,
        "python -m dexter.lab.check captioner",
    )


def export_fleet(target: Path) -> None:
    """The fleet's folders, and manifest.json with what was planted in fact."""
    root = target / "classifiers" / "fleet"
    shutil.rmtree(root, ignore_errors=True)
    for name, member in fleet.FLEET.items():
        network = fleet.network(member)
        network.load_state_dict(torch.load(train.WORK / "fleet" / f"{name}.pt", weights_only=True))
        _save_classifier(root / name, network)
    (root / fleet.MANIFEST).write_text(json.dumps(check.fleet_manifest(target), indent=1) + "\n")
    shipped.refresh_page()


def _save_classifier(folder: Path, network: Any) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    network.half().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "ConvNextImageProcessor",
                "do_normalize": True,
                "do_rescale": True,
                "do_resize": True,
                "crop_pct": 1.0,
                "size": {"shortest_edge": 64},
                "image_mean": [0.5, 0.5, 0.5],
                "image_std": [0.5, 0.5, 0.5],
            },
            indent=2,
        )
    )


def export_classifier(target: Path, recipe: Recipe, network: Any) -> dict[str, float]:
    """Folder `target`/classifiers/NAME with its card; returns the measured accuracies."""
    folder = target / "classifiers" / recipe.name
    _save_classifier(folder, network)
    network = network.float()
    measured = accuracy(lambda images: network(images * 2 - 1).logits, recipe)
    _card(
        folder,
        f"lab:{recipe.name}",
        recipe.about,
        {"classes": len(recipe.labels), "training scenes": recipe.samples}
        | {f"accuracy, {group}": value for group, value in measured.items()},
        f"python -m dexter.lab.check {recipe.name}",
    )
    return measured
