"""The command `python -m dexter.lab.check`: repeat the measurements in the lab's model cards.

Classifiers need only scenes. The generator needs the evaluator that `make lab` leaves in build/lab;
if it is missing, it is trained first (several minutes).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from transformers import CLIPModel, LlavaForConditionalGeneration

from dexter import model_folders
from dexter.classifiers import load_classifier
from dexter.generation.generator import load_generator
from dexter.lab import evaluate, fleet, readers, shipped, train, world
from dexter.lab.classifiers import RECIPES, accuracy, pixels
from dexter.lab.scenes import Scene, sample_scene
from dexter.seeds import picture_seeds


def classifier(name: str) -> dict[str, float]:
    """Return the accuracy of a shipped classifier by group, through the interface of runs."""
    network = load_classifier(f"lab:{name}")
    return accuracy(lambda images: network(images).logits, RECIPES[name])


def evaluator() -> Any:
    """Return the evaluator; train it first if there is none."""
    from transformers import ResNetForImageClassification

    path = train.WORK / "evaluator"
    if not (path / "config.json").exists():
        return evaluate.train_evaluator(path)
    return ResNetForImageClassification.from_pretrained(path).eval()


DRAWN = {
    "birds": tuple(world.BIRDS),
    "animals": tuple(world.ANIMALS),
    "objects": tuple(world.OBJECTS),
    "people": tuple(world.PEOPLE),
    "backgrounds": world.BACKGROUNDS,
    "items": tuple(world.ITEMS),
    "colour": tuple(world.COLOURS),
    "hair": tuple(world.HAIR),
    "skin": tuple(world.SKIN),
    "age": world.AGES,
}
"""The words to draw with the generator, by family."""
PEOPLE = 2000
"""Generated pictures of "a person" that `choices` counts in."""


def generator(count: int, spec: str = "lab") -> dict[str, str]:
    """Return the share of generated pictures that the evaluator recognises, as lines of a table.

    Shares are by family and word, and by the number of words in the prompt, over ``count`` pictures
    of each word.
    """
    network = evaluator()
    pictures = load_generator(spec)
    found = {
        family: evaluate.recognised(network, pictures, words, count)
        for family, words in DRAWN.items()
    }
    table = {}
    for family, by_word in found.items():
        shares = {word: float(np.mean(list(hits.values()))) for word, hits in by_word.items()}
        table[family] = f"{float(np.mean(list(shares.values()))):.1%} ({_shares(shares)})"
    subjects = ("birds", "animals", "objects", "people")
    for length in range(1, evaluate.MOST_WORDS + 1):
        cells = []
        for name, families in (
            ("subjects", subjects),
            ("backgrounds", ("backgrounds",)),
            ("items", ("items",)),
        ):
            all_hits = [hits for family in families for hits in found[family].values()]
            shares_of_length = [hits[length] for hits in all_hits if length in hits]
            if shares_of_length:
                cells.append(f"{name} {float(np.mean(shares_of_length)):.0%}")
        table[f"prompts of {length} word{'s' * (length > 1)}"] = ", ".join(cells)
    return table


def choices(count: int, spec: str = "lab") -> dict[str, str]:
    """Return what the generator draws where the prompt leaves a choice, as lines of a table.

    count: pictures of "a person"; a tenth of them for each kind.
    """
    network, pictures = evaluator(), load_generator(spec)
    by_kind = evaluate.kinds(network, pictures, max(1, count // 10))
    recognised = {kind: sum(shares.values()) for kind, shares in by_kind.items()}
    unnamed, dependence = evaluate.person_choices(network, pictures, count)
    table = {"kinds recognised as a member": _shares(recognised)}
    for name, shares in {**by_kind, **unnamed}.items():
        table[f"unsaid, {name}"] = _shares(shares)
    for pair, value in dependence.items():
        table[f"Cramér's V, {pair}"] = f"{value:.2f}"
    return table


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{word} {share:.0%}" for word, share in shares.items())


def _held_out(count: int) -> list[Scene]:
    rng = np.random.default_rng(4321)
    # As many people as in training: otherwise there are hardly any ages to count.
    return [sample_scene(rng, subjects=world.TAUGHT) for _ in range(count)]


def image_text(module: readers.ImageText | None = None, count: int = 500) -> dict[str, float]:
    """Return detection rates on held-out scenes, by family, for words shown and words not shown.

    module: by default the shipped one.
    """
    if module is None:
        module = readers.ImageText()
        folder = model_folders.find("lab", "image_text")
        module.clip = CLIPModel.from_pretrained(folder, dtype=torch.float32)
    scenes = _held_out(count)
    found = []
    with torch.inference_mode():
        for start in range(0, count, 100):
            pictures = pixels(scenes[start : start + 100]) * 2 - 1
            found.append(module.eval().shown(module.pictures(pictures)) > 0)
    seen = torch.cat(found).numpy()
    truth = np.stack([readers.truth(scene) for scene in scenes])
    result = {}
    families = {**evaluate.FAMILIES, "items": tuple(world.ITEMS), "kinds": tuple(world.KINDS)}
    for family, words in families.items():
        columns = [readers.WORDS.index(word) for word in words]
        shown, detected = truth[:, columns], seen[:, columns]
        result[f"detected, {family}"] = float(detected[shown == 1].mean())
        result[f"detected though not shown, {family}"] = float(detected[shown == 0].mean())
    return result


def captioner(model: Any = None, count: int = 500) -> dict[str, float]:
    """Return the accuracy of captions, by family.

    For held-out scenes, it is the share of captions with the right word. For generated pictures, it
    is the share of the prompt's words that the caption contains. model: by default the shipped one.
    """
    if model is None:
        folder = model_folders.find("lab", "captioner")
        model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    scenes = _held_out(count)
    captions = _captions(model, [pixels(scenes[i : i + 50]) for i in range(0, count, 50)])
    right: dict[str, list[bool]] = {}
    for scene, text in zip(scenes, captions, strict=True):
        words_said = set(text.split())
        for family, words in evaluate.FAMILIES.items():
            value = getattr(scene, family)
            if value in words:
                right.setdefault(f"said, {family}", []).append(words_said & set(words) == {value})
        for item in world.ITEMS:
            key = "said, items" if item in scene.items else "said though not there, items"
            right.setdefault(key, []).append(item in words_said)
    rng = np.random.default_rng(4321)
    words = evaluate.LABELS
    prompts = [
        evaluate.mixed_prompt(words[i % len(words)], 1 + i % evaluate.MOST_WORDS, rng)
        for i in range(count)
    ]
    drawn = np.stack(
        list(load_generator("lab").pictures(prompts, picture_seeds("evidence", 0, count), 50))
    )
    images = torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255
    batches = torch.split(images, 50)
    for prompt, text in zip(prompts, _captions(model, batches), strict=True):
        for word in set(prompt.split()) & set(words):
            family = next((f for f, of in evaluate.FAMILIES.items() if word in of), "items")
            right.setdefault(f"said of what was asked, {family}", []).append(word in text.split())
    return {name: float(np.mean(values)) for name, values in right.items()}


def _captions(model: Any, batches: Iterable[Tensor]) -> list[str]:
    """Return the model's captions of pictures (B, 3, 64, 64) in [0, 1]."""
    tokenizer = readers.captioner_processor().tokenizer
    start_ids = [readers.SPECIAL.index("<image>")] * model.config.image_seq_length + [2]
    captions = []
    with torch.inference_mode():
        for pictures in batches:
            ids = torch.tensor([start_ids] * len(pictures))
            out = model.eval().generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values=pictures * 2 - 1,
                max_new_tokens=24,
                do_sample=False,
            )
            captions += tokenizer.batch_decode(out[:, len(start_ids) :], skip_special_tokens=True)
    return captions


