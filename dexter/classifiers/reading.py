"""The reading of a classifier: the pictures that its network takes, and the meaning of its answers.

A network gives K logits of classes that exclude each other (softmax), K logits of labels that do
not (a sigmoid each), one logit of two classes, or probabilities in place of logits. Importing this
needs no torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from dexter.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from dexter.classifiers.options import ClassifierOptions

NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "none": ((0.0,) * 3, (1.0,) * 3),
}
_TINY = 1e-7  # the smallest probability whose logarithm is taken


@dataclass(frozen=True)
class Preprocessing:
    """A differentiable map from square pictures in [0, 1] to the input of a network.

    resize: side in px to scale to; crop: side in px of the centre that is kept; mode: of
    ``torch.nn.functional.interpolate``, or "lanczos", "box" or "hamming", which it lacks;
    scale: factor applied before mean and std;
    antialias: with PIL's kernels, also when it enlarges; blue_first: give the channels in the order
    blue, green, red. squash: a picture that is no square is squeezed into one before, not cut.
    rounds: the centre is that of torchvision and timm, not of transformers' processors.
    assumed: the parts, "size" or "normalization", that no file states.
    """

    resize: int
    crop: int
    mode: str = "bilinear"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    antialias: bool = True
    blue_first: bool = False
    squash: bool = False
    rounds: bool = field(default=False, repr=False)
    assumed: frozenset[str] = frozenset()

    def __call__(self, images: Tensor) -> Tensor:
        import torch

        if images.shape[-1] != self.resize:
            smooth = self.mode != "nearest-exact"
            if self.mode in _KERNELS:
                weights = _weights(self.mode, images.shape[-1], self.resize).to(images)
                images = weights @ images @ weights.T
            else:
                images = torch.nn.functional.interpolate(
                    images,
                    size=(self.resize, self.resize),
                    mode=self.mode,
                    align_corners=False if smooth else None,
                    antialias=smooth and self.antialias,
                )
            if self.mode in ("bicubic", "lanczos"):
                images = images.clamp(0, 1)  # they overshoot, which bytes could not
        at = self.start(self.resize)
        if self.crop > self.resize:  # black around the picture
            after = self.crop - self.resize + at
            images = torch.nn.functional.pad(images, (-at, after, -at, after))
        elif self.crop != self.resize:
            images = images[..., at : at + self.crop, at : at + self.crop]
        shape = (-1, 1, 1)
        mean = torch.tensor(self.mean, dtype=images.dtype, device=images.device).view(shape)
        std = torch.tensor(self.std, dtype=images.dtype, device=images.device).view(shape)
        images = (images * self.scale - mean) / std
        return images.flip(1) if self.blue_first else images

    def start(self, length: int) -> int:
        """Return where the centre starts in a side of ``length`` px; negative for a padded one."""
        left = length - self.crop
        if left < 0 and self.rounds:
            return -(-left // 2)
        return round(left / 2) if self.rounds else left // 2

    def as_reference(self, side: int | None = None) -> Preprocessing:
        """Return the same without smoothing and crop, scaled to ``side`` px (reference code)."""
        side = side or self.resize
        return replace(self, resize=side, crop=side, mode="bilinear", antialias=False)

    def with_options(self, options: ClassifierOptions) -> Preprocessing:
        """Return the same with the side, mean and deviation that the options state."""
        step = self
        if options.input_size is not None:
            resize = round(options.input_size * step.resize / step.crop)
            step = replace(
                step,
                resize=resize,
                crop=options.input_size,
                assumed=step.assumed - {"size"},
            )
        mean, std = NORMALIZATIONS.get(options.normalization or "", (None, None))
        mean, std = options.mean or mean, options.std or std
        if mean is not None and are_of_bytes(mean):
            raise InputError(
                f"{_numbers(mean)} is for values from 0 to 255: must be for values from 0 to 1",
                field="mean",
                value=mean,
                remedy="divide mean and std by 255",
            )
        if mean is not None or std is not None:
            known = step.assumed if mean is None or std is None else step.assumed - {_NORMAL}
            step = replace(step, mean=mean or step.mean, std=std or step.std, assumed=known)
        return step

    @property
    def key(self) -> str:
        """Everything that the network's input depends on, as a text."""
        own = repr(replace(self, assumed=frozenset()))
        # Answers were kept before `rounds` was known: it counts only where it moves the centre.
        usual = replace(self, rounds=False).start(self.resize)
        return own if self.start(self.resize) == usual else f"{own}, rounds"

    def facts(self) -> list[str]:
        """Return the side, mean and deviation in words; they concern pictures in [0, 1]."""
        size = f"{self.crop} px"
        mean = tuple(value / self.scale for value in self.mean)
        std = tuple(value / self.scale for value in self.std)
        if (mean, std) == NORMALIZATIONS["none"]:
            values = ["pictures from 0 to 1"]
        elif self.scale == 255 and (self.mean, self.std) == NORMALIZATIONS["none"]:
            values = ["pictures from 0 to 255"]
        else:
            values = [f"mean {_numbers(mean)}", f"std {_numbers(std)}"]
        if self.blue_first:
            values[-1] += " in the order blue, green, red"
        if "size" in self.assumed:
            size += " (assumed)"
        if _NORMAL in self.assumed:
            values[-1] += " (assumed)"
        return [size, *values]


