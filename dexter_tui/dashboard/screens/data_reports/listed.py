"""The list of reports on pictures."""

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.screens.list_screen import Line, ListScreen
from dexter_tui.formatting import short_spec
from dexter_tui.presentation.data_tables import outcome_line
from store.data_reports import page as pages
from store.data_reports import results
from store.data_reports.page import DataPage
from store.states import Kind


class DataReportsScreen(ListScreen[DataPage]):
    """The list of reports on pictures."""

    BINDINGS = bindings("search", "data-reports")
    TITLE = "Reports on pictures"
    TITLES = ("classifier", "data or class")
    NONE = "None yet. Press n for slices, d to debias, w for a what-if, b for bias."

    def load(self, wish: object) -> list[DataPage]:
        return pages.listed(self.host.browse)

    def item_line(self, item: DataPage) -> Line:
        outcome = f"{results.TITLES[item.kind].lower()}: {outcome_line(item)}"
        return Line(item.id, item.created_at, short_spec(item.classifier), item.data, outcome)

    def open_item(self, name: str) -> None:
        self.host.open_data_report(name)

    def action_new(self, kind: str) -> None:
        self.host.open_new_data_report(Kind(kind))
