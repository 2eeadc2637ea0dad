"""What the words of a study are: subjects of the class and of its rivals, slots, families, core.

The lab's manifest tells it for the lab's classes. Elsewhere the names of the classes are the
subjects, every word is an item, and a fixed list of things gives the placebos.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dexter import model_folders
from dexter.errors import InputError

Slot = str
"""The part of a picture that a word is about: "subject", "background", "item", or the name of an
attribute of the subject ("colour", "hair", ...)."""

ARTICLE = "a picture of a"
OTHER = "other"
"""The label of what no other label names."""

# Common things of many kinds, where no manifest offers words for placebos.
_THINGS = """
    ladder bucket lamp candle mirror pillow carpet curtain basket barrel rope hammer scissors
    pencil envelope newspaper calendar suitcase wallet button ribbon necklace helmet glove sock
    trumpet violin piano telescope compass battery keyboard telephone radio fountain statue bridge
    tunnel chimney staircase fence bench mailbox lantern anchor wheel feather pebble acorn cactus
    pumpkin carrot onion cheese pretzel teapot spoon kettle stapler thimble dice kite
"""
PLACEBO_WORDS = tuple(_THINGS.split())

_BETWEEN = """
    with at on in near under by beside behind over above below inside among and against
"""
_PREPOSITIONS = frozenset(_BETWEEN.split())


@dataclass(frozen=True)
class Family:
    """Words of one kind, which stand in the same place of a prompt."""

    words: tuple[str, ...]
    slot: Slot


@dataclass(frozen=True)
class World:
    """A manifest: families of words by name, and for a class (by label) its subjects, the
    subjects of its rivals, and the words that are core to it. exclusive: slots of which a picture
    shows one word alone."""

    families: Mapping[str, Family] = field(default_factory=dict)
    subjects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rivals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    core: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exclusive: frozenset[Slot] = frozenset()

    def family(self, word: str) -> str | None:
        """The name of a word's family."""
        return next((name for name, f in self.families.items() if word in f.words), None)

    def slot(self, word: str) -> Slot:
        """Where a word stands in a prompt; an unknown word is an item."""
        name = self.family(word)
        return "item" if name is None else self.families[name].slot

    def words(self, *slots: Slot) -> list[str]:
        """The words of these slots (all, if none is named), each once."""
        found = (
            word
            for family in self.families.values()
            if not slots or family.slot in slots
            for word in family.words
        )
        return list(dict.fromkeys(found))


