"""The import of bundles: reads, checks and restores them.

The manifest is read first. No other file is read before the sizes, which the folder or archive
declares, are within the limits; each is then read in pieces, against its hash, and never further
than declared. So the memory of an import does not depend on what an archive unpacks to.
"""

import hashlib
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from dexter.errors import InputError
from dexter_tui.exchange.bundle_writer import ARTIFACT_NAME, MANIFEST, MIMES, RECORDS
from store import Store
from store.errors import StoreError, explained
from store.upkeep.records import spooled
from store.upkeep.transfer import Restored, restore

MAX_FILES = 50_000
MAX_FILE = 512_000_000  # bytes
MAX_TOTAL = 8_000_000_000
MAX_MANIFEST = 16_000_000
MAX_PICTURE = 32_000_000
MAX_DIRECTORY = 16_000_000  # bytes of the list of files in an archive
MAX_RATIO = 100  # of what an archive unpacks to, to its own size
FREE = 10_000_000  # bytes that any archive may unpack to
_PIECE = 2**20
_AGAIN = "export the bundle again"


class _Files(Protocol):
    """The files of a bundle, wherever they are."""

    def sizes(self) -> dict[str, int]:
        """Return the declared sizes in bytes by name; raise InputError for what is no file."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file."""


class _Folder:
    """A bundle in a folder."""

    def __init__(self, source: Path) -> None:
        self.source = source

    def sizes(self) -> dict[str, int]:
        found: dict[str, int] = {}
        with explained(self.source):
            for folder, folders, names in os.walk(self.source):
                for name in (*folders, *names):
                    path = Path(folder, name)
                    shown = path.relative_to(self.source).as_posix()
                    mode = path.lstat().st_mode
                    if stat.S_ISLNK(mode):
                        raise _nothing(f"{self.source}: {shown[:100]!r} is a link")
                    if stat.S_ISDIR(mode):
                        continue
                    if not stat.S_ISREG(mode):
                        raise _nothing(f"{self.source}: {shown[:100]!r} is not a regular file")
                    found[_safe(self.source, shown)] = path.lstat().st_size
                    _limit_count(self.source, len(found))
        return found

    def open(self, name: str) -> IO[bytes]:
        # Neither follows a link nor waits for a pipe that took the file's place.
        descriptor = os.open(self.source / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        return os.fdopen(descriptor, "rb")


class _Zip:
    """A bundle in an archive."""

    def __init__(self, source: Path, archive: zipfile.ZipFile) -> None:
        self.source = source
        self._archive = archive

    def sizes(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for info in self._archive.infolist():
            if info.is_dir():
                continue
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                raise _nothing(f"{self.source}: {info.filename[:100]!r} is a link")
            name = _safe(self.source, info.filename)
            if name in found:
                raise _nothing(f"{self.source}: {name} occurs twice")
            found[name] = info.file_size
            _limit_count(self.source, len(found))
        packed, unpacked = self.source.stat().st_size, sum(found.values())
        if unpacked > max(FREE, MAX_RATIO * packed):
            raise _nothing(
                f"{self.source}: {packed:,} bytes unpack to {unpacked:,}, more than {MAX_RATIO} "
                "times as many"
            )
        return found

    def open(self, name: str) -> IO[bytes]:
        return self._archive.open(name)


def _nothing(problem: str) -> InputError:
    return InputError(f"{problem}; nothing was imported")


def _limit_count(source: Path, count: int) -> None:
    if count > MAX_FILES:
        raise _nothing(f"{source}: more than {MAX_FILES:,} files")


def _safe(source: Path, name: str) -> str:
    """Return the name of a file. Raise InputError if it could point outside the bundle."""
    parts = PurePosixPath(name).parts
    if not ARTIFACT_NAME.fullmatch(name) or ".." in parts or "." in parts or len(name) > 255:
        raise _nothing(f"{source}: {name[:100]!r} is not a valid file name in a bundle")
    return name


@contextmanager
def _opened(source: Path) -> Iterator[_Files]:
    """Open the files of a bundle; turn all errors of reading them into InputError."""
    if source.is_dir():
        yield _Folder(source)
        return
    if not source.is_file():
        raise InputError(f"{source}: not a regular file", remedy="name a folder or a .zip")
    if not zipfile.is_zipfile(source):
        with explained(source), source.open("rb") as file:
            beginning = file.read(4)
        if beginning in (b"", b"PK\3\4"):
            problem = "its end is missing" if beginning else "the file is empty"
            raise InputError(f"{source}: cut off: {problem}", remedy=f"copy it again, or {_AGAIN}")
        raise InputError(
            f"{source}: not a bundle", remedy=f"name a folder or .zip that contains {MANIFEST}"
        )
    _check_directory(source)
    try:
        with zipfile.ZipFile(source) as archive:
            yield _Zip(source, archive)
    except (InputError, StoreError):
        raise
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"{source}: cannot be read: {_line(error)}", remedy=_AGAIN) from None


def _line(error: Exception) -> str:
    return " ".join(f"{error}".split())[:200]


def _check_directory(source: Path) -> None:
    """Refuse an archive with a list of files that is too long to be read.

    Finds the end of the list as `zipfile` does.
    """
    with explained(source), source.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 2**16 - 22, 0))
        tail = file.read()
    at = len(tail) - 22
    if at < 0 or tail[at : at + 4] != b"PK\5\6" or tail[-2:] != b"\0\0":
        at = tail.rfind(b"PK\5\6")
    record = tail[at : at + 22]
    if at < 0 or len(record) < 22 or b"PK\6\7" in tail[max(at - 20, 0) : at]:
        raise _nothing(f"{source}: an archive with more than {MAX_FILES:,} files, or damaged")
    if int.from_bytes(record[12:16], "little") > MAX_DIRECTORY:
        raise _nothing(f"{source}: its list of files is too long")


