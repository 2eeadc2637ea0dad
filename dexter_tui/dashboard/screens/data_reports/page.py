"""The screen of a report on labelled pictures: its tables, course of trainings, facts."""

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import ContentSwitcher

from dexter_tui.dashboard import operations
from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines, fit
from dexter_tui.dashboard.screens.form_screen import as_text
from dexter_tui.dashboard.screens.tabbed_screen import PagesScreen
from dexter_tui.dashboard.widgets.chart import Axis, draw
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.tabs import TabBar, TextPage, ViewPage
from dexter_tui.formatting import clean, short_spec
from dexter_tui.presentation.data_tables import outcome_line, page_facts, report_view
from store.data_reports import page as pages
from store.data_reports.page import DataPage
from store.data_reports.results import DebiasResult

_CHART_ROWS = 4


class DataReportScreen(PagesScreen):
    """The screen of a report on labelled pictures."""

    BINDINGS = bindings("data-report", "pages")
    PAGES = (
        ("data-report-page", "Report"),
        ("data-course", "Course"),
        ("data-facts", "Facts"),
    )

    def __init__(self, report_id: str) -> None:
        super().__init__()
        self.report_id = report_id
        self._page: DataPage | None = None

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        yield TabBar(id="tabs")
        with ContentSwitcher(id="pages", initial="data-report-page"):
            yield ViewPage(id="data-report-page")
            yield TextPage(id="data-course", text_id="data-course-text")
            yield TextPage(id="data-facts", text_id="data-facts-text")
        yield KeyBar()

    def on_mount(self) -> None:
        self.draw_tabs()
        self.focus_page()

    def load(self, wish: object) -> DataPage:
        return pages.page(self.host.browse, self.report_id)

    def show(self, data: DataPage) -> None:
        if data == self._page:
            return
        self._page = data
        palette = self.host.palette
        title = Text(no_wrap=True, overflow="ellipsis")
        title.append(f"{clean(data.kind).capitalize()} {clean(data.id)}", f"bold {palette.primary}")
        title.append(f"  {short_spec(data.classifier)} ", palette.dim)
        title.append(f"{self.host.signs.arrow} {clean(data.data)}", palette.accent)
        self.query_one("#title", TextLines).put(title)
        self.query_one(ViewPage).put(report_view(data, every=True))
        self.query_one("#data-course", TextPage).put(self._course(data))
        self.query_one("#data-facts", TextPage).put(self._facts(data))
        self.draw_tabs()

    def tabs_right(self) -> Text:
        palette, page = self.host.palette, self._page
        if page is None or page.state == "done":
            return Text()
        style = palette.bad if page.state == "failed" else palette.active
        return Text(f"{fit(clean(outcome_line(page)), 50)} ", style=style)

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
        axis = Axis(steps[0], max(steps[-1], steps[0] + 1), steps[0])
        width = max(min(self.size.width - 20, 100), 20)
        text = Text()
        for method, own in values.items():
            means = [sum(own[step]) / len(own[step]) if step in own else None for step in steps]
            known = [mean for mean in means if mean is not None]
            text.append(f"{clean(method)} ", "bold")
            text.append(f"  {known[0]:.2f} to {known[-1]:.2f}\n")
            rows, low, high = draw(
                steps, means, axis, width, _CHART_ROWS, log=False,
                ascii_only=self.host.options.ascii,
            )  # fmt: skip
            for number, row in enumerate(rows):
                label = high if number == 0 else low if number == len(rows) - 1 else ""
                text.append(f"{label:>7} ", palette.dim).append(f"{row}\n", palette.accent)
            text.append("\n")
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

    # Actions

    def pointless(self, action: str) -> bool:
        state = self._page.state if self._page is not None else "done"
        if action == "cancel":
            return state not in ("running", "waiting")
        return action == "retry" and state != "failed"

    def action_cancel(self) -> None:
        if self._page is not None and (job := self._page.job) and not self.pointless("cancel"):
            self.do(lambda: operations.cancel_job(self.host.home, job))

    def action_retry(self) -> None:
        if self._page is not None and (job := self._page.job) and not self.pointless("retry"):
            self.do(lambda: operations.retry_job(self.host.home, job))

    def action_export(self) -> None:
        self.export([self.report_id])
