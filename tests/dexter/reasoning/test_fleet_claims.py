"""The benchmark on the fleet: what it asks, and how it counts."""

from typing import Any

import numpy as np

from benchmarks.bias import SUBSET, Words, auroc, evaluate, units_of_claims, units_of_words
from benchmarks.claims import Claimed, concepts_of
from dexter.lab import shipped
from dexter.reasoning.topic import Family, World

WORLD = World(
    families={
        "water": Family(("sea", "lake"), "background"),
        "night": Family(("night",), "background"),
        "land": Family(("forest", "land"), "background"),
        "ball": Family(("ball",), "item"),
        "hat": Family(("hat",), "item"),
        "red": Family(("red",), "colour"),
        "blue": Family(("blue",), "colour"),
        "birds": Family(("bird",), "subject"),
    }
)
MANIFEST: dict[str, Any] = {
    "one": {"core": ["red"], "effects": {"water": 0.5, "night": -0.3, "red": 0.4, "ball": 0.01}},
    "two": {"core": [], "effects": {"water": 0.05, "night": 0.1, "mark": 0.9}},
}


def test_all_members_of_a_task_are_asked_the_same() -> None:
    task = [
        {"plant": "water", "core": ["red"]},
        {"plant": "mark", "core": ["red"]},
        {"plant": "land", "core": ["red"]},
    ]
    words = concepts_of(task, WORLD)
    assert words["water"] == "sea"
    assert words["land"] == "land"  # the truth is of all places that the word stands for
    assert not {"red", "birds", "mark"} & set(words)
    assert set(words) == {"water", "land", "night", "ball", "hat", "blue"}


def test_dependences_and_false_claims_are_counted() -> None:
    claims = [
        Claimed("one", "water", "confirmed", None, 0.4),
        Claimed("one", "night", "confirmed", None, 0.6),  # the wrong way round
        Claimed("one", "ball", "refuted", None, 0.02),
        Claimed("two", "water", "confirmed", None, 0.3),
        Claimed("two", "night", "confirmed", None, 0.3),  # neither true nor false
    ]
    found = units_of_claims(claims, MANIFEST)
    assert [unit.claimed for unit in found] == [True, False, False, True, True]
    assert auroc(found) == 0.5  # of (0.4, 0) against (0.02, 0.3)
    assert np.isnan(auroc(found[:1]))
    row = evaluate(found)["all"]
    assert (row["positives"], row["negatives"]) == (2, 2)
    assert row["recall"]["value"] == 0.5
    assert row["false_claim_rate"]["value"] == 0.5


def test_two_of_three_seeds_name_a_family() -> None:
    runs = [
        Words(name, seed, words, words, 1.0, "")
        for name, answers in {
            "one": [("sea", "ball"), ("water", "cat"), ("cat", "dog")],
            "two": [("sea", "lake"), ("cat", "dog"), ("cat", "night")],
        }.items()
        for seed, words in enumerate(answers)
    ]
    found = {(unit.classifier, unit.family): unit for unit in units_of_words(runs, MANIFEST)}
    assert ("one", "red") not in found  # what the class is by definition
    assert found["one", "water"].claimed
    assert not found["one", "ball"].claimed
    assert found["two", "water"].score == 1 / 3
    assert found["two", "mark"].score == 0  # it has no word


def test_the_subset_is_of_the_fleet() -> None:
    members = {member.name: member for member in shipped.fleet()}
    planted = [members[name] for name in SUBSET if members[name].plant]
    assert len(planted) == 6
    assert all(abs(member.effects[member.plant or ""]) >= 0.2 for member in planted)
    assert len(SUBSET) == 10
