"""The words over the steps: for each slot, the best word and the tried word."""

from collections.abc import Sequence
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.strip import Strip

from dexter_tui.dashboard.cells import Lines, fit
from dexter_tui.dashboard.host import host_of
from dexter_tui.dashboard.widgets.chart import GUTTER, Axis, CursorWanted, index_at
from dexter_tui.formatting import clean
from store.reading.browse import StepRow


class Ribbons(Lines):
    """The best and the tried words of each slot, on the axis of the charts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._steps: Sequence[StepRow] = ()
        self._numbers: list[int] = []
        self._axis = Axis(1, 1, 1)
        self._colours: dict[str, int] = {}

    def show(self, steps: Sequence[StepRow], axis: Axis) -> None:
        """Show the words of these steps on an axis."""
        if (len(steps), axis) == (len(self._numbers), self._axis):
            return
        self._steps, self._axis = steps, axis
        new = steps[len(self._numbers) :]
        self._numbers = [step.step for step in steps]
        for step in new:
            for word in step.best_words:
                self._colours.setdefault(word, len(self._colours))
        slots = len(steps[-1].best_words or steps[-1].words) if steps else 0
        self.styles.height = max(slots * 3, 1)
        self.refresh()

    def line(self, y: int) -> Strip:
        width = self.size.width
        app = host_of(self)
        plot, (slot, row) = width - GUTTER, divmod(y, 3)
        if not self._steps or row == 2 or plot < 4:
            text = "No steps yet." if not self._steps and y == 0 else ""
            return Strip([Segment(f"{text:<{width}}", Style.parse(app.palette.dim))], width)
        name = f"{slot + 1} best" if row == 0 else "  tried"
        label = Segment(f"{name:<{GUTTER}}", Style.parse(app.palette.dim))
        words = [self._word(self._axis.step(x, plot), slot, best=row == 0) for x in range(plot)]
        segments, x = [label], 0
        cursor = self._axis.column(self._axis.cursor, plot)
        while x < plot:
            end = x
            while end < plot and words[end] == words[x]:
                end += 1
            segments += self._span(words[x], end - x, cursor - x, best=row == 0)
            x = end
        return Strip(segments, width)

    def _word(self, step: int, slot: int, *, best: bool) -> str | None:
        index = index_at(self._numbers, step)
        if index is None:
            return None
        found = self._steps[index].best_words if best else self._steps[index].words
        return found[slot] if slot < len(found) else None

    def _span(self, word: str | None, width: int, cursor: int, *, best: bool) -> list[Segment]:
        app = host_of(self)
        palette = app.palette
        if word is None:
            return [Segment(" " * width)]
        index = self._colours.get(word)
        colour = palette.series[index % len(palette.series)] if index is not None else palette.dim
        text = fit(clean(word), max(width - 1, 0), "")
        if best:
            line = app.signs.horizontal
            shown = f"{text} ".ljust(width, line)[:width] if width > 2 else line * width
            style = Style.parse(f"bold {colour}")
        else:
            shown = f"{text:<{width}}"[:width] if width > 3 else app.signs.dot * width
            style = Style.parse(colour)
        if 0 <= cursor < width:
            under = style + Style(reverse=True)
            return [
                Segment(shown[:cursor], style),
                Segment(shown[cursor], under),
                Segment(shown[cursor + 1 :], style),
            ]
        return [Segment(shown, style)]

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and offset.x >= GUTTER:
            self.post_message(
                CursorWanted(self._axis.step(offset.x - GUTTER, self.size.width - GUTTER))
            )
