"""The escaping of texts from models, files and users, so that Markdown shows them literally."""

import re
import unicodedata
from collections.abc import Sequence


def printable(text: str) -> str:
    """Return the text on one line, without control, format and unassigned characters."""
    kept = (" " if char.isspace() else "" if _is_hidden(char) else char for char in text)
    return "".join(kept)


def _is_hidden(char: str) -> bool:
    """Return whether it is a control, format or unassigned character, and joins no emoji."""
    return unicodedata.category(char).startswith("C") and char not in "\u200c\u200d"


def escape(text: str) -> str:
    """Return inline Markdown that shows the text literally, also in a table."""
    text = re.sub(r" +", " ", printable(text)).strip()
    # Entities where a backslash is not enough: HTML, tables, mathematics and bare links.
    text = re.sub(r"[\\<>&|$@]|:(?=//)|(?i:w(?=ww\.))", lambda match: f"&#{ord(match[0])};", text)
    return re.sub(r"[`*_\[\]~]", r"\\\g<0>", text)


def line(text: str) -> str:
    """Return the text escaped for the beginning of a line or list item."""
    text = escape(text)
    text = re.sub(r"^[#+=-]", lambda match: f"&#{ord(match[0])};", text)
    return re.sub(r"^(\d+)([.)])", lambda match: f"{match[1]}&#{ord(match[2])};", text)


def code(text: str) -> str:
    """Return the text as inline code, behind marks that it cannot close."""
    shown = printable(text)
    marks = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{marks} {shown} {marks}" if "`" in shown else f"`{shown}`"


def fenced(text: str, language: str) -> str:
    """Return a block of literal text, behind a fence that the text cannot close."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of escaped cells; the first row is the header."""
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])
