"""Options of the public DEXTER code (perceivelab/dexter) in the terms of this one; no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dexter import model_folders
from dexter.errors import InputError

OPTIONS = {
    "class_to_activate", "classifier", "seed", "optim_steps", "diff_steps", "lr", "bs", "tau",
    "n_soft_prompt", "mask_type", "topk", "vlm_id", "llm_id", "base_url", "api_key", "outdir",
    "system_prompt_config_path", "prefix", "n_tokens", "approx_opt_prompt", "nn_loss", "init_mode",
    "run_idx", "use_tfms", "stop_after", "sp_init", "no_match_uniform", "save_images", "feat_idx",
}  # fmt: skip
FLAGS_WITHOUT_VALUE = {"approx_opt_prompt", "nn_loss", "use_tfms"}
# Enough to tell its command line from ours.
ITS_OWN = OPTIONS - {"classifier", "seed", "base_url"}

_RENAMED = {
    "class_to_activate": "class_name",
    "seed": "seed",
    "optim_steps": "steps",
    "diff_steps": "diffusion_steps",
    "lr": "learning_rate",
    "bs": "batch",
    "n_soft_prompt": "soft_tokens",
    "vlm_id": "vlm",
    "llm_id": "llm",
    "base_url": "base_url",
}
_NOTES = {
    "outdir": "results go to the store; `dexter-tui export` writes them as files",
    "system_prompt_config_path": "system prompts are looked for in DEXTER_HOME/sp_config",
}
# Read by the reference, and without effect on what it computes.
_WITHOUT_EFFECT = {
    "prefix", "n_tokens", "approx_opt_prompt", "nn_loss", "init_mode", "run_idx", "use_tfms",
    "stop_after", "sp_init", "no_match_uniform", "save_images", "feat_idx",
}  # fmt: skip

_HALF = {"arch": "resnet50", "normalization": "half"}
_CLASSIFIERS: dict[str, dict[str, str]] = {
    "robust50": {
        "classifier": "robust_resnet50.pth",
        "arch": "resnet50",
        "normalization": "imagenet",
    },
    "resnet18": {"classifier": "torchvision:resnet18"},
    "resnet50": {"classifier": "torchvision:resnet50"},
    "alexnet": {"classifier": "torchvision:alexnet"},
    "vit_b_16": {"classifier": "torchvision:vit_b_16"},
    "vgg": {"classifier": "torchvision:vgg16"},
    "densenet": {"classifier": "torchvision:densenet121"},
    "swin_b": {"classifier": "torchvision:swin_b"},
    "fairfaces_resnet50": {
        "classifier": "fairfaces/models_balanced/fairface_95.pth",
        "labels": "fairface",
        **_HALF,
    },
    "fairfaces_resnet50_nobias": {
        "classifier": "fairfaces/models_balanced/fairface_nobias_40.pth",
        "labels": "fairface",
        **_HALF,
    },
    "waterbirds_resnet50": {
        "classifier": "waterbirds/models_balanced/waterbirds_90.pth",
        "labels": "waterbirds",
        **_HALF,
    },
    "waterbirds_balanced_resnet50": {
        "classifier": "waterbirds/models_balanced_test/waterbirds_90.pth",
        "labels": "waterbirds",
        **_HALF,
    },
    "waterbirds_erm": {
        "classifier": "best_model.pth",
        "arch": "resnet50",
        "labels": "waterbirds",
        "normalization": "imagenet",
    },
}

# What the reference code always uses.
_ALWAYS = {"generator": "sd14-lcm", "masked_lm": "google-bert/bert-base-uncased"}


def translate(options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Settings of this code, of a run and of its report, for options of the reference's.

    Other names pass as they are, and come before what the reference would take. Also gives lines
    about options that do nothing here. ``api_key`` is left out: see the caller. Raises InputError
    for what has no counterpart.
    """
    given = {name: value for name, value in options.items() if name in OPTIONS}
    own = {name: value for name, value in options.items() if name not in OPTIONS}
    found: dict[str, Any] = {"preset": "reference", **_ALWAYS}
    notes = [f"{name}: {_NOTES[name]}" for name in given if name in _NOTES]
    idle = sorted(name for name in given if name in _WITHOUT_EFFECT)
    if idle:
        notes.append(f"{', '.join(idle)}: without effect, as in the reference")
    for name, value in given.items():
        if name in _RENAMED and value is not None:
            found[_RENAMED[name]] = value
    found["class_name"] = str(found.get("class_name", 416))
    if "tau" in given:
        found["temperature"] = found["temperature_end"] = given["tau"]
    match given.get("mask_type", "multi_mask"):
        case "multi_mask":
            found["template"] = "multi"
        case "single_mask":  # without features
            found |= {"template": "single", "n_features": 0}
        case other:
            raise InputError(f"mask_type: {other!r} is neither multi_mask nor single_mask")
    if int(given.get("topk", 1)) != 1:
        raise InputError("topk: searches follow one another as runs here; give --seeds N")
    found |= classifier_settings(str(given.get("classifier", "robust50")))
    return {**found, **own}, notes


def classifier_settings(name: str) -> dict[str, str]:
    """Settings for one of the reference's classifier names; any other is a spec of ours."""
    settings = _CLASSIFIERS.get(name)
    if settings is None:
        return {"classifier": name}
    if settings["classifier"].startswith("torchvision:"):
        return dict(settings)
    return {**settings, "classifier": f"checkpoint:{_place(settings['classifier'])}"}


def _place(file: str) -> Path:
    """Where the reference looks, its working directory, else below a checkpoints folder."""
    places = [Path(file), *(root / file for root in (Path("checkpoints"), *model_folders.roots()))]
    return next((place.absolute() for place in places if place.is_file()), places[1])
