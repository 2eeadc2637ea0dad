"""A choice of pictures that differ: the farthest-point method on small copies of the pictures."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

_SIDE = 8  # pixels, side of the small copies
NEAR = 0.04
"""Two pictures are nearly identical below this root mean square distance of their pixels, 0 to 1"""

_Item = TypeVar("_Item")


def diverse(
    groups: Sequence[Sequence[_Item]], pixels: Callable[[_Item], bytes], count: int
) -> list[_Item]:
    """Return up to ``count`` items whose pictures differ, from each group in turn.

    Args:
        groups: Items, best first; the first item of the first group is always chosen.
        pixels: Returns the small copy of an item's picture, see `small`.
        count: The largest number of items; near-identical ones are left out.
    """
    chosen: list[tuple[_Item, bytes]] = []
    left = [[(item, pixels(item)) for item in group] for group in groups]
    found = True
    while found and len(chosen) < count:
        found = False
        for group in left:
            fresh = [(_nearest(copy, chosen), k) for k, (_, copy) in enumerate(group)]
            fresh = [one for one in fresh if one[0] >= NEAR]
            if fresh and len(chosen) < count:
                # Of items that are equally far, the best one.
                distance = max(one[0] for one in fresh)
                at = next(k for far, k in fresh if far == distance)
                chosen.append(group.pop(at))
                found = True
    return [item for item, _ in chosen]


def _nearest(pixels: bytes, chosen: Sequence[tuple[object, bytes]]) -> float:
    return min((_distance(pixels, other) for _, other in chosen), default=math.inf)


def _distance(a: bytes, b: bytes) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(a)) / 255


def small(source: Path | bytes) -> bytes:
    """Return a picture's pixels at 8 by 8, RGB. Raises StoreError for a damaged picture."""
    from PIL import Image

    from store.artifacts import open_picture

    picture = open_picture(source).convert("RGB")
    return picture.resize((_SIDE, _SIDE), Image.Resampling.BOX).tobytes()


@lru_cache(maxsize=2048)
def small_file(path: Path) -> bytes:
    """Return `small` of a file that never changes."""
    return small(path)
