"""The tables of what-ifs and bias explanations, for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dexter_tui.formatting import plain, plain_table

if TYPE_CHECKING:
    from store.data_reports.explanations import BiasResult, BiasRow, WhatIfResult
    from store.data_reports.pictures import Shown

_PICTURE = (6, 24)  # cells across a picture, least and most


def strip_view(pictures: "Sequence[Shown]", width: int) -> RenderableType:
    """Return pictures in a row with their lines, for a terminal of a width in cells."""
    from dexter_tui.machine.terminal_images import half_blocks
    from store.artifacts import open_picture

    if not pictures:
        return plain("the pictures are gone from the bank", "dim")
    least, most = _PICTURE
    columns = max(least, min(most, (width - 2 * len(pictures)) // len(pictures)))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_row(
        *(Text.from_ansi(half_blocks(open_picture(one.data), columns)) for one in pictures)
    )
    for row in range(2):
        grid.add_row(*(plain(one.lines[row]) for one in pictures))
    return grid


def whatif_view(result: "WhatIfResult", strip: RenderableType | None = None) -> RenderableType:
    """Return a what-if: verdict, check, the strip if given, and a line for each picture."""
    parts: list[RenderableType] = [plain(result.verdict, "bold"), plain(result.check), ""]
    if strip is not None:
        parts += [strip, ""]
    table = _table("picture", "p", "decision", "flips", "drawn", "prompt", whole=3)
    for step in result.steps:
        table.add_row(
            plain(step.name),
            f"{step.p:.2f}",
            plain(step.decision),
            str(step.flips or ""),
            str(step.seen or ""),
            plain(step.prompt, "dim"),
        )
    parts += [table, "", plain(f"concepts from {result.concepts}", "dim")]
    if result.of_picture:
        parts.append(plain(result.of_picture, "dim"))
    return Group(*parts)


def bias_view(result: "BiasResult") -> RenderableType:
    """Return a bias explanation: sentences, effects by concept, and how far reports agree."""
    free, driven = result.data_free, result.data_driven
    first, *rest = free.sentences
    parts: list[RenderableType] = [plain(first, "bold red" if free.biased else "green")]
    parts += [plain(line) for line in rest]
    parts += [plain(f"from {free.source}, screening {result.screening}", "dim"), ""]
    if driven is not None:
        parts += [plain(f"On {driven.source}: {driven.text}"), ""]
    tested = any(one.confirmation for one in free.facts)
    columns = ["people", "verdict", "effect on p(class)"]
    columns += ["pairs"] if tested else []
    columns += ["labelled"] if driven is not None else []
    columns += ["truth"] if result.planted is not None else []
    table = _table(*columns, whole=1)
    for row in result.rows:
        cells = [_people(row), row.fact.said, row.fact.interval]
        cells += [row.fact.confirmation or ""] if tested else []
        # Intervals of the labelled pictures are in the exports: they do not fit a terminal.
        if driven is not None:
            cells.append("" if row.labelled is None else f"{row.labelled.effect:+z.2f}")
        if result.planted is not None:
            cells.append("" if row.truth is None else f"{row.truth:+z.2f}")
        table.add_row(*map(plain, cells))
    parts += [table, "", *map(plain, result.agreement), plain(result.limits, "dim")]
    return Group(*parts)


def _people(row: "BiasRow") -> str:
    fact = row.fact
    whole = fact.attribute in ("gender", "age")
    return fact.concept if whole else f"{fact.concept} {fact.attribute}"


def _table(*columns: str, whole: int) -> Table:
    """Return an empty table; ``whole``: of the first columns, those that are not wrapped."""
    table = plain_table()
    for at, column in enumerate(columns):
        table.add_column(column, no_wrap=at < whole, overflow="fold")
    return table
