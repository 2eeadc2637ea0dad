"""The source onnx:FILE or onnx:FILE:OUTPUT: a network in ONNX format, run by onnxruntime.

It has no gradient. Layout, side and number format of its input come from the graph. Pictures are
scaled to that side without a crop, and normalised as the options state: for an input of floats they
must, since the file does not. OUTPUT names one of several outputs. Its operation decides between
labels (a sigmoid) and classes; see `dexter.classifiers.reading` for the rest.
"""

from __future__ import annotations

import glob
import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dexter.classifiers.base import Classifier, Preprocessing, build
from dexter.classifiers.label_lists import builtin_labels
from dexter.classifiers.options import ClassifierOptions
from dexter.errors import InputError
from dexter.loading import hash_files, is_file, one_line, package

_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}
_SCORES = _DTYPES.keys() - {"tensor(uint8)"}
_UNKNOWN_SIDE = 224  # of a graph that takes pictures of any side
# By the operation that computes the outputs: whether they are of labels that do not exclude each
# other, and whether they are probabilities.
_MEANINGS = {
    "Softmax": (False, True),
    "Sigmoid": (True, True),
    **dict.fromkeys(("LogSoftmax", "Gemm", "MatMul", "Add", "Conv"), (False, False)),
}
# Operations that move or copy numbers without changing them.
_MOVES = {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"}
_WRAP = "wrap it in a Python file and pass python:PATH.py:FACTORY"


def load(address: str, options: ClassifierOptions) -> Classifier:
    """Load the graph in the file ``address``, with the name of an output behind a colon."""
    file, wanted = _find(address)
    spec = f"onnx:{file}{f':{wanted}' if wanted else ''}"
    runtime = package("onnxruntime", field="classifier", value=spec)
    session = _session(runtime, file, spec, options.device)
    entry = _entry(session, options, spec)
    output = _output(session, wanted, file, spec)
    operation = _last_operation(file, output)
    labels, probabilities = _MEANINGS.get(operation, (None, None))
    network = _Network(session, entry, output, sums_to_one=operation == "Softmax")
    layout = "NHWC" if entry.channels_last else "NCHW"
    batch = f" {entry.batch} at a time" if entry.batch else ""
    try:
        count = network(torch.zeros(1, 3, entry.side, entry.side)).shape[-1]
        return build(
            network,
            spec=spec,
            labels=builtin_labels("imagenet") if count == 1000 else None,
            preprocessing=Preprocessing(
                resize=entry.side,
                crop=entry.side,
                scale=255 if entry.dtype is np.uint8 else 1,
                assumed=frozenset() if entry.fixed or options.input_size else frozenset({"size"}),
            ),
            options=replace(options, dtype="float32"),
            # Weights may lie beside the graph.
            weights_hash=hash_files((part.name, part) for part in _parts(file)),
            multi_label=labels if count > 1 else None,
            probabilities=probabilities,
            notes=[f"onnxruntime {runtime.__version__}", f"{layout} {entry.dtype.__name__}{batch}"],
        )
    except InputError:
        raise
    except Exception as error:  # onnxruntime's errors have no class in common
        problem = f"fails on a picture of {entry.side} px: {one_line(error)}"
        raise _refusal(spec, problem) from error


@dataclass(frozen=True)
class _Entry:
    """The input of a graph: pictures (B, 3, side, side), (B, side, side, 3) if ``channels_last``.

    fixed: True if the graph takes no other side. batch: the number of pictures that it takes at a
    time, None for any.
    """

    name: str
    side: int
    fixed: bool
    batch: int | None
    channels_last: bool
    dtype: type[np.generic]


class _Network(nn.Module):
    """A session of onnxruntime as a module; pictures (B, 3, side, side) to its output (B, N)."""

    def __init__(self, session: Any, entry: _Entry, output: str, *, sums_to_one: bool) -> None:
        super().__init__()
        self._session = session
        self._entry = entry
        self._output = output
        self._sums_to_one = sums_to_one

    def forward(self, pictures: Tensor) -> Tensor:
        array = pictures.detach().float().cpu().numpy()
        if self._entry.channels_last:
            array = array.transpose(0, 2, 3, 1)
        if self._entry.dtype is np.uint8:
            array = array.round().clip(0, 255)
        array = np.ascontiguousarray(array.astype(self._entry.dtype))
        size = self._entry.batch or len(array)
        parts = [self._run(array[at : at + size], size) for at in range(0, len(array), size)]
        output = np.concatenate(parts).astype(np.float32)
        # A convolutional head ends in maps of one pixel.
        output = output.reshape(len(output), *([n for n in output.shape[1:] if n != 1] or [1]))
        if self._sums_to_one:
            output /= output.sum(-1, keepdims=True)  # in half precision it does so roughly
        return torch.from_numpy(output).to(pictures.device)

    def _run(self, array: NDArray[Any], size: int) -> NDArray[Any]:
        """Return the output of at most ``size`` pictures, as many as the graph takes at a time."""
        count = len(array)
        padded = array if count == size else np.resize(array, (size, *array.shape[1:]))
        output: NDArray[Any] = self._session.run([self._output], {self._entry.name: padded})[0]
        if size == 1 and output.shape[:1] != (1,):  # of one picture, without an axis for several
            output = output[None]
        return output[:count]


def _refusal(spec: str, problem: str, remedy: str | None = None) -> InputError:
    return InputError(f"{spec} {problem}", field="classifier", value=spec, remedy=remedy)


def _find(address: str) -> tuple[Path, str]:
    """Return the file and the name of the output, "" where none is named."""
    file, output = Path(address).expanduser(), ""
    if not file.is_file():
        path, colon, output = address.rpartition(":")
        file = Path(path).expanduser()
        if not colon or not file.is_file():
            raise InputError(f"no file {address}", field="classifier", value=f"onnx:{address}")
    return file.resolve(), output


def _parts(file: Path) -> list[Path]:
    """Return the file, and those beside it with weights: by their names, or as it states."""
    named = file.parent.glob(f"{glob.escape(file.name)}*")
    # A file from elsewhere may name anything: no other folder is read.
    stated = (name for name in map(PurePath, _beside(file)) if ".." not in name.parts)
    inside = (file.parent / name for name in stated if not name.is_absolute())
    return sorted({part for part in (*named, *inside) if is_file(part)})


def _beside(file: Path) -> list[str]:
    """Return the names of the files that hold tensors of a graph.

    A tensor of the graph (field 5) has entries about its data elsewhere (13), each with a key (1)
    and a value (2).
    """
    names = []
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for graph in _fields(data, 0, len(data), 7):
            for tensor in _fields(data, *graph, 5):
                for entry in _fields(data, *tensor, 13):
                    [key, value] = [
                        b"".join(data[a:b] for a, b in _fields(data, *entry, field))
                        for field in (1, 2)
                    ]
                    if key == b"location":
                        names.append(os.fsdecode(value))
    return names


def _session(runtime: Any, file: Path, spec: str, device: str) -> Any:
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # its errors are raised as well
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.startswith("cuda") and "CUDAExecutionProvider" in runtime.get_available_providers():
        number = device.partition(":")[2] or "0"
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": number}))
    try:
        return runtime.InferenceSession(str(file), settings, providers=providers)
    except Exception as error:  # onnxruntime's errors have no class in common
        # The message of a check stands behind the long signature of its C++ function.
        reason = re.sub(r"/onnxruntime_src/\S+ [^()]*\([^()]*\) *", "", str(error))
        raise _refusal(spec, f"cannot be loaded: {one_line(ValueError(reason))}") from error


def _entry(session: Any, options: ClassifierOptions, spec: str) -> _Entry:
    """Return the graph's input; raise InputError unless it takes pictures as the options state."""
    inputs = session.get_inputs()
    shapes = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _DTYPES:
        raise _refusal(spec, f"takes {shapes or 'nothing'}: must be a batch of pictures", _WRAP)
    batch, *rest = [
        size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape
    ]
    if (rest[0] == 3) == (rest[2] == 3):
        raise _refusal(spec, f"takes {shapes}: 3 channels must come first or last", _WRAP)
    channels_last = rest[2] == 3
    height, width = rest[:2] if channels_last else rest[1:]
    if height != width:
        raise _refusal(spec, f"takes {shapes}: pictures must be square", _WRAP)
    if None not in (height, options.input_size) and height != options.input_size:
        raise InputError(
            f"{options.input_size} px, but {spec} takes {height} px",
            field="input_size",
            value=options.input_size,
            remedy="omit it",
        )
    dtype = _DTYPES[inputs[0].type]
    _check_normalization(dtype is np.uint8, options, spec)
    side = height or options.input_size or _UNKNOWN_SIDE
    return _Entry(inputs[0].name, side, height is not None, batch, channels_last, dtype)


def _check_normalization(takes_bytes: bool, options: ClassifierOptions, spec: str) -> None:
    """Raise InputError where the options leave the input open, or contradict the file."""
    stated = options.normalization is not None or (options.mean and options.std)
    if not takes_bytes and not stated:
        raise InputError(
            f"missing for {spec}, which does not hold it",
            field="normalization",
            remedy="pass imagenet, half or none, as in its training, or --mean and --std",
        )
    if takes_bytes and (options.normalization not in (None, "none") or options.mean or options.std):
        raise InputError(
            f"{spec} takes bytes, which it normalises itself",
            field="normalization",
            value=options.normalization,
            remedy="omit it, with --mean and --std",
        )


def _output(session: Any, wanted: str, file: Path, spec: str) -> str:
    """Return the name of the output with scores: the wanted, or the only one of fractions."""
    kinds = {one.name: one.type for one in session.get_outputs()}
    if wanted and wanted not in kinds:
        raise _refusal(spec, f"has no output {wanted!r}", f"choose from {', '.join(kinds)}")
    scores = [name for name, kind in kinds.items() if kind in _SCORES]
    if wanted in scores or (len(scores) == 1 and not wanted):
        return wanted or scores[0]
    choices = " or ".join(f"onnx:{file}:{name}" for name in scores[:5])
    if len(scores) > 1 and not wanted:
        raise _refusal(spec, f"has {len(kinds)} outputs", f"pass {choices}")
    found = ", ".join(f"{name} {kind}" for name, kind in kinds.items() if wanted in ("", name))
    remedy = "export it with zipmap=False" if "map(" in found else _WRAP
    raise _refusal(
        spec,
        f"returns {found}: must be a tensor of scores",
        f"pass {choices}" if choices else remedy,
    )


def _last_operation(file: Path, output: str) -> str:
    """Return the type of the operation that computes an output, moves aside; "" if unknown.

    Reads the protobuf message of the file: a model holds a graph (field 7) of nodes (field 1), each
    with inputs (1), outputs (2) and a type (4).
    """
    made: dict[str, tuple[str, str]] = {}  # by output: the type of its node, and the first input
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for start, end in _fields(data, 0, len(data), 7):
            for node_start, node_end in _fields(data, start, end, 1):
                inputs, outputs, types = (
                    [data[a:b].decode() for a, b in _fields(data, node_start, node_end, field)]
                    for field in (1, 2, 4)
                )
                for name in outputs:
                    made[name] = (types[0] if types else "", inputs[0] if inputs else "")
    kind, entering = made.get(output, ("", ""))
    while kind in _MOVES and entering in made:
        kind, entering = made[entering]
    return kind


def _fields(data: mmap.mmap, at: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of a protobuf message's fields of a number, of those with a length.

    Raises ValueError for what is no such message.
    """
    while at < end:
        key, at = _number(data, at)
        wire = key & 7
        if wire == 2:
            length, at = _number(data, at)
            if key >> 3 == wanted:
                yield at, at + length
            at += length
        elif wire == 0:
            _, at = _number(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")


def _number(data: mmap.mmap, at: int) -> tuple[int, int]:
    """Read a varint; return it and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
