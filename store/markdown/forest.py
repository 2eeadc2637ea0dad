"""The forest plot of a report: the effect of each concept with its interval, as SVG.

The plot is text, so the same findings give the same bytes. It follows the reader's light or dark
colour scheme, and stays legible at the width of a telephone.
"""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from store.markdown.escaping import printable
from store.reading.card import Finding, VerdictCard

WIDTH = 460  # units of the drawing; the page scales it
_ROW = 22
_LEFT, _RIGHT = 138, 372  # ends of the axis, -1 and +1
_COLOURS = ("#c2410c", "#1d6fb8", "#0f7a55", "#8a4fb0", "#8a6d00", "#b03060", "#4a6572", "#555555")
_DARK = ("#ff8a50", "#6db6f2", "#4cc59a", "#c99be8", "#d9b84a", "#f080a8", "#9db8c6", "#bbbbbb")
_LETTERS = 18  # of a label


def forest(cards: Sequence[VerdictCard]) -> str:
    """Return the SVG of all tested concepts of some classifiers, asked about one class."""
    rows = _concepts(cards)
    several = len(cards) > 1
    top = 20 + (_ROW * len(cards) if several else 0)
    height = top + sum(_ROW * (len(found) + several) for _, found in rows) + 44
    parts: list[str] = []
    if several:
        for number, card in enumerate(cards):
            y = 16 + _ROW * number
            parts.append(f'<circle class="c{number % 8}" cx="12" cy="{y - 4}" r="5"/>')
            parts.append(_text(24, y, card.classifier, limit=60))
    y = top
    for concept, found in rows:
        if several:
            parts.append(_text(4, y + 14, concept, "b"))
            y += _ROW
        for number, one in found:
            label = cards[number].classifier.rsplit(":", 1)[-1] if several else concept
            parts += _row(y + 10, label, number if several else 0, one)
            y += _ROW
    parts.insert(0, f'<path class="zero" d="M{_x(0)} {top - 4}V{y + 4}"/>')
    for value in (-1, -0.5, 0, 0.5, 1):
        parts.append(f'<path class="axis" d="M{_x(value)} {y + 4}v5"/>')
        parts.append(_text(_x(value), y + 22, f"{value:+g}" if value else "0", "m"))
    parts.append(f'<path class="axis" d="M{_LEFT} {y + 4}H{_RIGHT}"/>')
    parts.append(_text(_x(0), y + 38, "effect on p(class); filled: confirmed", "m", limit=60))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-label={quoteattr(summary(cards))}>'
        f"<style>{_style()}</style>{''.join(parts)}</svg>\n"
    )


def summary(cards: Sequence[VerdictCard]) -> str:
    """Return the plot in words, for readers who do not see it."""
    parts = [
        f"{printable(concept)}: "
        + ", ".join(
            f"{printable(cards[number].classifier)} {one.effect:+z.2f}" for number, one in found
        )
        for concept, found in _concepts(cards)
    ]
    return "Effects of concepts on p(class). " + "; ".join(parts)


def has_rows(cards: Sequence[VerdictCard]) -> bool:
    """Return whether there is an effect to draw."""
    return bool(_concepts(cards))


def _concepts(cards: Sequence[VerdictCard]) -> list[tuple[str, list[tuple[int, Finding]]]]:
    """Return the measured findings by concept, largest effect first, with their card's number."""
    rows: dict[str, list[tuple[int, Finding]]] = {}
    for number, card in enumerate(cards):
        for one in card.findings:
            if one.pairs:
                rows.setdefault(one.concept, []).append((number, one))
    return sorted(rows.items(), key=lambda row: -max(abs(one.effect) for _, one in row[1]))


def _row(y: int, label: str, number: int, one: Finding) -> list[str]:
    confirmed = one.verdict == "confirmed"
    colour = f"c{number % 8}" if confirmed else f"c{number % 8} open"
    return [
        _text(4, y + 4, label),
        f'<path class="{colour} line" d="M{_x(one.low)} {y}H{_x(one.high)}"/>',
        f'<circle class="{colour}" cx="{_x(one.effect)}" cy="{y}" r="5"/>',
        _text(_RIGHT + 12, y + 4, f"{one.effect:+z.2f}"),
    ]


def _x(value: float) -> float:
    middle = (_LEFT + _RIGHT) / 2
    return round(middle + max(-1.0, min(value, 1.0)) * (_RIGHT - _LEFT) / 2, 1)


def _text(x: float, y: float, text: str, style: str = "", *, limit: int = _LETTERS) -> str:
    shown = printable(text)
    if len(shown) > limit:
        shown = shown[: limit - 1] + "…"
    kind = f' class="{style}"' if style else ""
    return f'<text{kind} x="{x}" y="{y}">{escape(shown)}</text>'


def _style() -> str:
    def colours(values: Sequence[str], ground: str) -> str:
        return "".join(
            f".c{n}{{fill:{value};stroke:{value}}}.c{n}.open{{fill:{ground};stroke:{value}}}"
            for n, value in enumerate(values)
        )

    return (
        "text{font:12px system-ui,sans-serif;fill:#222}.b{font-weight:bold}.m{text-anchor:middle}"
        ".zero,.axis{stroke:#999;fill:none}.line{stroke-width:2}circle{stroke-width:2}"
        + colours(_COLOURS, "#fff")
        + "@media (prefers-color-scheme:dark){text{fill:#ddd}.zero,.axis{stroke:#777}"
        + colours(_DARK, "#16181b")
        + "}"
    )
