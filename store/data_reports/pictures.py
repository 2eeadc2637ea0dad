"""The pictures of reports, which lie in the bank."""

from typing import NamedTuple

from store.data_reports.explanations import WhatIfResult
from store.reading import comparisons
from store.reading.browse import Browse


class Tile(NamedTuple):
    """A picture of a strip. place: in the bank, see `comparisons.tile`; None if it is gone."""

    place: str | None
    prompt: str
    lines: tuple[str, str]


class Shown(NamedTuple):
    """A picture as PNG, with the lines under it."""

    data: bytes
    lines: tuple[str, str]


def tiles(browse: Browse, result: WhatIfResult) -> list[Tile]:
    """Return where the pictures of a what-if's strip are."""
    return [
        Tile(comparisons.tile(browse, *request), request[1], lines)
        for request, lines in zip(result.requests, result.captions, strict=True)
    ]


def strip(browse: Browse, result: WhatIfResult) -> list[Shown]:
    """Return the pictures of a what-if's strip that are there."""
    return [
        Shown(comparisons.tile_bytes(browse, tile.place), tile.lines)
        for tile in tiles(browse, result)
        if tile.place is not None
    ]
