"""A check for missing files of models, before a run is queued.

Needs no torch and downloads nothing. A folder must be complete; a hub id must be in the cache or
reachable, with a token if it is gated, and the disk must have room for it.
"""

import os
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexter.config import RunConfig, fields_of
from dexter.errors import InputError
from dexter.file_kinds import FileKind, file_kind, refuse
from dexter.generator_presets import GENERATORS
from dexter.loading import hub_errors, one_line, read_json
from dexter.planning.identity import hub_commit

# The parts of a pipeline that are loaded; the safety checker on request.
_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
CHECKER = ("safety_checker", "feature_extractor")
DECODER_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
_WEIGHTS = (".safetensors", ".bin")
_SKIPPED = (".msgpack", ".onnx", ".onnx_data", ".pb", ".h5", ".ckpt", ".xml", ".md")

# Needed files where the hub is out of reach: Stable Diffusion 1.x, bytes as stored there.
_SD1_FILES = {
    "model_index.json": 541,
    "scheduler/scheduler_config.json": 313,
    "text_encoder/config.json": 592,
    "text_encoder/model.safetensors": 492_265_880,
    "tokenizer/merges.txt": 524_619,
    "tokenizer/tokenizer_config.json": 806,
    "tokenizer/vocab.json": 1_059_962,
    "unet/config.json": 743,
    "unet/diffusion_pytorch_model.safetensors": 3_438_167_536,
    "vae/config.json": 551,
    "vae/diffusion_pytorch_model.safetensors": 334_643_276,
}
_LORA_FILES = {"pytorch_lora_weights.safetensors": 134_621_556}
_KNOWN_FILES = {
    "CompVis/stable-diffusion-v1-4": _SD1_FILES,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": _SD1_FILES,
    "latent-consistency/lcm-lora-sdv1-5": _LORA_FILES,
}


@dataclass(frozen=True)
class Download:
    """Files that a run would download from the hub."""

    field: str
    """The field of RunConfig that names it."""
    hub_id: str
    files: dict[str, int]
    """Names and sizes, in bytes, of the files that are not in the cache."""
    licence: str | None

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return sum(self.files.values())

    def line(self) -> str:
        """Describe the download in one line, before it starts."""
        licence = f"licence: {self.licence}" if self.licence else "no licence given"
        return f"{self.field}: {self.hub_id} will be downloaded, {_size(self.size)} ({licence})"


def check_models(config: RunConfig, *, endpoint: str | None = None) -> list[Download]:
    """List the downloads from the hub that the models of ``config`` need, in its fields' order.

    ``endpoint``: URL of the hub. Raises InputError for a folder with missing parts, and for a
    model that cannot be downloaded, with its files, their sizes and where to put them.
    """
    return check_sources(_specs(config), checker=config.safety_checker, endpoint=endpoint)


def check_sources(
    sources: Iterable[tuple[str, str]], *, checker: bool = False, endpoint: str | None = None
) -> list[Download]:
    """List the downloads that models need, each a field and a folder or hub id.

    ``checker``: whether a pipeline's safety checker is loaded. Raises InputError as `check_models`.
    """
    downloads = []
    for field, spec in sources:
        path = Path(spec).expanduser()
        if path.exists():
            if field == "generator":
                check_pipeline(path, checker)
            elif field == "masked_lm":
                _check_folder(path, field)
            elif field == "lora":
                refuse(lora_file(path), ("safetensors",), field=field, value=spec)
            elif field == "decoder":
                _check_decoder(path)
        elif not _is_hub_id(spec):
            raise InputError(
                f"{spec} does not exist",
                field=field,
                value=spec,
                remedy="pass a folder or a hub id",
            )
        elif hub_commit(spec) is None:
            downloads.append(_ask_hub(field, spec, checker, endpoint))
    _check_disk(downloads)
    return downloads


def _specs(config: RunConfig) -> Iterable[tuple[str, str]]:
    for field in fields_of(model=True):
        spec = getattr(config, field)
        if spec not in (None, "lab"):
            yield field, spec
    if config.classifier.startswith("hf:"):
        yield "classifier", config.classifier.removeprefix("hf:")


