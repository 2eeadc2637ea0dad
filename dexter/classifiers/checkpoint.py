"""The source checkpoint:FILE, with --arch NETWORK: weights from a training of your own.

FILE holds a state dict (PyTorch or safetensors), or a training checkpoint around one, in any of the
usual wrappers, see `dexter.classifiers.weights`. An average of weights (EMA) comes before the
weights. The number of classes is that of the network's own head. Mean and deviation come from the
file, else from the network's settings, else they are ImageNet's.

NETWORK is a network of torchvision or timm (which share the names of ResNets) such as
``resnet50``, with the prefix ``torchvision:`` or ``timm:`` to choose one; or a function of yours,
``python:PATH.py:FACTORY``, which returns the network with the right number of classes. Without it,
the network is the one that the file names, or the only one whose weights have the same names and
shapes.
"""

from __future__ import annotations

import json
import pickle
import re
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dexter.classifiers import sniff, timm, torchvision, weights
from dexter.classifiers.base import Classifier, Preprocessing, build
from dexter.classifiers.label_lists import builtin_labels
from dexter.classifiers.options import ClassifierOptions
from dexter.classifiers.python import make_module, preprocessing_of, stated_labels
from dexter.classifiers.reading import NORMALIZATIONS
from dexter.classifiers.weights import Content, Match
from dexter.device import is_out_of_memory
from dexter.errors import InputError
from dexter.loading import one_line, package

SIDE = 224
RESIZE = 256
_SHIPPED_LABELS = {1000: "imagenet"}


def load(address: str, options: ClassifierOptions) -> Classifier:
    """Load the network `options.arch` with the weights in the file `address`."""
    file = Path(address).expanduser().resolve()
    spec = f"checkpoint:{file}"
    content = _read(file, spec, options.trust_pickle)
    arch, notes = (options.arch, []) if options.arch else _guess(content, file, spec)
    network = _network(arch)
    used = _fit(content, network, spec)
    module = network.build(_count(used, network))
    state = OrderedDict(used.state)
    # The versions of the layers, which MNASNet asks for.
    state._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(state, strict=False)
    step, where = _preprocessing(network, module, content, used)
    stated = stated_labels(module, spec) or content.stated.labels

    def labels(count: int) -> tuple[list[str] | None, str]:
        if stated is not None and len(stated) in (count, 2 if count == 1 else count):
            return stated, "labels of the file"
        if count in _SHIPPED_LABELS:
            return builtin_labels(_SHIPPED_LABELS[count]), "labels of ImageNet (assumed)"
        return None, ""

    return build(
        module,
        spec=spec,
        labels=labels,
        preprocessing=step,
        options=options,
        multi_label=getattr(module, "multi_label", None),
        notes=[*used.notes, *notes, *where],
    )


def _read(file: Path, spec: str, trust_pickle: bool) -> Content:
    """Return the tensors in a file, and what is beside them."""
    kind = sniff.weights_kind(file, spec)
    if kind.name == "safetensors":
        content = _read_safetensors(file, spec)
    else:
        if file.suffix == ".safetensors":
            raise InputError(
                f"{file} is {kind.words}, not a safetensors file",
                field="classifier",
                value=spec,
                remedy="rename it to .pth",
            )
        content = weights.content_of(_unpickled(file, spec, trust_pickle))
    if not content.tensors:
        raise InputError(f"{file} has no weights of a network", field="classifier", value=spec)
    _refuse_foreign(content, file, spec)
    return content


