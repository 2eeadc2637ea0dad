"""The source timm:NAME: any classifier of timm, or a folder that timm saved.

NAME may carry the weights' tag, as in ``resnet50.a1_in1k``, or be a hub id, ``hf-hub:owner/name``.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dexter.classifiers.base import Classifier, Preprocessing, build
from dexter.classifiers.label_lists import builtin_labels
from dexter.classifiers.options import ClassifierOptions
from dexter.errors import InputError
from dexter.loading import LOADING_ERRORS, one_line, package, pickles_refused


def load(address: str, options: ClassifierOptions) -> Classifier:
    """Load a network by its name, hub id or folder."""
    timm = package("timm", field="classifier", value=f"timm:{address}")
    folder = Path(address).expanduser()
    local = folder.is_dir()
    name = f"local-dir:{folder.resolve()}" if local else address
    try:
        with pickles_refused():
            module = timm.create_model(name, pretrained=True)
    except LOADING_ERRORS as error:
        raise InputError(
            f"cannot load timm:{address}: {one_line(error)}",
            field="classifier",
            value=f"timm:{address}",
        ) from error
    if not module.num_classes:
        raise InputError(
            f"timm:{address} returns features: it has no layer of classes",
            field="classifier",
            value=f"timm:{address}",
            remedy="name a network that was trained on classes",
        )
    step = _preprocessing(timm.data.resolve_model_data_config(module))
    names = module.pretrained_cfg.get("label_names")
    if names is None and module.num_classes == 1000:
        names = builtin_labels("imagenet")
    return build(
        module,
        spec=f"timm:{folder.resolve() if local else address}",
        labels=names,
        preprocessing=step,
        options=options,
        reference_side=None
        if module.pretrained_cfg.get("fixed_input_size") is not True
        else step.crop,
        notes=[f"{len(module.state_dict())} tensors"],
    )


def usual_preprocessing(timm: Any, name: str) -> Preprocessing:
    """Return the preprocessing of a network's published weights, as an assumption about others."""
    with torch.device("meta"):
        module = timm.create_model(name)
    step = _preprocessing(timm.data.resolve_model_data_config(module))
    return replace(step, assumed=frozenset({"size", "normalization"}))


def _preprocessing(settings: Mapping[str, Any]) -> Preprocessing:
    side, mode = int(settings["input_size"][1]), settings["interpolation"]
    return Preprocessing(
        resize=int(side / settings["crop_pct"]),
        crop=side,
        mode="nearest-exact" if mode == "nearest" else mode,
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        squash=settings["crop_mode"] == "squash",
        rounds=True,
    )
