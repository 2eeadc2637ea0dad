"""The source hf:FOLDER_OR_ID: a Hugging Face classifier (AutoModelForImageClassification).

Labels come from config.json, preprocessing from preprocessor_config.json. Both are read here,
without torch and without an image processor, whose steps are not differentiable.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexter.classifiers.options import ClassifierInfo, ClassifierOptions
from dexter.errors import InputError
from dexter.loading import fetch, hash_tensors, one_line, quiet, safetensors_tensors

if TYPE_CHECKING:
    from torch import nn

    from dexter.classifiers.base import Classifier, Preprocessing

_SETTINGS = ["config.json", "preprocessor_config.json"]
_PICKLE = "pytorch_model.bin"
_MODES = {0: "nearest", 1: "bicubic", 2: "bilinear", 3: "bicubic"}  # by PIL's resampling filter


def describe(address: str, options: ClassifierOptions) -> ClassifierInfo:
    """Describe a classifier from its files; of a hub id, downloads the settings only."""
    folder = _fetch(address, _SETTINGS)
    return describe_folder(folder, _spec(address, folder), options.label_names())


def load(address: str, options: ClassifierOptions) -> "Classifier":
    """Load a classifier from a folder or a hub id."""
    folder = _fetch(address, [*_SETTINGS, "model.safetensors*", "model-*-of-*"])
    if not _safetensors(folder):
        folder = _fetch(address, [*_SETTINGS, _PICKLE])
    return load_folder(folder, _spec(address, folder), options)


def describe_folder(folder: Path, spec: str, labels: list[str] | None) -> ClassifierInfo:
    """Describe a classifier from its files; hash the weights if they are safetensors."""
    labels = labels or _labels(folder)
    files = _safetensors(folder)
    try:
        digest = hash_tensors(safetensors_tensors(files)) if files else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable_weights(spec, error) from error
    return ClassifierInfo(spec, labels, _sizes(_preprocessor(folder))[1], digest)


def load_folder(folder: Path, spec: str, options: ClassifierOptions) -> "Classifier":
    """Load the model in a folder; raise InputError if a part is missing or does not fit."""
    from dexter.classifiers.base import build

    info = describe_folder(folder, spec, options.label_names())
    module = _load_module(folder, spec, options.trust_pickle)
    return build(
        module,
        spec=spec,
        labels=info.labels,
        preprocessing=_preprocessing(folder),
        options=options,
        weights_hash=info.weights_hash,
    )


def _load_module(folder: Path, spec: str, trust_pickle: bool) -> "nn.Module":
    import pickle

    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForImageClassification

    missing: set[str] = set()
    try:
        with quiet(reports=False):
            if _safetensors(folder) or not trust_pickle:
                # A pickle is read by torch.load(weights_only=True) here: no code can run.
                module, report = AutoModelForImageClassification.from_pretrained(
                    folder, output_loading_info=True, trust_remote_code=False, local_files_only=True
                )
                missing = report["missing_keys"]
            else:
                config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
                module = AutoModelForImageClassification.from_config(config)
                weights = torch.load(folder / _PICKLE, map_location="cpu", weights_only=False)
                module.load_state_dict(weights)
    except pickle.UnpicklingError as error:
        if trust_pickle:
            raise _unreadable_weights(spec, error) from error
        raise InputError(
            f"{_PICKLE} of {spec} holds more than weights, and unpickling it could run any code",
            field="classifier",
            value=spec,
            remedy="store it as safetensors, or pass --trust-pickle if you trust its author",
        ) from error
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise InputError(
            f"cannot load {spec}: {one_line(error)}", field="classifier", value=spec
        ) from error
    if missing:
        raise InputError(
            f"{spec} has no trained weights for {', '.join(sorted(missing)[:3])}",
            field="classifier",
            value=spec,
            remedy="pass an image classifier",
        )
    # transformers keeps the dtype of the file; the hash and the caller's dtype come after.
    network: nn.Module = module
    return network


def _unreadable_weights(spec: str, error: Exception) -> InputError:
    return InputError(
        f"cannot read the weights of {spec}: {one_line(error)}", field="classifier", value=spec
    )


def _unusable(folder: Path, problem: str) -> InputError:
    return InputError(problem, field="classifier", value=f"hf:{folder}")


def _fetch(address: str, patterns: list[str]) -> Path:
    def download(repository: str) -> str:
        from huggingface_hub import snapshot_download

        return snapshot_download(repository, allow_patterns=patterns)

    return fetch(address, "classifier", download)


def _spec(address: str, folder: Path) -> str:
    local = Path(address).expanduser().exists()
    return f"hf:{folder if local else address}"


def _safetensors(folder: Path) -> list[Path]:
    whole = folder / "model.safetensors"
    return [whole] if whole.exists() else sorted(folder.glob("model-*-of-*.safetensors"))


def _read(folder: Path, name: str) -> dict[str, Any]:
    file = folder / name
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _unusable(folder, f"{folder} has no {name}: not an image classifier") from error
    except (OSError, ValueError) as error:
        raise _unusable(folder, f"cannot read {file}: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise _unusable(folder, f"{file} is not a JSON object")
    return content


def _labels(folder: Path) -> list[str]:
    names = _read(folder, "config.json").get("id2label")
    if not isinstance(names, dict):
        raise InputError(
            f"{folder / 'config.json'} has no labels (id2label)",
            field="labels",
            remedy="pass --labels FILE",
        )
    return [str(names[index]) for index in sorted(names, key=int)]


def _preprocessor(folder: Path) -> dict[str, Any]:
    settings = _read(folder, "preprocessor_config.json")
    odd = [name for name in ("rescale_offset", "include_top") if settings.get(name)]
    if odd:
        raise _unusable(folder, f"{folder / 'preprocessor_config.json'}: {odd[0]} is not supported")
    return settings


def _sizes(settings: dict[str, Any]) -> tuple[int, int]:
    """Return the sides in px that a square picture is scaled to and then cropped to."""
    size = settings.get("size", 224)
    resize = _side(size)
    if settings.get("do_center_crop"):
        return resize, _side(settings.get("crop_size", resize))
    name = str(settings.get("image_processor_type") or settings.get("feature_extractor_type"))
    if name.startswith("ConvNext") and "shortest_edge" in size and resize < 384:
        return int(resize / settings.get("crop_pct", 224 / 256)), resize
    return resize, resize


def _side(size: object) -> int:
    values = set(size.values()) if isinstance(size, dict) else {size}
    side = next(iter(values), None)
    if len(values) != 1 or not isinstance(side, int) or side < 1:
        raise InputError(
            f"preprocessor_config.json: {size!r} is not the size of a square picture",
            field="classifier",
        )
    return side


def _preprocessing(folder: Path) -> "Preprocessing":
    from dexter.classifiers.base import Preprocessing

    settings = _preprocessor(folder)
    resize, crop = _sizes(settings)
    factor = settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1.0
    normalize = settings.get("do_normalize", True)
    return Preprocessing(
        resize=resize,
        crop=crop,
        mode=_MODES.get(settings.get("resample", 2), "bilinear"),
        scale=255 * factor,
        mean=_channels(settings, "image_mean") if normalize else (0.0, 0.0, 0.0),
        std=_channels(settings, "image_std") if normalize else (1.0, 1.0, 1.0),
    )


def _channels(settings: dict[str, Any], name: str) -> tuple[float, ...]:
    values = settings.get(name)
    if not isinstance(values, list) or len(values) != 3:
        raise InputError(
            f"preprocessor_config.json: {name} is {values!r}: must be 3 numbers",
            field="classifier",
        )
    return tuple(float(value) for value in values)
