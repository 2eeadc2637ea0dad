"""The base of the forms: rows made from settings, checks as you type, help and suggestions."""

import difflib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
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
from dexter_tui.dashboard.widgets.tabs import WrappedText
from dexter_tui.formatting import clean

if TYPE_CHECKING:
    from dexter.errors import InputError
    from store.errors import StoreError

CHECK_SECONDS = 0.25  # after the last key press
_FUZZY = 0.3


class Checked(NamedTuple):
    """The result of a check: what would start, or an error."""

    line: str
    """What would start; empty if the input is refused"""
    offers: dict[str, list[str]]
    """The known values of rows"""
    refusal: "InputError | StoreError | None" = None
    """The error in the form; its field is the name of a row"""


class FormScreen(DataScreen):
    """A form with help and suggestions for the current row, and a line on what would start."""

    BINDINGS = bindings("form")
    TITLE = ""
    FIRST: tuple[str, ...] = ()
    """The rows that are always shown; while they are empty, they show no error before a start"""
    REQUIRED: tuple[str, ...] = ()
    """The rows that must be filled in"""

    def __init__(self) -> None:
        super().__init__()
        self._check_due: Timer | None = None
        self._offers: dict[str, list[str]] = {}
        self._only_changed = False
        self._began: dict[str, str] = {}  # the values at the start
        self._was_refused = False  # a start, so that what is missing is an error from then on

    @property
    def heading(self) -> str:
        """Return the title of the form."""
        return self.TITLE

    def rows(self) -> list[Row]:
        """Return the rows of the form."""
        raise NotImplementedError

    def help_of(self, row: Row) -> Text:
        """Return the help of a setting."""
        raise NotImplementedError

    def note(self, row: Row) -> str:
        """Return the note beside a setting."""
        return ""

    def changed(self, form: Form) -> None:
        """React to a changed value, before it is checked."""

    def compose(self) -> ComposeResult:
        yield Static(Text(self.heading, style="bold"), id="title")
        with Horizontal(id="form-body"):
            rows = self.rows()
            for row in rows:
                row.required = row.name in self.REQUIRED
            form = Form(rows, id="form", classes="panel")
            self._began = {row.name: row.value for row in form.rows}
            yield form
            with Vertical(id="form-side", classes="panel"):
                yield WrappedText(id="form-help")
                yield WrappedText(id="form-choices")
        yield WrappedText(id="form-sum")
        yield KeyBar()

    def on_mount(self) -> None:
        form = self.query_one("#form")
        form.border_title, form.border_subtitle = "Settings", "* required"
        self.query_one("#form-side").border_title = "Help"
        self._show_help()

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
        palette, form = self.host.palette, self.query_one(Form)
        for row in form.rows:
            row.note, row.error = self.note(row), ""
        refused = self._row_of(data.refusal)
        early = () if self._was_refused else self.FIRST
        if refused is not None and (refused.value or refused.name not in early):
            refused.error = _problem(data.refusal)
        form.update_rows()
        text = Text()
        if data.refusal is None:
            text.append("^s ", f"bold {palette.accent}").append(f" start {data.line}")
        elif refused is None:
            text.append(clean(data.refusal), palette.bad)
        else:
            style = palette.bad if refused.error else palette.dim
            text.append(_to_start(refused), style)
        self._say(text)
        self._show_choices()

    def refuse(self, error: Exception, line: str) -> None:
        """Show why nothing was started: below its row, with the cursor there, or in the last line.

        A notice would lie over the rows.
        """
        if self.app.screen is not self:
            super().refuse(error, line)
            return
        row, palette = self._row_of(error), self.host.palette
        if row is None:
            self._say(Text(clean(line), palette.bad))
            return
        row.error, row.shown, self._was_refused = _problem(error), True, True
        form = self.query_one(Form)
        form.update_rows()
        form.go_to(row.name)
        self._say(Text(_to_start(row), palette.bad))

    def _row_of(self, error: Exception | None) -> Row | None:
        """Return the row that an error is about; None if it is about none."""
        field = getattr(error, "field", None)
        rows = self.query_one(Form).rows
        return next((row for row in rows if row.name and row.name == field), None)

    def _say(self, text: Text) -> None:
        self.query_one("#form-sum", WrappedText).put(text)

    @on(Form.Moved)
    def _show_help(self) -> None:
        row = self.query_one(Form).here
        text = Text().append(f"{row.title}\n\n", f"bold {self.host.palette.primary}")
        self.query_one("#form-help", WrappedText).put(text.append_text(self.help_of(row)))
        self._show_choices()

    def _show_choices(self) -> None:
        row, palette = self.query_one(Form).here, self.host.palette
        offers = self.offers(row)
        choices = Text()
        for number, offer in enumerate(offers[:12]):
            takes = number == 0 and bool(row.value)
            choices.append("tab " if takes else "    ", f"bold {palette.accent}")
            choices.append(f"{clean(offer)}\n", "bold" if number == 0 else palette.dim)
        if len(offers) > 12:
            choices.append(f"    and {len(offers) - 12} more", palette.dim)
        self.query_one("#form-choices", WrappedText).put(choices)

    def field_help(self, name: str, field: FieldInfo) -> Text:
        """Return the description of a setting and its flag."""
        text = Text(f"{field_flags._help(field)}\n")
        return text.append(f"\ncommand line: {field_flags.flag(name)}\n", self.host.palette.dim)

    def offers(self, row: Row) -> list[str]:
        """Return suggestions for a row, best match first."""
        return fuzzy(row.value, self._offers.get(row.name, []))

    def action_take(self) -> None:
        """Complete what is written; where nothing is left to complete, go to the next row."""
        form = self.query_one(Form)
        form.read_field()
        offers = self.offers(form.here) if form.here.value else []
        if offers and offers[0] != form.here.value:
            form.put(offers[0])
        else:
            form.action_row(1)

    def action_only_changed(self) -> None:
        self._only_changed = not self._only_changed
        form = self.query_one(Form)
        for row in form.rows:
            row.shown = row.name in self.FIRST or not self._only_changed or bool(row.value)
        form.update_rows()
        if not form.here.shown:
            form.go_to(self.FIRST[0])

    def queue(self, add: Callable[[], str], open_it: Callable[[str], None], title: str) -> None:
        """Queue what the form asks for, in the background, then open it.

        add: checks and queues it, and returns its id.
        """

        def show(name: str) -> None:
            self.leave_form()
            open_it(name)

        def start() -> str:
            self.app.call_from_thread(show, add())
            return f"{title} queued; it continues if you close this window"

        self.start(start)

    def start(self, work: Callable[[], str]) -> None:
        """Do what starts something, in the background."""
        self._say(Text("checking the settings", self.host.palette.dim))
        self.do(work, group="start")

    def leave_form(self) -> None:
        """Close the form if it is still the current screen."""
        if self.app.screen is self:
            self.app.pop_screen()

    def action_back(self) -> None:
        form = self.query_one(Form)
        form.read_field()
        self.confirm_discard(self._began != {row.name: row.value for row in form.rows})