def _read(files: _Files, source: Path, name: str, size: int) -> Iterator[bytes]:
    """Yield a file in pieces, and no more of it than was declared."""
    left = size
    try:
        with closing(files.open(name)) as file:
            while piece := file.read(min(_PIECE, left + 1)):
                left -= len(piece)
                if left < 0:
                    raise _nothing(f"{source}: {name} is larger than declared")
                yield piece
    except InputError:
        raise
    except Exception as error:  # zlib, lzma and bz2 raise errors of their own
        raise InputError(
            f"{source}: {name} cannot be read: {_line(error)}", remedy=_AGAIN
        ) from None


def _listed(source: Path, text: bytes) -> dict[str, str]:
    """Return the hashes in a manifest by name."""
    listed: dict[str, str] = {}
    for line in text.decode(errors="replace").removesuffix("\n").split("\n"):
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if match is None or match[2] in listed:
            raise InputError(f"{source}: {MANIFEST} is damaged: {line[:100]!r}", remedy=_AGAIN)
        if match[2] == MANIFEST:
            raise _nothing(f"{source}: {MANIFEST} lists itself")
        listed[_safe(source, match[2])] = match[1]
    return listed


def _check_names(source: Path, sizes: Mapping[str, int], listed: Mapping[str, str]) -> None:
    for name in sorted(listed.keys() | (sizes.keys() - {MANIFEST})):
        if name not in sizes:
            raise InputError(f"{source}: {name} is missing", remedy=_AGAIN)
        if name not in listed:
            raise InputError(f"{source}: {name} is not in {MANIFEST}", remedy=_AGAIN)
        if sizes[name] > (MAX_PICTURE if name.startswith("frames/") else MAX_FILE):
            raise _nothing(f"{source}: {name} is too large ({sizes[name]:,} bytes)")
    if RECORDS not in listed:
        raise InputError(f"{source}: {RECORDS} is missing", remedy=_AGAIN)
    if sum(sizes.values()) > MAX_TOTAL:
        raise _nothing(f"{source}: more than {MAX_TOTAL:,} bytes")


def import_bundle(store: Store, source: Path) -> Restored:
    """Import a bundle; return the restored rows.

    Raises InputError or StoreError, and adds no row, if any file differs from the manifest or any
    record cannot be believed.
    """
    with (
        explained(store.home),
        tempfile.TemporaryFile(dir=store.home) as records,
        _opened(source) as files,
    ):
        sizes = files.sizes()
        if MANIFEST not in sizes:
            raise InputError(f"{source}: not a bundle: {MANIFEST} is missing")
        if sizes[MANIFEST] > MAX_MANIFEST:
            raise _nothing(f"{source}: {MANIFEST} is too large ({sizes[MANIFEST]:,} bytes)")
        text = b"".join(_read(files, source, MANIFEST, sizes[MANIFEST]))
        listed = _listed(source, text)
        _check_names(source, sizes, listed)
        for name, wanted in listed.items():
            digest = hashlib.sha256()
            for piece in _read(files, source, name, sizes[name]):
                digest.update(piece)
                if name == RECORDS:
                    with explained(store.home):
                        records.write(piece)
            if digest.hexdigest() != wanted:
                raise InputError(f"{source}: {name} was changed after the export", remedy=_AGAIN)
        with explained(store.home):
            records.flush()
        by_hash = {PurePosixPath(name).stem: name for name in listed if name.startswith("frames/")}

        def picture(sha256: str) -> tuple[bytes, str]:
            name = by_hash.get(sha256)
            if name is None:
                raise InputError(f"{source}: the picture {sha256} is missing", remedy=_AGAIN)
            mime = MIMES.get(PurePosixPath(name).suffix, "application/octet-stream")
            return b"".join(_read(files, source, name, sizes[name])), mime

        return restore(store, spooled(records), picture)
