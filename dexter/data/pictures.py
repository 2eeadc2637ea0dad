"""The pictures of a data set, read one batch at a time: never more than a batch is in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dexter.classifiers.reading import Preprocessing
from dexter.data.folder import Item, Skipped, Why
from dexter.generation.bank import Images

if TYPE_CHECKING:
    from PIL import Image

Picture = NDArray[np.uint8]

MAX_PIXELS = 64_000_000
MAX_BYTES = 200_000_000
_LONGEST = 4  # sides of a picture that is scaled as a whole
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


class _Refused(Exception):
    def __init__(self, why: Why) -> None:
        self.why = why


def batches(
    items: Sequence[Item],
    side: int,
    skipped: Skipped,
    *,
    step: Preprocessing | None = None,
    batch: int = 32,
) -> Iterator[tuple[list[int], Images]]:
    """Yield positions in ``items`` and their pictures, uint8 (B, side, side, 3).

    Pictures are scaled until the shorter side is ``side`` px, and the middle is cut out, as
    torchvision's evaluation does, or as ``step`` states; with its side nothing is left to scale.
    One that cannot be read is added to ``skipped``.
    """
    step = step or Preprocessing(side, side)
    places: list[int] = []
    pictures: list[Picture] = []
    for place, item in enumerate(items):
        try:
            picture = _picture(item, side, step)
        except _Refused as refused:
            skipped.add(item.name, refused.why)
            continue
        places.append(place)
        pictures.append(picture)
        if len(places) == batch:
            yield places, np.stack(pictures)
            places, pictures = [], []
    if places:
        yield places, np.stack(pictures)


def _picture(item: Item, side: int, step: Preprocessing) -> Picture:
    from PIL import Image

    if not isinstance(item.source, Path):
        return _square(Image.fromarray(item.source.picture), side, step)
    try:
        if not item.source.is_file():
            raise _Refused(Why.MISSING)
        if item.source.stat().st_size > MAX_BYTES:
            raise _Refused(Why.TOO_LARGE)
        with Image.open(io.BytesIO(item.source.read_bytes()), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _Refused(Why.TOO_LARGE)
            # A JPEG is decoded smaller, but large enough to be scaled as if it were whole.
            image.draft("RGB", (2 * side, 2 * side))
            return _square(image, side, step)
    except Image.DecompressionBombError:
        raise _Refused(Why.TOO_LARGE) from None
    except _Refused:
        raise
    except Exception:  # a decoder may fail in any way on a broken file
        raise _Refused(Why.UNREADABLE) from None


def _square(image: Image.Image, side: int, step: Preprocessing) -> Picture:
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PNG"):
        # `convert` would cut at 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):  # numbers of no known range
        raise _Refused(Why.UNREADABLE)
    converted = image.convert("RGB")
    width, height = converted.size
    kernel = Image.Resampling[step.mode.removesuffix("-exact").upper()]
    wide, high = (side if step.squash else side * n // min(width, height) for n in (width, height))
    # The step itself still cuts as much around it.
    left, top = (step.start(length) - step.start(side) for length in (wide, high))
    right, bottom = left + side, top + side
    if max(wide, high) <= _LONGEST * side:
        return np.asarray(converted.resize((wide, high), kernel).crop((left, top, right, bottom)))
    # Only the middle is scaled, to within a byte's last bit: the whole could fill the memory.
    x, y = width / wide, height / high
    box = (left * x, top * y, right * x, bottom * y)
    return np.asarray(converted.resize((side, side), kernel, box=box))
