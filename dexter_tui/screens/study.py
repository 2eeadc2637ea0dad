"""One study: its runs, and what they say together."""

from array import array
from typing import ClassVar, NamedTuple

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import ContentSwitcher, Markdown, Static

from dexter_tui.actions import bindings
from dexter_tui.screens.pages import PagesScreen, TextPage
from dexter_tui.views import clean
from dexter_tui.widgets.facts import local_time, settings_text, study_facts
from dexter_tui.widgets.keybar import KeyBar
from dexter_tui.widgets.run_list import RunList, short_spec, template_text
from store.browse import RunRow, StudyRow


class Found(NamedTuple):
    """What was read of the study."""

    study: StudyRow | None
    runs: list[RunRow]
    reports: list[tuple[str, str, str]]


class StudyScreen(PagesScreen):
    """A study."""

    BINDINGS = bindings("study", "pages")
    PAGES: ClassVar = (
        ("overview", "Runs"),
        ("report", "Report"),
        ("study-config", "Config"),
    )

    def __init__(self, study_id: str) -> None:
        super().__init__()
        self.study_id = study_id
        self._study: StudyRow | None = None
        self._report_shown: tuple[str, str, str] | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        yield Static(id="tabs")
        with ContentSwitcher(id="pages", initial="overview"):
            with Vertical(id="overview"):
                runs = RunList(id="study-runs", classes="panel")
                runs.border_title = "Runs"
                yield runs
                yield Static(id="study-facts", classes="panel")
            with VerticalScroll(id="report", classes="panel page"):
                yield Markdown(id="report-text", open_links=False)
            yield TextPage(id="study-config", text_id="study-config-text")
        yield KeyBar()

    def on_mount(self) -> None:
        super().on_mount()
        self.draw_tabs()
        self.focus_page()

    def load(self, wish: object) -> Found:
        browse = self.dexter.browse
        key = browse.find(self.study_id)
        study = browse.studies([-key]).get(-key) if key is not None else None
        if study is None:
            return Found(None, [], [])
        return Found(study, browse.study_runs(study.id), browse.reports(study.id))

    def show(self, data: Found) -> None:
        if data.study is None:
            self.dexter.complain(f"study {self.study_id} is not in the store any more")
            self.app.pop_screen()
            return
        self._study = data.study
        palette, signs = self.dexter.palette, self.dexter.signs
        runs = self.query_one(RunList)
        runs.show_keys(array("q", (run.key for run in data.runs)), grouped=True)
        runs.show_rows({run.key: run for run in data.runs}, {})
        title = Text(no_wrap=True, overflow="ellipsis")
        title.append(f"Study {clean(data.study.id)}", f"bold {palette.primary}")
        title.append(f"  {short_spec(data.study.classifier)} {signs.arrow} ", palette.dim)
        title.append(clean(data.study.class_name), f"bold {palette.accent}")
        title.append(f"  {clean(template_text(data.study.settings))}", palette.dim)
        self.query_one("#title", Static).update(title)
        facts = self.query_one("#study-facts", Static)
        facts.border_title = "Words by seeds"
        facts.update(study_facts(data.study, data.runs, max(facts.size.width, 40), palette, signs))
        self._show_report(data)
        self._show_config(data.study)
        self.refresh_bindings()

    def _show_report(self, data: Found) -> None:
        newest = data.reports[0] if data.reports else None
        if newest is not None and newest == self._report_shown:
            return
        self._report_shown = newest
        text = "No report yet: `w` has one written." if newest is None else safe_markdown(newest[1])
        self.query_one("#report-text", Markdown).update(text)
        panel = self.query_one("#report", VerticalScroll)
        panel.border_title = "Report"
        panel.border_subtitle = (
            f"{clean(newest[0])}, {local_time(newest[2])}" if newest is not None else ""
        )

    def _show_config(self, study: StudyRow) -> None:
        facts = {
            "study": study.id,
            "classifier": study.classifier,
            "class": f"{study.class_name} ({study.class_index} of {len(study.labels)})",
            "labels": ", ".join(study.labels[:50]),
            "created": local_time(study.created_at),
        }
        self.query_one("#study-config", TextPage).put(
            settings_text(study.settings, {}, self.dexter.palette, facts)
        )

    @on(RunList.Opened)
    def action_open(self) -> None:
        runs = self.query_one(RunList)
        run = runs.rows.get(runs.selected or 0)
        if run is not None:
            from dexter_tui.screens.run import RunScreen

            self.app.push_screen(RunScreen(run.id))

    def action_report(self) -> None:
        try:
            from dexter_tui import reporting
        except ImportError:
            self.dexter.complain("reports are not part of this version")
            return
        self.do(lambda: reporting.begin(self.dexter.home, self.study_id))

    def action_export(self) -> None:
        self.export([self.study_id])

    def action_again(self) -> None:
        if self._study is not None:
            from dexter_tui.screens.new_run import NewRunScreen

            self.app.push_screen(NewRunScreen(self._study.settings))


def safe_markdown(text: str) -> str:
    """A report's Markdown for the screen: no control characters but the ends of lines."""
    return "\n".join(clean(line) for line in text.splitlines())
