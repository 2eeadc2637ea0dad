"""The kind of a file or folder by its content, for errors that name it and the next step.

Reads a few bytes, never more than a header, and needs no torch.
"""

from __future__ import annotations

import json
import os
import stat
import zipfile
from pathlib import Path
from typing import NamedTuple

from dexter.errors import InputError

_HEAD = 4096
_MAX_HEADER = 100_000_000  # bytes of a safetensors header, by its format


class FileKind(NamedTuple):
    """A kind of file. name: a key; words: "a git-lfs pointer"; remedy: the next step, or ""."""

    name: str
    words: str
    remedy: str = ""


_LFS = FileKind(
    "lfs",
    "a git-lfs pointer, not the file itself",
    "fetch it: run `git lfs pull` in its repository, or download it again",
)
_HTML = FileKind(
    "html", "a web page, not a model", "download the file itself, not the page about it"
)
_ERROR = FileKind(
    "answer", "a server's answer in text, not a model", "download the file again, with access to it"
)
_EMPTY = FileKind("empty", "empty", "download or save it again")
_CUT = FileKind("cut", "cut off", "download or save it again")
_ONNX = FileKind("onnx", "an ONNX file, not PyTorch weights", "pass it as onnx:FILE")
_KERAS = FileKind(
    "keras",
    "a Keras or HDF5 file, not PyTorch weights",
    "export it to ONNX (tf2onnx), or wrap it in python:PATH.py:FACTORY",
)
_TFLITE = FileKind(
    "tflite", "a TensorFlow Lite file, not PyTorch weights", "wrap it in python:PATH.py:FACTORY"
)
_TENSORFLOW = FileKind(
    "tensorflow", "a TensorFlow graph, not PyTorch weights", "export it to ONNX (tf2onnx)"
)
_OPENVINO = FileKind(
    "openvino", "an OpenVINO network, not PyTorch weights", "wrap it in python:PATH.py:FACTORY"
)
_FLAX = FileKind(
    "flax",
    "Flax weights, not PyTorch weights",
    "convert them with from_pretrained(..., from_flax=True) and save_pretrained",
)
_GGUF = FileKind("gguf", "a GGUF file of a language model", "pass an image classifier")
_TORCHSCRIPT = FileKind(
    "torchscript",
    "a TorchScript archive, not weights",
    "return torch.jit.load(FILE) from a function and pass python:PATH.py:FUNCTION",
)
_PT2 = FileKind(
    "pt2",
    "an exported program, not weights",
    "return torch.export.load(FILE).module() from a function and pass python:PATH.py:FUNCTION",
)
_ZIP = FileKind("zip", "a zip archive, not weights", "unpack it and pass the file inside")
_NUMPY = FileKind("numpy", "a NumPy file, not PyTorch weights", "save it with torch.save")
_ARCHIVE = FileKind("archive", "a compressed archive", "unpack it and pass the file inside")
_PICTURE = FileKind("picture", "a picture, not a model", "pass a model")
_PYTHON = FileKind("python", "Python source", "pass python:PATH.py:FACTORY")
_SAFETENSORS = FileKind("safetensors", "a safetensors file")
_TORCH = FileKind("torch", "a PyTorch file")
_PICKLE = FileKind("pickle", "a pickle")
_UNKNOWN = FileKind("unknown", "of no known kind", "pass a .pth, .pt, .ckpt or .safetensors file")

# The first bytes of formats that have a mark.
_MARKS = (
    (b"version https://git-lfs", _LFS),
    (b"\x89HDF\r\n\x1a\n", _KERAS),
    (b"GGUF", _GGUF),
    (b"\x93NUMPY", _NUMPY),
    (b"\x1f\x8b", _ARCHIVE),
    (b"BZh", _ARCHIVE),
    (b"\xfd7zXZ", _ARCHIVE),
    (b"7z\xbc\xaf", _ARCHIVE),
    (b"\x89PNG", _PICTURE),
    (b"\xff\xd8\xff", _PICTURE),
    (b"GIF8", _PICTURE),
)
_TEXTS = (b"entry not found", b"invalid username", b"access to", b"not found", b"unauthorized")


def file_kind(path: Path) -> FileKind:
    """Return the kind of a file; raise OSError if it cannot be read."""
    size = path.stat().st_size
    if not size:
        return _EMPTY
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return FileKind("special", "not a plain file", "pass a file")
        head = file.read(_HEAD)
    for mark, kind in _MARKS:
        if head.startswith(mark):
            return kind
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:400].lower()
    if path.suffix == ".xml" and b"<net" in start:
        return _OPENVINO
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return _HTML
    if start.startswith(_TEXTS) or (start.startswith(b"{") and b'"error' in start):
        return _ERROR
    if head[4:8] == b"TFL3":
        return _TFLITE
    if head.startswith(b"PK"):
        return _zip_kind(path)
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header <= _MAX_HEADER:
        return _SAFETENSORS if _is_whole(path, header, size) else _CUT
    if path.suffix == ".safetensors" and size < 8 + header <= _MAX_HEADER:
        return _CUT
    if path.suffix == ".onnx" or _looks_like_onnx(head):
        return _ONNX
    if path.suffix == ".msgpack":
        return _FLAX
    if path.suffix == ".pb":
        return _TENSORFLOW
    if path.suffix == ".py":
        return _PYTHON
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _PICKLE
    return _UNKNOWN


def _zip_kind(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return _CUT
    last = {name.rpartition("/")[2] for name in names}
    if any(name.startswith("code/") or "/code/" in name for name in names):
        return _TORCHSCRIPT
    if "archive_format" in last or "serialized_exported_program.json" in last:
        return _PT2
    if "data.pkl" in last:
        return _TORCH
    if "model.weights.h5" in last:
        return _KERAS
    return _NUMPY if names and all(name.endswith(".npy") for name in names) else _ZIP


def _is_whole(path: Path, header: int, size: int) -> bool:
    """Return whether a safetensors file holds all the bytes that its header states."""
    if size < 8 + header:
        return False
    with path.open("rb") as file:
        file.seek(8)
        try:
            tensors = json.loads(file.read(header))
            ends = [tensors[name]["data_offsets"][1] for name in tensors if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return True  # not cut off but faulty: its reader says how
    return size >= 8 + header + max(ends, default=0)


def _looks_like_onnx(head: bytes) -> bool:
    """Return whether it begins as a ModelProto: its version, then the name of the producer."""
    return head[:1] == b"\x08" and head[1:2] in bytes(range(1, 20)) and head[2:3] in (b"\x12", b":")


def refuse(path: Path, kinds: tuple[str, ...], *, field: str, value: object) -> FileKind:
    """Return the kind of a file if it is among `kinds`; raise InputError that names it if not."""
    try:
        kind = file_kind(path)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}", field=field, value=value
        ) from error
    if kind.name not in kinds:
        raise InputError(f"{path} is {kind.words}", field=field, value=value, remedy=kind.remedy)
    return kind
