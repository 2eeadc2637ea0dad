"""checkpoint:FILE with --arch NETWORK, weights that someone trained and saved by themselves.

FILE holds a state dict (PyTorch or safetensors), or a training checkpoint with one under "model"
or "state_dict". Wrappers are seen through: ``module.`` of parallel training, and the form of the
robustness library, ``module.model.``, with its attacker left out and its normalizer's mean and
deviation taken over. The number of classes is that of the last layer in the file.

NETWORK is a network of torchvision or timm (which share the names of ResNets) such as
``resnet50``, with ``torchvision:`` or ``timm:`` before it to say whose; or a function of yours,
``python:PATH.py:FACTORY``, which makes the network with the right number of classes.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dexter.classifiers.base import Classifier, Preprocessing, build
from dexter.classifiers.label_lists import builtin_labels
from dexter.classifiers.options import Options
from dexter.classifiers.python import make_module
from dexter.classifiers.torchvision import check_name
from dexter.errors import InputError
from dexter.loading import one_line, package

SIDE = 224
RESIZE = 256
_NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "none": ((0.0,) * 3, (1.0,) * 3),
}
_PREFIXES = ("module.", "model.")
_SHIPPED_LABELS = {1000: "imagenet"}


def load(address: str, options: Options) -> Classifier:
    file = Path(address).expanduser().resolve()
    spec = f"checkpoint:{file}"
    if options.arch is None:
        raise InputError(f"classifier {spec}: say what network it is with --arch, as resnet50")
    mean, std, state = _split(_read(file, options.trust_pickle))
    classes = _count_classes(state, spec)
    module = _make(options.arch, classes)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        told = one_line(RuntimeError(str(error).partition("\n")[2] or str(error)))
        raise InputError(f"{spec} is not a {options.arch} of {classes} classes: {told}") from error
    if options.normalization is not None or mean is None or std is None:
        mean, std = _NORMALIZATIONS[options.normalization or "imagenet"]
    shipped = _SHIPPED_LABELS.get(classes)
    side = getattr(module, "image_size", SIDE)
    return build(
        module,
        spec=spec,
        labels=None if shipped is None else builtin_labels(shipped),
        preprocessing=Preprocessing(resize=RESIZE * side // SIDE, crop=side, mean=mean, std=std),
        options=options,
    )


def _read(file: Path, trust_pickle: bool) -> dict[str, Any]:
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(file))
        except (OSError, SafetensorError) as error:
            raise InputError(f"checkpoint {file} cannot be read: {one_line(error)}") from error
    try:
        content = torch.load(file, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        if trust_pickle:
            raise InputError(f"checkpoint {file} cannot be read: {one_line(error)}") from error
        raise InputError(
            f"checkpoint {file} holds more than weights, and unpickling it could run any code: "
            "pass --trust-pickle if you trust its author"
        ) from error
    except (OSError, RuntimeError, EOFError, ImportError, AttributeError) as error:
        raise InputError(f"checkpoint {file} cannot be read: {one_line(error)}") from error
    if isinstance(content, nn.Module):
        return dict(content.state_dict())
    if not isinstance(content, dict):
        raise InputError(f"checkpoint {file} holds a {type(content).__name__}, not weights")
    for key in ("model", "state_dict"):
        inner = content.get(key)
        if isinstance(inner, nn.Module):
            return dict(inner.state_dict())
        if isinstance(inner, Mapping):
            return dict(inner)
    return content


def _split(
    content: dict[str, Any],
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, dict[str, Tensor]]:
    """Mean and deviation of the file's own normalizer, if it has one, and the bare weights."""
    mean = std = None
    state = {}
    for name, value in content.items():
        if not isinstance(value, Tensor):
            continue
        if "normalizer." in name:
            if "attacker." not in name and name.endswith(("mean", "std")):
                numbers = tuple(value.flatten().tolist())
                mean, std = (numbers, std) if name.endswith("mean") else (mean, numbers)
        elif "attacker." not in name:
            state[name] = value
    found = True
    while found and state:
        found = False
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): value for name, value in state.items()}
                found = True
    return mean, std, state


def _count_classes(state: Mapping[str, Tensor], spec: str) -> int:
    """The outputs of the last layer that has any."""
    sizes = [len(value) for name, value in state.items() if name.endswith("weight")]
    if not sizes:
        raise InputError(f"{spec} holds no weights of a network")
    return sizes[-1]


def _make(arch: str, classes: int) -> nn.Module:
    source, colon, name = arch.partition(":")
    if not colon:
        source, name = "", arch
    if source == "python":
        return make_module(name)[0]
    if source not in ("", "torchvision", "timm"):
        raise InputError(f"--arch {arch!r} is none of NAME, torchvision:NAME, timm:NAME, python:…")
    if source != "timm":
        try:
            models = package("torchvision", f"--arch {arch}").models
        except InputError:
            if source:
                raise
        else:
            check_name(models, name)
            module: nn.Module = models.get_model(name, weights=None, num_classes=classes)
            return module
    timm = package("timm", f"--arch {arch}")
    try:
        network: nn.Module = timm.create_model(name, num_classes=classes)
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"--arch {arch!r}: {one_line(error)}") from error
    return network
