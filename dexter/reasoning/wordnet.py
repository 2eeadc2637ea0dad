"""The concepts around the name of a class, by WordNet: which of them belong to the class.

WordNet (Miller 1995) relates senses of words. From the noun sense of a class come

- other names of the class, broader concepts ("bird" of a duck), its kinds ("mallard"),
- parts, its own and those of broader concepts ("feather", "beak"),
- related concepts: its neighbours under the same broader one, and groups that it is a member of.

The first two lines and the parts are *core*: to depend on them is no bias. The database files are
those of Debian's package ``wordnet-base``, in the format of wndb(5WN). They are read here, because
NLTK's reader needs a file that the package lacks, and four other packages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path("/usr/share/wordnet")
VARIABLE = "WNSEARCHDIR"
"""The environment variable by which WordNet's own programs find another folder."""
_GENERAL = 4
"""Levels from "entity" down that are too general to belong to a class: "object", "whole"."""


@dataclass(frozen=True)
class Concepts:
    """The concepts around a class: single words or phrases, in lower case, nearest first."""

    names: tuple[str, ...]
    broader: tuple[str, ...]
    kinds: tuple[str, ...]
    parts: tuple[str, ...]
    related: tuple[str, ...]

    @property
    def core(self) -> tuple[str, ...]:
        """Return the concepts that belong to the class by default, each once."""
        return tuple(dict.fromkeys((*self.names, *self.broader, *self.parts, *self.kinds)))


@dataclass(frozen=True)
class _Sense:
    """A noun sense: its names, and (symbol, place) of the senses that it points to."""

    place: int
    names: tuple[str, ...]
    pointers: tuple[tuple[str, int], ...]

    def to(self, *symbols: str) -> list[int]:
        return [place for symbol, place in self.pointers if symbol in symbols]


class WordNet:
    """The nouns of a WordNet database."""

    def __init__(self, folder: Path) -> None:
        """Read the index; raise OSError or ValueError for a folder that is none."""
        self._data = (folder / "data.noun").read_bytes()
        self._index: dict[str, list[int]] = {}
        for line in (folder / "index.noun").read_text("ascii", "replace").splitlines():
            if not line.startswith(" "):  # the licence
                name, _, count, *rest = line.split()
                self._index[name] = [int(place) for place in rest[-int(count) :]]

    def concepts(self, label: str) -> Concepts | None:
        """Return the concepts around the class of a label; None without a noun for it.

        Of several names, as in "great grey owl, great gray owl", the sense that has most of them
        is taken; of several senses, the most frequent one.
        """
        names = [_key(name) for name in label.split(",") if name.strip()]
        senses = [self._sense(place) for name in names for place in self._index.get(name, ())]
        if not senses:
            return None
        own = max(senses, key=lambda one: sum(name in map(_key, one.names) for name in names))
        above = list(self._above(own))
        parts = [place for sense in (own, *above) for place in sense.to("%p", "%s")]
        siblings = [
            place
            for parent in own.to("@")
            for place in self._sense(parent).to("~")
            if place != own.place
        ]
        return Concepts(
            self._words([own], first=True),
            self._words([one for one in above if self._depth(one) >= _GENERAL]),
            self._words(list(self._below(own)), first=True),
            self._words([self._sense(place) for place in parts], heads=True),
            self._words([self._sense(place) for place in (*siblings, *own.to("#m", "#p"))]),
        )

    def _sense(self, place: int) -> _Sense:
        """Read the sense at a byte of the data file."""
        end = self._data.index(b"\n", place)
        fields = self._data[place:end].partition(b"|")[0].decode("ascii", "replace").split()
        count = int(fields[3], 16)
        names = tuple(name.replace("_", " ") for name in fields[4 : 4 + 2 * count : 2])
        first = 5 + 2 * count
        pointers = fields[first : first + 4 * int(fields[first - 1])]
        return _Sense(
            place,
            names,
            tuple(
                (symbol[:1] if symbol in ("@i", "~i") else symbol, int(to))
                for symbol, to, of in zip(
                    pointers[::4], pointers[1::4], pointers[2::4], strict=True
                )
                if of == "n"
            ),
        )

    def _above(self, sense: _Sense) -> Iterator[_Sense]:
        """Yield the broader senses, the nearest first."""
        yield from self._closure(sense, "@")

    def _below(self, sense: _Sense) -> Iterator[_Sense]:
        yield from self._closure(sense, "~")

    def _closure(self, sense: _Sense, symbol: str) -> Iterator[_Sense]:
        known, row = {sense.place}, [sense]
        while row:
            places = dict.fromkeys(place for one in row for place in one.to(symbol))
            row = [self._sense(place) for place in places if place not in known]
            known |= places.keys()
            yield from row

    def _depth(self, sense: _Sense) -> int:
        """Return the length of the longest way up to the most general sense."""
        return max((1 + self._depth(self._sense(place)) for place in sense.to("@")), default=0)

    def _words(
        self, senses: list[_Sense], *, first: bool = False, heads: bool = False
    ) -> tuple[str, ...]:
        """Return the names of senses, each once.

        first: only names that mean this sense most often, so that "heap" is no car. heads: also
        the last word of a name, such as "foot" of "bird's foot".
        """
        found: dict[str, None] = {}
        for sense in senses:
            for name in sense.names:
                if first and self._index.get(_key(name), [0])[0] != sense.place:
                    continue
                found.setdefault(name.lower())
                if heads:
                    found.setdefault(name.lower().split()[-1])
        return tuple(found)


def _key(name: str) -> str:
    return "_".join(name.lower().split())


def folder() -> Path:
    """Return the folder of the database."""
    return Path(os.environ.get(VARIABLE) or FOLDER)


@cache
def load_wordnet() -> WordNet | None:
    """Return the installed WordNet; None where there is none."""
    try:
        return WordNet(folder())
    except (OSError, ValueError, IndexError):
        return None
