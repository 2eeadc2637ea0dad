"""Sufficient words in a toy world in which each word's effect is known."""

from typing import Any

import toy

from dexter.generation.pictures import Pictures
from dexter.reasoning.evidence import Witness
from dexter.reasoning.topic import Family, Topic, World
from dexter.reasoning.words.attribution import word_subsets
from dexter.reasoning.words.sufficiency import CONTROLS, Sufficiency, control_pool, sufficiency

POOL = [f"thing{index}" for index in range(30)]
PIECES = ("a picture of a ", " with ", " and ", "")
WORDS = ("sea", "ball", "hat")


def sought(
    effects: dict[str, float], *, base: float = 0.3, pool: list[str] = POOL
) -> Sufficiency | None:
    painter: Any = toy.Painter(effects, base=base, noise=0.02)
    witness = Witness(Pictures(painter, "toy"), toy.classifier(), 0)
    return sufficiency(witness, PIECES, WORDS, pool, seeds=4, subsets=16)


def found(effects: dict[str, float], *, base: float = 0.3, pool: list[str] = POOL) -> Sufficiency:
    one = sought(effects, base=base, pool=pool)
    assert one is not None
    return one


def test_the_word_that_carries_the_score_is_enough_and_needed() -> None:
    one = found({"sea": 0.5, "ball": 0.05})
    assert one.words == ("sea",)
    assert one.sufficient.text == "a picture of a sea"
    assert one.without is not None and one.without.text == "a picture with ball and hat"
    assert (one.full.score.value, one.sufficient.score.value, one.without.score.value) == (1, 1, 0)
    assert len(one.controls) == CONTROLS and one.matched == 0 and one.faithful
    assert one.sentences("cat")[-1].startswith("Faithful")
    assert [kind for kind, _, _ in one.rows()] == [
        "smallest sufficient words", "without them", "random control"
    ]  # fmt: skip


def test_two_words_are_enough_where_neither_is_alone() -> None:
    one = found({"sea": 0.15, "hat": 0.15})
    assert one.words == ("sea", "hat")
    assert one.sufficient.text == "a picture of a sea and hat"


def test_words_that_random_words_match_are_unfaithful() -> None:
    things = dict.fromkeys(POOL[::10], 0.5)
    one = found({"sea": 0.5} | things)
    assert one.words == ("sea",) and one.matched > 0 and one.faithful is False
    assert one.sentences("cat")[-1].startswith("Unfaithful")
    # So is any word where the template alone has the score.
    bare = found({}, base=0.8)
    assert bare.words == () and bare.faithful is False and bare.controls == []
    assert "no word is needed" in bare.sentences("cat")[-1]


def test_without_a_score_there_is_nothing_to_keep() -> None:
    assert sought({}) is None


def test_with_few_random_words_nothing_is_decided() -> None:
    one = found({"sea": 0.5}, pool=POOL[:5])
    assert len(one.controls) == 5 and one.faithful is None
    assert "too few" in one.sentences("cat")[-1]


def test_random_words_are_said_alike_and_not_of_the_class() -> None:
    families = {
        "water": Family(("sea", "lake"), "background"),
        "snow": Family(("snow",), "background"),
        "ball": Family(("ball",), "item"),
        "red": Family(("red",), "colour"),
        "birds": Family(("duck", "owl"), "subject"),
    }
    topic = Topic(
        "duck", ("duck",), ("owl",), frozenset({"snow"}), frozenset({"duck"}), World(families)
    )
    assert control_pool(["sea"], topic, lambda word: True) == ["ball"]
    assert control_pool(["red"], topic, lambda word: True) == []
    assert control_pool(["sea"], topic, lambda word: False) == []


def test_subsets_of_a_long_prompt_are_drawn_and_not_listed() -> None:
    """There are 2**40, more than memory holds."""
    kept = word_subsets(40, 50)
    assert len(kept) == len(set(kept)) == 50
    assert kept[0] == (True,) * 40 and {sum(one) for one in kept[1:41]} == {39}
    assert kept == word_subsets(40, 50)
    assert len(word_subsets(40, 24)) == 41
