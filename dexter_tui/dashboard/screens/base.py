"""The base of the screens: reading the store in a thread, reporting errors, shared dialogs."""

import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import SystemCommand
from textual.css.query import NoMatches
from textual.message import Message
from textual.widget import Widget

from dexter.errors import InputError
from dexter_tui.dashboard import operations
from dexter_tui.dashboard.actions import ACTIONS
from dexter_tui.dashboard.host import Host, host_of
from dexter_tui.dashboard.search import Searching
from dexter_tui.formatting import clean
from store.errors import NotFound, StoreError
from store.reading.browse import RunRow

if TYPE_CHECKING:
    from dexter_tui.jobs.trust import Need

_CHANGES = {action.name.partition("(")[0] for action in ACTIONS if action.changes}


def entitle(widget: Widget, title: str) -> None:
    """Set the title in a widget's frame, unless it is the same: setting it redraws the widget."""
    if widget.border_title != title:
        widget.border_title = title


class DataScreen(Searching):
    """A screen that shows data: `load` reads it in a thread, `show` displays it on the event loop.

    Requests during a `load` cause one more `load` after it.
    """

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide"), (170, "-huge")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-tall")]  # noqa: RUF012

    class Loaded(Message):
        """The result of `load`: data or an error, or why there is nothing to show any more."""

        def __init__(self, data: Any, error: str | None, gone: str | None = None) -> None:
            super().__init__()
            self.data = data
            self.error = error
            self.gone = gone

    _loading = False
    _again = False
    _last_error: str | None = None

    @property
    def host(self) -> Host:
        """The application."""
        return host_of(self)

    @property
    def is_asking(self) -> bool:
        """True while what the last keys asked for is being read: keys that act on it wait."""
        return False

    def wish(self) -> Any:
        """Return the input of `load` from the widgets; called on the event loop."""
        return None

    def load(self, wish: Any) -> Any:
        """Read the store; called in a thread, so it must not touch widgets."""
        raise NotImplementedError

    def show(self, data: Any) -> None:
        """Show the data in the widgets."""
        raise NotImplementedError

    def repaint(self) -> None:
        """Show the data again, in the colours of another theme."""
        self.reload()

    def more_commands(self) -> Iterable[SystemCommand]:
        """Return commands of the palette that are no keys."""
        return ()

    def reload(self) -> None:
        """Load and show again, now or after the current load."""
        if self._loading:
            self._again = True
            return
        try:
            wish = self.wish()
        except NoMatches:
            return  # not composed yet; it loads when mounted
        self._loading = True
        self.run_worker(lambda: self._load(wish), thread=True, exit_on_error=False, group="load")

    def _load(self, wish: Any) -> None:
        data, error, gone = None, None, None
        try:
            data = self.load(wish)
        except NotFound as refused:
            gone = f"{refused.value} was deleted"
        except StoreError as refused:
            error = str(refused)
        except Exception as defect:  # most likely damaged data; the dashboard continues
            self.host.note_defect(traceback.format_exc())
            error = f"{type(defect).__name__}: {defect}"
        self.post_message(self.Loaded(data, error, gone))

    def on_data_screen_loaded(self, message: Loaded) -> None:
        message.stop()
        self._loading = False
        if message.gone is not None:
            self.leave(message.gone)
        elif message.error is None:
            try:
                self.show(message.data)
            except Exception as defect:  # damaged data, as above
                self.host.note_defect(traceback.format_exc())
                message.error = f"{type(defect).__name__}: {defect}"
        if message.error is None:
            self._last_error = None
        if (
            message.error is not None and message.error != self._last_error
        ):  # once, not at every tick
            self._last_error = message.error
            self.host.complain(message.error)
        if self._again:
            self._again = False
            self.reload()

    def leave(self, reason: str) -> None:
        """Return to the previous screen, because the shown object is gone.

        Without a store, which may be put back, the screen stays as it was.
        """
        if self.is_current and not self.host.browse.is_gone():
            self.host.complain(reason)
            self.app.pop_screen()

    def on_mount(self) -> None:
        self.reload()

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self.reload()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self.host.options.read_only and action in _CHANGES:
            return False
        return super().check_action(action, parameters)

    def confirm_cancel(self, runs: Sequence[RunRow]) -> None:
        """Ask, then cancel runs."""
        from dexter_tui.dashboard.screens.dialogs import Confirm

        names = _named([run.id for run in runs])
        count = "this run" if len(runs) == 1 else f"these {len(runs)} runs"

        def answer(yes: bool | None) -> None:
            if yes:
                self.do(lambda: operations.cancel(self.host.home, runs))

        self.app.push_screen(
            Confirm(f"Cancel {count}?", f"{names}\n\nResults so far are kept."), answer
        )

    def ask_consent(self, needs: "Sequence[Need]", then: Callable[[], None]) -> None:
        """Ask for consent; if it is given, record it and do what was refused."""
        from dexter_tui.dashboard.screens.dialogs import Confirm

        def answer(yes: bool | None) -> None:
            if not yes:
                self.host.inform("not started: you did not agree")
                return
            try:
                for need in needs:
                    need.grant()
            except InputError as error:
                self.host.complain(str(error))
                return
            then()

        lines = [
            f"{need.line} (SHA-256 {need.digest[:12]})" if need.digest else need.line
            for need in needs
        ]
        if all(need.is_server for need in needs):
            title, trusted = "Send pictures to this server?", "it"
        else:
            title, trusted = "Run this code on your machine?", "the author of each file"
        body = "\n".join(lines) + f"\n\nAgree only if you trust {trusted}."
        self.app.push_screen(Confirm(title, body), answer)

    def confirm_discard(self, written: bool) -> None:
        """Leave the screen; ask before if the user has written something in it."""
        from dexter_tui.dashboard.screens.dialogs import Confirm

        def answer(yes: bool | None) -> None:
            if yes and self.is_current:
                self.app.pop_screen()

        if written:
            self.app.push_screen(Confirm("Discard what you wrote?", "Nothing was started."), answer)
        else:
            self.app.pop_screen()

    def ask_tag(self, runs: Sequence[RunRow]) -> None:
        """Ask for a tag, then add it to the runs, or remove it."""
        from dexter_tui.dashboard.screens.dialogs import Ask

        def answer(name: str | None) -> None:
            if name and name.strip():
                self.do(lambda: operations.tag(self.host.home, runs, name.strip()))

        count = "the run" if len(runs) == 1 else f"{len(runs)} runs"
        self.app.push_screen(Ask(f"Tag for {count} (an existing tag is removed)"), answer)

    def edit_note(self, name: str, draft: str | None = None) -> None:
        """Edit the note on a run, study or comparison; `draft` is one that was not saved."""
        from dexter_tui.dashboard.screens.dialogs import Write

        def saved() -> str:
            # The editor draws its text unfiltered.
            return "\n".join(clean(line) for line in self.host.browse.note(name).split("\n"))

        before = saved()

        def answer(text: str | None) -> None:
            def save(text: str) -> str:
                if (other := saved()) not in (before, text.strip()):  # by another dashboard
                    both = f"{text.strip()}\n\n{other}".strip()
                    self.app.call_from_thread(self.edit_note, name, both)
                    raise StoreError(
                        f"the note on {name} was changed elsewhere meanwhile",
                        remedy="edit both texts, then save",
                    )
                try:
                    return operations.set_note(self.host.home, name, text)
                except (StoreError, OSError):
                    self.app.call_from_thread(self.edit_note, name, text)
                    raise

            if text is not None and text.strip() != before:
                self.do(partial(save, text))

        self.app.push_screen(Write(f"Note on {name}", before, draft), answer)

    def confirm_delete(self, names: Sequence[str]) -> None:
        """Ask twice, then delete runs, studies or comparisons."""
        from dexter_tui.dashboard.screens.dialogs import Ask, Confirm

        home = self.host.home

        def check() -> None:
            doomed = operations.doomed(home, names)
            count = str(doomed.count)

            def really(typed: str | None) -> None:
                if typed is not None and typed.strip() == count:
                    self.do(lambda: operations.delete(home, doomed))
                else:
                    self.host.inform("nothing was deleted")

            def first(yes: bool | None) -> None:
                if yes:
                    question = f"This cannot be undone. Type {count} to confirm"
                    self.app.push_screen(Ask(question), really)

            body = f"{_named(names)}: {doomed.line()}"
            body += "\n\nIncludes their steps, pictures, claims and reports."
            self.app.call_from_thread(self.app.push_screen, Confirm("Delete?", body), first)

        self.do(check)

    def export(self, names: Sequence[str]) -> None:
        """Ask where to write a report; the ending of the file says in which form."""
        from dexter_tui.dashboard.screens.dialogs import Ask

        def answer(typed: str | None) -> None:
            if typed and (path := typed.strip()):
                self.do(lambda: operations.export(self.host.home, names, path))

        what = names[0] if len(names) == 1 else f"{len(names)} items"
        question = f"Export {what} to FILE.md, FILE.html, FILE.zip or a folder (bundle)"
        try:
            folder = Path.cwd()
        except FileNotFoundError:  # removed since the start
            folder = Path.home()
        default = folder / f"report-{'-'.join(names[:3])}.md"
        self.app.push_screen(Ask(question, str(default)), answer)

    def refuse(self, error: Exception, line: str) -> None:
        """Show why an action could not be done, in one line."""
        self.host.complain(line)

    def do(self, work: Callable[[], str | None], *, group: str = "do") -> None:
        """Run `work` in a thread; show the line that it returns, or its error.

        Work that would load code without consent is done again if the user agrees in a dialog.
        """
        from dexter_tui.jobs.trust import ConsentNeeded

        def run() -> None:
            try:
                line = work()
            except ConsentNeeded as refused:
                again = partial(self.do, work, group=group)
                self.app.call_from_thread(self.ask_consent, refused.needs, again)
                return
            except (StoreError, InputError, OSError) as refused:
                self.app.call_from_thread(self.refuse, refused, str(refused))
                return
            except Exception as defect:  # a defect in one action; the dashboard continues
                self.host.note_defect(traceback.format_exc())
                line = f"{type(defect).__name__}: {defect}"
                self.app.call_from_thread(self.refuse, defect, line)
                return
            if line:
                self.app.call_from_thread(self.host.inform, line)

        self.run_worker(run, thread=True, exit_on_error=False, group=group)


def _named(names: Sequence[str]) -> str:
    """Return the first of some ids as text."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
