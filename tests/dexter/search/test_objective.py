"""The objective's terms, and the two rules for pseudo-targets."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import tiny
import torch

from dexter.classifiers import load_classifier
from dexter.classifiers.base import ClassifierOutput
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.search.objective import Objective, masked_lm_loss
from dexter.search.pseudo_targets import SlotTargets
from dexter.search.tuple_history import TupleHistory

OUTPUT = ClassifierOutput(
    logits=torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]]),
    features=torch.arange(32.0).reshape(2, 16),
)


@pytest.fixture(scope="module")
def classifier():
    return load_classifier(f"hf:{tiny.classifier_folder()}")


def make(classifier, **overrides: object) -> Objective:
    config = RunConfig.from_preset("default", classifier="x", class_name="0", **overrides)
    return Objective(config, classifier, class_index=0)


def test_class_losses(classifier):
    p = OUTPUT.logits.softmax(-1)[:, 0]
    log_odds = make(classifier).losses(OUTPUT)
    assert list(log_odds) == ["class"]
    assert torch.allclose(log_odds["class"], -(p / (1 - p)).log())
    cross_entropy = make(classifier, class_loss="cross-entropy").losses(OUTPUT)["class"]
    assert torch.allclose(cross_entropy, -p.log())
    bounded = make(classifier, class_loss="bounded").losses(OUTPUT)["class"]
    assert torch.allclose(bounded, 1 - p)


def test_to_lower_the_class_its_losses_are_those_of_the_others(classifier):
    lower = {"direction": "lower", "template": "a duck with [MASK]", "features": (3,)}
    p = OUTPUT.logits.softmax(-1)[:, 0]
    log_odds = make(classifier, **lower).losses(OUTPUT)
    assert torch.allclose(log_odds["class"], (p / (1 - p)).log())
    assert log_odds["feature 3"].tolist() == [3.0, 19.0]
    cross_entropy = make(classifier, class_loss="cross-entropy", **lower).losses(OUTPUT)["class"]
    assert torch.allclose(cross_entropy, -(1 - p).log())
    bounded = make(classifier, class_loss="bounded", **lower).losses(OUTPUT)["class"]
    assert torch.allclose(bounded, p)


def test_log_odds_tell_apart_what_the_classifier_is_sure_of(classifier):
    sure = ClassifierOutput(torch.tensor([[40.0, 0.0, 0.0], [90.0, 0.0, 0.0]]), OUTPUT.features)
    less, more = make(classifier).losses(sure)["class"].tolist()
    assert (less, more) == pytest.approx((math.log(2) - 40, math.log(2) - 90))
    assert make(classifier, class_loss="cross-entropy").losses(sure)["class"].tolist() == [0, 0]


def test_every_term_is_named_and_the_total_is_their_weighted_sum(classifier):
    objective = make(
        classifier, features=(3, 7), class_weight=2.0, feature_weight=0.5, template="multi"
    )
    losses = objective.losses(OUTPUT)
    assert list(losses) == ["class", "feature 3", "feature 7"]
    assert losses["feature 7"].tolist() == [-7.0, -23.0]
    expected = 2 * losses["class"] + 0.5 * (losses["feature 3"] + losses["feature 7"])
    assert torch.allclose(objective.total(losses), expected)


def test_features_are_those_of_the_largest_weight_to_the_class(classifier):
    weight = classifier.class_weight(0)
    chosen = make(classifier, n_features=3).features
    assert [float(weight[unit]) for unit in chosen] == weight.sort(descending=True)[0][:3].tolist()


def test_each_mask_answers_for_its_own_units(classifier):
    """Mask 1 for the class, masks 2 to 6 for the five features, as in the paper."""
    objective = make(classifier, template="multi", features=(0, 1, 2, 3, 4))
    losses = objective.losses(OUTPUT)
    slots = objective.slot_losses(losses)
    assert torch.allclose(slots, torch.stack(list(losses.values()), dim=1))


def test_masks_without_units_answer_for_the_whole(classifier):
    two = make(classifier, template="[MASK] and [MASK]")
    losses = two.losses(OUTPUT)
    assert torch.allclose(two.slot_losses(losses), losses["class"][:, None].expand(2, 2))
    one = make(classifier, template="single", features=(3, 4))
    losses = one.losses(OUTPUT)
    assert torch.allclose(one.slot_losses(losses)[:, 0], one.total(losses))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"features": (-1,)}, "features: -1"),
        ({"features": (16,)}, "features: .* unit 16; .* 0 to 15"),
        ({"n_features": 17}, "n_features: 17"),
    ],
)
def test_features_that_are_not_there_are_refused(classifier, overrides, named):
    with pytest.raises(InputError, match=named):
        make(classifier, **overrides).losses(OUTPUT)


def test_masked_lm_loss_is_over_the_masks_with_a_target():
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    log_s = logits.log_softmax(-1)
    assert torch.allclose(masked_lm_loss(logits, [2, 0]), -log_s[0, 2] - log_s[1, 0])
    assert torch.allclose(masked_lm_loss(logits, [None, 0]), -log_s[1, 0])
    assert masked_lm_loss(logits, [None, None]) == 0


class TestSlotTargets:
    def test_a_better_word_replaces_the_target_of_its_mask_alone(self):
        targets = SlotTargets(2)
        targets.update((5, 6), (1.0, 1.0))
        assert targets.targets == [5, 6]
        targets.update((7, 8), (0.5, 2.0))
        assert targets.targets == [7, 6]

    def test_a_word_with_a_bad_history_needs_more_than_one_lucky_picture(self):
        """Eq. 5 compares the mean of the word's own history."""
        targets = SlotTargets(1)
        targets.update((1,), (1.0,))
        targets.update((2,), (3.0,))
        targets.update((2,), (0.5,))  # mean 1.75
        assert targets.targets == [1]
        targets.update((3,), (0.5,))  # its first picture is its mean
        assert targets.targets == [3]

    def test_state_can_be_restored(self):
        first, second = SlotTargets(1), SlotTargets(1)
        first.update((2,), (3.0,))
        second.load_state_dict(first.state_dict())
        for targets in (first, second):
            targets.update((2,), (0.5,))
            targets.update((1,), (2.0,))
        assert first.state_dict() == second.state_dict()
        assert second.targets == [2]


