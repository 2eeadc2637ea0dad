"""The screen of a report on pictures: its strip and tables, course of trainings, facts."""

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import ContentSwitcher

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.screens.data_reports.strip import PictureStrip
from dexter_tui.dashboard.screens.form_screen import as_text
from dexter_tui.dashboard.screens.tabbed_screen import JobScreen, Work, course_text
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.tabs import TabBar, TextPage, rendered
from dexter_tui.formatting import clean, short_spec
from dexter_tui.presentation.data_tables import outcome_line, page_facts, report_view
from store.data_reports import page as pages
from store.data_reports import pictures
from store.data_reports.explanations import WhatIfResult
from store.data_reports.page import DataPage
from store.data_reports.pictures import Tile
from store.data_reports.results import TITLES, DebiasResult
from store.states import Kind


class DataReportScreen(JobScreen):
    """The screen of a report on pictures."""

    BINDINGS = bindings("search", "data-report", "pages")
    PAGES = (
        ("data-report-page", "Report"),
        ("data-course", "Course"),
        ("data-facts", "Facts"),
    )

    def __init__(self, report_id: str) -> None:
        super().__init__()
        self.report_id = report_id
        self._page: DataPage | None = None

    @property
    def pages(self) -> Sequence[tuple[str, str]]:
        trains = self._page is not None and self._page.kind == Kind.DEBIAS
        return [one for one in self.PAGES if trains or one[0] != "data-course"]

    @property
    def is_asking(self) -> bool:
        return self._page is None and self._last_error is None

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        yield TabBar(id="tabs")
        with ContentSwitcher(id="pages", initial="data-report-page"):
            with Vertical(id="data-report-page"):
                yield PictureStrip(id="data-strip")
                yield TextPage(id="data-report", text_id="data-report-text")
            yield TextPage(id="data-course", text_id="data-course-text")
            yield TextPage(id="data-facts", text_id="data-facts-text")
        yield KeyBar()

    def on_mount(self) -> None:
        self.draw_tabs()
        self.focus_page()

    def load(self, wish: object) -> tuple[DataPage, list[Tile]]:
        page = pages.page(self.host.browse, self.report_id)
        result = page.result
        if isinstance(result, WhatIfResult):
            return page, pictures.tiles(self.host.browse, result)
        return page, []

    def show(self, shown: tuple[DataPage, list[Tile]]) -> None:
        data, tiles = shown
        self.query_one(PictureStrip).show(tiles)
        if data == self._page and not self._stale:
            return
        self._stale = False
        self._page = data
        palette = self.host.palette
        title = Text(no_wrap=True, overflow="ellipsis")
        title.append(f"{TITLES[data.kind]} {clean(data.id)}", f"bold {palette.primary}")
        title.append(f"  {short_spec(data.classifier)} ", palette.dim)
        title.append(f"{self.host.signs.arrow} {clean(data.data)}", palette.accent)
        self.query_one("#title", TextLines).put(title)
        report = rendered(report_view(data, every=True), max(self.size.width - 5, 40))
        self.query_one("#data-report", TextPage).put(report)
        self.query_one("#data-course", TextPage).put(self._course(data))
        self.query_one("#data-facts", TextPage).put(self._facts(data))
        self.draw_tabs()

    @property
    def work(self) -> Work | None:
        page = self._page
        return None if page is None else Work(page.job, page.state, outcome_line(page))

    def _course(self, page: DataPage) -> Text:
        """Draw the accuracy of the worst group over the steps, the mean of the seeds."""
        palette, result = self.host.palette, page.result
        if not isinstance(result, DebiasResult) or not result.course:
            return Text("Only trainings of all weights have a course: debias --weights all",
                        palette.dim)  # fmt: skip
        values: dict[str, dict[int, list[float]]] = {}
        for point in result.course:
            values.setdefault(point.method, {}).setdefault(point.step, []).append(point.worst)
        steps = sorted({point.step for point in result.course})
        courses = [
            (
                Text(clean(method), "bold"),
                [sum(own[step]) / len(own[step]) if step in own else None for step in steps],
            )
            for method, own in values.items()
        ]
        width = max(min(self.size.width - 20, 100), 20)
        ascii_only = self.host.options.ascii
        text = course_text(courses, steps, width, palette, ascii_only=ascii_only, form=".2f")
        text.append(
            f"worst pseudo-group of the validation pictures, step {steps[0]} to {steps[-1]}",
            palette.dim,
        )
        return text

    def _facts(self, page: DataPage) -> Text:
        palette = self.host.palette
        text = Text()
        for name, value in page_facts(page):
            text.append(f"{clean(name)}: ", palette.dim).append(f"{clean(value)}\n")
        text.append("data hash: ", palette.dim).append(f"{clean(page.data_hash)}\n")
        settings = page.request.get("settings")
        for name, value in settings.items() if isinstance(settings, dict) else ():
            if value not in (None, [], ""):
                text.append(f"\n{clean(str(name))}: ", palette.dim)
                text.append(clean(as_text(value)))
        return text

    def action_export(self) -> None:
        self.export([self.report_id])
