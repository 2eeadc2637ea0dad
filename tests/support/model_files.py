"""Files and folders as people have them: models in all wrappers, and what is no model.

Each function of `CASES` writes one into a folder. It returns the settings of a run that names it,
and what is right: facts of its description, or parts of the line that refuses it.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

NETWORK = """
import torch
from torch import nn
class Net(nn.Module):
    image_size = 32
    def __init__(self, classes=3, end=None, **attributes):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, 4)
        self.fc = nn.Linear(8, classes)
        self.end = end
        for name, value in attributes.items():
            setattr(self, name, value)
    def forward(self, x):
        x = self.fc(self.conv(x).relu().mean((2, 3)))
        return self.end(x) if self.end else x
class Wrapped(nn.Module):
    image_size = 32
    def __init__(self):
        super().__init__(); self.net = Net()
    def forward(self, x):
        return self.net(x)
class Normalised(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([.5, .4, .3]))
        self.register_buffer("std", torch.tensor([.2, .2, .2]))
    def forward(self, x):
        return super().forward((x - self.mean[:, None, None]) / self.std[:, None, None])
def seeded(kind=Net, *arguments, **attributes):
    torch.manual_seed(3)
    return kind(*arguments, **attributes)
def make(): return seeded()
def thousand(): return seeded(Net, 1000)
def one(): return seeded(Net, 1)
def forty(): return seeded(Net, 40, multi_label=True)
def wrapped(): return seeded(Wrapped)
def normalised(): return seeded(Normalised)
def softmax(): return seeded(Net, 3, lambda x: x.softmax(1))
def log_softmax(): return seeded(Net, 3, lambda x: x.log_softmax(1))
def sigmoid(): return seeded(Net, 3, lambda x: x.sigmoid())
def one_sigmoid(): return seeded(Net, 1, lambda x: x.sigmoid().squeeze(1))
def unclear(): return seeded(Net, 3, lambda x: x.detach().sigmoid())
def untrained(): return Net()
def faint(): return seeded(Net, 3, lambda x: x.detach() / 100 + 0.3)
def large(): return seeded(Net, 3, lambda x: x * 1e6)
def nan(): return seeded(Net, 3, lambda x: x / 0 - x / 0)
def same(): return seeded(Net, 3, lambda x: x * 0 + 1)
def rounded(): return seeded(Net, 3, lambda x: (x * 1000).round())
def detached(): return seeded(Net, 3, lambda x: x.detach())
def single(): return seeded(Net, 3, lambda x: x.view(1, 3))
def infinite():
    return seeded(Net, 3, lambda x: torch.where(x.sum() * 0 == 0, x, x).log() * 0 + 1 / (x - x))
