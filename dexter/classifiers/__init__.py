"""Classifiers to explain: one interface, one module per source.

    lab:NAME                 a classifier of the embedded lab
    hf:FOLDER_OR_ID          any Hugging Face image classifier
    torchvision:NAME         a network of torchvision with its ImageNet weights
    timm:NAME                a network of timm with its weights
    checkpoint:FILE          weights that you trained, of the network in ``arch``
    python:PATH.py:FACTORY   any torch module that a function of yours returns
    onnx:FILE                a network in ONNX format; it has no gradient
    http://HOST/PATH         an endpoint that scores pictures; it has no gradient

A path or hub id alone gets its source by `dexter.classifiers.sniff`.

Finding a classifier needs no torch; `load_classifier` does.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexter import model_folders
from dexter.classifiers import sniff
from dexter.classifiers.address import SCHEMES
from dexter.classifiers.options import ClassifierInfo as ClassifierInfo
from dexter.classifiers.options import ClassifierOptions as ClassifierOptions
from dexter.errors import InputError

if TYPE_CHECKING:
    from dexter.classifiers.base import Classifier as Classifier
    from dexter.classifiers.base import ClassifierOutput as ClassifierOutput

SOURCES = {
    "lab": "lab:NAME",
    "hf": "hf:FOLDER_OR_ID",
    "torchvision": "torchvision:NAME",
    "timm": "timm:NAME",
    "checkpoint": "checkpoint:FILE",
    "python": "python:PATH.py:FACTORY",
    "onnx": "onnx:FILE",
    "http": "http://HOST/PATH",
    "https": "https://HOST/PATH",
}

_UNNAMED = re.compile(r"class \d+")


def load_classifier(
    spec: str,
    options: ClassifierOptions = ClassifierOptions(),  # noqa: B008
) -> "Classifier":
    """Load and freeze the classifier `spec`; raise InputError where that is not possible."""
    source, address = _parse(spec)
    options.label_names()  # a faulty file is refused before weights are downloaded
    classifier: Classifier = _source(source).load(address, options)
    return classifier


def describe_classifier(
    spec: str,
    options: ClassifierOptions = ClassifierOptions(),  # noqa: B008
) -> ClassifierInfo:
    """Return labels and sizes of the classifier `spec`; raise InputError as `load_classifier`.

    Reads files only for lab and hf; loads the others, see `needs_torch`.
    """
    if needs_torch(spec):
        return load_classifier(spec, replace(options, device="cpu", dtype="float32")).describe()
    source, address = _parse(spec)
    info: ClassifierInfo = _source(source).describe(address, options)
    return info


def check_files(
    spec: str,
    options: ClassifierOptions = ClassifierOptions(),  # noqa: B008
) -> None:
    """Raise InputError for files that are no classifier, as far as they show it without torch."""
    source, address = _parse(spec)
    if source == "checkpoint":
        sniff.weights_kind(Path(address).expanduser().resolve(), full_spec(spec))
    elif source == "hf":
        _source(source).check_files(address, options)


def needs_torch(spec: str) -> bool:
    """Return whether `describe_classifier` has to load the classifier, and torch with it."""
    return _parse(spec)[0] not in ("lab", "hf")


def list_classifiers(roots: Sequence[Path | str] | None = None) -> list[ClassifierInfo]:
    """List the lab's classifiers by name, each from the first of the `roots` that has it."""
    found: dict[str, Path] = {}
    for root in model_folders.roots() if roots is None else roots:
        for name in _source("lab").names(root):
            found.setdefault(name, Path(root))
    return [
        describe_classifier(f"lab:{name}", ClassifierOptions(root=found[name]))
        for name in sorted(found)
    ]


def others(labels: Sequence[str], index: int) -> list[str]:
    """Return the labels of the other classes."""
    return [label for at, label in enumerate(labels) if at != index]


def class_index(labels: Sequence[str], class_name: str) -> int:
    """Return the index of a class by its label, one of its comma-separated names, or its index.

    Ignores case. Raises InputError, with the nearest names, for no class or several.
    """
    wanted = class_name.strip().casefold()
    names = [[part.strip().casefold() for part in label.split(",")] for label in labels]
    whole = [index for index, label in enumerate(labels) if label.strip().casefold() == wanted]
    found = whole or [index for index, parts in enumerate(names) if wanted in parts]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(f"{index} ({labels[index]})" for index in found)
        raise InputError(
            f"{class_name!r} fits several classes: {several}",
            field="class_name",
            value=class_name,
            remedy="pass the index",
        )
    try:
        index = int(wanted)
    except ValueError:
        known = {name: labels[index] for index, parts in enumerate(names) for name in parts}
        near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5) or list(known)[:5]
        nearest = ", ".join(dict.fromkeys(repr(known[name]) for name in near))
        raise InputError(
            f"{class_name!r} is none of the {len(labels)} classes",
            field="class_name",
            value=class_name,
            remedy=f"pass a label or an index (nearest: {nearest})",
        ) from None
    if not 0 <= index < len(labels):
        raise InputError(
            f"{index} is out of range: must be 0 to {len(labels) - 1}",
            field="class_name",
            value=class_name,
        )
    return index


def require_one_class(labels: Mapping[str, str]) -> None:
    """Raise InputError unless the class of several classifiers goes by one name in all of them.

    An index may stand for another class in each. ``labels``: of the class, by classifier. A class
    without a name, such as "class 0", goes by any.
    """
    named = {spec: label for spec, label in labels.items() if not _UNNAMED.fullmatch(label)}
    for spec, label in named.items():
        first, other = next(iter(named.items()))
        if not _names(label) & _names(other):
            raise InputError(
                f"is {other!r} of {first}, but {label!r} of {spec}",
                field="class_name",
                remedy="name a class that all have",
            )


def _names(label: str) -> set[str]:
    return {part.strip().casefold() for part in label.split(",")}


def full_spec(spec: str) -> str:
    """Return SOURCE:ADDRESS of a classifier, also of a bare path; raise InputError if unknown."""
    return sniff.full_spec(spec, SOURCES)


def _parse(spec: str) -> tuple[str, str]:
    """Split a spec into its source and its address."""
    full = full_spec(spec)
    source, _, address = full.partition(":")
    return source, full if source in SCHEMES else address  # an address is the whole


def _source(name: str) -> Any:
    if name == "lab":  # it builds on this package, so it brings its own source
        return import_module("dexter.lab.shipped")
    module = "http_endpoint" if name in SCHEMES else name
    return import_module(f"dexter.classifiers.{module}")


def __getattr__(name: str) -> Any:
    if name in ("Classifier", "ClassifierOutput"):
        return getattr(import_module("dexter.classifiers.base"), name)
    if name == "build_classifier_and_transforms":  # where the reference code has it
        return getattr(import_module("dexter.reference"), name)
    raise AttributeError(f"module 'dexter.classifiers' has no attribute {name!r}")
