"""The formats of durations, sizes, paths, commands and untrusted text."""

import json
import re
import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from store.json_numbers import finite

if TYPE_CHECKING:
    from rich.table import Table

STATE_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "lost": "red",
    "running": "cyan",
    "starting": "cyan",
    "cancelled": "yellow",
    "cancelling": "yellow",
}


ID_WIDTH = 10  # of a column of ids, which are never cut


LOG_LEVELS = ("info", "warning", "error")
_JOINERS = "\u200c\u200d"  # zero-width: of emoji such as a family, and of Persian and Indic words
_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ (\[(?:warning|error)\])? ")


def log_level(line: str) -> str:
    """Return the level of a line of a log; output of libraries, without a time, is a warning."""
    found = _LOG_LINE.match(line)
    return "warning" if found is None else (found[1] or "[info]")[1:-1]


def clean(text: object) -> str:
    """Replace the control characters of untrusted text, which a terminal would obey."""
    line = str(text)
    return line if line.isprintable() else "".join("�" if _obeyed(c) else c for c in line)


def clean_lines(text: object) -> str:
    """Return clean text with its line breaks."""
    return "\n".join(map(clean, str(text).split("\n")))


def _obeyed(character: str) -> bool:
    """Return whether it controls a terminal, the direction of text or the end of a line."""
    category = unicodedata.category(character)
    return (category[0] == "C" and character not in _JOINERS) or category in ("Zl", "Zp")


def json_text(value: object, indent: int | None = 2) -> str:
    """Return JSON in which control characters are escapes (\\u001b) and all others are readable."""
    text = json.dumps(finite(value), ensure_ascii=False, indent=indent, allow_nan=False)
    return "\n".join(map(json_escaped, text.split("\n")))


def json_escaped(line: str) -> str:
    """Return a line of JSON with its control characters as escapes."""
    if line.isprintable():
        return line
    return "".join(json.dumps(c)[1:-1] if _obeyed(c) else c for c in line)


def command(words: Sequence[str]) -> str:
    """Return a command line to paste, with each word quoted where the shell would read it."""
    return " ".join(map(_word, words))


def _word(word: str) -> str:
    if not any(map(_obeyed, word)):
        return shlex.quote(word)
    # No quote and no backslash of the word itself is left: harmless in a shell without $'…' too.
    escapes = re.sub(r"[^ -~]|['\\]", lambda match: _escape(match[0]), word)
    return f"$'{escapes}'"


def _escape(character: str) -> str:
    data = character.encode("utf-8", "surrogatepass")
    return "".join(f"\\{byte:03o}" for byte in data)


def plain(text: object, style: str = "") -> Text:
    """Return clean text for Rich, without markup."""
    return Text(clean(text), style=style)


def plain_table() -> "Table":
    """Return a table without lines, whose header is dim."""
    from rich.table import Table

    return Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")


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


def stage_line(stage: str, done: int, total: int) -> str:
    """Return a stage with its progress, where that is counted: "pictures 3/40", "models"."""
    return f"{stage} {done}/{total}" if total else stage


def state_line(state: str, error: str | None) -> str:
    """Return a state with its reason, where there is one."""
    return f"{state}: {error}" if error else state
