"""Trainings of all weights: stopped and continued, and GroupDRO against another implementation."""

import io
import warnings

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dexter.classifiers import ClassifierOptions, load_classifier
from dexter.data import training
from dexter.data.environments import infer
from dexter.data.training import Labelled, Method, Settings, Trainer
from dexter.errors import InputError

SETTINGS = Settings(steps=4, batch=4, checks=2, step_size=0.5)


def pictures(n: int = 12) -> Labelled:
    rng = np.random.default_rng(0)
    classes = np.arange(n) % 2
    groups = 2 * classes + (np.arange(n) % 4 > 1)
    return Labelled(rng.integers(0, 256, (n, 64, 64, 3), np.uint8), classes, groups)


def trainer(method: Method, seed: int = 0) -> Trainer:
    part = pictures()
    return Trainer(
        load_classifier("lab:birds-biased"), [0, 1], part, part, method, SETTINGS,
        seed=seed, choices={"groups": part.groups, "classes": part.classes},
    )  # fmt: skip


def finish(one: Trainer) -> dict[str, torch.Tensor]:
    while not one.finished:
        one.step()
    return one.weights("groups")


def test_a_stopped_training_ends_with_the_same_weights() -> None:
    whole = trainer(Method.GROUP_DRO)
    expected = finish(whole)
    stopped = trainer(Method.GROUP_DRO)
    for _ in range(3):
        stopped.step()
    file = io.BytesIO()
    torch.save(stopped.state(), file)
    file.seek(0)
    continued = trainer(Method.GROUP_DRO)
    continued.restore(torch.load(file, weights_only=True))
    found = finish(continued)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert continued.course == whole.course and [s for s, _ in whole.course["groups"]] == [2, 4]
    before = load_classifier("lab:birds-biased")
    assert any(not torch.equal(found[n], t) for n, t in before.network.state_dict().items())
    chosen = continued.chosen("groups")
    mapped = pictures().pictures
    mapped.flags.writeable = False  # as pictures that lie in a file
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        looked = training.predicted(chosen, [0, 1], mapped)
    assert looked.shape == (12,) and set(looked) <= {0, 1}


def test_half_precision_is_trained_in_full() -> None:
    part = pictures()
    half = load_classifier("lab:birds-biased", ClassifierOptions(dtype="float16"))
    one = Trainer(
        half, [0, 1], part, part, Method.ERM, SETTINGS, seed=0, choices={"groups": part.groups}
    )
    assert all(bool(tensor.isfinite().all()) for tensor in finish(one).values())
    assert half.dtype == next(half.network.parameters()).dtype == torch.float16


def test_a_gradient_that_is_not_finite_ends_a_training_and_changes_no_weight() -> None:
    one = trainer(Method.ERM)
    with torch.no_grad():
        list(one.classifier.network.parameters())[-1].fill_(torch.inf)
    before = {name: tensor.clone() for name, tensor in one.state()["network"].items()}
    with pytest.raises(InputError, match=r"gradient that is not finite .* at step 1; pass a lower"):
        one.step()
    trained = dict(one.classifier.network.named_parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.items())


def test_batches_are_even_over_groups_but_for_erm() -> None:
    part = pictures()
    rare = Labelled(part.pictures, part.classes, np.array([0] * 11 + [3]))
    counts = {}
    for method in Method:
        one = Trainer(
            load_classifier("lab:birds-biased"), [0, 1], rare, rare, method, SETTINGS,
            seed=0, choices={"groups": rare.groups},
        )  # fmt: skip
        rng = np.random.default_rng(0)
        drawn = np.concatenate([one._places(rng) for _ in range(100)])
        counts[method] = float((drawn == 11).mean())
    assert counts[Method.ERM] < 0.15
    assert counts[Method.BALANCED] == pytest.approx(0.5, abs=0.08)
    assert counts[Method.GROUP_DRO] == pytest.approx(0.5, abs=0.08)


def test_group_dro_weights_losses_as_spuco_does() -> None:
    """The numbers are of spuco 2.0.3: GroupWeightedLoss(num_groups=4, group_weight_lr=0.5)."""
    one = trainer(Method.GROUP_DRO)
    steps = [
        ([0.9, 0.1, 1.7, 0.4, 0.3, 2.0], [0, 1, 2, 2, 3, 3], 0.8764808178,
         [0.2576421499, 0.1727026850, 0.2777083814, 0.2919467986]),
        ([0.2, 1.1, 0.6, 0.8, 1.9, 0.1], [0, 0, 1, 3, 3, 3], 0.6047940850,
         [0.2675101459, 0.1748900563, 0.2083370984, 0.3492626250]),
    ]  # fmt: skip
    for losses, groups, expected, q in steps:
        loss = one._robust(torch.tensor(losses), torch.tensor(groups))
        assert float(loss) == pytest.approx(expected, abs=1e-6)
        assert one.q.tolist() == pytest.approx(q, abs=1e-6)


def test_memory_counts_weights_and_activations() -> None:
    network = load_classifier("lab:birds-biased")
    weights = sum(one.numel() * 4 for one in network.network.parameters())
    small, large = (training.memory(network, Settings(batch=size)) for size in (2, 64))
    assert 6 * weights < small < large


def test_environments_divide_pictures_by_the_slope_of_their_loss() -> None:
    rng = np.random.default_rng(0)
    logits, classes = rng.normal(size=(60, 3)) * 3, rng.integers(3, size=60)
    found = infer(logits, classes)

    def loss(scale: float) -> NDArray[np.float64]:
        scaled = scale * logits
        sums: NDArray[np.float64] = np.log(np.exp(scaled).sum(1))
        return sums - scaled[np.arange(60), classes]

    slopes = (loss(1 + 1e-6) - loss(1 - 1e-6)) / 2e-6

    def aim(first: NDArray[np.bool_]) -> float:
        return float((first * slopes).mean() ** 2 + (~first * slopes).mean() ** 2)

    # No division near it, and none at random, has a larger aim.
    near = [found ^ (np.arange(60) == at) for at in range(60)]
    others = [rng.random(60) < 0.5 for _ in range(500)]
    assert aim(found) >= max(map(aim, near + others)) - 1e-9
    # Of two classes, the errors are one environment.
    two, right = logits[:, :2], logits[:, :2].argmax(1)
    assert infer(two, 1 - right).all() and not infer(two, right).any()
