"""Concepts in slots: what a screening varies, how each is worded, and which exclude each other.

A pool comes from the lab's manifest, from a shipped file, or from a user's file of the same form:

    picture: a photo of          # how a prompt begins
    articles: english            # or "a", for a model that never read "an"
    concepts_per_prompt: 4
    slots:
      place:
        exclusive: true          # a picture shows one of them
        position: after          # medium, before, after, beside or end
        concepts:
          beach: at the beach
          forest: [in a forest, among trees]
      beside:
        exclusive: false
        position: beside
        template: a {}           # for concepts without a wording of their own
        most: 2                  # in one prompt
        concepts: [dog, ball]
      hair:
        exclusive: true
        position: before
        only: [man, woman]       # subjects, by their last word
        share: 0.5               # of the prompts that name one
        concepts: [blond, gray-haired]
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib import resources
from typing import Any, Literal, get_args

import yaml

from dexter.errors import InputError
from dexter.reasoning.topic import SUBJECT as SUBJECT
from dexter.reasoning.topic import Topic, World, load_world

Position = Literal["medium", "before", "after", "beside", "end"]
"""Where a slot's words stand: "a MEDIUM of a BEFORE subject AFTER with BESIDE and BESIDE, END"."""

SHIPPED = "photographs"
LAB = "lab"


@dataclass(frozen=True)
class Slot:
    """A part of a picture.

    exclusive: a picture shows one of its concepts. only: last words of the subjects that can have
    one (empty: any). share: share of the prompts that name one. most: concepts in one prompt, where
    they do not exclude each other.
    """

    name: str
    exclusive: bool
    position: Position
    only: frozenset[str] = frozenset()
    share: float = 1.0
    most: int = 1


@dataclass(frozen=True)
class Concept:
    """A concept. words: its wordings, each used equally often; looks: the names under which the
    image-text model looks for it."""

    name: str
    slot: str
    words: tuple[str, ...]
    looks: tuple[str, ...]

    @property
    def alone(self) -> list[Concept]:
        """Return each of several wordings as a concept of its own, without one that is called as
        this concept is."""
        several = self.words if len(self.words) > 1 else ()
        return [
            Concept(word, self.slot, (word,), (word,) if word in self.looks else self.looks)
            for word in several
            if word != self.name
        ]


