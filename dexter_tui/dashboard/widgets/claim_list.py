"""The list of tested claims, with effect, verdict and evidence; and the base of such lists."""

from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

from rich.console import Console
from rich.text import Text
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import Lines, padded, strip_of
from dexter_tui.dashboard.host import host_of
from dexter_tui.dashboard.themes import Palette, Signs
from dexter_tui.formatting import clean
from store.markdown.escaping import escape
from store.reading.browse import ClaimRow
from store.reading.causation import causation, short_lines
from store.reading.reasons import in_words

_ROOM_FOR_P = 66  # cells of a line: the verdict counts more than the p-value
Row = TypeVar("Row")


class RowList(ScrollView, Lines, Generic[Row], can_focus=True):
    """A list with a header and a line per row, and a cursor; hint: shown where there are none."""

    class Moved(Message):
        """The cursor moved to another row."""

    class Opened(Message):
        """The user asked for what is behind the row."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rows: Sequence[Row] = ()
        self.index = 0
        self._hint = Text()

    def header(self, width: int) -> Text:
        """Return the titles of the columns."""
        raise NotImplementedError

    def row(self, row: Row, width: int) -> Text:
        """Return the line of a row."""
        raise NotImplementedError

    def identity(self, row: Row) -> Hashable | None:
        """Return the identity of a row, which the cursor stays on; None where its place counts."""
        return None

    @property
    def selected(self) -> Row | None:
        """The row at the cursor."""
        return self.rows[self.index] if self.index < len(self.rows) else None

    def show(self, rows: Sequence[Row], hint: Text) -> None:
        """Show rows, or ``hint`` if there are none."""
        if (rows, hint, hint.spans) != (self.rows, self._hint, self._hint.spans):
            before = self.selected and self.identity(self.selected)
            self.rows, self._hint = rows, hint
            index = min(self.index, max(len(rows) - 1, 0))
            if before is not None:
                found = (at for at, row in enumerate(rows) if self.identity(row) == before)
                index = next(found, index)
            self.virtual_size = Size(self.size.width, len(rows) + 1)
            if index != self.index:
                self._move_to(index)
            self.refresh()

    def search_lines(self) -> list[str]:
        """Return the lines of the rows."""
        return [self.row(row, self.columns_shown).plain for row in self.rows]

    def go_to_line(self, number: int) -> None:
        """Move the cursor to a row."""
        self._go(number)

    def action_cursor(self, by: int) -> None:
        self._go(self.index + by)

    def action_page(self, by: int) -> None:
        self._go(self.index + by * max(self.size.height - 2, 1))

    def action_ends(self, end: int) -> None:
        self._go(len(self.rows) - 1 if end else 0)

    def action_open(self) -> None:
        self.post_message(self.Opened())

    def _go(self, index: int) -> None:
        index = max(0, min(index, len(self.rows) - 1))
        if index != self.index:
            self._move_to(index)
            self.refresh()
            self.post_message(self.Moved())

    def _move_to(self, index: int) -> None:
        self.index = index
        if index < self.scroll_offset.y:
            self.scroll_to(y=index, animate=False, force=True)
        elif index + 2 > self.scroll_offset.y + self.size.height:
            self.scroll_to(y=index + 2 - self.size.height, animate=False, force=True)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or offset.y == 0:
            return
        if (at := self.scroll_offset.y + offset.y - 1) < len(self.rows):  # else below the last row
            self._go(at)
            if event.chain == 2:
                self.post_message(self.Opened())

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.rows) + 1)

    def line(self, y: int) -> Strip:
        palette, width = host_of(self).palette, self.columns_shown
        if not self.rows:
            lines = self._hint.wrap(Console(width=width), max(width, 1))
            return strip_of(lines[y] if y < len(lines) else Text(), width)
        if y == 0:
            return strip_of(self.header(width), width)
        at = self.scroll_offset.y + y - 1
        if at >= len(self.rows):
            return Strip.blank(width)
        text = self.row(self.rows[at], width)
        text.truncate(width, overflow="ellipsis")
        return strip_of(text, width, palette.cursor if at == self.index else "")


class ClaimList(RowList[ClaimRow]):
    """A list with a line per claim."""

    BINDINGS = bindings("claims")

    def header(self, width: int) -> Text:
        scale = f"-1{'0':^{_bar_width(width) - 4}}+1"
        p = "  p-value" if width >= _ROOM_FOR_P else ""
        titles = f"  # {'concept':<16} {scale} effect{p}  verdict"
        return Text(titles, style=host_of(self).palette.dim)

    def row(self, row: ClaimRow, width: int) -> Text:
        app = host_of(self)
        palette, signs = app.palette, app.signs
        text = Text(no_wrap=True)
        text.append(f"{row.number:>3} ", palette.dim)
        text.append(f"{padded(clean(row.concept), 16)} ", "bold")
        effect_bar(text, row, _bar_width(width), palette, signs)
        text.append(f" {row.effect:+z.2f}  " if row.pairs else "   -    ")
        if width >= _ROOM_FOR_P:
            p = "<0.001" if row.p_corrected < 0.001 else f"{row.p_corrected:.3f}"
            text.append(f" {p:<7} ", palette.dim)
        text.append(" ")
        verdict(text, row, palette, signs)
        return text


def _bar_width(width: int) -> int:
    return max(min(width - 86, 41), 11)


def effect_bar(text: Text, claim: ClaimRow, width: int, palette: Palette, signs: Signs) -> None:
    """Draw the interval of the effect on a scale from -1 to 1, with a dot at the effect."""
    interval = (claim.low, claim.effect, claim.high) if claim.pairs else None
    _, colour = mark(claim.verdict, palette, signs)
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


def mark(verdict: str, palette: Palette, signs: Signs) -> tuple[str, str]:
    """Return the sign and the colour of a verdict on a claim."""
    return {
        "confirmed": (signs.states["succeeded"], palette.good),
        "refuted": (signs.states["failed"], palette.bad),
    }.get(verdict, ("?", palette.warn))


def verdict(text: Text, claim: ClaimRow, palette: Palette, signs: Signs) -> None:
    """Append the verdict and its reason."""
    sign, colour = mark(claim.verdict, palette, signs)
    text.append(f"{sign} {clean(claim.verdict)}", colour)
    if claim.verdict == "confirmed":
        text.append(" (core)" if claim.core else " (bias)", palette.dim if claim.core else "bold")
    elif claim.verdict == "inconclusive" and claim.reason:
        reason = in_words(claim.reason, claim.effect, claim.direction)
        text.append(f", {clean(reason)}", palette.dim)


def claim_markdown(claim: ClaimRow) -> str:
    """Return a claim as a line of Markdown, for a message to a colleague."""
    verb = "raises" if claim.direction > 0 else "lowers"
    line = f"**{escape(claim.concept)}** {verb} the probability of the class: {claim.verdict}"
    if claim.pairs:
        line += f", {claim.effect:+z.2f} ({claim.low:+z.2f} to {claim.high:+z.2f})"
        line += f" on {claim.pairs} pairs"
    return line


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
            f"{claim.effect:+z.3f} [{claim.low:+z.3f}, {claim.high:+z.3f}], {claim.pairs} pairs",
        )
        fact("prediction flipped", f"in {claim.flips} of {claim.pairs} pairs")
    placebo = "unknown" if claim.placebo_threshold is None else f"{claim.placebo_threshold:.3f}"
    fact("threshold", f"{claim.min_effect:.2f} and the placebo level ({placebo})")
    if claim.detected is not None:
        fact("drawn", f"detection rate {100 * claim.detected:+z.0f} points with the word")
    if claim.prior is not None:
        frames = "" if claim.in_frames is None else f", in {claim.in_frames:.0%} of hit frames"
        more = "; over-represented" if claim.over_represented else ""
        fact("baseline rate", f"in {claim.prior:.0%} of unprompted pictures{frames}{more}")
    for row in claim.evidence:
        if row.saturated or row.effect is None:
            summary = f"left out: p(class) is already {row.control_mean:.2f} without the word"
        else:
            summary = f"{row.effect:+z.3f} [{row.low:+z.3f}, {row.high:+z.3f}], {row.pairs} pairs"
            summary += f", from p(class) {row.control_mean:.2f}"
        fact(f"context: {clean(row.context)}", summary)
    causes = causation(claim.evidence, claim.direction)
    for name, value in [] if causes is None else short_lines(causes):
        fact(name, value)
    for name, found in claim.sources.items():
        if found:
            fact(f"source: {clean(name)}", ", ".join(clean(item)[:12] for item in found[:6]))
    return text
