"""Last layers fitted again, so that a classifier relies less on what it should not.

The network stays as it is; only its last linear layer changes, on the features of labelled pictures
of one split, and is measured on another. Groups are pairs of a class and what an image-text model
sees of a concept (pseudo-groups): no true group decides anything, unless `compare` is asked for the
bracket that true groups would give.

Methods: deep feature reweighting (DFR; Kirichenko et al., arXiv 2204.02937, and the settings of
their code), GroupDRO (Sagawa et al., arXiv 1911.08731, algorithm 1) on the last layer alone, and
the removal of a concept's direction from the features, with and without a fit. The control fits
the last layer again to the same pictures without regard to groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dexter.errors import InputError
from dexter.stats import wilson_interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
"""Inverse regularisations that DFR chooses from."""
RETRAINS = 20
"""Balanced subsets whose layers DFR averages."""
_ALIKE = 0.95
"""The share of pictures that a layer answers as its network, rounding aside."""
LEAST = 10
"""Pictures that each group must have."""
_STEPS = 3000  # of FISTA at most
_PRECISE = 1e-5  # relative change of weights at which it ends
_DRO_STEPS = 400
_DRO_STEP_SIZE = 0.05  # of the groups' weights
_DRO_DECAYS = (1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Part:
    """The pictures of a split: features (n, F), classes (n,) from 0, groups (n,) from 0."""

    features: Floats
    classes: Ints
    groups: Ints

    def of(self, chosen: NDArray[np.intp]) -> Part:
        """Return the pictures at these positions."""
        return Part(self.features[chosen], self.classes[chosen], self.groups[chosen])


@dataclass(frozen=True)
class Layer:
    """A linear layer: weight (K, F) and bias (K,)."""

    weight: Floats
    bias: Floats

    def predicted(self, features: Floats) -> Ints:
        """Return the class of each picture, (n,)."""
        found: Ints = (features @ self.weight.T + self.bias).argmax(1)
        return found


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of a layer on a split, over the seeds of its fit.

    worst: of the worst group, mean of the seeds; low and high: Wilson's 95% interval of it for the
    pictures of that group. least, most: of the seeds. by_group: means. worst_class: of the worst
    class, whatever the groups.
    """

    method: str
    average: float
    worst: float
    low: float
    high: float
    least: float
    most: float
    worst_class: float
    by_group: tuple[float, ...]
    seeds: int
    true_groups: bool = False


def pseudo_groups(classes: Ints, seen: NDArray[np.bool_]) -> Ints:
    """Return a group for each pair of a class and whether the concept is seen, (n,)."""
    found: Ints = classes * 2 + seen.astype(np.int64)
    return found


def check_groups(part: Part, names: Sequence[str], where: str) -> None:
    """Raise InputError if a group has too few pictures to be balanced or measured."""
    sizes = np.bincount(part.groups, minlength=len(names))
    for name, size in zip(names, sizes, strict=True):
        if size < LEAST:
            pictures = "1 picture" if size == 1 else f"{size} pictures"
            raise InputError(
                f"{where} has {pictures} of the group {name!r}: at least {LEAST} are needed",
                field="data",
                value=name,
                remedy="take more pictures, or another concept",
            )


def check_layer(layer: Layer, features: Floats, predicted: Ints, spec: str) -> None:
    """Raise InputError if the layer does not answer the features (n, F) as its network (n,) does.

    So it is with two heads whose outputs are averaged: to fit one of them would not do.
    """
    alike = float((layer.predicted(features) == predicted).mean())
    if alike < _ALIKE:
        raise InputError(
            f"the last linear layer of {spec} gives the answer of the network for {alike:.0%} of "
            "the pictures, so it is not all that decides",
            field="classifier",
            value=spec,
            remedy="train all weights (--weights all)",
        )


def refit(part: Part, seed: int) -> Layer:
    """Fit the layer to all pictures alike: the control."""
    return _chosen(part, seed, balanced=False)


def reweighted(part: Part, seed: int) -> Layer:
    """Fit the layer to subsets with equally many pictures of each group, and average (DFR)."""
    return _chosen(part, seed, balanced=True)


