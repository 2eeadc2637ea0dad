"""What the screens of runs and studies share: a title, pages in tabs, a way back."""

from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual import events
from textual.app import RenderResult
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Static

from dexter_tui.dashboard.screens.base import DataScreen

if TYPE_CHECKING:
    from dexter_tui.dashboard.app import DexterApp


class TextPage(VerticalScroll, can_focus=True):
    """Text that may be longer than the screen."""

    def __init__(self, *, id: str, text_id: str) -> None:
        super().__init__(Static(id=text_id), id=id, classes="panel page")

    def put(self, text: Text) -> None:
        """Show this; only what changed is drawn."""
        body = self.query_one(Static)
        if getattr(body, "dexter_shown", None) != (text, text.spans):
            body.dexter_shown = (text, list(text.spans))  # type: ignore[attr-defined]
            body.update(text)


class TabBar(Widget):
    """The pages by number, the one in sight marked, and a word at the right end."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._shown: tuple[list[str], int, Text, list[Any]] = ([], 0, Text(), [])
        self._places: list[range] = []

    def show(self, titles: list[str], page: int, right: Text) -> None:
        """Other words than before."""
        shown = (titles, page, right, list(right.spans))
        if shown != self._shown:
            self._shown = shown
            self.refresh()

    def render(self) -> RenderResult:
        palette = cast("DexterApp", self.app).palette
        titles, page, right, _ = self._shown
        text, self._places = Text(no_wrap=True, overflow="ellipsis"), []
        for number, title in enumerate(titles, 1):
            here, start = number - 1 == page, len(text)
            text.append(f" {number} ", palette.accent if here else palette.dim)
            text.append(title, f"bold {palette.primary} underline" if here else "")
            text.append(" ")
            self._places.append(range(start, len(text)))
        room = self.size.width - len(text)
        right = right.copy()
        right.truncate(max(room, 0), overflow="ellipsis")
        text.append(" " * (room - len(right))).append_text(right)
        return text

    async def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        for number, place in enumerate(self._places, 1):
            if offset is not None and offset.x in place:
                await self.run_action(f"screen.tab({number})")


class PagesScreen(DataScreen):
    """Pages by number; the first widget of a page that can be focused is."""

    PAGES: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Id and title of each."""

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
        """Give the page's keys to the page."""
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
        """Another page is in sight."""

    def tabs_right(self) -> Text:
        """What stands at the right end of the line of tabs."""
        return Text()

    def draw_tabs(self) -> None:
        """The line of tabs."""
        titles = [title for _, title in self.PAGES]
        self.query_one(TabBar).show(titles, self.page, self.tabs_right())
