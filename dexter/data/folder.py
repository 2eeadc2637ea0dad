"""The forms in which people keep labelled pictures, read into one list of items.

    FOLDER/CLASS/*.png                        a folder per class
    FOLDER/train/CLASS/*.png                  the same in folders of splits
    FOLDER/metadata.csv                       Hugging Face's imagefolder: file_name and a label
    FOLDER/train/metadata.csv                 the same in folders of splits
    FILE.csv or FOLDER/metadata.csv           filename,split,y,a (SubpopBench), or
                                              img_filename,y,split,place (WILDS' Waterbirds)
    FOLDER/list_attr_celeba.csv               CelebA, with list_eval_partition.csv beside it
    lab:SETTING                               scenes of the embedded lab
    lab:birds-small, lab:faces-old-men        the same with a planted bias, in three splits

Nothing is decoded here, and nothing but names is kept of a picture.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from dexter.errors import InputError
from dexter.loading import is_file

if TYPE_CHECKING:
    from dexter.lab.scenes import Example

FILE_COLUMNS = ("file_name", "filename", "img_filename", "image_id", "image", "path", "file")
LABEL_COLUMNS = ("label", "y", "class", "class_name", "target")
SPLIT_COLUMNS = ("split", "partition")
TABLES = ("metadata.csv", "list_attr_celeba.csv")
PARTITION = "list_eval_partition.csv"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
SPLITS = {
    **dict.fromkeys(("0", "train", "training"), "train"),
    **dict.fromkeys(("1", "val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("2", "test", "testing"), "test"),
}
"""The words and numbers that data sets use for their splits."""
LAB_SCENES = 2000
_FOLDERS = ("", "images", "img", "img_align_celeba", "img_align_celeba/img_align_celeba")
_DELIMITERS = ",;\t"
_MOST_VALUES = 50  # of a column that can be a group
_LISTED = 12  # columns in an error
_DIGITS = 10  # of the number of a class, at most
_HEAD = 100_000  # characters of a table's first line


class Why(StrEnum):
    """The reasons for which a picture or row is skipped."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too large"
    DUPLICATE = "repeated"
    NO_LABEL = "without a label"


@dataclass
class Skipped:
    """The pictures that are left out: how many for each reason, and the first of them by name."""

    counts: Counter[Why] = field(default_factory=Counter)
    names: list[tuple[str, Why]] = field(default_factory=list)
    kept: int = 100

    def add(self, name: str, why: Why) -> None:
        """Count a picture."""
        self.counts[why] += 1
        if len(self.names) < self.kept:
            self.names.append((name, why))

    def __str__(self) -> str:
        """Return the counts with the first name of each reason: "2 missing (a.png)"."""
        first = {why: name for name, why in reversed(self.names)}
        return ", ".join(f"{n} {why} ({first.get(why, '…')})" for why, n in self.counts.items())

    def merge(self, other: Skipped) -> None:
        """Count the pictures of another."""
        self.counts.update(other.counts)
        self.names += other.names[: self.kept - len(self.names)]


@dataclass(frozen=True)
class Item:
    """A picture with its label.

    source: its file, or a scene of the lab. groups: the values of further columns by name.
    """

    name: str
    source: Path | Example
    label: str
    split: str | None
    groups: Mapping[str, str]


@dataclass(frozen=True)
class DataSet:
    """Labelled pictures: `items` in the order of their table or names."""

    name: str
    items: Sequence[Item]
    skipped: Skipped
    columns: Sequence[str] = ()
    """The columns that can be groups."""

    @property
    def labels(self) -> list[str]:
        """Return the distinct labels, sorted."""
        return sorted({item.label for item in self.items})

    def of_split(self, split: str | None, field: str = "split") -> DataSet:
        """Return the items of a split; raise InputError, for this field, if there are none."""
        if split is None:
            return self
        wanted = SPLITS.get(split.lower(), split.lower())
        chosen = [item for item in self.items if item.split and item.split.lower() == wanted]
        if not chosen:
            found = sorted({item.split for item in self.items if item.split})
            raise InputError(
                f"{self.name} has no pictures in the split {split!r}",
                field=field,
                value=split,
                remedy=f"choose from {', '.join(found)}" if found else "omit it: it has no splits",
            )
        return DataSet(self.name, chosen, self.skipped, self.columns)

    def halves(self, fit: str, test: str) -> tuple[DataSet, DataSet]:
        """Return the items of two splits; of data without splits, two halves at random."""
        if any(item.split for item in self.items):
            return self.of_split(fit), self.of_split(test)
        order = random.Random(0).sample(range(len(self.items)), len(self.items))
        return (
            DataSet(
                self.name, [self.items[at] for at in sorted(order[::2])], self.skipped, self.columns
            ),
            DataSet(
                self.name,
                [self.items[at] for at in sorted(order[1::2])],
                self.skipped,
                self.columns,
            ),
        )

    def digest(self) -> str:
        """Return the SHA-256 (hex) of the names, labels, splits and groups, in their order."""
        hashed = hashlib.sha256()
        for item in self.items:
            row = [item.name, item.label, item.split, sorted(item.groups.items())]
            hashed.update(json.dumps(row).encode())
        return hashed.hexdigest()


