"""The pictures of screens by name: artifacts, tiles of the picture bank, and differences.

A tile is named "sheet:place:side" (see `comparisons.tile`), a difference "TILE-TILE".
"""

import io
from pathlib import Path

from store.reading import comparisons
from store.reading.browse import Browse

_HOT = ((0, 0, 0), (160, 20, 60), (255, 140, 0), (255, 255, 200))
"""The colours of no change to the largest change."""


def picture(browse: Browse, name: str, *, small: bool) -> Path | bytes:
    """Return the file of an artifact, or the bytes of a tile or difference."""
    if "-" in name:
        before, after = name.split("-")
        return difference(
            comparisons.tile_bytes(browse, before), comparisons.tile_bytes(browse, after)
        )
    if ":" in name:
        return comparisons.tile_bytes(browse, name)
    return browse.picture(name, small=small)


def difference(before: bytes, after: bytes) -> bytes:
    """Return a heat map of the change between two pictures of one size, as PNG.

    A pixel is as hot as the largest change of its three channels; the hottest colour stands for the
    largest change of the pair.
    """
    from PIL import Image, ImageChops

    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in (before, after)]
    red, green, blue = ImageChops.difference(*pictures).split()
    change = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    largest = max(change.tobytes(), default=0) or 1
    heat = change.convert("P")
    heat.putpalette([channel for level in range(256) for channel in _colour(level / largest)])
    buffer = io.BytesIO()
    heat.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def _colour(share: float) -> tuple[int, int, int]:
    """Return the colour between the stops of the scale."""
    at = min(share, 1.0) * (len(_HOT) - 1)
    k = min(int(at), len(_HOT) - 2)
    low, high = _HOT[k], _HOT[k + 1]
    red, green, blue = (round(a + (b - a) * (at - k)) for a, b in zip(low, high, strict=True))
    return red, green, blue