"""

Settings = dict[str, Any]
Right = dict[str, Any] | list[str]
"""Facts, or parts of the refusing line."""
CASES: dict[str, Callable[[Path], tuple[Settings, Right]]] = {}

LABELS = ["cat", "dog", "bird"]


def _case(function: Callable[[Path], tuple[Settings, Right]]) -> Callable[..., Any]:
    CASES[function.__name__] = function
    return function


def _net(folder: Path) -> Path:
    file = folder / "net.py"
    file.write_text(NETWORK)
    return file


def arch(folder: Path, factory: str = "make") -> str:
    return f"python:{_net(folder)}:{factory}"


def state(folder: Path, factory: str = "make", scale: float = 1.0) -> dict[str, Tensor]:
    """The weights of a network of NETWORK."""
    space: dict[str, Any] = {}
    exec(NETWORK, space)
    return {name: tensor * scale for name, tensor in space[factory]().state_dict().items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def saved(folder: Path, content: object, name: str = "w.pth") -> str:
    torch.save(content, folder / name)
    return f"checkpoint:{folder / name}"


def _wrapped_states() -> None:
    """Add the wrappers that are all read alike."""
    forms: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
        "plain": (lambda s: s, "4 tensors, 3 classes"),
        "data_parallel": (lambda s: under("module.", s), 'prefix "module." removed'),
        "compiled": (lambda s: under("_orig_mod.", s), 'prefix "_orig_mod." removed'),
        "compiled_parallel": (
            lambda s: under("module._orig_mod.", s), 'prefix "module._orig_mod." removed',
        ),
        "backbone": (lambda s: under("backbone.", s), 'prefix "backbone." removed'),
        "attribute_net": (
            lambda s: {"state_dict": under("net.", s)},
            'entry "state_dict", prefix "net." removed',
        ),
        "tutorial": (
            lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {}}, "epoch": 3},
            'entry "model_state_dict"',
        ),
        "key_net": (lambda s: {"net": s, "acc": 93.1, "epoch": 200}, 'entry "net"'),
        "arguments": (
            lambda s: {"model": s, "args": argparse.Namespace(lr=0.1)}, 'entry "model"',
        ),
        "key_model": (lambda s: {"model": s, "optimizer": {"lr": 0.1}}, 'entry "model"'),
        "lightning": (
            lambda s: {
                "epoch": 4,
                "state_dict": {**under("model.", s), "criterion.weight": torch.ones(3)},
                "hyper_parameters": {"lr": 1e-3},
            },
            '"criterion" ignored',
        ),
        "metrics_inside": (
            lambda s: {**s, "train_metrics.total": torch.zeros(1), "loss_fn.w": torch.ones(2)},
            "ignored",
        ),
        "thop": (lambda s: {**s, "total_ops": torch.zeros(1)}, '"total_ops" ignored'),
        "ema": (
            lambda s: {"state_dict": {k: v * 2 for k, v in s.items()}, "state_dict_ema": s},
            "averaged weights (EMA)",
        ),
        "ema_model": (
            lambda s: {**under("model.", {k: v * 2 for k, v in s.items()}),
                       **under("model_ema.module.", s)},
            "averaged weights (EMA)",
        ),
        "ema_beside": (
            lambda s: {**{k: v * 2 for k, v in s.items()}, **under("ema_model.", s)},
            "averaged weights (EMA)",
        ),
        "swa": (
            lambda s: {"model": {k: v * 2 for k, v in s.items()},
                       "swa_model": {"n_averaged": torch.tensor(3), **under("module.", s)}},
            "averaged weights (EMA)",
        ),
    }  # fmt: skip
    for name, (wrap, said) in forms.items():

        def case(folder: Path, wrap: Any = wrap, said: str = said) -> tuple[Settings, Right]:
            spec = saved(folder, wrap(state(folder)))
            return {"classifier": spec, "arch": arch(folder)}, {
                "said": ["3 classes", "32 px", said],
                "state": state(folder),
            }

        CASES[f"wrapper_{name}"] = case


_wrapped_states()


@_case
def safetensors(folder: Path) -> tuple[Settings, Right]:
    save_file(state(folder), folder / "w.safetensors")
    return (
        {"classifier": f"checkpoint:{folder / 'w.safetensors'}", "arch": arch(folder)},
        {"said": ["4 tensors", "3 classes"], "state": state(folder)},
    )


@_case
def safetensors_of_a_thousand(folder: Path) -> tuple[Settings, Right]:
    save_file(state(folder, "thousand"), folder / "w.safetensors")
    return (
        {"classifier": f"checkpoint:{folder / 'w.safetensors'}", "arch": arch(folder, "thousand")},
        {"said": ["1000 classes", "labels of ImageNet (assumed)"], "label": (291, "lion")},
    )


@_case
def safetensors_named_pth(folder: Path) -> tuple[Settings, Right]:
    save_file(state(folder), folder / "w.pth")
    return {"classifier": f"checkpoint:{folder / 'w.pth'}", "arch": arch(folder)}, {"said": []}


@_case
def pickle_named_safetensors(folder: Path) -> tuple[Settings, Right]:
    spec = saved(folder, state(folder), "w.safetensors")
    return {"classifier": spec, "arch": arch(folder)}, ["not a safetensors file", "rename it"]


@_case
def bare_path(folder: Path) -> tuple[Settings, Right]:
    saved(folder, state(folder))
    return {"classifier": str(folder / "w.pth"), "arch": arch(folder)}, {"said": ["3 classes"]}


@_case
def bare_folder_of_one_file(folder: Path) -> tuple[Settings, Right]:
    (folder / "in").mkdir()
    saved(folder, state(folder), "in/w.pth")
    return {"classifier": str(folder / "in"), "arch": arch(folder)}, {"said": ["3 classes"]}


@_case
def of_an_inner_network(folder: Path) -> tuple[Settings, Right]:
    spec = saved(folder, state(folder))
    return (
        {"classifier": spec, "arch": arch(folder, "wrapped")},
        {"said": ['prefix "net." added']},
    )


@_case
def class_names_in_the_file(folder: Path) -> tuple[Settings, Right]:
    spec = saved(folder, {"state_dict": state(folder), "classes": LABELS})
    return (
        {"classifier": spec, "arch": arch(folder)},
        {"said": ["labels of the file"], "labels": LABELS},
    )


@_case
def class_to_idx_in_the_file(folder: Path) -> tuple[Settings, Right]:
    own = {"class_to_idx": {"dog": 1, "bird": 2, "cat": 0}}
    spec = saved(folder, {"model": state(folder), **own})
    return {"classifier": spec, "arch": arch(folder)}, {"said": [], "labels": LABELS}


@_case
def input_stated_by_the_file(folder: Path) -> tuple[Settings, Right]:
    own = {"img_size": 48, "mean": [0.5] * 3, "std": [0.5] * 3}
    spec = saved(folder, {"state_dict": under("net.", state(folder)), "hyper_parameters": own})
    return (
        {"classifier": spec, "arch": arch(folder)},
        {"said": ['prefix "net." removed', "48 px", "mean 0.5, std 0.5"]},
    )


@_case
def input_stated_by_options(folder: Path) -> tuple[Settings, Right]:
    spec = saved(folder, state(folder))
    options = {"input_size": 299, "mean": "0.5", "std": "0.5"}
    return (
        {"classifier": spec, "arch": arch(folder), **options},
        {"said": ["299 px, mean 0.5, std 0.5"]},
    )


@_case
def input_assumed(folder: Path) -> tuple[Settings, Right]:
    spec = saved(folder, state(folder))
    return (
        {"classifier": spec, "arch": arch(folder)},
        {"said": ["mean 0.485/0.456/0.406", "(assumed)"]},
    )


@_case
def normalizer_of_robustness(folder: Path) -> tuple[Settings, Right]:
    wrapped = {
        "module.normalizer.new_mean": torch.tensor([0.1, 0.2, 0.3])[:, None, None],
        "module.normalizer.new_std": torch.tensor([0.4, 0.5, 0.6])[:, None, None],
        **under("module.model.", state(folder)),
        **under("module.attacker.model.", state(folder, scale=0)),
    }
    spec = saved(folder, {"model": wrapped, "epoch": 90})
    return (
        {"classifier": spec, "arch": arch(folder)},
        {"said": ["mean 0.1/0.2/0.3", "std 0.4/0.5/0.6"], "state": state(folder)},
    )


@_case
def normalised_inside(folder: Path) -> tuple[Settings, Right]:
    spec = saved(folder, state(folder, "normalised"))
    return (
        {"classifier": spec, "arch": arch(folder, "normalised")},
        {"said": ["normalised in the network", "pictures from 0 to 1"]},
    )


@_case
def two_networks(folder: Path) -> tuple[Settings, Right]:
    spec = saved(folder, {"model": state(folder), "best": state(folder, scale=2)})
    return {"classifier": spec, "arch": arch(folder)}, ["several networks", "'model'", "'best'"]


@_case
def teacher_and_student(folder: Path) -> tuple[Settings, Right]:
    own = {**under("student.", state(folder)), **under("teacher.", state(folder, scale=2))}
    spec = saved(folder, own)
    return {"classifier": spec, "arch": arch(folder)}, ["'student', 'teacher'"]


@_case
def other_shape(folder: Path) -> tuple[Settings, Right]:
    own = {**state(folder), "conv.weight": torch.zeros(8, 1, 5, 5)}
    return (
        {"classifier": saved(folder, own), "arch": arch(folder)},
        ['"conv.weight" is 8x1x5x5 in the file, 8x3x5x5 in the network'],
    )


@_case
def other_network(folder: Path) -> tuple[Settings, Right]:
    spec = saved(folder, {"other.weight": torch.zeros(3, 4)})
    return {"classifier": spec, "arch": arch(folder)}, ['the file has "other.weight"']


@_case
def weights_missing(folder: Path) -> tuple[Settings, Right]:
    own = {name: tensor for name, tensor in state(folder).items() if name != "fc.bias"}
    return {"classifier": saved(folder, own), "arch": arch(folder)}, ['has no "fc.bias"']


@_case
def weights_left_over(folder: Path) -> tuple[Settings, Right]:
    own = {**state(folder), "fc2.weight": torch.zeros(2, 3)}
    return (
        {"classifier": saved(folder, own), "arch": arch(folder)},
        ['that the network lacks: "fc2.weight"'],
    )


@_case
def without_arch(folder: Path) -> tuple[Settings, Right]:
    return {"classifier": saved(folder, state(folder))}, ["arch: missing", "--arch"]


@_case
def without_arch_beside_a_config(folder: Path) -> tuple[Settings, Right]:
    (folder / "config.json").write_text('{"model_type": "vit"}')
    return {"classifier": saved(folder, state(folder))}, [f"pass the folder, hf:{folder}"]


# Heads


def _head(name: str, factory: str, right: Right, **options: object) -> None:
    def case(folder: Path) -> tuple[Settings, Right]:
        return {"classifier": arch(folder, factory), **options}, right

    CASES[f"head_{name}"] = case


_head("logits", "make", {"said": ["3 classes, 32 px", "one class of several (softmax)"]})
_head("untrained", "untrained", {"said": ["one class of several (softmax)"]})
_head("softmax", "softmax", {"said": ["one class of several (probabilities)"]})
_head("log_softmax", "log_softmax", {"said": ["one class of several (softmax)"]})
_head("sigmoid", "sigmoid", {"said": ["multi-label (probabilities)"]})
_head("multi_label_option", "make", {"said": ["multi-label (sigmoid)"]}, multi_label=True)
_head("forty_attributes", "forty", {"said": ["40 classes", "multi-label (sigmoid)"]})
_head("threshold", "make", {"said": ["multi-label (sigmoid), threshold 0.8"]}, multi_label=True,
      threshold=0.8)  # fmt: skip
_head("threshold_of_classes", "make", ["threshold", "--multi-label"], threshold=0.8)
_head("one_logit", "one", ["one logit", "--positive-class"])
_head("one_logit_named", "one", {"said": ["one logit (sigmoid) of 'smiling'"],
      "labels": ["not smiling", "smiling"]}, positive_class="smiling")  # fmt: skip
_head("one_sigmoid", "one_sigmoid", {"said": ["one probability of 'smiling'"]},
      positive_class="smiling")  # fmt: skip
_head("positive_of_classes", "make", ["positive_class"], positive_class="cat")
_head("unclear", "unclear", ["do not add up to 1", "--multi-label"])
_head("unclear_but_stated", "unclear", {"said": ["multi-label (probabilities)", "no gradient"],
      "gradients": False}, multi_label=True)  # fmt: skip
_head("faint_logits", "faint", {"said": ["one class of several (softmax)"], "gradients": False})
_head("no_gradient", "detached", {"said": [], "gradients": False})
_head("no_slope", "rounded", {"said": [], "gradients": False})
_head("nan", "nan", ["not finite"])
_head("half_overflow", "large", ["not finite", "--dtype float32"], dtype="float16")
_head("constant", "same", ["all alike"])
_head("one_at_a_time", "single", ["fails on 5 pictures at a time"])


# Files that are no weights


def _file(name: str, data: bytes | Callable[[], bytes], *said: str) -> None:
    def case(folder: Path) -> tuple[Settings, Right]:
        file = folder / name.partition("/")[2]
        file.write_bytes(data() if callable(data) else data)
        return {"classifier": f"checkpoint:{file}", "arch": arch(folder)}, [file.name, *said]

    CASES[f"file_{name.replace('/', '_')}"] = case


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def _torch_bytes(cut: int = 0, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(40, 40)}, buffer, **options)
    return buffer.getvalue()[: len(buffer.getvalue()) - cut]


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n"
_file("pointer/lfs.pth", LFS, "git-lfs pointer", "git lfs pull")
_file("page/page.pth", b"\n<!DOCTYPE html><html></html>", "a web page")
_file("reply/denied.pth", b"Invalid username or password.", "a server's answer")
_file("onnx/m.pth", b"\x08\x07\x12\x07pytorch" + bytes(99), "an ONNX file")
_file("keras/m.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "Keras or HDF5")
_file("keras3/m.keras", _zip("config.json", "model.weights.h5"), "Keras or HDF5")
_file("empty/empty.pth", b"", "is empty")
_file("cut/cut.pth", lambda: _torch_bytes(cut=400), "cut off")
_file("cut_legacy/old.pth",
      lambda: _torch_bytes(cut=6500, _use_new_zipfile_serialization=False),
      "cut off or damaged")  # fmt: skip
_file("script/s.pt", _zip("m/data.pkl", "m/code/net.py"), "a TorchScript archive")
_file("exported/s.pt2", _zip("m/archive_format"), "an exported program")
_file("zip/z.pth", _zip("weights.pth"), "a zip archive", "unpack")
_file("numpy/z.npz", _zip("a.npy"), "a NumPy file")
_file("gzip/z.pth.gz", b"\x1f\x8b\x08" + bytes(20), "a compressed archive")
_file("picture/p.pth", b"\x89PNG\r\n\x1a\n" + bytes(20), "a picture")
_file("tflite/m.tflite", b"\x1c\0\0\0TFL3" + bytes(20), "TensorFlow Lite")
_file("tensorflow/frozen.pb", b"\n\x1c\n\x05input" + bytes(20), "a TensorFlow graph")
_file("openvino/m.xml", b'<?xml version="1.0"?>\n<net name="m">', "an OpenVINO network")
_file("gguf/m.gguf", b"GGUF" + bytes(20), "a GGUF file")
_file("garbage/g.pth", b"garbage" * 9, "of no known kind")
_file("flax/f.msgpack", b"\x82\xa6params" + bytes(20), "Flax")


class Trap:
    """An object whose unpickling would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("the pickle ran code",)


