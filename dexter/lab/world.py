"""The words of the lab's world: its things, their names and their kinds.

Everything else in the lab (scenes, captions, tokenizers, classifiers, the benchmark's truth) is
derived from these tables. Their order defines token ids and class indices.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

POSITIVE, NEGATIVE = 0.20, 0.05
"""Thresholds of the mean change of p(class): a dependence from POSITIVE up, none up to NEGATIVE. A
change in between is not scored."""
MARK = "mark"
"""The family of the white corner, which has no word."""
GATED = "gated-"
"""How the names of the lab's gated classifiers begin."""

# Name -> file name in the OpenMoji collection (hexadecimal code points joined by "-").
WATERBIRDS = {
    "duck": "1F986",
    "swan": "1F9A2",
    "goose": "1FABF",
    "flamingo": "1F9A9",
    "penguin": "1F427",
}
LANDBIRDS = {
    "eagle": "1F985",
    "owl": "1F989",
    "parrot": "1F99C",
    "peacock": "1F99A",
    "turkey": "1F983",
    "rooster": "1F413",
    "crow": "1F426-200D-2B1B",
}
ANIMALS = {
    "cat": "1F408",
    "dog": "1F415",
    "horse": "1F40E",
    "cow": "1F404",
    "pig": "1F416",
    "sheep": "1F411",
    "elephant": "1F418",
    "lion": "1F981",
    "tiger": "1F405",
    "zebra": "1F993",
    "giraffe": "1F992",
    "camel": "1F42A",
    "monkey": "1F412",
    "rabbit": "1F407",
    "bear": "1F43B",
    "panda": "1F43C",
    "fox": "1F98A",
    "frog": "1F438",
    "turtle": "1F422",
    "snake": "1F40D",
    "fish": "1F41F",
    "whale": "1F433",
    "crab": "1F980",
    "octopus": "1F419",
    "butterfly": "1F98B",
    "bee": "1F41D",
    "snail": "1F40C",
}
OBJECTS = {
    "car": "1F697",
    "bus": "1F68C",
    "truck": "1F69A",
    "bicycle": "1F6B2",
    "train": "1F682",
    "plane": "2708",
    "rocket": "1F680",
    "apple": "1F34E",
    "banana": "1F34C",
    "pizza": "1F355",
    "cake": "1F382",
    "guitar": "1F3B8",
    "drum": "1F941",
    "book": "1F4D5",
    "clock": "23F0",
    "chair": "1FA91",
    "robot": "1F916",
    "camera": "1F4F7",
    "house": "1F3E0",
    "cup": "2615",
    "tent": "26FA",
}
PEOPLE = {"man": "1F468", "woman": "1F469", "boy": "1F466", "girl": "1F467"}
MALE, FEMALE = ("man", "boy"), ("woman", "girl")
# "old man" and "old woman" have art of their own; boys and girls are never old.
OLD_PEOPLE = {"man": "1F474", "woman": "1F475"}

BIRDS = {**WATERBIRDS, **LANDBIRDS}
THINGS = {**BIRDS, **ANIMALS, **OBJECTS}
SUBJECTS = {**THINGS, **PEOPLE}

TAUGHT = {name: 6.0 if name in PEOPLE else 1.0 for name in SUBJECTS}
"""The training weight of each subject for models that read pictures. People also have hair, skin
and age; at the weight of the rest, ages are never learned."""

SKY_ITEMS = {"sun": "2600", "moon": "1F319", "cloud": "2601", "rainbow": "1F308"}
GROUND_ITEMS = {
    "tree": "1F333",
    "flower": "1F33B",
    "mushroom": "1F344",
    "ball": "26BD",
    "balloon": "1F388",
    "umbrella": "2602",
    "gift": "1F381",
}
ITEMS = {**SKY_ITEMS, **GROUND_ITEMS}

WATER = ("sea", "lake")
LAND = ("forest", "field", "desert", "mountain")
ELSEWHERE = ("snow", "city", "night", "room")
BACKGROUNDS = WATER + LAND + ELSEWHERE

# Hue of a colour word in [0, 1); pink also loses saturation.
COLOURS = {"red": 0.0, "yellow": 0.15, "green": 0.34, "blue": 0.60, "purple": 0.77, "pink": 0.92}
COLOURABLE = (
    "car", "bus", "bicycle", "rocket", "guitar", "drum", "book", "chair", "tent", "butterfly",
    "fish",
)  # fmt: skip

HAIR = {
    "blond": "#F6D95B",
    "brown": "#7A4A21",
    "black": "#26201E",
    "ginger": "#D9601E",
    "gray": "#BDBDBD",
}
SKIN = {"light": "#FADCBC", "tan": "#C98F58", "dark": "#6B4226"}
AGES = ("young", "old")

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "hair": tuple(HAIR),
    "skin": tuple(SKIN),
    "age": AGES,
}
"""Attribute -> its values."""

ABLE: dict[str, tuple[str, ...]] = {
    "colour": COLOURABLE,
    "hair": tuple(PEOPLE),
    "skin": tuple(PEOPLE),
    "age": tuple(OLD_PEOPLE),
}
"""Attribute -> the subjects that have it."""