class TestTupleHistory:
    def test_a_lucky_tuple_does_not_beat_one_that_is_proven(self):
        history = TupleHistory()
        for _ in range(10):
            history.update((9, 9), 3.0)
            history.update((1, 2), 0.2)
        history.update((3, 4), 0.0)
        assert history.best(3) == [(1, 2), (3, 4), (9, 9)]
        for _ in range(20):
            history.update((3, 4), 0.0)
        assert history.best() == [(3, 4)]

    def test_a_word_that_does_well_everywhere_beats_a_lucky_picture(self):
        history = TupleHistory()
        for other in range(10):
            history.update((other, 5), 0.3)  # never twice the same tuple
            history.update((other, 6), 3.0)
        history.update((7, 8), 0.3)  # once, and its words are known for nothing
        assert all(words[1] == 5 for words in history.best(5))
        assert history.joined()[1] == 5

    def test_a_word_known_from_another_mask_is_joined(self):
        history = TupleHistory()
        for other in range(2, 10):
            history.update((1, other), 0.1)
            history.update((other, 0), 0.1)
            history.update((other, other + 1), 3.0)
        assert history.joined() == (1, 0)

    def test_every_word_is_met_and_the_good_one_again_and_again(self):
        """Where the policy would all but never draw it."""
        history, rng = TupleHistory(), torch.Generator().manual_seed(0)
        policy = torch.log_softmax(torch.tensor([[20.0] + [0.0] * 39] * 2), -1)
        met: Counter[int] = Counter()
        for _ in range(30):
            for words in history.explore(4, policy, rng).tolist():
                assert len(set(words)) == 2
                met.update(words)
                history.update(tuple(words), (0.2 if 33 in words else 5.0) + 0.1 * len(met))
        assert set(met) == set(range(40))
        assert met.most_common(1)[0][0] == 33
        assert met[33] > 3 * sorted(met.values())[-2]

    def test_a_word_that_is_known_to_do_well_is_tried_at_once(self):
        policy, tried = torch.zeros(1, 200), {}
        for name, known in (("without", {}), ("with", {150: (-4.0, 0.5), 7: (4.0, 0.5)})):
            history, rng = TupleHistory(known), torch.Generator().manual_seed(0)
            met: Counter[int] = Counter()
            for _ in range(6):
                for words in history.explore(4, policy, rng).tolist():
                    met.update(words)
                    history.update(tuple(words), words[0] % 5 - (4.0 if 150 in words else 0.0))
            tried[name] = met
        assert tried["with"][150] >= 6 > tried["without"][150]
        assert tried["with"][7] <= 1

    def test_a_word_that_was_wrongly_praised_is_given_up(self):
        history, rng = TupleHistory({3: (-4.0, 0.1)}), torch.Generator().manual_seed(0)
        history.update((0,), 1.0)
        history.update((1,), -1.0)
        late: Counter[int] = Counter()
        for step in range(60):
            for words in history.explore(4, torch.zeros(1, 20), rng).tolist():
                if step >= 40:
                    late.update(words)
                history.update(tuple(words), -1.0 if words == [11] else 1.0)
        assert late[11] > 3 * late[3]
        assert history.best() == [(11,)]

    def test_what_is_known_guides_the_search_and_is_no_answer(self):
        history = TupleHistory({1: (-100.0, 0.1)})
        history.update((1,), 1.0)
        history.update((2,), 0.5)
        assert history.best() == [(2,)]
        assert history.joined() == (2,)

    def test_reported_means_are_not_shrunk(self):
        history = TupleHistory()
        history.update((1,), 1.0)
        history.update((1,), 2.0)
        assert history.mean((1,)) == (1.5, 2)
        mean, count = history.mean((2,))
        assert math.isnan(mean) and count == 0

    def test_state_can_be_restored(self):
        first, second = TupleHistory(), TupleHistory()
        first.update((1, 2), 1.0)
        second.load_state_dict(first.state_dict())
        assert second.state_dict() == first.state_dict()
        assert second.best() == [(1, 2)]