@_case
def pickle_with_code(folder: Path) -> tuple[Settings, Right]:
    spec = saved(folder, {"state_dict": state(folder), "note": Trap()})
    return {"classifier": spec, "arch": arch(folder)}, ["print", "--trust-pickle"]


@_case
def old_pickle_with_code(folder: Path) -> tuple[Settings, Right]:
    (folder / "w.pth").write_bytes(pickle.dumps({"note": Trap()}))
    spec = f"checkpoint:{folder / 'w.pth'}"
    return {"classifier": spec, "arch": arch(folder)}, ["print", "--trust-pickle"]


@_case
def cut_safetensors(folder: Path) -> tuple[Settings, Right]:
    save_file(state(folder), folder / "w.safetensors")
    data = (folder / "w.safetensors").read_bytes()
    (folder / "w.safetensors").write_bytes(data[:-50])
    spec = f"checkpoint:{folder / 'w.safetensors'}"
    return {"classifier": spec, "arch": arch(folder)}, ["w.safetensors is cut off"]


@_case
def diffusion_in_one_file(folder: Path) -> tuple[Settings, Right]:
    names = ("model.diffusion_model.a.weight", "first_stage_model.b.weight")
    save_file({name: torch.zeros(2) for name in names}, folder / "sd.safetensors")
    return {"classifier": str(folder / "sd.safetensors")}, ["a diffusion model"]


