"""The answers that the guided start offers: models, classes, generators, files."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from dexter.classifiers import SOURCES
from dexter.classifiers.sniff import WEIGHTS, full_spec
from dexter.errors import InputError
from dexter.generator_presets import GENERATORS, LAB
from dexter_tui.dashboard.screens.form_screen import fuzzy
from dexter_tui.formatting import short_path

_MOST = 500
"""Entries of a folder that are listed."""
_MODELS = (*WEIGHTS, ".onnx")
_KINDS = {
    "hf": "Hugging Face model",
    "timm": "timm model",
    "checkpoint": "weights",
    "onnx": "ONNX network",
    "python": "Python code",
}


class Offer(NamedTuple):
    """A line to choose."""

    text: str
    """The answer"""
    note: str = ""
    opens: bool = False
    """A folder to look into, which is no answer"""


def model_offers(text: str, known: Sequence[str]) -> list[Offer]:
    """Return models for a text: files and folders of a path, else known classifiers by name."""
    text = text.strip()
    if _is_path(text):
        return list(_entries(text, generators=False)) or [_whole(text)]
    if not text:
        here = []
        with suppress(FileNotFoundError):  # it may have been removed since the start
            here = [Offer("./", f"this folder, {short_path(Path.cwd())}", opens=True)]
        return [Offer("~/", "your files", opens=True), *here, *map(Offer, known)]
    found = [Offer(name) for name in fuzzy(text, known)]
    typed = [Offer(text, "Hugging Face id" if _is_hub_id(text) else "as typed")]
    if any(offer.text == text for offer in found):
        return found
    return typed + found if "/" in text or ":" in text else found + typed


def class_offers(text: str, labels: Sequence[str]) -> list[Offer]:
    """Return the labels that match a text, best first, with their indices."""
    index = {label: str(at) for at, label in reversed(list(enumerate(labels)))}
    found = [
        Offer(label, f"class {index[label]}") for label in fuzzy(text, list(dict.fromkeys(labels)))
    ]
    if text.strip().isdecimal() and int(text) < len(labels):
        found.insert(0, Offer(labels[int(text)], f"class {int(text)}"))
    return found or [Offer(text.strip(), "as typed")]


def generator_offers(text: str, *, lab_model: bool) -> list[Offer]:
    """Return generators for a text: files and folders of a path, else the named ones.

    The lab's generator comes first for the lab's classifiers, and last for all others.
    """
    text = text.strip()
    if _is_path(text):
        return list(_entries(text, generators=True)) or [_whole(text)]
    names = sorted(GENERATORS, key=lambda name: (name == LAB) is not lab_model)
    offers = [
        Offer(
            name,
            "64-pixel flat art, offline in a minute; results apply only to what it can draw"
            if name == LAB
            else GENERATORS[name].generator,
        )
        for name in fuzzy(text, names)
    ]
    if not text:
        offers.append(Offer("~/", "a folder of yours", opens=True))
    elif text not in names:
        typed = Offer(text, "Hugging Face id" if _is_hub_id(text) else "as typed")
        offers.insert(0 if _is_hub_id(text) else len(offers), typed)
    return offers


def completed(text: str, offers: Sequence[Offer], index: int) -> str:
    """Return the text completed: by what all offers share, else to the offer at the cursor."""
    begun = [offer.text for offer in offers if offer.text.startswith(text)]
    shared = begun[0] if begun else ""
    for one in begun:
        while not one.startswith(shared):
            shared = shared[:-1]
    if len(shared) > len(text):
        return shared
    return offers[index].text if index < len(offers) else text


def _is_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or text in (".", "..")


def _is_hub_id(text: str) -> bool:
    return text.count("/") == 1 and ":" not in text and not text.endswith("/")


def _entries(text: str, *, generators: bool) -> Iterator[Offer]:
    """Yield what a begun path may become: itself if it is an answer, then what a folder holds."""
    if text in ("~", ".", ".."):
        text += "/"
    try:
        whole = Path(text).expanduser()
        note = _kind(whole, generators=generators)
        if note and not text.endswith("/"):
            yield Offer(text, note)
        elif note and not note.startswith("weights"):
            yield Offer(text.rstrip("/"), note)
        parent, _, begun = text.rpartition("/")
        folder = Path(f"{parent}/").expanduser()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name.casefold())
    except (OSError, RuntimeError, ValueError):
        yield Offer(text, "no such folder", opens=True)
        return
    begins = [
        entry
        for entry in entries
        if entry.name.startswith(begun) and not (entry.name.startswith(".") and not begun)
    ]
    for entry in begins[:_MOST]:
        shown, kind = f"{parent}/{entry.name}", _kind(Path(entry.path), generators=generators)
        if kind and shown != text:
            yield Offer(shown, kind)
        if _is_folder(entry) and not kind:
            yield Offer(f"{shown}/", "folder", opens=True)


def _whole(text: str) -> Offer:
    """Return the offer for a path that begins nothing to choose."""
    path, _, factory = text.partition(".py:")
    try:
        if Path(f"{path}.py" if factory else path).expanduser().is_file():
            return Offer(text, "as typed")  # what is wrong with it, its refusal says
    except (OSError, RuntimeError, ValueError):
        pass
    return Offer(text, "no model here" if text.endswith("/") else "no such file", opens=True)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _kind(path: Path, *, generators: bool) -> str:
    """Return what a file or folder is in a word or two; "" for no model."""
    try:
        if generators:
            return "pipeline" if (path / "model_index.json").is_file() else ""
        if path.is_dir():
            weights = [file for file in path.iterdir() if file.name.lower().endswith(_MODELS)]
            if not (path / "config.json").is_file() and len(weights) != 1:
                return ""
        elif not path.name.lower().endswith(_MODELS):
            return ""
        source = full_spec(str(path), SOURCES).partition(":")[0]
    except (OSError, InputError):
        return ""
    return _KINDS.get(source, source)
