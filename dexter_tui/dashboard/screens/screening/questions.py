"""The screen of questions in free words about a screened classifier, answered without drawing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.message import Message
from textual.widgets import Input

from dexter.errors import InputError
from dexter_tui.analysis.explaining.asking_process import AskingProcess
from dexter_tui.dashboard import operations
from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines, fit
from dexter_tui.dashboard.host import Copied, host_of
from dexter_tui.dashboard.screens.base import DataScreen, entitle
from dexter_tui.dashboard.themes import Palette, Signs
from dexter_tui.dashboard.widgets.claim_list import RowList, interval_bar, verdict
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.tabs import WrappedText
from dexter_tui.formatting import clean, short_spec, stage_line
from dexter_tui.presentation.guesses import change_text, unit_text
from store.errors import StoreError
from store.reading.browse import ClaimRow, JobRow

Probes = dict[str, tuple[JobRow | None, ClaimRow | None]]
"""The probes that have no result yet, by the id of the job."""

_EXAMPLE = 'a text, such as "a duck at night", or "unit 12"'

_WAITING = "waiting for the answer"
_WIDE = 100  # cells of a list with room for what a text is compared with


@dataclass(frozen=True)
class Asked:
    """A question with its answer or refusal, once it has one, and the probe of it, if there is one.

    job: the id of the probe's job. progress: of that job, or its error. claim: its result.
    """

    question: str
    answer: Mapping[str, Any] | None = None
    refusal: str | None = None
    job: str | None = None
    progress: str = ""
    claim: ClaimRow | None = None

    @property
    def is_open(self) -> bool:
        """True while the answer is waited for."""
        return self.answer is None and self.refusal is None


class QuestionList(RowList[Asked], can_focus=False):
    """A list with a line per question, newest first; the keys stay with the box above it."""

    def header(self, width: int) -> Text:
        titles = f" {'question':<{_question_width(width)}} 0{'p':^{_bar_width(width) - 2}}1"
        return Text(f"{titles}    p  90% interval  change in log-odds", host_of(self).palette.dim)

    def row(self, row: Asked, width: int) -> Text:
        app, room = host_of(self), _question_width(width)
        palette = app.palette
        text = Text(no_wrap=True, overflow="ellipsis")
        question = Text(fit(clean(row.question), room), "bold")
        text.append(" ").append_text(_marked(question, row.answer, palette))
        text.append(" " * (room - question.cell_len + 1))
        answer = row.answer
        if row.refusal is not None:
            text.append(clean(row.refusal), palette.bad)
        elif answer is None:
            text.append(_WAITING, palette.dim)
        elif "unit" in answer:
            text.append(clean(unit_text(answer)))
        else:
            interval = answer["low"], answer["p"], answer["high"]
            bar = _bar_width(width)
            interval_bar(text, interval, (0, 1), bar, palette.accent, palette, app.signs)
            text.append(f" {answer['p']:.2f}  {answer['low']:.2f} to {answer['high']:.2f}  ")
            if row.job is None:
                change = change_text(answer)
                change = change if width >= _WIDE else change.partition(" against ")[0]
                text.append(clean(change), palette.dim)
            else:
                text.append_text(_probe_text(row, palette, app.signs))
        return text


def _question_width(width: int) -> int:
    return max(min(width - 70, 50), 24)


def _bar_width(width: int) -> int:
    return max(min(width - 110, 41), 7)


def _probe_text(row: Asked, palette: Palette, signs: Signs) -> Text:
    """Return the result of a row's probe, or its progress."""
    claim = row.claim
    if claim is None:
        return Text(f"probe: {clean(row.progress)}", palette.dim)
    effect = f"{claim.effect:+z.2f} " if claim.pairs else ""
    text = Text(f"on pictures: {effect}")
    verdict(text, claim, palette, signs)
    return text


def _marked(text: Text, answer: Mapping[str, Any] | None, palette: Palette) -> Text:
    """Mark the words of a question that no prompt of the screening names."""
    for word in (answer or {}).get("unseen", ()):
        text.highlight_words([clean(word)], f"underline {palette.warn}", case_sensitive=False)
    return text


