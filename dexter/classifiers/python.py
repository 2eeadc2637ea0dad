"""python:PATH.py:FACTORY, any torch module that a function in a Python file makes.

The module takes float pictures (B, 3, H, W) in [0, 1] and gives logits (B, K), as a tensor or
as an object with ``.logits``. It may carry, as attributes:

    labels          names of the K classes; otherwise a labels file, otherwise "class 0", ...
    image_size      side in px that pictures are scaled to (default 224)
    mean, std       three numbers each; pictures become (picture - mean) / std (default: as is)
    feature_module  a module in it, or its dotted name, whose output is the features; otherwise
                    they are what the last linear layer reads

The file runs as it is, as a script would: with its own folder to import from.
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

from torch import nn

from dexter.classifiers.base import Classifier, Preprocessing, build
from dexter.classifiers.options import Options
from dexter.errors import InputError
from dexter.loading import hash_tensors, module_tensors, one_line

DEFAULT_IMAGE_SIZE = 224


def load(address: str, options: Options) -> Classifier:
    module, file, spec = make_module(address)
    size = getattr(module, "image_size", DEFAULT_IMAGE_SIZE)
    if not isinstance(size, int) or size < 1:
        raise InputError(f"{spec}: image_size is {size!r}, not a number of px")
    preprocessing = Preprocessing(
        resize=size,
        crop=size,
        mean=_channels(module, "mean", 0.0, spec),
        std=_channels(module, "std", 1.0, spec),
    )
    try:
        return build(
            module,
            spec=spec,
            labels=_labels(module, spec),
            preprocessing=preprocessing,
            options=options,
            # The source belongs to it: the same weights can be put together in another way.
            weights_hash=hash_tensors([*module_tensors(module), ("", file.read_bytes())]),
            feature_module=_feature_module(module, spec),
        )
    except InputError:
        raise
    except Exception as error:  # a user's module may fail in any way on its first picture
        raise InputError(
            f"{spec} fails on one picture (1, 3, {size}, {size}), the size by its image_size: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error


def make_module(address: str) -> tuple[nn.Module, Path, str]:
    """What the factory of ``PATH.py:FACTORY`` makes, with its file and full spec."""
    file, factory_name = _parse(address)
    spec = f"python:{file}:{factory_name}"
    with _importable(file.parent):
        module = _call(_find_factory(_run(file), factory_name, file), spec)
    if not isinstance(module, nn.Module):
        raise InputError(f"{spec} gave a {type(module).__name__}, not a torch.nn.Module")
    return module, file, spec


def _parse(address: str) -> tuple[Path, str]:
    path, colon, factory = address.rpartition(":")
    if not colon or not factory.isidentifier():
        raise InputError(
            f"classifier 'python:{address}' should read python:PATH.py:FACTORY, with the name of "
            "a function that makes the module"
        )
    file = Path(path).expanduser().resolve()
    if file.suffix != ".py" or not file.is_file():
        raise InputError(f"classifier 'python:{address}': there is no Python file {file}")
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
        raise InputError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        found.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything
        raise InputError(f"{file} raises {type(error).__name__}: {one_line(error)}") from error
    return module


def _find_factory(module: ModuleType, name: str, file: Path) -> Callable[[], Any]:
    factory = getattr(module, name, None)
    if not callable(factory):
        callables = [key for key, value in vars(module).items() if callable(value)]
        near = difflib.get_close_matches(name, callables, n=3, cutoff=0.4)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise InputError(f"{file} has no function {name!r}{hint}")
    made: Callable[[], Any] = factory
    return made


def _call(factory: Callable[[], Any], spec: str) -> Any:
    try:
        return factory()
    except Exception as error:  # a user's function may raise anything
        raise InputError(f"{spec} raises {type(error).__name__}: {one_line(error)}") from error


def _labels(module: nn.Module, spec: str) -> list[str] | None:
    labels = getattr(module, "labels", None)
    if labels is None:
        return None
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise InputError(f"{spec}: labels should be a list of names, not {labels!r}")
    return [str(label) for label in labels]


def _channels(module: nn.Module, name: str, default: float, spec: str) -> tuple[float, ...]:
    values = getattr(module, name, (default,) * 3)
    try:
        channels = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{spec}: {name} should be three numbers, not {values!r}") from error
    if len(channels) != 3:
        raise InputError(f"{spec}: {name} should be three numbers, not {len(channels)}")
    return channels


def _feature_module(module: nn.Module, spec: str) -> nn.Module | None:
    wanted = getattr(module, "feature_module", None)
    if isinstance(wanted, str):
        try:
            return module.get_submodule(wanted)
        except AttributeError as error:
            raise InputError(f"{spec}: it has no module {wanted!r} for its features") from error
    if wanted is not None and not isinstance(wanted, nn.Module):
        raise InputError(f"{spec}: feature_module is a {type(wanted).__name__}, not a module")
    return wanted
