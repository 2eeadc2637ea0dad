"""The list of screenings."""

from typing import Any

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.screens.list_screen import Line, ListScreen
from dexter_tui.formatting import short_spec
from dexter_tui.presentation.screening_tables import outcome
from store.reading import screenings

_NAMES = 4


class ScreeningsScreen(ListScreen[dict[str, Any]]):
    """The list of screenings."""

    BINDINGS = bindings("search", "screenings")
    TITLE = "Audits and screenings"
    NONE = "No screenings yet. Press n to start one."

    def load(self, wish: object) -> list[dict[str, Any]]:
        return screenings.listed(self.host.browse)

    def item_line(self, item: dict[str, Any]) -> Line:
        names = item["classifiers"]
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        subject = ", ".join(short_spec(name) for name in names[:_NAMES]) + more
        ended = outcome(item)
        if item["watch"]:
            ended += f"; watches {item['watch']['folder']}"
        return Line(item["id"], item["created_at"], subject, item["class_name"], ended)

    def open_item(self, name: str) -> None:
        self.host.open_screening(name)

    def action_new(self) -> None:
        self.host.open_new_screening()
