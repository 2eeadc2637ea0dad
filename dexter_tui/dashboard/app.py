"""The dashboard: ``dexter-tui`` without a subcommand, in a terminal.

It computes nothing and holds no run: it reads the store and acts through `dexter_tui.jobs`, so it
may be killed at any time. Threads do the slow work and never touch widgets; they post messages,
whose handlers update the widgets.
"""

import ctypes
import gc
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import _lru_cache_wrapper, lru_cache
from pathlib import Path
from typing import Any, ClassVar

from rich.cells import cached_cell_len
from rich.terminal_theme import TerminalTheme
from textual import events
from textual._styles_cache import StylesCache
from textual.app import App
from textual.await_complete import AwaitComplete
from textual.binding import BindingType
from textual.command import CommandPalette
from textual.filter import NoColor
from textual.screen import Screen
from textual.scrollbar import ScrollBar, ScrollBarRender
from textual.strip import Strip

from dexter_tui.dashboard import finish_watch, operations, themes
from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import AsciiFilter, Pictures
from dexter_tui.dashboard.host import Copied
from dexter_tui.dashboard.input_order import InputOrder
from dexter_tui.dashboard.options import Options
from dexter_tui.dashboard.remembered import Remembered
from dexter_tui.dashboard.screens.base import DataScreen
from dexter_tui.dashboard.screens.home.screen import HomeScreen
from dexter_tui.dashboard.screens.palette import Actions
from dexter_tui.dashboard.widgets.run_list import RunList
from dexter_tui.formatting import clean, short_spec
from store.artifacts import open_log
from store.checking import decoding
from store.errors import StoreError
from store.reading.browse import Browse, FrameRow
from store.states import EXPLAINING, Kind

TICK = 0.5  # seconds between checks of the store
SLOW_TICK = 2.0  # with --low-bandwidth
# Reload at least this often: a killed worker leaves no trace in the store.
LIVENESS_SECONDS = 5.0
CLOSED_SECONDS = 0.5  # from the closing of a screen to a collection: no key waits for it
SETTLED_SECONDS = 5.0  # in which tasks and timers end that refer to a closed screen
COLLECT_AFTER, COLLECT_AFTER_FROZEN = 4, 1
_M_ARENA_MAX = -8  # of malloc.h


# Textual 8.2 caches colours per widget instance, which keeps the last 1,000 widgets alive. Keyed by
# the class, the cache holds pairs of colours, as intended.
if isinstance(cached := vars(StylesCache).get("get_inner_outer"), _lru_cache_wrapper):
    StylesCache.get_inner_outer = classmethod(cached)  # type: ignore
# Textual also caches the escape sequences of 16,384 styles. Where a terminal has 256 colours, most
# would be those of pictures that are no longer shown.
if isinstance(
    cached := getattr(vars(Strip).get("render_ansi"), "__func__", None), _lru_cache_wrapper
):
    Strip.render_ansi = classmethod(lru_cache(1024)(cached.__wrapped__))  # type: ignore


# The C library keeps freed memory for each thread that has allocated; two such pools are enough
# for threads that read the store in turn.
_TRIM: Callable[[int], int] | None = None
with suppress(OSError, AttributeError):  # another C library
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
    _TRIM = ctypes.CDLL(None).malloc_trim


def _is_terminal() -> bool:
    """Return whether the input is a terminal that exists."""
    try:
        return sys.__stdin__ is not None and os.isatty(sys.__stdin__.fileno())
    except (OSError, ValueError):
        return False


