"""Small pictures for stores and captions, as PNG files."""

import io
import random

from PIL import Image


def plain(color: tuple[int, int, int] = (10, 20, 30), size: tuple[int, int] = (64, 64)) -> bytes:
    """Return a picture of one colour."""
    return _png(Image.new("RGB", size, color))


def noise(seed: int) -> bytes:
    """Return 64 x 64 random pixels, which no PNG makes smaller."""
    return _png(Image.frombytes("RGB", (64, 64), random.Random(seed).randbytes(64 * 64 * 3)))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
