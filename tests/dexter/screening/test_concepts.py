"""Pools of concepts: the lab's, the shipped one, a user's file and what is wrong with it."""

from collections import Counter

import pytest

from dexter.errors import InputError
from dexter.lab.world import AGES, HAIR
from dexter.reasoning.claims import Candidate
from dexter.reasoning.topic import Topic, World, load_world, make_topic
from dexter.screening.concepts import lab_pool, load_pool, parse_pool, usable
from dexter.screening.design import Design, Round
from dexter.screening.pairs import PoolLayout, worded

GOOD = """
picture: a picture of
articles: english
slots:
  place:
    position: after
    concepts:
      beach: at the beach
      wood: [in a wood, among trees]
  beside:
    exclusive: false
    position: beside
    template: a {}
    most: 2
    concepts: [dog, ball]
  look:
    position: before
    only: [man]
    share: 0.5
    concepts: [old, young]
"""


def test_a_file_gives_slots_wordings_and_prompts():
    pool = parse_pool(GOOD, "mine")
    assert {c.name: c.words for c in pool.concepts} == {
        "beach": ("at the beach",),
        "wood": ("in a wood", "among trees"),
        "dog": ("a dog",),
        "ball": ("a ball",),
        "old": ("old",),
        "young": ("young",),
    }
    said = {"place": ["among trees"], "beside": ["a dog", "a ball"], "look": ["old"]}
    assert pool.prompt("man", said) == "a picture of an old man among trees with a dog and a ball"
    assert pool.split_subject("old man") == ("man", {"look": "old"})
    assert [(s.exclusive, s.most, s.share) for s in pool.slots] == [
        (True, 1, 1.0),
        (False, 2, 1.0),
        (True, 1, 0.5),
    ]


def test_a_word_is_worded_as_the_pool_does_it_if_the_pool_knows_it():
    pool = parse_pool(GOOD, "mine")
    topic = Topic("man", ("man",), ("ape",), frozenset(), frozenset({"man"}), World())
    own, found = worded(pool, list(map(Candidate, ("beach", "among trees", "kayak"))))
    assert [(one.concept, one.slot) for one in found] == [
        ("beach", "place"),
        ("among trees", "place"),
        ("kayak", "with"),
    ]
    assert [concept.name for concept in own] == ["among trees", "kayak"]
    layout = PoolLayout(topic, pool, own)

    def treated(one: Candidate) -> set[str]:
        return {pair.treated[0] for pair in layout.pairs(one.concept, one.slot, 8)}

    beach, trees, kayak = map(treated, found)
    assert all(" at the beach" in text for text in beach)
    assert all(" among trees" in text for text in trees)
    assert all(text.endswith(" with kayak") or " and kayak" in text for text in kayak)
    # A wood is no other place than the one among trees.
    controls = {pair.control[0] for pair in layout.pairs("among trees", "place", 8)}
    assert all(" at the beach" in text for text in controls)
    # A screening that finds a wording alone names it in its slot, too.
    assert PoolLayout(topic, pool).pairs("among trees", "place", 8) == layout.pairs(
        "among trees", "place", 8
    )


def test_pairs_compare_a_concept_of_an_exclusive_slot_with_the_others():
    pool = parse_pool(
        GOOD.replace("beach: at the beach", "beach: at the beach\n      sky:"), "mine"
    )
    topic = Topic("man", ("man",), ("ape",), frozenset(), frozenset({"man"}), World())
    layout = PoolLayout(topic, pool)
    pairs = {name: layout.pairs(name, "place", 128) for name in ("beach", "sky", "wood")}
    words = ("at the beach", "sky", "in a wood", "among trees")

    def places(name: str, context: str) -> Counter[str]:
        texts = [pair.control[0] for pair in pairs[name] if pair.context == context]
        return Counter(word for text in texts for word in words if word in text)

    for name, own in {"beach": {"at the beach"}, "sky": {"sky"}}.items():
        for context in ("class", "rivals"):
            found = places(name, context)
            assert found.keys() == {*words} - own
            assert min(found.values()) >= 0.8 * 64 / 3
    assert all(pair.control[1] == pair.treated[1] for pair in pairs["beach"])
    assert pairs["beach"][:20] == layout.pairs("beach", "place", 20)
    shared = {p.control for p in pairs["beach"]} & {p.control for p in pairs["sky"]}
    assert len(shared) >= 128 / 2