class _PlainScrollBar(ScrollBarRender):
    """A scroll bar of whole cells: parts of cells need characters beyond ASCII."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "]
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "]


class DexterApp(App[None]):
    """The application: one store, its screens and its actions."""

    CSS_PATH = "app.tcss"
    TITLE = "dexter-tui"
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")
    COMMAND_PALETTE_BINDING = ""  # the registry of actions has it
    COMMANDS: ClassVar[set[Any]] = {Actions}
    NOTIFICATION_TIMEOUT = 6

    def __init__(self, home: Path, options: Options = Options()) -> None:  # noqa: B008
        super().__init__()
        self.home = home
        self.options = options
        self.browse = Browse(home)
        self.remembered = Remembered(home, read_only=options.read_only, complain=self.complain)
        if options.no_colour:
            # Replaces Textual's own filter, which sends greys as 24-bit colours.
            self.no_color = True
            self._filters = [NoColor()]
        if options.ascii:
            self._filters.append(AsciiFilter())
        mode = {"off": "off", "ascii": "ascii"}.get(options.images, "blocks")
        self.pictures = Pictures(
            self._picture,
            "ascii" if (options.ascii or options.no_colour) and mode == "blocks" else mode,
            self.note_defect,
        )
        self.signs = themes.ASCII if options.ascii else themes.UNICODE
        for theme in themes.THEMES:
            self.register_theme(theme)
        self.theme = options.theme if options.theme in self.available_themes else "dexter"
        self.palette = themes.palette(self.current_theme, no_colour=options.no_colour)
        self.set_class(options.ascii, "-ascii")
        ScrollBar.renderer = _PlainScrollBar if options.ascii else ScrollBarRender
        self.input_order = InputOrder(self, super().on_event, self._is_answered)
        self._looked_at = 0.0
        self._changed_at: float | None = None  # when the last screen was closed or code loaded
        self._screen_closed = False  # a screen, since the last collection
        self._loaded_modules = len(sys.modules)
        self._keeper = operations.Keeper(home)
        self._keeping = False
        self._watching = False
        self._hooks = finish_watch.Hooks(options.on_finish) if options.on_finish else None
        self._finish_watch = finish_watch.FinishWatch(self.browse)
        self._gone = False
        self.query_draft = ""
        self._damaged: set[str] = set()  # lines on damaged rows that were shown
        if options.keys:
            self.set_keymap(options.keys)
        if not options.animate:
            self.animation_level = "none"

    async def on_event(self, event: events.Event) -> None:
        typed = isinstance(event, (events.InputEvent, events.Paste)) and not event.is_forwarded
        if typed and self.is_running:
            self.input_order.put(event)
        else:
            await super().on_event(event)

    async def run_action(self, *args: Any, **options: Any) -> bool:
        """Do what a key asks for; a store that cannot be read is reported and ends nothing."""
        try:
            return await super().run_action(*args, **options)
        except StoreError as refused:
            self.complain(str(refused))
            return True

    def _is_answered(self) -> bool:
        return not (isinstance(self.screen, DataScreen) and self.screen.is_asking)

    def pop_screen(self) -> AwaitComplete:
        """Close a screen; `_tick` collects its widgets soon.

        They refer to each other, so that only a collection frees them, and Python waits with it
        until a quarter of all objects is new: 6 MB. A timer set here would refer to them, too.
        """
        self._changed_at, self._screen_closed = time.monotonic(), True
        return super().pop_screen()

    def _collect_if_due(self) -> None:
        """Free objects that refer to each other, and give free memory back to the system.

        What is there some seconds after the last screen was closed, or code loaded, is frozen.
        Collections then look at newer objects alone, in a tenth of the time, so that they may come
        more often and less piles up.
        """
        now, loaded = time.monotonic(), len(sys.modules)
        if loaded != self._loaded_modules:
            self._loaded_modules, self._changed_at = loaded, now
        young = gc.get_count()[2]  # collections of younger objects, each after some 8,000 new ones
        if self._changed_at is None:
            if young >= COLLECT_AFTER_FROZEN:
                self._collect()
            return
        since = now - self._changed_at
        settled = since > SETTLED_SECONDS
        if young >= COLLECT_AFTER or settled or (self._screen_closed and since > CLOSED_SECONDS):
            if self._in_terminal:  # elsewhere another has frozen them
                gc.unfreeze()
            self._collect()
            self._screen_closed = False
            if settled:
                self._changed_at = None
                if self._in_terminal:
                    gc.freeze()

    @staticmethod
    def _collect() -> None:
        gc.collect()
        cached_cell_len.cache_clear()  # of 4,096 texts, most of which were shown once
        if _TRIM is not None:
            _TRIM(0)

    def get_default_screen(self) -> Screen[None]:
        return HomeScreen()

    def on_mount(self) -> None:
        for line in self.options.misspelt:
            self.complain(line)
        self._in_terminal = not self.is_headless and _is_terminal()
        if self._in_terminal:
            gc.freeze()  # what is loaded now stays
        self.set_interval(SLOW_TICK if self.options.low_bandwidth else TICK, self._tick)
        if not self.options.read_only and self.options.keep_seconds:
            self.set_interval(self.options.keep_seconds, self._keep_going)

    def _picture(self, name: str, small: bool) -> Path | bytes:
        """Return an artifact's file; the bytes of a tile, a difference of tiles or an artifact."""
        from store.reading import tiles

        return tiles.picture(self.browse, name, small=small)

    def on_resize(self, event: events.Resize) -> None:
        self.pictures.fit(event.size.area)

    def _tick(self) -> None:
        if self._in_terminal and not _is_terminal():
            # Its window is closed, and the signal of that is ignored, as under nohup: Textual would
            # read the end of the input for ever.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            signal.raise_signal(signal.SIGHUP)
        if not self.input_order.busy:
            self._collect_if_due()
        self._start_hooks()
        screen = self.screen
        gone = self.browse.is_gone()
        if gone and not self._gone:
            self.complain(
                f"{self.browse.path} was moved or removed: put it back, or quit; runs there end"
            )
        self._gone = gone
        overdue = time.monotonic() - self._looked_at > LIVENESS_SECONDS
        if self.browse.changed() or overdue:
            self._looked_at = time.monotonic()
            if isinstance(screen, DataScreen):
                screen.reload()
            if not self._watching and self.browse.path.exists():
                self._watching = True
                self.run_worker(self._look_for_ended, thread=True, group="watch")
        lines = [line for line in decoding.take_found() if line not in self._damaged]
        if lines:
            self._damaged.update(lines)
            more = f" ({len(lines) - 1} more)" if len(lines) > 1 else ""
            self.complain(f"{lines[0]}{more}")

    def _look_for_ended(self) -> None:
        """Report the runs and jobs that have ended since the last look."""
        try:
            if ended := self._finish_watch.ended():
                self.call_from_thread(self._report_ended, ended)
        except (StoreError, sqlite3.Error):
            pass  # the screen reports it
        finally:
            self._watching = False

    def _report_ended(self, ended: Sequence[finish_watch.Ended]) -> None:
        line = finish_watch.sentence(ended)
        self.inform(line)
        if (signals := finish_watch.signals(self.options.notify, line)) and self._driver:
            self._driver.write(signals)
            self._driver.flush()
        if self._hooks is not None:
            self._hooks.add(ended)
            self._start_hooks()

    def _start_hooks(self) -> None:
        if self._hooks is None:
            return
        try:
            self._hooks.start()
        except (OSError, ValueError) as error:
            self.complain(f"config.toml, [dashboard]: on_finish cannot be started: {error}")

    def _keep_going(self) -> None:
        """Replace runners that were killed, while runs wait."""
        if not self._keeping and not self.browse.is_gone() and self.browse.has_unfinished():
            self._keeping = True
            self.run_worker(self._keep, thread=True, group="keep", exit_on_error=False)

    def _keep(self) -> None:
        try:
            self._keeper.keep_going()
        except (StoreError, OSError) as error:
            self.call_from_thread(self.complain, str(error))
        finally:
            self._keeping = False

    def on_unmount(self) -> None:
        self.input_order.close()
        self.pictures.close()
        if not self._keeping:  # else the end of the process closes it
            self._keeper.close()

    # Notices

    def inform(self, line: str) -> None:
        """Show a notice."""
        self.notify(clean(line), markup=False)

    def complain(self, line: str) -> None:
        """Show an error notice."""
        self.notify(clean(line), severity="error", markup=False, timeout=12)

    def note_defect(self, trace: str) -> None:
        """Record a traceback in dashboard.log; the dashboard keeps running."""
        try:
            with open_log(self.home / "dashboard.log") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{trace}\n".encode())
        except OSError:
            pass  # nowhere to write; the notice has to do

    # Screens are loaded when they are opened, so that the first paint does not wait for them

    def open_run(self, run_id: str) -> None:
        from dexter_tui.dashboard.screens.run.screen import RunScreen

        home = next((one for one in self.screen_stack if isinstance(one, HomeScreen)), None)
        marked = home.query_one(RunList).marked if home is not None else ()
        self.push_screen(RunScreen(run_id, sorted(key for key in marked if key > 0)))

    def open_study(self, study_id: str) -> None:
        from dexter_tui.dashboard.screens.study import StudyScreen

        self.push_screen(StudyScreen(study_id))

    def open_comparison(self, comparison_id: str) -> None:
        from dexter_tui.dashboard.screens.compare import CompareScreen

        self.push_screen(CompareScreen(comparison_id))

    def open_comparisons(self) -> None:
        from dexter_tui.dashboard.screens.compare import ComparisonsScreen

        self.push_screen(ComparisonsScreen())

    def open_start(self) -> None:
        from dexter_tui.dashboard.screens.start.screen import StartScreen

        self.push_screen(StartScreen())

    def open_new_run(self, settings: Mapping[str, Any] | None = None) -> None:
        from dexter_tui.dashboard.screens.new_run import NewRunScreen

        self.push_screen(NewRunScreen(settings))

    def open_new_comparison(
        self, study_ids: Sequence[str], started: Callable[[], None] = lambda: None
    ) -> None:
        from dexter_tui.dashboard.screens.new_comparison import NewComparisonScreen

        self.push_screen(NewComparisonScreen(study_ids, started))

    def open_screening(self, screening_id: str) -> None:
        from dexter_tui.dashboard.screens.screening.page import ScreeningScreen

        self.push_screen(ScreeningScreen(screening_id))

    def open_screenings(self) -> None:
        from dexter_tui.dashboard.screens.screening.listed import ScreeningsScreen

        self.push_screen(ScreeningsScreen())

    def open_new_screening(self) -> None:
        from dexter_tui.dashboard.screens.screening.new import NewScreeningScreen

        self.push_screen(NewScreeningScreen())

    def open_questions(
        self, screening_id: str, member: int, classifier: str, class_name: str
    ) -> None:
        from dexter_tui.dashboard.screens.screening.questions import QuestionsScreen

        self.push_screen(QuestionsScreen(screening_id, member, classifier, class_name))

    def open_data_report(self, report_id: str) -> None:
        from dexter_tui.dashboard.screens.data_reports.page import DataReportScreen

        self.push_screen(DataReportScreen(report_id))

    def open_new_data_report(self, kind: Kind) -> None:
        from dexter_tui.dashboard.screens.data_reports.new import NewDataReportScreen
        from dexter_tui.dashboard.screens.data_reports.new_explanation import NewExplanationScreen

        explains = kind in EXPLAINING
        self.push_screen(NewExplanationScreen(kind) if explains else NewDataReportScreen(kind))

    def open_data_reports(self) -> None:
        from dexter_tui.dashboard.screens.data_reports.listed import DataReportsScreen

        self.push_screen(DataReportsScreen())

    def open_devices(self) -> None:
        from dexter_tui.dashboard.screens.devices.page import DevicesScreen

        self.push_screen(DevicesScreen())

    def open_query(self) -> None:
        from dexter_tui.dashboard.screens.query import QueryScreen

        self.push_screen(QueryScreen())

    def open_picture(
        self,
        frames: Sequence[FrameRow],
        at: int,
        answers: Sequence[str],
        turned: Callable[[FrameRow], None],
    ) -> None:
        from dexter_tui.dashboard.screens.enlarged_picture import PictureScreen

        self.push_screen(PictureScreen(frames, at, answers, turned))

    def open_pairs(self, claim_id: int, concept: str, classifier: str, class_name: str) -> None:
        from dexter_tui.dashboard.screens.enlarged_picture import PairsScreen

        title = f"{concept} for {short_spec(classifier)}, {class_name}"
        self.push_screen(PairsScreen(claim_id, title))

    # Actions

    @property
    def ansi_theme(self) -> TerminalTheme:
        """The colours that names of colours stand for, where Textual translates them."""
        theme = self.current_theme
        return super().ansi_theme if theme.ansi else themes.terminal(theme)

    def watch_theme(self) -> None:
        self.palette = themes.palette(self.current_theme, no_colour=self.options.no_colour)
        if self.is_running:
            for screen in self.screen_stack:
                # Texts hold the colours that they were made with.
                if (repaint := getattr(screen, "repaint", None)) is not None:
                    repaint()
                screen.refresh(layout=True)
                for widget in screen.walk_children():
                    widget.refresh()

    def action_choose_theme(self) -> None:
        """Let the user choose a theme, each shown as the cursor is on it."""
        from dexter_tui.dashboard.screens.dialogs import Choose

        before = self.theme

        def show(name: str) -> None:
            self.theme = name

        def answer(name: str | None) -> None:
            self.theme = before if name is None else name
            if name is not None:
                kept = self.remembered.put("theme", name)
                until = ", remembered" if kept else " until this dashboard ends"
                if fixed := self.options.theme_from:
                    until = f"; the next start takes that of {fixed}"
                self.inform(f"theme {name}{until}")

        others = [name for name in self.available_themes if name not in themes.ORDER]
        names = (*themes.ORDER, *sorted(others))
        self.push_screen(Choose("Theme", names, before, show), answer)

    def action_command_palette(self) -> None:
        # Without Textual's id, which can be given once: work that ends may open a screen above an
        # open palette.
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette())

    def action_help(self) -> None:
        from dexter_tui.dashboard.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def action_jump(self) -> None:
        from dexter_tui.dashboard.screens.jump import JumpScreen, targets

        found = targets(self.screen)
        if found:
            self.push_screen(JumpScreen(found))

    def action_copy(self) -> None:
        """Copy the selection of the mouse, else what the focused widget or the screen offers."""
        if selected := self.screen.get_selected_text():
            self._copy(Copied("the selection", selected))
            return
        for node in (self.focused or self.screen).ancestors_with_self:
            copied = getattr(node, "copied", None)
            if copied is not None and (found := copied()) is not None:
                self._copy(found)
                return
        self.inform("nothing to copy here: select text with the mouse")

    def _copy(self, found: Copied) -> None:
        self.copy_to_clipboard(found.text)
        self.inform(f"copied {found.what}")

    def action_screenshot(self, filename: str | None = None, path: str | None = None) -> None:
        try:
            self.inform(f"saved {self.save_screenshot(filename, path or str(self.home))}")
        except OSError as error:
            self.complain(f"the screenshot cannot be saved: {error}")

    def action_quit_app(self) -> None:
        self.exit()
