"""The source python:PATH.py:FACTORY: any torch module that a function in a Python file returns.

The module maps float pictures (B, 3, H, W) in [0, 1] to logits (B, K), a tensor or an object with
``.logits``; or one logit (B, 1) of two classes. It may have these attributes:

    labels          names of the K classes (default: a labels file, else "class 0", ...)
    image_size      side in px that pictures are scaled to (default: 224)
    mean, std       3 numbers each, for values from 0 to 1; the input is (picture - mean) / std
                    (default: the picture)
    multi_label     True if the K logits are of labels that do not exclude each other
    feature_module  a module in it, or its dotted name, whose output is the features (default:
                    the input of the last linear layer)

The file runs like a script: it can import from its own folder. torch's random numbers start from
the same seed each time, so that weights without a file are the same in every process.
"""

import difflib
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from dexter.classifiers.base import Classifier, Preprocessing, build
from dexter.classifiers.options import ClassifierOptions
from dexter.classifiers.reading import are_of_bytes
from dexter.device import is_out_of_memory
from dexter.errors import InputError
from dexter.loading import hash_tensors, module_tensors, one_line

DEFAULT_IMAGE_SIZE = 224


def load(address: str, options: ClassifierOptions) -> Classifier:
    """Load the module that the factory of ``PATH.py:FACTORY`` returns."""
    module, file, spec = make_module(address)
    preprocessing = preprocessing_of(module, spec)
    try:
        return build(
            module,
            spec=spec,
            labels=stated_labels(module, spec),
            preprocessing=preprocessing,
            options=options,
            # Of the source as well: it may combine the same weights in another way.
            weights_hash=hash_tensors([*module_tensors(module), ("", file.read_bytes())]),
            feature_module=_feature_module(module, spec),
            multi_label=getattr(module, "multi_label", None),
            notes=[f"{len(module.state_dict())} tensors"],
        )
    except InputError:
        raise
    except Exception as error:  # a user's module may fail in any way, also when it is hashed
        if is_out_of_memory(error):
            raise
        raise _refusal(spec, f"raises {type(error).__name__}: {one_line(error)}") from error


def make_module(address: str) -> tuple[nn.Module, Path, str]:
    """Return the module that the factory of ``PATH.py:FACTORY`` returns, its file and full spec."""
    file, factory_name = _parse(address)
    spec = f"python:{file}:{factory_name}"
    with _importable(file.parent), torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        module = _call(_find_factory(_run(file), factory_name, file), spec)
    if not isinstance(module, nn.Module):
        raise _refusal(spec, f"returns a {type(module).__name__}, not a torch.nn.Module")
    return module, file, spec


def preprocessing_of(module: nn.Module, spec: str) -> Preprocessing:
    """Return the preprocessing by a module's attributes, `assumed` where it lacks them."""
    size = getattr(module, "image_size", DEFAULT_IMAGE_SIZE)
    if not isinstance(size, int) or size < 1:
        raise _refusal(spec, f"has image_size {size!r}: must be a number of px")
    mean, std = (getattr(module, name, None) for name in ("mean", "std"))
    # Buffers are what the network itself normalises with.
    own = isinstance(mean, Tensor) or isinstance(std, Tensor)
    stated = {
        "size": hasattr(module, "image_size"),
        "normalization": mean is not None and not own,
    }
    return Preprocessing(
        resize=size,
        crop=size,
        mean=_channels((0.0,) * 3 if mean is None or own else mean, "mean", spec),
        std=_channels((1.0,) * 3 if std is None or own else std, "std", spec),
        assumed=frozenset(part for part, known in stated.items() if not known),
    )


def _refusal(spec: str, problem: str) -> InputError:
    return InputError(f"{spec} {problem}", field="classifier", value=spec)


def _parse(address: str) -> tuple[Path, str]:
    path, colon, factory = address.rpartition(":")
    if not colon or not factory.isidentifier():
        raise InputError(
            f"'python:{address}' names no function",
            field="classifier",
            value=f"python:{address}",
            remedy="pass python:PATH.py:FACTORY, with the function that returns the module",
        )
    file = Path(path).expanduser().resolve()
    if file.suffix != ".py" or not file.is_file():
        raise InputError(f"no Python file {file}", field="classifier", value=f"python:{address}")
    return file, factory


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _run(file: Path) -> ModuleType:
    name = f"dexter_classifier_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    found = importlib.util.spec_from_file_location(name, file)
    if found is None or found.loader is None:
        raise _refusal(str(file), "cannot be imported")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        raise _refusal(str(file), f"raises {type(error).__name__}: {one_line(error)}") from error
    return module


def _find_factory(module: ModuleType, name: str, file: Path) -> Callable[[], Any]:
    factory = getattr(module, name, None)
    if not callable(factory):
        callables = [key for key, value in vars(module).items() if callable(value)]
        near = difflib.get_close_matches(name, callables, n=3, cutoff=0.4)
        raise InputError(
            f"{file} has no function {name!r}",
            field="classifier",
            value=f"python:{file}:{name}",
            remedy=f"choose another (nearest: {', '.join(near)})" if near else None,
        )
    made: Callable[[], Any] = factory
    return made


def _call(factory: Callable[[], Any], spec: str) -> Any:
    try:
        return factory()
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        if is_out_of_memory(error):
            raise
        raise _refusal(spec, f"raises {type(error).__name__}: {one_line(error)}") from error


def stated_labels(module: nn.Module, spec: str) -> list[str] | None:
    """Return the labels by a module's attribute, if it has them."""
    labels = getattr(module, "labels", None)
    if labels is None:
        return None
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise _refusal(spec, f"has labels {labels!r}: must be a list of names")
    return [str(label) for label in labels]


def _channels(values: Any, name: str, spec: str) -> tuple[float, ...]:
    try:
        channels = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise _refusal(spec, f"has {name} {values!r}: must be 3 numbers") from error
    if len(channels) != 3:
        raise _refusal(spec, f"has {len(channels)} numbers in {name}: must be 3 numbers")
    if name == "mean" and are_of_bytes(channels):
        raise _refusal(spec, f"has mean {values!r}: must be for values from 0 to 1, not to 255")
    return channels


def _feature_module(module: nn.Module, spec: str) -> nn.Module | None:
    wanted = getattr(module, "feature_module", None)
    if isinstance(wanted, str):
        try:
            return module.get_submodule(wanted)
        except AttributeError as error:
            raise _refusal(spec, f"has no module {wanted!r} for its features") from error
    if wanted is not None and not isinstance(wanted, nn.Module):
        raise _refusal(spec, f"has a {type(wanted).__name__} as feature_module: must be a module")
    return wanted
