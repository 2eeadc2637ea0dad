"""The list of reports on labelled pictures."""

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.screens.list_screen import Line, ListScreen
from dexter_tui.formatting import short_spec
from dexter_tui.presentation.data_tables import outcome_line
from store.data_reports import page as pages
from store.data_reports.page import DataPage


class DataReportsScreen(ListScreen[DataPage]):
    """The list of reports on labelled pictures."""

    BINDINGS = bindings("search", "data-reports")
    TITLE = "Slices and debiasing"
    TITLES = ("classifier", "data")
    NONE = "No reports yet. Start one on the command line: dexter-tui slices, dexter-tui debias"

    def load(self, wish: object) -> list[DataPage]:
        return pages.listed(self.host.browse)

    def item_line(self, item: DataPage) -> Line:
        outcome = f"{item.kind}: {outcome_line(item)}"
        return Line(item.id, item.created_at, short_spec(item.classifier), item.data, outcome)

    def open_item(self, name: str) -> None:
        self.host.open_data_report(name)