def _is_hub_id(spec: str) -> bool:
    parts = spec.split("/")
    return len(parts) <= 2 and all(part and part[0].isalnum() for part in parts)


def check_pipeline(folder: Path, checker: bool) -> None:
    """Raise InputError for a pipeline's folder that lacks files, or holds others in their place.

    ``checker``: whether its safety checker is loaded.
    """
    if folder.is_file():
        raise single_file(folder)
    index = _index(folder)
    missing = []
    for part in (*_PARTS, *(CHECKER if checker else ())):
        if not isinstance(index.get(part), list) or not index[part] or index[part][0] is None:
            continue
        inside = folder / part
        if part == "scheduler":
            wanted = ["scheduler_config.json"]
        elif part == "feature_extractor":
            wanted = ["preprocessor_config.json"]
        elif part.startswith("tokenizer"):
            wanted = [] if (inside / "tokenizer.json").exists() else ["vocab.json", "merges.txt"]
        else:
            wanted = ["config.json", *_missing_weights(folder, part)]
        missing += [f"{part}/{name}" for name in wanted if not (inside / name).exists()]
    if missing:
        raise _bad_folder(folder, f"lacks {', '.join(missing)}", "put them there")
    if "unet" not in index:
        kind = index.get("_class_name")
        raise _bad_folder(
            folder, f"is a {kind}, without a UNet", "choose a Stable Diffusion 1.x to XL pipeline"
        )


def _index(folder: Path) -> dict[str, Any]:
    file = folder / "model_index.json"
    try:
        index = read_json(file)
    except FileNotFoundError:
        files = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.ckpt"))
        if files and not (folder / "config.json").exists():
            raise single_file(files[0]) from None
        raise _bad_folder(folder, "has no model_index.json: not a diffusers pipeline") from None
    except InputError as error:
        raise _bad_folder(folder, error.problem, error.remedy) from None
    except (OSError, ValueError, RecursionError) as error:
        kind = None if isinstance(error, OSError) else file_kind(file)
        if kind is not None and kind.name in ("lfs", "html", "answer", "empty"):
            raise _bad_folder(folder, f"has a model_index.json that is {kind.words}", kind.remedy) \
                from None  # fmt: skip
        raise _bad_folder(folder, f"has an unreadable model_index.json: {error}") from None
    if not isinstance(index, dict):
        raise _bad_folder(folder, "has a model_index.json that is not a JSON object")
    return index


def _missing_weights(folder: Path, part: str) -> list[str]:
    """Return the file of weights that a network's folder lacks, if any.

    Raises InputError for a variant alone, and for a file that is something else.
    """
    name = "model" if part.startswith(("text", "safety")) else "diffusion_pytorch_model"
    inside = folder / part
    usual = folder / "unet" / "diffusion_pytorch_model.safetensors"
    half = usual.with_suffix(".fp16.safetensors").exists() and not usual.exists()
    stems = [name, "pytorch_model", *([f"{name}.fp16"] if half else [])]
    files = [
        file
        for file in sorted(inside.glob("*"))
        if file.suffix in _WEIGHTS and not file.name.startswith("._")
    ]
    own = [f for f in files if f.stem in stems or f.stem.startswith(f"{name}-")]
    for file in own:
        kinds = ("safetensors",) if file.suffix == ".safetensors" else ("torch", "pickle")
        refuse(file, kinds, field="generator", value=str(folder))
    if own:
        return []
    if files:
        raise _bad_folder(
            folder,
            f"has only a variant of the weights of {part} ({files[0].name})",
            f"rename it to {name}{files[0].suffix}, or copy that file there",
        )
    return [f"{name}.safetensors"]