@dataclass(frozen=True)
class Pool:
    """The concepts that a screening can vary, and the grammar of its prompts.

    kinds: concepts of the slot "subject", as sets of subjects' last words.
    """

    name: str
    slots: tuple[Slot, ...]
    concepts: tuple[Concept, ...]
    kinds: tuple[Concept, ...] = ()
    picture: str = "a photo of"
    english: bool = True
    per_prompt: int = 4

    @cached_property
    def by_word(self) -> Mapping[tuple[str, str], str]:
        """(slot, wording) to the name of its concept."""
        return {(c.slot, word): c.name for c in self.concepts for word in c.words}

    @cached_property
    def by_name(self) -> Mapping[tuple[str, str], Concept]:
        """(slot, name) to the concept or kind; a wording alone is one, too."""
        alone = (one for concept in self.concepts for one in concept.alone)
        return {(one.slot, one.name): one for one in (*alone, *self.kinds, *self.concepts)}

    @cached_property
    def words(self) -> Mapping[str, tuple[str, ...]]:
        """Slot to all its wordings."""
        return {
            slot.name: tuple(w for c in self.concepts if c.slot == slot.name for w in c.words)
            for slot in self.slots
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of all that shapes a prompt."""
        text = json.dumps(asdict(self), sort_keys=True, default=sorted)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def content_hash(self) -> str:
        """The same, whatever the pool is called."""
        return replace(self, name="").digest

    def split_subject(self, subject: str) -> tuple[str, dict[str, str]]:
        """Split leading attributes off a subject, of the slots that are for such subjects only.

        "old blond woman" to ("woman", {"age": "old", "hair": "blond"}). A "golden retriever" is
        one whole: a colour, which anything can have, may be a part of its name.
        """
        words, said = subject.split(), {}
        before = [s for s in self.slots if s.position == "before" and words[-1] in s.only]
        while len(words) > 1:
            slot = next((s.name for s in before if words[0] in self.words[s.name]), None)
            if slot is None or slot in said:
                break
            said[slot] = words.pop(0)
        return " ".join(words), said

    def applies(self, slot: Slot, noun: str) -> bool:
        """Return True if a subject can have a concept of a slot that its name does not say."""
        *before, last = noun.split()
        return (not slot.only or last in slot.only) and not {*before} & {*self.words[slot.name]}

    def prompt(self, noun: str, said: Mapping[str, Sequence[str]]) -> str:
        """Return the prompt of a subject with these wordings, by slot."""
        at: dict[str, list[str]] = {position: [] for position in get_args(Position)}
        for slot in self.slots:
            at[slot.position] += said.get(slot.name, ())
        thing = " ".join([*at["before"], noun])
        opening = f"{self._article(at['medium'][0])} of" if at["medium"] else self.picture
        text = " ".join([opening, self._article(thing), *at["after"]])
        if at["beside"]:
            text += " with " + " and ".join(at["beside"])
        return ", ".join([text, *at["end"]])

    def _article(self, thing: str) -> str:
        return f"{'an' if self.english and thing[:1].lower() in 'aeiou' else 'a'} {thing}"


def lab_pool(world: World | None = None, able: Mapping[str, Sequence[str]] | None = None) -> Pool:
    """Derive the pool of the lab's world from its manifest: one concept a family.

    able: slot of an attribute to the subjects that can have it; by default the lab's.
    """
    from dexter.lab.world import ABLE

    world = world or load_world()
    able = ABLE if able is None else able
    slots: dict[str, Slot] = {}
    concepts, kinds = [], []
    for name, family in world.families.items():
        # A family's own name is a word for all its members: what it draws is none of them.
        words = tuple(w for w in family.words if w != name) or family.words
        concept = Concept(name, family.slot, words, family.words)
        if family.slot == SUBJECT:
            kinds.append(concept)
            continue
        concepts.append(concept)
        beside = family.slot in ("background", "item")
        exclusive = family.slot in world.exclusive
        slots[family.slot] = Slot(
            family.slot,
            exclusive,
            "beside" if beside else "before",
            frozenset(able.get(family.slot, ())),
            most=1 if exclusive else 2,
        )
    # The lab's captions name attributes in the order age, skin, hair, colour.
    attributes = [slot for slot in slots.values() if slot.position == "before"]
    others = [slot for slot in slots.values() if slot.position != "before"]
    return Pool(
        LAB,
        (*attributes[::-1], *others),
        tuple(concepts),
        tuple(kinds),
        picture="a picture of",
        english=False,
        per_prompt=6,
    )


def load_pool(name: str = SHIPPED) -> Pool:
    """Load a shipped pool, "lab" or "photographs"; InputError for another name."""
    if name == LAB:
        return lab_pool()
    if name != SHIPPED:
        raise InputError(f"no pool is called {name!r}", remedy=f"choose {LAB} or {SHIPPED}")
    text = (resources.files(__package__) / f"{SHIPPED}.yaml").read_text(encoding="utf-8")
    return parse_pool(text, SHIPPED)


def parse_pool(text: str, name: str) -> Pool:
    """Read a pool from YAML text; InputError names the line that is wrong."""
    return _Reader(name).pool(text)


def stored_pool(name: str, text: str | None, content_hash: str) -> Pool:
    """Return a pool by its name, or its text if it is a user's; InputError if its hash differs."""
    pool = load_pool(name) if text is None else parse_pool(text, name)
    if pool.content_hash != content_hash:
        raise InputError(f"the pool {name} has changed since it was used", remedy="start again")
    return pool


class _Reader:
    """Turns YAML nodes, which know their lines, into a pool."""

    def __init__(self, name: str) -> None:
        self._name = name

    def pool(self, text: str) -> Pool:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self._error(error.problem or "not YAML", mark) from error
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position)
            mark = yaml.Mark(self._name, error.position, line, 0, None, None)
            raise self._error(f"control character {error.character:#x}", mark) from error
        except RecursionError as error:
            raise self._error("lists are nested too deeply", None) from error
        if root is None:
            raise self._error("the file is empty", None)
        top = self._mapping(root, {"picture", "articles", "concepts_per_prompt", "slots"})
        if "slots" not in top:
            raise self._error('"slots" is missing', root.start_mark)
        articles = self._text(top["articles"]) if "articles" in top else "english"
        if articles not in ("english", "a"):
            raise self._error('articles must be "english" or "a"', top["articles"].start_mark)
        slots, concepts = [], []
        for key, node in self._pairs(top["slots"]):
            slot, found = self._slot(key, node)
            slots.append(slot)
            concepts += found
        if not concepts:
            raise self._error("no slot has a concept", top["slots"].start_mark)
        return Pool(
            self._name,
            tuple(slots),
            tuple(concepts),
            picture=self._text(top["picture"]) if "picture" in top else "a photo of",
            english=articles == "english",
            per_prompt=self._count(top.get("concepts_per_prompt"), 4),
        )

    def _slot(self, name: str, node: yaml.Node) -> tuple[Slot, list[Concept]]:
        known = {"exclusive", "position", "only", "share", "most", "template", "concepts"}
        entry = self._mapping(node, known)
        for needed in ("position", "concepts"):
            if needed not in entry:
                raise self._error(f'slot {name!r} has no "{needed}"', node.start_mark)
        if name == SUBJECT:
            raise self._error(f"{SUBJECT!r} is the slot of the class itself", node.start_mark)
        position = self._text(entry["position"])
        if position not in get_args(Position):
            known_positions = ", ".join(get_args(Position))
            raise self._error(
                f"position {position!r} is not one of {known_positions}",
                entry["position"].start_mark,
            )
        exclusive = self._flag(entry.get("exclusive"), True)
        if position == "medium" and not exclusive:
            raise self._error("a slot of position medium must be exclusive", node.start_mark)
        template = self._text(entry["template"]) if "template" in entry else "{}"
        if template.count("{}") != 1:
            raise self._error('a template needs "{}" once', entry["template"].start_mark)
        slot = Slot(
            name,
            exclusive,
            position,  # type: ignore[arg-type]
            frozenset(self._texts(entry["only"])) if "only" in entry else frozenset(),
            self._share(entry.get("share")),
            1 if exclusive else self._count(entry.get("most"), 1),
        )
        return slot, list(self._concepts(name, entry["concepts"], template))

    def _concepts(self, slot: str, node: yaml.Node, template: str) -> Iterator[Concept]:
        entries: list[tuple[yaml.Node, yaml.Node | None]]
        if isinstance(node, yaml.MappingNode):
            entries = list(node.value)
        elif isinstance(node, yaml.SequenceNode):
            entries = [(item, None) for item in node.value]
        else:
            raise self._error("concepts must be a list or a mapping", node.start_mark)
        seen: set[str] = set()
        for key, value in entries:
            name = self._text(key)
            empty = value is None or value.tag == "tag:yaml.org,2002:null"
            words = (
                [template.replace("{}", name)]
                if empty or value is None
                else self._texts(value, one=True)
            )
            repeated = next((word for word in [name, *words] if f"{word}" in seen), None)
            if repeated is not None:
                raise self._error(f"{repeated!r} is in slot {slot!r} twice", key.start_mark)
            seen |= {name, *words}
            yield Concept(name, slot, tuple(words), (name,))

    def _mapping(self, node: yaml.Node, known: set[str]) -> dict[str, yaml.Node]:
        entries = dict(self._pairs(node))
        for key, value in entries.items():
            if key not in known:
                listed = ", ".join(sorted(known))
                raise self._error(f"{key!r} is not one of {listed}", value.start_mark)
        return entries

    def _pairs(self, node: yaml.Node) -> list[tuple[str, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error("must be a mapping (name: value)", node.start_mark)
        pairs = [(self._text(key), value) for key, value in node.value]
        names = [key for key, _ in pairs]
        for index, (key, value) in enumerate(pairs):
            if key in names[:index]:
                raise self._error(f"{key!r} stands here twice", value.start_mark)
        return pairs

    def _text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
            raise self._error("must be a text", node.start_mark)
        return " ".join(node.value.split())

    def _texts(self, node: yaml.Node, *, one: bool = False) -> list[str]:
        if one and isinstance(node, yaml.ScalarNode):
            return [self._text(node)]
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self._error("must be a list of texts", node.start_mark)
        return [self._text(item) for item in node.value]

    def _flag(self, node: yaml.Node | None, default: bool) -> bool:
        if node is None:
            return default
        if node.tag != "tag:yaml.org,2002:bool":
            raise self._error("must be true or false", node.start_mark)
        return self._text(node).lower() in ("true", "yes", "on")

    def _count(self, node: yaml.Node | None, default: int) -> int:
        if node is None:
            return default
        text = self._text(node)
        if not text.isdecimal() or int(text) < 1:
            raise self._error(f"must be a whole number of at least 1, got {text}", node.start_mark)
        return int(text)

    def _share(self, node: yaml.Node | None) -> float:
        if node is None:
            return 1.0
        text = self._text(node)
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not 0 < share <= 1:
            raise self._error(f"share must be above 0 and at most 1, got {text}", node.start_mark)
        return share

    def _error(self, problem: str, mark: Any) -> InputError:
        where = f"{self._name}, line {mark.line + 1}" if mark is not None else self._name
        return InputError(
            f"{where}: {problem}", field="concepts", value=self._name, remedy="edit the file"
        )


def usable(pool: Pool, topic: Topic) -> list[Concept]:
    """The concepts that a screening of this class can vary: those that do not name it."""
    return [
        concept
        for concept in pool.concepts
        if not any(look.lower() in topic.names for look in concept.looks)
    ]
