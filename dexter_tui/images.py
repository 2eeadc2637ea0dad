"""Pictures in a terminal, as half blocks by term-image."""

import os
import warnings
from functools import cache
from typing import Any

from PIL import Image


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


def half_blocks(picture: Image.Image, columns: int) -> str:
    """The picture as lines of half blocks with colour sequences, ``columns`` cells wide."""
    image = _block_image()(picture.convert("RGB"), width=columns)
    return format(image, "1.1" + ("+D" if truecolor() else "+I"))
