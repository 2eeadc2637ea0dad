"""The screen of a study: runs, claims, captions, words and report."""

import time
from array import array
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import ContentSwitcher, Markdown

from dexter_tui.dashboard import operations
from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines, bar, padded
from dexter_tui.dashboard.host import Copied
from dexter_tui.dashboard.screens.tabbed_screen import PagesScreen
from dexter_tui.dashboard.widgets.claim_list import ClaimList, claim_details, claim_markdown
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.run_list import RunList, template_text
from dexter_tui.dashboard.widgets.summaries import (
    local_time,
    settings_text,
    stage_progress,
    stages_text,
    study_facts,
)
from dexter_tui.dashboard.widgets.tabs import Details, SearchedPage, TabBar, TextPage
from dexter_tui.formatting import clean, short_spec
from store.reading import card
from store.reading.bound import Bound, bound
from store.reading.browse import (
    AttributionRow,
    CaptionRow,
    ClaimRow,
    JobRow,
    ReportRow,
    RunRow,
    ScoreRow,
    StageRow,
    StudyRow,
)
from store.reading.card import VerdictCard
from store.states import ENDED, State

# Shown on a page that is empty although the report has run.
_NOTHING = {
    "claims": "No claims: neither words nor captions suggested a concept to test.",
    "captions": "No captions: no captioner was set, or no picture was classified as the class.",
    "words": "No words or prompts were evaluated.",
    "report": "No report was written.",
}


class Found(NamedTuple):
    """The data of the study."""

    study: StudyRow | None
    runs: list[RunRow]
    tags: dict[str, list[str]]
    claims: list[ClaimRow]
    captions: list[CaptionRow]
    attribution: list[AttributionRow]
    scores: list[ScoreRow]
    stages: list[StageRow]
    report: ReportRow | None
    report_text: str
    job: JobRow | None = None
    card: VerdictCard | None = None
    bound: Bound | None = None


