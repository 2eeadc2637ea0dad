"""Pictures in a row with a line under each, and pages that show them, as files."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dexter.errors import InputError
from store import artifacts
from store.errors import explained

SUFFIXES = (".md", ".html", ".png")
_EDGE = 192  # px, side of a picture
_GAP = 12
_LINE = 18


class Tile(NamedTuple):
    """A picture of a strip, with the lines under it."""

    picture: Any
    """(H, W, 3), uint8."""
    lines: Sequence[str]


def check_target(target: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raise InputError for a file that cannot be written, before the work for it begins."""
    if target.suffix.lower() not in suffixes:
        raise InputError(
            f"{target.name} ends in none of {', '.join(suffixes)}",
            field="output",
            value=str(target),
            remedy="name such a file",
        )
    if not target.parent.is_dir():
        raise InputError(
            f"{target.parent} is no folder",
            field="output",
            value=str(target),
            remedy="make it first",
        )
    if target.is_dir():
        raise InputError("is a folder", field="output", value=str(target), remedy="name a file")


def png(tiles: Sequence[Tile]) -> bytes:
    """Return a PNG of the pictures in a row, each with its lines under it."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_LINE - 5)
    high = _EDGE + 2 * _GAP + _LINE * max(len(tile.lines) for tile in tiles)
    sheet = Image.new("RGB", (_GAP + len(tiles) * (_EDGE + _GAP), high), "white")
    draw = ImageDraw.Draw(sheet)
    for at, tile in enumerate(tiles):
        x = _GAP + at * (_EDGE + _GAP)
        sheet.paste(_sized(tile.picture), (x, _GAP))
        for row, line in enumerate(tile.lines):
            text = line
            while text and draw.textlength(text, font=font) > _EDGE:
                text = text[:-2].rstrip("…") + "…"
            draw.text((x, _EDGE + _GAP + 4 + row * _LINE), text, fill="black", font=font)
    return _bytes(sheet)


def picture_files(tiles: Sequence[Tile]) -> list[tuple[str, bytes]]:
    """Return a file name and PNG for each picture."""
    found = [_bytes(_sized(tile.picture)) for tile in tiles]
    return [(f"{hashlib.sha256(data).hexdigest()}.png", data) for data in found]


def write_page(text: str, files: Mapping[str, bytes], target: Path) -> None:
    """Write Markdown with its pictures in `<stem>_files`, or one HTML file, by the suffix.

    `files`: pictures by the name that `text` gives them.
    """
    with explained(target, instead="name another file"):
        if target.suffix.lower() == ".html":
            from dexter_tui.exchange.html_page import page

            artifacts.write_atomic(target, page(text, files).encode(), mode=0o666)
            return
        for name, data in files.items():
            path = target.parent / name
            path.parent.mkdir(exist_ok=True)
            artifacts.write_atomic(path, data, mode=0o666)
        artifacts.write_atomic(target, text.encode(), mode=0o666)


def write_png(data: bytes, target: Path) -> None:
    """Write a PNG file, completely or not at all."""
    with explained(target, instead="name another file"):
        artifacts.write_atomic(target, data, mode=0o666)


def _sized(picture: Any) -> Any:
    from PIL import Image

    image = Image.fromarray(picture)
    smooth = max(image.size) > _EDGE
    method = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return image.resize((_EDGE, _EDGE), method)


def _bytes(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