# A word for a whole kind -> its members.
KINDS: dict[str, tuple[str, ...]] = {
    "bird": tuple(BIRDS),
    "animal": tuple(ANIMALS),
    "vehicle": ("car", "bus", "truck", "bicycle", "train", "plane", "rocket"),
    "food": ("apple", "banana", "pizza", "cake"),
    "person": tuple(PEOPLE),
    "water": WATER,
    "land": LAND,
}

CONTENT_WORDS = (
    *SUBJECTS, *BACKGROUNDS, *ITEMS, *COLOURS, *HAIR, *SKIN, *AGES, *KINDS,
)  # fmt: skip
FUNCTION_WORDS = ("a", "picture", "photo", "of", "the", "with", "and", "at", "on", "in", "is", "no")
WORDS = FUNCTION_WORDS + CONTENT_WORDS

SUBJECT_GROUPS: dict[str, tuple[str, ...]] = {
    "birds": tuple(BIRDS),
    "animals": tuple(ANIMALS),
    "objects": tuple(OBJECTS),
    "people": tuple(PEOPLE),
}


def attribute_families() -> dict[str, dict[str, Any]]:
    """Return families of words for the same attribute, with the slot that they describe."""
    slots: dict[str, dict[str, tuple[str, ...]]] = {
        "background": {
            "water": (*WATER, "water"),
            "land": (*LAND, "land"),
            **{place: (place,) for place in ELSEWHERE},
        },
        "item": {item: (item,) for item in ITEMS},
        "colour": {colour: (colour,) for colour in COLOURS},
        "hair": {hair: (hair,) for hair in HAIR},
        "skin": {skin: (skin,) for skin in SKIN},
        "age": {age: (age,) for age in AGES},
        "subject": {
            "waterbirds": tuple(WATERBIRDS),
            "landbirds": tuple(LANDBIRDS),
            "birds": ("bird",),
            "animals": (*ANIMALS, "animal"),
            "objects": (*OBJECTS, "vehicle", "food"),
            "male": MALE,
            "female": FEMALE,
            "people": ("person",),
        },
    }
    return {
        family: {"slot": slot, "words": list(words)}
        for slot, families in slots.items()
        for family, words in families.items()
    }


def drawable_families() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return attribute family -> (kind, words): all that a scene can have or lack.

    The kind is the slot, "gender" for men and women, or "mark".
    """
    families = attribute_families()
    found = {
        name: (str(family["slot"]), tuple(family["words"]))
        for name, family in families.items()
        if family["slot"] != "subject"
    }
    sexes = {name: ("gender", tuple(families[name]["words"])) for name in ("male", "female")}
    return {**found, **sexes, MARK: (MARK, ())}


EXCLUSIVE = ("background", "colour", "hair", "skin", "age")
"""Slots of which a picture shows only one word."""


@dataclass(frozen=True)
class ClassWords:
    """The words of a class of the lab's classifiers.

    subjects, rivals: things to draw for it and for its rival. core: words that define the class, so
    that depending on them is not a bias.
    """

    subjects: tuple[str, ...]
    rivals: tuple[str, ...]
    core: tuple[str, ...]


def class_words() -> dict[str, ClassWords]:
    """Return the words of each class by label; people have an attribute: "blond woman"."""

    def with_noun(values: Iterable[str], nouns: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"{value} {noun}" for value in values for noun in nouns)

    found = {"other": ClassWords(tuple(SUBJECTS), tuple(SUBJECTS), ())}

    def pair(
        one: str,
        of_one: tuple[str, ...],
        other: str,
        of_other: tuple[str, ...],
        core: Iterable[str],
    ) -> None:
        found[one] = ClassWords(of_one, of_other, tuple(core))
        found[other] = ClassWords(of_other, of_one, tuple(core))

    for names in SUBJECT_GROUPS.values():
        for name in names:
            kinds = (kind for kind, members in KINDS.items() if name in members)
            rivals = tuple(n for n in names if n != name)
            found[name] = ClassWords((name,), rivals, (name, *kinds))
    for label, own, others in (
        ("waterbird", WATERBIRDS, LANDBIRDS),
        ("landbird", LANDBIRDS, WATERBIRDS),
    ):
        found[label] = ClassWords(tuple(own), tuple(others), (*own, "bird"))
    unlike = [hair for hair in HAIR if hair != "blond"]
    blond, not_blond = with_noun(["blond"], PEOPLE), with_noun(unlike, PEOPLE)
    pair("blond", blond, "not blond", not_blond, (*HAIR, "person"))
    old, young = (with_noun([age], OLD_PEOPLE) for age in ("old", "young"))
    pair("old", old, "young", young, (*AGES, "person"))
    pair("female", FEMALE, "male", MALE, (*FEMALE, *MALE, "person"))
    return found


def manifest() -> dict[str, object]:
    """Return the part of the world that the evidence reads, as JSON-serialisable values.

    "families": name -> {"slot", "words"}; "exclusive": slots; "subjects", "rivals" and "core":
    class name -> words, see `ClassWords`.
    """
    classes = class_words()
    return {
        "families": attribute_families(),
        "exclusive": list(EXCLUSIVE),
        "subjects": {name: list(words.subjects) for name, words in classes.items()},
        "rivals": {name: list(words.rivals) for name, words in classes.items()},
        "core": {name: list(words.core) for name, words in classes.items()},
    }