def load_world(root: Path | str | None = None) -> World:
    """The lab's manifest, ``lab/world.json`` of the checkpoints. InputError if it is faulty."""
    path = model_folders.find("lab", "world.json", root=root)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        families = {
            name: Family(tuple(entry["words"]), entry["slot"])
            for name, entry in data["families"].items()
        }
        by_class = {
            part: {label: tuple(words) for label, words in data[part].items()}
            for part in ("subjects", "rivals", "core")
        }
        exclusive = frozenset(data.get("exclusive", ()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a manifest of a world: {error!r}") from error
    return World(families, **by_class, exclusive=exclusive)


@dataclass(frozen=True)
class Topic:
    """What a study of one class may ask about.

    subjects and rivals: things to draw, of the class and of others. core: words that belong to
    the class, so that to depend on them is no bias. names: words of all labels and subjects, of
    which none can be a placebo.
    """

    class_name: str
    subjects: tuple[str, ...]
    rivals: tuple[str, ...]
    core: frozenset[str]
    names: frozenset[str]
    world: World

    def is_core(self, concept: str) -> bool:
        """Whether a word of the concept belongs to the class."""
        return any(word in self.core for word in concept.lower().split())

    def base_prompts(self) -> list[str]:
        """The class's pictures without any concept."""
        return [control_prompt(subject) for subject in self.subjects]


def make_topic(
    labels: Sequence[str],
    class_index: int,
    *,
    world: World | None = None,
    core: Iterable[str] = (),
    confused: Sequence[str] = (),
    rivals: int = 5,
) -> Topic:
    """The topic of a class. ``confused``: labels that its pictures are also taken for, which are
    the first rivals where no manifest names any; ``core``: more words that belong to the class.

    Of what the manifest names, the subjects of the classifier's own other labels are no subjects of
    this class, and are its rivals where there are any: "other" means what no other label does.
    """
    from dexter.search.vocabulary import word_forms, words_of

    world = world or World()
    label = labels[class_index]
    others = [name for name in dict.fromkeys([*confused, *labels]) if name != label]
    names = {first_name(name) for name in labels}
    # "Other" again would be everything.
    told = {s for name in others if name != OTHER for s in world.subjects.get(name, ())}
    told |= {noun(subject) for subject in told}
    subjects = world.subjects.get(label, ())
    against = world.rivals.get(label, ())
    if label == OTHER:
        subjects = tuple(s for s in subjects if s not in told)
    against = tuple(s for s in against if s in told) or against
    subjects = subjects or (first_name(label),)
    against = against or tuple(first_name(name) for name in others[:rivals])
    own = [*core, *world.core.get(label, ()), *words_of(first_name(label))]
    own += subjects if label == OTHER else ()
    return Topic(
        class_name=label,
        subjects=tuple(subjects),
        rivals=tuple(against),
        core=frozenset(form for word in own for form in word_forms(word)),
        names=frozenset(
            form
            for name in [*names, *subjects, *against, *own]
            for word in words_of(name)
            for form in word_forms(word)
        ),
        world=world,
    )


def noun(subject: str) -> str:
    """What a subject is, whatever it is like: "blond woman" to "woman"."""
    return subject.rsplit(None, 1)[-1] if subject else subject


def first_name(label: str) -> str:
    """ "great grey owl, Strix nebulosa" to "great grey owl"."""
    return label.split(",")[0].strip().lower()


def control_prompt(subject: str) -> str:
    """The prompt of a subject alone."""
    return f"{ARTICLE} {subject}"


def wording(slot: Slot) -> str:
    """How a slot's words enter a prompt: "subject", "with" or "attribute"."""
    return {"subject": "subject", "background": "with", "item": "with"}.get(slot, "attribute")


def treated_prompt(subject: str, concept: str, slot: Slot) -> str:
    """The same prompt with the concept. A subject replaces the other, but keeps what that is like
    ("old man" to "old woman"); an attribute goes before."""
    if wording(slot) == "subject":
        return control_prompt(" ".join([*subject.split()[:-1], concept]))
    if wording(slot) == "attribute":
        return f"{ARTICLE} {concept} {subject}"
    return f"{ARTICLE} {subject} with {concept}"


def split_question(text: str, topic: Topic) -> tuple[str, str]:
    """A question's (control, concept): "a duck at night" to ("a duck", "night").

    The control is the part of the text that names a subject: what comes before its first
    preposition, or up to a subject that is known by name. ("", text) if no part is left to ask
    about, or none to compare with.
    """
    words = text.split()
    known = {*topic.world.words("subject"), *topic.subjects, *topic.rivals}
    end = next((i for i, word in enumerate(words) if word.lower() in _PREPOSITIONS and i), None)
    if end is None:
        ends = [i + 1 for i, word in enumerate(words) if word.lower() in known]
        end = ends[0] if ends and ends[0] < len(words) else None
    if end is None:
        return "", strip_article(text)
    rest = words[end:]
    while rest and rest[0].lower() in (*_PREPOSITIONS, "a", "an", "the"):
        rest = rest[1:]
    return " ".join(words[:end]), " ".join(rest)


def strip_article(text: str) -> str:
    """ "a picture of a red duck" to "red duck"."""
    words = text.split()
    if [word.lower() for word in words[:3]] == ["a", "picture", "of"]:
        words = words[3:]
    while words and words[0].lower() in ("a", "an", "the"):
        words = words[1:]
    return " ".join(words)


def as_prompt(text: str) -> str:
    """The text as a prompt of the kind that the other prompts are: it names a picture."""
    lowered = text.lower()
    return text if lowered.startswith("a picture") else f"a picture of {text}"


def known_words(world: World) -> frozenset[str] | None:
    """All that a generator of this world can be told; None if nobody knows."""
    return frozenset(world.words()) if world.families else None


def to_json(topic: Topic) -> dict[str, Any]:
    """The topic for the record."""
    return {
        "class_name": topic.class_name,
        "subjects": list(topic.subjects),
        "rivals": list(topic.rivals),
        "core": sorted(topic.core),
    }
