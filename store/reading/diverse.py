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
    groups: Sequence[Sequence[_Item]], path: Callable[[_Item], Path], count: int
) -> list[_Item]:
    """Return up to ``count`` items whose pictures differ, from each group in turn.

    Args:
        groups: Items, best first; the first item of the first group is always chosen.
        path: Returns the file of an item's picture.
        count: The largest number of items; near-identical ones are left out.
    """
    chosen: list[tuple[_Item, bytes]] = []
    left = [[(item, small(path(item))) for item in group] for group in groups]
    found = True
    while found and len(chosen) < count:
        found = False
        for group in left:
            fresh = [(_nearest(pixels, chosen), k) for k, (_, pixels) in enumerate(group)]
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


@lru_cache(maxsize=2048)
def small(path: Path) -> bytes:
    """Return a picture's pixels at 8 by 8, RGB. Raises StoreError for a damaged file."""
    from PIL import Image

    from store.artifacts import open_picture

    picture = open_picture(path).convert("RGB")
    return picture.resize((_SIDE, _SIDE), Image.Resampling.BOX).tobytes()
