"""The source checkpoint:FILE with --arch NETWORK: weights from a training of your own.

FILE holds a state dict (PyTorch or safetensors), or a training checkpoint with one under "model"
or "state_dict". Wrappers are removed: ``module.`` of parallel training, and the robustness
library's ``module.model.``, whose attacker is ignored and whose normalizer gives mean and
deviation. The number of classes is that of the last layer in the file.

NETWORK is a network of torchvision or timm (which share the names of ResNets) such as
``resnet50``, with the prefix ``torchvision:`` or ``timm:`` to choose one; or a function of yours,
``python:PATH.py:FACTORY``, which returns the network with the right number of classes.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dexter.classifiers.base import Classifier, Preprocessing, build
from dexter.classifiers.label_lists import builtin_labels
from dexter.classifiers.options import ClassifierOptions
from dexter.classifiers.python import make_module
from dexter.classifiers.torchvision import check_name
from dexter.errors import InputError
from dexter.loading import one_line, package

SIDE = 224
RESIZE = 256
NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "none": ((0.0,) * 3, (1.0,) * 3),
}
_PREFIXES = ("module.", "model.")
_SHIPPED_LABELS = {1000: "imagenet"}


def load(address: str, options: ClassifierOptions) -> Classifier:
    """Load the network `options.arch` with the weights in the file `address`."""
    file = Path(address).expanduser().resolve()
    spec = f"checkpoint:{file}"
    if options.arch is None:
        raise InputError(
            f"missing for {spec}",
            field="arch",
            remedy="pass the checkpoint's network, such as --arch resnet50",
        )
    mean, std, state = _split(_read(file, options.trust_pickle))
    classes = _count_classes(state, spec)
    module = _make(options.arch, classes)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        # The first line names the class only.
        reason = one_line(RuntimeError(str(error).partition("\n")[2] or str(error)))
        raise InputError(
            f"{spec} is not a {options.arch} with {classes} classes: {reason}",
            field="arch",
            value=options.arch,
        ) from error
    if options.normalization is not None or mean is None or std is None:
        mean, std = NORMALIZATIONS[options.normalization or "imagenet"]
    shipped = _SHIPPED_LABELS.get(classes)
    side = getattr(module, "image_size", SIDE)
    return build(
        module,
        spec=spec,
        labels=None if shipped is None else builtin_labels(shipped),
        preprocessing=Preprocessing(resize=RESIZE * side // SIDE, crop=side, mean=mean, std=std),
        options=options,
    )


def _unreadable(file: Path, error: Exception) -> InputError:
    return InputError(
        f"cannot read {file}: {one_line(error)}", field="classifier", value=f"checkpoint:{file}"
    )


def _read(file: Path, trust_pickle: bool) -> dict[str, Any]:
    """Return the named weights in a file, and what else is beside them."""
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(file))
        except (OSError, SafetensorError) as error:
            raise _unreadable(file, error) from error
    try:
        content = torch.load(file, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        if trust_pickle:
            raise _unreadable(file, error) from error
        raise InputError(
            f"{file} holds more than weights, and unpickling it could run any code",
            field="classifier",
            value=f"checkpoint:{file}",
            remedy="pass --trust-pickle if you trust its author",
        ) from error
    except (OSError, RuntimeError, EOFError, ImportError, AttributeError) as error:
        raise _unreadable(file, error) from error
    if isinstance(content, nn.Module):
        return dict(content.state_dict())
    if not isinstance(content, dict):
        raise InputError(
            f"{file} holds a {type(content).__name__}, not weights",
            field="classifier",
            value=f"checkpoint:{file}",
        )
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
    """Return mean and deviation of the file's normalizer, if any, and the bare weights."""
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
    """Return the number of outputs of the last layer with weights."""
    sizes = [len(value) for name, value in state.items() if name.endswith("weight")]
    if not sizes:
        raise InputError(f"{spec} has no weights of a network", field="classifier", value=spec)
    return sizes[-1]


def _make(arch: str, classes: int) -> nn.Module:
    """Return an untrained network with a number of classes, of torchvision, timm or the user."""
    source, colon, name = arch.partition(":")
    if not colon:
        source, name = "", arch
    if source == "python":
        try:
            return make_module(name)[0]
        except InputError as error:
            raise InputError(
                error.problem, field="arch", value=arch, remedy=error.remedy
            ) from error
    if source not in ("", "torchvision", "timm"):
        raise InputError(
            f"{arch!r} has no known source",
            field="arch",
            value=arch,
            remedy="pass NAME, torchvision:NAME, timm:NAME or python:PATH.py:FACTORY",
        )
    if source != "timm":
        try:
            models = package("torchvision", field="arch", value=arch).models
        except InputError:
            if source:
                raise
        else:
            check_name(models, name, "arch")
            module: nn.Module = models.get_model(name, weights=None, num_classes=classes)
            return module
    timm = package("timm", field="arch", value=arch)
    try:
        network: nn.Module = timm.create_model(name, num_classes=classes)
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{arch!r}: {one_line(error)}", field="arch", value=arch) from error
    return network