@_case
def lora(folder: Path) -> tuple[Settings, Right]:
    save_file({"lora_unet_a.weight": torch.zeros(2)}, folder / "lora.safetensors")
    return {"classifier": str(folder / "lora.safetensors")}, ["a LoRA"]


@_case
def python_source(folder: Path) -> tuple[Settings, Right]:
    return {"classifier": str(_net(folder))}, [f"pass python:{folder / 'net.py'}:FACTORY"]


@_case
def missing_file(folder: Path) -> tuple[Settings, Right]:
    return {"classifier": str(folder / "none.pth")}, ["does not exist"]


# Folders of transformers

_PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 32, "width": 32},
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "do_normalize": True,
    "do_rescale": True,
}


def make_vit(folder: Path) -> Path:
    """Write a tiny vision transformer for three classes."""
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 16, "image_size": 32, "patch_size": 8}  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ViTForImageClassification(
            ViTConfig(**sizes, id2label=dict(enumerate(LABELS)),
                      label2id={name: i for i, name in enumerate(LABELS)})
        )  # fmt: skip
        nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(_PROCESSOR))
    return folder


ViT = Callable[[Path], object]


def _folder(
    name: str,
    right: Right,
    config: dict[str, Any] | None = None,
    processor: dict[str, Any] | None = None,
    change: ViT | None = None,
    **options: object,
) -> None:
    def case(folder: Path) -> tuple[Settings, Right]:
        model = folder / "model"
        shutil.copytree(folder.parent / "vit", model)
        file = model / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **(config or {})}))
        if processor is not None:
            (model / "preprocessor_config.json").write_text(json.dumps({**_PROCESSOR, **processor}))
        if change is not None:
            change(model)
        return {"classifier": f"hf:{model}", **options}, right

    CASES[f"folder_{name}"] = case


