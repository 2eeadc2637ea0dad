"""The dialogs of the home screen: its columns, and the saved filters."""

from collections.abc import Callable
from typing import Any, NamedTuple

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import padded
from dexter_tui.dashboard.host import host_of
from dexter_tui.dashboard.run_columns import COLUMNS, NARROWEST, WIDEST, Column, Layout
from dexter_tui.dashboard.screens.home import view
from dexter_tui.dashboard.widgets.claim_list import RowList
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.formatting import clean


class ColumnList(RowList[Column]):
    """The columns, with their widths."""

    BINDINGS = bindings("choices")

    def __init__(self, chosen: Layout, **options: Any) -> None:
        super().__init__(**options)
        self.chosen = chosen

    def header(self, width: int) -> Text:
        return Text("    column            width", style=host_of(self).palette.dim)

    def row(self, row: Column, width: int) -> Text:
        palette = host_of(self).palette
        mark = " " if row.name in self.chosen.hidden else "x"
        columns = self.chosen.width(row)
        text = Text(f"[{mark}] ").append(f"{row.title:<17} ", "bold")
        text.append(f"{columns or '':>5}  ").append(row.help, palette.dim)
        return text


class ColumnsDialog(ModalScreen[None]):
    """The choice of columns; ``change`` takes each new choice, ``sort`` an order."""

    BINDINGS = bindings("columns")

    def __init__(
        self, chosen: Layout, change: Callable[[Layout], None], sort: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._chosen = chosen
        self._change = change
        self._sort = sort

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog chooser") as dialog:
            dialog.border_title = "Columns"
            yield ColumnList(self._chosen, id="column-list")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(ColumnList).show(COLUMNS, Text())

    @property
    def _column(self) -> Column:
        return self.query_one(ColumnList).selected or COLUMNS[0]

    def _put(self, chosen: Layout) -> None:
        listed = self.query_one(ColumnList)
        self._chosen = listed.chosen = chosen
        listed.refresh()
        self._change(chosen)

    def pointless(self, action: str) -> bool:
        """Return True if the action would do nothing to the column at the cursor."""
        column = self._column
        return (
            (action == "sort" and column.order is None)
            or (action == "switch" and column.name == view.FIXED)
            or (action.startswith("resize(") and not column.width)
        )

    @on(ColumnList.Moved)
    def _moved(self) -> None:
        self.refresh_bindings()

    @on(ColumnList.Opened)
    def action_switch(self) -> None:
        if self._column.name != view.FIXED:
            self._put(self._chosen._replace(hidden=self._chosen.hidden ^ {self._column.name}))

    def action_resize(self, by: int) -> None:
        column = self._column
        if column.width:
            width = max(NARROWEST, min(self._chosen.width(column) + by, WIDEST))
            self._put(self._chosen._replace(widths={**self._chosen.widths, column.name: width}))

    def action_sort(self) -> None:
        if self._column.order is not None:
            self._sort(self._column.order)

    def action_reset(self) -> None:
        self._put(Layout())

    def action_back(self) -> None:
        self.dismiss()


class Saved(NamedTuple):
    """A saved filter."""

    name: str
    text: str


class FilterList(RowList[Saved]):
    """The saved filters."""

    BINDINGS = bindings("choices")

    def header(self, width: int) -> Text:
        return Text("name              filter", style=host_of(self).palette.dim)

    def row(self, row: Saved, width: int) -> Text:
        signs = host_of(self).signs
        text = Text().append(f"{padded(clean(row.name), 16, signs.ellipsis)}  ", "bold")
        return text.append(clean(row.text))


class FiltersDialog(ModalScreen[str | None]):
    """The saved filters; returns the text of the chosen one.

    present: the filter of the list, which can be saved; empty if there is none.
    """

    BINDINGS = bindings("filters")

    def __init__(self, present: str) -> None:
        super().__init__()
        self._present = present

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog chooser") as dialog:
            dialog.border_title = "Saved filters"
            yield FilterList(id="filter-list")
        yield KeyBar()

    def on_mount(self) -> None:
        self._list()

    def _list(self) -> None:
        saved = view.filters(host_of(self).remembered)
        hint = "No saved filters. Type a filter with /, then open this dialog and press s."
        if self._present:
            hint = f"No saved filters. Press s to save {clean(self._present)}"
        rows = [Saved(name, text) for name, text in saved.items()]
        self.query_one(FilterList).show(rows, Text("\n".join(_wrapped(hint))))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "save" or bool(self._present)

    def action_save(self) -> None:
        from dexter_tui.dashboard.screens.dialogs import Ask

        def save(name: str | None) -> None:
            if name and name.strip():
                remembered = host_of(self).remembered
                saved = {**view.filters(remembered), name.strip(): self._present}
                view.put_filters(remembered, saved)
                self._list()

        self.app.push_screen(Ask(f"Name of the filter {self._present}"), save)

    def action_delete(self) -> None:
        chosen = self.query_one(FilterList).selected
        if chosen is not None:
            saved = view.filters(host_of(self).remembered)
            saved.pop(chosen.name, None)
            view.put_filters(host_of(self).remembered, saved)
            self._list()

    @on(FilterList.Opened)
    def _pick(self) -> None:
        chosen = self.query_one(FilterList).selected
        if chosen is not None:
            self.dismiss(chosen.text)

    def action_back(self) -> None:
        self.dismiss(None)


def _wrapped(hint: str) -> list[str]:
    import textwrap

    return textwrap.wrap(hint, 52)