def read_data(source: str, *, label: str | None = None, size: int = LAB_SCENES) -> DataSet:
    """Find the labelled pictures of a folder, a CSV file or a setting of the lab.

    ``label``: the column of the labels, where it is not one of `LABEL_COLUMNS`. ``size``: scenes of
    the lab, half of them for each of validation and test; where a bias is planted, for each of the
    two, and twice as many to train on. Raises InputError for anything that is none of the forms
    above.
    """
    if source.startswith("lab:"):
        return _scenes(source, size)
    try:
        path = Path(source).expanduser()
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, RuntimeError):  # a name that is too long, the home of nobody
        is_file = is_folder = False
    if is_file:
        return _of_table(path, path.parent, None, label)
    if not is_folder:
        raise InputError(
            f"{source} is no folder and no file",
            field="data",
            value=source,
            remedy="name a folder or a CSV file",
        )
    for name in TABLES:
        if (path / name).is_file():
            return _of_table(path / name, path, None, label)
    splits = {entry: SPLITS[entry.name.lower()] for entry in _folders(path) if _is_split(entry)}
    parts = []
    for entry, split in splits.items():
        if (entry / TABLES[0]).is_file():
            parts.append(_of_table(entry / TABLES[0], entry, split, label))
        else:
            parts.append(_of_classes(entry, split))
    if not splits:
        parts.append(_of_classes(path, None))
    found = _joined(source, parts)
    if not found.items:
        raise InputError(
            f"{source} holds no labelled pictures",
            field="data",
            value=source,
            remedy="name a folder with one folder per class, or with a metadata.csv",
        )
    return found


