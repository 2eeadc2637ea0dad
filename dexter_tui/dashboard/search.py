"""The search of a list or text with /, n and N, the same on every screen.

A widget takes part by offering `Searched`.
"""

import re
from typing import Protocol, cast, runtime_checkable

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, Static

from dexter_tui.dashboard.cells import search_pattern
from dexter_tui.dashboard.host import host_of
from dexter_tui.formatting import clean


@runtime_checkable
class Searched(Protocol):
    """A widget with lines that can be searched."""

    def search_lines(self) -> list[str]:
        """Return the lines: rows of a list, or lines of a text."""

    def go_to_line(self, number: int) -> None:
        """Show a line, counted from 0, and move the cursor there if there is one."""

    def search_for(self, pattern: re.Pattern[str] | None) -> None:
        """Mark the matches of a pattern; None ends it."""


class SearchBar(Horizontal):
    """The line above the keys: the text that is searched for, and which match is shown."""

    def compose(self) -> ComposeResult:
        yield Static("/", id="search-sign")
        box = Input(id="search-text", compact=True)
        box.cursor_blink = False  # a blinking cursor would send bytes all the time
        yield box
        yield Static(id="search-count")


class Searching(Screen[None]):
    """A screen whose lists and texts can be searched; its class binds the place "search"."""

    _searched: Widget | None = None  # while a search is active
    _search_text = ""
    _match = 0  # the number of the match that is shown, from 0
    _match_count = 0  # their number

    @property
    def _search_target(self) -> Widget | None:
        """The focused widget, or what it lies in, if it can be searched."""
        if self.focused is None:
            return None
        found = (node for node in self.focused.ancestors_with_self if isinstance(node, Searched))
        return cast(Widget | None, next(found, None))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "search":
            return self._searched is not None or self._search_target is not None
        if action in ("next_match", "previous_match", "end_search"):
            return self._searched is not None
        return super().check_action(action, parameters)

    def pointless(self, action: str) -> bool:
        """Return True if the action would be refused now, so that the key bar omits it."""
        return action in ("next_match", "previous_match") and not self._match_count

    async def action_search(self) -> None:
        target = self._searched or self._search_target
        if target is None:
            return
        if self._searched is None:
            await self.mount(SearchBar(), before=self.query_one("KeyBar"))
        self._searched = target
        box = self.query_one("#search-text", Input)
        box.focus()
        box.select_all()
        self.refresh_bindings()

    @on(Input.Changed, "#search-text")
    def _search_changed(self, event: Input.Changed) -> None:
        self._search_text, self._match = event.value, 0
        self._go_to_match(0)

    @on(Input.Submitted, "#search-text")
    def _search_entered(self) -> None:
        if not self._search_text:
            self.end_search()
        elif self._searched is not None:
            self._searched.focus()

    def action_next_match(self) -> None:
        self._go_to_match(1)

    def action_previous_match(self) -> None:
        self._go_to_match(-1)

    def _go_to_match(self, by: int) -> None:
        target = self._searched
        if target is None or not isinstance(target, Searched):
            return
        pattern = search_pattern(self._search_text)
        target.search_for(pattern)
        lines = target.search_lines() if pattern is not None else []
        matches = [at for at, line in enumerate(lines) if pattern and pattern.search(line)]
        palette, count, self._match_count = host_of(self).palette, Text(), len(matches)
        if matches:
            self._match = (self._match + by) % len(matches)
            target.go_to_line(matches[self._match])
            count = Text(f"{self._match + 1:,} of {len(matches):,}", palette.dim)
        elif pattern is not None:
            count = Text(f"no match for {clean(self._search_text)}", palette.warn)
        self.query_one("#search-count", Static).update(count)

    async def action_end_search(self) -> None:
        self.end_search()

    def end_search(self) -> None:
        """End the search; the cursor stays at the match."""
        target, self._searched = self._searched, None
        if target is None:
            return
        if isinstance(target, Searched):
            target.search_for(None)
        typing = isinstance(self.focused, Input)
        self.query(SearchBar).remove()
        if typing and target.is_attached and target.focusable:
            target.focus()
        self.refresh_bindings()
