"""The base of screens with pages in tabs."""

from typing import ClassVar

from rich.text import Text
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from dexter_tui.dashboard.screens.base import DataScreen
from dexter_tui.dashboard.widgets.tabs import TabBar


class PagesScreen(DataScreen):
    """A screen with numbered pages; showing a page focuses its first focusable widget."""

    PAGES: ClassVar[tuple[tuple[str, str], ...]] = ()
    """The id and title of each page"""

    page = 0

    def action_back(self) -> None:
        self.app.pop_screen()

    def action_tab(self, number: int) -> None:
        if not 1 <= number <= len(self.PAGES):
            return
        self.page = number - 1
        name = self.PAGES[self.page][0]
        self.query_one("#pages", ContentSwitcher).current = name
        self.focus_page()
        self.draw_tabs()
        self.page_changed()

    def focus_page(self) -> None:
        """Focus the first focusable widget of the page."""
        page = self.query_one(f"#{self.PAGES[self.page][0]}", Widget)
        for widget in (page, *page.walk_children(Widget)):
            if widget.focusable:
                widget.focus(scroll_visible=False)
                return
        self.set_focus(None)

    def action_next_tab(self) -> None:
        self.action_tab((self.page + 1) % len(self.PAGES) + 1)

    def action_previous_tab(self) -> None:
        self.action_tab((self.page - 1) % len(self.PAGES) + 1)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "tab" and isinstance(parameters[0], int) and parameters[0] > len(self.PAGES):
            return False
        return super().check_action(action, parameters)

    def page_changed(self) -> None:
        """React to a change of the page."""

    def tabs_right(self) -> Text:
        """Return the text at the right end of the tab bar."""
        return Text()

    def draw_tabs(self) -> None:
        """Draw the tab bar."""
        titles = [title for _, title in self.PAGES]
        self.query_one(TabBar).show(titles, self.page, self.tabs_right())