def class_indices(
    values: Iterable[str], labels: Sequence[str], mapping: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Return the index of a classifier's label for each label of the data.

    A label of the data is mapped by name in ``mapping``, by its own name, one of the names that
    commas separate, or by its number. Raises InputError for one that is none of the classifier's,
    or several: ImageNet has two classes "crane".
    """
    whole: dict[str, list[int]] = {}
    parts: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        whole.setdefault(_plain(label), []).append(index)
        for part in {_plain(part) for part in label.split(",")}:
            parts.setdefault(part, []).append(index)
    found = {}
    for value in values:
        name = (mapping or {}).get(value, value)
        fits = whole.get(_plain(name)) or parts.get(_plain(name), [])
        if len(fits) > 1:
            several = ", ".join(f"{index} ({labels[index]})" for index in fits[:_LISTED])
            raise InputError(
                f"{name!r} is a label of the data, and fits several classes: {several}",
                field="map",
                value=name,
                remedy=f"map it to an index: --map {shlex.quote(f'{value}={fits[0]}')}",
            )
        if fits:
            found[value] = fits[0]
        elif name.isdecimal() and len(name) < _DIGITS and int(name) < len(labels):
            found[value] = int(name)
        else:
            shown = ", ".join(labels[:_LISTED]) + (" …" if len(labels) > _LISTED else "")
            raise InputError(
                f"{name!r} is a label of the data, but not of the classifier ({shown})",
                field="map",
                value=name,
                remedy=f"map it: --map {shlex.quote(f'{value}=LABEL')}",
            )
    return found


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] != ".")


def _is_split(folder: Path) -> bool:
    """Return whether a folder is a split, and not a class of such a name: "train" is a vehicle."""
    named = folder.name.lower() in SPLITS and not folder.name.isdigit()
    return named and ((folder / TABLES[0]).is_file() or bool(_folders(folder)))


def _pictures(folder: Path) -> Iterator[Path]:
    """Yield the pictures below a folder, but not those of hidden files and folders."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part[0] == "." for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not hidden:
            yield path


def _of_classes(root: Path, split: str | None) -> DataSet:
    items = [
        Item(path.relative_to(root).as_posix(), path, folder.name, split, {})
        for folder in _folders(root)
        for path in _pictures(folder)
    ]
    return DataSet(str(root), items, Skipped())


def _joined(name: str, parts: Sequence[DataSet]) -> DataSet:
    skipped = Skipped()
    for part in parts:
        skipped.merge(part.skipped)
    columns = dict.fromkeys(column for part in parts for column in part.columns)
    return DataSet(name, [item for part in parts for item in part.items], skipped, list(columns))


def _rows(path: Path) -> tuple[list[str], Iterator[dict[str, str]]]:
    """Return the columns of a table, and its rows one by one."""

    def fault(problem: str, remedy: str = "pass a CSV file with a header line") -> InputError:
        return InputError(f"{path} {problem}", field="data", value=str(path), remedy=remedy)

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline(_HEAD)
    except UnicodeDecodeError:
        raise fault("is not UTF-8", "pass a CSV file in UTF-8") from None
    except OSError as error:
        raise fault(str(error)) from None
    delimiter = max(_DELIMITERS, key=head.count)
    columns = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
    if not any(columns):
        raise fault("is empty")

    def rows() -> Iterator[dict[str, str]]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            next(reader)
            try:
                for row in reader:
                    if row:
                        cells = [cell.strip() for cell in row]
                        yield dict(zip(columns, cells, strict=False))
            except (UnicodeDecodeError, csv.Error):
                raise fault(f"cannot be read near line {reader.line_num}") from None

    return columns, rows()


def _column(
    path: Path, columns: Sequence[str], known: Sequence[str], what: str, asked: str | None = None
) -> str:
    lower = {name.lower(): name for name in columns}
    for name in [asked] if asked is not None else known:
        if name.lower() in lower:
            return lower[name.lower()]
    shown = ", ".join(columns[:_LISTED]) + (" …" if len(columns) > _LISTED else "")
    wanted = repr(asked) if asked is not None else f"any of {', '.join(known)}"
    raise InputError(
        f"{path.name} has the columns {shown}, but not {wanted} for the {what}",
        field="label_column" if what == "label" else "data",
        value=str(path),
        remedy="name it with --label-column" if what == "label" else "rename the column",
    )


def _of_table(path: Path, root: Path, split: str | None, label: str | None) -> DataSet:
    columns, rows = _rows(path)
    of_file = _column(path, columns, FILE_COLUMNS, "picture")
    of_label = _column(path, columns, LABEL_COLUMNS, "label", label)
    of_split = next((name for name in columns if name.lower() in SPLIT_COLUMNS), None)
    partition = _partition(path.parent / PARTITION)
    others = [name for name in columns if name not in (of_file, of_label, of_split)]
    values: dict[str, set[str]] = {name: set() for name in others}
    skipped, seen, items = Skipped(), set[str](), []
    folder = _folder_of(root)
    for row in rows:
        name, value = row.get(of_file, ""), row.get(of_label, "")
        if not name or not value:
            skipped.add(name or "a row without a file", Why.NO_LABEL)
            continue
        if name in seen:
            skipped.add(name, Why.DUPLICATE)
            continue
        seen.add(name)
        part = split or partition.get(name) or (row.get(of_split) if of_split else None)
        for column in list(values):
            values[column].add(row.get(column, ""))
            if len(values[column]) > _MOST_VALUES:  # ids, places in a picture, captions
                del values[column]
        groups = {column: row.get(column, "") for column in values}
        word = SPLITS.get(str(part).lower(), part) if part else None
        items.append(Item(name, folder(name), value, word, groups))
    if not items:
        raise InputError(
            f"{path} lists no picture with a label", field="data", value=str(path),
            remedy="check its columns",
        )  # fmt: skip
    # Columns that turned out to be no groups are dropped from the first rows as well.
    kept = [
        Item(i.name, i.source, i.label, i.split, {k: i.groups[k] for k in values if k in i.groups})
        for i in items
    ]
    return DataSet(str(path), kept, skipped, list(values))


def _folder_of(root: Path) -> Callable[[str], Path]:
    """Return a function from a name in a table to a file, in the folder that holds the first."""
    places = [root / name for name in _FOLDERS]
    found: list[Path] = []

    def path_of(name: str) -> Path:
        if not found:
            for place in places:
                if is_file(place / name):
                    found.append(place)
                    break
            else:
                return root / name
        return found[0] / name

    return path_of


def _partition(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    columns, rows = _rows(path)
    of_file = _column(path, columns, FILE_COLUMNS, "picture")
    of_split = _column(path, columns, SPLIT_COLUMNS, "split")
    return {row.get(of_file, ""): row.get(of_split, "") for row in rows}


def _scenes(source: str, size: int) -> DataSet:
    from dexter.lab.scenes import PLANTED, SETTINGS, SceneDataset, Split

    name = source.partition(":")[2]
    items, columns = [], []
    if name in PLANTED:
        setting, draw = PLANTED[name]
        labels, columns = SETTINGS[setting].labels, list(SETTINGS[setting].attributes)
        counts: Mapping[Split, int] = {"train": 2 * size, "validation": size, "test": size}
        items = [
            Item(f"{source}/{split}/{at}", one, labels[one.label], split, dict(one.attributes))
            for split, count in counts.items()
            for at, one in enumerate(draw(split, count))
        ]
        return DataSet(source, items, Skipped(), columns)
    if name not in SETTINGS:
        raise InputError(
            f"the lab has no data {name!r}",
            field="data",
            value=source,
            remedy=f"choose from {', '.join(f'lab:{one}' for one in (*SETTINGS, *PLANTED))}",
        )
    for split in ("validation", "test"):
        scenes = SceneDataset(name, split, size // 2)
        labels, columns = scenes.setting.labels, list(scenes.setting.attributes)
        items += [
            Item(f"{source}/{split}/{at}", one, labels[one.label], split, dict(one.attributes))
            for at, one in enumerate(scenes)
        ]
    return DataSet(source, items, Skipped(), columns)
