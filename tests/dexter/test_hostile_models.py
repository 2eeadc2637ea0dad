"""Code within model folders and files is never run: pickles, own classes, own libraries."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from dexter.errors import InputError
from dexter.generation.generator import load_generator
from dexter.generation.options import GeneratorOptions
from dexter.loading import pickles_refused
from dexter.reasoning.captions import LocalCaptioner
from dexter.reasoning.detection import load_detector
from dexter.reasoning.report import LocalWriter
from dexter.search.prompt import load_masked_lm


class Opened:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


FOLDERS: dict[str, tuple[Callable[[], Path], Callable[[Path], object], str]] = {
    "masked LM": (tiny.masked_lm_folder, lambda path: load_masked_lm(str(path)), "."),
    "captioner": (tiny.captioner_folder, lambda path: LocalCaptioner(str(path), "describe"), "."),
    "writer": (tiny.writer_folder, lambda path: LocalWriter(str(path)), "."),
    "image-text": (tiny.image_text_folder, lambda path: load_detector(str(path)), "."),
    "unet": (tiny.generator_folder, lambda path: load_generator(str(path)), "unet"),
    "text encoder": (tiny.generator_folder, lambda path: load_generator(str(path)), "text_encoder"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_pickle_in_a_model_folder_runs_nothing(name: str, tmp_path: Path) -> None:
    make, load, part = FOLDERS[name]
    folder = shutil.copytree(make(), tmp_path / "theirs")
    canary = tmp_path / "canary"
    for file in (folder / part).glob("*.safetensors"):
        file.unlink()
        bad = pickle.dumps(Opened(canary))
        stem = "diffusion_pytorch_model" if part == "unet" else "pytorch_model"
        file.with_name(f"{stem}.bin").write_bytes(bad)
    with pytest.raises(InputError) as refused:
        load(folder)
    assert len(str(refused.value).splitlines()) == 1
    assert not canary.exists()


@pytest.mark.parametrize("name", ["masked LM", "captioner", "writer", "text encoder"])
def test_auto_map_is_not_followed(name: str, tmp_path: Path) -> None:
    make, load, part = FOLDERS[name]
    folder = shutil.copytree(make(), tmp_path / "theirs")
    canary = tmp_path / "canary"
    (folder / part / "theirs.py").write_text(f"open({str(canary)!r}, 'w')\nclass Net: pass\n")
    autos = ("AutoConfig", "AutoModel", "AutoModelForMaskedLM", "AutoModelForCausalLM",
             "AutoModelForImageTextToText", "AutoTokenizer", "AutoProcessor")  # fmt: skip
    for file in (folder / part).glob("*config.json"):
        values = json.loads(file.read_text())
        file.write_text(json.dumps({**values, "auto_map": dict.fromkeys(autos, "theirs.Net")}))
    load(folder)  # by the library's own class
    file = folder / part / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_type": "theirs"}))
    if name != "text encoder":  # whose class the pipeline's index names
        with pytest.raises(InputError):
            load(folder)
    assert not canary.exists()


@pytest.mark.parametrize(
    "component", [["theirs", "Net"], ["antigravity", "geohash"], ["os", "system"]]
)
def test_a_pipeline_names_no_code_but_the_libraries(component: list[str], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny.generator_folder(), tmp_path / "theirs")
    canary = tmp_path / "canary"
    (folder / "unet" / "theirs.py").write_text(f"open({str(canary)!r}, 'w')\nclass Net: pass\n")
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "unet": component}))
    with pytest.raises(InputError, match="brings code of its own, which is never run"):
        load_generator(str(folder))
    assert not canary.exists()


def test_a_library_cannot_read_more_than_weights(tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "pytorch_model.bin"
    file.write_bytes(pickle.dumps(Opened(canary)))
    with pickles_refused(), pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=False)
    assert not canary.exists()


@pytest.mark.parametrize("file", ["lora.bin", "lora.safetensors", "folder"])
def test_a_lora_is_no_pickle(file: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = pickle.dumps({"unet.x.lora_A.weight": Opened(canary)})
    path = tmp_path / file
    if file == "folder":
        path.mkdir()
        (path / "pytorch_lora_weights.bin").write_bytes(data)
    else:
        path.write_bytes(data)
        (tmp_path / "pytorch_lora_weights.bin").write_bytes(data)  # that diffusers looks for
    with pytest.raises(InputError):
        load_generator(str(tiny.generator_folder()), GeneratorOptions(lora=str(path)))
    assert not canary.exists()
