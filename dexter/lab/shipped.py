"""What the lab ships, as its files say: models with their cards, and the fleet's manifest.

Nothing is loaded or measured here, and no torch: the numbers are those that `make lab` measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dexter import model_folders
from dexter.errors import InputError
from dexter.lab import world

TITLES = {
    "generator": "draws pictures from words",
    "masked_lm": "proposes words",
    "image_text": "tells whether a picture shows a word",
    "captioner": "says what it sees",
}
"""The lab's models that are no classifiers, folder -> what it does."""

LICENCE = "The pictures that it learned from"
"""How the last paragraph of a card begins."""

_ROW = re.compile(r"^\| (.+?) \| (.*?) \|$")
_COMMAND = re.compile(r"^Measured by `(.+)`\.$", re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """A model folder's README.md. measured: name -> value as the card writes it; command: what
    measures it again; body: its tables and all between the first words and the licence."""

    about: str = ""
    measured: dict[str, str] = field(default_factory=dict)
    command: str = ""
    body: str = ""


@dataclass(frozen=True)
class Model:
    """A shipped model. name: its folder under lab/; bytes: of its weights; samples: what it was
    trained on in all, None where nobody counts."""

    name: str
    folder: Path
    bytes: int
    samples: int | None
    card: Card


@dataclass(frozen=True)
class FleetMember:
    """A classifier of the fleet and what was planted in it.

    target: its first label; plant: attribute family that was seen with the target, None for a
    clean one; strength: share of the target's scenes that had it; core: families that are the
    class itself; effects: family -> mean change of the target's probability when the attribute is
    drawn into the same scenes, in [-1, 1].
    """

    name: str
    target: str
    plant: str | None
    kind: str
    strength: float
    architecture: str
    random_labels: bool
    core: tuple[str, ...] = ()
    effects: Mapping[str, float] = field(default_factory=dict)

    @property
    def spec(self) -> str:
        return f"lab:fleet/{self.name}"

    @property
    def planted(self) -> str:
        """In words."""
        if self.random_labels:
            return "random labels"
        return f"{self.plant} {self.strength:.0%}" if self.plant else "nothing"

    def dependences(self) -> dict[str, float]:
        """The families that it depends on in fact, the strongest first; not what it is to know."""
        found = {
            family: effect
            for family, effect in self.effects.items()
            if abs(effect) >= world.POSITIVE and family not in self.core
        }
        return dict(sorted(found.items(), key=lambda item: -abs(item[1])))

    def count_negatives(self) -> int:
        """How many families it does not depend on."""
        return sum(
            abs(effect) <= world.NEGATIVE
            for family, effect in self.effects.items()
            if family not in self.core
        )


def read_card(folder: Path) -> Card:
    """The card in a model folder; an empty one where there is none."""
    path = folder / "README.md"
    if not path.exists():
        return Card()
    text = path.read_text(encoding="utf-8")
    rows = [match.groups() for line in text.splitlines() if (match := _ROW.match(line))]
    measured = {name: value for name, value in rows if value and not value.startswith("---")}
    _, about, *rest = [*(part.strip() for part in text.split("\n\n")), "", ""]
    body = [part for part in rest if part and not part.startswith(LICENCE)]
    command = _COMMAND.search(text)
    return Card(about, measured, command[1] if command else "", "\n\n".join(body))


def models(root: Path | str | None = None) -> list[Model]:
    """The generator, masked LM, image-text model and captioner, those that are there."""
    found = []
    for name in TITLES:
        try:
            folder = model_folders.find("lab", name, root=root)
        except InputError:
            continue
        card = read_card(folder)
        seen = card.measured.get("training samples", "").replace(",", "")
        found.append(
            Model(name, folder, weight_bytes(folder), int(seen) if seen.isdigit() else None, card)
        )
    return found


def weight_bytes(folder: Path) -> int:
    """Size of all weights below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


_MANIFEST = ("lab", "classifiers", "fleet", "manifest.json")


def has_fleet(root: Path | str | None = None) -> bool:
    """Whether there is one: it is the last that `make lab` trains."""
    return any(place.joinpath(*_MANIFEST).exists() for place in model_folders.roots(root))


def fleet(root: Path | str | None = None) -> list[FleetMember]:
    """The fleet by its manifest. InputError where there is none, or a faulty one."""
    if not has_fleet(root):
        raise InputError("the lab's fleet is not here: `make lab` trains it")
    path = model_folders.find(*_MANIFEST, root=root)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return [
            FleetMember(
                name,
                str(row["target"]),
                row["plant"],
                str(row["kind"]),
                float(row["strength"]),
                str(row["architecture"]),
                bool(row["random_labels"]),
                tuple(row["core"]),
                {family: float(effect) for family, effect in row["effects"].items()},
            )
            for name, row in data.items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a manifest of the fleet: {error!r}") from error


# --- for docs/lab.md ------------------------------------------------------------------------------

_BLOCK = re.compile(r"(<!-- numbers: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
PAGE = Path("docs/lab.md")
NONE_YET = "Not shipped yet: `make lab` trains it."


def refresh(document: str, root: Path | str | None = None) -> str:
    """The Markdown document with the numbers between its markers brought up to date.

    A block runs from `<!-- numbers: NAME -->` to `<!-- end -->`; NAME is "models", "classifiers",
    "fleet" or a model's. InputError for any other.
    """

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}\n{_numbers(found[2], root)}\n\n{found[3]}"

    return _BLOCK.sub(block, document)


def refresh_page(page: Path = PAGE) -> None:
    """`refresh` of a file, where there is one: a wheel has no documentation."""
    if page.exists():
        page.write_text(refresh(page.read_text("utf-8")), "utf-8")


def _numbers(name: str, root: Path | str | None) -> str:
    if name == "models":
        return _models_table(models(root))
    if name == "classifiers":
        return _classifiers_table(root)
    if name == "fleet":
        return _fleet_table(fleet(root)) if has_fleet(root) else NONE_YET
    if name in TITLES:
        found = next((model for model in models(root) if model.name == name), None)
        return found.card.body if found else NONE_YET
    raise InputError(f"docs: no numbers called {name!r}")


def _table(header: str, rows: Iterable[Iterable[str]]) -> str:
    columns = header.count("|") + 1
    lines = [f"| {header} |", "|" + " --- |" * columns]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _models_table(found: Sequence[Model]) -> str:
    rows = [
        (
            f"`{model.name}`",
            TITLES[model.name],
            f"{model.bytes / 1e6:.1f} MB",
            "" if model.samples is None else f"{model.samples:,}",
        )
        for model in found
    ]
    return _table("model | what it does | weights | trained on samples", rows)


def _classifiers_table(root: Path | str | None) -> str:
    folders: dict[str, Path] = {}
    for place in model_folders.roots(root):
        for config in sorted((place / "lab" / "classifiers").glob("*/config.json")):
            folders.setdefault(config.parent.name, config.parent)
    rows = []
    for name, folder in sorted(folders.items()):
        card = read_card(folder)
        groups = ", ".join(
            f"{what.removeprefix('accuracy, ')} {value}"
            for what, value in card.measured.items()
            if what.startswith("accuracy, ") and what != "accuracy, average"
        )
        rows.append((f"`lab:{name}`", card.about, groups))
    return _table("classifier | what it learned from | right on scenes", rows)


def _fleet_table(members: Sequence[FleetMember]) -> str:
    rows = [
        (
            f"`{member.spec}`",
            member.target,
            member.planted,
            ", ".join(f"{family} {value:+.2f}" for family, value in member.dependences().items()),
            str(member.count_negatives()),
        )
        for member in members
    ]
    return _table("classifier | target | planted | depends on | does not depend on", rows)
