"""The source of a classifier that is named by a path, an address or an id alone."""

import re
from collections.abc import Collection
from pathlib import Path

from dexter.errors import InputError
from dexter.file_kinds import FileKind, file_kind, refuse
from dexter.loading import read_json

WEIGHTS = (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".pth.tar")
"""How the names of files of weights end, in lower case."""
_HUB = re.compile(r"(https?://(www\.)?huggingface\.co/)?([\w.-]+/[\w.-]+)/?")
_PYTHON = re.compile(r"(.+\.py):(\w+)")


def full_spec(spec: str, sources: Collection[str]) -> str:
    """Return SOURCE:ADDRESS of a classifier; raise InputError if there is no source for it.

    A folder or file is known by its content, ``PATH.py:FACTORY`` and hub ids by their form.
    ``sources``: the names of the sources.
    """
    source, _, address = spec.partition(":")
    if source in sources and address and not spec.startswith(("http://", "https://")):
        return spec
    if python := _PYTHON.fullmatch(spec):
        return f"python:{spec}" if python[2].isidentifier() else spec
    try:
        path = Path(spec).expanduser()
        if path.is_dir():
            return _of_folder(path)
        if path.is_file():
            return _of_file(path, sources)
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # a zero byte, no such user, no access
        raise InputError(f"{spec!r} cannot be read", field="classifier", value=spec) from error
    if spec.startswith(("/", "./", "../", "~")) or path.name.lower().endswith(WEIGHTS):
        raise InputError(f"{spec} does not exist", field="classifier", value=spec)
    if hub := _HUB.fullmatch(spec):
        return f"hf:{hub[3]}"
    if source in sources and address:
        return spec
    lost = path.suffix and ":" not in spec  # the name of a file
    raise InputError(
        f"{spec} does not exist" if lost else f"{spec!r} has no known source",
        field="classifier",
        value=spec,
        remedy="pass a file or folder, or "
        "lab:NAME, hf:FOLDER_OR_ID, torchvision:NAME, timm:NAME, checkpoint:FILE, "
        "python:PATH.py:FACTORY, onnx:FILE or http://HOST/PATH",
    )


def weights_kind(file: Path, spec: str) -> FileKind:
    """Return the kind of a file of weights; raise InputError for any other file."""
    return refuse(file, ("safetensors", "torch", "pickle"), field="classifier", value=spec)


def _of_folder(folder: Path) -> str:
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        config = {}
    if isinstance(config, dict) and "model_type" not in config and "pretrained_cfg" in config:
        return f"timm:{folder}"
    weights = [file for file in sorted(folder.iterdir()) if file.name.lower().endswith(WEIGHTS)]
    if not (folder / "config.json").exists() and len(weights) == 1:
        return f"checkpoint:{weights[0]}"
    return f"hf:{folder}"


def _of_file(file: Path, sources: Collection[str]) -> str:
    if file.suffix == ".py":
        raise InputError(
            f"{file} is Python source",
            field="classifier",
            value=str(file),
            remedy=f"pass python:{file}:FACTORY, with the function that returns the network",
        )
    if file.name in ("model.safetensors", "pytorch_model.bin", "config.json"):
        folder = _of_folder(file.parent)
        if folder.startswith("hf:") and (file.parent / "config.json").exists():
            return folder
    if "onnx" in sources and file_kind(file).name == "onnx":
        return f"onnx:{file}"
    return f"checkpoint:{file}"
