"""A tab bar and a page of text."""

from typing import Any

from rich.console import RenderableType
from rich.text import Span, Text
from textual import events
from textual.app import RenderResult
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from dexter_tui.dashboard.host import host_of


class WrappedText(Static):
    """A text with line breaks; redrawn only when it changes."""

    _shown: tuple[Text, list[Span]] | None = None

    def put(self, text: Text) -> None:
        """Show a text, unless it is the same."""
        if self._shown != (text, text.spans):
            self._shown = (text, list(text.spans))
            self.update(text)


class TextPage(VerticalScroll, can_focus=True):
    """A scrollable text."""

    def __init__(self, *, id: str, text_id: str) -> None:
        super().__init__(WrappedText(id=text_id), id=id, classes="panel page")

    def put(self, text: Text) -> None:
        """Show a text, unless it is the same."""
        self.query_one(WrappedText).put(text)


class ViewPage(VerticalScroll, can_focus=True):
    """A scrollable page of tables."""

    def __init__(self, *, id: str) -> None:
        super().__init__(Static(), id=id, classes="panel page")

    def put(self, view: RenderableType) -> None:
        """Show tables."""
        self.query_one(Static).update(view)


class TabBar(Widget):
    """The numbered titles of the pages, and a text at the right end."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._shown: tuple[list[str], int, Text, list[Any]] = ([], 0, Text(), [])
        self._places: list[range] = []

    def show(self, titles: list[str], page: int, right: Text) -> None:
        """Show these titles and this text."""
        shown = (titles, page, right, list(right.spans))
        if shown != self._shown:
            self._shown = shown
            self.refresh()

    def render(self) -> RenderResult:
        palette = host_of(self).palette
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
