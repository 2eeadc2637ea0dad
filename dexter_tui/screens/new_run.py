"""A form for new runs, made from `RunConfig` itself: its fields, types, checks and descriptions."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo
from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from dexter.config import PRESETS, RunConfig
from dexter.errors import InputError
from dexter_tui import flags, steer
from dexter_tui.actions import bindings
from dexter_tui.screens.base import DataScreen
from dexter_tui.views import clean, duration, size
from dexter_tui.widgets.cells import fit
from dexter_tui.widgets.keybar import KeyBar

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
    field: str | None
    """The field that is refused."""
    classes: list[str]


class Choice(Widget, can_focus=True):
    """One of a few values; left, right and space go from one to the next."""

    BINDINGS = bindings("choice")

    class Changed(Message):
        """Another value."""

    def __init__(self, values: Sequence[str], value: str, **options: Any) -> None:
        super().__init__(**options)
        self._values = list(values)
        self.value = value if value in values else self._values[0]

    def action_turn(self, by: int) -> None:
        at = self._values.index(self.value)
        self.value = self._values[(at + by) % len(self._values)]
        self.refresh()
        self.post_message(self.Changed())

    def on_click(self) -> None:
        self.action_turn(1)

    def render(self) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("< ", "dim")
        text.append(clean(self.value))
        text.append(" >", "dim")
        return text


class Field(Horizontal):
    """One setting: its name, its value and what is wrong with it."""

    def __init__(self, name: str, control: Widget, note: str) -> None:
        super().__init__(classes="field")
        self.field = name
        self.control = control
        self._note = note

    def compose(self) -> ComposeResult:
        yield Static(Text(self.field.replace("_", " ")), classes="field-name")
        self.control.add_class("field-value")
        yield self.control
        yield Static(Text(self._note), classes="field-note")

    def tell(self, note: str, *, wrong: bool) -> None:
        """What stands behind the value."""
        self.query_one(".field-note", Static).update(Text(note, no_wrap=True, overflow="ellipsis"))
        self.set_class(wrong, "-wrong")

    @property
    def value(self) -> str:
        """As it was typed."""
        value: str = self.control.value  # type: ignore[attr-defined]
        return value


class NewRunScreen(DataScreen):
    """Classifier and class first, then all else; what it will take below."""

    BINDINGS = bindings("form")

    def __init__(self, start: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._start = dict(start or {})
        preset = str(self._start.get("preset", "default" if start else "quick"))
        self._preset = preset if preset in PRESETS else "default"
        self._due: Any = None
        self._classifiers: list[str] = []
        self._class_names: list[str] = []
        self._only_changed = False

    def compose(self) -> ComposeResult:
        yield Static(Text("New runs", style="bold"), id="title")
        with Horizontal(id="form-body"):
            with VerticalScroll(id="form", classes="panel", can_focus=False):
                yield from self._fields()
            with Vertical(id="form-side", classes="panel"):
                yield Static(id="form-help")
                yield Static(id="form-choices")
        yield Static(id="form-sum")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#form").border_title = "Settings"
        self.query_one("#form-side").border_title = "Help"
        self.query_one(Input).focus()
        super().on_mount()

    def _fields(self) -> list[Widget]:
        fields = RunConfig.model_fields
        rows: list[Widget] = [Field(name, self._control(name, fields[name]), "") for name in _FIRST]
        rows.append(
            Field(
                "seeds", Input(self._seeds(), compact=True, id="in-seeds"), "1 run each: 0, 1, ..."
            )
        )
        rows.append(Field("preset", Choice(list(PRESETS), self._preset, id="in-preset"), ""))
        for name, field in fields.items():
            if name in (*_FIRST, *flags.NOT_FLAGS):
                continue
            if name in _GROUPS:
                rows.append(Static(Text(_GROUPS[name]), classes="field-group"))
            rows.append(Field(name, self._control(name, field), ""))
        return rows

    def _seeds(self) -> str:
        return "3" if "seed" not in self._start else f"{int(self._start['seed']) + 1}"

    def _control(self, name: str, field: FieldInfo) -> Widget:
        kind = flags._plain(field.annotation)
        value = self._text(self._start.get(name)) if name in self._start else ""
        if value and name not in _FIRST and value == self._text(self._default(name)):
            value = ""
        if kind is bool:
            return Choice(["", "yes", "no"], value, id=f"in-{name}")
        if get_origin(kind) is Literal:
            return Choice(["", *get_args(kind)], value, id=f"in-{name}")
        box = Input(value, compact=True, id=f"in-{name}", select_on_focus=False)
        if name not in _FIRST:
            box.placeholder = self._text(self._default(name))
        return box

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

    @on(Input.Changed)
    @on(Choice.Changed)
    def _changed(self) -> None:
        preset = self.query_one("#in-preset", Choice).value
        if preset != self._preset:
            self._preset = preset
            for row in self.query(Field):
                if isinstance(row.control, Input) and row.field not in (*_FIRST, "seeds"):
                    row.control.placeholder = self._text(self._default(row.field))
        if self._due is not None:
            self._due.stop()
        self._due = self.set_timer(CHECK_SECONDS, self.reload)
        self._show_choices()

    def wish(self) -> dict[str, str]:
        return {row.field: row.value.strip() for row in self.query(Field)}

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
            return Estimated(str(error), name if colon else None, classes)
        count = len(configs)
        line = (
            f"{count} run{'s' if count > 1 else ''}, up to {duration(expected.total_seconds)} and "
            f"{size(expected.peak_bytes)} each, by formula"
        )
        return Estimated(line, None, classes)

    def show(self, data: Estimated) -> None:
        self._class_names = data.classes
        palette = self.dexter.palette
        named = False
        for row in self.query(Field):
            wrong = row.field == data.field
            note = data.line.partition(":")[2].strip() if wrong else self._note(row)
            missing = wrong and not row.value and row.field in _FIRST
            named = named or wrong
            row.tell(clean(note), wrong=wrong and not missing)
        text = Text(no_wrap=True, overflow="ellipsis")
        if data.field is None and not data.line.startswith(("straight", "n_grad")):
            text.append(" ^s ", f"bold {palette.accent}").append(f" start {data.line}")
        else:
            text.append(f" {clean(data.line)}", palette.bad)
        self.query_one("#form-sum", Static).update(text)
        self._show_choices()

    def _note(self, row: Field) -> str:
        if row.field == "seeds":
            return "runs, with seeds from 0"
        if row.field in RunConfig.model_fields and row.value and row.field not in _FIRST:
            default = self._text(self._default(row.field))
            return f"preset: {default}" if row.value != default else ""
        return ""

    # Help of the field

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self._show_choices()

    @property
    def _here(self) -> Field | None:
        widget = self.focused
        return widget.parent if widget is not None and isinstance(widget.parent, Field) else None

    def _show_choices(self) -> None:
        row = self._here
        if row is None:
            return
        palette = self.dexter.palette
        text = Text()
        text.append(f"{row.field}\n\n", f"bold {palette.primary}")
        if row.field in RunConfig.model_fields:
            field = RunConfig.model_fields[row.field]
            text.append(f"{flags._help(field)}\n")
            text.append(f"\non the command line: {flags.flag(row.field)}\n", palette.dim)
        elif row.field == "seeds":
            text.append("how many runs, each with another seed; words that several find are firm\n")
        elif row.field == "preset":
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

    def _offers(self, row: Field) -> list[str]:
        known = {"classifier": self._classifiers, "class_name": self._class_names}.get(
            row.field, []
        )
        return fuzzy(row.value, known)

    def on_key(self, event: events.Key) -> None:
        """Tab takes the first offer, where it is not there already."""
        row = self._here
        if event.key == "tab" and row is not None and isinstance(row.control, Input):
            offers = self._offers(row)
            if offers and offers[0] != row.value:
                event.prevent_default()
                event.stop()
                row.control.value = offers[0]
                row.control.cursor_position = len(offers[0])

    # Doing

    def action_next_field(self) -> None:
        self.focus_next()

    def action_previous_field(self) -> None:
        self.focus_previous()

    def action_only_changed(self) -> None:
        self._only_changed = not self._only_changed
        for row in self.query(Field):
            optional = row.field not in (*_FIRST, "seeds", "preset")
            row.display = not (self._only_changed and optional and not row.value)
        for heading in self.query(".field-group"):
            heading.display = not self._only_changed

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


__all__ = ["NewRunScreen", "demo_configs", "fit", "fuzzy"]