class StudyScreen(PagesScreen):
    """The screen of a study."""

    BINDINGS = bindings("search", "study", "pages")
    PAGES: ClassVar = (
        ("overview", "Runs"),
        ("claims", "Claims"),
        ("captions", "Captions"),
        ("words", "Words"),
        ("report", "Report"),
        ("study-config", "Config"),
    )

    def __init__(self, study_id: str) -> None:
        super().__init__()
        self.study_id = study_id
        self._report_text = ""
        self._study: StudyRow | None = None
        self._stages: list[StageRow] = []
        self._report_key: int | None = -1
        self._job: JobRow | None = None  # the newest report
        self._seen: dict[str, tuple[float, int]] = {}  # when how much of a stage was first seen

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        yield TabBar(id="tabs")
        with ContentSwitcher(id="pages", initial="overview"):
            with Vertical(id="overview"):
                facts = TextLines(id="study-facts", classes="panel")
                facts.border_title = "Verdict, and words by number of seeds"
                yield facts
                runs = RunList(id="study-runs", classes="panel")
                runs.border_title = "Runs"
                yield runs
            with Vertical(id="claims"):
                claims = ClaimList(id="claim-list", classes="panel")
                claims.border_title = "Claims"
                yield claims
                details = Details(id="claim-details", classes="panel")
                details.border_title = "Evidence"
                yield details
            yield TextPage(id="captions", text_id="captions-text")
            yield TextPage(id="words", text_id="words-text")
            with SearchedPage(id="report", classes="panel page"):
                yield TextLines(id="report-hint")
                yield Markdown(id="report-text", open_links=False)
            yield TextPage(id="study-config", text_id="study-config-text")
        yield KeyBar()

    def on_mount(self) -> None:
        self.draw_tabs()
        self.focus_page()

    def wish(self) -> bool:
        """Return True if the report is shown: the code that renders it takes 0.5 s to load."""
        return self.PAGES[self.page][0] == "report"

    def page_changed(self) -> None:
        self.reload()

    def load(self, wish: bool) -> Found:
        browse = self.host.browse
        key = browse.find(self.study_id)
        study = browse.studies([-key]).get(-key) if key is not None else None
        if study is None:
            return Found(None, [], {}, [], [], [], [], [], None, "")
        report = browse.report(study.id)
        runs = browse.study_runs(study.id)
        return Found(
            study,
            runs,
            browse.tags([run.id for run in runs]),
            browse.claims(study.id),
            browse.captions(study.id),
            browse.attribution(study.id),
            browse.scores(study.id),
            browse.stages(study.id),
            report,
            _markdown(report) if wish and report and report.id != self._report_key else "",
            browse.report_job(study.id),
            card.of_study(browse, study.id),
            bound(browse, study.id),
        )

    def show(self, data: Found) -> None:
        if data.study is None:
            self.leave(f"study {self.study_id} was deleted")
            return
        self._study, self._stages = data.study, data.stages
        palette, signs = self.host.palette, self.host.signs
        runs = self.query_one(RunList)
        keys = array("q", (run.key for run in data.runs))
        if keys != runs.keys:
            runs.show_keys(keys, "study", reverse=False)
        runs.show_rows({run.key: run for run in data.runs}, {}, data.tags)
        title = Text(no_wrap=True, overflow="ellipsis")
        title.append(f"Study {clean(data.study.id)}", f"bold {palette.primary}")
        title.append(f"  {short_spec(data.study.classifier)} {signs.arrow} ", palette.dim)
        title.append(clean(data.study.class_name), f"bold {palette.accent}")
        title.append(f"  {clean(template_text(data.study.settings))}", palette.dim)
        self._put("#title", title)
        facts = self.query_one("#study-facts", TextLines)
        self._put(
            "#study-facts",
            study_facts(
                data.study, data.runs, data.card, max(facts.size.width, 40), palette, signs
            ),
        )
        self._follow_job(data.job)
        self.query_one(ClaimList).show(data.claims, self._hint("claims"))
        self._show_claim()
        self.query_one("#captions", TextPage).put(self._captions(data.captions))
        self.query_one("#words", TextPage).put(self._words(data))
        self._show_report(data)
        self._show_config(data.study)
        self.draw_tabs()
        self.refresh_bindings()

    def _put(self, selector: str, text: Text) -> None:
        self.query_one(selector, TextLines).put(text)

    def tabs_right(self) -> Text:
        palette = self.host.palette
        narrow = self.has_class("-narrow")
        left = {} if narrow else self._left()
        for at, stage in enumerate(self._stages, 1):
            if stage.state == "running":
                number = "" if narrow else f"stage {at} of {len(self._stages)}, "
                shown = f"{number}{stage.name} {stage_progress(stage, left)}"
                return Text(shown, style=palette.active)
            if stage.state == "failed" and not self._made:
                return Text(f"{stage.name} failed", style=palette.bad)
        if not self._made or self._job is None:
            return Text()
        state = clean(self._job.activity or self._job.state.value)
        return Text(f"report: {state}", style=palette.active)

    def _left(self) -> dict[str, float]:
        """Estimate the seconds left of the report by the pace of its stage since it was first seen.

        The job's total includes what later stages have to do at the most. For captions it does
        not: their pace says nothing about pictures.
        """
        for stage in self._stages:
            if stage.state == "running":
                now = time.monotonic()
                since, first = self._seen.setdefault(stage.name, (now, stage.done))
                if stage.done > first:
                    pace = (now - since) / (stage.done - first)
                    total = max(stage.total, self._job.total if self._job else 0)
                    return {stage.name: pace * (total - stage.done)}
            else:
                self._seen.pop(stage.name, None)
        return {}

    def _hint(self, page: str) -> Text:
        """Return the text of an empty page: the reason and what to do."""
        palette, signs = self.host.palette, self.host.signs
        text = Text()
        states = {stage.state for stage in self._stages}
        if self._made:
            text.append("The report is running; it continues if you close this window.\n\n", "bold")
        elif states & {"failed", "left"}:
            text.append("The report did not finish.", "bold")
            text.append(f"{self._if_writable(' Press w to resume it.')}\n\n")
        elif states:
            return Text(_NOTHING[page], style=palette.dim)
        elif self._study is None or not self._study.states.get(State.SUCCEEDED):
            text.append("No run of this study has finished yet.", palette.dim)
            text.append(
                self._if_writable(" Then press w for captions, tested claims and a report."),
                palette.dim,
            )
        else:
            hint = self._if_writable(" Press w for captions, tested claims and a report.")
            text.append(f"No claims have been tested yet.{hint}", palette.dim)
        text.append_text(stages_text(self._stages, self._left(), palette, signs))
        return text

    def _if_writable(self, hint: str) -> str:
        return "" if self.host.options.read_only else hint

    @property
    def _made(self) -> bool:
        """True while a report is queued or running."""
        return self._job is not None and self._job.state not in ENDED

    def _follow_job(self, job: JobRow | None) -> None:
        """Record the newest report job; show the error if it failed before its first stage."""
        before, self._job = self._job, job
        if job is None or job.state is not State.FAILED or before is None:
            return
        if before.id == job.id and before.state not in ENDED and job.error:
            self.host.complain(clean(job.error))

    @on(ClaimList.Opened)
    def _open_pairs(self) -> None:
        claim, study = self.query_one(ClaimList).selected, self._study
        if claim is not None and study is not None:
            self.host.open_pairs(claim.id, claim.concept, study.classifier, study.class_name)

    @on(ClaimList.Moved)
    def _show_claim(self) -> None:
        claim = self.query_one(ClaimList).selected
        palette, signs = self.host.palette, self.host.signs
        text = Text() if claim is None else claim_details(claim, palette, signs)
        self._put("#claim-details", text)

    def _captions(self, captions: Sequence[CaptionRow]) -> Text:
        palette = self.host.palette
        if not captions:
            return self._hint("captions")
        text = Text()
        text.append("pictures  caption\n", palette.dim)
        for caption, count, _ in captions:
            text.append(f"{count:>8}  ", palette.dim).append(f"{clean(caption)}\n")
        return text

    def _words(self, data: Found) -> Text:
        palette, signs = self.host.palette, self.host.signs
        if not data.attribution and not data.scores and not data.bound:
            return self._hint("words")
        text = Text()
        if data.bound:
            text.append("Words beside embeddings\n", f"bold {palette.primary}")
            text.append("\n".join(map(clean, data.bound.lines())) + "\n\n")
        if data.attribution:
            text.append("Words that drive the result\n", f"bold {palette.primary}")
            text.append(
                "run       word             drop in p(class) without the word (95% CI)\n",
                palette.dim,
            )
            for run, _, word, value, low, high in data.attribution:
                text.append(f"{clean(run):<9} ", palette.dim)
                text.append(f"{padded(clean(word), 16)} ", "bold")
                full, empty = bar(abs(value), 12, signs.bar)
                text.append(full, palette.good if value > 0 else palette.bad)
                text.append(empty, palette.faint)
                text.append(f" {value:+z.2f}", "bold").append(
                    f" [{low:+z.2f}, {high:+z.2f}]\n", palette.dim
                )
            text.append("\n")
        if data.scores:
            text.append("Words and captions as prompts\n", f"bold {palette.primary}")
            text.append("classified as class     text\n", palette.dim)
            for kind, prompt, value, low, high, _ in data.scores:
                full, empty = bar(value, 8, signs.bar)
                text.append(full, palette.good).append(empty, palette.faint)
                text.append(f" {value:>4.0%} ", "bold")
                interval = f"{100 * low:.0f}{signs.dash}{100 * high:.0f}"
                text.append(f"{interval:<9} ", palette.dim)
                text.append(clean(prompt)).append(f"   {clean(kind)}\n", palette.dim)
        return text

    def _show_report(self, data: Found) -> None:
        key = data.report.id if data.report else None
        self._put("#report-hint", Text() if key else self._hint("report"))
        self.query_one("#report-hint").display = key is None
        if key == self._report_key or (key is not None and not data.report_text):
            return
        self._report_key, self._report_text = key, data.report_text
        self.query_one("#report-text", Markdown).update(data.report_text)
        panel = self.query_one("#report", SearchedPage)
        if data.report is not None:
            panel.border_subtitle = f"{_author(data.report)}, {local_time(data.report.created_at)}"

    def _show_config(self, study: StudyRow) -> None:
        facts = {
            "study": study.id,
            "classifier": study.classifier,
            "class": f"{study.class_name} ({study.class_index} of {len(study.labels)})",
            "labels": ", ".join(study.labels[:50]),
            "created": local_time(study.created_at),
            "note": self.host.browse.note(study.id).replace("\n", "; "),
        }
        self.query_one("#study-config", TextPage).put(
            settings_text(study.settings, {}, self.host.palette, facts)
        )

    def copied(self) -> Copied | None:
        page = self.PAGES[self.page][0]
        claim = self.query_one(ClaimList).selected
        if page == "claims" and claim is not None:
            return Copied(f"claim {claim.number}", claim_markdown(claim))
        if page == "report" and self._report_text:
            return Copied("the report", self._report_text)
        if page == "overview" and (run := self.query_one(RunList).row_at_cursor) is not None:
            return Copied(run.id, run.id)
        return Copied(self.study_id, self.study_id)

    @on(RunList.Opened)
    def action_open(self) -> None:
        runs = self.query_one(RunList)
        run = runs.rows.get(runs.selected or 0)
        if run is not None and self.PAGES[self.page][0] == "overview":
            self.host.open_run(run.id)

    def action_report(self) -> None:
        self.host.inform("queueing the report")

        def start() -> str:
            operations.report(self.host.home, self.study_id)
            self.app.call_from_thread(self.reload)
            return "Report queued; it continues if you close this window"

        self.do(start)

    def action_cancel(self) -> None:
        if self._job is not None and self._made:
            job = self._job.id
            self.do(lambda: operations.cancel_job(self.host.home, job))

    def action_export(self) -> None:
        self.export([self.study_id])

    def action_note(self) -> None:
        self.edit_note(self.study_id)

    def pointless(self, action: str) -> bool:
        if action in ("report", "cancel"):
            return self._made is (action == "report")
        elsewhere = self.PAGES[self.page][0] != "overview"
        return super().pointless(action) or (action == "open" and elsewhere)

    def action_again(self) -> None:
        if self._study is not None:
            self.host.open_new_run(self._study.settings)


def _author(report: ReportRow) -> str:
    if report.author == "evidence":
        return "from test results, no language model"
    return f"by {clean(report.author)}"


def _markdown(report: ReportRow) -> str:
    """Return a report as Markdown, with its text escaped. Call from a thread: loads SQLAlchemy."""
    if report.body is not None:
        from store.markdown.study import report_markdown

        return report_markdown(report.body, level=2)
    return "\n".join(clean(line) for line in report.markdown.splitlines())