def test_what_no_subject_can_have_is_named_beside_it():
    """A user may ask for it all the same: whether it was drawn is seen in the pictures."""
    pool = parse_pool(GOOD, "mine")
    topic = Topic("ape", ("ape",), ("cat",), frozenset(), frozenset({"ape"}), World())
    own, [old] = worded(pool, [Candidate("old")])
    pairs = PoolLayout(topic, pool, own).pairs("old", old.slot, 8)
    assert len(pairs) == 8
    for pair in pairs:
        assert " old" in pair.treated[0] and " old" not in pair.control[0]


def test_a_name_of_several_words_stays_together():
    """A golden retriever is no retriever that could as well be blue."""
    pool, topic = load_pool(), make_topic(["golden retriever", "red fox", "teapot"], 0)
    assert pool.split_subject("golden retriever") == ("golden retriever", {})
    assert pool.split_subject("old man") == ("man", {"people age": "old"})
    colours = pool.words["colour"]
    prompts = [cell.prompt for cell in Design(pool, topic).cells(Round(0, 400))]
    prompts += [pair.treated[0] for pair in PoolLayout(topic, pool).pairs("beach", "place", 64)]
    dogs = [text for text in prompts if "retriever" in text]
    assert len(dogs) >= 100
    assert all(" golden retriever" in text for text in dogs)
    assert not any(f" {colour} golden" in text for text in dogs for colour in colours)


def test_a_kind_is_worded_by_the_subjects_that_belong_to_it():
    """An old boy would be drawn as a boy, and the age would change along with the kind."""
    world = load_world()
    topic = make_topic(("old", "young", "other"), 0, world=world)
    for pair in PoolLayout(topic, lab_pool(world)).pairs("male", "subject", 8):
        without, with_it = pair.control[0], pair.treated[0]
        assert with_it == without.replace(" woman", " man")
        assert without.split()[4] in ("old", "young")


def test_a_place_alone_in_its_slot_is_compared_with_none():
    pool = parse_pool(GOOD.replace("      wood: [in a wood, among trees]\n", ""), "mine")
    topic = Topic("man", ("man",), ("ape",), frozenset(), frozenset({"man"}), World())
    for pair in PoolLayout(topic, pool).pairs("beach", "place", 8):
        assert pair.treated[0].replace(" at the beach", "") == pair.control[0]


@pytest.mark.parametrize(
    ("change", "line", "problem"),
    [
        (("position: beside", "position: nearby"), 12, "'nearby' is not one of"),
        (("template: a {}", "template: a dog"), 13, '"{}" once'),
        (("most: 2", "most: none"), 14, "whole number"),
        (("share: 0.5", "share: 2"), 19, "at most 1"),
        (("[dog, ball]", "[dog, dog]"), 15, "'dog' is in slot 'beside' twice"),
        (("    only: [man]", "    onyl: [man]"), 18, "'onyl' is not one of"),
        (("exclusive: false", "exclusive: maybe"), 11, "true or false"),
        (("      beach: at the beach", "      beach: [at the beach"), 9, ""),
        (("concepts: [old, young]", "concepts: old"), 20, "a list or a mapping"),
        (("[dog, ball]", "[dog, b\x07ll]"), 15, "0x7"),
    ],
)
def test_a_mistake_names_its_line(change, line, problem):
    with pytest.raises(InputError) as caught:
        parse_pool(GOOD.replace(*change), "mine.yaml")
    assert f"mine.yaml, line {line}" in caught.value.problem
    assert problem in caught.value.problem
    assert caught.value.field == "concepts"


def test_an_empty_file_and_a_pool_that_is_not_shipped_are_refused():
    with pytest.raises(InputError, match="empty"):
        parse_pool("", "mine")
    with pytest.raises(InputError, match=r"no pool is called 'mine\.yaml'"):
        load_pool("mine.yaml")


