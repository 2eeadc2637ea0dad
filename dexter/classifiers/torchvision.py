"""The source torchvision:NAME or torchvision:NAME@WEIGHTS: torchvision's classifiers.

WEIGHTS default to IMAGENET1K_V1, as in the paper, where these exist. They are kept in torch's hub
cache (``$TORCH_HOME/hub/checkpoints``).
"""

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dexter.classifiers.base import Classifier, Preprocessing, build
from dexter.classifiers.label_lists import builtin_labels
from dexter.classifiers.options import ClassifierOptions
from dexter.errors import InputError
from dexter.loading import one_line, package

_HELPED = ("inception_v3", "googlenet")
# The reference code scales pictures to 224 px for these and to 256 px for all others.
_TRANSFORMERS = ("vit", "swin", "maxvit")


def load(address: str, options: ClassifierOptions) -> Classifier:
    """Load a network by its name, with its weights' name behind an @."""
    spec = f"torchvision:{address}"
    models = package("torchvision", field="classifier", value=spec).models
    name, _, wanted = address.lower().partition("@")
    check_name(models, name)
    weights = _weights(models, name, wanted)
    try:
        module = models.get_model(name, weights=weights)
    except OSError as error:
        file = Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])
        raise InputError(
            f"the weights of torchvision:{name} are not at {file}, and cannot be downloaded: "
            f"{one_line(error)}",
            field="classifier",
            value=spec,
            remedy=f"put {weights.url} there",
        ) from error
    return build(
        module,
        spec=f"torchvision:{name}@{weights.name}",
        labels=builtin_labels("imagenet"),
        preprocessing=_preprocessing(weights.transforms()),
        options=options,
        reference_side=224 if name.startswith(_TRANSFORMERS) else 256,
        notes=[f"{len(module.state_dict())} tensors"],
    )


def untrained(models: Any, name: str, classes: int) -> nn.Module:
    """Return a network without trained weights, nor the heads that help only in training."""
    options = {"aux_logits": False, "init_weights": False} if name in _HELPED else {}
    module: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options)
    return module


def usual_preprocessing(models: Any, name: str) -> Preprocessing:
    """Return the preprocessing of a network's published weights, as an assumption about others."""
    step = _preprocessing(_weights(models, name, "").transforms())
    return replace(step, assumed=frozenset({"size", "normalization"}))


def check_name(models: Any, name: str, field: str = "classifier") -> None:
    """Raise InputError, with the nearest names, for a network that torchvision does not have."""
    known = models.list_models(module=models)
    if name not in known:
        near = ", ".join(difflib.get_close_matches(name, known, n=3)) or ", ".join(known[:5])
        raise InputError(
            f"torchvision has no classifier {name!r}",
            field=field,
            value=name,
            remedy=f"choose another (nearest: {near})",
        )


def _weights(models: Any, name: str, wanted: str) -> Any:
    """Return the wanted weights of a network, or its default."""
    known = {weights.name.lower(): weights for weights in models.get_model_weights(name)}
    if wanted and wanted not in known:
        raise InputError(
            f"torchvision:{name} has no weights {wanted!r}",
            field="classifier",
            value=f"torchvision:{name}@{wanted}",
            remedy=f"choose from {', '.join(known)}",
        )
    return known.get(wanted or "imagenet1k_v1") or next(iter(known.values()))


def _preprocessing(transforms: Any) -> Preprocessing:
    return Preprocessing(
        resize=transforms.resize_size[0],
        crop=transforms.crop_size[0],
        mode=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        rounds=True,
    )