def _only(*kept: str) -> ViT:
    def change(model: Path) -> None:
        for file in list(model.iterdir()):
            if file.name not in kept:
                file.unlink()

    return change


def _without(name: str) -> ViT:
    return lambda model: (model / name).unlink()


def _put(name: str, data: bytes | str) -> ViT:
    content = data.encode() if isinstance(data, str) else data

    def change(model: Path) -> None:
        (model / name).write_bytes(content)

    return change


def _weights(change: Callable[[dict[str, Tensor]], object]) -> ViT:
    def spoil(model: Path) -> None:
        from safetensors.torch import load_file

        tensors = load_file(model / "model.safetensors")
        change(tensors)
        save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})

    return spoil


def _instead(name: str, text: str) -> ViT:
    """Leave nothing but one file."""

    def change(model: Path) -> None:
        _only()(model)
        (model / name).write_text(text)

    return change


def _no_weights(name: str, data: bytes = b"x") -> ViT:
    def change(model: Path) -> None:
        (model / "model.safetensors").unlink()
        (model / name).write_bytes(data)

    return change


def _bom(model: Path) -> None:
    text = (model / "config.json").read_text()
    (model / "config.json").write_bytes(text.encode("utf-8-sig"))


def _processor_json(model: Path) -> None:
    (model / "preprocessor_config.json").unlink()
    (model / "processor_config.json").write_text(json.dumps({"image_processor": _PROCESSOR}))


