"""A form for new runs, made from `RunConfig` itself: its fields, types, checks and descriptions."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from dexter.config import PRESETS, RunConfig
from dexter.errors import InputError
from dexter_tui import flags, steer
from dexter_tui.actions import bindings
from dexter_tui.screens.base import DataScreen
from dexter_tui.views import clean, duration, size
from dexter_tui.widgets.form import Form, Row
from dexter_tui.widgets.keybar import KeyBar

_SEEDS_NOTE = "so many runs"
CHECK_SECONDS = 0.25  # after the last key press
_FUZZY = 0.3

# Headings, each before the field that it names.
_GROUPS = {
    "labels": "Classifier",
    "template": "Prompt",
    "temperature": "Sampling",
    "generator": "Generator",
    "straight_through": "Gradient",
    "class_loss": "Objective",
    "steps": "Loop",
    "frames": "Results",
    "device": "Machine",
}
_FIRST = ("classifier", "class_name")

DEMO = {
    "classifier": "lab:birds-biased",
    "class_name": "waterbird",
    "template": "a picture of a bird with [MASK] and [MASK]",
}
DEMO_SEEDS = 3


def demo_configs() -> list[RunConfig]:
    """The runs of `make demo`: what does a classifier with a planted bias take for a waterbird?"""
    return [RunConfig.from_preset("quick", **DEMO, seed=seed) for seed in range(DEMO_SEEDS)]


class Estimated(NamedTuple):
    """What the runs will be, or what is wrong with them."""

    line: str
    refused: bool
    field: str | None
    """The one that is refused, if it is one."""
    classes: list[str]


class NewRunScreen(DataScreen):
    """Classifier and class first, then all else; what it will take below."""

    BINDINGS = bindings("form")

    def __init__(self, start: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._start = dict(start or {})
        preset = str(self._start.get("preset", "default" if start else "quick"))
        self._preset = preset if preset in PRESETS else "default"
        self._check_due: Any = None
        self._classifiers: list[str] = []
        self._class_names: list[str] = []
        self._only_changed = False

    def compose(self) -> ComposeResult:
        yield Static(Text("New runs", style="bold"), id="title")
        with Horizontal(id="form-body"):
            yield Form(self._rows(), id="form", classes="panel")
            with Vertical(id="form-side", classes="panel"):
                yield Static(id="form-help")
                yield Static(id="form-choices")
        yield Static(id="form-sum")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#form").border_title = "Settings"
        self.query_one("#form-side").border_title = "Help"
        self.query_one(Form).focus()
        self._show_choices()

    def _rows(self) -> list[Row]:
        fields = RunConfig.model_fields
        rows = [self._row(name, fields[name]) for name in _FIRST]
        rows.append(Row("seeds", "seeds", self._seeds(), note=_SEEDS_NOTE))
        rows.append(Row("preset", "preset", self._preset, values=list(PRESETS)))
        for name, field in fields.items():
            if name in (*_FIRST, *flags.NOT_FLAGS):
                continue
            if name in _GROUPS:
                rows += [Row("", ""), Row("", _GROUPS[name])]
            rows.append(self._row(name, field))
        return rows

    def _seeds(self) -> str:
        return "3" if "seed" not in self._start else f"{int(self._start['seed']) + 1}"

    def _row(self, name: str, field: FieldInfo) -> Row:
        kind = flags._plain(field.annotation)
        value = self._text(self._start.get(name))
        default = "" if name in _FIRST else self._text(self._default(name))
        if value == default:
            value = ""
        values: Sequence[str] = ()
        if kind is bool:
            values = ("", "yes", "no")
        elif get_origin(kind) is Literal:
            values = ("", *get_args(kind))
        return Row(name, name.replace("_", " "), value, default, values)

    def _default(self, name: str) -> Any:
        field = RunConfig.model_fields[name]
        preset = PRESETS[self._preset]
        return preset.get(name, None if field.is_required() else field.default)

    @staticmethod
    def _text(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, (list, tuple)):
            return ", ".join(map(str, value))
        return f"{value:g}" if isinstance(value, float) else str(value)

    # Checking

    @on(Form.Changed)
    def _changed(self) -> None:
        form = self.query_one(Form)
        if form["preset"].value != self._preset:
            self._preset = form["preset"].value
            for row in form.rows:
                if row.name in RunConfig.model_fields and row.name not in (*_FIRST, "preset"):
                    row.placeholder = self._text(self._default(row.name))
            form.refresh()
        if self._check_due is not None:
            self._check_due.stop()
        self._check_due = self.set_timer(CHECK_SECONDS, self._check)
        self._show_choices()

    def _check(self) -> None:
        self._check_due = None
        self.reload()

    def wish(self) -> dict[str, str]:
        return self.query_one(Form).values()

    def configs(self, values: Mapping[str, str]) -> list[RunConfig]:
        """The runs that the form describes. InputError names the field that is wrong."""
        given: dict[str, object] = {}
        for name, value in values.items():
            if value and name not in ("seeds", "preset"):
                given[name] = {"yes": True, "no": False}.get(value, value)
        count = values["seeds"] or "1"
        if not count.isdecimal() or not 1 <= int(count) <= 1000:
            raise InputError(f"seeds: {count!r} is not from 1 to 1000")
        try:
            return flags.configs(values["preset"], range(int(count)), given)
        except InputError as error:
            # The command line's spelling back to the field's.
            text = str(error)
            for name in RunConfig.model_fields:
                if text.startswith(f"{flags.flag(name)}:"):
                    raise InputError(f"{name}:{text[len(flags.flag(name)) + 1 :]}") from None
            raise

    def load(self, wish: dict[str, str]) -> Estimated:
        from dexter.checkpoints import roots
        from dexter.classifiers import class_index, list_classifiers
        from dexter.estimate import estimate
        from dexter_tui.describe import describe

        if not self._classifiers:
            self._classifiers = [info.spec for info in list_classifiers(roots())]
        classes: list[str] = []
        try:
            if wish["classifier"]:
                probe = RunConfig.from_preset(
                    "default", classifier=wish["classifier"], class_name="0",
                    **({"labels": wish["labels"]} if wish["labels"] else {}),
                )  # fmt: skip
                if not wish["classifier"].startswith("python:"):
                    try:
                        info = describe(probe)
                    except InputError as error:
                        raise InputError(f"classifier: {error}") from None
                    classes = info.labels
                    if wish["class_name"]:
                        try:
                            class_index(info.labels, wish["class_name"])
                        except InputError as error:
                            raise InputError(f"class_name: {error}") from None
            configs = self.configs(wish)
            expected = estimate(configs[0])
        except InputError as error:
            name, colon, _ = str(error).partition(":")
            return Estimated(str(error), True, name if colon else None, classes)
        count = len(configs)
        line = (
            f"{count} run{'s' if count > 1 else ''}, up to {duration(expected.total_seconds)} and "
            f"{size(expected.peak_bytes)} each, by formula"
        )
        return Estimated(line, False, None, classes)

    def show(self, data: Estimated) -> None:
        self._class_names = data.classes
        palette, form = self.dexter.palette, self.query_one(Form)
        for row in form.rows:
            row.wrong = bool(row.name) and row.name == data.field
            # What was not filled in yet is no mistake.
            row.wrong = row.wrong and not (row.name in _FIRST and not row.value)
            row.note = data.line.partition(":")[2].strip() if row.wrong else self._note(row)
        form.refresh()
        text = Text(no_wrap=True, overflow="ellipsis")
        if data.refused:
            text.append(f" {clean(data.line)}", palette.bad)
        else:
            text.append(" ^s ", f"bold {palette.accent}").append(f" start {data.line}")
        self.query_one("#form-sum", Static).update(text)
        self._show_choices()

    def _note(self, row: Row) -> str:
        if row.name == "seeds":
            return _SEEDS_NOTE
        if row.placeholder and row.value:
            return f"preset: {row.placeholder}" if row.value != row.placeholder else ""
        return ""

    # Help of the field

    @on(Form.Moved)
    def _show_choices(self) -> None:
        row = self.query_one(Form).here
        palette = self.dexter.palette
        text = Text()
        text.append(f"{row.name}\n\n", f"bold {palette.primary}")
        if row.name in RunConfig.model_fields:
            field = RunConfig.model_fields[row.name]
            text.append(f"{flags._help(field)}\n")
            text.append(f"\non the command line: {flags.flag(row.name)}\n", palette.dim)
        elif row.name == "seeds":
            text.append("how many runs, each with another seed; words that several find are firm\n")
        elif row.name == "preset":
            text.append("settings to start from; what you fill in goes before them\n")
        self.query_one("#form-help", Static).update(text)
        offers = self._offers(row)
        choices = Text()
        for number, offer in enumerate(offers[:12]):
            choices.append("tab " if number == 0 else "    ", f"bold {palette.accent}")
            choices.append(f"{clean(offer)}\n", "bold" if number == 0 else palette.dim)
        if len(offers) > 12:
            choices.append(f"    and {len(offers) - 12} more", palette.dim)
        self.query_one("#form-choices", Static).update(choices)

    def _offers(self, row: Row) -> list[str]:
        known = {"classifier": self._classifiers, "class_name": self._class_names}.get(row.name, [])
        return fuzzy(row.value, known)

    def action_take(self) -> None:
        """The first of what is offered."""
        form = self.query_one(Form)
        offers = self._offers(form.here)
        if offers and offers[0] != form.here.value:
            form.put(offers[0])
        form.action_row(1)

    def action_only_changed(self) -> None:
        self._only_changed = not self._only_changed
        form = self.query_one(Form)
        for row in form.rows:
            first = row.name in (*_FIRST, "seeds", "preset")
            row.shown = first or not self._only_changed or bool(row.value)
        form.lay_out()
        if not form.here.shown:
            form.go_to(_FIRST[0])

    def action_start(self) -> None:
        try:
            configs = self.configs(self.wish())
        except InputError as error:
            self.dexter.complain(str(error))
            return
        home, app = self.dexter.home, self.dexter

        def start() -> str:
            ids = steer.enqueue(home, configs)
            app.call_from_thread(self._leave)
            return f"{len(ids)} run{'s' if len(ids) > 1 else ''} queued"

        app.tell("checking and queueing")
        self.do(start, group="start")

    def _leave(self) -> None:
        if self.app.screen is self:
            self.app.pop_screen()

    def action_back(self) -> None:
        self.app.pop_screen()


def fuzzy(text: str, known: Sequence[str]) -> list[str]:
    """What ``text`` may mean, the likeliest first: its letters in this order, or nearly so."""
    wanted = text.strip().casefold()
    if not wanted:
        return list(known)
    ranked = []
    for name in known:
        folded = name.casefold()
        at = folded.find(wanted)
        if at >= 0:
            rank = (0, at, len(name))
        elif _in_order(wanted, folded):
            rank = (1, 0, len(name))
        else:
            near = difflib.SequenceMatcher(None, wanted, folded).quick_ratio()
            if near < 1 - _FUZZY:
                continue
            rank = (2, round(100 * (1 - near)), len(name))
        ranked.append((rank, name))
    return [name for _, name in sorted(ranked)]


def _in_order(letters: str, text: str) -> bool:
    rest = iter(text)
    return all(letter in rest for letter in letters)
