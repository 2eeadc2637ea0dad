"""The guided start: three questions, an estimate, and an audit of the class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rich.cells import cell_len
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from dexter.errors import InputError
from dexter_tui.dashboard import operations
from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines, fit
from dexter_tui.dashboard.host import host_of
from dexter_tui.dashboard.screens.base import DataScreen, entitle
from dexter_tui.dashboard.screens.dialogs import Confirm
from dexter_tui.dashboard.screens.start import offers
from dexter_tui.dashboard.screens.start.offers import Offer
from dexter_tui.dashboard.widgets.claim_list import RowList
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.tabs import WrappedText
from dexter_tui.formatting import clean
from store.errors import StoreError

if TYPE_CHECKING:
    from dexter.classifiers import ClassifierInfo
    from dexter.config import RunConfig
    from dexter_tui.analysis.screening_request import ScreenRequest
    from dexter_tui.jobs.trust import Need

MODEL, CLASS, GENERATOR, PLAN = range(4)
_FIELDS = {"classifier": MODEL, "class_name": CLASS, "generator": GENERATOR}
_NOTE = 34  # columns that the notes beside the offers have at least


class Wish(NamedTuple):
    """The state of the screen that `load` needs."""

    at: int
    """The question, or PLAN"""
    answers: tuple[str, ...]


class Found(NamedTuple):
    """The offers of a question, or the plan."""

    wish: Wish
    offers: Sequence[Offer] = ()
    model: str = ""
    """A line on the model"""
    plan: Sequence[str] = ()
    """What will be done and how long it takes"""
    refusal: InputError | StoreError | None = None
    needs: "Sequence[Need]" = ()
    """Consents without which the model cannot be looked at"""
    download: str = ""
    """What must be downloaded to look at the model"""


class Choices(RowList[Offer]):
    """The offers, of which enter takes the one at the cursor."""

    def header(self, width: int) -> Text:
        return Text("", style=host_of(self).palette.dim)

    def row(self, row: Offer, width: int) -> Text:
        palette = host_of(self).palette
        longest = max(cell_len(clean(one.text)) for one in self.rows)
        room = max(min(longest, width - _NOTE), 10)
        note = clean(row.note)
        text = Text(" ").append(fit(clean(row.text), max(room, width - cell_len(note) - 4)))
        text.pad_right(max(room + 1 - text.cell_len, 0))
        return text.append(f"  {note}", palette.dim)

    def put(self, rows: Sequence[Offer], hint: str) -> None:
        """Show offers with the cursor on the first."""
        if list(rows) != list(self.rows):
            self.index = 0
            self.scroll_to(y=0, animate=False, force=True)
        self.show(rows, Text(hint, host_of(self).palette.dim))

    def action_open(self) -> None:
        self.post_message(self.Opened())


class Answer(Input):
    """The answer to a question."""

    BINDINGS = bindings("answer")

    def __init__(self, **options: Any) -> None:
        super().__init__(compact=True, select_on_focus=False, **options)
        self.cursor_blink = False  # a blinking cursor would send bytes all the time


class StartScreen(DataScreen):
    """Which model, which class, which generator? Then the estimate, and the start."""

    BINDINGS = bindings("start")
    AUTO_FOCUS = "#start-answer"
    QUESTIONS: ClassVar = (
        ("Which model?", "a file, a folder, a Hugging Face id or a name from the list"),
        ("Which class?", "a label of the model, or its index"),
        ("Which generator draws the pictures?", "a name from the list, a folder or an id"),
    )

    def __init__(self) -> None:
        super().__init__()
        self._at = MODEL
        self._answers = [""] * len(self.QUESTIONS)
        self._model = ""
        self._known: list[str] | None = None
        self._shown: Wish | None = None
        self._asked: set[str] = set()  # models for whose code or download the user was asked
        self._agreed: set[str] = set()  # models that may be downloaded
        self._starting = False
        self._error: Text | None = None  # on the answer, until it is changed

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        yield TextLines(id="start-answers")
        with Vertical(id="start-box", classes="panel"):
            yield Answer(id="start-answer")
        yield WrappedText(id="start-status")
        yield Choices(id="start-choices", classes="panel")
        yield KeyBar()

    def on_mount(self) -> None:
        self._show_question()

    # Reading

    def wish(self) -> Wish:
        return Wish(self._at, tuple(self._answers))

    @property
    def is_asking(self) -> bool:
        return self._loading and self._shown != self.wish()

    def load(self, wish: Wish) -> Found:
        if self._known is None:
            from dexter.classifiers import list_classifiers
            from dexter.model_folders import roots

            self._known = [info.spec for info in list_classifiers(roots())]
        from dexter.classifiers import needs_torch
        from dexter.planning.preflight import check_models
        from dexter_tui.jobs import trust
        from dexter_tui.jobs.describe import describe

        model, class_name, generator = wish.answers
        if wish.at == MODEL:
            return Found(wish, offers.model_offers(model, self._known))
        try:
            config, needs = _probe(model)
            if needs:
                return Found(wish, needs=needs)
            downloads = check_models(config)
            if downloads and model not in self._agreed:
                return Found(wish, download="\n".join(one.line() for one in downloads))
            # The files show the labels of many models at once; the plan tries all models.
            slow = needs_torch(config.classifier)
            info = describe(config, constant=True) if slow else trust.describe_here(config)
            line = _model_line(info)
            if wish.at == CLASS:
                return Found(wish, offers.class_offers(class_name, info.labels), line)
            from dexter.classifiers import class_index

            class_index(info.labels, class_name)
            if wish.at == GENERATOR:
                own = not info.spec.startswith("lab:")
                return Found(wish, offers.generator_offers(generator, lab_model=not own), line)
            return Found(wish, (), line, self._plan(wish))
        except (InputError, StoreError) as error:
            return Found(wish, refusal=error)

    def _plan(self, wish: Wish) -> list[str]:
        from dexter_tui.analysis.audit_estimate import outlook
        from dexter_tui.analysis.screening_request import prepare
        from store import Store

        lines: list[str] = []
        prepared = prepare(_request(wish.answers), self.host.home, lines.append)
        with Store.open(self.host.home, make=False) as store:
            return [outlook(store, prepared).line(), *lines]

    def show(self, data: Found) -> None:
        if data.wish != self.wish():
            return  # a newer request is under way
        self._shown = data.wish
        self._model = data.model or self._model
        if data.needs or data.download:
            self._ask(data)
            return
        if data.refusal is not None:
            self._refuse(data.refusal)
            return
        self._show_answers()
        choices, hint = self.query_one(Choices), "nothing matches"
        if self._at == PLAN:
            hint = ""
            text = Text("\n".join(map(clean, data.plan)))
            text.append("\n\nenter", f"bold {self.host.palette.accent}").append(" starts")
            self._say(text)
        choices.put(data.offers, hint)
        choices.display = self._at != PLAN

    def _ask(self, data: Found) -> None:
        """Ask for what the model needs, once for each need; without it, return to the first."""
        model = self._answers[MODEL]
        asked = f"{model} {'code' if data.needs else 'download'}"
        if asked in self._asked:
            self._asked.discard(asked)  # entered again, it is asked again
            self._go(MODEL)
            self._error = Text(f"{clean(model)} was not loaded: you did not agree", "bold")
            return
        self._asked.add(asked)
        if data.needs:
            self.ask_consent(data.needs, self.reload)
            return

        def answer(yes: bool | None) -> None:
            if yes:
                self._agreed.add(model)
            self.reload()

        body = f"{data.download}\n\nIt is loaded to read its labels and to try it on pictures."
        self.app.push_screen(Confirm("Download this model?", body), answer)

    def _refuse(self, refusal: InputError | StoreError) -> None:
        """Return to the question that the refusal is about, with its whole text."""
        field = getattr(refusal, "field", None)
        at = _FIELDS.get(str(field), MODEL if self._at == CLASS else self._at)
        parts = (getattr(refusal, "problem", str(refusal)), getattr(refusal, "remedy", None))
        text = Text(clean("; ".join(filter(None, parts))), self.host.palette.bad)
        if field is not None and field not in _FIELDS:
            text.append("\nF4 opens all settings", self.host.palette.dim)
        if at != self._at:
            self._go(at)
        self._error = text
        self._say(text)

    # Showing

    def _say(self, text: Text) -> None:
        self.query_one("#start-status", WrappedText).put(text)

    def _show_question(self) -> None:
        """Show the question with its answer so far."""
        palette = self.host.palette
        title = Text("New audit", f"bold {palette.primary}", no_wrap=True)
        number = f"question {self._at + 1} of 3" if self._at < PLAN else "ready"
        title.append(f"   {number}", palette.dim)
        self.query_one("#title", TextLines).put(title)
        self._show_answers()
        box, answer = self.query_one("#start-box"), self.query_one("#start-answer", Input)
        box.display = self._at < PLAN
        choices = self.query_one(Choices)
        choices.put((), "")
        choices.display = self._at < PLAN
        if self._at == PLAN:
            self._say(Text("checking the models, and estimating the time", palette.dim))
            self.set_focus(None)
            return
        question, hint = self.QUESTIONS[self._at]
        entitle(box, question)
        answer.placeholder = hint
        with self.prevent(Input.Changed):
            answer.value = self._answers[self._at]
        answer.cursor_position = len(answer.value)
        waits = self._at == CLASS and not self._answers[CLASS]
        self._say(Text("loading the model and trying it on pictures" if waits else "", palette.dim))
        self.set_focus(answer)

    def _show_answers(self) -> None:
        """Show what was answered before."""
        palette, text = self.host.palette, Text(no_wrap=True)
        names = ("model", "class", "generator")
        for name, value in zip(names[: self._at], self._answers[: self._at], strict=True):
            text.append(f"{name:<11}", palette.dim).append(clean(value), "bold")
            text.append("\n")
        text.right_crop(1)
        shown = self.query_one("#start-answers", TextLines)
        shown.display = bool(text)
        shown.put(text)
        if self._error is not None:
            self._say(self._error)
        elif self._at == CLASS and self._model:
            self._say(Text(clean(self._model), palette.dim))

    def _go(self, at: int) -> None:
        self._at, self._error = at, None
        if at == MODEL:
            self._model = ""
        self._show_question()
        self.reload()

    # Keys

    @on(Input.Changed, "#start-answer")
    def _typed(self, event: Input.Changed) -> None:
        if self._at < PLAN and event.value != self._answers[self._at]:
            self._answers[self._at] = event.value
            self._error = None
            self._say(Text())
            self.reload()

    def action_cursor(self, by: int) -> None:
        self.query_one(Choices).action_cursor(by)

    def action_complete(self) -> None:
        if self._at < PLAN:
            choices, answer = self.query_one(Choices), self.query_one("#start-answer", Input)
            answer.value = offers.completed(answer.value, choices.rows, choices.index)
            answer.cursor_position = len(answer.value)

    @on(Input.Submitted, "#start-answer")
    @on(Choices.Opened)
    def action_take(self) -> None:
        """Take the answer at the cursor and go on, or look into the folder there."""
        if self._at == PLAN:
            self._start()
            return
        chosen = self.query_one(Choices).selected
        if chosen is None or not chosen.text:
            self._say(Text(self.QUESTIONS[self._at][1], self.host.palette.bad))
            return
        if chosen.opens:
            answer = self.query_one("#start-answer", Input)
            answer.value = chosen.text
            answer.cursor_position = len(chosen.text)
            return
        self._answers[self._at] = chosen.text
        self._go(self._at + 1)

    def _start(self) -> None:
        if self._shown != self.wish() or self._starting:
            return
        self._starting = True
        home, request = self.host.home, _request(self._answers)

        def show(screening_id: str) -> None:
            if self.app.screen is self:
                self.app.pop_screen()
            self.host.open_screening(screening_id)

        def start() -> str:
            try:
                found = operations.screen(home, request)
            finally:
                self._starting = False
            self.app.call_from_thread(show, found)
            return "Audit started; it continues if you close this window"

        self._say(Text("starting", self.host.palette.dim))
        self.do(start, group="start")

    def action_advanced(self) -> None:
        names = dict(zip(_FIELDS, self._answers, strict=True))
        self.app.pop_screen()
        self.host.open_new_run({name: value for name, value in names.items() if value})

    def action_back(self) -> None:
        if self._at > MODEL:
            self._go(self._at - 1)
        else:
            self.confirm_discard(bool(self._answers[MODEL]))


def _probe(model: str) -> "tuple[RunConfig, Sequence[Need]]":
    """Return the settings that the model is looked at with, and the consents that it lacks."""
    from dexter.config import RunConfig
    from dexter_tui.jobs import submit, trust

    config = RunConfig.from_preset("default", classifier=model, class_name="0")
    config = submit.with_full_paths(config)
    return config, trust.lacking([config])


def _model_line(info: "ClassifierInfo") -> str:
    line = f"{len(info.labels)} labels, {info.image_size} px"
    return f"{line}; {info.recognised}" if info.recognised else line


def _request(answers: Sequence[str]) -> "ScreenRequest":
    from dexter.reasoning.settings import ScreenSettings
    from dexter_tui.analysis.screening_request import ScreenRequest

    model, class_name, generator = answers
    settings = ScreenSettings.from_values({})
    return ScreenRequest([model], class_name, settings, values={"generator": generator})
