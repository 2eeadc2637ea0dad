"""The loss that a run minimises: losses of pictures, and the masked LM's towards pseudo-targets.

    L = class + sum of features + masked LM                                  (paper, Eq. 4)

With direction "lower", the first two terms have the opposite aim: that the classifier loses the
class, and that the features fall.
The first two terms are noisy losses of pictures. The last pulls the masked LM towards words with
a low loss, because gradients through the generator alone are too weak to converge (section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import torch
from torch import Tensor

from dexter.config import Direction, RunConfig
from dexter.errors import InputError

if TYPE_CHECKING:
    from dexter.classifiers import Classifier, ClassifierOutput


@overload
def is_hit(predicted: int, class_index: int, direction: Direction) -> bool: ...
@overload
def is_hit(predicted: Tensor, class_index: int, direction: Direction) -> Tensor: ...
def is_hit(predicted: int | Tensor, class_index: int, direction: Direction) -> bool | Tensor:
    """Return True where an answer is what the search looks for: the class, or any other one."""
    return (predicted == class_index) if direction == "raise" else (predicted != class_index)


class Objective:
    """The losses of pictures: B pictures, M masks, K classes, F penultimate units."""

    def __init__(self, config: RunConfig, classifier: Classifier, class_index: int) -> None:
        """Choose the features; raise InputError if the classifier does not have them."""
        self.class_index = class_index
        self.features = features_of(config, classifier, class_index)
        self.direction: Direction = config.direction
        self._class_loss = config.class_loss
        self._class_weight = config.class_weight
        self._feature_weight = config.feature_weight
        self._masks = config.masks

    def losses(self, output: ClassifierOutput) -> dict[str, Tensor]:
        """Return the unweighted loss of each picture (B,) by term: "class", "feature 12", ...

        The class loss is -log(p / (1 - p)) of the target class, -log p or 1 - p; the loss of a
        feature is minus its activation (paper, section 3.3). To lower the class, 1 - p takes the
        place of p, and a feature's loss is its activation.
        """
        losses = {"class": self._of_class(output)}
        check_units(self.features, output)
        sign = -1 if self.direction == "raise" else 1
        for unit in self.features:
            losses[f"feature {unit}"] = sign * output.features[:, unit]
        return losses

    def _of_class(self, output: ClassifierOutput) -> Tensor:
        lower = self.direction == "lower"
        match self._class_loss:
            case "bounded" if lower:
                return output.probability(self.class_index)
            case "bounded":
                return -output.log_probability(self.class_index).expm1()
            case "cross-entropy" if lower:
                return torch.nn.functional.softplus(output.log_odds(self.class_index))
            case "cross-entropy":
                return -output.log_probability(self.class_index)
        odds = output.log_odds(self.class_index)
        return odds if lower else -odds

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms, (B,)."""
        return self.slot_losses(losses, slots=1)[:, 0]

    def slot_losses(self, losses: dict[str, Tensor], slots: int | None = None) -> Tensor:
        """Return the loss of each mask, (B, M): the sum of l_act over its set N_i of units.

        As in the paper, the first mask gets the class and each further mask a feature, in
        rotation. A mask without a term of its own, or a single mask, gets the total.
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


def check_units(features: Sequence[int], output: ClassifierOutput) -> None:
    """Raise InputError for units that the classifier does not have."""
    units = output.features.shape[1]
    if features and max(features) >= units:
        raise InputError(
            f"the classifier has no unit {max(features)}",
            field="features",
            value=features,
            remedy=f"choose units from 0 to {units - 1}" if units else "omit it",
        )


def masked_lm_loss(logits: Tensor, targets: Sequence[int | None]) -> Tensor:
    """Return -sum_i log s_{i, y_i} over the masks with a target (Eq. 4); logits (M, V)."""
    log_s = logits.log_softmax(-1)
    chosen = [-log_s[slot, word] for slot, word in enumerate(targets) if word is not None]
    return torch.stack(chosen).sum() if chosen else logits.new_zeros(())


def sentence_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of all tokens of a sentence, as in the reference code.

    ``logits`` (L, all tokens), ``labels`` (L,). The words around the masks count as well, so a
    mask weighs less in a longer template.
    """
    return torch.nn.functional.cross_entropy(logits, labels)


def features_of(config: RunConfig, classifier: Classifier, class_index: int) -> tuple[int, ...]:
    """Return the units to raise: the configured ones, or the largest weights to the class (F.3)."""
    if config.features is not None:
        if any(unit < 0 for unit in config.features):
            raise InputError(
                f"{min(config.features)} is below 0",
                field="features",
                value=config.features,
                remedy="number units from 0",
            )
        return tuple(dict.fromkeys(config.features))
    if config.n_features == 0:
        return ()
    weight = classifier.class_weight(class_index)
    if weight is None:
        raise InputError(
            f"{classifier.spec} has no last linear layer to choose units by",
            field="n_features",
            value=config.n_features,
            remedy="list them with features, or set n_features to 0",
        )
    if config.n_features > len(weight):
        raise InputError(
            f"{config.n_features} is more than the {len(weight)} units of {classifier.spec}",
            field="n_features",
            value=config.n_features,
            remedy="choose fewer",
        )
    return tuple(weight.topk(config.n_features).indices.tolist())
