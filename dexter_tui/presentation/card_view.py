"""The verdict card in a terminal."""

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from dexter_tui.formatting import clean, plain
from store.reading.card import Kind, Style, VerdictCard

if TYPE_CHECKING:
    from store.reading.browse import Browse

STYLES: dict[Kind, str] = {
    "bias": "bold red",
    "clean": "green",
    "untested": "yellow",
    "toy": "yellow",
    "next": "dim",
}


def card_view(card: VerdictCard, browse: "Browse | None" = None) -> RenderableType:
    """Return a card; with ``browse``, its pair of pictures beside each other in half blocks."""
    parts: list[RenderableType] = [
        Text.assemble(plain(card.classifier, "bold"), " · ", plain(card.class_name, "bold")),
        plain(card.origin, "yellow" if "toy" in card.origin else "dim"),
    ]
    for line in card.lines():
        text = line_text(line.parts, STYLES.get(line.kind, ""))
        parts.append(Padding(text, (0, 0, 0, 2), expand=False))
        if line.kind == "pair" and browse is not None and card.pair is not None:
            strip = pair_strip(browse, card.pair)
            parts += [] if strip is None else [Padding(strip, (0, 0, 0, 2))]
    return Group(*parts)


def line_text(parts: tuple[tuple[str, Style], ...], style: str) -> Text:
    """Return a line of a card, with concepts in bold."""
    text = Text(style=style)
    for part, kind in parts:
        text.append(clean(part), "bold" if kind == "concept" else "")
    return text


def pair_strip(browse: "Browse", pair: Any, columns: int = 24) -> RenderableType | None:
    """Return a pair of pictures side by side in half blocks; None if one is gone."""
    import io

    from PIL import Image
    from rich.table import Table

    from dexter_tui.machine.terminal_images import half_blocks
    from store.reading import comparisons

    tiles = [pair[side]["tile"] for side in ("control", "treated")]
    if None in tiles:
        return None
    strip = Table.grid(padding=(0, 2))
    pictures = [Image.open(io.BytesIO(comparisons.tile_bytes(browse, tile))) for tile in tiles]
    strip.add_row(*(Text.from_ansi(half_blocks(picture, columns)) for picture in pictures))
    return strip
