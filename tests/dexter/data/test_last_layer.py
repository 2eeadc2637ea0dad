"""Last layers fitted again: against an independent fit, and on features with a planted shortcut."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shortcut_features import shortcut_features

from dexter.data import last_layer
from dexter.data.last_layer import Layer, Part
from dexter.errors import InputError

SPUCO = json.loads((Path(__file__).parents[2] / "data/spuco/numbers.json").read_text())


def planted(n: int, rate: float, seed: int) -> tuple[Part, np.ndarray]:
    features, classes, seen = shortcut_features(n, rate, seed)
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
        (1.0, [2.5044, 1.2825, 0.0, -0.0167, -0.0244, -0.1231], 0.38208),
        (0.1, [1.9489, 0.9069, 0.0, 0.0, 0.0, 0.0], 0.14308),
        (0.03, [1.2608, 0.4653, 0.0, 0.0, 0.0, 0.0], 0.0),
        (0.01, [0.4150, 0.0, 0.0, 0.0, 0.0, 0.0], 0.0),
    ],
)
def test_the_fit_is_that_of_scikit_learn(strength: float, weight: list[float], bias: float) -> None:
    """The numbers are of scikit-learn 1.5.2: LogisticRegression(C=strength, penalty="l1",
    solver="liblinear", max_iter=20000, tol=1e-10) on the scaled features."""
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


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "fitted"), [("DFR", last_layer.reweighted), ("GroupDRO", last_layer.group_dro)]
)
def test_groups_help_as_much_as_by_spuco(method: str, fitted: Callable[[Part, int], Layer]) -> None:
    """spuco's seeds are in tests/data/spuco, with the script that ran them."""
    fit, _ = planted(1000, 0.97, 0)
    test, _ = planted(1000, 0.5, 1)
    ours = [last_layer.worst_group(fitted(fit, seed), test) for seed in range(8)]
    assert min(SPUCO[method]) <= np.mean(ours) <= max(SPUCO[method])


def test_the_average_of_groups_that_are_all_right_is_one() -> None:
    counts = np.array([456, 177, 360, 277])  # whose shares add up to more than 1
    groups = np.arange(4)
    right = np.ones((1, 4), bool)
    found = last_layer.accuracy_of("", right, groups // 2, groups, shares=counts / counts.sum())
    assert found.average == 1.0


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


def test_a_layer_that_does_not_decide_alone_is_refused() -> None:
    part, _ = planted(30, 1.0, 0)
    one = last_layer.refit(part, 0)
    last_layer.check_layer(one, part.features, one.predicted(part.features), "net")
    other = Layer(-one.weight, -one.bias)  # the head that the network follows
    with pytest.raises(InputError, match="net gives the answer of the network for 0%"):
        last_layer.check_layer(one, part.features, other.predicted(part.features), "net")
