"""Trainings of all weights of a classifier on labelled pictures, with regard to groups.

    trainer = Trainer(classifier, [0, 1], fit, checks, Method.GROUP_DRO, Settings(), seed=0)
    while not trainer.finished:
        trainer.step()                       # state() and restore() continue a stopped training
    better = trainer.chosen("pseudo-groups")

Methods differ in the pictures of a batch and their weights, and in nothing else:

ERM: batches are drawn from all pictures, and the mean loss falls.
Balanced sampling: each picture of a batch is drawn from a group that is drawn evenly.
GroupDRO (Sagawa et al., arXiv 1911.08731, algorithm 1): batches as for balanced sampling. With the
mean loss l_g of each group g in the batch (0 for an absent one), the groups' weights rise,
q_g <- q_g exp(eta_q l_g), are divided by their sum, and sum_g q_g l_g falls.

Every batch is a function of seed and step alone, so that a training that was stopped ends with the
same numbers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dexter.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from dexter.classifiers import Classifier

Ints = NDArray[np.int64]
Pixels = NDArray[np.uint8]

_LOOK = 256  # pictures of a batch without gradient
_WARMUP = 0.1  # share of the steps in which the rate rises
_SHIFT = 3  # px at 64 px, by which a batch is moved at most


class Method(StrEnum):
    """The ways to train all weights."""

    ERM = "ERM"
    BALANCED = "balanced sampling"
    GROUP_DRO = "GroupDRO"


@dataclass(frozen=True)
class Settings:
    """The settings of a training, the same for all methods.

    steps, batch: their number and size. rate: peak of the learning rate, which rises linearly and
    falls by a cosine. decay: of AdamW's weights. step_size: eta_q of GroupDRO. checks: looks at the
    validation pictures, after each of which the weights may be chosen.
    """

    steps: int = 1000
    batch: int = 64
    rate: float = 1e-3
    decay: float = 1e-2
    step_size: float = 0.01
    checks: int = 10


@dataclass(frozen=True)
class Labelled:
    """Pictures uint8 (n, S, S, 3), their classes from 0 (n,) and groups from 0 (n,)."""

    pictures: Pixels
    classes: Ints
    groups: Ints


class Trainer:
    """A training of a copy of a classifier, which can be stopped and continued."""

    def __init__(
        self,
        classifier: Classifier,
        used: Sequence[int],
        fit: Labelled,
        validation: Labelled,
        method: Method,
        settings: Settings,
        *,
        seed: int,
        choices: Mapping[str, Ints],
    ) -> None:
        """Copy ``classifier``, which stays as it is, in float32.

        ``used``: indices of its labels that are the classes. ``choices``: groups of ``validation``
        (n,) by name; for each, the weights with the best accuracy of the worst group are kept.
        Raises InputError for a classifier that passes no gradient.
        """
        import torch

        require_trainable(classifier)
        self.classifier = _trainable(classifier)
        # A third faster on a CPU, and the order in which pictures are decoded.
        self.classifier.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._used = torch.tensor(list(used), device=self.classifier.device)
        self._fit, self._validation = fit, validation
        self._members = [
            np.flatnonzero(fit.groups == group) for group in range(int(fit.groups.max()) + 1)
        ]
        self.method, self.settings, self.seed = method, settings, seed
        self._choices = dict(choices)
        self._optimizer = torch.optim.AdamW(
            self.classifier.network.parameters(), lr=settings.rate, weight_decay=settings.decay
        )
        self.done = 0
        self.q = torch.full((len(self._members),), 1 / len(self._members))
        self._best: dict[str, tuple[float, dict[str, Tensor]]] = {}
        self.course: dict[str, list[tuple[int, float]]] = {name: [] for name in choices}
        """By choice, the accuracy of the worst group of the validation pictures after steps."""

    @property
    def finished(self) -> bool:
        """Return True after the last step."""
        return self.done >= self.settings.steps

    def step(self) -> float:
        """Train on one batch; return its loss.

        Raises InputError for a gradient that is not finite; the weights stay as they were.
        """
        import torch

        network = self.classifier.network.train()
        rng = np.random.default_rng((self.seed, self.done))
        places = self._places(rng)
        classes = torch.from_numpy(self._fit.classes[places]).to(self.classifier.device)
        pictures = _varied(as_tensor(self._fit.pictures[places]), rng)
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.rate * _schedule(self.done, self.settings.steps)
        logits = self.classifier(pictures).logits[:, self._used]
        losses = torch.nn.functional.cross_entropy(logits, classes, reduction="none")
        loss = losses.mean()
        if self.method is Method.GROUP_DRO:
            loss = self._robust(losses.cpu(), torch.from_numpy(self._fit.groups[places]))
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._check_gradient()
        self._optimizer.step()
        network.eval()
        self.done += 1
        if self.done in self.looks:
            self._look()
        return float(loss.detach())

    def _check_gradient(self) -> None:
        """Raise InputError for a gradient that is not finite."""
        import torch

        parameters = self.classifier.network.parameters()
        largest = [one.grad.abs().amax() for one in parameters if one.grad is not None]
        if not bool(torch.stack(largest).isfinite().all()):
            raise InputError(
                f"the training of {self.classifier.spec} has a gradient that is not finite (NaN or "
                f"infinite) at step {self.done + 1}",
                field="rate",
                value=self.settings.rate,
                remedy="pass a lower one",
            )

    def _places(self, rng: np.random.Generator) -> NDArray[np.intp]:
        size = self.settings.batch
        if self.method is Method.ERM:
            return rng.integers(len(self._fit.classes), size=size)
        present = [own for own in self._members if len(own)]
        return np.array(
            [rng.choice(present[int(g)]) for g in rng.integers(len(present), size=size)]
        )

    def _robust(self, losses: Tensor, groups: Tensor) -> Tensor:
        """Return the loss weighted by q, whose groups with a high loss have just risen."""
        import torch

        count = len(self.q)
        sizes = torch.bincount(groups, minlength=count).clamp(min=1)
        of_group = torch.zeros(count).index_add(0, groups, losses) / sizes
        self.q = self.q * (self.settings.step_size * of_group.detach()).exp()
        self.q = self.q / self.q.sum()
        return (self.q * of_group).sum()

    @property
    def looks(self) -> set[int]:
        """Return the steps after which the validation pictures are looked at."""
        steps, checks = self.settings.steps, self.settings.checks
        return {math.ceil(steps * (at + 1) / checks) for at in range(checks)}

    def _look(self) -> None:
        """Keep the weights where they are the best so far for a choice; later ones win ties."""
        right = self.predicted(self._validation.pictures) == self._validation.classes
        state: dict[str, Tensor] | None = None
        for name, groups in self._choices.items():
            worst = min(float(right[groups == one].mean()) for one in np.unique(groups))
            self.course[name].append((self.done, worst))
            if name not in self._best or worst >= self._best[name][0]:
                if state is None:
                    state = {
                        key: tensor.detach().cpu().clone()
                        for key, tensor in self.classifier.network.state_dict().items()
                    }
                self._best[name] = worst, state

    def predicted(self, pictures: Pixels) -> Ints:
        """Return the class of each picture by the present weights, (n,)."""
        return predicted(self.classifier, self._used.tolist(), pictures)

    def chosen(self, choice: str) -> Classifier:
        """Return the classifier with the weights that a choice kept, frozen."""
        self.classifier.network.load_state_dict(self._best[choice][1])
        found = copy.deepcopy(self.classifier)
        found.network.requires_grad_(False).eval()
        return found

    def weights(self, choice: str) -> dict[str, Tensor]:
        """Return the weights that a choice kept."""
        return self._best[choice][1]

    def state(self) -> dict[str, Any]:
        """Return what a later process continues from: tensors and numbers."""
        return {
            "done": self.done,
            "network": self.classifier.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "q": self.q,
            "best": {name: list(one) for name, one in self._best.items()},
            "course": self.course,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.classifier.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.q = state["q"]
        self._best = {name: (one[0], one[1]) for name, one in state["best"].items()}
        self.course = state["course"]
        self.done = state["done"]


def require_trainable(classifier: Classifier) -> None:
    """Raise InputError for a classifier that passes no gradient."""
    if not classifier.gradients or not any(True for _ in classifier.network.parameters()):
        raise InputError(
            f"{classifier.spec} passes no gradient, so its weights cannot be trained",
            field="classifier",
            value=classifier.spec,
            remedy="pass a torch network, or fit the last layer alone",
        )


def predicted(classifier: Classifier, used: Sequence[int], pictures: Pixels) -> Ints:
    """Return which of the classes ``used`` each picture is, from 0, (n,)."""
    found: Ints = logits(classifier, used, pictures).argmax(1)
    return found


def logits(classifier: Classifier, used: Sequence[int], pictures: Pixels) -> NDArray[np.float64]:
    """Return the logits of the classes ``used``, (n, C)."""
    import torch

    with torch.inference_mode():
        found = [
            classifier(as_tensor(pictures[at : at + _LOOK])).logits[:, list(used)].cpu().double()
            for at in range(0, len(pictures), _LOOK)
        ]
    return torch.cat(found).numpy()


def features(classifier: Classifier, pictures: Pixels) -> NDArray[np.float64]:
    """Return what the last layer reads of each picture, (n, F)."""
    import torch

    with torch.inference_mode():
        found = [
            classifier(as_tensor(pictures[at : at + _LOOK])).features.cpu().double().numpy()
            for at in range(0, len(pictures), _LOOK)
        ]
    return np.concatenate(found)


def memory(classifier: Classifier, settings: Settings, choices: int = 1) -> int:
    """Estimate the bytes of a training: weights, gradients, AdamW, kept weights and activations.

    Activations are counted on 2 pictures, without their gradients.
    """
    import torch

    saved: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        saved[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    trial = _trainable(classifier)
    own = sum(one.numel() * one.element_size() for one in trial.network.parameters())
    side = classifier.image_size
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        trial(torch.rand(2, 3, side, side))
    activations = max(0, sum(saved.values()) - own)
    return own * (4 + 1 + choices) + activations * settings.batch // 2


def _trainable(classifier: Classifier) -> Classifier:
    """Return a copy whose weights learn, in float32 at least: in half precision AdamW's squares of
    gradients round to 0, and its steps to nothing."""
    import torch

    found = copy.deepcopy(classifier)
    found.dtype = torch.promote_types(classifier.dtype, torch.float32)
    found.network.to(found.dtype).requires_grad_(True)
    return found


def as_tensor(pictures: Pixels) -> Tensor:
    """Return pictures (n, S, S, 3) of bytes as (n, 3, S, S) in [0, 1]."""
    import torch

    pictures = np.require(pictures, requirements=["C", "W"])  # torch warns of read-only ones
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def _schedule(step: int, steps: int) -> float:
    warm = max(1, round(steps * _WARMUP))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _varied(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirror half of the pictures; blur, add noise to and shift batches.

    Without blur and noise a classifier does not accept generated pictures.
    """
    import torch

    side = pictures.shape[-1]
    mirrored = torch.from_numpy(rng.random(len(pictures)) < 0.5)
    pictures = torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)
    if rng.random() < 0.5:
        small = round(side * float(rng.choice([0.375, 0.5, 0.75])))
        resize = torch.nn.functional.interpolate
        pictures = resize(
            resize(pictures, size=small, mode="bilinear", antialias=True),
            size=side,
            mode="bilinear",
        )
    if rng.random() < 0.5:
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        noise = torch.randn(pictures.shape, generator=generator)
        pictures = pictures + float(rng.uniform(0, 0.06)) * noise
    most = max(1, round(_SHIFT * side / 64))
    shift = tuple(int(one) for one in rng.integers(-most, most + 1, size=2))
    return torch.roll(pictures, shift, dims=(-2, -1)).clamp(0, 1)