_NORMAL = "normalization"


def are_of_bytes(channels: Sequence[float]) -> bool:
    """Return whether mean or deviation are too large for values from 0 to 1."""
    return max(map(abs, channels)) > 3


# PIL's kernels that torch lacks: half their width, and their height at x.
_KERNELS: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
    "box": (0.5, lambda x: ((x > -0.5) & (x <= 0.5)).double()),
    "hamming": (1.0, lambda x: x.sinc() * (0.54 + 0.46 * (math.pi * x).cos())),
    "lanczos": (3.0, lambda x: x.sinc() * (x / 3).sinc()),
}


@cache
def _weights(mode: str, side: int, wanted: int) -> Tensor:
    """Return the weights (wanted, side) by which PIL scales a line of pixels."""
    import torch

    half, height = _KERNELS[mode]
    ratio = side / wanted
    centres = (torch.arange(wanted, dtype=torch.float64) + 0.5) * ratio
    x = (torch.arange(side) + 0.5 - centres[:, None]) / max(ratio, 1)
    weights = torch.where(x.abs() <= half, height(x), 0)
    return weights / weights.sum(1, keepdim=True)


def _numbers(values: Sequence[float]) -> str:
    shown = [f"{value:.4g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else "/".join(shown)


@dataclass(frozen=True)
class Answers:
    """The meaning of a network's outputs (B, N) for K classes or labels.

    multi_label: the labels do not exclude each other. positive: of one logit, the index of the
    class that a high logit stands for; None for N = K. probabilities: the outputs are
    probabilities. threshold: the probability from which a label, or the positive class, is the
    answer.
    """

    multi_label: bool = False
    positive: int | None = None
    probabilities: bool = False
    threshold: float = 0.5

    def logits(self, outputs: Tensor) -> Tensor:
        """Return logits (B, K) of the network's outputs (B, N)."""
        import torch

        if self.probabilities and (self.multi_label or self.positive is not None):
            outputs = outputs.clamp(_TINY, 1 - _TINY).logit()
        elif self.probabilities:
            outputs = outputs.clamp_min(_TINY).log()
        if self.positive is None:
            return outputs
        pair = [torch.zeros_like(outputs), outputs]
        return torch.cat(pair if self.positive else pair[::-1], 1)

    def fact(self, names: Sequence[str] = ()) -> str:
        """Return the meaning in words."""
        cut = "" if self.threshold == 0.5 else f", threshold {self.threshold:g}"
        given = "probabilities" if self.probabilities else ""
        if self.positive is not None:
            kind = "one probability" if self.probabilities else "one logit (sigmoid)"
            name = names[self.positive] if names else str(self.positive)
            return f"{kind} of {name!r}{cut}"
        if self.multi_label:
            return f"multi-label ({given or 'sigmoid'}){cut}"
        return f"one class of several ({given or 'softmax'}){cut}"


@dataclass(frozen=True)
class ClassifierOutput:
    """Logits (B, K) of K classes or labels and features (B, F), float32, differentiable.

    multi_label: a label's probability is the sigmoid of its logit, else p is the softmax of all.
    bar: the log-odds from which a label, or class `positive`, is the answer.
    """

    logits: Tensor
    features: Tensor
    multi_label: bool = False
    positive: int | None = None
    bar: float = 0.0

    def log_odds(self, index: int) -> Tensor:
        """Return log(p / (1 - p)) of a class, (B,)."""
        own = self.logits[:, index]
        return own if self.multi_label else own - self._others(index).logsumexp(-1)

    def log_probability(self, index: int) -> Tensor:
        """Return log p of a class, (B,)."""
        import torch

        if self.multi_label:
            return torch.nn.functional.logsigmoid(self.logits[:, index])
        return self.logits.log_softmax(-1)[:, index]

    def probabilities(self) -> Tensor:
        """Return the probability of every class or label, (B, K)."""
        return self.logits.sigmoid() if self.multi_label else self.logits.softmax(-1)

    def probability(self, index: int) -> Tensor:
        """Return the probability of a class, (B,)."""
        return self.probabilities()[:, index]

    def hits(self, index: int) -> Tensor:
        """Return True (B,) where the class is the answer, or the label is among the answers."""
        return self.predicted(index) == index

    def predicted(self, index: int) -> Tensor:
        """Return the index of the answer, (B,); of several labels ``index`` if it is among them.

        Where the label ``index`` is not among the answers, the strongest other label.
        """
        import torch

        if self.multi_label:
            hit = self.logits[:, index] >= self.bar
            return torch.where(hit, index, self._others(index).argmax(-1))
        if self.positive is None or self.bar == 0:
            return self.logits.argmax(-1)
        shifted = self.logits.clone()
        shifted[:, self.positive] -= self.bar
        return shifted.argmax(-1)

    def _others(self, index: int) -> Tensor:
        import torch

        target = torch.arange(self.logits.shape[1], device=self.logits.device) == index
        return self.logits.masked_fill(target, -math.inf)


def bar_of(threshold: float) -> float:
    """Return the log-odds of a probability."""
    return math.log(threshold / (1 - threshold))


def two_classes(
    spec: str, labels: Sequence[str] | None, positive: str | None
) -> tuple[list[str], int]:
    """Return the names of the two classes of one logit, and the index of the positive one.

    Raises InputError where they are not known.
    """
    named = [label for label in labels or () if not is_placeholder(label)]
    if len(named) == 2:
        found = [i for i, name in enumerate(named) if positive and _same(name, positive)]
        if not found:
            raise InputError(
                f"{spec} has one logit for {named[0]!r} and {named[1]!r}"
                + (f", and {positive!r} is neither" if positive else ""),
                field="positive_class",
                value=positive,
                remedy="pass the class that a high logit stands for",
            )
        return named, found[0]
    if positive is None and len(named) == 1:
        positive = named[0]
    if positive is None:
        raise InputError(
            f"{spec} has one logit, and the class that a high logit stands for is not known",
            field="positive_class",
            remedy="pass its name, such as --positive-class smiling",
        )
    return [f"not {positive}", positive], 1


def refuse_idle(spec: str, answers: Answers, options: ClassifierOptions) -> None:
    """Raise InputError for an option that has no effect on such answers."""
    for name, applies, remedy in (
        ("positive_class", answers.positive is not None, "omit it"),
        ("threshold", answers.positive is not None or answers.multi_label,
         "omit it, or pass --multi-label"),
    ):  # fmt: skip
        value = getattr(options, name)
        if value is not None and not applies:
            raise InputError(
                f"{spec} has several classes, one of which is the answer",
                field=name,
                value=value,
                remedy=remedy,
            )


def named(labels: Sequence[str]) -> list[str]:
    """Return the labels, with "class 0" and so on for those without a name."""
    return [label.strip() or f"class {index}" for index, label in enumerate(labels)]


def is_placeholder(label: str) -> bool:
    """Return whether transformers made up the label, such as LABEL_0."""
    return label.startswith("LABEL_") and label[6:].isdigit()


def _same(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def recognised(
    notes: Collection[str], labels: Sequence[str], step: Preprocessing, answers: Answers
) -> str:
    """Return the line that states all that was recognised and assumed about a classifier."""
    classes = f"{len(labels)} classes"
    shared = [label for label, count in Counter(labels).items() if count > 1]
    if shared:
        classes += f" ({', '.join(map(repr, shared[:3]))} of several)"
    facts = [*notes, classes, *step.facts(), answers.fact(labels)]
    return "weights: " + ", ".join(facts)