def answer_details(row: Asked, class_name: str, palette: Palette, signs: Signs) -> Text:
    """Return all that is known of an answer."""
    text = Text()
    text.append(f"{clean(row.question)}\n", f"bold {palette.accent}")

    def fact(name: str, value: str, style: str = "") -> None:
        text.append(f"{name:<20}", palette.dim).append(f"{clean(value)}\n", style)

    if row.refusal is not None:
        return text.append(f"{clean(row.refusal)}\n", palette.bad)
    if row.answer is None:
        return text.append(f"{_WAITING}\n", palette.dim)
    answer = row.answer
    if "unit" in answer:
        fact("concepts", unit_text(answer))
        return text.append("Effects are in standard deviations over the pictures.\n", palette.dim)
    interval = f"90% interval {answer['low']:.2f} to {answer['high']:.2f}"
    fact(f"p({class_name})", f"{answer['p']:.2f}, {interval}")
    fact("change in log-odds", change_text(answer) or "no subject to compare with")
    unseen = answer["unseen"]
    if len(unseen) == len(answer["names"]):
        fact("unseen", "no word of it is in the pool; the guess is weak", palette.warn)
    elif unseen:
        fact("unseen", f"{', '.join(unseen)}; the guess is weak", palette.warn)
    if row.claim is not None:
        claim = row.claim
        measured = f"{claim.effect:+z.2f} [{claim.low:+z.2f}, {claim.high:+z.2f}], "
        text.append(f"{'effect on p(class)':<20}", palette.dim)
        text.append(f"{measured if claim.pairs else ''}{claim.pairs} pairs of pictures: ")
        verdict(text, claim, palette, signs)
        text.append("\n")
    elif row.job is not None:
        fact("probe", row.progress)
    return text


class QuestionBox(Input):
    """The box that a question is typed into."""

    BINDINGS = bindings("question")