def single_file(file: Path) -> InputError:
    """Return the error for one file, a single-file checkpoint, in place of a pipeline's folder."""
    try:
        kind = file_kind(file)
    except OSError as error:
        kind = FileKind("", f"not readable ({error.strerror})")
    if kind.name in ("lfs", "html", "answer", "empty", "cut"):
        return InputError(
            f"{file} is {kind.words}", field="generator", value=str(file), remedy=kind.remedy
        )
    return InputError(
        f"{file} is a single file, not a diffusers folder",
        field="generator",
        value=str(file),
        remedy="convert it with StableDiffusionPipeline.from_single_file(FILE)"
        ".save_pretrained(FOLDER) and pass FOLDER",
    )


def _check_folder(folder: Path, field: str) -> None:
    """Raise InputError for a folder of transformers that lacks its configuration or weights."""
    if folder.is_file():
        raise InputError(
            f"{folder} is a file", field=field, value=str(folder), remedy="pass its folder"
        )
    files = {file.name for file in folder.iterdir()}
    weights = sorted(folder.glob("model*.safetensors")) + sorted(folder.glob("pytorch_model*.bin"))
    missing = [] if "config.json" in files else ["config.json"]
    missing += [] if weights else ["model.safetensors"]
    if not files & {"tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model",
                    "sentencepiece.bpe.model"}:  # fmt: skip
        missing.append("tokenizer.json")
    if missing:
        raise InputError(
            f"{folder} lacks {', '.join(missing)}",
            field=field,
            value=str(folder),
            remedy="put them there",
        )
    for file in weights:
        kinds = ("safetensors",) if file.suffix == ".safetensors" else ("torch", "pickle")
        refuse(file, kinds, field=field, value=str(folder))


def lora_file(path: Path) -> Path:
    """Return the safetensors file of a LoRA, a file or a folder; raise InputError for none."""
    if path.is_file():
        if path.suffix != ".safetensors":
            raise InputError(f"{path} is not a .safetensors file", field="lora", value=str(path))
        return path
    files = sorted(path.glob("*.safetensors"))
    usual = path / "pytorch_lora_weights.safetensors"
    if usual not in files and len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise InputError(
            f"{path} must have 1 .safetensors file (found: {names})", field="lora", value=str(path)
        )
    return usual if usual in files else files[0]


def _check_decoder(folder: Path) -> None:
    missing = [name for name in DECODER_FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder} lacks {', '.join(missing)}",
            field="decoder",
            value=str(folder),
            remedy="pass the folder of an AutoencoderTiny",
        )
    refuse(folder / DECODER_FILES[1], ("safetensors",), field="decoder", value=str(folder))


def _bad_folder(folder: Path, problem: str, remedy: str | None = None) -> InputError:
    return InputError(f"{folder} {problem}", field="generator", value=str(folder), remedy=remedy)


