"""The command `python -m dexter.lab` (`make lab`): train the models shipped under checkpoints/lab.

Stages, in this order: vae, text, shapes, generator, masked-lm, eyes, image-text, captioner,
classifiers, fleet, evaluator, export. Each stage resumes from its work files in build/lab; a stage
that has all its samples is skipped. Takes several hours on 2 cores.
"""

from __future__ import annotations

import argparse
import fcntl
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dexter import parallel
from dexter.errors import InputError
from dexter.lab import classifiers, fleet, train
from dexter.lab.export import export, unpack

SAMPLES = {
    "vae": 120_000,
    "text": 150_000,
    "shapes": 40_000,
    "generator": 250_000,
    "masked-lm": 250_000,
    "eyes": 300_000,
    "image-text": 140_000,
    "captioner": 140_000,
}
"""The number of training samples of the recipe, by stage."""
STAGES = (*SAMPLES, "classifiers", "fleet", "evaluator", "export")
TARGET = Path("checkpoints/lab")


@contextmanager
def only_training(folder: Path) -> Iterator[None]:
    """Hold a work folder while its stages run; InputError if another process holds it.

    The kernel frees it when this process dies, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{folder}: another training writes its work files there",
                remedy="wait for its end, or kill it; this one then goes on from them",
            ) from None
        yield


def each(what: str, one: Callable[..., str], names: Collection[str], workers: int) -> None:
    """Call `one(name, folder)` for every name, in parallel processes."""
    started = time.monotonic()
    with torch.multiprocessing.get_context("spawn").Pool(workers) as pool:
        calls = pool.imap_unordered(partial(one, folder=train.WORK / what), names)
        for done, name in enumerate(calls, start=1):
            left = (time.monotonic() - started) / done * (len(names) - done) / 60
            print(f"{what}: {name}, {done} of {len(names)}, {left:.0f} min left", flush=True)


def run(stage: str, workers: int, samples: int | None = None) -> Any:
    """Run a stage, or the rest of it."""
    if stage in SAMPLES:
        arguments = {"samples": samples or SAMPLES[stage]}
        return parallel.train(train.TASKS[stage], arguments, train.WORK, workers)
    if stage == "classifiers":
        return each(stage, classifiers.train_into, classifiers.RECIPES, workers)
    if stage == "fleet":
        return each(stage, fleet.train_into, fleet.FLEET, workers)
    if stage == "evaluator":
        from dexter.lab.check import evaluator

        return evaluator()
    return export(TARGET)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dexter.lab", description=__doc__)
    parser.add_argument("stages", nargs="*", default=STAGES, type=_stage, metavar="stage")
    parser.add_argument(
        "--samples", type=int, help="total samples of a training stage, with those of earlier runs"
    )
    parser.add_argument("--workers", type=int, default=2, help="number of one-thread processes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        with only_training(train.WORK):
            unpack(TARGET)
            for stage in options.stages:
                run(stage, options.workers, options.samples)
    except InputError as error:
        sys.exit(_refused(error))


def _stage(name: str) -> str:
    """The name of a stage. argparse's own `choices` would refuse to be left out."""
    if name not in STAGES:
        raise argparse.ArgumentTypeError(f"no stage {name!r}; there are {', '.join(STAGES)}")
    return name


def _refused(error: InputError) -> int:
    print(f"python -m dexter.lab: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