class QuestionsScreen(DataScreen):
    """The screen of questions about one classifier of a screening.

    Questions that are typed while the models load are answered afterwards, one at a time.
    """

    BINDINGS = bindings("questions")
    AUTO_FOCUS = "#question"

    class Heard(Message):
        """News of the process: ready to answer, at work, an answer, or a refusal in a line."""

        def __init__(
            self,
            *,
            doing: str | None = None,
            ready: str | None = None,
            answer: Mapping[str, Any] | None = None,
            refusal: str | None = None,
        ) -> None:
            super().__init__()
            self.doing = doing
            self.ready = ready
            self.answer = answer
            self.refusal = refusal

    def __init__(self, screening_id: str, member: int, classifier: str, class_name: str) -> None:
        super().__init__()
        self._screening_id = screening_id
        self._member = member
        self._classifier = classifier
        self._class_name = class_name
        self._process: AskingProcess | None = None
        self._asked: list[Asked] = []
        """Oldest first"""
        self._basis: str | None = None
        """What the answers rest on; None until the models are loaded"""
        self._refusal: str | None = None
        """Why nothing can be asked"""
        self._answering: int | None = None
        """The place of the question in `_asked`"""
        self._queueing: set[int] = set()
        """The places of the questions whose probe is being queued"""

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        box = QuestionBox(id="question", classes="panel", placeholder=_EXAMPLE)
        box.cursor_blink = False  # a blinking cursor would send bytes all the time
        box.border_title = "Question"
        yield box
        yield QuestionList(id="question-list", classes="panel")
        details = WrappedText(id="question-details", classes="panel")
        details.border_title = "Answer"
        yield details
        yield KeyBar()

    def on_mount(self) -> None:
        try:
            self._process = AskingProcess(self.host.home, self._screening_id, self._member)
        except OSError as error:
            self._refusal = str(error)
            return
        self._tell("starting")
        self.run_worker(self._start, thread=True, exit_on_error=False, group="ask")

    def on_unmount(self) -> None:
        if self._process is not None:
            self._process.close()

    def wish(self) -> list[str]:
        return [row.job for row in self._asked if row.job is not None and row.claim is None]

    def load(self, wish: list[str]) -> Probes:
        browse = self.host.browse
        return {job_id: (browse.job_of(job_id), browse.probed(job_id)) for job_id in wish}

    def show(self, data: Probes) -> None:
        for at, row in enumerate(self._asked):
            job, claim = data.get(row.job or "", (None, row.claim))
            if job is not None:
                stage = stage_line(job.stage or str(job.state), job.done, job.total)
                self._change(at, progress=job.error or stage, claim=claim)
        self._show()

    def _change(self, at: int, **values: Any) -> None:
        self._asked[at] = replace(self._asked[at], **values)

    def repaint(self) -> None:
        self._show()

    def _show(self) -> None:
        palette = self.host.palette
        title = Text("Ask ", f"bold {palette.primary}", no_wrap=True, overflow="ellipsis")
        title.append(f"{clean(short_spec(self._classifier))} ", palette.dim)
        title.append(f"{self.host.signs.arrow} {clean(self._class_name)}", palette.accent)
        self.query_one("#title", TextLines).put(title)
        hint = Text(f"Type {_EXAMPLE}, and press enter.", palette.dim)
        if self._refusal is not None:
            hint = Text(clean(self._refusal), palette.bad)
        self.query_one(QuestionList).show(self._asked[::-1], hint)
        self._show_details()

    def _tell(self, doing: str) -> None:
        more = f": {doing}" if doing else ""
        entitle(self.query_one(QuestionList), f"Answers, guessed without drawing{more}")

    @on(QuestionList.Moved)
    def _show_details(self) -> None:
        row, palette = self.query_one(QuestionList).selected, self.host.palette
        text = Text()
        if row is not None:
            text = answer_details(row, self._class_name, palette, self.host.signs)
        if self._basis is not None:
            text.append(clean(self._basis), palette.dim)
        self.query_one("#question-details", WrappedText).put(text)

    # The process; the first two run in threads

    def _start(self) -> None:
        process = self._process
        assert process is not None
        try:
            ready = process.start(lambda line: self.post_message(self.Heard(doing=line)))
            self.post_message(self.Heard(ready=ready))
        except (InputError, StoreError) as error:
            self.post_message(self.Heard(refusal=str(error)))

    def _ask(self, question: str) -> None:
        process = self._process
        assert process is not None
        try:
            self.post_message(self.Heard(answer=process.ask(question)))
        except (InputError, StoreError) as error:
            self.post_message(self.Heard(refusal=str(error)))

    def on_questions_screen_heard(self, message: Heard) -> None:
        message.stop()
        if message.doing is not None:
            self._tell(message.doing)
        elif message.ready is not None:
            self._basis = message.ready
        elif self._answering is None:  # refused before it was ready
            self._refusal = message.refusal
        else:
            self._change(self._answering, answer=message.answer, refusal=message.refusal)
            self._answering = None
        self._go_on()

    def _go_on(self) -> None:
        """Have the oldest open question answered, and show what is there."""
        waiting = [at for at, row in enumerate(self._asked) if row.is_open]
        if self._refusal is not None:
            for at in waiting:
                self._change(at, refusal=self._refusal)
            self._tell("")
        elif self._basis is not None and self._answering is None:
            self._tell("")
            if waiting:
                self._answering = waiting[0]
                ask = partial(self._ask, self._asked[waiting[0]].question)
                self.run_worker(ask, thread=True, exit_on_error=False, group="ask")
        self._show()

    # Keys

    @on(QuestionBox.Submitted)
    def _submit(self, message: QuestionBox.Submitted) -> None:
        question = " ".join(message.value.split())
        if not question:
            self.host.complain(f"nothing is asked: type {_EXAMPLE}")
            return
        message.input.clear()
        self._asked.append(Asked(question))
        self.query_one(QuestionList).action_ends(0)
        self._go_on()

    def action_cursor(self, by: int) -> None:
        self.query_one(QuestionList).action_cursor(by)

    def action_page(self, by: int) -> None:
        self.query_one(QuestionList).action_page(by)

    def action_probe(self) -> None:
        listed = self.query_one(QuestionList)
        row, at = listed.selected, len(self._asked) - 1 - listed.index
        if row is None or row.answer is None or "unit" in row.answer or row.job is not None:
            self.host.complain("nothing to probe: select an answer to a text without a probe")
            return
        if at in self._queueing:
            return
        self._queueing.add(at)
        home, question = self.host.home, row.question

        def queued(job_id: str) -> None:
            self._change(at, job=job_id)
            self.reload()

        def queue() -> str:
            try:
                job_id = operations.probe(home, self._screening_id, self._member, question)
                self.app.call_from_thread(queued, job_id)
            finally:
                self._queueing.discard(at)
            return f"{job_id} queued: it tests {question!r} on pictures"

        self.do(queue)

    def copied(self) -> Copied | None:
        row, host = self.query_one(QuestionList).selected, self.host
        if row is None:
            return None
        details = answer_details(row, self._class_name, host.palette, host.signs)
        return Copied("the answer", details.plain)

    def action_back(self) -> None:
        self.app.pop_screen()