def _read_safetensors(file: Path, spec: str) -> Content:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(file, "pt") as opened:
            stated = {name: _json(text) for name, text in (opened.metadata() or {}).items()}
        return weights.content_of({**stated, **load_file(file)})
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, spec, one_line(error)) from error
    except MemoryError as error:
        raise _too_large(file, spec) from error


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _unpickled(file: Path, spec: str, trust_pickle: bool) -> Any:
    try:
        # A training's arguments, which many keep beside the weights, are plain values as well.
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(file, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        code = [] if trust_pickle else weights.code_in(file)
        if not code:
            raise _unreadable(file, spec, "cut off or damaged") from error
        named = ", ".join(code[:3]) + (f" and {len(code) - 3} more" if len(code) > 3 else "")
        raise InputError(
            f"{file} holds more than weights ({named}), and unpickling it could run any code",
            field="classifier",
            value=spec,
            remedy="pass --trust-pickle if you trust its author, or save its state_dict() alone",
        ) from error
    except (ImportError, AttributeError) as error:  # a trusted pickle's own classes
        raise InputError(
            f"{file} needs Python code that is not here: {one_line(error)}",
            field="classifier",
            value=spec,
            remedy="save its state_dict() alone",
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError, MemoryError) as error:
        if is_out_of_memory(error):
            raise _too_large(file, spec) from error
        raise _unreadable(file, spec, one_line(error)) from error
    except Exception as error:  # a damaged file fails in any of torch's and pickle's ways
        raise _unreadable(file, spec, "cut off or damaged") from error


def _unreadable(file: Path, spec: str, why: str) -> InputError:
    return InputError(
        f"cannot read {file}: {why}",
        field="classifier",
        value=spec,
        remedy="download or save it again",
    )


def _too_large(file: Path, spec: str) -> InputError:
    return InputError(
        f"cannot read {file}: it needs more memory than there is",
        field="classifier",
        value=spec,
        remedy="free memory, or download it again if it is damaged",
    )


# Starts of names by which weights of something else are known.
_FOREIGN = (
    (("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "unet.down_blocks."),
     "a diffusion model", "pass it as a generator, once converted to a diffusers folder"),
    (("lora_", "base_model.model."), "a LoRA", "merge it into its model first"),
    (("visual.", "text_projection"), "a CLIP model, which has no classes",
     "add a head in a function of yours and pass python:PATH.py:FUNCTION"),
)  # fmt: skip


def _refuse_foreign(content: Content, file: Path, spec: str) -> None:
    names = [
        full[len(content.entries[full]) + 1 :] if content.entries[full] else full
        for full in content.tensors
    ]
    for starts, words, remedy in _FOREIGN:
        if sum(name.startswith(starts) for name in names) > len(names) / 2:
            raise InputError(
                f"{file} holds {words}, not a classifier",
                field="classifier",
                value=spec,
                remedy=remedy,
            )


# Networks


@dataclass(frozen=True)
class _Network:
    """A network to be filled. head: the names of weights that the number of classes shapes."""

    arch: str
    build: Callable[[int], nn.Module]
    shapes: weights.Shapes
    head: frozenset[str] = frozenset()
    step: Preprocessing | None = None


def _network(arch: str) -> _Network:
    """Return the network of a name, of torchvision, timm or the user; raise InputError."""
    source, colon, name = arch.partition(":")
    if not colon:
        source, name = "", arch
    if source == "python":
        try:
            module = make_module(name)[0]
        except InputError as error:
            raise InputError(
                error.problem, field="arch", value=arch, remedy=error.remedy
            ) from error
        return _Network(arch, lambda _: module, weights.shapes_of(module))
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
            torchvision.check_name(models, name, "arch")
            return _headed(
                f"torchvision:{name}",
                lambda classes: torchvision.untrained(models, name, classes),
                torchvision.usual_preprocessing(models, name),
            )
    library = package("timm", field="arch", value=arch)
    try:
        build = lambda classes: library.create_model(name, num_classes=classes)  # noqa: E731
        return _headed(f"timm:{name}", build, timm.usual_preprocessing(library, name))
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{arch!r}: {one_line(error)}", field="arch", value=arch) from error


def _headed(arch: str, build: Callable[[int], nn.Module], step: Preprocessing | None) -> _Network:
    """Find the head: the weights whose shapes differ between two numbers of classes."""
    five, seven = (_shapes(build, classes) for classes in (5, 7))
    head = frozenset(name for name in five if five[name] != seven[name])
    return _Network(arch, build, five, head, step)


def _shapes(build: Callable[[int], nn.Module], classes: int) -> weights.Shapes:
    """Return the shapes of a network's weights, which take no memory."""
    try:
        with torch.device("meta"):
            return weights.shapes_of(build(classes))
    except NotImplementedError:  # a RegNet computes its sizes from tensors
        from accelerate import init_empty_weights

        with init_empty_weights(include_buffers=False):
            return weights.shapes_of(build(classes))


def _fit(content: Content, network: _Network, spec: str) -> Match:
    """Return the file's weights of a network; raise InputError if they are not its."""
    for one in (content, _with_usual_head(content, network)):
        if one is None:
            continue
        try:
            found = weights.match(one, network.shapes, head=network.head)
        except InputError as error:
            raise InputError(
                f"{spec}: {error.problem}", field=error.field, value=spec, remedy=error.remedy
            ) from error
        if found is not None:
            if one is not content:
                found.notes.append("a head of one layer in a Sequential")
            return found
    remedy = "pass the network that was trained"
    if not network.arch.startswith("python:"):
        remedy += ", or python:PATH.py:FACTORY if it is your own"
    raise InputError(
        f"{spec} is not a {network.arch}: "
        f"{weights.mismatch(content, network.shapes, network.head)}",
        field="arch",
        value=network.arch,
        remedy=remedy,
    )


def _with_usual_head(content: Content, network: _Network) -> Content | None:
    """Rename the head of a fine-tuning, such as fc.1 for fc; None if it is not the only layer."""
    layers = {name.rpartition(".")[0] for name in network.head}
    if len(layers) != 1:
        return None
    [layer] = layers
    parent = re.sub(r"(\.\w+)$", "", layer)
    pattern = re.compile(
        rf"(^|.*\.)(?:{re.escape(layer)}\.\d+|{re.escape(parent)}(?:\.\d+)?)\.(weight|bias)$"
    )
    names: dict[str, str] = {}
    for full in content.tensors:
        if found := pattern.match(full):
            names[full] = f"{found[1]}{layer}.{found[2]}"
    if not names or len(set(names.values())) != len(names) or names.keys() == set(names.values()):
        return None
    return replace(
        content,
        tensors={names.get(full, full): tensor for full, tensor in content.tensors.items()},
        entries={names.get(full, full): entry for full, entry in content.entries.items()},
    )


def _count(used: Match, network: _Network) -> int:
    """Return the number of classes: the head's first dimension; 0 where the network has its own."""
    sizes = {used.state[name].shape[0] for name in network.head if name in used.state}
    return min(sizes, default=0)


def _preprocessing(
    network: _Network, module: nn.Module, content: Content, used: Match
) -> tuple[Preprocessing, list[str]]:
    """Return the preprocessing, from the file before the network's, and notes."""
    if network.step is not None:
        step = network.step
    else:
        step = preprocessing_of(module, network.arch)
        step = replace(step, resize=RESIZE * step.crop // SIDE)
        if "normalization" in step.assumed:
            mean, std = NORMALIZATIONS["imagenet"]
            step = replace(step, mean=mean, std=std)
    stated = content.stated
    if stated.size is not None:
        resize = round(stated.size * step.resize / step.crop)
        step = replace(step, resize=resize, crop=stated.size, assumed=step.assumed - {"size"})
    where, mean, std = weights.normalization(content, used)
    if not where and stated.mean is not None and stated.std is not None:
        where, mean, std = "file", stated.mean, stated.std
    if where == "network" and "normalization" in step.assumed:
        mean, std = NORMALIZATIONS["none"]
    elif where != "file":
        return step, []
    step = replace(step, mean=mean, std=std, assumed=step.assumed - {"normalization"})
    return step, ["normalised in the network"] if where == "network" else []


# A name in the weights of a family, and the starts of its networks' names.
_TORCHVISION = (
    ("layer1.0.conv1.weight", ("resnet", "resnext", "wide_resnet")),
    ("features.denseblock1.denselayer1.norm1.weight", ("densenet",)),
    ("features.1.0.layer_scale", ("convnext",)),
    ("features.1.0.block.0.0.weight", ("efficientnet",)),
    ("features.1.conv.0.0.weight", ("mobilenet_v2",)),
    ("features.1.block.0.0.weight", ("mobilenet_v3",)),
    ("encoder.layers.encoder_layer_0.ln_1.weight", ("vit",)),
    ("features.1.0.attn.relative_position_bias_table", ("swin",)),
    ("features.3.squeeze.weight", ("squeezenet",)),
    ("trunk_output.block1.block1-0.proj.0.weight", ("regnet",)),
    ("stage2.0.branch1.0.weight", ("shufflenet",)),
    ("Mixed_5b.branch1x1.conv.weight", ("inception",)),
    ("inception3a.branch1.conv.weight", ("googlenet",)),
    ("classifier.6.weight", ("vgg", "alexnet")),
)
_TIMM = (
    ("blocks.0.attn.qkv.weight", ("vit_tiny_patch16_224", "vit_small_patch16_224",
     "vit_base_patch16_224", "vit_base_patch32_224", "vit_large_patch16_224",
     "deit_tiny_patch16_224", "deit_small_patch16_224", "deit_base_patch16_224")),
    ("stages.0.blocks.0.conv_dw.weight", ("convnext_atto", "convnext_nano", "convnext_tiny",
     "convnext_small", "convnext_base", "convnext_large")),
    ("blocks.0.0.conv_dw.weight", ("efficientnet_b0", "efficientnet_b1", "efficientnet_b2",
     "efficientnet_b3", "tf_efficientnet_b0", "tf_efficientnet_b1", "tf_efficientnet_b2",
     "tf_efficientnet_b3", "mobilenetv2_100", "mobilenetv3_large_100", "mobilenetv3_small_100",
     "efficientnet_lite0", "tf_efficientnet_lite0")),
    ("layer1.0.conv1.weight", ("resnet18", "resnet34", "resnet50", "resnet101", "resnet18d",
     "resnet34d", "resnet50d", "resnet26", "resnet26d")),
)  # fmt: skip


def _guess(content: Content, file: Path, spec: str) -> tuple[str, list[str]]:
    """Return the network that a file names or that alone fits its weights, and a note."""
    stated = content.stated.arch
    if stated is not None and _exists(stated):
        return stated, [f"network {stated}, as the file states"]
    fitting = list(_fitting(content))
    if len(fitting) == 1:
        return fitting[0], [f"network {fitting[0]}, by names and shapes"]
    remedy = "pass the checkpoint's network, such as --arch resnet50"
    problem = f"missing for {spec}"
    if fitting:
        problem += f": several networks fit ({', '.join(fitting)})"
        remedy = f"pass --arch {' or '.join(fitting[:3])}"
    elif (file.parent / "config.json").is_file():
        remedy = f"pass the folder, hf:{file.parent}, or the network with --arch"
    elif families := _families(content):
        problem += f": the names are those of {' or '.join(families)}"
        remedy = "install torchvision or timm, which have such networks, or pass --arch"
    raise InputError(problem, field="arch", remedy=remedy)


def _exists(name: str) -> bool:
    models, library = _installed("torchvision"), _installed("timm")
    bare = name.removeprefix("torchvision:").removeprefix("timm:")
    return (models is not None and bare in models.models.list_models(module=models.models)) or (
        library is not None and bool(library.is_model(bare))
    )


def _installed(name: str) -> Any:
    try:
        return package(name, field="arch", value=name)
    except InputError:
        return None


def _families(content: Content) -> list[str]:
    found: dict[str, None] = {}
    for sign, starts in (*_TORCHVISION, *_TIMM):
        if any(full == sign or full.endswith(f".{sign}") for full in content.tensors):
            found[starts[0]] = None
    return list(found)


def _fitting(content: Content) -> Iterator[str]:
    """Yield the networks of torchvision, else of timm, whose weights have these names and shapes"""
    found = False
    models = _installed("torchvision")
    if models is not None:
        known = models.models.list_models(module=models.models)
        for sign, starts in _TORCHVISION:
            if any(full == sign or full.endswith(f".{sign}") for full in content.tensors):
                for name in known:
                    if name.startswith(starts) and _fits(content, f"torchvision:{name}"):
                        found = True
                        yield f"torchvision:{name}"
    library = None if found else _installed("timm")
    if library is not None:
        for sign, names in _TIMM:
            if any(full == sign or full.endswith(f".{sign}") for full in content.tensors):
                for name in names:
                    if library.is_model(name) and _fits(content, f"timm:{name}"):
                        yield f"timm:{name}"


def _fits(content: Content, arch: str) -> bool:
    try:
        _fit(content, _network(arch), "")
    except InputError:
        return False
    return True
