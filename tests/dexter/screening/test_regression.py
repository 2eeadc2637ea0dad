"""The design and its regression, on answers whose causes are known."""

from collections import Counter

import numpy as np
import pytest

from dexter.reasoning.topic import Topic, World
from dexter.screening.concepts import Concept, parse_pool
from dexter.screening.design import Design, Round
from dexter.screening.regression import Regression, by_context, spent, t_quantile

POOL = parse_pool(
    """
articles: a
slots:
  place:
    position: after
    concepts: {sea: at sea, lake: at a lake, wood: in a wood, town: in a town, hill: on a hill}
  look:
    position: before
    only: [duck, swan, crow, owl, cup, can]
    share: 0.7
    concepts: [red, blue, green]
  beside:
    exclusive: false
    position: beside
    most: 2
    concepts: [ball, sun, tree, gift]
""",
    "test",
)
TOPIC = Topic(
    "duck", ("duck", "red swan"), ("crow", "owl"), frozenset(), frozenset({"duck"}), World()
)


def cells(count, **weights):
    return Design(POOL, TOPIC).cells(Round(0, count, weights))


def answers(found, effects, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return np.array(
        [0.5 + sum(effects.get(w, 0.0) for words in c.said.values() for w in words) for c in found]
    ) + rng.normal(0, noise, len(found))


def named(found):
    return Counter(word for cell in found for words in cell.said.values() for word in words)


class TestDesign:
    def test_a_round_planned_again_is_the_same(self):
        assert cells(50) == cells(50)
        assert cells(50) != Design(POOL, TOPIC, seed=1).cells(Round(0, 50))

    def test_contexts_take_turns_and_no_seed_repeats(self):
        design = Design(POOL, TOPIC)
        found = [*design.cells(Round(0, 31)), *design.cells(Round(31, 29))]
        assert [cell.context for cell in found] == ["class", "rivals"] * 30
        assert len({cell.seed for cell in found}) == 60

    def test_wordings_are_balanced_within_each_context(self):
        for context in ("class", "rivals"):
            count = named([cell for cell in cells(400) if cell.context == context])
            assert {count[w] for w in POOL.words["place"]} == {40}
            assert {count[w] for w in ("duck", "swan", "crow", "owl")} <= {0, 100}

    def test_a_subject_keeps_its_own_attribute_alone(self):
        swans = [cell for cell in cells(200) if cell.said["subject"] == ("swan",)]
        assert {cell.said["look"] for cell in swans} == {("red",)}
        assert all(cell.prompt.startswith("a photo of a red swan") for cell in swans)

    def test_a_smaller_weight_is_drawn_less_often(self):
        count = named(cells(600, town=0.3, tree=0.3))
        assert 2 * count["in a town"] < count["at sea"]
        assert 2 * count["tree"] < count["ball"]

    def test_words_of_the_class_are_never_added(self):
        topic = Topic("ball", ("cup",), ("can",), frozenset(), frozenset({"ball"}), World())
        assert "ball" not in named(Design(POOL, topic).cells(Round(0, 200)))


class TestRegression:
    def test_effects_are_contrasts_within_a_slot(self):
        found = cells(400)
        effects = {"at sea": 0.4, "ball": -0.2, "red": 0.1, "owl": 0.3}
        y = answers(found, effects, noise=0.02)
        regression = Regression(found, POOL, POOL.concepts)
        estimates = dict(
            zip((c.name for c in regression.concepts), regression.estimate(y), strict=True)
        )
        assert estimates["sea"].effect == pytest.approx(0.4, abs=0.02)
        # The other places are compared with the mean of four, of which the sea is one.
        assert estimates["wood"].effect == pytest.approx(-0.1, abs=0.02)
        assert estimates["ball"].effect == pytest.approx(-0.2, abs=0.02)
        assert estimates["red"].effect == pytest.approx(0.1, abs=0.02)
        assert estimates["gift"].effect == pytest.approx(0, abs=0.02)

    def test_a_family_of_wordings_is_one_concept(self):
        found = cells(400)
        y = answers(found, {"at sea": 0.4, "at a lake": 0.4})
        water = Concept("water", "place", ("at sea", "at a lake"), ("sea",))
        [estimate] = Regression(found, POOL, [water]).estimate(y)
        assert estimate.effect == pytest.approx(0.4)
        assert estimate.pictures == 160

    def test_what_only_one_subject_has_cannot_be_estimated(self):
        found = [cell for cell in cells(400) if cell.said["subject"] in (("swan",), ("crow",))]
        swans = Concept("swan", "subject", ("swan",), ("swan",))
        names = {c.name for c in Regression(found, POOL, [*POOL.concepts, swans]).concepts}
        assert "swan" in names and "ball" in names
        own = [found[i] for i in by_context(found)["class"]]
        assert "red" not in {c.name for c in Regression(own, POOL, POOL.concepts).concepts}

    def test_intervals_cover_the_truth(self):
        found = cells(300)
        regression = Regression(found, POOL, POOL.concepts)
        at = [c.name for c in regression.concepts].index("sea")
        covered = 0
        for seed in range(100):
            y = answers(found, {"at sea": 0.2}, seed=seed)
            # Much more noise in one kind of picture than in the others.
            rng = np.random.default_rng((9, seed))
            sea = np.array(["at sea" in cell.said["place"] for cell in found])
            y = y + rng.normal(0, np.where(sea, 0.3, 0.05))
            low, high = regression.estimate(y)[at].interval(0.1)
            covered += low <= 0.2 <= high
        assert covered >= 82

    def test_falls_cover_the_truth_and_cancel_what_pictures_share(self):
        found = cells(300)
        regression = Regression(found, POOL, POOL.concepts)
        at = [c.name for c in regression.concepts].index("sea")
        covered, widths, apart = 0, [], []
        for seed in range(100):
            # The pictures differ for both by the same, and by a little more for each.
            shared = answers(found, {}, noise=0.2, seed=seed)
            before = shared + answers(found, {"at sea": 0.4}, noise=0.05, seed=1000 + seed)
            after = shared + answers(found, {"at sea": 0.1}, noise=0.05, seed=2000 + seed)
            other = answers(found, {"at sea": 0.1}, noise=0.2, seed=3000 + seed)
            fall = regression.falls(before, after)[at]
            unpaired = regression.falls(before, other)[at]
            assert fall is not None and unpaired is not None
            assert fall.low <= fall.by <= fall.high
            covered += fall.low <= 0.75 <= fall.high
            widths.append(fall.high - fall.low)
            apart.append(unpaired.high - unpaired.low)
        assert covered >= 90
        assert np.mean(widths) < 0.9 * np.mean(apart)
        # An effect that grew falls by less than nothing; of one that may be 0 nothing is said.
        grown = regression.falls(before, answers(found, {"at sea": 0.8}))[at]
        assert grown is not None and grown.by < -0.5
        assert regression.falls(np.full(300, 0.5), after) == [None] * len(regression.concepts)

    def test_rare_answers_do_not_pass_for_effects(self):
        # With HC3 alone a third of such screenings has an interval that excludes 0.
        found = cells(200)
        regression = Regression(found, POOL, POOL.concepts)
        alpha = 0.05 / len(regression.concepts)
        false = 0
        for seed in range(200):
            y = (np.random.default_rng(seed).random(200) < 0.1).astype(float)
            intervals = [e.interval(alpha) for e in regression.estimate(y)]
            false += any(low > 0 or high < 0 for low, high in intervals)
        assert false <= 18

    def test_an_interaction_is_what_two_concepts_do_together(self):
        found = cells(800)
        regression = Regression(found, POOL, POOL.concepts)
        places = {concept.name: index for index, concept in enumerate(regression.concepts)}
        y = answers(found, {"at sea": 0.2, "ball": 0.1}, noise=0.05)
        together = [{"at sea", "ball"} <= {w for ws in c.said.values() for w in ws} for c in found]
        sea, ball, sun = places["sea"], places["ball"], places["sun"]
        apart = regression.interaction(y, sea, ball)
        assert apart is not None and abs(apart.effect) < 0.05
        y = y + 0.3 * np.array(together)
        for pair in ((sea, ball), (ball, sea)):
            estimate = regression.interaction(y, *pair)
            assert estimate is not None
            low, high = estimate.interval(0.01)
            assert low < 0.3 < high and low > 0.2
        none = regression.interaction(y, sea, sun)
        assert none is not None
        low, high = none.interval(0.001)
        assert low < 0 < high
        assert regression.interaction(y, sea, places["wood"]) is None  # never in one picture

    def test_answers_that_never_vary_leave_an_interval_with_width(self):
        regression = Regression(cells(100), POOL, POOL.concepts)
        for estimate in regression.estimate(np.full(100, 0.3)):
            low, high = estimate.interval(0.001)
            assert low < -0.1 < 0.1 < high


def test_quantiles_and_spending():
    assert t_quantile(0.975, 20) == pytest.approx(2.086, abs=1e-3)
    assert t_quantile(0.9995, 50) == pytest.approx(3.496, abs=1e-2)
    assert spent(1.0, 0.05) == pytest.approx(0.05)
    looks = [spent(f, 0.05) for f in (0.25, 0.5, 1.0)]
    assert looks == sorted(looks) and looks[0] == pytest.approx(0.05 / 16)
