"""Claims are decided as the protocol says, in a toy world whose causes are known."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import toy
from torch import Tensor, nn

from benchmarks.calibration import aa_tests, planted_tests
from dexter.classifiers.base import Classifier, Preprocessing
from dexter.classifiers.options import ClassifierOptions
from dexter.errors import InputError
from dexter.generation.bank import MemoryBank
from dexter.generation.pictures import Pictures
from dexter.reasoning.claims import Candidate, Claim, judge
from dexter.reasoning.evidence import (
    Experiment,
    Layout,
    MemoryCache,
    Pair,
    PromptLayout,
    Witness,
    corrected,
)
from dexter.reasoning.topic import Family, Topic, World, make_topic, split_question, with_subject
from dexter.screening.concepts import lab_pool, load_pool
from dexter.screening.pairs import PoolLayout, worded
from dexter.screening.screen import Screening, member
from dexter.seeds import seed_range
from dexter.stats import LOOKS

THINGS = ("ball", "gift", "hat", "lamp", "tree", "sun")
WORLD = World(
    families={
        "birds": Family(("duck", "swan", "eagle", "owl"), "subject"),
        "animals": Family(("cat", "dog", "cow"), "subject"),
        "water": Family(("sea", "lake"), "background"),
        "land": Family(("forest", "desert"), "background"),
        **{thing: Family((thing,), "item") for thing in THINGS},
        "red": Family(("red",), "colour"),
        "blue": Family(("blue",), "colour"),
    },
    subjects={"target": ("duck", "swan")},
    rivals={"target": ("eagle", "owl")},
    core={"target": ("duck", "swan", "bird")},
    exclusive=frozenset({"background", "colour"}),
)


def topic(world: World = WORLD) -> Topic:
    return make_topic(toy.LABELS, 0, world=world)


def experiment(
    painter: toy.Painter,
    *,
    bank: MemoryBank | None = None,
    classifier: str = "toy",
    **options: Any,
) -> Experiment:
    pictures = Pictures(painter, "key", bank)  # type: ignore[arg-type]
    witness = Witness(pictures, toy.classifier(classifier), 0, toy.Reader())
    return Experiment(witness, topic(), layout(), **{"placebos": 6, **options})


def layout(*concepts: str) -> PoolLayout:
    pool, words = lab_pool(WORLD, able={}), frozenset(WORLD.words())
    own, _ = worded(pool, list(map(Candidate, concepts)))
    return PoolLayout(topic(), pool, own, known=words.__contains__)


def asked(*concepts: str) -> list[Candidate]:
    return worded(lab_pool(WORLD, able={}), list(map(Candidate, concepts)))[1]


def claims_on(painter: toy.Painter, *concepts: str, **options: Any) -> list[Claim]:
    return experiment(painter, **options).test(asked(*concepts), layout(*concepts))


def test_a_planted_cause_is_confirmed_at_the_first_look() -> None:
    [claim] = claims_on(toy.Painter({"sea": 0.4}, noise=0.05), "sea")
    assert (claim.verdict, claim.reason, claim.pairs) == ("confirmed", None, 32)
    assert claim.is_bias
    assert not claim.core
    assert claim.effect == pytest.approx(0.4, abs=0.05)
    assert claim.low < claim.effect < claim.high
    assert claim.p_corrected == pytest.approx(3 / 20_001)
    assert claim.flips.value > 0.5
    assert (claim.detected_control, claim.detected_treated, claim.detected) == (0, 1, 1)
    assert claim.prior is not None
    assert (claim.prior.hits, claim.prior.n) == (0, 64)
    assert claim.placebo_threshold is not None
    assert claim.placebo_threshold < 0.05
    own, rivals = claim.contexts
    assert (own.name, own.pairs, rivals.name, rivals.pairs) == ("class", 16, "rivals", 16)
    nouns = [prompt.split(" with ")[0].split()[-1] for prompt in own.control_prompts]
    assert nouns[:4] == ["duck", "swan", "duck", "swan"]
    for context in (own, rivals):
        for control, treated in zip(context.control_prompts, context.treated_prompts, strict=True):
            gone, come = ({*one.split()} - {*other.split()} for one, other in
                          ((control, treated), (treated, control)))  # fmt: skip
            assert come == {"sea"}
            assert gone < {"forest", "desert"}
    low, high = seed_range("evidence")
    assert all(low <= seed < high for seed in own.seeds + rivals.seeds)
    assert own.seeds == own.control_seeds


def test_what_does_nothing_is_refuted() -> None:
    [claim] = claims_on(toy.Painter(), "sea")
    assert (claim.verdict, claim.reason) == ("refuted", None)
    assert not claim.is_bias


def test_what_is_not_drawn_was_not_claims_on() -> None:
    painter = toy.Painter({"sea": 0.4}, undrawable=frozenset({"sea"}))
    [claim] = claims_on(painter, "sea")
    assert (claim.verdict, claim.reason, claim.pairs) == ("inconclusive", "not_drawn", 32)
    assert claim.detected == 0


def test_without_a_detector_nothing_is_known_to_be_drawn() -> None:
    subject = experiment(toy.Painter({"sea": 0.4}))
    subject.witness.detector = None
    [claim] = subject.test(asked("sea"), layout("sea"))
    assert (claim.verdict, claim.reason) == ("inconclusive", "not_drawn")
    assert claim.detected is None
    assert claim.prior is None


def test_a_saturated_context_is_left_out() -> None:
    painter = toy.Painter({"sea": 0.4, "duck": 0.6, "swan": 0.6}, base=0.4, noise=0.02)
    [claim] = claims_on(painter, "sea")
    own, rivals = claim.contexts
    assert (own.saturated, own.pairs, own.effect) == (True, 0, None)
    assert own.control_mean > 0.95
    assert (rivals.saturated, claim.pairs) == (False, 32)
    assert claim.verdict == "confirmed"
    assert claim.effect == pytest.approx(0.4, abs=0.02)


def test_without_room_in_any_context_nothing_can_be_said() -> None:
    [claim] = claims_on(toy.Painter({"sea": 0.4}, base=0.99, noise=0.0), "sea")
    assert (claim.verdict, claim.reason, claim.pairs) == ("inconclusive", "saturated", 0)


def test_an_effect_that_any_word_has_is_none() -> None:
    every = dict.fromkeys(THINGS, 0.2) | {"ball": 0.18}
    [claim] = claims_on(toy.Painter(every, base=0.3, noise=0.05), "ball")
    assert (claim.verdict, claim.reason) == ("inconclusive", "no_better_than_placebo")
    assert claim.effect == pytest.approx(0.18, abs=0.05)
    assert claim.pairs == LOOKS[-1]


class _EveryThird(Layout):
    """Pairs of which every third has the sea on its treated side."""

    def pairs(self, concept: str, slot: str, count: int) -> list[Pair]:
        duck, by_the_sea = "a picture of a duck", "a picture of a duck with sea"
        return [
            Pair("as asked", (duck, seed), (duck if seed % 3 else by_the_sea, seed))
            for seed in range(count)
        ]


def test_an_effect_near_what_counts_is_confirmed_by_all_pairs() -> None:
    """To stop as soon as it passes would pick the moment when chance lifts it."""
    subject = experiment(toy.Painter({"sea": 0.4}, noise=0.05), assume_drawn=True)
    [claim] = subject.test(asked("sea"), _EveryThird())
    assert claim.effect == pytest.approx(0.4 / 3, abs=0.01)
    assert (claim.verdict, claim.pairs) == ("confirmed", LOOKS[-1])


def test_an_effect_of_the_other_sign_does_not_confirm_the_claim() -> None:
    [claim] = claims_on(toy.Painter({"sea": -0.3}, noise=0.05), "sea")
    assert (claim.verdict, claim.reason) == ("inconclusive", "no_better_than_placebo")
    assert claim.effect < 0


def test_an_effect_a_little_below_what_counts_is_left_open() -> None:
    [claim] = claims_on(toy.Painter({"sea": 0.095}, noise=0.0), "sea")
    assert claim.effect == pytest.approx(0.095, abs=0.002)
    assert (claim.verdict, claim.reason) == ("inconclusive", "too_few_pairs")
    assert claim.pairs == LOOKS[-1]


def test_subjects_are_replaced_and_attributes_go_before() -> None:
    pairs = layout("swan").pairs("swan", "subject", 8)
    for pair in pairs:
        assert " swan with " in pair.treated[0]
        assert "swan" not in pair.control[0]
    [pair, *_] = layout().pairs("red", "colour", 8)
    assert pair.treated[0].startswith("a picture of a red duck")
    assert pair.control[0].startswith("a picture of a blue duck")
    assert layout().pairs("red", "colour", 64)[:8] == layout().pairs("red", "colour", 8)


def test_both_prompts_of_a_pair_name_the_same_other_things() -> None:
    """Else what a prompt leaves open could change along with the concept."""
    pairs = layout().pairs("ball", "item", 128)
    assert all(pair.treated[0].replace(" and ball", "") in pair.control[0] or
               pair.treated[0].replace("ball and ", "") == pair.control[0]
               for pair in pairs)  # fmt: skip
    named = Counter(word for pair in pairs for word in pair.control[0].split())
    for words in (("sea", "lake", "forest", "desert"), ("red", "blue")):
        assert sum(named[word] for word in words) == len(pairs)
        assert max(named[word] for word in words) - min(named[word] for word in words) <= 4
    assert "ball" not in named
    assert 0 < sum(named[word] for word in THINGS) < len(pairs)


def test_a_core_concept_is_a_dependence_and_no_bias() -> None:
    [claim] = claims_on(toy.Painter({"swan": 0.4}, base=0.3, noise=0.05), "swan")
    assert (claim.verdict, claim.core, claim.is_bias) == ("confirmed", True, False)


def test_all_candidates_are_one_family() -> None:
    alone = claims_on(toy.Painter({"sea": 0.4}), "sea")[0]
    among = claims_on(toy.Painter({"sea": 0.4}), "sea", "ball", "gift", "hat")[0]
    assert among.p == alone.p
    assert among.p_corrected == pytest.approx(4 * alone.p_corrected)


def test_a_claim_is_decided_early_only_if_it_holds_among_all_that_are_tested() -> None:
    """Those of other classifiers count too: decided on its own, it might not hold beside them."""
    sometimes = toy.Painter({"sea": 1.0}, base=-1.5, noise=1.0)
    [alone] = claims_on(sometimes, "sea", min_effect=0.02)
    assert (alone.verdict, alone.pairs) == ("confirmed", 32)
    test = experiment(sometimes, min_effect=0.02).test
    [among] = test(asked("sea"), layout("sea"), family=20)
    assert {claim.verdict for claim in corrected([alone] * 20)} == {"inconclusive"}
    assert {claim.verdict for claim in corrected([among] * 20)} == {"confirmed"}


def test_answers_that_are_no_numbers_are_refused_whatever_the_trial_saw() -> None:
    class Dazzled(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            level = images[:, :, :3].mean((1, 2, 3))
            level = torch.where(level > 0.7, torch.nan, level)
            return torch.stack([level, 1 - level], -1)

    dazzled = Classifier(
        Dazzled(), spec="dazzled", labels=toy.LABELS, weights_hash="dazzled", device="cpu",
        preprocessing=Preprocessing(toy.SIZE, toy.SIZE), dtype=torch.float32,
        options=ClassifierOptions(multi_label=False),
    )  # fmt: skip
    pictures = Pictures(toy.Painter({"sea": 0.4}), "key")  # type: ignore[arg-type]
    witness = Witness(pictures, dazzled, 0, toy.Reader())
    with pytest.raises(InputError, match="dazzled answers with numbers that are not finite"):
        Experiment(witness, topic(), layout("sea"), placebos=6).test(asked("sea"))
    asker = Screening(lab_pool(WORLD, able={}), topic(), pictures, toy.Reader())
    with pytest.raises(InputError, match="dazzled answers with numbers that are not finite"):
        list(asker.run([member("dazzled", dazzled, 0)]))


def test_pictures_are_made_once_for_all_concepts_and_classifiers() -> None:
    painter, bank = toy.Painter({"sea": 0.4}, noise=0.05), MemoryBank()
    claims = claims_on(painter, "sea", "lake", bank=bank, placebos=0)
    assert {claim.concept: claim.verdict for claim in claims}["sea"] == "confirmed"
    assert painter.count == 64 + 128 + sum(claim.pairs for claim in claims)
    count = painter.count
    again = claims_on(painter, "sea", "lake", bank=bank, placebos=0, classifier="another")
    assert painter.count == count
    assert [claim.effect for claim in again] == [claim.effect for claim in claims]


def test_placebos_are_measured_once_for_a_class() -> None:
    cache = MemoryCache()
    painter = toy.Painter({"sea": 0.4}, noise=0.05)
    first = claims_on(painter, "sea", placebo_cache=cache)
    count = painter.count
    own = 64 + 128 + 32
    assert count >= own + 6 * 64
    second = claims_on(painter, "sea", placebo_cache=cache)
    assert painter.count == count + own
    assert second[0].placebo_threshold == first[0].placebo_threshold


def test_placebos_are_innocent() -> None:
    def words(concept: str) -> list[str]:
        [candidate] = asked(concept)
        return [name for _, name in layout(concept).placebos(candidate.concept, candidate.slot)]

    # Another place takes the water away from the pictures that show it: things are added instead.
    for concept in ("sea", "red", "swan", "cat"):
        assert words(concept)[:6] == list(THINGS)
    assert words("ball")[:5] == list(THINGS[1:])
    assert not {"duck", "eagle", "sea", "forest", "red"} & set(words("sea"))


def test_a_slot_of_two_is_compared_with_things_that_are_added() -> None:
    [claim] = claims_on(toy.Painter({"red": 0.4, "blue": -0.4}, noise=0.05), "red")
    assert claim.verdict == "confirmed"
    assert claim.placebo_threshold is not None
    assert claim.placebo_threshold < 0.05


def test_placebos_where_a_pool_has_few() -> None:
    elsewhere = make_topic(["grey lamp", "other"], 0)
    pool = load_pool()
    own, [lake] = worded(pool, [Candidate("kettledrum")])
    found = PoolLayout(elsewhere, pool, own).placebos(lake.concept, lake.slot)
    names = [name for _, name in found]
    assert len(names) == len(set(names)) > 20
    assert not {"lamp", "kettledrum"} & set(names)


PEOPLE = World(
    families={
        "male": Family(("man", "boy"), "subject"),
        "female": Family(("woman", "girl"), "subject"),
        "animals": Family(("cat", "dog"), "subject"),
        "blond": Family(("blond",), "hair"),
        "black": Family(("black",), "hair"),
        "things": Family(("ball", "gift"), "item"),
    },
    subjects={
        "blond": ("blond man", "blond woman"),
        "dark": ("black man", "black woman"),
        "other": ("man", "woman", "cat", "dog"),
    },
    rivals={
        "blond": ("black man", "black woman", "cat"),
        "other": ("man", "woman", "cat", "dog"),
    },
    core={"blond": ("blond", "black")},
    exclusive=frozenset({"hair"}),
)


def test_people_keep_what_they_are_like() -> None:
    people = make_topic(["blond", "dark", "other"], 0, world=PEOPLE)
    pool = lab_pool(PEOPLE)
    own, [woman] = worded(pool, [Candidate("woman")])
    pairs = PoolLayout(people, pool, own).pairs("woman", woman.slot, 8)
    sides = [[text.split(" with ")[0] for text, _ in (p.control, p.treated)] for p in pairs]
    assert set(map(tuple, sides)) == {
        ("a picture of a blond man", "a picture of a blond woman"),
        ("a picture of a black man", "a picture of a black woman"),
    }


def test_rivals_and_others_are_what_the_classifier_s_own_labels_say() -> None:
    assert make_topic(["blond", "dark", "other"], 0, world=PEOPLE).rivals == (
        "black man",
        "black woman",
    )
    assert make_topic(["blond", "other"], 0, world=PEOPLE).rivals == PEOPLE.rivals["blond"]
    other = make_topic(["blond", "dark", "other"], 2, world=PEOPLE)
    assert other.subjects == ("cat", "dog")
    assert other.rivals == ("man", "woman")


def test_frames_show_more_than_the_generator_is_wont_to() -> None:
    subject = experiment(toy.Painter({"sea": 0.4}, noise=0.05))
    painter = toy.Painter()
    frames = np.stack(list(painter.pictures(["a picture of a duck with sea"] * 20, range(20), 8)))
    subject.frames = toy.Reader().embed(frames)
    sea, duck = subject.test(asked("sea", "duck"), layout("sea", "duck"))
    assert sea.in_frames is not None
    assert (sea.in_frames.hits, sea.in_frames.n, sea.over_represented) == (20, 20, True)
    assert duck.prior is not None
    assert duck.prior.hits == 32  # half of the base prompts name it


def test_a_question_finds_its_own_direction() -> None:
    subject = experiment(toy.Painter({"night": -0.3}, noise=0.05))
    prompts = PromptLayout("a picture of a duck", "a picture of a duck at night")
    [claim] = subject.test([Candidate("night", "item", 0)], prompts)
    assert (claim.direction, claim.verdict) == (-1, "confirmed")
    assert [context.name for context in claim.contexts] == ["as asked"]


@pytest.mark.parametrize(
    ("text", "control", "concept"),
    [
        ("a duck at night", "a duck", "night"),
        ("a red duck with a lake", "a red duck", "lake"),
        ("a duck", "", "duck"),
        ("a picture of a duck", "", "duck"),
        ("a zebra by the sea", "a zebra", "sea"),
        ("lake", "", "lake"),
    ],
)
def test_a_question_is_split_at_its_subject(text: str, control: str, concept: str) -> None:
    assert split_question(text, topic()) == (control, concept)


def test_a_class_that_cannot_be_drawn_is_asked_for_by_a_subject():
    asked, drawable = "a Target with snow", ("a", "duck", "with", "snow").__contains__
    assert with_subject(asked, topic(), drawable) == "a duck with snow"
    assert with_subject(asked, topic(), lambda word: True) == asked


GOOD: Mapping[str, object] = {
    "direction": 1,
    "effect": 0.3,
    "low": 0.2,
    "high": 0.4,
    "p_corrected": 0.01,
    "placebo_threshold": 0.1,
    "detected": 0.9,
    "pairs": 64,
    "min_effect": 0.1,
}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, ("confirmed", None)),
        ({"p_corrected": 0.05}, ("confirmed", None)),
        ({"p_corrected": 0.051}, ("inconclusive", "too_few_pairs")),
        ({"direction": -1}, ("inconclusive", "no_better_than_placebo")),
        ({"placebo_threshold": 0.3}, ("inconclusive", "no_better_than_placebo")),
        ({"placebo_threshold": None}, ("inconclusive", "no_better_than_placebo")),
        ({"detected": 0.29}, ("inconclusive", "not_drawn")),
        ({"detected": 0.3}, ("confirmed", None)),
        ({"detected": None}, ("inconclusive", "not_drawn")),
        ({"pairs": 0}, ("inconclusive", "saturated")),
        ({"effect": 0.05, "low": -0.09, "high": 0.09}, ("refuted", None)),
        ({"effect": 0.05, "low": -0.1, "high": 0.09}, ("inconclusive", "too_few_pairs")),
        ({"effect": 0.05, "low": -0.09, "high": 0.09, "detected": 0.2},
         ("inconclusive", "not_drawn")),
        ({"effect": 0.09, "low": 0.01, "high": 0.2}, ("inconclusive", "too_few_pairs")),
    ],
)  # fmt: skip
def test_the_verdict_by_its_definition(
    changes: Mapping[str, object], verdict: Sequence[object]
) -> None:
    assert judge(**{**GOOD, **changes}) == verdict  # type: ignore[arg-type]


def test_no_effect_is_found_as_rarely_as_promised() -> None:
    subject = experiment(toy.Painter(noise=0.25), placebos=0, min_effect=1e-9, assume_drawn=True)
    p = aa_tests(subject, "a picture of a duck", 40)
    assert len(p) == 40
    assert sum(value <= 0.05 for value in p) <= 4


def test_effects_of_three_tenths_are_found() -> None:
    painter = toy.Painter({"sea": 0.6}, base=0.3, noise=0.1)
    subject = experiment(painter)
    found, effects = planted_tests(
        subject, "a picture of a duck", Candidate("sea", "background"), 0.3, 20
    )
    assert np.mean(effects) == pytest.approx(0.3, abs=0.05)
    assert found >= 18
