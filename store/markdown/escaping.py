"""Text of models, files and users as Markdown that shows it and nothing else."""

import re
import unicodedata
from collections.abc import Sequence


def printable(text: str) -> str:
    """The text in one line, without control, format and unassigned characters."""
    kept = (
        " " if char.isspace() else "" if unicodedata.category(char).startswith("C") else char
        for char in text
    )
    return "".join(kept)


def escape(text: str) -> str:
    """The text as inline Markdown that shows it literally, also within a table."""
    text = re.sub(r" +", " ", printable(text)).strip()
    # Entities where a backslash does not always help: HTML, tables, mathematics, links by name.
    text = re.sub(r"[\\<>&|$@]|:(?=//)|(?i:w(?=ww\.))", lambda match: f"&#{ord(match[0])};", text)
    return re.sub(r"[`*_\[\]~]", r"\\\g<0>", text)


def line(text: str) -> str:
    """The text as inline Markdown that may stand at the beginning of a line or list item."""
    text = escape(text)
    text = re.sub(r"^[#+=-]", lambda match: f"&#{ord(match[0])};", text)
    return re.sub(r"^(\d+)([.)])", lambda match: f"{match[1]}&#{ord(match[2])};", text)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of escaped cells, the first of them the head."""
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])
