"""Last layers fitted again: against an independent fit, and on features with a planted shortcut."""

import numpy as np
import pytest

from dexter.data import last_layer
from dexter.data.last_layer import Layer, Part
from dexter.errors import InputError


def planted(n: int, rate: float, seed: int) -> tuple[Part, np.ndarray]:
    """Features of a class that a weak feature shows, and a strong one in `rate` of the pictures."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 2, n)
    shortcut = np.where(rng.random(n) < rate, classes, 1 - classes)
    features = rng.normal(size=(n, 6))
    features[:, 0] += 1.5 * (2 * classes - 1)
    features[:, 1] += 8 * (2 * shortcut - 1)
    features[:, 2] = 5.0  # a dead unit
    seen = shortcut == 1
    return Part(features, classes, last_layer.pseudo_groups(classes, seen)), seen


def test_groups_decide_what_the_layer_reads() -> None:
    fit, seen = planted(1000, 0.97, 0)
    test, _ = planted(1000, 0.5, 1)
    shortcut = Layer(np.array([[0.0, -1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]]), np.zeros(2))
    results = last_layer.compare(shortcut, fit, test, seen, seeds=2, true_fit=fit.groups)
    worst = {name: accuracy.worst for name, (accuracy, _) in results.items()}
    assert worst["original"] < 0.1
    assert worst["refitted, no groups (control)"] < worst["DFR"] - 0.05
    assert worst["concept removed, refitted"] > worst["refitted, no groups (control)"]
    assert worst["DFR"] > 0.85 and worst["GroupDRO, last layer"] > 0.85
    assert worst["DFR with true groups"] == pytest.approx(worst["DFR"], abs=0.01)
    accuracy, _ = results["DFR"]
    assert accuracy.low < accuracy.worst < accuracy.high and accuracy.seeds == 2
    assert accuracy.least <= accuracy.worst <= accuracy.most
    assert min(accuracy.by_group) == pytest.approx(accuracy.worst, abs=0.02)


def test_a_removed_direction_is_read_no_more() -> None:
    fit, seen = planted(2000, 0.97, 0)
    rng = np.random.default_rng(3)
    layer = Layer(rng.normal(size=(2, 6)), rng.normal(size=2))
    direction = last_layer.direction_of(fit, seen)
    changed = last_layer.suppressed(layer, fit, direction)
    assert np.abs(changed.weight[:, 1]).max() < 0.15 * np.abs(layer.weight[:, 1]).max()
    refitted = last_layer.removed(fit, direction, 0)
    assert np.abs(refitted.weight[:, 1]).max() < 0.15 * np.abs(refitted.weight[:, 0]).max()
    centre = fit.features.mean(0)
    assert changed.weight @ centre + changed.bias == pytest.approx(
        layer.weight @ centre + layer.bias
    )


@pytest.mark.parametrize(
    ("strength", "weight", "bias"),
    [
        (1.0, [2.5087, 1.2874, 0.0, -0.0174, -0.027, -0.1216], 0.40985),
        (0.1, [1.9582, 0.9237, 0.0, 0.0, 0.0, 0.0], 0.35278),
        (0.03, [1.2641, 0.4711, 0.0, 0.0, 0.0, 0.0], 0.28271),
        (0.01, [0.4186, 0.0, 0.0, 0.0, 0.0, 0.0], 0.21892),
    ],
)
def test_the_fit_is_that_of_scikit_learn(strength: float, weight: list[float], bias: float) -> None:
    """The numbers are of scikit-learn 1.9.1: LogisticRegression(C=strength, l1_ratio=1,
    solver="saga", max_iter=20000, tol=1e-8) on the scaled features."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 2, 400)
    features = rng.normal(size=(400, 6))
    features[:, 0] += 1.0 * (2 * classes - 1)
    features[:, 1] += 0.5 * (2 * classes - 1)
    part = Part(features, classes, classes)
    mean, deviation = scale = last_layer._scale(features)
    layer = last_layer._logistic(part, scale, strength, last_layer._zero(part))
    own = layer.weight[1] - layer.weight[0]
    assert own * deviation == pytest.approx(weight, abs=2e-4)
    assert layer.bias[1] - layer.bias[0] + own @ mean == pytest.approx(bias, abs=2e-4)


def test_groups_help_as_much_as_by_another_implementation() -> None:
    """The numbers are of spuco 2.0.3 on these features, seeds 0 to 2: GroupDRO of a linear layer
    (AdamW, rate and decay 0.01, 12 epochs, batch 64), and DFR with its own choice of C.

    The worst group has about 240 pictures: 0.02 is one standard error.
    """
    spuco = {last_layer.group_dro: [0.8848, 0.8848, 0.8971],
             last_layer.reweighted: [0.9053, 0.9012, 0.9053]}  # fmt: skip
    fit, _ = planted(1000, 0.97, 0)
    test, _ = planted(1000, 0.5, 1)
    for fitted, theirs in spuco.items():
        ours = [last_layer.worst_group(fitted(fit, seed), test) for seed in range(3)]
        assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.02)


def test_three_classes_are_fitted_as_well() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 600)
    features = rng.normal(size=(600, 4))
    features[np.arange(600), classes] += 4
    part = Part(features, classes, last_layer.pseudo_groups(classes, rng.random(600) < 0.5))
    assert last_layer.worst_group(last_layer.reweighted(part, 0), part) > 0.9


def test_a_small_group_is_named() -> None:
    fit, _ = planted(30, 1.0, 0)
    with pytest.raises(InputError, match="the split 'x' has 0 pictures of the group 'b'"):
        last_layer.check_groups(fit, ["a", "b", "c", "d"], "the split 'x'")
