"""The dialogs: confirmation, a line of text, a note."""

from collections.abc import Callable, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static, TextArea

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.formatting import clean


class Confirm(ModalScreen[bool]):
    """A yes-or-no question; only y confirms."""

    BINDINGS = bindings("dialog")

    def __init__(self, question: str, body: str) -> None:
        super().__init__()
        self._question = question
        self._body = body

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            text = Text()
            text.append(f"{clean(self._question)}\n\n", "bold")
            text.append("\n".join(clean(line) for line in self._body.splitlines()))
            text.append("\n\ny", "bold").append(" yes    ").append("n", "bold").append(" no")
            yield Static(text)
        yield KeyBar()

    def action_yes(self) -> None:
        self.dismiss(True)

    def action_back(self) -> None:
        self.dismiss(False)


class Ask(ModalScreen[str | None]):
    """A question that takes a line of text."""

    BINDINGS = bindings("ask")

    def __init__(self, question: str, value: str = "") -> None:
        super().__init__()
        self._question = question
        self._value = value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(clean(self._question), style="bold"))
            yield Input(self._value, compact=True)
        yield KeyBar()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    def action_back(self) -> None:
        self.dismiss(None)


class Choose(ModalScreen[str | None]):
    """A list of names; `show` is called with each that the cursor moves to."""

    BINDINGS = bindings("choose")

    def __init__(
        self, question: str, names: Sequence[str], chosen: str, show: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._question = question
        self._names = names
        self._chosen = chosen
        self._preview = show

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog choice"):
            yield Static(Text(clean(self._question), style="bold"))
            yield OptionList(*self._names, markup=False, compact=True)
        yield KeyBar()

    def on_mount(self) -> None:
        if self._chosen in self._names:
            self.query_one(OptionList).highlighted = self._names.index(self._chosen)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._preview(self._names[event.option_index])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._names[event.option_index])

    def action_back(self) -> None:
        self.dismiss(None)


class Write(ModalScreen[str | None]):
    """An editor for a note: the saved one, or a draft that could not be saved."""

    BINDINGS = bindings("note")

    def __init__(self, title: str, value: str, draft: str | None = None) -> None:
        super().__init__()
        self._title = title
        self._value = value
        self._draft = value if draft is None else draft
        self._warned = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(clean(self._title), style="bold"), id="note-title")
            yield TextArea(self._draft, id="note", tab_behavior="focus")
        yield KeyBar()

    def action_save(self) -> None:
        self.dismiss(self.query_one(TextArea).text)

    def action_back(self) -> None:
        changed = self.query_one(TextArea).text != self._value
        if changed and not self._warned:
            self._warned = True
            warning = "Not saved: ctrl+s saves, esc again discards"
            self.query_one("#note-title", Static).update(Text(warning, style="bold"))
        else:
            self.dismiss(None)
