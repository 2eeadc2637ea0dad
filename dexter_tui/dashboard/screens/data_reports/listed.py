"""The list of reports on labelled pictures, newest first."""

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.screens.base import DataScreen
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.formatting import clean, short_spec
from dexter_tui.presentation.data_tables import outcome_line
from store.data_reports import page as pages
from store.data_reports.page import DataPage


class DataReportsScreen(DataScreen):
    """The list of reports on labelled pictures."""

    BINDINGS = bindings("data-reports")

    def __init__(self) -> None:
        super().__init__()
        self._listed: list[DataPage] | None = None

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        listed = OptionList(id="data-report-list", classes="panel", markup=False)
        listed.border_title, listed.border_subtitle = "Reports on pictures", "enter: open"
        yield listed
        yield KeyBar()

    def load(self, wish: object) -> list[DataPage]:
        return pages.listed(self.host.browse)

    def show(self, data: list[DataPage]) -> None:
        palette = self.host.palette
        title = Text("Slices and debiasing", f"bold {palette.primary}")
        if not data:
            title.append("   none yet: dexter-tui slices, dexter-tui debias", palette.dim)
        self.query_one("#title", TextLines).put(title)
        if data == self._listed:
            return
        self._listed = data
        options = self.query_one(OptionList)
        at = options.highlighted
        options.clear_options()
        for one in data:
            options.add_option(Option(self._line(one), id=one.id))
        options.highlighted = at if at is not None and at < len(data) else (0 if data else None)
        options.focus()

    def _line(self, one: DataPage) -> Text:
        palette = self.host.palette
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{clean(one.id)}  ", palette.dim)
        text.append(f"{clean(one.kind)}  ", palette.accent)
        text.append(short_spec(one.classifier), "bold")
        text.append(f"  {clean(one.data)}")
        text.append(f"  {clean(outcome_line(one))}", palette.dim)
        return text

    def _selected(self) -> str | None:
        options = self.query_one(OptionList)
        at = options.highlighted
        return None if at is None else options.get_option_at_index(at).id

    def action_note(self) -> None:
        if (name := self._selected()) is not None:
            self.edit_note(name)

    def action_delete(self) -> None:
        if (name := self._selected()) is not None:
            self.confirm_delete([name])

    @on(OptionList.OptionSelected)
    def _open(self, event: OptionList.OptionSelected) -> None:
        if event.option.id:
            self.host.open_data_report(event.option.id)

    def action_back(self) -> None:
        self.app.pop_screen()