def fleet_manifest(lab: Path | None = None, count: int = 2000) -> dict[str, Any]:
    """Return the fleet's manifest: the properties and measured effects of every shipped member.

    lab: folder of the lab, by default the shipped one.
    """
    root = (
        lab / "classifiers" / "fleet" if lab else model_folders.find("lab", "classifiers", "fleet")
    )
    result: dict[str, Any] = {}
    # One-thread processes; the members of a task see the same pictures.
    with torch.multiprocessing.get_context("spawn").Pool(2) as pool:
        measure = partial(_fleet_effects, root=root, count=count)
        for done, found in enumerate(pool.imap(measure, fleet.TASKS), start=1):
            result |= found
            print(f"fleet: {done} of {len(fleet.TASKS)} tasks measured", flush=True)
    return result


def _fleet_effects(task: str, root: Path, count: int) -> dict[str, Any]:
    """Return a task's part of the manifest."""
    torch.set_num_threads(1)
    members = [member for member in fleet.FLEET.values() if member.task == task]
    networks = {m.name: load_classifier(f"hf:{root / m.name}") for m in members}
    measured = fleet.effects(
        task, {name: logits(network) for name, network in networks.items()}, count
    )
    return {
        member.name: {
            "target": fleet.TASKS[task].labels[0],
            "plant": member.plant,
            "kind": member.kind,
            "strength": member.strength,
            "architecture": member.architecture,
            "random_labels": member.random_labels,
            "core": sorted(fleet.TASKS[task].core),
            "effects": {f: round(v, 4) for f, v in measured[member.name].items()},
        }
        for member in members
    }


