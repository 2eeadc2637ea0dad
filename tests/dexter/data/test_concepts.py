"""The concepts that pictures are divided by, and the choice of the one to balance."""

from typing import Any

import numpy as np
import pytest

from dexter.data.concepts import concepts_of, concepts_of_words, hardest_first
from dexter.data.slices import Concept
from dexter.screening.concepts import lab_pool, parse_pool

POOL = parse_pool(
    """
picture: a picture of
slots:
  place:
    position: after
    concepts: {beach: [at the beach], pier: [on a pier], forest: [in a wood]}
  thing: {exclusive: false, position: beside, concepts: {ball: [a ball], dog: [a dog]}}
""",
    "test",
)


def finding(slot: str, concept: str, verdict: str, effect: float, *, core: bool = False) -> Any:
    return {
        "slot": slot, "concept": concept, "verdict": verdict, "effect": effect, "core": core
    }  # fmt: skip


def names(found: list[Concept]) -> list[str]:
    return [one.name for one in found]


def test_what_others_explain_comes_after_what_is_found() -> None:
    found = concepts_of(
        [
            finding("place", "beach", "explained", 0.3),
            finding("place", "forest", "lowers", -0.2),
            finding("thing", "dog", "explained", -0.2),
            finding("thing", "ball", "raises", 0.1),
            finding("place", "pier", "none", 0.0),
        ],
        POOL,
    )
    assert names(found) == ["forest", "ball", "beach", "dog"]
    assert found[0].against == ("beach", "pier") and found[1].against == ()


def test_concepts_of_one_direction_are_one_before_their_parts() -> None:
    found = concepts_of(
        [finding("place", "beach", "raises", 0.3), finding("place", "pier", "raises", 0.2),
         finding("thing", "dog", "raises", 0.2, core=True)],
        POOL,
    )  # fmt: skip
    assert names(found) == ["beach, pier", "beach", "pier"]
    assert (found[0].looks, found[0].against) == (("beach", "pier"), ("forest",))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["beach", "pier"], ["beach, pier", "beach", "pier"]),
        (["beach", "ball"], ["beach", "ball"]),
        (["hat"], ["hat"]),
        (["hat", "scarf"], ["hat", "scarf"]),
    ],
)
def test_words_of_one_slot_are_taken_together(words: list[str], expected: list[str]) -> None:
    assert names(concepts_of_words(words, POOL)) == expected


@pytest.mark.parametrize(
    ("word", "against"),
    [("beach", ("pier", "forest")), ("ball", ()), ("hat", ())],
)
def test_a_word_of_an_exclusive_slot_is_held_against_the_others(
    word: str, against: tuple[str, ...]
) -> None:
    assert concepts_of_words([word], POOL) == [Concept(word, (word,), against)]


def test_kinds_of_subjects_are_held_against_each_other() -> None:
    _, male, female = concepts_of_words(["male", "female"], lab_pool())
    assert (male.looks, male.against) == (("man", "boy"), ("woman", "girl"))
    assert (female.looks, female.against) == (male.against, male.looks)


CLASSES = np.repeat([0, 1], 100)


def divided(first: int, second: int) -> np.ndarray:
    """Return whether each picture shows a concept: the first of each class do."""
    place = np.arange(200) % 100
    shown: np.ndarray = np.where(CLASSES == 0, place < first, place < second)
    return shown


def test_the_concept_with_the_surest_failure_comes_first() -> None:
    concepts = [Concept(name, (name,)) for name in ("even", "relied on", "copy", "rare", "small")]
    relied = divided(90, 10)
    seen = [divided(50, 50), relied, ~relied, divided(97, 50), divided(94, 50)]
    right = np.ones(200, bool)
    right[90:97] = False  # of the first class those without it, of whom 10 are left
    found = hardest_first(concepts, seen, CLASSES, right)
    # A group of 3 could not be balanced; one of 6 says less than one of 10.
    assert names([one.concept for one in found]) == ["relied on", "small", "even"]
    assert (found[0].accuracy, found[0].pictures) == (0.3, 10)
