"""The words over the steps as a heat map: a row for each word, its probability as colour."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.color import Color
from textual.strip import Strip

from dexter_tui.dashboard.cells import Lines, fit, padded, strip_of
from dexter_tui.dashboard.host import host_of
from dexter_tui.dashboard.widgets.chart import Axis, CursorWanted, index_at, step_line
from dexter_tui.formatting import clean
from store.reading.browse import StepRow

WINDOW = 10
"""Steps whose words are counted where a run of an older version has no probabilities"""
_LEVELS = 8  # of a colour
_LEAST_ROWS, _MOST_ROWS = 3, 16  # words of a position
_MOST_LABEL = 16  # columns
_VALUE = 6  # columns of the probability at the cursor
_STEPS_PER_CELL = 4  # that are averaged


_Item = TypeVar("_Item")


class _Row(NamedTuple):
    kind: Literal["title", "word", "axis", "legend"]
    slot: int = 0
    word: str = ""
    label: str = ""


class WordStrip(Lines):
    """The probabilities of the words of each position, the words tried and the best ones."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._steps: Sequence[StepRow] = ()
        self._numbers: list[int] = []
        self._axis = Axis(1, 1, 1)
        self._sums: list[Counter[str]] = []
        self._visible: list[set[str]] = []
        """The words of each position that leave a trace: tried, best, or probable"""
        self._counted = 0
        self._rows: list[_Row] = []
        self._label = 0
        self._shown: object = None

    def show(self, steps: Sequence[StepRow], axis: Axis, room: int) -> None:
        """Show the words of these steps on an axis, in about ``room`` lines."""
        shown = (len(steps), steps[-1:], axis, room)
        if shown == self._shown:
            return
        replaced = len(steps) < self._counted or steps[: self._counted] != self._steps
        if replaced:
            self._sums, self._visible, self._counted = [], [], 0
        self._shown, self._axis = shown, axis
        self._steps, self._numbers = list(steps), [step.step for step in steps]
        self._count()
        self._rows = self._layout(room)
        self._label = max(cell_len(row.label) for row in (*self._rows, _Row("axis", label="step")))
        self._label += 1
        self.styles.height = max(len(self._rows), 1)
        self.refresh()

    def _count(self) -> None:
        """Add up the probabilities of the words of each position."""
        for index in range(self._counted, len(self._steps)):
            step = self._steps[index]
            for slot, tried in enumerate(step.words):
                if slot == len(self._sums):
                    self._sums.append(Counter())
                    self._visible.append(set())
                best = _at(step.best_words or [], slot)
                probable = {tried: 1.0}
                if step.word_probabilities is not None:
                    probable = _at(step.word_probabilities, slot) or {}
                self._sums[slot].update(probable)
                self._sums[slot].update({one: 0 for one in (tried, best) if one})
                self._visible[slot].update(one for one in (tried, best) if one)
                self._visible[slot].update(
                    word for word, p in probable.items() if p * _LEVELS >= 0.5
                )
        self._counted = len(self._steps)

    def _layout(self, room: int) -> list[_Row]:
        slots = len(self._sums)
        if not slots:
            return []
        count = max(_LEAST_ROWS, min((room - 2) // slots - 1, _MOST_ROWS))
        rows = []
        for slot, sums in enumerate(self._sums):
            best = _at(self._steps[-1].best_words or [], slot)
            words = [word for word, _ in sums.most_common() if word in self._visible[slot]]
            words = words[:count]
            if best and best not in words:
                words[-1:] = [best]
            rows += [
                _Row("title", slot),
                *(_Row("word", slot, word, _label(word)) for word in words),
            ]
        return [*rows, _Row("axis"), _Row("legend")]

    @property
    def _is_plain(self) -> bool:
        """True where signs of several densities stand for colours."""
        app = host_of(self)
        return app.options.ascii or app.options.no_colour or not app.palette.ground

    def line(self, y: int) -> Strip:
        width, palette = self.size.width, host_of(self).palette
        if not self._rows or y >= len(self._rows):
            return strip_of(Text("" if self._rows or y else "No steps yet.", palette.dim), width)
        row, across = self._rows[y], width - self._label - _VALUE
        if across < 4:
            return Strip.blank(width)
        if row.kind == "title":
            text = Text(f"position {row.slot + 1}", "bold")
            heading = f"step {self._axis.cursor}"
            text.append(heading.rjust(width - len(text)), palette.dim)
            return strip_of(text, width)
        if row.kind == "axis":
            line = f"{'step':<{self._label}}{step_line(self._axis, across)}"
            return strip_of(Text(line, palette.dim), width)
        if row.kind == "legend":
            return strip_of(self._legend(), width)
        return self._word_line(row, across)

    def _word_line(self, row: _Row, across: int) -> Strip:
        palette = host_of(self).palette
        index = index_at(self._numbers, self._axis.cursor)
        best = _at(self._steps[index].best_words or [], row.slot) if index is not None else None
        label = padded(row.label, self._label)
        style = f"bold {palette.accent}" if row.word == best else palette.text
        segments = [Segment(label, Style.parse(style))]
        at = self._axis.column(self._axis.cursor, across)
        for x, indices in enumerate(self._columns(across)):
            segments.append(self._cell(row, indices, cursor=x == at))
        value = "" if index is None else f"{self._probability(index, row):{_VALUE}.2f}"
        segments.append(Segment(value.rjust(_VALUE), Style.parse(palette.dim)))
        return Strip(Segment.simplify(segments), self.size.width)

    def _columns(self, across: int) -> Iterator[tuple[range, bool]]:
        """Return the indices of the steps of each column, and whether it begins their first."""
        last = self._numbers[-1]
        for x in range(across):
            step = self._axis.step(x, across)
            if step > last or step < self._numbers[0]:
                yield range(0), False
                continue
            upper = self._axis.step(x + 1, across) - 1 if x + 1 < across else step
            first, end = index_at(self._numbers, step), index_at(self._numbers, max(upper, step))
            assert first is not None and end is not None
            yield range(first, end + 1), self._axis.column(self._numbers[first], across) == x

    def _cell(self, row: _Row, column: tuple[range, bool], *, cursor: bool) -> Segment:
        app, (indices, begins) = host_of(self), column
        palette = app.palette
        if not indices:
            sign = app.signs.vertical if cursor else " "
            return Segment(sign, Style.parse(palette.accent))
        sampled = indices[:: max(len(indices) // _STEPS_PER_CELL, 1)]
        mean = sum(self._probability(index, row) for index in sampled) / len(sampled)
        tried = begins and any(_at(self._steps[k].words, row.slot) == row.word for k in indices)
        is_best = _at(self._steps[indices[-1]].best_words or [], row.slot) == row.word
        mark = app.signs.tried if tried else app.signs.best if is_best else None
        if self._is_plain:
            sign = mark or app.signs.shades[round(mean * (len(app.signs.shades) - 1))]
            style = f"bold {palette.accent}" if mark or cursor else palette.primary
            return Segment(app.signs.vertical if cursor and sign == " " else sign,
                           Style.parse(style))  # fmt: skip
        ground = shade(mean, palette.ground, palette.primary)
        ink = palette.accent if cursor else palette.text if mean < 0.5 else palette.ground
        sign = mark or (app.signs.vertical if cursor else " ")
        return Segment(sign, Style.parse(f"{ink} on {ground}"))

    def _probability(self, index: int, row: _Row) -> float:
        """Return the probability of a word at a step, or its share of the words tried of late."""
        step = self._steps[index]
        if step.word_probabilities is not None:
            return (_at(step.word_probabilities, row.slot) or {}).get(row.word, 0.0)
        late = self._steps[max(index + 1 - WINDOW, 0) : index + 1]
        return sum(_at(one.words, row.slot) == row.word for one in late) / len(late)

    def _legend(self) -> Text:
        app = host_of(self)
        palette, signs = app.palette, app.signs
        recorded = any(step.word_probabilities is not None for step in self._steps)
        name = "probability" if recorded else f"share of the last {WINDOW} tries"
        text = Text(f"{name} 0 ", palette.dim)
        for level in range(_LEVELS + 1):
            share = level / _LEVELS
            if self._is_plain:
                sign = signs.shades[round(share * (len(signs.shades) - 1))]
                text.append(sign, palette.primary)
            else:
                text.append(" ", f"on {shade(share, palette.ground, palette.primary)}")
        text.append(" 1", palette.dim)
        for sign, meaning in ((signs.tried, "tried"), (signs.best, "best so far")):
            text.append(f"   {sign} ", palette.text).append(meaning, palette.dim)
        return text

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        across = self.size.width - self._label - _VALUE
        if offset is not None and 0 <= offset.x - self._label < across:
            self.post_message(CursorWanted(self._axis.step(offset.x - self._label, across)))


def _label(word: str) -> str:
    return fit(clean(word[: _MOST_LABEL + 1]), _MOST_LABEL)  # cut before it is cleaned: quicker


def shade(share: float, ground: str, full: str) -> str:
    """Return the colour of a share between those of 0 and 1, in steps."""
    level = round(max(0.0, min(share, 1.0)) * _LEVELS) / _LEVELS
    return Color.parse(ground).blend(Color.parse(full), level).hex6


def _at(values: Sequence[_Item], slot: int) -> _Item | None:
    return values[slot] if slot < len(values) else None
