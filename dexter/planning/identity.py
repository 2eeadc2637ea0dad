"""Which models exactly: an identity for weights, told without torch and before they are loaded.

A name such as "lab" or a folder stays the same when its weights change; a study must not.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dexter import model_folders
from dexter.config import RunConfig

# What decides what a model does: weights, configuration, tokenizer. Not its README.
_SUFFIXES = {".safetensors", ".bin", ".json", ".txt", ".model"}


def identities(config: RunConfig, *, cache: Path | None = None) -> dict[str, str]:
    """For generator, masked LM, LoRA and decoder of ``config`` their `identity`, where it is known.

    ``cache``: a JSON file that remembers hashes by path, size and time of change, so that
    gigabytes are read once.
    """
    remembered = _Cache(cache)
    found = {
        "generator": identity(config.generator, "generator", remembered),
        "masked_lm": identity(config.masked_lm, "masked_lm", remembered),
        "lora": None if config.lora is None else identity(config.lora, "lora", remembered),
        "decoder": None
        if config.decoder is None
        else identity(config.decoder, "decoder", remembered),
    }
    remembered.save()
    return {part: value for part, value in found.items() if value is not None}


def identity(spec: str, part: str, cache: "_Cache | None" = None) -> str | None:
    """``sha256:…`` of a local file or folder, ``commit:…`` of a hub id.

    Of a hub id the commit in the cache, else the newest; None where the hub does not answer.
    """
    path = model_folders.find("lab", part) if spec == "lab" else Path(spec).expanduser()
    if not path.exists():
        commit = hub_commit(spec) or _newest_commit(spec)
        return None if commit is None else f"commit:{commit}"
    files = [path] if path.is_file() else _files(path)
    cache = cache or _Cache(None)
    digest = hashlib.sha256()
    for file in files:
        name = file.name if path.is_file() else file.relative_to(path).as_posix()
        digest.update(f"{name}\0{cache.hash(file)}\0".encode())
    return f"sha256:{digest.hexdigest()}"


def hub_commit(hub_id: str) -> str | None:
    """The commit of a hub repository's main branch that lies in the cache, if any does."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=hub_id, repo_type="model")
    with suppress(OSError):
        return (Path(constants.HF_HUB_CACHE) / folder / "refs" / "main").read_text().strip()
    return None


def _newest_commit(hub_id: str) -> str | None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    with suppress(OfflineModeIsEnabled, HfHubHTTPError, OSError, ValueError):
        return HfApi().model_info(hub_id, timeout=10).sha
    return None


def _files(folder: Path) -> Iterable[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix in _SUFFIXES)


class _Cache:
    """SHA-256 (hex) of files, remembered for as long as size and time of change are the same."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[str, list[object]] = {}
        self._changed = False
        if file is not None:
            with suppress(OSError, ValueError):
                self._known = json.loads(file.read_text(encoding="utf-8"))

    def hash(self, path: Path) -> str:
        """The hash of a file's content."""
        state = path.stat()
        key, stamp = str(path.resolve()), [state.st_size, state.st_mtime_ns]
        known = self._known.get(key)
        if known is not None and known[:2] == stamp:
            return str(known[2])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._known[key] = [*stamp, digest]
        self._changed = True
        return digest

    def save(self) -> None:
        """Keep what was learned; a cache that cannot be written is only slower."""
        if self._file is None or not self._changed:
            return
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            new = self._file.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps(self._known), encoding="utf-8")
            new.replace(self._file)