def _chosen(part: Part, seed: int, *, balanced: bool) -> Layer:
    """Choose the regularisation on one half by worst-group accuracy, then fit to all."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(part.classes))
    first, second = part.of(order[::2]), part.of(order[1::2])
    scale = _scale(part.features)
    fitted = _balanced(first, rng) if balanced else first
    layer = _zero(part)
    best, strength, start = -1.0, STRENGTHS[0], layer
    for one in STRENGTHS[::-1]:  # each fit starts from that of the stronger penalty
        layer = _logistic(fitted, scale, one, layer)
        if (worst := worst_group(layer, second)) >= best:
            best, strength, start = worst, one, layer
    if not balanced:
        return _logistic(part, scale, strength, start)
    layers = [_logistic(_balanced(part, rng), scale, strength, start) for _ in range(RETRAINS)]
    return Layer(
        np.mean([layer.weight for layer in layers], axis=0),
        np.mean([layer.bias for layer in layers], axis=0),
    )


def _zero(part: Part) -> Layer:
    count = int(part.classes.max()) + 1
    return Layer(np.zeros((count, part.features.shape[1])), np.zeros(count))


def _balanced(part: Part, rng: np.random.Generator) -> Part:
    places = [np.flatnonzero(part.groups == group) for group in np.unique(part.groups)]
    least = min(map(len, places))
    return part.of(np.concatenate([rng.choice(own, least, replace=False) for own in places]))


def _scale(features: Floats) -> tuple[Floats, Floats]:
    deviation = features.std(0)
    return features.mean(0), np.where(deviation > 0, deviation, 1.0)


def _logistic(part: Part, scale: tuple[Floats, Floats], strength: float, start: Layer) -> Layer:
    """Fit a logistic regression with an L1 penalty to scaled features.

    Minimises strength * (sum of the cross entropies) + |weight|_1 + |bias|_1 from ``start`` by
    FISTA (Beck and Teboulle 2009) with restarts. The bias is penalised as by liblinear, which the
    code of DFR fits with: a free bias follows the few pictures of a balanced subset. Not
    scikit-learn's: where that is installed, transformers imports it, and every worker starts 0.4
    CPU seconds later.
    """
    mean, deviation = scale
    features = (part.features - mean) / deviation
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    wanted = np.eye(len(start.bias))[part.classes]
    # The Hessian of the cross entropy of a softmax is at most half the squared features.
    step = 1 / (strength * 0.5 * _largest_square(features) + 1e-12)
    weight = np.concatenate(
        [start.weight * deviation, (start.bias + start.weight @ mean)[:, None]], axis=1
    )
    ahead, momentum = weight, 1.0
    for _ in range(_STEPS):
        gradient = strength * (_softmax(features @ ahead.T) - wanted).T @ features
        moved = ahead - step * gradient
        new = np.sign(moved) * np.maximum(np.abs(moved) - step, 0.0)
        change = new - weight
        if np.abs(change).max() < _PRECISE * max(1.0, float(np.abs(new).max())):
            weight = new
            break
        if float(((ahead - new) * change).sum()) > 0:  # it overshot
            momentum = 1.0
        later = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / later * change
        weight, momentum = new, later
    own = weight[:, :-1] / deviation
    return Layer(own, weight[:, -1] - own @ mean)


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    found: Floats = raised / raised.sum(1, keepdims=True)
    return found


def _largest_square(features: Floats) -> float:
    """Return the largest eigenvalue of the squared features, by the power method."""
    vector = np.ones(features.shape[1])
    value = 0.0
    for _ in range(50):
        vector = features.T @ (features @ vector)
        value = float(np.linalg.norm(vector))
        vector /= max(value, 1e-12)
    return 1.05 * value


def group_dro(part: Part, seed: int) -> Layer:
    """Minimise the loss of the worst group (GroupDRO), the decay chosen on one half.

    The weight q of a group grows with its loss, q <- q exp(eta loss), and the layer descends the
    loss weighted by q; full batches.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(part.classes))
    first, second = part.of(order[::2]), part.of(order[1::2])
    decay = max(_DRO_DECAYS, key=lambda one: worst_group(_dro(first, one), second))
    return _dro(part, decay)


def _dro(part: Part, decay: float) -> Layer:
    import torch

    mean, deviation = _scale(part.features)
    features = torch.from_numpy((part.features - mean) / deviation).float()
    classes = torch.from_numpy(part.classes)
    groups = torch.from_numpy(np.unique(part.groups, return_inverse=True)[1])
    count = int(groups.max()) + 1
    sizes = torch.bincount(groups, minlength=count).float()
    layer = torch.nn.Linear(features.shape[1], int(classes.max()) + 1)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2, weight_decay=decay)
    q = torch.full((count,), 1 / count)
    for _ in range(_DRO_STEPS):
        losses = torch.nn.functional.cross_entropy(layer(features), classes, reduction="none")
        of_group = torch.zeros(count).index_add(0, groups, losses) / sizes
        q = q * (_DRO_STEP_SIZE * of_group.detach()).exp()
        q = q / q.sum()
        optimizer.zero_grad()
        (q * of_group).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    weight = layer.weight.detach().double().numpy() / deviation
    return Layer(weight, layer.bias.detach().double().numpy() - weight @ mean)


