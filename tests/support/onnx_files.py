"""Networks that look at the mean colour: ONNX files, written without `onnx`, and an endpoint."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import servers
import torch
from numpy.typing import NDArray
from PIL import Image

WEIGHT = np.array([[9.0, -3.0, -6.0], [-5.0, 8.0, -3.0], [-4.0, -5.0, 9.0]], np.float32)
"""From mean red, green and blue to three classes' logits."""


def logits_of(pictures: torch.Tensor) -> torch.Tensor:
    """Return the logits (B, 3) of pictures (B, 3, H, W) in [0, 1]."""
    return pictures.mean((2, 3)) @ torch.from_numpy(WEIGHT)


def scores(reply: Callable[[torch.Tensor], object]) -> servers.Answer:
    """Answer each picture with what ``reply`` makes of its logits."""

    def answer(handler: servers.Handler, body: Any, _number: int) -> None:
        picture = torch.from_numpy(np.array(Image.open(io.BytesIO(body)))).permute(2, 0, 1)
        handler.send(200, json.dumps(reply(logits_of(picture[None].float() / 255)[0])).encode())

    return answer


_ELEMENTS = {"float32": 1, "uint8": 2, "int64": 7, "float16": 10, "float64": 11}


def colour_network(
    file: Path,
    *,
    shape: Sequence[int | str] = ("N", 3, 32, 32),
    dtype: str = "float32",
    last: Sequence[str] = (),
    weight: NDArray[np.float32] = WEIGHT,
    two_outputs: bool = False,
    label: bool = False,
    channels_last: bool | None = None,
    beside: str = "",
) -> Path:
    """Write a network from pictures of a shape to logits, or to what the ``last`` operations give.

    channels_last: of the input; by default, where the shape's second number is not 3.
    label: put the number of the class first, as an output of whole numbers.
    beside: the name of a file for the weights.
    """
    nodes: list[bytes] = []
    name = "pictures"

    def add(operation: str, *inputs: str, ints: dict[str, list[int]] | None = None) -> None:
        nonlocal name
        made = f"value{len(nodes)}"
        attributes = b"".join(
            _field(5, _text(1, key) + b"".join(_number(8, n) for n in values) + _number(20, 7))
            for key, values in (ints or {}).items()
        )
        names = b"".join(_text(1, one) for one in (name, *inputs))
        nodes.append(names + _text(2, made) + _text(4, operation) + attributes)
        name = made

    if dtype != "float32":
        cast = _text(1, "to") + _number(3, 1) + _number(20, 2)
        nodes.append(_text(1, name) + _text(2, "floats") + _text(4, "Cast") + _field(5, cast))
        name = "floats"
    if dtype == "uint8":
        add("Div", "bytes")
    if shape[1] != 3 if channels_last is None else channels_last:
        add("Transpose", ints={"perm": [0, 3, 1, 2]})
    add("GlobalAveragePool")
    add("Flatten")
    add("MatMul", "weight")
    logits = name
    for operation in last:
        add(operation)
    outputs = [name, *([logits] if two_outputs else [])]
    if label:
        nodes.append(_text(1, name) + _text(2, "label") + _text(4, "ArgMax"))
    graph = b"".join(_field(1, node) for node in nodes) + _text(2, "graph")
    if beside:
        (file.parent / beside).write_bytes(weight.tobytes())
    graph += _tensor("weight", weight, beside) + _tensor("bytes", np.array(255, np.float32))
    graph += _field(11, _value("pictures", dtype, shape))
    if label:
        graph += _field(12, _value("label", "int64", (1, weight.shape[1])))
    for output in outputs:
        graph += _field(12, _value(output, "float32", (shape[0], weight.shape[1])))
    opset = _text(1, "") + _number(2, 17)
    file.write_bytes(_number(1, 8) + _field(8, opset) + _field(7, graph))
    return file


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _field(field, text.encode())


def _tensor(name: str, array: NDArray[np.float32], beside: str = "") -> bytes:
    dims = b"".join(_number(1, size) for size in array.shape)
    data = _field(9, array.tobytes())
    if beside:
        data = _field(13, _text(1, "location") + _text(2, beside)) + _number(14, 1)
    return _field(5, dims + _number(2, 1) + _text(8, name) + data)


def _value(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    sizes = b"".join(
        _field(1, _number(1, size) if isinstance(size, int) else _text(2, size)) for size in shape
    )
    return _text(1, name) + _field(2, _field(1, _number(1, _ELEMENTS[dtype]) + _field(2, sizes)))
