"""A first look at a classifier: its description, and its answers to drawn pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dexter.classifiers.options import ClassifierInfo
from dexter.errors import InputError
from dexter.planning.trial import refuse_constant, try_classifier

if TYPE_CHECKING:
    from torch import Tensor

    from dexter.classifiers import Classifier, ClassifierOutput

PICTURES = 16
Draw = Callable[[Sequence[str], Sequence[int], int], Iterable[NDArray[np.uint8]]]

_ANSWERS = 3
_SEED = 0


@dataclass(frozen=True)
class Inspection:
    """The result of a look.

    images: (16, H, W, 3), drawn. answers: prompt, seed and the likeliest labels of each, as dicts
    of "label" and "probability"; of labels that do not exclude each other, those over the
    threshold. seconds: for a picture, forward. bytes: kept by autograd for a picture; 0 without
    gradients. fault: the line of a trial that failed, "" if it passed.
    """

    info: ClassifierInfo
    images: NDArray[np.uint8]
    answers: list[tuple[str, int, list[dict[str, Any]]]]
    seconds: float
    bytes: int
    device: str
    fault: str


def look(classifier: Classifier, draw: Draw, words: Sequence[str] | None = None) -> Inspection:
    """Draw 16 pictures, of ``words`` or else of the classifier's labels, and classify them.

    ``draw``: a generator's `pictures`. Raises InputError if it takes no 16 pictures at a time.
    """
    import torch

    fault: InputError | None = None
    info = classifier.describe()
    try:
        info = try_classifier(classifier)
        refuse_constant(info)
    except InputError as error:
        fault = error
    chosen = _spread(words or [label.split(",")[0] for label in classifier.labels])
    prompts = [f"a picture of a {word}" for word in chosen]
    seeds = list(range(_SEED, _SEED + PICTURES))
    images = np.stack(list(draw(prompts, seeds, 8)))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        classifier(pixels[:1])
        started = time.perf_counter()
        try:
            output = classifier(pixels)
        except Exception:
            if fault is None:
                raise
            raise fault from None  # it takes one picture at a time, and the fault says so
        _wait(classifier)
        seconds = (time.perf_counter() - started) / PICTURES
    rows = _best(classifier, output)
    answers = [(p, s, row) for p, s, row in zip(prompts, seeds, rows, strict=True)]
    memory = _memory(classifier, pixels)
    return Inspection(
        info, images, answers, seconds, memory, str(classifier.device), str(fault or "")
    )


def _spread(words: Sequence[str]) -> list[str]:
    """Return 16 words, evenly from a list, in turn from a shorter one."""
    if len(words) >= PICTURES:
        return [words[at * len(words) // PICTURES] for at in range(PICTURES)]
    return [words[at % len(words)] for at in range(PICTURES)]


def _best(classifier: Classifier, output: ClassifierOutput) -> list[list[dict[str, Any]]]:
    p = output.probabilities().cpu()
    least = classifier.answers.threshold if classifier.answers.multi_label else 0.0
    rows = []
    for row in p:
        likeliest, order = row.topk(min(_ANSWERS, len(row)))
        rows.append(
            [
                {"label": classifier.labels[int(index)], "probability": float(value)}
                for value, index in zip(likeliest, order, strict=True)
                if value >= least
            ]
        )
    return rows


def _wait(classifier: Classifier) -> None:
    import torch

    if classifier.device.type == "cuda":
        torch.cuda.synchronize(classifier.device)


def _memory(classifier: Classifier, pixels: Tensor) -> int:
    """Return the bytes that autograd keeps for a picture; 0 without gradients."""
    import torch

    if not classifier.gradients:
        return 0
    kept: dict[int, int] = {}
    weights = {weight.data_ptr() for weight in classifier.weights()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        output = classifier(pixels.clone().requires_grad_())
    del output
    return sum(kept.values()) // len(pixels)