_RIGHT = {"said": ["3 classes, 32 px, mean 0.5, std 0.5"], "labels": LABELS}
_folder("usual", {**_RIGHT, "said": ["24 tensors", *_RIGHT["said"]]})
_folder("id2label_swapped", {**_RIGHT, "said": ["id2label read as label2id"]},
        {"id2label": {"cat": 0, "dog": 1, "bird": 2}})  # fmt: skip
_folder("id2label_from_one", ["from 1 to 3, not from 0", "--labels"],
        {"id2label": {"1": "cat", "2": "dog", "3": "bird"}})  # fmt: skip
_folder("id2label_with_a_gap", ["from 0 to 4"], {"id2label": {"0": "a", "1": "b", "4": "c"}})
_folder("id2label_of_words", ["has the key 'x'"], {"id2label": {"x": "a", "y": "b"}})
_folder("id2label_out_of_order", _RIGHT, {"id2label": {"2": "bird", "0": "cat", "1": "dog"}})
_folder("label2id_differs", {**_RIGHT, "said": ["label2id, which differs, ignored"]},
        {"label2id": {"cat": 2, "dog": 1, "bird": 0}})  # fmt: skip
_folder("label_n", {"said": ["labels without meaning"]},
        {"id2label": {str(i): f"LABEL_{i}" for i in range(3)}})  # fmt: skip
_folder("multi_label", {**_RIGHT, "said": ["multi-label (sigmoid)"]},
        {"problem_type": "multi_label_classification"})  # fmt: skip
