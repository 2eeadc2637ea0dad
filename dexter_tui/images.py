"""Pictures in a terminal, as half blocks by term-image."""

import io
import os
import warnings
from functools import cache
from typing import Any

from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64_000_000


@cache
def _block_image() -> Any:
    """term-image's BlockImage, imported late and muzzled.

    Importing it opens the terminal and patches ``multiprocessing``, and its first rendering asks
    the terminal questions whose late answers over a slow line would arrive as key presses.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where there is no terminal
        import term_image
        from term_image.image import BlockImage

    term_image.disable_queries()
    term_image.set_cell_ratio(0.5)
    return BlockImage


def truecolor() -> bool:
    """Whether the terminal says that it shows 24-bit colours."""
    return os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit")


def open_picture(data: bytes) -> Image.Image:
    """A picture from PNG, JPEG or WebP bytes. ValueError for anything else or one too large."""
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"a picture of {picture.width}x{picture.height} pixels is too large")
        return picture.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a PNG, JPEG or WebP picture: {error}") from None


def half_blocks(picture: Image.Image, columns: int) -> str:
    """The picture as lines of half blocks with colour sequences, ``columns`` cells wide."""
    image = _block_image()(picture, width=columns)
    return format(image, "1.1" + ("+D" if truecolor() else "+I"))
