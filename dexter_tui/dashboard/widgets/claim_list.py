"""The list of tested claims, with effect, verdict and evidence."""

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
from dexter_tui.presentation.verdicts import reason_text
from store.reading.browse import ClaimRow


class ClaimList(ScrollView, Lines, can_focus=True):
    """A list with a line per claim."""

    BINDINGS = bindings("claims")

    class Moved(Message):
        """The cursor moved to another claim."""

    class Opened(Message):
        """The user asked for the picture pairs of the claim."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.claims: Sequence[ClaimRow] = ()
        self.index = 0
        self._hint = Text()

    @property
    def selected(self) -> ClaimRow | None:
        """The claim at the cursor."""
        return self.claims[self.index] if self.index < len(self.claims) else None

    def show(self, claims: Sequence[ClaimRow], hint: Text) -> None:
        """Show claims, or ``hint`` if there are none."""
        if (claims, hint, hint.spans) != (self.claims, self._hint, self._hint.spans):
            self.claims, self._hint = claims, hint
            self.index = min(self.index, max(len(claims) - 1, 0))
            self.virtual_size = Size(self.size.width, len(claims) + 1)
            self.refresh()

    def action_cursor(self, by: int) -> None:
        self._go(self.index + by)

    def action_open(self) -> None:
        self.post_message(self.Opened())

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
                Text(f"  # {'concept':<16} {scale} effect  p-value  verdict", style=palette.dim),
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
        p = "<0.001" if claim.p_corrected < 0.001 else f"{claim.p_corrected:.3f}"
        text.append(f" {p:<7}  ", palette.dim)
        verdict(text, claim, palette, signs, short=width < 130)
        text.truncate(width, overflow="ellipsis")
        return strip_of(text, width, palette.cursor if row == self.index else "")


def effect_bar(text: Text, claim: ClaimRow, width: int, palette: Palette, signs: Signs) -> None:
    """Draw the interval of the effect on a scale from -1 to 1, with a dot at the effect."""
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
    """Draw an interval with a dot at its value, on a scale with a line at 0."""
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
    """Append the verdict and its reason."""
    if claim.verdict == "confirmed":
        text.append(f"{signs.states['succeeded']} confirmed", palette.good)
        text.append(" (core)" if claim.core else " (bias)", palette.dim if claim.core else "bold")
    elif claim.verdict == "refuted":
        text.append(f"{signs.states['failed']} refuted", palette.bad)
    else:
        text.append("? inconclusive", palette.warn)
        if claim.reason:
            reason = reason_text(claim.reason, claim.effect, claim.direction, short=short)
            text.append(f", {clean(reason)}", palette.dim)


def claim_details(claim: ClaimRow, palette: Palette, signs: Signs) -> Text:
    """Return the evidence for and against a claim."""
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
            "effect on p(class)",
            f"{claim.effect:+.3f} [{claim.low:+.3f}, {claim.high:+.3f}], {claim.pairs} pairs",
        )
        fact("prediction flipped", f"in {claim.flips} of {claim.pairs} pairs")
    placebo = "unknown" if claim.placebo_threshold is None else f"{claim.placebo_threshold:.3f}"
    fact("threshold", f"{claim.min_effect:.2f} and the placebo level ({placebo})")
    if claim.detected is not None:
        fact("drawn", f"detection rate {100 * claim.detected:+.0f} points with the word")
    if claim.prior is not None:
        frames = "" if claim.in_frames is None else f", in {claim.in_frames:.0%} of hit frames"
        more = "; over-represented" if claim.over_represented else ""
        fact("baseline rate", f"in {claim.prior:.0%} of unprompted pictures{frames}{more}")
    for row in claim.evidence:
        if row.saturated or row.effect is None:
            summary = f"left out: p(class) is already {row.control_mean:.2f} without the word"
        else:
            summary = f"{row.effect:+.3f} [{row.low:+.3f}, {row.high:+.3f}], {row.pairs} pairs"
            summary += f", from p(class) {row.control_mean:.2f}"
        fact(f"context: {clean(row.context)}", summary)
    for name, found in claim.sources.items():
        if found:
            fact(f"source: {clean(name)}", ", ".join(clean(item)[:12] for item in found[:6]))
    return text
