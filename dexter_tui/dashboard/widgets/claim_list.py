"""Tested claims: each with its effect as a bar, its verdict and what speaks for it."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import Lines, fit, strip_of
from dexter_tui.dashboard.host import host_of
from dexter_tui.dashboard.themes import Palette, Signs
from dexter_tui.formatting import clean
from store.reading.browse import ClaimRow

REASONS = {
    "not_drawn": "the generator did not draw it",
    "too_few_pairs": "the interval is too wide",
    "no_better_than_placebo": "no larger than what unrelated words do",
    "saturated": "the class was certain or impossible without it",
}

# The same where there is little room.
_SHORT = {
    "not_drawn": "not drawn",
    "too_few_pairs": "too wide",
    "no_better_than_placebo": "as placebo",
    "saturated": "saturated",
}


class ClaimList(ScrollView, Lines, can_focus=True):
    """A line for each claim."""

    BINDINGS = bindings("claims")

    class Moved(Message):
        """The cursor is on another claim."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.claims: Sequence[ClaimRow] = ()
        self.index = 0
        self._hint = Text()

    @property
    def selected(self) -> ClaimRow | None:
        """The claim under the cursor."""
        return self.claims[self.index] if self.index < len(self.claims) else None

    def show(self, claims: Sequence[ClaimRow], hint: Text) -> None:
        """Other claims; ``hint`` stands where there are none."""
        if (claims, hint, hint.spans) != (self.claims, self._hint, self._hint.spans):
            self.claims, self._hint = claims, hint
            self.index = min(self.index, max(len(claims) - 1, 0))
            self.virtual_size = Size(self.size.width, len(claims) + 1)
            self.refresh()

    def action_cursor(self, by: int) -> None:
        self._go(self.index + by)

    def _go(self, index: int) -> None:
        index = max(0, min(index, len(self.claims) - 1))
        if index != self.index:
            self.index = index
            if index < self.scroll_offset.y:
                self.scroll_to(y=index, animate=False, force=True)
            elif index + 2 > self.scroll_offset.y + self.size.height:
                self.scroll_to(y=index + 2 - self.size.height, animate=False, force=True)
            self.refresh()
            self.post_message(self.Moved())

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and offset.y > 0:
            self._go(self.scroll_offset.y + offset.y - 1)

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.claims) + 1)

    def line(self, y: int) -> Strip:
        app = host_of(self)
        palette, signs, width = app.palette, app.signs, self.size.width
        bar_width = max(min(width - 86, 41), 11)
        if not self.claims:
            lines = self._hint.split("\n")
            return strip_of(lines[y] if y < len(lines) else Text(), width)
        if y == 0:
            scale = f"-1{'0':^{bar_width - 4}}+1"
            return strip_of(
                Text(f"  # {'concept':<16} {scale} effect   p       verdict", style=palette.dim),
                width,
            )
        row = self.scroll_offset.y + y - 1
        if row >= len(self.claims):
            return Strip.blank(width)
        claim = self.claims[row]
        text = Text(no_wrap=True)
        text.append(f"{claim.number:>3} ", palette.dim)
        text.append(f"{fit(clean(claim.concept), 16):<16} ", "bold")
        effect_bar(text, claim, bar_width, palette, signs)
        text.append(f" {claim.effect:+.2f}  " if claim.pairs else "   -    ")
        p = "<.001" if claim.p_corrected < 0.001 else f"{claim.p_corrected:.3f}"
        text.append(f" {p:<6}  ", palette.dim)
        verdict(text, claim, palette, signs, short=width < 100)
        text.truncate(width, overflow="ellipsis")
        return strip_of(text, width, palette.cursor if row == self.index else "")


