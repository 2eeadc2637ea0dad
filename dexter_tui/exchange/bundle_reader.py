"""The import of bundles: reads, checks and restores them."""

import json
import re
import zipfile
from pathlib import Path, PurePosixPath

from dexter.errors import InputError
from dexter_tui.exchange.bundle_writer import ARTIFACT_NAME, MANIFEST, MIMES, RECORDS
from store import Store, artifacts
from store.errors import explained
from store.upkeep.transfer import Restored, restore

MAX_FILE = 512_000_000  # bytes
MAX_TOTAL = 8_000_000_000
_AGAIN = "export the bundle again"


def read(source: Path) -> dict[str, bytes]:
    """Read the files of a bundle. Raise InputError if any differs from the manifest.

    Writes nothing, and reads nothing outside the bundle.
    """
    if source.is_dir():
        files = _read_folder(source)
    elif zipfile.is_zipfile(source):
        files = _read_zip(source)
    else:
        raise InputError(
            f"{source}: not a bundle", remedy=f"name a folder or .zip that contains {MANIFEST}"
        )
    if MANIFEST not in files:
        raise InputError(f"{source}: not a bundle: {MANIFEST} is missing")
    listed = _listed(source, files.pop(MANIFEST))
    for name in listed.keys() | files.keys():
        if name not in files:
            raise InputError(f"{source}: {name} is missing", remedy=_AGAIN)
        if name not in listed:
            raise InputError(f"{source}: {name} is not in {MANIFEST}", remedy=_AGAIN)
        if artifacts.digest(files[name]) != listed[name]:
            raise InputError(f"{source}: {name} was changed after the export", remedy=_AGAIN)
    if RECORDS not in files:
        raise InputError(f"{source}: {RECORDS} is missing", remedy=_AGAIN)
    return files


def _listed(source: Path, text: bytes) -> dict[str, str]:
    listed: dict[str, str] = {}
    for line in text.decode(errors="replace").removesuffix("\n").split("\n"):
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if match is None or match[2] in listed:
            raise InputError(f"{source}: {MANIFEST} is damaged: {line[:100]!r}", remedy=_AGAIN)
        listed[_safe(source, match[2])] = match[1]
    return listed


def _safe(source: Path, name: str) -> str:
    """Return the name of a file. Raise InputError if it could point outside the bundle."""
    parts = PurePosixPath(name).parts
    if not ARTIFACT_NAME.fullmatch(name) or ".." in parts or "." in parts or name == MANIFEST:
        raise InputError(
            f"{source}: {name[:100]!r} is not a valid file name in a bundle; nothing was imported"
        )
    return name


def _read_folder(source: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    total = 0
    with explained(source):
        for path in sorted(source.rglob("*")):
            name = path.relative_to(source).as_posix()
            if path.is_symlink():
                raise InputError(f"{source}: {name} is a link; nothing was imported")
            if path.is_dir():
                continue
            if not path.is_file():
                raise InputError(f"{source}: {name} is not a regular file; nothing was imported")
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
                    raise InputError(
                        f"{source}: {info.filename[:100]!r} is a link; nothing was imported"
                    )
                if info.filename != MANIFEST:
                    _safe(source, info.filename)
                if info.filename in files:
                    raise InputError(
                        f"{source}: {info.filename} occurs twice; nothing was imported"
                    )
                total = _within_limits(source, info.filename, info.file_size, total)
                with archive.open(info) as file:
                    files[info.filename] = file.read(info.file_size + 1)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"{source}: cannot be read: {error}", remedy=_AGAIN) from None
    except Exception as error:  # zlib raises errors of its own
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: damaged: {error}", remedy=_AGAIN) from None
    return files


def _within_limits(source: Path, name: str, size: int, total: int) -> int:
    if size > MAX_FILE or total + size > MAX_TOTAL:
        raise InputError(
            f"{source}: {name} is too large ({total + size:,} bytes so far); nothing was imported"
        )
    return total + size


def import_bundle(store: Store, source: Path) -> Restored:
    """Import a bundle; return the restored rows."""
    files = read(source)
    records = []
    for number, line in enumerate(files[RECORDS].decode(errors="replace").splitlines(), 1):
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError):
            raise InputError(
                f"{source}: line {number} of {RECORDS} is not JSON", remedy=_AGAIN
            ) from None
    by_hash = {PurePosixPath(name).stem: name for name in files if name.startswith("frames/")}

    def picture(sha256: str) -> tuple[bytes, str]:
        name = by_hash.get(sha256)
        if name is None:
            raise InputError(f"{source}: the picture {sha256} is missing", remedy=_AGAIN)
        return files[name], MIMES.get(PurePosixPath(name).suffix, "application/octet-stream")

    return restore(store, records, picture)
