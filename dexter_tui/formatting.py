"""Plain text for people: durations, sizes, paths, and text without control characters."""

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    pass
if TYPE_CHECKING:
    pass


STATE_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "lost": "red",
    "running": "cyan",
    "starting": "cyan",
    "cancelled": "yellow",
    "cancelling": "yellow",
}


def clean(text: object) -> str:
    """Text of a model, a file or a user, with nothing in it that a terminal would obey."""
    told = str(text)
    if told.isprintable():
        return told
    return "".join(c if unicodedata.category(c)[0] != "C" else "�" for c in told)


def plain(text: object, style: str = "") -> Text:
    """The same for Rich, which then reads no markup in it."""
    return Text(clean(text), style=style)


def short_path(path: Path) -> str:
    """A path with ~ for the user's folder."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)


def duration(seconds: float) -> str:
    """0:42, 12:34 or 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def size(count: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def short_spec(spec: str) -> str:
    """A classifier by its last name: lab:birds-biased is birds-biased."""
    text = clean(spec)
    source, colon, address = text.partition(":")
    if source == "python":
        file, _, function = address.rpartition(":")
        return f"{file.rsplit('/', 1)[-1]}:{function}"
    return (address if colon else text).rstrip("/").rsplit("/", 1)[-1]