def _to_start(row: Row) -> str:
    return f"To start, {'correct' if row.value else 'fill in'} “{row.title}”"


def _problem(error: Exception | None) -> str:
    """Return what is wrong with the value of a row, and what to do."""
    return "; ".join(filter(None, (getattr(error, name, "") for name in ("problem", "remedy"))))


def setting_row(name: str, field: FieldInfo, value: str = "", default: str = "") -> Row:
    """Make the row of a setting; a default value is left empty."""
    kind = field_flags._plain(field.annotation)
    values: Sequence[str] = ()
    if kind is bool:
        values = ("", "yes", "no")
    elif get_origin(kind) is Literal:
        values = ("", *get_args(kind))
    return Row(name, name.replace("_", " "), "" if value == default else value, default, values)


def as_text(value: Any) -> str:
    """Return the value of a setting as the user would type it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def paths_from(text: str, endings: tuple[str, ...]) -> list[str]:
    """Return the folders, and files with these endings, that a begun path may become."""
    parent = text.rpartition("/")[0]
    try:
        entries = list(os.scandir(Path(f"{parent}/").expanduser()))
        names = [
            f"{parent}/{one.name}" + ("/" if one.is_dir() else "")
            for one in entries
            if not one.name.startswith(".") and (one.is_dir() or one.name.lower().endswith(endings))
        ]
    except (OSError, RuntimeError, ValueError):
        return []
    return [name for name in sorted(names) if name.startswith(text)]


def fuzzy(text: str, known: Sequence[str]) -> list[str]:
    """Return the known names that match ``text``, best match first."""
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