def direction_of(part: Part, seen: NDArray[np.bool_]) -> Floats:
    """Return the direction of a concept in the features, (F,), of length 1.

    It is the mean difference of features with and without the concept within each class, averaged
    over the classes: taken over all pictures it would be that of the class as well.
    """
    differences = [
        part.features[own & seen].mean(0) - part.features[own & ~seen].mean(0)
        for own in (part.classes == one for one in np.unique(part.classes))
    ]
    found: Floats = np.mean(differences, axis=0)
    return found / max(float(np.linalg.norm(found)), 1e-12)


def suppressed(layer: Layer, part: Part, direction: Floats) -> Layer:
    """Remove a direction from what a layer reads, without any fit."""
    along = layer.weight @ direction
    centre = part.features.mean(0) @ direction
    return Layer(layer.weight - np.outer(along, direction), layer.bias + along * centre)


def removed(part: Part, direction: Floats, seed: int) -> Layer:
    """Remove a direction from the features, then fit the layer to all pictures alike."""
    along = (part.features - part.features.mean(0)) @ direction
    without = Part(part.features - np.outer(along, direction), part.classes, part.groups)
    return suppressed(refit(without, seed), part, direction)


def worst_group(layer: Layer, part: Part) -> float:
    """Return the accuracy of the worst group."""
    right = layer.predicted(part.features) == part.classes
    return min(float(right[part.groups == group].mean()) for group in np.unique(part.groups))


def measure(
    method: str,
    layers: Sequence[Layer],
    part: Part,
    *,
    true_groups: bool,
    shares: Floats | None = None,
) -> Accuracy:
    """Measure the layers of several seeds on a split; ``shares`` as for `accuracy_of`."""
    right = np.array([layer.predicted(part.features) == part.classes for layer in layers])
    found = accuracy_of(method, right, part.classes, part.groups, shares=shares)
    return replace(found, true_groups=true_groups)


def accuracy_of(
    method: str,
    right: NDArray[np.bool_],
    classes: Ints,
    groups: Ints,
    *,
    shares: Floats | None = None,
) -> Accuracy:
    """Return the accuracy of several seeds, from whether each picture is right (seeds, n).

    ``shares``: of each group, by which the average is weighted; by default those of the pictures.
    """
    found, labels = np.unique(groups), np.unique(classes)
    by_group = np.array([[one[groups == group].mean() for group in found] for one in right])
    by_class = np.array([[one[classes == label].mean() for label in labels] for one in right])
    worst = by_group.min(1)
    size = int((groups == found[int(by_group.mean(0).argmin())]).sum())
    low, high = wilson_interval(round(float(worst.mean()) * size), size)
    weights = None if shares is None else shares[found] / shares[found].sum()
    means = by_group.mean(0)
    return Accuracy(
        method=method,
        # Shares of groups that are all right can add up to a little more than 1.
        average=float(right.mean() if weights is None else min(1.0, weights @ means)),
        worst=float(worst.mean()),
        low=low,
        high=high,
        least=float(worst.min()),
        most=float(worst.max()),
        worst_class=float(by_class.min(1).mean()),
        by_group=tuple(map(float, means)),
        seeds=len(right),
    )


FITS: dict[str, Callable[[Part, int], Layer]] = {
    "refitted, no groups (control)": refit,
    "DFR": reweighted,
    "GroupDRO, last layer": group_dro,
}


def compare(
    original: Layer,
    fit: Part,
    test: Part,
    seen: NDArray[np.bool_],
    *,
    seeds: int = 3,
    true_fit: Ints | None = None,
    shares: Floats | None = None,
    report: Callable[[str], None] = lambda method: None,
) -> dict[str, tuple[Accuracy, Layer]]:
    """Fit each method on one split and measure it on another.

    ``seen``: whether the concept is seen in the pictures of ``fit``, (n,). ``test.groups`` are what
    all methods are measured by. ``true_fit``: true groups of ``fit``, for the bracket that DFR with
    them would reach. ``shares``: see `accuracy_of`. ``report`` receives each method's name before
    it starts.
    """
    true_groups = true_fit is not None
    found: dict[str, tuple[Accuracy, Layer]] = {}

    def add(method: str, layers: Sequence[Layer]) -> None:
        accuracy = measure(method, layers, test, true_groups=true_groups, shares=shares)
        found[method] = accuracy, layers[0]

    add("original", [original])
    direction = direction_of(fit, seen)
    add("concept removed", [suppressed(original, fit, direction)])
    report("concept removed, refitted")
    add("concept removed, refitted", [removed(fit, direction, seed) for seed in range(seeds)])
    for method, fitted in FITS.items():
        report(method)
        add(method, [fitted(fit, seed) for seed in range(seeds)])
    if true_fit is not None:
        known = Part(fit.features, fit.classes, true_fit)
        report("DFR with true groups")
        add("DFR with true groups", [reweighted(known, seed) for seed in range(seeds)])
    return found
