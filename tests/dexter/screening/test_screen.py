"""Whole screenings: of a toy world in which causes are known, and of the lab."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import toy

from dexter.classifiers import ClassifierOptions
from dexter.errors import InputError
from dexter.generation.bank import MemoryBank
from dexter.generation.pictures import Pictures
from dexter.reasoning.topic import Topic, World, load_world, make_topic
from dexter.screening.concepts import Concept, lab_pool, parse_pool
from dexter.screening.design import Cell
from dexter.screening.drawn import drawing
from dexter.screening.screen import (
    Judged,
    MemoryAnswers,
    Planned,
    Screening,
    Settings,
    member,
)

POOL = parse_pool(
    """
articles: a
slots:
  place:
    position: after
    concepts: [sea, wood, town, hill]
  hair:
    position: before
    concepts: [blond, gray, brown]
  age:
    position: before
    share: 0.7
    concepts:
      young:
      old: old silver
      tall:
  beside:
    exclusive: false
    position: beside
    most: 2
    concepts: [ball, sun, gift]
  trim:
    position: after
    share: 0.7
    concepts: [silver, golden, copper]
""",
    "test",
)
TOPIC = Topic("cat", ("cat",), ("dog",), frozenset({"hill"}), frozenset({"cat", "dog"}), World())
EFFECTS = {"sea": 0.25, "ball": -0.2, "silver": -0.22, "hill": 0.3}
SETTINGS = Settings(pictures=400, first=100)


def finish(screening, members):
    *_, last = screening.run(members)
    assert isinstance(last, Judged) and last.finished
    return last


def make(bank, answers=None, *, painter=None, settings=SETTINGS, state=None):
    painter = painter or toy.Painter(EFFECTS, noise=0.05)
    pictures = Pictures(painter, "toy", bank)
    return Screening(
        POOL, TOPIC, pictures, toy.Reader(), settings, answers or MemoryAnswers(), state
    )


@pytest.fixture(scope="module")
def result():
    return finish(make(MemoryBank()), [member("toy", toy.classifier(), 0)]).results["toy"]


def effect(result, name):
    return next(e for e in result.effects if e.concept == name)


def test_concepts_that_raise_and_lower_the_class_are_found(result):
    assert effect(result, "sea").verdict == "raises"
    assert effect(result, "ball").verdict == "lowers"
    assert effect(result, "ball").effect == pytest.approx(-0.2, abs=0.05)
    others = {*POOL.words["place"], *POOL.words["trim"]}  # which stand against what has an effect
    assert {e.concept for e in result.findings} <= {"sea", "ball", *others}
    assert effect(result, "gift").verdict == "none"
    assert set(effect(result, "sea").contexts) == {"class", "rivals"}


@pytest.mark.parametrize(("gift", "noise", "concept"), [(0.08, 0.1, "gift"), (0.0, 0.3, "brown")])
def test_an_effect_that_may_be_large_is_not_called_none(gift, noise, concept):
    """With an interval that leaves out 0, and with one that holds it."""
    painter = toy.Painter({"gift": gift}, noise=noise)
    found = finish(make(MemoryBank(), painter=painter), [member("toy", toy.classifier(), 0)])
    one = effect(found.results["toy"], concept)
    assert (one.low > 0) == (concept == "gift") and one.effect < 0.1 < one.high
    assert one.verdict == "weak" and concept in found.results["toy"].open
    if concept == "gift":
        ball = effect(found.results["toy"], "ball")
        assert ball.low < 0 < ball.high < 0.1 and ball.verdict == "none"
        assert one.low < one.effect and "ball" not in found.results["toy"].open


def test_a_concept_of_the_class_is_core_and_no_finding(result):
    hill = effect(result, "hill")
    assert hill.core and hill.effect > 0.1
    assert "hill" not in {e.concept for e in result.findings}


def test_an_effect_of_something_drawn_along_is_explained_by_it(result):
    """Asked for "old", this painter also draws silver, which is what lowers the class."""
    old = effect(result, "old")
    assert old.effect < -0.1
    assert old.verdict == "explained" and old.explained_by == ["silver"]
    assert abs(old.direct) < 0.1
    assert effect(result, "silver").verdict == "lowers"


def test_an_effect_in_one_context_alone_is_explained_too():
    """Asked for a tall cat, this painter draws a copper one; it draws tall dogs as they are."""

    class Painter(toy.Painter):
        def pictures(self, texts, seeds, batch):
            texts = [text.replace("tall cat", "tall copper cat") for text in texts]
            return super().pictures(texts, seeds, batch)

    painter, settings = Painter({"copper": -0.18}, noise=0.05), replace(SETTINGS, first=400)
    screening = make(MemoryBank(), painter=painter, settings=settings)
    found = finish(screening, [member("toy", toy.classifier(), 0)])
    tall = effect(found.results["toy"], "tall")
    assert abs(tall.effect) < 0.1 < -tall.contexts["class"].effect
    assert tall.verdict == "explained" and tall.explained_by == ["copper"]


@pytest.mark.parametrize(("left", "verdict"), [(0.4, "explained"), (0.15, "weak")])
def test_an_effect_of_something_shown_less_is_no_finding_though_it_is_still_seen(left, verdict):
    """Asked for something tall, this painter draws a fainter sun, and the class needs the sun."""

    class Painter(toy.Painter):
        def pictures(self, texts, seeds, batch):
            drawn = super().pictures(texts, seeds, batch)
            for text, picture in zip(texts, drawn, strict=True):
                if {"tall", "sun"} <= set(text.split()):
                    picture = picture.copy()
                    picture[:3] = picture[:3] * left
                    picture[3:].reshape(-1)[toy.pixel("sun")] = 135  # of 255: seen, but less
                yield picture

    screening = make(MemoryBank(), painter=Painter({"sun": 0.85}, base=0.1, noise=0.02))
    found = finish(screening, [member("toy", toy.classifier(), 0)]).results["toy"]
    tall = effect(found, "tall")
    assert tall.effect < tall.high < -0.05 and tall.verdict == verdict
    assert next(c.concept for c in tall.companions) == "sun"
    assert tall.score == abs(tall.direct) < abs(tall.effect)
    assert effect(found, "sun").verdict == "raises"


def test_within_a_slot_nothing_is_explained_away(result):
    assert all(companion.slot != e.slot for e in result.effects for companion in e.companions)


def test_what_is_not_drawn_is_called_so():
    painter = toy.Painter(EFFECTS, undrawable=frozenset({"ball"}), noise=0.05)
    found = finish(make(MemoryBank(), painter=painter), [member("toy", toy.classifier(), 0)])
    ball = effect(found.results["toy"], "ball")
    assert ball.verdict == "not_drawn" and ball.drawn.asked == 0.0
    assert effect(found.results["toy"], "sea").verdict == "raises"


def test_how_often_a_concept_is_drawn_is_compared_within_its_slot():
    """Where no age was named people may well look young: that is no picture of another age."""
    cells = [
        Cell("", index, "class", {"subject": ("cat",), **({"age": (age,)} if age else {})})
        for index, age in enumerate(["young", "young", "old", "old", "", ""])
    ]
    young = Concept("young", "age", ("young",), ("young",))
    seen = np.array([True, True, False, False, True, True])
    assert drawing(cells, young, seen, exclusive=True).shift == 1.0
    assert drawing(cells, young, seen, exclusive=False).shift == 0.5


def test_results_are_json(result):
    assert json.loads(json.dumps(result.to_json()))["classifier"] == "toy"


def test_a_restart_at_any_event_gives_the_same_numbers_and_draws_nothing_again(result):
    settings = Settings(pictures=400, first=100)
    members = [member("toy", toy.classifier(), 0)]
    events = len(list(make(MemoryBank(), settings=settings).run(members)))
    for stop in range(1, events, 2):
        bank, answers = MemoryBank(), MemoryAnswers()
        painter = toy.Painter(EFFECTS, noise=0.05)
        screening = make(bank, answers, painter=painter, settings=settings)
        for _ in itertools.islice(screening.run(members), stop):
            pass
        kept = json.loads(json.dumps(screening.state()))
        # Answers are lost with the process, pictures and state are not.
        again = make(bank, painter=painter, settings=settings, state=kept)
        assert finish(again, members).results["toy"] == result
        assert painter.count == result.pictures


def test_a_further_classifier_draws_nothing():
    bank, answers, painter = MemoryBank(), MemoryAnswers(), toy.Painter(EFFECTS, noise=0.05)
    first = make(bank, answers, painter=painter)
    finish(first, [member("toy", toy.classifier(), 0)])
    drawn = painter.count
    again = make(bank, answers, painter=painter, state=first.state())
    planned = []
    other = member("other", toy.classifier("other"), 1)
    for event in again.run([other]):
        planned += [event.missing] if isinstance(event, Planned) else []
    assert painter.count == drawn
    assert sum(planned) == drawn  # to be looked at, not drawn
    assert effect(again.results["other"], "sea").verdict == "lowers"


def test_the_same_weights_with_other_options_are_looked_at_again():
    bank, answers = MemoryBank(), MemoryAnswers()
    finish(make(bank, answers), [member("toy", toy.classifier(), 0)])
    faint = ClassifierOptions(mean=(0.0,) * 3, std=(2.0,) * 3)
    other = member("faint", toy.classifier(options=faint), 0)
    found = finish(make(bank, answers), [other]).results["faint"]
    assert found.mean == pytest.approx(0.25, abs=0.05)  # half as bright


def test_a_larger_budget_continues_the_pictures_of_a_smaller_one():
    bank, painter = MemoryBank(), toy.Painter(EFFECTS, noise=0.05)
    members = [member("toy", toy.classifier(), 0)]
    small = make(bank, painter=painter, settings=Settings(pictures=100, first=100))
    finish(small, members)
    large = make(bank, painter=painter, settings=SETTINGS)
    finish(large, members)
    assert large.cells()[:100] == small.cells()
    assert painter.count == len(large.cells())


def test_a_state_of_another_screening_is_refused():
    state = make(MemoryBank()).state()
    with pytest.raises(InputError, match="another screening"):
        make(MemoryBank(), settings=Settings(pictures=400, first=100, seed=3), state=state)


def test_the_lab_finds_what_a_gate_asks_for():
    from dexter.classifiers import describe_classifier, load_classifier
    from dexter.generation.generator import load_generator
    from dexter.lab import gated
    from dexter.reasoning.detection import load_detector

    spec = "lab:gated-pets-needs-water-90"
    classifier = load_classifier(spec)
    assert describe_classifier(spec).weights_hash == classifier.weights_hash
    world = load_world()
    screening = Screening(
        lab_pool(world),
        make_topic(classifier.labels, 0, world=world),
        Pictures(load_generator("lab"), "lab", MemoryBank(), batch=32),
        load_detector("lab"),
        Settings(pictures=96, first=96),
    )
    found = finish(screening, [member(spec, classifier, 0)]).results[spec]
    water = effect(found, "water")
    gate = gated.parse("gated-pets-needs-water-90")
    exact = gated.exact_effects("pets", [gate], 200)[gate.name]
    assert exact["water"] == pytest.approx(0.45, abs=0.02)
    assert water.drawn.asked > 0.9 > 0.1 > water.drawn.otherwise
    assert water.effect > 0.2 and water.effect == max(e.effect for e in found.effects if not e.core)


@pytest.mark.parametrize("name", ["gated-pets-needs-90", "gated-pets-needs-nothing-90"])
def test_a_gated_classifier_that_is_none_is_refused(name):
    from dexter.lab import gated

    with pytest.raises(InputError, match="lab:gated-TASK"):
        gated.parse(name)


def test_too_few_pictures_for_the_concepts_are_refused():
    with pytest.raises(InputError) as caught:
        make(MemoryBank(), settings=Settings(pictures=20))
    assert caught.value.field == "pictures"


@pytest.mark.parametrize("share", [1, 0.5])
def test_a_concept_alone_in_its_slot_is_compared_with_none(share):
    pool = parse_pool(
        "articles: a\nslots:\n"
        f"  place: {{position: after, share: {share}, concepts: {{sea: [sea, ocean]}}}}\n"
        "  beside: {exclusive: false, position: beside, most: 2, concepts: [ball, sun, gift]}\n",
        "test",
    )
    painter = toy.Painter({"sea": 0.4, "ocean": 0.4, "ball": -0.2}, noise=0.05)
    pictures = Pictures(painter, "toy")  # type: ignore[arg-type]
    settings = Settings(pictures=200, first=100)
    screening = Screening(pool, TOPIC, pictures, toy.Reader(), settings)
    found = finish(screening, [member("toy", toy.classifier(), 0)]).results["toy"]
    sea = effect(found, "sea")
    assert sea.verdict == "raises" and sea.effect == pytest.approx(0.4, abs=0.05)
    assert sea.drawn.asked > 0.4 and sea.drawn.otherwise == 0
    assert effect(found, "ball").effect == pytest.approx(-0.2, abs=0.05)


@pytest.mark.parametrize(
    ("effects", "found"),
    [
        ({"sand": 0.24}, {"sand": "raises"}),
        ({"sand": -0.45}, {"sand": "lowers"}),
        ({"sea": 0.4}, {"sea": "raises"}),
        ({"sand": 0.4, "wood": 0.4, "field": 0.4}, {"land": "raises"}),
        ({"ball": 0.3}, {"ball": "raises"}),
    ],
    ids=lambda value: ",".join(value),
)
def test_a_wording_that_differs_from_others_of_its_concept_is_a_finding_alone(effects, found):
    pool = parse_pool(
        "articles: a\nslots:\n"
        "  place: {position: after, concepts: {land: [sand, wood, field], water: [sea, lake],"
        " town: }}\n"
        "  beside: {exclusive: false, position: beside, most: 2, concepts: [ball, sun, gift]}\n",
        "test",
    )
    seen_by_wording = tuple(replace(one, looks=one.words) for one in pool.concepts)
    pool = replace(pool, concepts=seen_by_wording)
    pictures = Pictures(toy.Painter(effects, noise=0.05), "toy")  # type: ignore[arg-type]
    screening = Screening(pool, TOPIC, pictures, toy.Reader(), SETTINGS)
    result = finish(screening, [member("toy", toy.classifier(), 0)]).results["toy"]
    said = {e.concept: e.verdict for e in result.findings}
    # What stands against it in its slot moves, too, a little.
    assert {name: said.get(name) for name in found} == found
    assert not {*said} & ({"sand", "wood", "field", "sea", "lake", "ball"} - {*found})
    [name] = found
    assert effect(result, name).effect == pytest.approx(next(iter(effects.values())), abs=0.06)
    if name == "sea":  # all of the effect of water
        assert effect(result, "water").explained_by == ["sea"]


@pytest.mark.parametrize("slot", ["concepts: [Cat, dogs]", "only: [man], concepts: [old, young]"])
def test_a_pool_without_a_concept_for_the_class_is_refused(slot):
    pool = parse_pool(f"slots: {{place: {{position: before, {slot}}}}}", "mine.yaml")
    pictures = Pictures(toy.Painter(), "toy")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="name a class, or are for other") as refused:
        Screening(pool, make_topic(["cat", "dog"], 0), pictures)
    assert refused.value.field == "concepts"