def test_the_shipped_pool_has_about_400_concepts_each_worded_once():
    pool = load_pool()
    assert 380 <= len(pool.concepts) <= 500
    names = Counter((c.slot, c.name) for c in pool.concepts)
    words = Counter((c.slot, word) for c in pool.concepts for word in c.words)
    assert max(names.values()) == max(words.values()) == 1
    assert {slot.name for slot in pool.slots} == {c.slot for c in pool.concepts}


def test_the_lab_pool_follows_the_manifest():
    world = load_world()
    pool = lab_pool(world)
    concepts = {c.name: c for c in pool.concepts}
    assert concepts["water"].words == ("sea", "lake")  # not the word for both
    assert "water" in concepts["water"].looks
    assert concepts["ball"].slot == "item"
    assert {s.name for s in pool.slots if s.exclusive} == world.exclusive
    assert {c.name for c in pool.kinds} >= {"male", "female"}
    known = set(world.words()) | {"a", "picture", "of", "with", "and"}
    said = {"age": ["old"], "hair": ["gray"], "background": ["sea"], "item": ["ball", "sun"]}
    assert set(pool.prompt("man", said).split()) <= known


def test_what_another_label_names_is_varied_only_if_both_can_hold():
    world = load_world()
    labels = [*HAIR, *AGES]
    pool = lab_pool(world)

    def said(multi_label):
        topic = make_topic(labels, labels.index("blond"), world=world, multi_label=multi_label)
        cells = Design(pool, topic).cells(Round(0, 64))
        words = {word for cell in cells for slot in cell.said.values() for word in slot}
        return words, {concept.slot for concept in usable(pool, topic)}

    together, slots = said(multi_label=True)
    assert {"young", "old"} <= together and "age" in slots and "hair" not in slots
    # A slot without a word is left out.
    apart, slots = said(multi_label=False)
    assert not {"young", "old"} & apart and not {"age", "hair"} & slots


def test_of_a_label_of_several_words_the_joining_ones_name_nothing():
    """A picture "at the beach" shows no hen of the woods."""
    pool = parse_pool(GOOD, "mine")
    for labels in (["hen of the woods", "a cat"], ["with mask", "at night"]):
        topic = make_topic(labels, 0)
        cells = Design(pool, topic).cells(Round(0, 64))
        assert any("at the beach" in cell.prompt for cell in cells), labels
        assert not topic.is_core("at the beach")
    assert make_topic(["hen of the woods", "cat"], 0).names >= {"hen", "woods", "cat"}


def test_another_label_names_its_class_by_its_head():
    """A picture "at the beach" shows no beach wagon; one of a bear can show a brown bear."""
    labels = ["tench", "beach wagon", "hen of the woods", "Brown_bear", "Corn: black rot", "a cat"]
    names = make_topic(labels, 0).names
    assert names >= {"tench", "wagon", "hen", "bear", "corn", "rot", "cat"}
    assert names.isdisjoint({"beach", "woods", "brown", "black", "a"})
    # The words of the class's own label belong to it; others tell it from those of the same head.
    assert make_topic(labels, 1).names >= {"beach", "wagon"}
    assert make_topic(["black bear", *labels], 0).names >= {"black", "brown", "bear"}


def test_a_concept_that_names_a_class_is_left_out_in_capitals_too():
    pool = parse_pool(GOOD.replace("[dog, ball]", "[Dog, Ball]"), "mine")
    topic = make_topic(["man", "dog"], 0)
    assert [one.name for one in usable(pool, topic) if one.slot == "beside"] == ["Ball"]
    prompts = [cell.prompt for cell in Design(pool, topic).cells(Round(0, 64))]
    pairs = PoolLayout(topic, pool).pairs("beach", "place", 64)
    prompts += [request[0] for pair in pairs for request in (pair.control, pair.treated)]
    assert any(" a Ball" in text for text in prompts)
    assert not any(" a Dog" in text for text in prompts)