_folder("regression", ["is a regression"], {"problem_type": "regression"})
_folder(
    "more_labels_than_outputs",
    ["is 3x16 in the weights", "4x16 by config.json"],
    {"id2label": dict(enumerate("abcd"))},
)
_folder("size_list", _RIGHT, processor={"size": [32, 32]})
_folder("size_null", _RIGHT, processor={"size": None})
_folder("size_oblong", ["not the size of a square"], processor={"size": [32, 48]})
_folder("mean_one_number", _RIGHT, processor={"image_mean": 0.5})
_folder("mean_missing", ["image_mean is None", "--normalization"], processor={"image_mean": None})
_folder("no_preprocessor", ["no preprocessor_config.json", "--normalization"],
        change=_without("preprocessor_config.json"))  # fmt: skip
_folder("no_preprocessor_but_stated", {"said": ["32 px, mean 0.5"]},
        change=_without("preprocessor_config.json"), normalization="half")  # fmt: skip
_folder("processor_config", _RIGHT, change=_processor_json)
_folder("config_with_bom", _RIGHT, change=_bom)
_folder("config_of_a_page", ["config.json is a web page"],
        change=_put("config.json", "<!DOCTYPE html>"))  # fmt: skip
_folder("config_pointer", ["config.json is a git-lfs pointer"], change=_put("config.json", LFS))
_folder("other_model", ["holds a BertForMaskedLM"], {"architectures": ["BertForMaskedLM"]})
_folder("own_code", ["Python code of its repository"],
        {"architectures": ["Mine"], "auto_map": {"AutoModel": "m.Mine"}})  # fmt: skip
_folder("patches", ["takes rows of patches with a mask, not pixels"], {"model_type": "siglip2"})
_folder("palette", ["takes indices of colours, not pixels"], {"model_type": "imagegpt"})
_folder("weights_pointer", ["model.safetensors is a git-lfs pointer"],
        change=_put("model.safetensors", LFS))  # fmt: skip
_folder("weights_cut", ["model.safetensors is cut off"],
        change=lambda model: (model / "model.safetensors").write_bytes(
            (model / "model.safetensors").read_bytes()[:-99]))  # fmt: skip
_folder("weights_missing", ["has no weights"], change=_without("model.safetensors"))
_folder("index_without_shards", ["lacks model-00001-of-00002.safetensors"],
        change=_no_weights("model.safetensors.index.json", json.dumps({"weight_map": {
            "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})
            .encode()))  # fmt: skip
_folder("tensorflow_alone", ["for TensorFlow alone"], change=_no_weights("tf_model.h5"))
_folder("variant_alone", ["a variant alone"], change=_no_weights("model.fp16.safetensors"))
_folder("onnx_alone", ["an ONNX file alone", "onnx:"], change=_no_weights("model.onnx"))
_folder("weights_nan", ["not finite"],
        change=_weights(lambda t: t["classifier.bias"].fill_(float("nan"))))  # fmt: skip
_folder("head_of_zeros", ["all alike"], change=_weights(lambda t: t["classifier.weight"].zero_()))
_folder("head_missing", ["no trained weights for classifier"],
        change=_weights(lambda t: t.pop("classifier.weight")))  # fmt: skip
_folder("pickle_cut", ["cut off or damaged"],
        change=_no_weights("pytorch_model.bin", b"\x80\x02}q\x00"))  # fmt: skip
_folder("empty", ["has no config.json", "it is empty"], change=_only())
_folder("pipeline", ["a diffusers pipeline", "--generator"],
        change=_instead("model_index.json", "{}"))  # fmt: skip
_folder("adapter", ["a LoRA adapter alone"],
        change=_instead("adapter_config.json", "{}"))  # fmt: skip
_folder("saved_model", ["a TensorFlow model"],
        change=_instead("saved_model.pb", "x"))  # fmt: skip
_folder("of_timm", ["a folder of timm", "timm:"],
        change=_put("config.json", json.dumps({"pretrained_cfg": {}})))  # fmt: skip


@_case
def bare_folder(folder: Path) -> tuple[Settings, Right]:
    return {"classifier": str(folder.parent / "vit")}, _RIGHT


@_case
def bare_weights_of_a_folder(folder: Path) -> tuple[Settings, Right]:
    return {"classifier": str(folder.parent / "vit" / "model.safetensors")}, _RIGHT
