"""Confirmation of what a screening proposes: a place is compared with swaps of other places."""

from collections.abc import Mapping

import pytest
import toy

from dexter.generation.pictures import Pictures
from dexter.reasoning.claims import Candidate, Claim
from dexter.reasoning.evidence import Experiment, MemoryCache, Witness, needed_pictures
from dexter.reasoning.topic import Topic, World
from dexter.screening.concepts import parse_pool
from dexter.screening.pairs import PoolLayout

PLACES = ("sea", "wood", "city", "snow", "night", "room")
POOL = parse_pool(
    """
picture: a picture of
articles: a
slots:
  hair:
    position: before
    only: [man]
    concepts: [blond, brown, black]
  place:
    position: beside
    concepts: [sea, wood, city, snow, night, room]
  beside:
    exclusive: false
    position: beside
    concepts: [ball, gift, hat]
""",
    "mine",
)
TOPIC = Topic("man", ("man",), ("ape",), frozenset(), frozenset({"man"}), World())


def claims_on(effects: Mapping[str, float], *candidates: Candidate) -> list[Claim]:
    pictures = Pictures(toy.Painter(effects, noise=0.02), "key")  # type: ignore[arg-type]
    witness = Witness(pictures, toy.classifier(), 0, toy.Reader())
    layout = PoolLayout(TOPIC, POOL)
    return Experiment(witness, TOPIC, layout, placebo_pairs=16, looks=(32,)).test(candidates)


def test_a_place_is_compared_with_other_places_however_much_an_added_word_moves() -> None:
    any_word = dict.fromkeys(PLACES, -0.3)
    [claim] = claims_on(any_word | {"sea": -0.1}, Candidate("sea", "place", 1))
    assert claim.verdict == "confirmed"
    assert claim.placebo_threshold is not None
    assert claim.placebo_threshold < 0.05


def test_a_place_is_no_finding_where_every_place_moves_the_answer() -> None:
    every = dict(zip(PLACES, (0.2, -0.25, 0.1, 0.3, -0.1, 0.0), strict=True))
    [claim] = claims_on(every, Candidate("sea", "place", 1))
    assert (claim.verdict, claim.reason) == ("inconclusive", "no_better_than_placebo")


def test_another_place_that_matters_is_no_placebo() -> None:
    first, second = claims_on(
        {"sea": 0.35, "snow": -0.2}, Candidate("sea", "place", 1), Candidate("snow", "place", -1)
    )
    assert (first.verdict, second.verdict) == ("confirmed", "confirmed")


def test_pairs_name_as_many_things_of_a_slot_as_the_slot_allows() -> None:
    things, layout = {"ball", "gift", "hat"}, PoolLayout(TOPIC, POOL)
    places = [set(pair.treated[0].split()) for pair in layout.pairs("sea", "place", 64)]
    assert {len(things & words) for words in places} == {0, 1}
    balls = [set(pair.treated[0].split()) for pair in layout.pairs("ball", "beside", 64)]
    assert {len(things & words) for words in balls} == {1}


def test_a_slot_of_few_concepts_is_compared_with_swaps_of_other_slots() -> None:
    layout = PoolLayout(TOPIC, POOL)
    assert layout.swaps("blond", "hair", 20) == [
        [("hair", "brown"), ("hair", "black")],
        [("place", place) for place in PLACES],
    ]
    assert layout.swaps("sea", "place", 20) == [[("place", place) for place in PLACES[1:]]]
    assert layout.swaps("ball", "beside", 20) == []


def test_levels_are_measured_once_for_a_class() -> None:
    painter, cache = toy.Painter(noise=0.02), MemoryCache()
    drawn = []
    for _ in range(2):
        witness = Witness(Pictures(painter, "key"), toy.classifier(), 0, toy.Reader())  # type: ignore[arg-type]
        layout = PoolLayout(TOPIC, POOL)
        experiment = Experiment(
            witness, TOPIC, layout, placebo_pairs=16, placebo_cache=cache, looks=(32,)
        )
        before = painter.count
        [claim] = experiment.test([Candidate("sea", "place")])
        drawn.append((painter.count - before, claim.placebo_threshold))
    assert drawn[0][0] - drawn[1][0] >= 5 * 16 - 16
    assert drawn[0][1] == drawn[1][1]


@pytest.mark.parametrize("asked", [["sea"], ["sea", "snow"], ["blond"], ["ball"], ["sea", "ball"]])
def test_the_pictures_of_a_test_are_known_before_it(asked: list[str]) -> None:
    slots = {"blond": "hair", "ball": "beside"}
    own = [Candidate(name, slots.get(name, "place"), 1) for name in asked]
    painter, layout = toy.Painter({"sea": 0.3}, noise=0.02), PoolLayout(TOPIC, POOL)
    witness = Witness(Pictures(painter, "key"), toy.classifier(), 0, toy.Reader())  # type: ignore[arg-type]
    Experiment(witness, TOPIC, layout, placebo_pairs=16, looks=(32,)).test(own)
    expected = needed_pictures(own, TOPIC, layout, pairs=32, placebo_pairs=16)
    assert painter.count == len(expected) == len(set(expected))
