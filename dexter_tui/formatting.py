"""The formats of durations, sizes, paths and untrusted text."""

import unicodedata
from pathlib import Path

from rich.text import Text

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
    """Replace the control characters of untrusted text, which a terminal would obey."""
    line = str(text)
    if line.isprintable():
        return line
    return "".join(c if unicodedata.category(c)[0] != "C" else "�" for c in line)


def plain(text: object, style: str = "") -> Text:
    """Return clean text for Rich, without markup."""
    return Text(clean(text), style=style)


def short_path(path: Path) -> str:
    """Return a path with ~ for the home folder of the user."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)


def duration(seconds: float) -> str:
    """Return a duration as 0:42, 12:34 or 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def size(count: float) -> str:
    """Return a number of bytes with a unit."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def short_spec(spec: str) -> str:
    """Return the last part of a classifier's spec: birds-biased for lab:birds-biased."""
    text = clean(spec)
    source, colon, address = text.partition(":")
    if source == "python":
        file, _, function = address.rpartition(":")
        return f"{file.rsplit('/', 1)[-1]}:{function}"
    return (address if colon else text).rstrip("/").rsplit("/", 1)[-1]
