"""Files by the SHA-256 of their bytes, and pictures made small."""

import hashlib
import io
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import StoreError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}
MAX_PIXELS = 32_000_000
THUMBNAIL = 192  # pixels, the longer side


def open_picture(source: Path | bytes) -> "Image.Image":
    """The decoded picture of a file or its bytes: PNG, JPEG or WebP, up to `MAX_PIXELS`."""
    from PIL import Image  # here, because many who use a store never look at a picture

    name = "picture" if isinstance(source, bytes) else str(source)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        picture = Image.open(file, formats=tuple(FORMATS))
        if picture.width * picture.height > MAX_PIXELS:
            raise StoreError(
                f"{name}: {picture.width} x {picture.height} pixels; at most {MAX_PIXELS} are read"
            )
        picture.load()  # type: ignore[no-untyped-call]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise StoreError(f"{name}: not a readable PNG, JPEG or WebP picture ({error})") from error
    return picture


def thumbnail(picture: "Image.Image") -> bytes | None:
    """The picture as a JPEG of at most `THUMBNAIL` pixels a side; None if it is that small."""
    if max(picture.size) <= THUMBNAIL:
        return None
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file that is there whole or not at all, also after a power cut."""
    temporary = path.with_name(f".new-{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
