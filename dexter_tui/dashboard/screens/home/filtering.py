"""The filter of the home screen: typed, saved, and searched through with n and N."""

import bisect
from collections.abc import Iterable
from functools import partial

from textual import on
from textual.app import SystemCommand
from textual.geometry import Size
from textual.message import Message
from textual.reactive import Reactive
from textual.widgets import Input, Static

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import search_pattern
from dexter_tui.dashboard.screens.home import view
from dexter_tui.dashboard.screens.home.choosers import FiltersDialog
from dexter_tui.dashboard.screens.home.run_actions import RunActions
from dexter_tui.formatting import clean
from store.reading.filters import FilterError, compile_filter, searched_words


class FilterInput(Input):
    """The filter; errors appear below as you type."""

    BINDINGS = bindings("filter")
    # Without a layout of the whole screen at each letter.
    virtual_size = Reactive(Size(0, 0), layout=False)

    class Left(Message):
        """The request to focus the list."""

    def action_accept(self) -> None:
        self.post_message(self.Left())

    def action_drop(self) -> None:
        self.value = ""
        self.post_message(self.Left())


class Filtering(RunActions):
    """A screen with a filter above its list."""

    filter = ""
    stepping = False  # True once n or N was pressed for the filter

    def action_filter(self) -> None:
        box = self.query_one("#filter", FilterInput)
        box.add_class("-open")
        # The error line stays while the filter is open: a list that moves by a line is redrawn.
        self.query_one("#filter-error").add_class("-open")
        box.focus()

    def action_filters(self) -> None:
        self.app.push_screen(FiltersDialog(self.filter), self._show_filter)

    def _show_filter(self, text: str | None) -> None:
        """Filter by a text, as if it had been typed."""
        if text is not None:
            self.query_one("#filter", FilterInput).value = text
            self._leave_filter()

    def more_commands(self) -> Iterable[SystemCommand]:
        for name, text in view.filters(self.host.remembered).items():
            yield SystemCommand(
                f"Filter: {clean(name)}", clean(text), partial(self._show_filter, text)
            )

    def action_next_match(self) -> None:
        self._go_to_match(1)

    def action_previous_match(self) -> None:
        self._go_to_match(-1)

    def _go_to_match(self, by: int) -> None:
        """Go to the next or previous run that the filter shows."""
        runs, matches = self.runs, self._matches()
        if matches:
            here = bisect.bisect_left(matches, runs.index + (by > 0)) - (by < 0)
            runs.move(matches[here % len(matches)])
            self.stepping = True
            self.show_match()

    def show_match(self) -> None:
        """Show which match the cursor is on, such as 3 of 12."""
        matches = self._matches()
        here = bisect.bisect_right(matches, self.runs.index)
        self.runs.border_subtitle = f"{max(here, 1):,} of {len(matches):,}"

    def _matches(self) -> list[int]:
        """Return the rows of the runs."""
        return [at for at, key in enumerate(self.runs.keys) if key > 0]

    @on(Input.Changed, "#filter")
    def _typed(self) -> None:
        # Without delay: text typed during a read causes one more read.
        self._apply_filter()

    def _apply_filter(self) -> None:
        text = self.query_one("#filter", FilterInput).value
        try:
            compile_filter(text)
        except FilterError as refused:
            self._show_error(clean(refused))
            return
        self._show_error("")
        if text != self.filter:
            self.filter = text
            self.stepping = False
            self.runs.search_for(search_pattern(*searched_words(text)))
            self.reload()

    def _show_error(self, line: str) -> None:
        error = self.query_one("#filter-error", Static)
        if error.content != line:
            error.update(line, layout=False)  # a layout redraws the whole screen

    @on(FilterInput.Left)
    def _leave_filter(self) -> None:
        self._apply_filter()
        box = self.query_one("#filter", FilterInput)
        box.set_class(bool(box.value), "-open")
        error = self.query_one("#filter-error", Static)
        error.set_class(bool(box.value and error.content), "-open")
        self.runs.focus()

    def action_clear(self) -> None:
        runs = self.runs
        if runs.marked:
            runs.marked = frozenset()
        elif self.filter:
            self.query_one("#filter", FilterInput).value = ""
            self._leave_filter()
