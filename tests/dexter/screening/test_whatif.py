"""The what-ifs of a toy world in which each word's effect on the decision is known."""

from typing import Any

import numpy as np
import pytest
import toy

from dexter.generation.bank import MemoryBank
from dexter.generation.pictures import Pictures
from dexter.reasoning.evidence import Witness
from dexter.reasoning.topic import Topic, World
from dexter.screening.concepts import parse_pool
from dexter.screening.whatif import (
    CHECKED,
    Change,
    NoStart,
    NotSeen,
    Question,
    Scene,
    described,
    possible_changes,
)

POOL = parse_pool(
    """
articles: a
slots:
  place:
    position: after
    concepts: [sea, wood, town]
  hair:
    position: before
    only: [cat]
    concepts: [blond, gray]
  beside:
    exclusive: false
    position: beside
    most: 2
    concepts: [ball, sun, gift]
""",
    "test",
)
TOPIC = Topic("cat", ("cat",), ("dog",), frozenset({"gray"}), frozenset({"cat", "dog"}), World())


def question(effects, *, base=0.7, noise=0.02, undrawable=(), effects_known=None, bank=None):
    painter: Any = toy.Painter(effects, frozenset(undrawable), base=base, noise=noise)
    pictures = Pictures(painter, "toy", bank or MemoryBank())
    changes = possible_changes(POOL, TOPIC, effects_known)
    made = Question(Witness(pictures, toy.classifier(), 0), POOL, changes, toy.Reader())
    return made, painter


def answered(*arguments, **options):
    made, _ = question(*arguments, **options)
    return made.answer(*made.choose([Scene.of("cat", POOL)]))


def names(answer):
    return [change.name for change in answer.changes]


def test_the_one_change_that_flips_is_found_and_holds_on_fresh_noise():
    answer = answered({"wood": -0.4, "ball": -0.1})
    assert answer.hit and answer.flipped and names(answer) == ["wood"]
    start, changed = answer.steps
    assert start.prompt == "a photo of a cat" and changed.prompt == "a photo of a cat wood"
    assert (start.hit, changed.hit) == (True, False)
    assert start.p - changed.p == pytest.approx(0.4, abs=0.02)
    assert (answer.kept, answer.noises) == (CHECKED, CHECKED)
    assert (start.flips.hits, changed.flips.hits) == (0, CHECKED)
    assert changed.flips.low > 0.85
    assert answer.is_drawn and changed.seen.hits == CHECKED


def test_changes_add_up_and_those_that_turn_out_needless_are_taken_back():
    assert sorted(names(answered({"wood": -0.12, "ball": -0.12}))) == ["ball", "wood"]
    # Sun moves most at first, and ball and wood are enough without it.
    answer = answered({"sun": -0.15, "wood": -0.14, "ball": -0.14}, base=0.76)
    assert len(names(answer)) == 2


def test_where_no_words_flip_the_decision_the_nearest_are_shown():
    answer = answered({"wood": -0.1})
    assert not answer.flipped and names(answer) == ["wood"]
    assert answer.steps[-1].flips.hits == 0


def test_a_decision_for_another_class_is_flipped_into_the_class():
    answer = answered({"sea": 0.5}, base=0.2)
    assert not answer.hit and answer.flipped and names(answer) == ["sea"]


def test_a_change_that_is_not_drawn_is_said_to_be_none():
    """This painter darkens what is asked with wood, and draws no wood."""
    made, painter = question({}, undrawable=["wood"])
    painter.effects = {}
    drawn = painter.pictures

    def pictures(texts, seeds, batch):
        for text, picture in zip(texts, drawn(texts, seeds, batch), strict=True):
            yield (picture * (0.4 if "wood" in text else 1)).astype(np.uint8)

    painter.pictures = pictures
    answer = made.answer(*made.choose([Scene.of("cat", POOL)]))
    assert answer.flipped and names(answer) == ["wood"] and not answer.is_drawn


def test_concepts_of_the_class_are_left_alone():
    changes = possible_changes(POOL, TOPIC)
    assert {one.concept for one in changes} == {"sea", "wood", "town", "blond", "ball", "sun",
                                                "gift"}  # fmt: skip
    known = {("place", "wood"): -0.3, ("beside", "ball"): -0.1, ("hair", "gray"): -0.9}
    assert [one.concept for one in possible_changes(POOL, TOPIC, known)] == [
        "wood", "wood", "ball", "ball"
    ]  # fmt: skip


def test_a_scene_takes_changes_that_fit_it():
    blond = Scene.of("cat", POOL).changed(Change("blond", "hair", "blond"), POOL)
    assert blond is not None and blond.prompt(POOL) == "a photo of a blond cat"
    assert Scene.of("dog", POOL).changed(Change("blond", "hair", "blond"), POOL) is None
    full = Scene("cat", {"beside": ("ball", "sun"), "place": ("sea",)})
    assert full.changed(Change("gift", "beside", "gift"), POOL) is None
    for change, slot, said in (
        (Change("ball", "beside", None), "beside", ("sun",)),
        (Change("wood", "place", "wood"), "place", ("wood",)),
    ):
        scene = full.changed(change, POOL)
        assert scene is not None and scene.said[slot] == said
    assert full.changed(Change("gift", "beside", None), POOL) is None


def test_asked_again_it_draws_nothing_and_answers_the_same():
    bank = MemoryBank()
    first, painter = question({"wood": -0.4}, bank=bank)
    answer = first.answer(*first.choose([Scene.of("cat", POOL)]))
    assert painter.count > CHECKED
    again, painter = question({"wood": -0.4}, bank=bank)
    assert again.answer(*again.choose([Scene.of("cat", POOL)])) == answer
    assert painter.count == 0


def test_a_start_whose_decision_hangs_on_the_noise_is_refused():
    made, _ = question({}, base=0.5, noise=0.1)
    with pytest.raises(NoStart) as found:
        made.starts(Scene.of("cat", POOL), True)
    assert 0 < found.value.held < found.value.tried


class Fitting(toy.Reader):
    def fit(self, concept, embeddings):
        return np.where(self.sees(concept, embeddings), 0.5, -0.5)


def test_a_picture_is_described_by_what_is_seen_in_it():
    [picture] = toy.Painter().pictures(["a gray cat sea with ball and sun"], [0], 1)
    scene = described(picture, POOL, TOPIC, Fitting())
    assert scene.noun == "cat"
    assert scene.said["place"] == ("sea",) and scene.said["hair"] == ("gray",)
    assert set(scene.said["beside"]) == {"ball", "sun"}
    [nothing] = toy.Painter().pictures(["a wood"], [0], 1)
    with pytest.raises(NotSeen) as found:
        described(nothing, POOL, TOPIC, Fitting())
    assert found.value.fit == -0.5
