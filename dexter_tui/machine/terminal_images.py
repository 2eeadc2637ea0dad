"""The rendering of pictures in a terminal, as half blocks by term-image."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

# Pillow imports numpy for type hints only. Without it, the dashboard saves 9 MB of memory and half
# of the time to the first picture.
_NEEDLESS = "numpy" not in sys.modules
if _NEEDLESS:
    sys.modules["numpy"] = None  # type: ignore[assignment]
try:
    from PIL import Image
finally:
    if _NEEDLESS:
        del sys.modules["numpy"]

if TYPE_CHECKING:
    from rich.console import RenderableType


@cache
def _block_image() -> Any:
    """Import BlockImage of term-image, with its terminal queries disabled.

    The import opens the terminal and patches ``multiprocessing``. Its first rendering would query
    the terminal, and late replies over a slow line would arrive as key presses.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns without a terminal
        import term_image
        from term_image.image import BlockImage

    term_image.disable_queries()
    term_image.set_cell_ratio(0.5)
    return BlockImage


def truecolor() -> bool:
    """Return True if the terminal announces 24-bit colours."""
    return os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit")


def half_blocks(picture: Image.Image, columns: int) -> str:
    """Render a picture as lines of half blocks with colour sequences, ``columns`` cells wide."""
    image = _block_image()(picture.convert("RGB"), width=columns)
    return format(image, "1.1" + ("+D" if truecolor() else "+I"))


@contextlib.contextmanager
def without_queries() -> Iterator[None]:
    """Hide the terminal while textual-image is imported, which would query it."""
    os.environ.setdefault("TEXTUAL_CELL_WIDTH", "10")
    os.environ.setdefault("TEXTUAL_CELL_HEIGHT", "20")
    true_stdout = sys.__stdout__
    try:
        sys.__stdout__ = io.StringIO()  # type: ignore[misc, assignment]
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        sys.__stdout__ = true_stdout  # type: ignore[misc]


def graphics(kind: str, picture: Image.Image) -> "RenderableType | None":
    """Return the picture in pixels ("kitty" or "sixel") for Rich, as wide as the terminal.

    Returns None if textual-image is not installed or does not work.
    """
    try:
        with without_queries():
            from textual_image.renderable import SixelImage, TGPImage
    except Exception:  # any failure: half blocks always work
        return None
    made: RenderableType = (TGPImage if kind == "kitty" else SixelImage)(picture, width="100%")
    return made
