"""The options of the public DEXTER code (perceivelab/dexter) as settings of this one; no torch."""

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
# Any of these identifies its command line.
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
    "outdir": "results are in the store; `dexter-tui export` writes them to files",
    "system_prompt_config_path": "system prompts are read from DEXTER_HOME/sp_config",
}
# Accepted by the reference code, without effect there.
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

# The models that the reference code always uses.
_ALWAYS = {"generator": "sd14-lcm", "masked_lm": "google-bert/bert-base-uncased"}


def translate(options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Translate options of the reference code to settings of a run and of its report.

    Other names stay as they are, and override the reference's defaults. Also returns notes on
    options without effect here. Omits ``api_key``, see the caller. Raises InputError for an option
    without a counterpart.
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
            raise InputError(
                f"{other!r} is unknown",
                field="mask_type",
                value=other,
                remedy="choose multi_mask or single_mask",
            )
    if int(given.get("topk", 1)) != 1:
        raise InputError(
            "each search is a run of its own here",
            field="topk",
            value=given["topk"],
            remedy="pass --seeds N for N runs",
        )
    found |= classifier_settings(str(given.get("classifier", "robust50")))
    return {**found, **own}, notes


def classifier_settings(name: str) -> dict[str, str]:
    """Return the settings for a classifier name of the reference; any other is a spec of ours."""
    settings = _CLASSIFIERS.get(name)
    if settings is None:
        return {"classifier": name}
    if settings["classifier"].startswith("torchvision:"):
        return dict(settings)
    return {**settings, "classifier": f"checkpoint:{_place(settings['classifier'])}"}


def _place(file: str) -> Path:
    """Return the file in the working directory, as the reference, or below a checkpoints folder."""
    places = [Path(file), *(root / file for root in (Path("checkpoints"), *model_folders.roots()))]
    return next((place.absolute() for place in places if place.is_file()), places[1])
