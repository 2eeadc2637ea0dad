"""Classifiers to explain: one interface, one module per source.

    lab:NAME                 a classifier of the embedded lab
    hf:FOLDER_OR_ID          any Hugging Face image classifier
    torchvision:NAME         a network of torchvision with its ImageNet weights
    timm:NAME                a network of timm with its weights
    checkpoint:FILE          weights that you trained, of a network that --arch names
    python:PATH.py:FACTORY   any torch module that a function of yours makes

Looking classifiers up needs no torch; `load_classifier` does.
"""

import difflib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexter import model_folders
from dexter.classifiers.label_lists import read_labels
from dexter.classifiers.options import ClassifierInfo as ClassifierInfo
from dexter.classifiers.options import Options as Options
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
}


def load_classifier(
    spec: str,
    *,
    labels: str | Path | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    trust_pickle: bool = False,
    arch: str | None = None,
    normalization: str | None = None,
    input: str = "trained",
    root: Path | str | None = None,
) -> "Classifier":
    """Load and freeze the classifier that ``spec`` names. InputError where that is not possible.

    ``labels``: a file with one label a line, before any that the classifier brings.
    ``trust_pickle``: load weights from a pickle that can run code. ``arch`` and
    ``normalization``: of a checkpoint, see there. ``input``: "trained" or "reference", how
    pictures are scaled. ``root``: where the lab's models lie.
    """
    source, address = _parse(spec)
    names = None if labels is None else read_labels(labels)
    module = import_module(f"dexter.classifiers.{source}")
    classifier: Classifier = module.load(
        address,
        Options(names, device, dtype, trust_pickle, arch, normalization, input, root),
    )
    return classifier


def describe_classifier(
    spec: str,
    *,
    labels: str | Path | None = None,
    trust_pickle: bool = False,
    arch: str | None = None,
    normalization: str | None = None,
    input: str = "trained",
    root: Path | str | None = None,
) -> ClassifierInfo:
    """Labels and sizes of the classifier that ``spec`` names; arguments as `load_classifier`.

    Reads files alone for lab and hf; the others have to be loaded, see `needs_torch`.
    """
    source, address = _parse(spec)
    names = None if labels is None else read_labels(labels)
    module = import_module(f"dexter.classifiers.{source}")
    options = Options(
        names,
        trust_pickle=trust_pickle,
        arch=arch,
        normalization=normalization,
        input=input,
        root=root,
    )
    if needs_torch(spec):
        made: Classifier = module.load(address, options)
        return ClassifierInfo(made.spec, made.labels, made.image_size, made.weights_hash)
    info: ClassifierInfo = module.describe(address, options)
    return info


def needs_torch(spec: str) -> bool:
    """Whether `describe_classifier` has to load the classifier, and torch with it."""
    return _parse(spec)[0] not in ("lab", "hf")


def list_classifiers(roots: Sequence[Path | str] | None = None) -> list[ClassifierInfo]:
    """The lab's classifiers, by name; the first of the ``roots`` that has one counts."""
    from dexter.classifiers import lab

    found: dict[str, Path] = {}
    for root in model_folders.roots() if roots is None else roots:
        for name in lab.names(root):
            found.setdefault(name, Path(root))
    return [describe_classifier(f"lab:{name}", root=found[name]) for name in sorted(found)]


def class_index(labels: Sequence[str], class_name: str) -> int:
    """Which class ``class_name`` means: a label, one of its comma-parted names, or an index.

    Case does not matter. Raises InputError, with the nearest names, for none or several.
    """
    wanted = class_name.strip().casefold()
    names = [[part.strip().casefold() for part in label.split(",")] for label in labels]
    whole = [index for index, label in enumerate(labels) if label.strip().casefold() == wanted]
    found = whole or [index for index, parts in enumerate(names) if wanted in parts]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(f"{index} ({labels[index]})" for index in found)
        raise InputError(f"class {class_name!r} could be {several}: give the index")
    try:
        index = int(wanted)
    except ValueError:
        known = {name: labels[index] for index, parts in enumerate(names) for name in parts}
        near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5) or list(known)[:5]
        meant = ", ".join(dict.fromkeys(repr(known[name]) for name in near))
        raise InputError(f"no class {class_name!r} among {len(labels)}; nearest: {meant}") from None
    if not 0 <= index < len(labels):
        raise InputError(
            f"class {index} is out of range: there are {len(labels)}, 0 to {len(labels) - 1}"
        )
    return index


def _parse(spec: str) -> tuple[str, str]:
    source, _, address = spec.partition(":")
    if source not in SOURCES or not address:
        raise InputError(
            f"classifier {spec!r} is not one of the forms {', '.join(SOURCES.values())}"
        )
    return source, address


def __getattr__(name: str) -> Any:
    if name in ("Classifier", "ClassifierOutput"):
        return getattr(import_module("dexter.classifiers.base"), name)
    if name == "build_classifier_and_transforms":  # where the reference code has it
        return getattr(import_module("dexter.classifiers.reference"), name)
    raise AttributeError(f"module 'dexter.classifiers' has no attribute {name!r}")