def effect_bar(text: Text, claim: ClaimRow, width: int, palette: Palette, signs: Signs) -> None:
    """The interval of the effect on a scale from -1 to 1, the effect itself as a dot."""
    interval = (claim.low, claim.effect, claim.high) if claim.pairs else None
    colours = {"confirmed": palette.good, "refuted": palette.bad}
    colour = colours.get(claim.verdict, palette.warn)
    interval_bar(text, interval, (-1, 1), width, colour, palette, signs)


def interval_bar(
    text: Text,
    interval: tuple[float, float, float] | None,
    scale: tuple[float, float],
    width: int,
    colour: str,
    palette: Palette,
    signs: Signs,
) -> None:
    """Low, value (a dot) and high on a scale that has a line at 0."""
    first, last = scale

    def column(value: float) -> int:
        return max(0, min(round((value - first) / (last - first) * (width - 1)), width - 1))

    cells, styles = [" "] * width, [palette.faint] * width
    cells[column(0)] = signs.vertical
    if interval is not None:
        low, value, high = map(column, interval)
        for k in range(low, high + 1):
            cells[k], styles[k] = signs.bar[0], colour
        cells[value], styles[value] = signs.states["running"], f"bold {colour}"
    for cell, style in zip(cells, styles, strict=True):
        text.append(cell, style)


def verdict(
    text: Text, claim: ClaimRow, palette: Palette, signs: Signs, *, short: bool = False
) -> None:
    """The verdict in a word or two."""
    if claim.verdict == "confirmed":
        text.append(f"{signs.states['succeeded']} confirmed", palette.good)
        text.append(" (core)" if claim.core else " (bias)", palette.dim if claim.core else "bold")
    elif claim.verdict == "refuted":
        text.append(f"{signs.states['failed']} refuted", palette.bad)
    else:
        text.append("? inconclusive", palette.warn)
        if claim.reason:
            reasons = _SHORT if short else REASONS
            reason = reasons.get(claim.reason, clean(claim.reason))
            if claim.reason == "no_better_than_placebo" and claim.effect * claim.direction < 0:
                reason = "other way" if short else "the effect is the other way"
            text.append(f", {reason}", palette.dim)


def claim_details(claim: ClaimRow, palette: Palette, signs: Signs) -> Text:
    """What speaks for and against a claim."""
    text = Text()
    text.append(f"{claim.number}. {clean(claim.concept)} ", f"bold {palette.accent}")
    text.append("raises" if claim.direction > 0 else "lowers")
    text.append(" the probability of the class\n")
    verdict(text, claim, palette, signs)
    text.append("\n\n")

    def fact(name: str, value: str) -> None:
        text.append(f"{name:<20}", palette.dim).append(f"{value}\n")

    if claim.pairs:
        fact(
            "effect",
            f"{claim.effect:+.3f} [{claim.low:+.3f}, {claim.high:+.3f}], {claim.pairs} pairs",
        )
        fact("answers changed", f"{claim.flips} of {claim.pairs}")
    placebo = "not known" if claim.placebo_threshold is None else f"{claim.placebo_threshold:.3f}"
    fact("must exceed", f"{claim.min_effect:.2f}, and what unrelated words do: {placebo}")
    if claim.detected is not None:
        fact("drawn", f"{claim.detected:+.0%} with the word than without")
    if claim.prior is not None:
        frames = "" if claim.in_frames is None else f"; in hit frames {claim.in_frames:.0%}"
        more = ", over-represented" if claim.over_represented else ""
        fact("generator's habit", f"seen in {claim.prior:.0%} of plain pictures{frames}{more}")
    for row in claim.evidence:
        if row.saturated or row.effect is None:
            told = f"left out: already at {row.control_mean:.2f} without it"
        else:
            told = f"{row.effect:+.3f} [{row.low:+.3f}, {row.high:+.3f}], {row.pairs} pairs"
            told += f", from {row.control_mean:.2f}"
        fact(f"in context: {clean(row.context)}", told)
    for name, found in claim.sources.items():
        if found:
            fact(f"proposed by {clean(name)}", ", ".join(clean(item)[:12] for item in found[:6]))
    return text
