"""The source hf:FOLDER_OR_ID: a Hugging Face classifier (AutoModelForImageClassification).

Labels come from config.json, preprocessing from preprocessor_config.json. Both are read here,
without torch and without an image processor, whose steps are not differentiable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexter.classifiers.options import ClassifierInfo, ClassifierOptions
from dexter.classifiers.reading import (
    NORMALIZATIONS,
    Answers,
    Preprocessing,
    is_placeholder,
    named,
    recognised,
    refuse_idle,
    two_classes,
)
from dexter.device import is_out_of_memory
from dexter.errors import InputError
from dexter.file_kinds import file_kind, refuse
from dexter.loading import (
    fetch,
    hash_tensors,
    one_line,
    quiet,
    read_json,
    safetensors_tensors,
)

if TYPE_CHECKING:
    from torch import nn

    from dexter.classifiers.base import Classifier

_SETTINGS = ["config.json", "preprocessor_config.json", "processor_config.json"]
_PICKLE = "pytorch_model.bin"
_SQUARE = ("ViT", "DeiT", "Beit")
"""The beginnings of processors that read a size of one number as width and height."""
# By the number of PIL's filter. Torch's own "nearest" takes other pixels than PIL's.
_MODES: dict[object, str] = {
    0: "nearest-exact",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
    4: "box",
    5: "hamming",
}
_SIZE = 224  # px where no file states a size


def describe(address: str, options: ClassifierOptions) -> ClassifierInfo:
    """Describe a classifier from its files; of a hub id, downloads the settings only."""
    folder = _fetch(address, _SETTINGS)
    return describe_folder(folder, _spec(address, folder), options)


def check_files(address: str, options: ClassifierOptions) -> None:
    """Raise InputError for a folder on this machine that is no classifier, by its files' heads."""
    folder = Path(address).expanduser()
    if folder.is_dir():
        spec = _spec(address, folder)
        _read_folder(folder, spec, options)
        _weights(folder, spec)


def load(address: str, options: ClassifierOptions) -> Classifier:
    """Load a classifier from a folder or a hub id."""
    folder = _fetch(address, [*_SETTINGS, "model.safetensors*", "model-*-of-*"])
    if folder.is_dir() and not _safetensors(folder):
        folder = _fetch(address, [*_SETTINGS, _PICKLE])
    return load_folder(folder, _spec(address, folder), options)


@dataclass(frozen=True)
class _Read:
    """The facts in a folder's settings. config: as it should be. notes: its faults, repaired."""

    config: dict[str, Any]
    labels: list[str]
    step: Preprocessing
    multi_label: bool
    positive: int | None = None
    notes: list[str] = field(default_factory=list)


def describe_folder(folder: Path, spec: str, options: ClassifierOptions) -> ClassifierInfo:
    """Describe a classifier from its files; hash the weights if they are safetensors."""
    read = _read_folder(folder, spec, options)
    answers = Answers(
        read.multi_label if options.multi_label is None or read.positive is not None
        else options.multi_label,
        read.positive,
        threshold=options.threshold or 0.5,
    )  # fmt: skip
    refuse_idle(spec, answers, options)
    step = read.step
    if options.classifier_input == "reference":
        step = step.as_reference()
    digest, count = _hash(folder, spec)
    line = recognised([*_counted(count), *read.notes], read.labels, step, answers)
    return ClassifierInfo(
        spec,
        read.labels,
        step.crop,
        digest,
        line,
        multi_label=answers.multi_label,
        answers_key=None if digest is None else options.answers_key(digest, step.key),
    )


def load_folder(folder: Path, spec: str, options: ClassifierOptions) -> Classifier:
    """Load the model in a folder; raise InputError if a part is missing or does not fit."""
    from dexter.classifiers.base import build

    read = _read_folder(folder, spec, options)
    digest, count = _hash(folder, spec)
    module = _load_module(folder, spec, options.trust_pickle, read.config)
    return build(
        module,
        spec=spec,
        labels=read.labels,
        preprocessing=read.step,
        options=options,
        weights_hash=digest,
        multi_label=read.multi_label,
        notes=[*_counted(count), *read.notes],
    )


def _counted(count: int) -> list[str]:
    return [f"{count} tensors"] if count else ["from a pickle"]


def _hash(folder: Path, spec: str) -> tuple[str | None, int]:
    """Return the hash and the number of the tensors, None and 0 if they are in a pickle."""
    files = _weights(folder, spec)
    try:
        tensors = list(safetensors_tensors(files))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable_weights(spec, error) from error
    return (hash_tensors(tensors), len(tensors)) if files else (None, 0)


