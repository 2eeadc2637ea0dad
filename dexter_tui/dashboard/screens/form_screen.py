"""What forms share: rows made from settings, checks as one types, help and choices beside them."""

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import Static

from dexter_tui import field_flags
from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.screens.base import DataScreen
from dexter_tui.dashboard.widgets.form import Form, Row
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.formatting import clean

if TYPE_CHECKING:
    from dexter.errors import InputError
    from store.errors import StoreError

CHECK_SECONDS = 0.25  # after the last key press
_FUZZY = 0.3


class Checked(NamedTuple):
    """What would come of the form, or what is wrong with it."""

    line: str
    offers: dict[str, list[str]]
    """What rows may hold, as far as that is known."""
    refusal: "InputError | StoreError | None" = None
    """What is wrong with the form; its field is the name of a row."""


class FormScreen(DataScreen):
    """A form, with help and choices for the row of the cursor; what it will do stands below."""

    BINDINGS = bindings("form")
    TITLE = ""
    FIRST: tuple[str, ...] = ()
    """The rows that are always shown; those that are empty yet are no mistake."""

    def __init__(self) -> None:
        super().__init__()
        self._check_due: Timer | None = None
        self._offers: dict[str, list[str]] = {}
        self._only_changed = False

    def rows(self) -> list[Row]:
        """The settings."""
        raise NotImplementedError

    def help_of(self, row: Row) -> Text:
        """What a setting is."""
        raise NotImplementedError

    def note(self, row: Row) -> str:
        """What stands behind a setting that is not wrong."""
        return ""

    def changed(self, form: Form) -> None:
        """A value is another; before it is checked."""

    def compose(self) -> ComposeResult:
        yield Static(Text(self.TITLE, style="bold"), id="title")
        with Horizontal(id="form-body"):
            yield Form(self.rows(), id="form", classes="panel")
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

    # Checking

    @on(Form.Changed)
    def _changed(self) -> None:
        self.changed(self.query_one(Form))
        if self._check_due is not None:
            self._check_due.stop()
        self._check_due = self.set_timer(CHECK_SECONDS, self._check)
        self._show_choices()

    def _check(self) -> None:
        self._check_due = None
        self.reload()

    def wish(self) -> dict[str, str]:
        return self.query_one(Form).values()

    def show(self, data: Checked) -> None:
        self._offers = data.offers
        palette, form, refusal = self.host.palette, self.query_one(Form), data.refusal
        for row in form.rows:
            row.wrong = bool(row.name) and refusal is not None and row.name == refusal.field
            # What was not filled in yet is no mistake.
            row.wrong = row.wrong and not (row.name in self.FIRST and not row.value)
            row.note = self.note(row)
            if row.wrong and refusal is not None:
                row.note = "; ".join(filter(None, (refusal.problem, refusal.remedy)))
        form.refresh()
        text = Text(no_wrap=True, overflow="ellipsis")
        if refusal is not None:
            text.append(f" {clean(str(refusal))}", palette.bad)
        else:
            text.append(" ^s ", f"bold {palette.accent}").append(f" start {data.line}")
        self.query_one("#form-sum", Static).update(text)
        self._show_choices()

    # Help of the field

    @on(Form.Moved)
    def _show_choices(self) -> None:
        row = self.query_one(Form).here
        palette = self.host.palette
        text = Text().append(f"{row.name}\n\n", f"bold {palette.primary}")
        text.append_text(self.help_of(row))
        self.query_one("#form-help", Static).update(text)
        offers = self.offers(row)
        choices = Text()
        for number, offer in enumerate(offers[:12]):
            choices.append("tab " if number == 0 else "    ", f"bold {palette.accent}")
            choices.append(f"{clean(offer)}\n", "bold" if number == 0 else palette.dim)
        if len(offers) > 12:
            choices.append(f"    and {len(offers) - 12} more", palette.dim)
        self.query_one("#form-choices", Static).update(choices)

    def field_help(self, name: str, field: FieldInfo) -> Text:
        """The description of a setting, and its flag."""
        text = Text(f"{field_flags._help(field)}\n")
        return text.append(
            f"\non the command line: {field_flags.flag(name)}\n", self.host.palette.dim
        )

    def offers(self, row: Row) -> list[str]:
        """What may stand in a row, the likeliest first."""
        return fuzzy(row.value, self._offers.get(row.name, []))

    def action_take(self) -> None:
        """The first of what is offered."""
        form = self.query_one(Form)
        offers = self.offers(form.here)
        if offers and offers[0] != form.here.value:
            form.put(offers[0])
        form.action_row(1)

    def action_only_changed(self) -> None:
        self._only_changed = not self._only_changed
        form = self.query_one(Form)
        for row in form.rows:
            row.shown = row.name in self.FIRST or not self._only_changed or bool(row.value)
        form.lay_out()
        if not form.here.shown:
            form.go_to(self.FIRST[0])

    def leave_form(self) -> None:
        """Go back, if the form is still what is looked at."""
        if self.app.screen is self:
            self.app.pop_screen()

    def action_back(self) -> None:
        self.app.pop_screen()


def setting_row(name: str, field: FieldInfo, value: str = "", default: str = "") -> Row:
    """The row of a setting; a value that is the default is left empty."""
    kind = field_flags._plain(field.annotation)
    values: Sequence[str] = ()
    if kind is bool:
        values = ("", "yes", "no")
    elif get_origin(kind) is Literal:
        values = ("", *get_args(kind))
    return Row(name, name.replace("_", " "), "" if value == default else value, default, values)


def as_text(value: Any) -> str:
    """A setting's value as it is typed."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


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
