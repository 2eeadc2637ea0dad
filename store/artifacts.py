"""The files of a home: safe opening, atomic writes, and the pictures' decoding and hashes."""

import errno
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from store.errors import StoreError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}
MAX_PIXELS = 32_000_000
THUMBNAIL = 192  # pixels, the longer side


def open_picture(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> "Image.Image":
    """Decode a PNG, JPEG or WebP of at most `max_pixels`; raise StoreError for anything else."""
    from PIL import Image  # here, because most users of a store never open a picture

    name = "picture" if isinstance(source, bytes) else str(source)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        picture = Image.open(file, formats=tuple(FORMATS))
        if picture.width * picture.height > max_pixels:
            raise StoreError(
                f"too large ({picture.width} x {picture.height} pixels)",
                field=name,
                remedy=f"use a picture of at most {max_pixels} pixels",
            )
        picture.load()  # type: ignore[no-untyped-call]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise StoreError(
            f"not a readable PNG, JPEG or WebP picture ({_fault(file, error)})",
            field=name,
            remedy="replace or remove it",
        ) from error
    return picture


# The first bytes of files that are no pictures.
_OTHERS = (
    (b"version https://git-lfs", "a git-lfs pointer: run `git lfs pull`"),
    (b"\x00\x05\x16\x07", "a macOS side file"),
    (b"<", "a web page"),
    (b"PK", "a zip archive"),
)


def _fault(file: Path | io.BytesIO, error: Exception) -> str:
    """Return what an undecodable file is."""
    if isinstance(file, Path):
        try:
            with file.open("rb") as opened:
                head = opened.read(64)
        except OSError:
            return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    else:
        head = file.getvalue()[:64]
    if not head:
        return "an empty file"
    for mark, words in _OTHERS:
        if head.lstrip().startswith(mark):
            return words
    return "another format" if mime_of(head) is None else "cut off or damaged"


def mime_of(data: bytes) -> str | None:
    """Return the type of a picture by its first bytes; None for other formats."""
    for mark, name in ((b"\x89PNG", "PNG"), (b"\xff\xd8\xff", "JPEG")):
        if data.startswith(mark):
            return FORMATS[name]
    return FORMATS["WEBP"] if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def thumbnail(picture: "Image.Image") -> bytes | None:
    """Return a JPEG of at most `THUMBNAIL` pixels a side; None if the picture is no larger."""
    if max(picture.size) <= THUMBNAIL:
        return None
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def digest(data: bytes) -> str:
    """Return the SHA-256 hash in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class NotPlain(OSError):
    """A link, pipe or device under the name of a file of a home."""


def open_plain(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a file of a home for `os`; return its descriptor.

    A home may come from elsewhere, with links to files that are not its own, or pipes that are
    waited for. Raises NotPlain for them.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a pipe that nobody reads
            raise _not_plain(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_plain(path)
    return descriptor


def _not_plain(path: Path) -> NotPlain:
    return NotPlain(errno.EINVAL, "a link or not a plain file: remove it", str(path))


def open_to_read(path: Path) -> BinaryIO:
    """Open a file of a home to read it; raise OSError as `open_plain`."""
    return os.fdopen(open_plain(path, os.O_RDONLY), "rb")


def open_log(path: Path) -> BinaryIO:
    """Open a file of a home to append to it; raise OSError as `open_plain`."""
    return os.fdopen(open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab")


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file completely or not at all, even through a power cut."""

    def write(temporary: Path) -> None:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)

    place_atomic(path, write)


def place_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Give a file that `write` makes its name when it is complete, safe from a power cut.

    Nothing is left of a file whose writing fails. Raises what `write` raises, OSErrors with `path`.
    """
    temporary = path.with_name(f".new-{secrets.token_hex(8)}")
    try:
        write(temporary)
        _sync(temporary)
        temporary.replace(path)
    except BaseException as error:
        for left in path.parent.glob(f"{temporary.name}*"):  # also files of SQLite beside it
            left.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