def _weights(folder: Path, spec: str) -> list[Path]:
    """Return the safetensors files; raise InputError for other files, and for no weights."""
    files = _safetensors(folder)
    for file in files:
        refuse(file, ("safetensors",), field="classifier", value=spec)
    if not files:
        _check_other_weights(folder, spec)
    return files


# Weights that transformers cannot read, or not safely, and what to do with them.
_OTHERS = (
    ("*.index.json", "an index of weights", "copy the files that it lists beside it"),
    ("tf_model.h5", "weights for TensorFlow alone",
     "convert them with from_pretrained(..., from_tf=True) and save_pretrained"),
    ("flax_model.msgpack", "weights for Flax alone",
     "convert them with from_pretrained(..., from_flax=True) and save_pretrained"),
    ("model.*.safetensors", "weights of a variant alone", "rename them to model.safetensors"),
    ("*.onnx", "an ONNX file alone", "pass it as onnx:FILE"),
    ("*.pth", "a PyTorch file of another name", "pass it as checkpoint:FILE with --arch"),
)  # fmt: skip


def _check_other_weights(folder: Path, spec: str) -> None:
    """Raise InputError unless there is a readable pickle of weights, or nothing at all yet."""
    pickles = sorted(folder.glob("pytorch_model*.bin"))
    for file in pickles:
        refuse(file, ("torch", "pickle"), field="classifier", value=spec)
    if pickles or not _is_local(spec):
        return
    for pattern, words, remedy in _OTHERS:
        if there := sorted(folder.glob(pattern)):
            raise InputError(
                f"{folder} has {words} ({there[0].name})",
                field="classifier",
                value=spec,
                remedy=remedy,
            )
    raise InputError(
        f"{folder} has no weights: model.safetensors is missing",
        field="classifier",
        value=spec,
        remedy="copy it there",
    )


def _is_local(spec: str) -> bool:
    return not spec.startswith("hf:") or spec.startswith("hf:/")


def _load_module(
    folder: Path, spec: str, trust_pickle: bool, config: Mapping[str, Any]
) -> nn.Module:
    import pickle

    import torch
    from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForImageClassification

    from dexter.classifiers.weights import code_in, shape_text

    missing: set[str] = set()
    mismatched: set[tuple[str, Sequence[int], Sequence[int]]] = set()
    try:
        with quiet(reports=False):
            if config.get("model_type") in CONFIG_MAPPING:
                settings = CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
            else:
                settings = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            if _safetensors(folder) or not trust_pickle:
                # A pickle is read by torch.load(weights_only=True) here: no code can run.
                module, report = AutoModelForImageClassification.from_pretrained(
                    folder,
                    config=settings,
                    ignore_mismatched_sizes=True,  # refused below, in a line
                    output_loading_info=True,
                    trust_remote_code=False,
                    local_files_only=True,
                )
                missing, mismatched = report["missing_keys"], report["mismatched_keys"]
            else:
                module = AutoModelForImageClassification.from_config(settings)
                weights = torch.load(folder / _PICKLE, map_location="cpu", weights_only=False)
                module.load_state_dict(weights)
    except (pickle.UnpicklingError, EOFError) as error:
        code = [] if trust_pickle else code_in(folder / _PICKLE)
        if not code:
            raise InputError(
                f"{folder / _PICKLE} is cut off or damaged",
                field="classifier",
                value=spec,
                remedy="download or save it again",
            ) from error
        raise InputError(
            f"{_PICKLE} of {spec} holds more than weights ({', '.join(code[:3])}), and unpickling "
            "it could run any code",
            field="classifier",
            value=spec,
            remedy="store it as safetensors, or pass --trust-pickle if you trust its author",
        ) from error
    except Exception as error:  # transformers, its checks and safetensors raise errors of their own
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"cannot load {spec}: {one_line(error)}", field="classifier", value=spec
        ) from error
    if mismatched:
        name, there, wanted = min(mismatched, key=lambda one: (-len(one[1]), one[0]))
        raise InputError(
            f'{spec}: "{name}" is {shape_text(there)} in the weights, '
            f"{shape_text(wanted)} by config.json",
            field="classifier",
            value=spec,
            remedy="correct id2label there" if there[1:] == wanted[1:] else "correct config.json",
        )
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


def _fetch(address: str, patterns: list[str]) -> Path:
    def download(repository: str) -> str:
        from huggingface_hub import snapshot_download

        return snapshot_download(repository, allow_patterns=patterns)

    return fetch(address, "classifier", download)


def _spec(address: str, folder: Path) -> str:
    local = Path(address).expanduser().exists()
    return f"hf:{folder if local else address}"


