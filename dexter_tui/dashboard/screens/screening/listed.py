"""The list of screenings, newest first."""

from typing import Any

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.host import Copied
from dexter_tui.dashboard.screens.base import DataScreen
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.formatting import clean, short_spec
from store.reading import screenings

_NAMES = 4


class ScreeningsScreen(DataScreen):
    """The list of screenings."""

    BINDINGS = bindings("screenings")

    def __init__(self) -> None:
        super().__init__()
        self._listed: list[dict[str, Any]] | None = None

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        listed = OptionList(id="screening-list", classes="panel", markup=False)
        listed.border_title, listed.border_subtitle = "Screenings", "enter: open"
        yield listed
        yield KeyBar()

    def load(self, wish: object) -> list[dict[str, Any]]:
        return screenings.listed(self.host.browse)

    def repaint(self) -> None:
        self._listed = None
        self.reload()

    def show(self, data: list[dict[str, Any]]) -> None:
        palette = self.host.palette
        title = Text("Screenings", f"bold {palette.primary}")
        if not data:
            title.append("   none yet; press n to start one", palette.dim)
        self.query_one("#title", TextLines).put(title)
        if data == self._listed:
            return
        self._listed = data
        options = self.query_one(OptionList)
        at = options.highlighted
        options.clear_options()
        for one in data:
            options.add_option(Option(self._line(one), id=one["id"]))
        options.highlighted = at if at is not None and at < len(data) else (0 if data else None)
        options.focus()

    def _line(self, one: dict[str, Any]) -> Text:
        palette = self.host.palette
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{clean(one['id'])}  ", palette.dim)
        names = one["classifiers"]
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        text.append(", ".join(short_spec(name) for name in names[:_NAMES]) + more, "bold")
        text.append(f"  {clean(one['class_name'])}", palette.accent)
        if one["watch"]:
            text.append(f"  watches {clean(one['watch']['folder'])}", palette.dim)
        state = f"{one['raises']} raise it, {one['lowers']} lower it"
        if one["state"] == "running":
            state = f"{one['stage'] or 'begins'} {one['done']}/{one['total']}"
        elif one["state"] != "done":
            state = one["state"]
        text.append(f"  {clean(state)}", palette.dim)
        return text

    def copied(self) -> Copied | None:
        name = self._selected()
        return None if name is None else Copied(name, name)

    def _selected(self) -> str | None:
        options = self.query_one(OptionList)
        at = options.highlighted
        return None if at is None else options.get_option_at_index(at).id

    def action_new(self) -> None:
        self.host.open_new_screening()

    def action_note(self) -> None:
        if (name := self._selected()) is not None:
            self.edit_note(name)

    def action_delete(self) -> None:
        if (name := self._selected()) is not None:
            self.confirm_delete([name])

    @on(OptionList.OptionSelected)
    def _open(self, event: OptionList.OptionSelected) -> None:
        if event.option.id:
            self.host.open_screening(event.option.id)

    def action_back(self) -> None:
        self.app.pop_screen()
