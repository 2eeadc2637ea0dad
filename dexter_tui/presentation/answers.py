"""The results of queries as CSV, JSON, Markdown and tables."""

import csv
import io
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dexter_tui import formatting
from store.reading.queries import Answer

if TYPE_CHECKING:
    from rich.table import Table


_CELL = 300  # characters of a value in a terminal table


def csv_text(answer: Answer) -> str:
    """Return the result as CSV (RFC 4180, with line feeds).

    It holds no control characters, and no text that a spreadsheet would take for a formula.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(_cell, answer.columns))
    writer.writerows(map(_cell, row) for row in answer.rows)
    return buffer.getvalue()


_FORMULA = re.compile(r"[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]")  # the last 4 are full-width
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _cell(value: object) -> object:
    value = _hexadecimal(value)
    if not isinstance(value, str):
        return value
    is_formula = _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return formatting.clean_lines(f"'{value}" if is_formula else value)


def json_text(answer: Answer) -> str:
    """Return the result as a JSON list, with an object per line.

    Infinity is the number 9e999, as SQLite writes it: JSON has no name for it.
    """
    rows = [_json_row(answer.columns, list(map(_hexadecimal, row))) for row in answer.rows]
    return "[\n" + ",\n".join(f"  {row}" for row in rows) + "\n]" if rows else "[]"


def _json_row(columns: Sequence[str], values: Sequence[object]) -> str:
    if not any(isinstance(value, float) and math.isinf(value) for value in values):
        return formatting.json_text(dict(zip(columns, values, strict=True)), indent=None)
    parts = []
    for column, value in zip(columns, values, strict=True):
        text = formatting.json_text(value, indent=None)
        if isinstance(value, float) and math.isinf(value):
            text = "9e999" if value > 0 else "-9e999"
        parts.append(f"{formatting.json_text(column, indent=None)}: {text}")
    return f"{{{', '.join(parts)}}}"


def _hexadecimal(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def markdown_text(answer: Answer) -> str:
    """Return the result as a GitHub Markdown table with escaped values."""
    from store.markdown.escaping import escape, table

    rows = [[escape(shown(value)) for value in row] for row in answer.rows]
    return table([[escape(column) for column in answer.columns], *rows])


def shown(value: object) -> str:
    """Return a value as a line of text."""
    value = _hexadecimal(value)
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).replace("\n", " ")


def answer_table(answer: Answer) -> "Table":
    """Return the result as a table for a terminal."""

    table = formatting.plain_table()
    numbers = [
        all(isinstance(row[at], (int, float, type(None))) for row in answer.rows)
        for at in range(len(answer.columns))
    ]
    for column, is_number in zip(answer.columns, numbers, strict=True):
        table.add_column(formatting.plain(column), justify="right" if is_number else "left")
    for row in answer.rows:
        texts = [shown(value) for value in row]
        table.add_row(*(formatting.plain(t if len(t) <= _CELL else f"{t[:_CELL]}…") for t in texts))
    return table
