"""What a run minimises: losses of pictures, and of the masked LM towards pseudo-targets.

    L = class + sum of features + masked LM                                  (paper, Eq. 4)

The first two are losses of pictures, and noisy; the last pulls the masked LM towards words that
did well, because gradients through the generator alone are too weak to converge (section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dexter.config import RunConfig
from dexter.errors import InputError

if TYPE_CHECKING:
    from dexter.classifiers import Classifier, ClassifierOutput


class Objective:
    """The losses of pictures. B pictures, M masks, K classes, F penultimate units."""

    def __init__(self, config: RunConfig, classifier: Classifier, class_index: int) -> None:
        """Raises InputError where features are wanted that the classifier does not have."""
        self.class_index = class_index
        self.features = _features(config, classifier, class_index)
        self._class_loss = config.class_loss
        self._class_weight = config.class_weight
        self._feature_weight = config.feature_weight
        self._masks = config.masks

    def losses(self, output: ClassifierOutput) -> dict[str, Tensor]:
        """Each term's loss of each picture by name, not weighted: "class", "feature 12", ...

        The class's is -log(p / (1 - p)) of the target class, -log p or 1 - p; a feature's is
        minus its activation (paper, section 3.3).
        """
        losses = {"class": self._of_class(output.logits)}
        if self.features and max(self.features) >= output.features.shape[1]:
            raise InputError(
                f"features: the classifier has units 0 to {output.features.shape[1] - 1}, "
                f"not {max(self.features)}"
            )
        for unit in self.features:
            losses[f"feature {unit}"] = -output.features[:, unit]
        return losses

    def _of_class(self, logits: Tensor) -> Tensor:
        log_p = logits.log_softmax(-1)[:, self.class_index]
        match self._class_loss:
            case "bounded":
                return -log_p.expm1()
            case "cross-entropy":
                return -log_p
        target = torch.arange(logits.shape[1], device=logits.device) == self.class_index
        others = logits.masked_fill(target, -math.inf)
        return others.logsumexp(-1) - logits[:, self.class_index]

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the terms, (B,)."""
        return self.slot_losses(losses, slots=1)[:, 0]

    def slot_losses(self, losses: dict[str, Tensor], slots: int | None = None) -> Tensor:
        """What each mask answers for, (B, M): the sum of l_act over its set N_i of units.

        As in the paper the first mask has the class and each further mask a feature (the k-th,
        counted round). A mask with none of its own, or the only one, has the whole.
        """
        slots = self._masks if slots is None else slots
        shares: list[list[Tensor]] = [[] for _ in range(slots)]
        shares[0].append(self._class_weight * losses["class"])
        for k, unit in enumerate(self.features):
            mask = 1 + k % (slots - 1) if slots > 1 else 0
            shares[mask].append(self._feature_weight * losses[f"feature {unit}"])
        whole = torch.stack([term for share in shares for term in share]).sum(0)
        return torch.stack(
            [torch.stack(share).sum(0) if share else whole for share in shares], dim=1
        )


def masked_lm_loss(logits: Tensor, targets: Sequence[int | None]) -> Tensor:
    """-sum_i log s_{i, y_i} over the masks that have a target (Eq. 4); logits (M, V)."""
    log_s = logits.log_softmax(-1)
    chosen = [-log_s[slot, word] for slot, word in enumerate(targets) if word is not None]
    return torch.stack(chosen).sum() if chosen else logits.new_zeros(())


def sentence_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy of all tokens of a sentence, as the reference code has it.

    ``logits`` (L, all tokens), ``labels`` (L,). The words around the masks pull as well, and a
    mask weighs less in a longer template.
    """
    return torch.nn.functional.cross_entropy(logits, labels)


def _features(config: RunConfig, classifier: Classifier, class_index: int) -> tuple[int, ...]:
    """The units to raise: those given, or those of the largest weight to the class (F.3)."""
    if config.features is not None:
        if any(unit < 0 for unit in config.features):
            raise InputError(f"features: {min(config.features)} is below 0; units start at 0")
        return tuple(dict.fromkeys(config.features))
    if config.n_features == 0:
        return ()
    weight = classifier.class_weight(class_index)
    if weight is None:
        raise InputError(
            f"n_features: {classifier.spec} has no last linear layer to choose units by; "
            "name them with features, or set n_features to 0"
        )
    if config.n_features > len(weight):
        raise InputError(f"n_features: {config.n_features}, but there are {len(weight)} units")
    return tuple(weight.topk(config.n_features).indices.tolist())
