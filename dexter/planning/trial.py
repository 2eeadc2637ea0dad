"""A trial of a classifier on real pictures, before a run is queued.

What its worker would refuse hours later is refused here: a network that fails on a batch, answers
with numbers that are not finite, answers all pictures alike, or passes no gradients. So is one
whose answers to a picture vary, by chance or with the other pictures of its batch.
A search has nothing to climb on a constant classifier; other work may use one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dexter.device import is_out_of_memory
from dexter.errors import InputError
from dexter.loading import one_line

if TYPE_CHECKING:
    from torch import Tensor

    from dexter.classifiers import Classifier, ClassifierInfo, ClassifierOutput

_SIDE = 128
_ALIKE = 1e-6  # relative difference of logits below which answers are the same
# Relative differences of answers to the same picture that are noise of floats, by their size.
_NOISE, _NOISE_OF_HALF = 0.01, 0.05


def try_classifier(classifier: Classifier) -> ClassifierInfo:
    """Return the description of a classifier that passed a trial; raise InputError if it fails.

    Runs it on noise and drawn pictures, forward and backward. `ClassifierInfo.gradients` is False
    if none pass, which only some runs need; `constant` is True if it answers all pictures alike.
    """
    import torch

    images = pictures()
    try:
        with torch.no_grad():
            output, single = classifier(images), classifier(images[:1])
            together, alone = output.logits, single.logits
            fault = _varies(classifier, images, output, single)
        passes = _passes_gradients(classifier, images[:2])
    except InputError:
        raise
    except Exception as error:  # a user's module may fail in any way
        if is_out_of_memory(error):
            problem = f"needs more memory than there is for {len(images)} pictures"
            raise _refusal(classifier, problem) from error
        raise _refusal(
            classifier,
            f"fails on {len(images)} pictures at a time: {type(error).__name__}: {one_line(error)}",
        ) from error
    if not bool(together.isfinite().all() and alone.isfinite().all()):
        raise classifier.not_finite("answers with numbers")
    if fault is not None:
        raise fault
    spread = (together - together[:1]).abs().max()
    constant = float(spread) <= _ALIKE * max(1.0, float(together.abs().max()))
    return replace(classifier.describe(), gradients=passes, constant=constant)


def _varies(
    classifier: Classifier, images: Tensor, output: ClassifierOutput, single: ClassifierOutput
) -> InputError | None:
    """Return the error of a classifier whose answer to the first picture varies, if it does.

    ``output``: of all pictures together; ``single``: of the first alone.
    """

    def scores(one: ClassifierOutput) -> Tensor:  # small probabilities have no sharp logarithm
        return (one.probabilities() if classifier.answers.probabilities else one.logits)[:1]

    def differ(one: ClassifierOutput, other: ClassifierOutput) -> bool:
        first, second = scores(one), scores(other)
        noise = _NOISE if classifier.dtype.itemsize >= 4 else _NOISE_OF_HALF
        return bool((first - second).abs().max() > noise * first.abs().max().clamp_min(1))

    if not differ(single, output):
        return None
    if differ(single, classifier(images[:1])):
        problem = "scores the same picture otherwise each time"
        remedy = "switch dropout and other random parts off (model.eval())"
    else:
        problem = "scores a picture otherwise alone than among others"
        remedy = "switch statistics of the batch off (model.eval())"
    return InputError(
        f"{classifier.spec} {problem}", field="classifier", value=classifier.spec, remedy=remedy
    )


def refuse_constant(info: ClassifierInfo) -> None:
    """Raise InputError for a classifier that answered all pictures of its trial alike."""
    if info.constant:
        raise InputError(
            f"{info.spec} answers different pictures, noise among them, all alike "
            f"({info.recognised})",
            field="classifier",
            value=info.spec,
            remedy="check that its weights are the trained ones",
        )


def pictures() -> Tensor:
    """Return noise, two drawn pictures, black and white, (5, 3, 128, 128) in [0, 1]."""
    import numpy as np
    import torch
    from PIL import Image, ImageDraw

    noise = torch.rand(3, _SIDE, _SIDE, generator=torch.Generator().manual_seed(1))
    drawn = []
    for sky, ground, body in (
        ((120, 180, 240), (70, 140, 60), (150, 90, 40)),
        ((250, 210, 160), (40, 90, 160), (240, 240, 235)),
    ):
        image = Image.new("RGB", (_SIDE, _SIDE), sky)
        pen = ImageDraw.Draw(image)
        pen.rectangle((0, 80, _SIDE, _SIDE), fill=ground)
        pen.ellipse((30, 50, 95, 105), fill=body)
        pen.ellipse((80, 30, 112, 62), fill=body)
        pen.ellipse((100, 40, 106, 46), fill=(10, 10, 10))
        pen.ellipse((8, 6, 30, 28), fill=(255, 240, 120))
        drawn.append(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255)
    return torch.stack([noise, *drawn, torch.zeros_like(noise), torch.ones_like(noise)])


def _passes_gradients(classifier: Classifier, images: Tensor) -> bool:
    """Return whether the answers depend on the pictures by autograd."""
    import torch

    if not classifier.gradients:
        return False
    with torch.enable_grad():
        images = images.clone().requires_grad_()
        logits = classifier(images).logits
        if not logits.requires_grad:
            return False
        weights = torch.linspace(1, 2, logits.shape[1], device=logits.device)
        (logits * weights).sum().backward()  # type: ignore[no-untyped-call]
    gradient = images.grad
    if gradient is None:
        return False
    if not bool(gradient.isfinite().all()):
        raise classifier.not_finite("passes gradients")
    return bool((gradient != 0).any())


def _refusal(classifier: Classifier, problem: str) -> InputError:
    return InputError(f"{classifier.spec} {problem}", field="classifier", value=classifier.spec)
