"""Pictures in a row with lines under each, and answers of commands, as files."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dexter.errors import InputError
from store import artifacts
from store.data_reports.pictures import Shown
from store.errors import explained

_EDGE = 192  # px, side of a picture
_GAP = 12
_LINE = 18


def check_target(target: Path, suffixes: Sequence[str]) -> None:
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


def png(pictures: Sequence[Shown]) -> bytes:
    """Return a PNG of the pictures in a row, each with its lines under it."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_LINE - 5)
    high = _EDGE + 2 * _GAP + 2 * _LINE
    sheet = Image.new("RGB", (_GAP + len(pictures) * (_EDGE + _GAP), high), "white")
    draw = ImageDraw.Draw(sheet)
    for at, shown in enumerate(pictures):
        x = _GAP + at * (_EDGE + _GAP)
        sheet.paste(_sized(shown.data), (x, _GAP))
        for row, line in enumerate(shown.lines):
            text = line
            while text and draw.textlength(text, font=font) > _EDGE:
                text = text[:-2].rstrip("…") + "…"
            draw.text((x, _EDGE + _GAP + 4 + row * _LINE), text, fill="black", font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def write_page(text: str, target: Path) -> None:
    """Write Markdown, JSON or, by the suffix, the Markdown as one HTML file."""
    if target.suffix.lower() == ".html":
        from dexter_tui.exchange.html_page import page

        text = page(text, {})
    write_file(text.encode(), target)


def write_file(data: bytes, target: Path) -> None:
    """Write a file, completely or not at all."""
    with explained(target, instead="name another file"):
        artifacts.write_atomic(target, data, mode=0o666)


def _sized(data: bytes) -> Any:
    from PIL import Image

    image = artifacts.open_picture(data)
    smooth = max(image.size) > _EDGE
    method = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return image.resize((_EDGE, _EDGE), method)
