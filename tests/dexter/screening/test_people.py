"""Reports on people's attributes: their words, their agreement, and the labelled counterpart."""

import numpy as np
import pytest

from dexter.errors import InputError
from dexter.reasoning.topic import load_world, make_topic
from dexter.screening.concepts import SUBJECT, lab_pool, parse_pool
from dexter.screening.people import (
    agreement,
    attribute_of,
    check_pool,
    others,
    people_scenes,
    report,
)
from dexter.screening.screen import Settings, judge_labelled

LABELS = ["old", "young", "other"]


def finding(slot, concept, verdict, effect, *, core=False, by=(), confirmation=None):
    tested = None if confirmation is None else {"verdict": confirmation}
    return {
        "slot": slot, "concept": concept, "verdict": verdict, "effect": effect,
        "low": effect - 0.05, "high": effect + 0.05, "core": core, "explained_by": list(by),
        "confirmation": tested,
    }  # fmt: skip


FINDINGS = [
    finding("subject", "male", "raises", 0.4),
    finding("subject", "female", "lowers", -0.4),
    finding("skin", "dark", "none", 0.01),
    finding("hair", "gray", "explained", 0.2, by=["old"]),
    finding("hair", "blond", "none", 0.0),
    finding("age", "old", "raises", 0.5, core=True),
    finding("age", "young", "lowers", -0.5, core=True),
    finding("background", "sea", "raises", 0.9),
]


def test_a_report_says_what_each_attribute_does():
    found = report("old", "test", FINDINGS)
    assert [one.concept for one in found.biases] == ["female", "male"]
    assert found.score == 0.4  # of people's attributes, explained and core ones left out
    assert {name: found.state(name) for name in ("age", "gender", "skin", "hair")} == {
        "age": "core", "gender": "depends", "skin": "none", "hair": "explained"
    }  # fmt: skip
    assert found.sentences == [
        "The classifier depends on gender: it answers old less often for female people and more "
        "often for male people.",
        "Skin tone makes no difference to old.",
        "Hair colour makes a difference only through another attribute.",
        "The class itself is defined by age.",
    ]


def test_a_clean_classifier_and_a_refuted_finding_are_no_bias():
    refuted = [finding("skin", "dark", "raises", 0.2, confirmation="refuted")]
    found = report("old", "test", refuted)
    assert not found.biases and found.score == 0.0 and found.state("skin") == "undecided"
    assert found.sentences[:2] == [  # what is undecided may change it
        "No attribute of a person was found to change how often it answers old.",
        "Nothing is decided about skin tone.",
    ]
    kept = report("old", "test", [finding("skin", "dark", "raises", 0.2, confirmation="confirmed")])
    assert kept.biases


def test_claims_agree_by_concept_and_sign():
    one = report("old", "test", FINDINGS)
    same = agreement(one, one)
    assert (same.both, same.precision, same.recall) == (2, 1.0, 1.0)
    turned = [{**f, "effect": -f["effect"]} for f in FINDINGS]
    opposite = agreement(one, report("old", "test", turned))
    assert (opposite.both, opposite.precision) == (0, 0.0)
    # A concept that only one of them tested is not compared.
    fewer = agreement(one, report("old", "test", FINDINGS[2:]))
    assert (fewer.claims, fewer.reference, fewer.precision) == (0, 0, None)


def test_the_floor_is_of_reports_with_other_claims():
    one = report("old", "test", FINDINGS)
    unrelated = others(one)
    assert all(len(other.biases) == 1 for other in unrelated)
    assert not {other.biases[0].claim for other in unrelated} & {b.claim for b in one.biases}
    # Two signs of male, female, dark, gray and blond, less the two that it claims.
    assert len(unrelated) == 8


def test_a_pool_without_people_is_refused():
    check_pool(lab_pool())
    with pytest.raises(InputError, match="none of the slots age, gender"):
        check_pool(parse_pool("slots: {place: {position: after, concepts: [sea]}}", "mine"))
    assert attribute_of("subject", "birds") is None


def test_labelled_scenes_give_the_dependence_of_a_classifier_that_goes_by_gender():
    topic = make_topic(LABELS, 0, world=load_world())
    drawn = people_scenes(topic, 600)
    assert drawn[:3] == people_scenes(topic, 3)
    cells = [cell for _, cell in drawn]
    for scene, cell in drawn:
        assert (cell.context == "class") == (scene.age == "old")
        assert cell.said[SUBJECT] == (scene.subject,) and cell.said["skin"] == (scene.skin,)
    male = np.array([cell.said[SUBJECT] == ("man",) for cell in cells])
    p = np.where(male, 0.8, 0.3)
    odds = np.log(p) - np.log1p(-p)
    result = judge_labelled("toy", odds, cells, lab_pool(), topic, Settings())
    found = report("old", "scenes", [e.__dict__ for e in result.effects])
    assert [one.claim for one in found.biases] == [
        ("gender", "female", -1), ("gender", "male", 1)
    ]  # fmt: skip
    assert found.biases[1].effect == pytest.approx(0.5, abs=0.02)
    assert found.state("skin") == found.state("hair") == "none" and found.state("age") == "core"


def test_a_class_without_people_has_no_labelled_scenes():
    topic = make_topic(["waterbird", "landbird"], 0, world=load_world())
    with pytest.raises(InputError, match="no class of the lab's people"):
        people_scenes(topic, 10)
