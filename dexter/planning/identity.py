"""An identity of models' weights, found without torch and before they are loaded.

A name such as "lab" or a folder stays when its weights change; a study must change with them.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dexter import model_folders
from dexter.config import RunConfig, fields_of
from dexter.loading import hub_errors

# The files that determine a model's results: weights, configuration, tokenizer. Not its README.
_SUFFIXES = {".safetensors", ".bin", ".json", ".txt", ".model"}


def identities(config: RunConfig, *, cache: Path | None = None) -> dict[str, str]:
    """Return the `identity` of each model that ``config`` names, by its field, where it is known.

    ``cache``: a JSON file of hashes by path, size and modification time, so that gigabytes are
    read once.
    """
    remembered = _Cache(cache)
    found = {
        field: identity(spec, field, remembered)
        for field in fields_of(model=True)
        if (spec := getattr(config, field)) is not None
    }
    remembered.save()
    return {field: value for field, value in found.items() if value is not None}


def identity(spec: str, part: str, cache: "_Cache | None" = None) -> str | None:
    """Return ``sha256:…`` of a local file or folder, ``commit:…`` of a hub id.

    The commit is the one in the cache, else the newest; None where the hub does not answer.
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
    """Return the commit of a hub repository's main branch in the cache, if any."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=hub_id, repo_type="model")
    with suppress(OSError):
        return (Path(constants.HF_HUB_CACHE) / folder / "refs" / "main").read_text().strip()
    return None


def cached_folder(hub_id: str) -> Path | None:
    """Return the folder of a hub repository's main branch in the cache, if any."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    commit = hub_commit(hub_id)
    if commit is None:
        return None
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model")
    return folder / "snapshots" / commit


def _newest_commit(hub_id: str) -> str | None:
    from huggingface_hub import HfApi

    with suppress(*hub_errors()):
        return HfApi().model_info(hub_id, timeout=10).sha
    return None


def _files(folder: Path) -> Iterable[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix in _SUFFIXES)


class _Cache:
    """A cache of files' SHA-256 (hex), valid while size and modification time are the same."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[str, list[object]] = {}
        self._changed = False
        if file is not None:
            with suppress(OSError, ValueError):
                self._known = json.loads(file.read_text(encoding="utf-8"))

    def hash(self, path: Path) -> str:
        """Return the hash of a file's content."""
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
        """Write new hashes; ignore errors, which only cost time."""
        if self._file is None or not self._changed:
            return
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            new = self._file.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps(self._known), encoding="utf-8")
            new.replace(self._file)
