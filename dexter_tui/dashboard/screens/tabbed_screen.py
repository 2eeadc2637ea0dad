"""The base of screens with pages in tabs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from rich.text import Text
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from dexter_tui.dashboard import operations
from dexter_tui.dashboard.cells import fit
from dexter_tui.dashboard.screens.base import DataScreen
from dexter_tui.dashboard.themes import Palette
from dexter_tui.dashboard.widgets.chart import Axis, draw
from dexter_tui.dashboard.widgets.tabs import TabBar
from dexter_tui.formatting import clean, stage_line
from store.states import AGAIN

_ROOM = 50  # characters of the progress in the tab bar
_CHART_ROWS = 4


class PagesScreen(DataScreen):
    """A screen with numbered pages; showing a page focuses its first focusable widget."""

    PAGES: ClassVar[tuple[tuple[str, str], ...]] = ()
    """The id and title of each page"""

    page = 0

    @property
    def pages(self) -> Sequence[tuple[str, str]]:
        """The id and title of each page that is shown now."""
        return self.PAGES

    def action_back(self) -> None:
        self.app.pop_screen()

    def action_tab(self, number: int) -> None:
        if not 1 <= number <= len(self.pages):
            return
        self.end_search()
        self.page = number - 1
        name = self.pages[self.page][0]
        self.query_one("#pages", ContentSwitcher).current = name
        self.focus_page()
        self.draw_tabs()
        self.page_changed()

    def focus_page(self) -> None:
        """Focus the first focusable widget of the page."""
        page = self.query_one(f"#{self.pages[self.page][0]}", Widget)
        for widget in (page, *page.walk_children(Widget)):
            if widget.focusable:
                widget.focus(scroll_visible=False)
                return
        self.set_focus(None)

    def action_next_tab(self) -> None:
        self.action_tab((self.page + 1) % len(self.pages) + 1)

    def action_previous_tab(self) -> None:
        self.action_tab((self.page - 1) % len(self.pages) + 1)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "tab" and isinstance(parameters[0], int) and parameters[0] > len(self.pages):
            return False
        return super().check_action(action, parameters)

    def page_changed(self) -> None:
        """React to a change of the page."""

    def tabs_right(self) -> Text:
        """Return the text at the right end of the tab bar."""
        return Text()

    def draw_tabs(self) -> None:
        """Draw the tab bar, and the keys that have an effect now."""
        titles = [title for _, title in self.pages]
        self.query_one(TabBar).show(titles, self.page, self.tabs_right())
        self.refresh_bindings()


class Work(NamedTuple):
    """The work behind a page: a screening, a comparison or a report on pictures."""

    job: str | None
    state: str
    """Either waiting, running, done, failed, cancelled or lost"""
    line: str
    """The progress or the error"""


class JobScreen(PagesScreen):
    """The pages of what a job found; the job can be cancelled and queued again."""

    _stale = False  # True once the texts were made for another width or theme

    @property
    def work(self) -> Work | None:
        """The state of the job; None until it is read."""
        raise NotImplementedError

    def tabs_right(self) -> Text:
        work, palette = self.work, self.host.palette
        if work is None or work.state == "done":
            return Text()
        style = palette.bad if work.state in AGAIN else palette.active
        return Text(f"{fit(clean(work.line), _ROOM)} ", style=style)

    def repaint(self) -> None:
        self._stale = True
        self.reload()

    def on_resize(self) -> None:
        if self.work is not None:
            self.repaint()

    def pointless(self, action: str) -> bool:
        state = self.work.state if self.work is not None else "done"
        if action == "cancel":
            return state not in ("running", "waiting")
        return super().pointless(action) or (action == "retry" and state not in AGAIN)

    def action_cancel(self) -> None:
        self._change("cancel", operations.cancel_job)

    def action_retry(self) -> None:
        self._change("retry", operations.retry_job)

    def _change(self, action: str, change: Callable[[Path, str], str]) -> None:
        if self.work is not None and (job := self.work.job) and not self.pointless(action):
            self.do(lambda: change(self.host.home, job))


def progress_line(page: Mapping[str, Any]) -> str:
    """Return the progress or the end of a screening or comparison."""
    if page["state"] in AGAIN:
        return str(page["error"] or page["state"])
    return stage_line(page["stage"] or "waiting", page["done"], page["total"])


def course_text(
    courses: Iterable[tuple[Text, Sequence[float | None]]],
    steps: Sequence[int],
    width: int,
    palette: Palette,
    *,
    ascii_only: bool,
    form: str = "+.2f",
) -> Text:
    """Draw a value over the steps for each title; ``form`` is the format of its numbers."""
    text = Text()
    axis = Axis(steps[0], max(steps[-1], steps[0] + 1), steps[0])
    for title, values in courses:
        known = [value for value in values if value is not None]
        text.append_text(title).append(f"  {known[0]:{form}} to {known[-1]:{form}}\n")
        rows, low, high = draw(
            steps, values, axis, width, _CHART_ROWS, log=False, ascii_only=ascii_only
        )
        for number, row in enumerate(rows):
            label = high if number == 0 else low if number == len(rows) - 1 else ""
            text.append(f"{label:>7} ", palette.dim).append(f"{row}\n", palette.accent)
        text.append("\n")
    return text
