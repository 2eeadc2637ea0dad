"""Bundles from elsewhere: read, checked and imported."""

import json
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from dexter.errors import InputError
from dexter_tui.exchange.bundle_writer import ARTIFACT_NAME, MANIFEST, MIMES, RECORDS
from store import Store, artifacts
from store.errors import explained
from store.upkeep.transfer import restore

MAX_FILE = 512_000_000  # bytes


MAX_TOTAL = 8_000_000_000


def read(source: Path) -> dict[str, bytes]:
    """The files of a bundle, each as its manifest says; InputError for anything else.

    Nothing is written, and nothing outside the bundle is read.
    """
    if source.is_dir():
        files = _read_folder(source)
    elif zipfile.is_zipfile(source):
        files = _read_zip(source)
    else:
        raise InputError(f"{source}: no bundle (a folder or .zip with {MANIFEST})")
    if MANIFEST not in files:
        raise InputError(f"{source}: no bundle: {MANIFEST} is missing")
    listed = _listed(source, files.pop(MANIFEST))
    for name in listed.keys() | files.keys():
        if name not in files:
            raise InputError(f"{source}: {name} is missing")
        if name not in listed:
            raise InputError(f"{source}: {name} is not in its manifest")
        if artifacts.digest(files[name]) != listed[name]:
            raise InputError(f"{source}: {name} is not what its manifest says; it was changed")
    if RECORDS not in files:
        raise InputError(f"{source}: {RECORDS} is missing; nothing to import")
    return files


def _listed(source: Path, text: bytes) -> dict[str, str]:
    listed: dict[str, str] = {}
    for line in text.decode(errors="replace").removesuffix("\n").split("\n"):
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if match is None or match[2] in listed:
            raise InputError(f"{source}: {MANIFEST} is damaged: {line[:100]!r}")
        listed[_safe(source, match[2])] = match[1]
    return listed


def _safe(source: Path, name: str) -> str:
    """The name of a file, which must be within the bundle."""
    parts = PurePosixPath(name).parts
    if not ARTIFACT_NAME.fullmatch(name) or ".." in parts or "." in parts or name == MANIFEST:
        raise InputError(f"{source}: {name[:100]!r} is no name of a file within a bundle; refused")
    return name


def _read_folder(source: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    total = 0
    with explained(source):
        for path in sorted(source.rglob("*")):
            name = path.relative_to(source).as_posix()
            if path.is_symlink():
                raise InputError(f"{source}: {name} is a link; refused")
            if path.is_dir():
                continue
            if not path.is_file():
                raise InputError(f"{source}: {name} is no plain file; refused")
            if name != MANIFEST:
                _safe(source, name)
            total = _within_limits(source, name, path.stat().st_size, total)
            files[name] = path.read_bytes()
    return files


def _read_zip(source: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    total = 0
    try:
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    continue
                if (info.external_attr >> 16) & 0o170000 == 0o120000:
                    raise InputError(f"{source}: {info.filename[:100]!r} is a link; refused")
                if info.filename != MANIFEST:
                    _safe(source, info.filename)
                if info.filename in files:
                    raise InputError(f"{source}: {info.filename} is in it twice; refused")
                total = _within_limits(source, info.filename, info.file_size, total)
                with archive.open(info) as file:
                    files[info.filename] = file.read(info.file_size + 1)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"{source}: cannot be read: {error}") from None
    except Exception as error:  # zlib has errors of its own
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: damaged: {error}") from None
    return files


def _within_limits(source: Path, name: str, size: int, total: int) -> int:
    if size > MAX_FILE or total + size > MAX_TOTAL:
        raise InputError(f"{source}: {name} is too large ({total + size:,} bytes so far); refused")
    return total + size


def bring_in(store: Store, source: Path) -> Any:
    """Import a bundle; what `store.upkeep.transfer.restore` gives."""
    files = read(source)
    records = []
    for number, line in enumerate(files[RECORDS].decode(errors="replace").splitlines(), 1):
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError):
            raise InputError(f"{source}: line {number} of {RECORDS} is no JSON") from None
    by_hash = {PurePosixPath(name).stem: name for name in files if name.startswith("frames/")}

    def picture(sha256: str) -> tuple[bytes, str]:
        name = by_hash.get(sha256)
        if name is None:
            raise InputError(f"{source}: the picture {sha256} is missing")
        return files[name], MIMES.get(PurePosixPath(name).suffix, "application/octet-stream")

    return restore(store, records, picture)
