"""A what-if in a terminal, and as PNG, Markdown and HTML."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dexter.reasoning.claims import Proportion
    from dexter_tui.analysis.explaining.whatif import Strip


def view(found: "Strip") -> Any:
    """Return the strip for a terminal: pictures where it is one, and a line for each."""
    import shutil

    from PIL import Image
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from dexter_tui.formatting import plain
    from dexter_tui.machine.terminal_images import half_blocks

    tiles = found.tiles
    parts: list[Any] = [plain(found.verdict, "bold"), plain(found.check), ""]
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        columns = max(6, min(24, (width - 2 * len(tiles)) // len(tiles)))
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(
            *(Text.from_ansi(half_blocks(Image.fromarray(t.picture), columns)) for t in tiles)
        )
        for row in range(2):
            grid.add_row(*(plain(tile.lines[row]) for tile in tiles))
        parts += [grid, ""]
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for at, column in enumerate(("picture", "p", "decision", "flips", "drawn", "prompt")):
        table.add_column(column, no_wrap=at < 3, overflow="fold")
    for step, decision in zip(found.answer.steps, found.decisions, strict=True):
        name = "start" if step.change is None else step.change.name
        flips = _count(step.flips)
        table.add_row(
            plain(name),
            f"{step.p:.2f}",
            plain(decision),
            flips,
            _count(step.seen),
            plain(step.prompt, "dim"),
        )
    parts += [table, "", plain(f"concepts from {found.origin}", "dim")]
    if found.image is not None:
        strength = found.measured["strengths"][-1]["strength"]
        parts.append(
            plain(
                f"{found.image} has p {found.measured['p']:.2f}; redrawn at strength "
                f"{strength:.2f} as {found.measured['described']!r}",
                "dim",
            )
        )
    return Group(*parts)


def _count(found: "Proportion | None") -> str:
    return "" if found is None else f"{found.hits} of {found.n}"


def write(found: "Strip", target: Path) -> None:
    """Write the strip as PNG, Markdown or HTML."""
    from dexter_tui.exchange import strip
    from store.markdown.escaping import escape, table

    if target.suffix.lower() == ".png":
        strip.write_png(strip.png(found.tiles), target)
        return
    tiles = found.tiles
    pictures = strip.picture_files(tiles)
    folder = f"{target.stem}_files"
    rows = [
        [f"![{escape(tile.lines[0])}]({_quoted(folder)}/{name})"
         for tile, (name, _) in zip(tiles, pictures, strict=True)],
        ["<br>".join(map(escape, tile.lines)) for tile in tiles],
    ]  # fmt: skip
    steps = [
        ["picture", "p(class)", "decision", "flips on fresh noise", "drawn", "mean p", "prompt"]
    ]
    for step, decision in zip(found.answer.steps, found.decisions, strict=True):
        flips = step.flips
        steps.append(
            [
                escape("start" if step.change is None else step.change.name),
                f"{step.p:.2f}",
                escape(decision),
                "" if flips is None else
                f"{flips.hits} of {flips.n} ({flips.low:.0%} to {flips.high:.0%})",
                _count(step.seen),
                f"{step.mean:.2f}",
                escape(step.prompt),
            ]
        )  # fmt: skip
    facts = [
        f"- Concepts: {escape(found.origin)}",
        f"- Generator: {escape(found.generator)}, noise {found.answer.seed}",
    ]
    if found.image is not None:
        strength = found.measured["strengths"][-1]["strength"]
        facts.append(
            f"- Your picture: {escape(Path(found.image).name)}, p(class) "
            f"{found.measured['p']:.2f}, redrawn at strength {strength:.2f} as "
            f"{escape(found.measured['described'])}"
        )
    text = "\n\n".join(
        [
            f"# What if: {escape(found.classifier)}, {escape(found.class_name)}",
            f"**{escape(found.verdict)}** {escape(found.check)}",
            table(rows),
            table(steps),
            "\n".join(facts),
            "The pictures of the strip share their noise and differ in the words alone. The change "
            "was searched on 4 noises and checked on others.",
        ]
    )
    files = {f"{folder}/{name}": data for name, data in pictures}
    strip.write_page(text + "\n", files, target)


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name)