def _ask_hub(field: str, hub_id: str, checker: bool, endpoint: str | None) -> Download:
    """Ask for files, sizes and licence of a repository; raise InputError if out of reach."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        info = HfApi(endpoint=endpoint).model_info(hub_id, files_metadata=True, timeout=10)
    except GatedRepoError as error:
        raise _gated(field, hub_id) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{hub_id!r} is not a folder here, and the hub shows no such repository to your token",
            field=field,
            value=hub_id,
            remedy="check the id, or run `hf auth login` for a private repository",
        ) from error
    except hub_errors() as error:
        raise _unreachable(field, hub_id) from error
    if info.gated and not _token():
        raise _gated(field, hub_id)
    files = {file.rfilename: file.size or 0 for file in info.siblings or []}
    card = info.card_data
    licence = getattr(card, "license_name", None) or getattr(card, "license", None)
    return Download(field, hub_id, _needed(field, files, checker), licence and str(licence))


def _needed(field: str, files: dict[str, int], checker: bool) -> dict[str, int]:
    """Return the files of a repository that loading downloads, with their sizes."""
    parts = {*_PARTS, *(CHECKER if checker else ())}  # of a pipeline; other models have none
    needed = {}
    for name, size in files.items():
        folder, _, base = name.rpartition("/")
        if name.endswith(_SKIPPED) or base.startswith("."):
            continue
        if field == "generator" and folder not in parts and name != "model_index.json":
            continue
        if field != "generator" and folder:
            continue
        stem, _, suffix = base.rpartition(".")
        safe = any(n.startswith(folder) and n.endswith(".safetensors") for n in files)
        if suffix == "bin" and safe:
            continue
        if f".{suffix}" in _WEIGHTS and ("." in stem or "non_ema" in stem or "flax" in stem):
            continue  # a variant, in another number format
        if field == "lora" and suffix != "safetensors":
            continue
        needed[name] = size
    return needed


def _token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _gated(field: str, hub_id: str) -> InputError:
    return InputError(
        f"{hub_id} is gated",
        field=field,
        value=hub_id,
        remedy="accept its licence on its page, then run `hf auth login` or export HF_TOKEN=…",
    )


def _unreachable(field: str, hub_id: str) -> InputError:
    files = _KNOWN_FILES.get(hub_id, {})
    licences = [named.licence for named in GENERATORS.values() if named.generator == hub_id]
    needs = f" (licence: {licences[0]})" if licences else ""
    if files:
        listed = ", ".join(f"{name} ({_size(size)})" for name, size in files.items())
        needs += f". It needs {_size(sum(files.values()))}: {listed}"
    option = "--" + field.replace("_", "-")
    return InputError(
        f"{hub_id!r} is not a folder here and not in the model cache, and the hub is out of reach",
        field=field,
        value=hub_id,
        remedy=f"run `hf download {shlex.quote(hub_id)} --local-dir FOLDER` on a machine that "
        f"reaches it, copy FOLDER here and pass {option} FOLDER{needs}",
    )


def _check_disk(downloads: Sequence[Download]) -> None:
    """Raise InputError if the model cache is not writable or too small for the downloads."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    needed = sum(download.size for download in downloads)
    place = cache
    while not place.exists():
        place = place.parent
    if needed and not os.access(place, os.W_OK):
        raise InputError(
            f"the model cache {cache} is not writable", remedy="set HF_HOME to another folder"
        )
    free = shutil.disk_usage(place).free
    if needed > free:
        raise InputError(
            f"{_size(needed)} must be downloaded to {cache}, where {_size(free)} are free",
            remedy="free some space, or set HF_HOME to another disk",
        )


def _size(count: int) -> str:
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


@dataclass(frozen=True)
class Fetched:
    """A repository of the hub whose files are in the cache. size: total in bytes."""

    field: str
    hub_id: str
    folder: Path
    """The snapshot, named by its commit"""
    files: int
    size: int
    names: tuple[str, ...]
    """The paths of its files within the folder"""

    def line(self) -> str:
        """Describe it in one line."""
        files = f"{self.files} file{'s' if self.files != 1 else ''}"
        return f"{self.field}: {self.hub_id}, {files}, {_size(self.size)}, in {self.folder}"


def fetch_models(
    config: RunConfig, more: Iterable[tuple[str, str]] = (), *, endpoint: str | None = None
) -> list[Fetched]:
    """Download every file from the hub that loading the models of ``config`` takes.

    ``more``: further models, each a field and a folder or hub id. Files that are in the cache are
    compared with the hub's. ``endpoint``: URL of the hub. Raises InputError as `check_models`.
    """
    from huggingface_hub import snapshot_download

    wanted = [
        _ask_hub(field, spec, config.safety_checker, endpoint)
        for field, spec in dict.fromkeys([*_specs(config), *more])
        if not Path(spec).expanduser().exists()
    ]
    _check_disk([one for one in wanted if hub_commit(one.hub_id) is None])
    fetched = []
    for one in wanted:
        try:
            folder = snapshot_download(
                one.hub_id, allow_patterns=list(one.files), endpoint=endpoint
            )
        except hub_errors() as error:
            raise InputError(
                f"{one.hub_id!r} cannot be downloaded: {one_line(error)}",
                field=one.field,
                value=one.hub_id,
                remedy="run the command again: what is there is kept",
            ) from error
        fetched.append(
            Fetched(one.field, one.hub_id, Path(folder), len(one.files), one.size, tuple(one.files))
        )
    return fetched