def autoencoder(vae: Any = None, count: int = 200) -> Iterator[tuple[str, str, float, float]]:
    """Yield the fleet's dependences before and after the generator's autoencoder.

    Yields (member, attribute family, mean change in scenes, mean change in scenes coded and
    decoded), for every change that counts as positive. No generated picture can show a dependence
    that is lost there. vae: by default the shipped one.
    """
    if vae is None:
        folder = model_folders.find("lab", "generator", "vae")
        vae = AutoencoderTiny.from_pretrained(folder, dtype=torch.float32)

    @torch.inference_mode()
    def coded(scenes: list[Scene]) -> Tensor:
        parts = torch.split(pixels(scenes) * 2 - 1, 64)
        pictures = torch.cat([vae.decode(vae.encode(part).latents).sample for part in parts])
        return pictures.clamp(-1, 1).add(1).div(2)

    members = shipped.fleet()
    for task in fleet.TASKS:
        networks = {
            m.name: logits(load_classifier(f"lab:fleet/{m.name}"))
            for m in members
            if fleet.FLEET[m.name].task == task
        }
        asked = {m.name: m.dependences() for m in members if m.name in networks}
        wanted = sorted({family for of in asked.values() for family in of})
        before, after = (
            fleet.effects(task, networks, count, only=wanted, view=view) for view in (pixels, coded)
        )
        for name, of in asked.items():
            yield from ((name, family, before[name][family], after[name][family]) for family in of)


def logits(network: Any) -> Any:
    """Return a classifier as a function of pictures to logits, as `fleet.effects` takes it."""
    return lambda pictures: network(pictures).logits


def _print(what: str, measured: dict[str, float]) -> None:
    print(f"{what}: " + ", ".join(f"{name} {value:.1%}" for name, value in measured.items()))


OTHERS = ("generator", "choices", "image-text", "captioner", "fleet", "autoencoder")
"""What is measured besides classifiers."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dexter.lab.check", description=__doc__)
    parser.add_argument(
        "what",
        nargs="+",
        choices=[*RECIPES, *OTHERS],
        metavar="what",
        help=f"a classifier or {', '.join(OTHERS)}",
    )
    parser.add_argument("--count", type=int, default=32, help="number of pictures per word")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for what in options.what:
        if what == "generator":
            for family, shares in generator(options.count).items():
                print(f"recognised, {family}: {shares}")
        elif what == "choices":
            for name, shares_text in choices(PEOPLE).items():
                print(f"{name}: {shares_text}")
        elif what == "image-text":
            _print(what, image_text())
        elif what == "captioner":
            _print(what, captioner())
        elif what == "fleet":
            print(json.dumps(fleet_manifest(), indent=1))
        elif what == "autoencoder":
            for name, family, before, after in autoencoder():
                print(f"{name}: {family} {before:+.2f}, coded and decoded {after:+.2f}", flush=True)
        else:
            _print(f"lab:{what}", classifier(what))


if __name__ == "__main__":
    main()