def _safetensors(folder: Path) -> list[Path]:
    """Return the files of the weights; raise InputError if an index lists files that are missing.

    Other files may lie there: without an index, the shards are found by their names.
    """
    whole = folder / "model.safetensors"
    if whole.exists():
        return [whole]
    shards = sorted(folder.glob("model-*-of-*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.exists():
        listed = _json_object(index).get("weight_map")
        names = sorted(set(listed.values())) if isinstance(listed, dict) else []
        missing = [name for name in names if not (folder / str(name)).exists()]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise _unusable(
                folder,
                f"{folder} lacks {missing[0]}{more}, of the {len(names)} files of its weights",
                "copy the missing files there",
            )
        return [folder / str(name) for name in names]
    return shards


def _unusable(folder: Path, problem: str, remedy: str | None = None) -> InputError:
    return InputError(problem, field="classifier", value=f"hf:{folder}", remedy=remedy)


def _json_object(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file)
    except InputError as error:
        raise _unusable(file.parent, error.problem, error.remedy) from error
    except (OSError, ValueError, RecursionError) as error:
        problem, remedy = f"cannot read {file}: {one_line(error)}", None
        if not isinstance(error, OSError):
            kind = file_kind(file)
            if kind.name in ("lfs", "html", "answer", "empty"):
                problem, remedy = f"{file} is {kind.words}", kind.remedy
            else:
                problem = f"cannot read {file}: not JSON"
        raise _unusable(file.parent, problem, remedy) from error
    if not isinstance(content, dict):
        raise _unusable(file.parent, f"{file} is not a JSON object")
    return content


# The folders of other kinds, by a file in them.
_OTHER_FOLDERS = (
    ("model_index.json", "a diffusers pipeline, not a classifier", "pass it as --generator"),
    ("adapter_config.json", "a LoRA adapter alone", "merge it into its model and save that"),
    ("saved_model.pb", "a TensorFlow model", "export it to ONNX (tf2onnx) and pass onnx:FILE"),
)


# Networks that do not take pixels, by their type.
_OTHER_INPUT = {"imagegpt": "indices of colours", "siglip2": "rows of patches with a mask"}


def _read_folder(folder: Path, spec: str, options: ClassifierOptions) -> _Read:
    if folder.is_file():
        raise _unusable(folder, f"{folder} is a file", f"pass checkpoint:{folder} with --arch")
    if not (folder / "config.json").exists():
        for name, words, remedy in _OTHER_FOLDERS:
            if (folder / name).exists():
                raise _unusable(folder, f"{folder} is {words}", remedy)
        files = sorted(file.name for file in folder.iterdir() if file.is_file())
        there = f" (it has {', '.join(files[:4])})" if files else " (it is empty)"
        raise _unusable(
            folder, f"{folder} has no config.json: not an image classifier's folder{there}"
        )
    config = _json_object(folder / "config.json")
    _check_kind(folder, config)
    given = options.label_names()
    labels, config, notes = _labels(folder, config, given)
    if config.get("problem_type") == "regression":
        raise _unusable(folder, f"{folder} is a regression: it has no classes")
    try:
        step = _preprocessing(folder, config, options)
    except InputError:
        raise
    except (TypeError, ValueError, LookupError, ZeroDivisionError) as error:
        problem = f"{folder} states its preprocessing in another form: {one_line(error)}"
        raise _unusable(folder, problem, "correct preprocessor_config.json") from error
    if config.get("num_labels") == 1 or (labels is not None and given is None and len(labels) == 1):
        labels, positive = two_classes(spec, given or labels, options.positive_class)
        return _Read(config, labels, step, False, positive, notes)
    multi_label = config.get("problem_type") == "multi_label_classification"
    return _Read(config, given or labels or [], step, multi_label, None, notes)


def _check_kind(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise InputError for a model of another kind."""
    if "model_type" not in config and ("pretrained_cfg" in config or "architecture" in config):
        raise _unusable(folder, f"{folder} is a folder of timm", f"pass timm:{folder}")
    kinds = config.get("architectures")
    names = [str(name) for name in kinds] if isinstance(kinds, list) else []
    if "auto_map" in config and not any("ForImageClassification" in name for name in names):
        raise _unusable(
            folder,
            f"{folder} needs the Python code of its repository, which is not run",
            "load it in a function of yours and pass python:PATH.py:FUNCTION",
        )
    if takes := _OTHER_INPUT.get(str(config.get("model_type"))):
        raise _unusable(
            folder, f"{folder} takes {takes}, not pixels",
            "prepare them in a function of yours and pass python:PATH.py:FUNCTION",
        )  # fmt: skip
    if names and not any("ForImageClassification" in name for name in names):
        raise _unusable(
            folder, f"{folder} holds a {names[0]}, not an image classifier",
            "pass a model whose architecture is ...ForImageClassification",
        )  # fmt: skip


def _labels(
    folder: Path, config: dict[str, Any], given: list[str] | None
) -> tuple[list[str] | None, dict[str, Any], list[str]]:
    """Return the labels, a configuration with id2label in order, and notes of repairs."""
    file = folder / "config.json"
    names = config.get("id2label")
    if names is None and isinstance(config.get("label_names"), list):  # of timm's networks
        names = dict(enumerate(config["label_names"]))
    if not isinstance(names, dict) or not names:
        if given is None:
            raise InputError(
                f"{file} has no labels (id2label)", field="labels", remedy="pass --labels FILE"
            )
        return None, config, []
    notes = []
    if not _whole(names) and all(type(value) is int for value in names.values()):
        names = {index: name for name, index in names.items()}
        notes.append("id2label read as label2id")
    elif not _whole(names):
        raise _faulty_labels(file, f"id2label has the key {next(iter(names))!r}, not an index")
    by_index = {int(index): str(name) for index, name in names.items()}
    if given is None and sorted(by_index) != list(range(len(by_index))):
        first, last = min(by_index), max(by_index)
        raise _faulty_labels(
            file, f"id2label numbers {len(by_index)} classes from {first} to {last}, not from 0"
        )
    other = config.get("label2id")
    same = {name: str(index) for index, name in by_index.items()}
    if isinstance(other, dict) and not notes and {k: str(v) for k, v in other.items()} != same:
        notes.append("label2id, which differs, ignored")
    labels = named([by_index[index] for index in sorted(by_index)])
    if given is None and len(labels) > 1 and all(map(is_placeholder, labels)):
        notes.append("labels without meaning")
    if given is None:
        ids = {name: index for index, name in enumerate(labels)}
        config = {**config, "id2label": dict(enumerate(labels)), "label2id": ids}
    return labels, config, notes


def _whole(names: Mapping[Any, Any]) -> bool:
    return all(str(key).removeprefix("-").isdecimal() for key in names)


def _faulty_labels(file: Path, problem: str) -> InputError:
    return InputError(
        f"{file}: {problem}",
        field="labels",
        remedy="correct it, or pass --labels FILE in the order of the outputs",
    )


# Input


def _preprocessor(folder: Path) -> dict[str, Any] | None:
    """Return the settings of the image processor; None if there are none."""
    file = folder / "preprocessor_config.json"
    if file.exists():
        settings = _json_object(file)
    elif (folder / "processor_config.json").exists():
        file = folder / "processor_config.json"
        settings = _json_object(file)
        inner = settings.get("image_processor")
        settings = inner if isinstance(inner, dict) else settings
    else:
        return None
    return settings


def _preprocessing(
    folder: Path, config: Mapping[str, Any], options: ClassifierOptions
) -> Preprocessing:
    """Return the preprocessing by the files and options; raise InputError where both lack it."""
    settings = _preprocessor(folder)
    cfg = config.get("pretrained_cfg")
    cfg = cfg if settings is None and isinstance(cfg, dict) else {}
    of_timm = {"mean", "std", "input_size"} <= cfg.keys()
    if of_timm:
        side = cfg["input_size"][-1]
        settings = {  # of a network of timm in transformers' wrapper
            "size": int(side / (cfg.get("crop_pct") or 0.875)),
            "do_center_crop": True,
            "crop_size": side,
            "resample": cfg.get("interpolation") or "bicubic",
            "image_mean": list(cfg["mean"]),
            "image_std": list(cfg["std"]),
        }
    known = options.normalization or (options.mean and options.std)
    trained = config.get("image_size")
    trained = trained if isinstance(trained, int) else None
    if settings is None:
        lacking = [] if options.input_size or trained else ["--input-size"]
        lacking += [] if known else ["--normalization (or --mean and --std)"]
        if lacking:
            raise InputError(
                f"{folder} has no preprocessor_config.json, so the pictures that it takes are not "
                "known",
                field="input_size" if len(lacking) > 1 or known else "normalization",
                remedy=f"put it there, or pass {' and '.join(lacking)}",
            )
        settings = {"size": trained or options.input_size, "do_normalize": False}
    assumed = frozenset[str]()
    squash = cfg.get("crop_mode") == "squash" if of_timm else _squashes(settings)
    if settings.get("size") is None or not settings.get("do_resize", True):
        side = trained or _SIZE
        settings = {**settings, "size": {"height": side, "width": side}}
        assumed = frozenset() if trained else frozenset({"size"})
    resize, crop = _sizes(settings)
    rescaled = settings.get("do_rescale", True)
    scale = 255 * float(settings.get("rescale_factor", 1 / 255) if rescaled else 1)
    mobile = _processor(settings).startswith("MobileViT")  # it normalises nothing
    normalize = settings.get("do_normalize", True) and not known and not mobile
    mean, std = NORMALIZATIONS["none"]
    if normalize:
        mean, std = _channels(settings, "image_mean"), _channels(settings, "image_std")
    # EfficientNet's processor can take 1 from the pictures, and divide by the deviation again.
    if not known and rescaled and settings.get("rescale_offset"):
        mean = tuple(value + 1 for value in mean)
    if not known and settings.get("include_top", _processor(settings).startswith("EfficientNet")):
        again = _channels(settings, "image_std")
        std = tuple(once * more for once, more in zip(std, again, strict=True))
    step = Preprocessing(
        resize=resize,
        crop=crop,
        mode=_MODES[2] if settings.get("resample") is None else _mode(settings["resample"]),
        scale=scale,
        mean=mean,
        std=std,
        squash=squash,
        rounds=of_timm,
        blue_first=bool(settings.get("do_flip_channel_order", mobile)),
        assumed=assumed,
    )
    return step.with_options(options)


def _sizes(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Return the sides in px that a square picture is scaled to and then cropped to.

    Some of transformers' processors read the sizes in ways of their own.
    """
    size = settings["size"]
    side = _side(size)
    name = _processor(settings)
    edge = not isinstance(size, dict) or "shortest_edge" in size
    if name.startswith("ConvNext") and edge:
        share = settings.get("crop_pct") or 224 / 256
        return (int(side / share) if side < 384 else side), side
    resize = side
    if name.startswith("Levit") and edge:
        resize = int(256 / 224 * side)
    elif name.startswith("PoolFormer"):
        resize = int(side / (settings.get("crop_pct", 0.9) or 1))
    if not settings.get("do_center_crop", name.startswith(("Levit", "PoolFormer"))):
        return resize, resize
    crop = _side(settings.get("crop_size") or side)
    # Perceiver's crops before it scales.
    return (crop, side) if name.startswith("Perceiver") else (resize, crop)


def _mode(resample: object) -> str:
    """Return the mode of a filter, which the settings state by PIL's number or by its name."""
    modes = _MODES | {name: name for name in _MODES.values()} | {"nearest": _MODES[0]}
    mode = modes.get(resample.lower() if isinstance(resample, str) else resample)
    if mode is None:
        raise InputError(
            f"preprocessor_config.json: resample is {resample!r}: must be a filter of PIL, 0 to 5",
            field="classifier",
            remedy="correct it",
        )
    return mode


def _squashes(settings: Mapping[str, Any]) -> bool:
    """Return whether the processor scales width and height to a side each."""
    size, name = settings.get("size"), _processor(settings)
    if not settings.get("do_resize", True) or name.startswith(("Perceiver", "PoolFormer")):
        return False
    if name.startswith("ConvNext"):
        return size is not None and _side(size) >= 384
    return "height" in size if isinstance(size, dict) else name.startswith(_SQUARE)


def _processor(settings: Mapping[str, Any]) -> str:
    return str(settings.get("image_processor_type") or settings.get("feature_extractor_type"))


def _side(size: object) -> int:
    values: set[object]
    if isinstance(size, dict):
        # A longest edge is only a limit beside a shortest one.
        sides = {k: v for k, v in size.items() if v is not None}
        if "shortest_edge" in sides:
            sides.pop("longest_edge", None)
        values = set(sides.values())
    elif isinstance(size, list):
        values = set(size[:2])
    else:
        values = {size}
    side = next(iter(values), None)
    if len(values) != 1 or not isinstance(side, int) or side < 1:
        raise InputError(
            f"preprocessor_config.json: {size!r} is not the size of a square picture",
            field="classifier",
            remedy="correct it",
        )
    return side


def _channels(settings: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = settings.get(name)
    if isinstance(values, (int, float)) and not isinstance(values, bool):
        values = [values] * 3
    numbers = isinstance(values, list) and all(isinstance(v, (int, float)) for v in values)
    if not isinstance(values, list) or len(values) != 3 or not numbers:
        raise InputError(
            f"preprocessor_config.json: {name} is {values!r}: must be 3 numbers",
            field="classifier",
            remedy="correct it, or pass --normalization",
        )
    return tuple(float(value) for value in values)
