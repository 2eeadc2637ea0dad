"""The base of the screens that list screenings, comparisons or reports on pictures."""

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from rich.cells import cell_len
from rich.text import Text
from textual import on
from textual.app import ComposeResult

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines, padded
from dexter_tui.dashboard.host import Copied, host_of
from dexter_tui.dashboard.screens.base import DataScreen
from dexter_tui.dashboard.widgets.claim_list import RowList
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.summaries import local_minute
from dexter_tui.formatting import clean

Item = TypeVar("Item")
_ID, _CREATED = 10, 16  # cells
_WIDE = 100  # cells of a list with room for times


class Line(NamedTuple):
    """An item of a list."""

    id: str
    created_at: str
    subject: str
    """The classifiers"""
    detail: str
    """The class or data"""
    outcome: str
    """The state or result"""


class ItemList(RowList[Line]):
    """The list, with the columns id, created, classifiers, class or data, and outcome."""

    BINDINGS = bindings("items")

    def __init__(self, titles: tuple[str, str], **options: Any) -> None:
        super().__init__(**options)
        self._titles = titles

    def identity(self, row: Line) -> str:
        return row.id

    def header(self, width: int) -> Text:
        titles = Line("id", "", *self._titles, "outcome")
        return Text(self._joined(titles, local_minute(None), width), host_of(self).palette.dim)

    def row(self, row: Line, width: int) -> Text:
        palette, ellipsis = host_of(self).palette, host_of(self).signs.ellipsis
        subject, detail = self._widths(width)
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f" {clean(row.id):<{_ID}} ", palette.dim)
        if width >= _WIDE:
            text.append(f"{local_minute(row.created_at):<{_CREATED}} ", palette.dim)
        text.append(f"{padded(clean(row.subject), subject, ellipsis)} ", "bold")
        text.append(f"{padded(clean(row.detail), detail, ellipsis)} ", palette.accent)
        return text.append(clean(row.outcome))

    def _joined(self, titles: Line, created: str, width: int) -> str:
        subject, detail = self._widths(width)
        times = f"{created:<{_CREATED}} " if width >= _WIDE else ""
        columns = f"{titles.subject:<{subject}} {titles.detail:<{detail}} {titles.outcome}"
        return f" {titles.id:<{_ID}} {times}{columns}"

    def _widths(self, width: int) -> tuple[int, int]:
        """Return the widths of the subjects and details: as they need, at most what there is."""
        room = max(width - _ID - (_CREATED + 1 if width >= _WIDE else 0) - 4, 20)
        subject = max([len(self._titles[0]), *(cell_len(row.subject) for row in self.rows)])
        detail = max([len(self._titles[1]), *(cell_len(row.detail) for row in self.rows)])
        return min(subject, room * 2 // 5), min(detail, room // 4)


class ListScreen(DataScreen, Generic[Item]):
    """A list, newest first; its items can be opened, searched, noted and deleted."""

    TITLE: ClassVar[str]
    TITLES: ClassVar[tuple[str, str]] = ("classifiers", "class")
    """The titles of the two columns after the id"""
    NONE: ClassVar[str]
    """The hint of an empty list"""

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        listed = ItemList(self.TITLES, id="item-list", classes="panel")
        listed.border_title, listed.border_subtitle = self.TITLE, "enter: open"
        yield listed
        yield KeyBar()

    def item_line(self, item: Item) -> Line:
        """Return the line of an item."""
        raise NotImplementedError

    def open_item(self, name: str) -> None:
        """Open an item by its id."""
        raise NotImplementedError

    def show(self, data: Sequence[Item]) -> None:
        palette = self.host.palette
        title = Text(self.TITLE, f"bold {palette.primary}")
        if data:
            title.append(f"   {len(data):,}", palette.dim)
        self.query_one("#title", TextLines).put(title)
        rows = [self.item_line(one) for one in data]
        self.query_one(ItemList).show(rows, Text(self.NONE, palette.dim))
        self.refresh_bindings()

    @property
    def _selected(self) -> str | None:
        line = self.query_one(ItemList).selected
        return None if line is None else line.id

    def copied(self) -> Copied | None:
        name = self._selected
        return None if name is None else Copied(name, name)

    def pointless(self, action: str) -> bool:
        empty = not self.query_one(ItemList).rows
        return super().pointless(action) or (
            empty and action in ("open", "note", "delete", "search")
        )

    @on(ItemList.Opened)
    def _open(self) -> None:
        if (name := self._selected) is not None:
            self.open_item(name)

    def action_note(self) -> None:
        if (name := self._selected) is not None:
            self.edit_note(name)

    def action_delete(self) -> None:
        if (name := self._selected) is not None:
            self.confirm_delete([name])

    def action_back(self) -> None:
        self.app.pop_screen()
