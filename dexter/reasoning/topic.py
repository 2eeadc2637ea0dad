"""The topic of a study: subjects of the class and of its rivals, slots, families and core words.

The lab's manifest defines them for the lab's classes. Elsewhere the names of the classes are the
subjects, every word is an item, and the placebos come from a fixed list of things.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from dexter import model_folders
from dexter.errors import InputError
from dexter.reasoning.keywords import STOP_WORDS
from dexter.reasoning.wordnet import load_wordnet

Slot = str
"""The part of a picture that a word describes: "subject", "background", "item", or the name of an
attribute of the subject ("colour", "hair", ...)."""

SUBJECT = "subject"
ARTICLE = "a picture of a"
OTHER = "other"
"""The label of everything that no other label names."""

# Common things of many kinds: placebos where no manifest provides words.
_THINGS = """
    ladder bucket lamp candle mirror pillow carpet curtain basket barrel rope hammer scissors
    pencil envelope newspaper calendar suitcase wallet button ribbon necklace helmet glove sock
    trumpet violin piano telescope compass battery keyboard telephone radio fountain statue bridge
    tunnel chimney staircase fence bench mailbox lantern anchor wheel feather pebble acorn cactus
    pumpkin carrot onion cheese pretzel teapot spoon kettle stapler thimble dice kite
"""
PLACEBO_WORDS = tuple(_THINGS.split())

_SHOWN = 24  # concepts of WordNet in a sentence

_BETWEEN = """
    with at on in near under by beside behind over above below inside among and against
"""
_PREPOSITIONS = frozenset(_BETWEEN.split())
_AFTER_HEAD = _PREPOSITIONS - {"and"} | {"of", "for", "from", "to", "without"}
"""Words that follow the head of a name: "hen" of "hen of the woods"."""


@dataclass(frozen=True)
class Family:
    """A family: words of one kind, in the same slot."""

    words: tuple[str, ...]
    slot: Slot


@dataclass(frozen=True)
class World:
    """A manifest: families of words by name, and the words of each class by label.

    A class has subjects, rivals (subjects of rival classes) and core words. exclusive: slots of
    which a picture shows only one word.
    """

    families: Mapping[str, Family] = field(default_factory=dict)
    subjects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rivals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    core: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exclusive: frozenset[Slot] = frozenset()

    def family(self, word: str) -> str | None:
        """Return the name of a word's family; None without one."""
        return next((name for name, f in self.families.items() if word in f.words), None)

    def slot(self, word: str) -> Slot:
        """Return a word's slot; an unknown word is an item."""
        name = self.family(word)
        return "item" if name is None else self.families[name].slot

    def words(self, *slots: Slot) -> list[str]:
        """Return the words of these slots (by default of all), each once."""
        found = (
            word
            for family in self.families.values()
            if not slots or family.slot in slots
            for word in family.words
        )
        return list(dict.fromkeys(found))


def world_of(generator: str) -> World:
    """Return the world that a generator draws: the lab's, or one without a manifest."""
    return load_world() if generator == "lab" else World()


def load_world(root: Path | str | None = None) -> World:
    """Load the lab's manifest, ``lab/world.json``; raise InputError if it is invalid."""
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
        raise InputError(
            f"{path} is not a manifest of a world: {error!r}",
            value=str(path),
            remedy="restore the file, or run `make lab`",
        ) from error
    return World(families, **by_class, exclusive=exclusive)


@dataclass(frozen=True)
class Topic:
    """The topic of a study of one class.

    subjects, rivals: things to draw, of the class and of other classes. core: words that belong to
    the class, so that depending on them is not a bias. names: words that name a class or belong to
    this one, which cannot be placebos.
    """

    class_name: str
    subjects: tuple[str, ...]
    rivals: tuple[str, ...]
    core: frozenset[str]
    names: frozenset[str]
    world: World
    by_wordnet: tuple[str, ...] = ()
    """The core concepts that WordNet names, where neither a manifest nor the user names any."""

    def is_core(self, concept: str) -> bool:
        """Return True if the concept or a word of it belongs to the class."""
        own = concept.lower()
        return own in self.core or any(word in self.core for word in own.split())

    def is_named(self, words: str) -> bool:
        """Return True if one of these words names a class."""
        return not self.names.isdisjoint(words.lower().split())

    def defaults(self) -> str:
        """Return a sentence that shows the core concepts by WordNet; "" without any."""
        if not self.by_wordnet:
            return ""
        more = len(self.by_wordnet) - _SHOWN
        return (
            f"By WordNet these belong to {first_name(self.class_name)}, unless --core names "
            f"others: {', '.join(self.by_wordnet[:_SHOWN])}"
            + (f" and {more} more." if more > 0 else ".")
        )

    def base_prompts(self) -> list[str]:
        """Return the prompts of the class's subjects, without any concept."""
        return [control_prompt(subject) for subject in self.subjects]


