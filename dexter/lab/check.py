"""`python -m dexter.lab.check`: measure the shipped lab again, as its model cards state it.

Classifiers need only scenes. The generator needs the evaluator that `make lab` leaves in build/lab
(it is trained when it is not there, some minutes).
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from dexter.classifiers import load_classifier
from dexter.errors import InputError
from dexter.generator import load_generator
from dexter.lab import evaluate, train, world
from dexter.lab.classifiers import RECIPES, accuracy


def classifier(name: str) -> dict[str, float]:
    """Accuracy by group of a shipped classifier, through the same interface that runs use."""
    network = load_classifier(f"lab:{name}")
    return accuracy(lambda images: network(images).logits, RECIPES[name])


def evaluator() -> Any:
    """The evaluator, trained first if there is none."""
    from transformers import ResNetForImageClassification

    path = train.WORK / "evaluator"
    if not (path / "config.json").exists():
        return evaluate.train_evaluator(path)
    return ResNetForImageClassification.from_pretrained(path).eval()


def generator(count: int, spec: str = "lab") -> dict[str, dict[str, float]]:
    """Share of generated pictures that the evaluator recognises, by family and word."""
    network = evaluator()
    pictures = load_generator(spec)
    families = {
        "birds": tuple(world.BIRDS),
        "animals": tuple(world.ANIMALS),
        "objects": tuple(world.OBJECTS),
        "people": tuple(world.PEOPLE),
    }
    table = {
        name: evaluate.recognised(network, pictures, words, world.BACKGROUNDS, count)
        for name, words in families.items()
    }
    table["backgrounds"] = evaluate.recognised(
        network, pictures, world.BACKGROUNDS, tuple(world.BIRDS), count
    )
    table["items"] = evaluate.recognised(network, pictures, world.ITEMS, tuple(world.BIRDS), count)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dexter.lab.check", description=__doc__)
    parser.add_argument(
        "what", nargs="*", default=[*RECIPES, "generator"], help="classifiers, or generator"
    )
    parser.add_argument("--count", type=int, default=32, help="pictures of each word")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for what in options.what:
        if what == "generator":
            for family, shares in generator(options.count).items():
                mean = sum(shares.values()) / len(shares)
                by_word = ", ".join(f"{word} {share:.0%}" for word, share in shares.items())
                print(f"{family}: {mean:.1%} recognised ({by_word})")
        elif what in RECIPES:
            print(
                f"lab:{what}: "
                + ", ".join(f"{group} {value:.1%}" for group, value in classifier(what).items())
            )
        else:
            raise InputError(
                f"{what!r} is neither a classifier ({', '.join(RECIPES)}) nor 'generator'"
            )


if __name__ == "__main__":
    main()
