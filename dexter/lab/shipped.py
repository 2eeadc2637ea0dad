"""The contents of the shipped lab: models with their cards, the fleet's manifest, and the source
`lab:NAME` of classifiers.

No model is loaded and torch is not imported: all numbers were measured by `make lab`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dexter import model_folders
from dexter.classifiers import hf
from dexter.classifiers.options import ClassifierInfo, ClassifierOptions
from dexter.classifiers.reading import Answers, Preprocessing, recognised, refuse_idle
from dexter.errors import InputError
from dexter.lab import world
from dexter.loading import hash_files

if TYPE_CHECKING:
    from dexter.classifiers.base import Classifier

TITLES = {
    "generator": "draws pictures from words",
    "masked_lm": "proposes words",
    "image_text": "detects whether a picture shows a word",
    "captioner": "describes pictures",
}
"""The lab's models other than classifiers: folder -> purpose."""

LICENCE = "The pictures that it learned from"
"""The first words of a card's last paragraph."""

_ROW = re.compile(r"^\| (.+?) \| (.*?) \|$")
_COMMAND = re.compile(r"^Measured by `(.+)`\.$", re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """A model card, the README.md of a model folder.

    measured: name -> value as written in the card. command: the command that repeats the
    measurement. body: the text between the first paragraph and the licence, with tables.
    """

    about: str = ""
    measured: dict[str, str] = field(default_factory=dict)
    command: str = ""
    body: str = ""


@dataclass(frozen=True)
class Model:
    """A shipped model.

    name: folder under lab/. bytes: size of the weights. samples: total number of training samples,
    None if the card does not state it.
    """

    name: str
    folder: Path
    bytes: int
    samples: int | None
    card: Card


@dataclass(frozen=True)
class FleetMember:
    """A classifier of the fleet and its planted bias.

    target: its first label. plant: attribute family seen with the target, None for a clean member.
    strength: share of the target's scenes with it. core: families that are the class itself.
    effects: family -> mean change of p(target) when the attribute is added to the same scenes, in
    [-1, 1].
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
        """Return the planted bias in words."""
        if self.random_labels:
            return "random labels"
        return f"{self.plant} {self.strength:.0%}" if self.plant else "nothing"

    def dependences(self) -> dict[str, float]:
        """Return the measured dependences, strongest first, without the class's core families."""
        found = {
            family: effect
            for family, effect in self.effects.items()
            if abs(effect) >= world.POSITIVE and family not in self.core
        }
        return dict(sorted(found.items(), key=lambda item: -abs(item[1])))

    def count_negatives(self) -> int:
        """Return the number of families that it does not depend on."""
        return sum(
            abs(effect) <= world.NEGATIVE
            for family, effect in self.effects.items()
            if family not in self.core
        )


def read_card(folder: Path) -> Card:
    """Read the card of a model folder; return an empty one if there is none."""
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
    """Return those of the generator, masked LM, image-text model and captioner that exist."""
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
    """Return the size in bytes of all weights under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


_MANIFEST = ("lab", "classifiers", "fleet", "manifest.json")


def has_fleet(root: Path | str | None = None) -> bool:
    """Return True if there is a fleet; `make lab` trains it last."""
    return any(place.joinpath(*_MANIFEST).exists() for place in model_folders.roots(root))


def fleet(root: Path | str | None = None) -> list[FleetMember]:
    """Return the fleet from its manifest; raise InputError if it is missing or invalid."""
    if not has_fleet(root):
        raise InputError("the lab has no fleet", remedy="run `make lab` to train it")
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
        raise InputError(
            f"{path} is not a manifest of the fleet: {error!r}",
            value=str(path),
            remedy="run `make lab` to write it",
        ) from error


# --- for docs/lab.md ------------------------------------------------------------------------------

_BLOCK = re.compile(r"(<!-- numbers: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
PAGE = Path("docs/lab.md")
NONE_YET = "Not shipped: run `make lab` to train it."


def refresh(document: str, root: Path | str | None = None) -> str:
    """Return the Markdown document with current numbers between its markers.

    A block runs from `<!-- numbers: NAME -->` to `<!-- end -->`; NAME is "models", "classifiers",
    "fleet" or a model's name. Raises InputError for any other name.
    """

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}\n{_numbers(found[2], root)}\n\n{found[3]}"

    return _BLOCK.sub(block, document)


def refresh_page(page: Path = PAGE) -> None:
    """Apply `refresh` to a file if it exists: a wheel has no documents."""
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
    raise InputError(
        f"no numbers called {name!r}",
        value=name,
        remedy=f"name models, classifiers, fleet, {', '.join(TITLES)}",
    )


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
    return _table("model | purpose | weights | training samples", rows)


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
    return _table("classifier | training scenes | accuracy on scenes", rows)


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
    return _table("classifier | target | planted | depends on | families without effect", rows)


# The source lab:NAME of classifiers; `lab:gated-...` and `lab:people` are built from the
# image-text model


def names(root: Path | str) -> list[str]:
    """List the names of the lab's classifiers below a root; those of its fleet are "fleet/NAME"."""
    folder = Path(root) / "lab" / "classifiers"
    found = folder.rglob("config.json")
    return sorted(config.parent.relative_to(folder).as_posix() for config in found)


def describe(name: str, options: ClassifierOptions) -> ClassifierInfo:
    """Describe a classifier of the lab from its files."""
    if _from_image_text(name):
        return _describe_gated(name, options)
    return hf.describe_folder(_find(name, options.root), f"lab:{name}", options)


def load(name: str, options: ClassifierOptions) -> Classifier:
    """Load a classifier of the lab."""
    if _from_image_text(name):
        return _load_gated(name, options)
    return hf.load_folder(_find(name, options.root), f"lab:{name}", options)


def _from_image_text(name: str) -> bool:
    """Return whether a classifier is built from the image-text model."""
    return name.startswith(world.GATED) or name == "people"


def _describe_gated(name: str, options: ClassifierOptions) -> ClassifierInfo:
    return _described(name, options)[0]


def _described(
    name: str, options: ClassifierOptions
) -> tuple[ClassifierInfo, Preprocessing, list[str]]:
    """Return the description of a classifier built from the image-text model, and its notes."""
    from dexter.lab import gated

    gate = None if name == gated.PEOPLE else gated.parse(name)
    name = gate.name if gate else name
    labels = options.label_names() or (gate.labels if gate else list(gated.PEOPLE_LABELS))
    weights = model_folders.find("lab", "image_text", "model.safetensors", root=options.root)
    # The gate is no weight, but as much a part of the classifier.
    digest = hashlib.sha256(f"{name} {hash_files([('', weights)])}".encode()).hexdigest()
    step = Preprocessing(resize=gated.SIZE, crop=gated.SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
    step = step.with_options(options)
    answers = Answers(gate is None if options.multi_label is None else options.multi_label)
    refuse_idle(f"lab:{name}", answers, options)
    answers = replace(answers, threshold=options.threshold or 0.5)
    notes = ["the lab's image-text model"]
    line = recognised(notes, labels, step, answers)
    info = ClassifierInfo(
        f"lab:{name}",
        labels,
        step.crop,
        digest,
        line,
        multi_label=answers.multi_label,
        answers_key=options.answers_key(digest, step.key),
    )
    return info, step, notes


def _load_gated(name: str, options: ClassifierOptions) -> Classifier:
    from dexter.classifiers.base import build
    from dexter.lab import gated

    info, step, notes = _described(name, options)
    people = name == gated.PEOPLE
    return build(
        gated.People(options.root) if people else gated.Gated(gated.parse(name), options.root),
        spec=info.spec,
        labels=info.labels,
        preprocessing=step,
        options=options,
        weights_hash=info.weights_hash,
        multi_label=people,
        notes=notes,
    )


def _find(name: str, root: Path | str | None) -> Path:
    """Return the folder of a classifier; raise InputError, with the nearest names, if none."""
    known = sorted({found for place in model_folders.roots(root) for found in names(place)})
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:5]
        places = " or ".join(map(str, model_folders.roots(root)))
        nearest = ", ".join(f"lab:{found}" for found in near)
        raise InputError(
            f"no classifier 'lab:{name}' in {places}",
            field="classifier",
            value=f"lab:{name}",
            remedy=f"choose another (nearest: {nearest})" if near else None,
        )
    return model_folders.find("lab", "classifiers", *name.split("/"), root=root)