def make_topic(
    labels: Sequence[str],
    class_index: int,
    *,
    world: World | None = None,
    core: Iterable[str] = (),
    confused: Sequence[str] = (),
    rivals: int = 5,
    multi_label: bool = False,
) -> Topic:
    """Return the topic of a class.

    ``confused``: other labels predicted for its pictures; they are the first rivals if no manifest
    names rivals. ``core``: more words that belong to the class; without any, and without a
    manifest, WordNet names them if it is installed. ``multi_label``: the labels do not
    exclude each other, so that a picture of the class can show what another label names.

    The label "other" means everything that no other label names, so the subjects of the
    classifier's other labels are not subjects of "other". They are preferred as rivals.
    """
    from dexter.search.vocabulary import word_forms

    world = world or World()
    label = labels[class_index]
    others = [name for name in dict.fromkeys([*confused, *labels]) if name != label]
    names = [] if multi_label else [first_name(name) for name in others]
    # "Other" has all subjects in the manifest.
    named = {s for name in others if name != OTHER for s in world.subjects.get(name, ())}
    named |= {noun(subject) for subject in named}
    subjects = world.subjects.get(label, ())
    against = world.rivals.get(label, ())
    if label == OTHER:
        subjects = tuple(s for s in subjects if s not in named)
    against = tuple(s for s in against if s in named) or against
    subjects = subjects or (first_name(label),)
    excluded = [*subjects, *against]  # by the class
    against = against or tuple(first_name(name) for name in others[:rivals])
    core = tuple(core)
    wordnet = None if core or world.families else load_wordnet()
    around = None if wordnet is None else wordnet.concepts(label)
    by_wordnet = () if around is None else around.core
    own = [*core, *world.core.get(label, ()), *_naming(first_name(label))]
    own += subjects if label == OTHER else ()
    naming = [word for name in [*excluded, *own] for word in _naming(name)]
    naming += [word for name in names for word in _telling(name, first_name(label))]
    return Topic(
        class_name=label,
        subjects=tuple(subjects),
        rivals=tuple(against),
        core=frozenset(form for word in (*own, *by_wordnet) for form in word_forms(word)),
        names=frozenset(form for word in naming for form in word_forms(word)),
        world=world,
        by_wordnet=by_wordnet,
    )


def noun(subject: str) -> str:
    """Return a subject without its attributes: "woman" for "blond woman"."""
    return subject.rsplit(None, 1)[-1] if subject else subject


def first_name(label: str) -> str:
    """Return the first name in a label: "great grey owl" for "great grey owl, Strix nebulosa"."""
    return label.split(",")[0].strip().lower()


def _naming(name: str) -> list[str]:
    """Return the words of a name, without those that say nothing alone: "hen", "woods" of "hen of
    the woods", because "at the beach" names no mushroom."""
    from dexter.search.vocabulary import words_of

    words = words_of(name)
    return [word for word in words if word not in STOP_WORDS] or words


def _heads(name: str) -> list[str]:
    """Return the words that name a thing of this name: "lion" for "sea lion", because a picture of
    the sea shows none. Each part of "Apple: black rot" has a head."""
    from dexter.search.vocabulary import words_of

    heads = []
    for part in re.split(r"__+|[^\w\s'’-]+", name):
        for joins, group in groupby(words_of(part), _AFTER_HEAD.__contains__):
            if not joins and (words := [word for word in group if word not in STOP_WORDS]):
                heads.append(words[-1])
                break
    return heads or _naming(name)


def _telling(name: str, own: str) -> list[str]:
    """Return the words that tell another class from one's own: its heads, or all words of its name
    where the heads are one's own: "black" of "black bear" for "brown bear"."""
    heads = _heads(name)
    return heads if set(heads).isdisjoint(_heads(own)) else _naming(name)


def control_prompt(subject: str) -> str:
    """Return the prompt of a subject alone."""
    return f"{ARTICLE} {subject}"


def wording(slot: Slot) -> str:
    """Return the way a slot's words enter a prompt: "subject", "with" or "attribute"."""
    return {"subject": "subject", "background": "with", "item": "with"}.get(slot, "attribute")


def split_question(text: str, topic: Topic) -> tuple[str, str]:
    """Split a question into (control, concept): ("a duck", "night") for "a duck at night".

    The control ends before the first preposition, or else after the first subject that the topic
    names. Returns ("", text) if no control or no concept is left.
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


def with_subject(text: str, topic: Topic, sayable: Callable[[str], bool]) -> str:
    """Return the text with a subject of the class in place of a name that cannot be drawn.

    The lab draws a duck, a subject of the class waterbird, but has no word for "waterbird".
    """
    if all(map(sayable, topic.class_name.split())):
        return text
    return re.sub(rf"(?i)\b{re.escape(topic.class_name)}\b", lambda _: topic.subjects[0], text)


def strip_article(text: str) -> str:
    """Return the text without "a picture of" and its article: "red duck"."""
    words = text.split()
    if [word.lower() for word in words[:3]] == ["a", "picture", "of"]:
        words = words[3:]
    while words and words[0].lower() in ("a", "an", "the"):
        words = words[1:]
    return " ".join(words)


def as_prompt(text: str) -> str:
    """Return the text as a prompt, starting with "a picture"."""
    lowered = text.lower()
    return text if lowered.startswith("a picture") else f"a picture of {text}"


def known_words(world: World) -> frozenset[str] | None:
    """Return all words of a world; None without a manifest."""
    return frozenset(world.words()) if world.families else None


def to_json(topic: Topic) -> dict[str, Any]:
    """Return the topic as JSON-serialisable values, for the record."""
    return {
        "class_name": topic.class_name,
        "subjects": list(topic.subjects),
        "rivals": list(topic.rivals),
        "core": sorted(topic.core),
    }
