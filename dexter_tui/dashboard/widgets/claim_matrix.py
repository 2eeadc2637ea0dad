"""The claims of a comparison as a matrix: concepts by classifiers."""

from collections.abc import Mapping
from typing import Any

from rich.text import Text
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import Lines, fit, padded, strip_of
from dexter_tui.dashboard.host import host_of
from dexter_tui.dashboard.widgets.claim_list import mark
from dexter_tui.formatting import clean, short_spec, state_line
from store.states import AGAIN

_CONCEPT, _CELL = 18, 24  # cells of the terminal
Page = Mapping[str, Any]


class ClaimMatrix(ScrollView, Lines, can_focus=True):
    """The matrix: a row per concept, a column per classifier; only the columns scroll."""

    BINDINGS = bindings("matrix")

    class Moved(Message):
        """The cursor moved to another cell."""

    class Opened(Message):
        """The user asked for the pictures of a cell."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.page: Page | None = None
        self.rows: list[tuple[str, str]] = []
        self.row = self.column = 0
        self.shown = "all"
        self._at: tuple[str, str] | None = None  # the row at the cursor, even while it is hidden
        self._cells: dict[tuple[str, str, str], Mapping[str, Any]] = {}

    @property
    def names(self) -> list[str]:
        """The names of the classifiers."""
        return list(self.page["classifiers"]) if self.page else []

    @property
    def selected(self) -> Mapping[str, Any] | None:
        """The claim at the cursor."""
        if not self.rows or not self.names:
            return None
        return self._cells.get((*self.rows[self.row], self.names[self.column]))

    def show(self, page: Page) -> None:
        """Show a comparison."""
        self.page = page
        self._cells = {(c["class_name"], c["concept"], c["classifier"]): c for c in page["claims"]}
        self.filter(self.shown)

    def filter(self, shown: str) -> None:
        """Show all concepts, those that differ between classifiers, or those that agree."""
        self.shown = shown
        rows = list(dict.fromkeys((c, k) for c, k, _ in self._cells))
        differing = {row for row in rows if self._differ(row)}
        self.rows = [
            row for row in rows if shown == "all" or (row in differing) is (shown == "differ")
        ]
        self.row = self.rows.index(self._at) if self._at in self.rows else 0
        self._lay_out()

    def _differ(self, row: tuple[str, str]) -> bool:
        verdicts = {
            (claim["verdict"], claim["direction"] if claim["verdict"] == "confirmed" else 0)
            for name in self.names
            if (claim := self._cells.get((*row, name)))
        }
        differences = self.page["differences"] if self.page else ()
        return len(verdicts) > 1 or any(
            d["verdict"] == "differ" and (d["class_name"], d["concept"]) == row for d in differences
        )

    def _lay_out(self) -> None:
        width = _CONCEPT + _CELL * len(self.names)
        self.virtual_size = Size(width, len(self.rows) + 1)
        self.refresh()

    def search_lines(self) -> list[str]:
        """Return the concepts, each with its class."""
        return [f"{class_name}: {concept}" for class_name, concept in self.rows]

    def go_to_line(self, number: int) -> None:
        """Move the cursor to a row."""
        self.action_move(0, number - self.row)

    def action_move(self, right: int, down: int) -> None:
        if not self.rows:
            return
        self.row = max(0, min(self.row + down, len(self.rows) - 1))
        self.column = max(0, min(self.column + right, len(self.names) - 1))
        self._at = self.rows[self.row]
        height, top = self.size.height - 1, self.scroll_offset.y
        y = min(top, self.row) if self.row < top + height else self.row - height + 1
        width, left = self.columns_shown - _CONCEPT, self.scroll_offset.x
        at = self.column * _CELL
        x = min(left, at) if at + _CELL <= left + width else at + _CELL - width
        self.scroll_to(x=max(x, 0), y=max(y, 0), animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved())

    def action_open(self) -> None:
        self.post_message(self.Opened())

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and offset.y > 0 and offset.x >= _CONCEPT:
            row = self.scroll_offset.y + offset.y - 1
            column = (self.scroll_offset.x + offset.x - _CONCEPT) // _CELL
            if row < len(self.rows) and column < len(self.names):
                self.action_move(column - self.column, row - self.row)
                if event.chain == 2:
                    self.action_open()

    def line(self, y: int) -> Strip:
        app = host_of(self)
        palette, width = app.palette, self.columns_shown
        if self.page is None or not self.rows:
            lines = [] if self.page is None else self._empty_text(self.page).split("\n")
            return strip_of(Text(lines[y] if y < len(lines) else "", style=palette.dim), width)
        if y == 0:
            head, cells = Text("concept"), Text()
            baseline = self.page["baseline"]
            for name in self.names:
                mark = "*" if name == baseline else ""
                cells.append(f"{padded(short_spec(name) + mark, _CELL - 2)}  ", palette.dim)
            return self._joined(head, cells, width, palette.dim)
        number = self.scroll_offset.y + y - 1
        if number >= len(self.rows):
            return Strip.blank(width)
        class_name, concept = self.rows[number]
        several = len(self.page["classes"]) > 1
        shown = clean(f"{class_name}: {concept}" if several else concept)
        cells = Text()
        for column, name in enumerate(self.names):
            cells.append_text(self._cell((class_name, concept, name), number, column))
        return self._joined(Text(fit(shown, _CONCEPT - 1), "bold"), cells, width, "")

    def _empty_text(self, page: Page) -> str:
        """Return the reason why the matrix has no rows."""
        if page["state"] != "done":
            return progress_text(page)
        if not self._cells:
            return "No claims: no concept was proposed that can be tested."
        return f"No concept on which the classifiers {self.shown}; press f to show others."

    def _joined(self, head: Text, cells: Text, width: int, style: str) -> Strip:
        head.stylize(style)
        left = strip_of(head, _CONCEPT)
        whole = strip_of(cells, _CELL * len(self.names))
        x = self.scroll_offset.x
        right = whole.crop(x, x + max(width - _CONCEPT, 0))
        return Strip.join([left, right]).adjust_cell_length(width)

    def _cell(self, key: tuple[str, str, str], row: int, column: int) -> Text:
        app = host_of(self)
        palette, signs = app.palette, app.signs
        claim = self._cells.get(key)
        text = Text(no_wrap=True)
        if claim is None:
            text.append(" " * _CELL)
        else:
            sign, style = mark(claim["verdict"], palette, signs)
            text.append(f"{sign} ", style)
            if claim["pairs"]:
                text.append(f"{claim['effect']:+z.2f}", f"bold {style}")
                interval = f" {claim['low']:+z.2f}{signs.dash}{claim['high']:+z.2f}"
                text.append(fit(interval, _CELL - 7), palette.dim)
            else:
                text.append("saturated", palette.dim)
            text.pad_right(max(_CELL - len(text), 0))
        if (row, column) == (self.row, self.column):
            text.stylize(palette.cursor)
        return text


def progress_text(page: Page) -> str:
    """Return the progress of an unfinished comparison, or its end."""
    if page["state"] in AGAIN:
        ended = clean(state_line(page["state"], page["error"]))
        return f"{ended}\nR continues it and reuses its pictures."
    progress, stage = page["progress"], clean(page["progress"]["stage"] or "waiting")
    total = progress["total"]
    count = f": {progress['done']:,} of {total:,} pictures" if total else ""
    return f"{stage}{count}\nIt continues if you close this window; results appear at the end."
