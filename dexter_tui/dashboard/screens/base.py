"""What the screens share: reading the store in a thread, and telling what went wrong."""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from textual.css.query import NoMatches
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

from dexter.errors import InputError
from dexter_tui.dashboard import operations
from dexter_tui.dashboard.actions import ACTIONS
from dexter_tui.dashboard.host import Host, host_of
from dexter_tui.formatting import clean
from store.errors import StoreError
from store.reading.browse import RunRow

_CHANGES = {action.name.partition("(")[0] for action in ACTIONS if action.changes}


def entitle(widget: Widget, title: str) -> None:
    """The title in a widget's frame; setting it draws the widget again, so only if it changed."""
    if widget.border_title != title:
        widget.border_title = title


class DataScreen(Screen[None]):
    """A screen that shows what `load` reads; `load` runs in a thread, `show` on the event loop.

    While one `load` is under way, further wishes become one more `load` after it.
    """

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide"), (170, "-huge")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-tall")]  # noqa: RUF012

    class Loaded(Message):
        """What `load` read, or what it failed of."""

        def __init__(self, data: Any, error: str | None) -> None:
            super().__init__()
            self.data = data
            self.error = error

    _loading = False
    _again = False
    _told: str | None = None

    @property
    def host(self) -> Host:
        """The application."""
        return host_of(self)

    def wish(self) -> Any:
        """What `load` needs to know of the widgets; on the event loop."""
        return None

    def load(self, wish: Any) -> Any:
        """Read the store; in a thread, so no widget may be touched."""
        raise NotImplementedError

    def show(self, data: Any) -> None:
        """Put what was read into the widgets."""
        raise NotImplementedError

    def reload(self) -> None:
        """Read again, now or after the reading that is under way."""
        if self._loading:
            self._again = True
            return
        try:
            wish = self.wish()
        except NoMatches:
            return  # not composed yet; once it is, it reads
        self._loading = True
        self.run_worker(lambda: self._load(wish), thread=True, exit_on_error=False, group="load")

    def _load(self, wish: Any) -> None:
        data, error = None, None
        try:
            data = self.load(wish)
        except StoreError as refused:
            error = str(refused)
        except Exception as defect:  # of the data, most likely: the dashboard goes on
            self.host.note_defect(traceback.format_exc())
            error = f"{type(defect).__name__}: {defect}"
        self.post_message(self.Loaded(data, error))

    def on_data_screen_loaded(self, message: Loaded) -> None:
        message.stop()
        self._loading = False
        if message.error is None:
            try:
                self.show(message.data)
            except Exception as defect:  # of the data, as above
                self.host.note_defect(traceback.format_exc())
                message.error = f"{type(defect).__name__}: {defect}"
        if message.error is None:
            self._told = None
        if message.error is not None and message.error != self._told:  # once, not twice a second
            self._told = message.error
            self.host.complain(message.error)
        if self._again:
            self._again = False
            self.reload()

    def leave(self, why: str) -> None:
        """Go back, because what is shown is gone; once, though it may be found missing twice."""
        if self.is_current:
            self.host.complain(why)
            self.app.pop_screen()

    def on_mount(self) -> None:
        self.reload()

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self.reload()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (self.host.options.read_only and action in _CHANGES)

    def confirm_cancel(self, runs: Sequence[RunRow]) -> None:
        """Cancel runs, after asking."""
        from dexter_tui.dashboard.screens.dialogs import Confirm

        names = ", ".join(run.id for run in runs[:5]) + (", ..." if len(runs) > 5 else "")
        count = "this run" if len(runs) == 1 else f"these {len(runs)} runs"

        def answer(yes: bool | None) -> None:
            if yes:
                self.do(lambda: operations.cancel(self.host.home, runs))

        self.app.push_screen(
            Confirm(f"Cancel {count}?", f"{names}\n\nWhat was found so far stays."), answer
        )

    def pointless(self, action: str) -> bool:
        """Whether an action would be refused for what is selected: then the key bar leaves it out,
        and the key tells why."""
        return False

    def ask_tag(self, runs: Sequence[RunRow]) -> None:
        """Give runs a tag, or take it away."""
        from dexter_tui.dashboard.screens.dialogs import Ask

        def answer(name: str | None) -> None:
            if name and name.strip():
                self.do(lambda: operations.tag(self.host.home, runs, name.strip()))

        count = "the run" if len(runs) == 1 else f"{len(runs)} runs"
        self.app.push_screen(Ask(f"Tag for {count} (again: take it away)"), answer)

    def edit_note(self, name: str) -> None:
        """Write the note about a run, study or comparison."""
        from dexter_tui.dashboard.screens.dialogs import Write

        # An editor draws what it holds as it is.
        before = "\n".join(clean(line) for line in self.host.browse.note(name).split("\n"))

        def answer(text: str | None) -> None:
            if text is not None and text.strip() != before:
                self.do(lambda: operations.set_note(self.host.home, name, text))

        self.app.push_screen(Write(f"Note on {name}", before), answer)

    def confirm_delete(self, names: Sequence[str]) -> None:
        """Delete runs, studies or comparisons, after asking twice; refused for what is at work."""
        from dexter_tui.dashboard.screens.dialogs import Ask, Confirm

        home = self.host.home

        def look() -> None:
            what = operations.doomed(home, names)
            count = str(len(what.runs) + len(what.comparisons))

            def really(typed: str | None) -> None:
                if typed is not None and typed.strip() == count:
                    self.do(lambda: operations.delete(home, what))
                else:
                    self.host.inform("nothing was deleted")

            def first(yes: bool | None) -> None:
                if yes:
                    question = f"Nothing brings them back. Type {count} to delete them"
                    self.app.push_screen(Ask(question), really)

            told = f"{what.line()}\n\nWith their steps, pictures, claims and reports."
            self.app.call_from_thread(self.app.push_screen, Confirm("Delete?", told), first)

        self.do(look)

    def export(self, names: Sequence[str]) -> None:
        """Write a Markdown report below the current folder."""

        def write() -> str:
            from dexter.config import PRESETS, RunConfig
            from store import Store
            from store.markdown.report import markdown

            path = Path.cwd() / f"report-{'-'.join(names[:3])}.md"
            any_study = {"classifier": "any", "class_name": "any"}
            presets = {
                name: RunConfig.from_preset(name, **any_study).study_settings() for name in PRESETS
            }
            with Store.open(self.host.home, read_only=True) as store:
                return f"written: {markdown(store, names, path, presets=presets)}"

        self.do(write)

    def do(self, work: Callable[[], str | None], *, group: str = "do") -> None:
        """Work in a thread; the line that it returns, or that it was refused with, is shown."""

        def run() -> None:
            try:
                line = work()
            except (StoreError, InputError, OSError) as refused:
                self.app.call_from_thread(self.host.complain, str(refused))
                return
            except Exception as defect:
                self.host.note_defect(traceback.format_exc())
                line = f"{type(defect).__name__}: {defect}"
                self.app.call_from_thread(self.host.complain, line)
                return
            if line:
                self.app.call_from_thread(self.host.inform, line)

        self.run_worker(run, thread=True, exit_on_error=False, group=group)
