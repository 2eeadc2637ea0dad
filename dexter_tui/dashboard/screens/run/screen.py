"""The screen of a run: charts, words, frames, prompts, settings and log at a step.

All pages share a cursor. It follows the newest step until the user moves it. A replay moves it at a
chosen number of steps per second.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import ContentSwitcher

from dexter_tui.dashboard import operations
from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.host import Copied
from dexter_tui.dashboard.screens.run.charts import ChartsPage
from dexter_tui.dashboard.screens.run.cursor import Cursor
from dexter_tui.dashboard.screens.run.history import History
from dexter_tui.dashboard.screens.run.inspector import Inspector, result_text, step_text
from dexter_tui.dashboard.screens.run.reading import Found, Wish, read
from dexter_tui.dashboard.screens.run.replay import Replay
from dexter_tui.dashboard.screens.run.steps_page import StepsPage
from dexter_tui.dashboard.screens.run.texts import config_text, gains_text, prompts_text, title_text
from dexter_tui.dashboard.screens.run.words import WordsPage
from dexter_tui.dashboard.screens.tabbed_screen import PagesScreen
from dexter_tui.dashboard.widgets.chart import CursorWanted
from dexter_tui.dashboard.widgets.gallery import Gallery
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.log_view import LogView
from dexter_tui.dashboard.widgets.tabs import TabBar, TextPage
from store.reading.browse import FrameRow, RunRow, StepRow
from store.states import AGAIN, ENDED


class RunScreen(PagesScreen):
    """The screen of a run."""

    BINDINGS = bindings("search", "run", "pages")
    PAGES: ClassVar = (
        ("charts", "Charts"),
        ("words", "Words"),
        ("frames", "Frames"),
        ("prompts", "Prompts"),
        ("config", "Config"),
        ("log", "Log"),
    )

    def __init__(self, run_id: str, marked: Sequence[int] = ()) -> None:
        """Show a run; `marked` are the keys of the runs that may be charted with it."""
        super().__init__()
        self.run_id = run_id
        self.run_row: RunRow | None = None
        self._marked = marked
        self._histories = {run_id: History()}
        self._charted: list[str] = [run_id]
        self._left_out = 0
        self.frames: list[FrameRow] = []
        self.answers: list[str] = []
        self.cursor = Cursor()
        self._replay = Replay(self, self._play)

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        yield TabBar(id="tabs")
        with Horizontal(id="run-body"):
            with ContentSwitcher(id="pages", initial="charts"):
                yield ChartsPage(bool(self._marked), id="charts")
                yield WordsPage(id="words", classes="panel page")
                yield Gallery(id="frames", classes="panel page")
                yield TextPage(id="prompts", text_id="prompts-text")
                yield TextPage(id="config", text_id="config-text")
                yield LogView(id="log", classes="panel page")
            yield Inspector(id="inspector", classes="panel")
        yield KeyBar()

    def on_mount(self) -> None:
        self.draw_tabs()
        self.focus_page()

    # Reading

    def wish(self) -> Wish:
        known = {run_id: history.known for run_id, history in self._histories.items()}
        beside = self.query_one(ChartsPage).beside
        return Wish(known, self.PAGES[self.page][0], beside, self._marked)

    def load(self, wish: Wish) -> Found:
        return read(self.host.browse, self.run_id, wish)

    def show(self, data: Found) -> None:
        if data.own is None:
            self.leave(f"run {self.run_id} was deleted")
            return
        run = self.run_row = data.own.run
        self.answers, self.frames, self._left_out = data.answers, data.frames, data.left_out
        for part in (data.own, *data.beside):
            self._histories.setdefault(part.run.id, History()).add(part)
        self._charted = [self.run_id, *(part.run.id for part in data.beside)]
        running = run.state not in ENDED
        self.cursor.show(
            [step.step for step in self.steps],
            run.steps_total if running else None,
            follow=not self._replay.is_running,
        )
        page, palette = self.PAGES[self.page][0], self.host.palette
        if page == "prompts":
            text = prompts_text(data.prompts, palette)
            text.append_text(gains_text(data.gains, palette, self.host.signs))
            self.query_one("#prompts", TextPage).put(text)
        if page == "config":
            text = config_text(run, self.host.browse, palette)
            self.query_one("#config", TextPage).put(text)
        if data.log is not None:
            self.query_one(LogView).show_lines(data.log)
        self.query_one(Gallery).show(data.groups)
        if self.cursor.following and running:
            self._select_tile()
        self._show_title()
        self.draw()
        self.refresh_bindings()

    def repaint(self) -> None:
        self.query_one(ChartsPage).repaint()
        self.query_one(Inspector).repaint()
        super().repaint()

    def page_changed(self) -> None:
        self.reload()
        self.draw()

    # Drawing

    def _show_title(self) -> None:
        run, palette, signs = self.run_row, self.host.palette, self.host.signs
        if run is None:
            return
        width = self.query_one("#title").size.width or self.size.width
        text = title_text(run, width, palette, signs)
        self._put("#title", text)

    def on_resize(self) -> None:
        # The panels, which may come and go with the width, have theirs only then.
        self.call_after_refresh(self._show_title)
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """Draw the visible page and the panel beside it at the cursor."""
        axis, page = self.cursor.axis, self.PAGES[self.page][0]
        if page == "charts":
            charted = [self._histories[run_id] for run_id in self._charted]
            self.query_one(ChartsPage).show(charted, axis, self._left_out)
        self._show_cursor()
        self.draw_tabs()

    def _show_cursor(self) -> None:
        run, page, palette = self.run_row, self.PAGES[self.page][0], self.host.palette
        if run is None:
            return
        inspector, words = self.query_one(Inspector), self.query_one(WordsPage)
        width = max(inspector.text_width or words.size.width, 40)
        frame, step = self.frame_at_cursor, self.step_at(self.cursor.at)
        if frame is not None and frame.kind == "frame":
            own = frame in self.frames
            title = "Result" if own else self.query_one(Gallery).title
            here = result_text(run, width, palette, self.host.signs) if own else Text()
        else:
            # On the page of frames the numbers are those of the selected picture's step.
            shown = self.step_at(frame.step) if frame is not None and page == "frames" else step
            title = f"Step {shown.step}" if shown is not None else "No steps yet"
            here = step_text(run, shown, width, palette)
        inspector.show(title, frame, self.answers, here)
        if page == "words":
            words.show(self.steps, self.cursor.axis, step_text(run, step, width, palette))

    def _put(self, selector: str, text: Text) -> None:
        self.query_one(selector, TextLines).put(text)

    def tabs_right(self) -> Text:
        palette = self.host.palette
        text = Text()
        if self._replay.is_running:
            text.append(f"replay {self._replay.speed}/s  ", palette.accent)
        elif self.cursor.following and self.run_row and self.run_row.state not in ENDED:
            text.append("live  ", palette.active)
        if state := self.query_one(ChartsPage).state:
            text.append(f"{state}  ", palette.accent)
        if self.cursor.numbers:
            axis = self.cursor.axis
            text.append(f"step {axis.cursor}", "bold")
            if not self._replay.is_running:
                window = f" of {axis.first}{self.host.signs.dash}{axis.last} "
                text.append(window, palette.dim)
        return text

    @property
    def steps(self) -> list[StepRow]:
        """The steps of the run so far."""
        return self._histories[self.run_id].steps

    def step_at(self, number: int) -> StepRow | None:
        """Return the last step up to a number."""
        at = bisect_right(self.cursor.numbers, number)
        return self.steps[at - 1] if at else None

    @property
    def frame_at_cursor(self) -> FrameRow | None:
        """The picture selected on the page of frames; elsewhere that of the cursor's step."""
        gallery = self.query_one(Gallery)
        if self.PAGES[self.page][0] == "frames" and gallery.selected is not None:
            return gallery.selected
        return self._frame_of_step

    @property
    def _frame_of_step(self) -> FrameRow | None:
        """The best result at the end of a finished run, else the newest search sample."""
        if self._at_end and self.frames and self.frames[0].kind == "frame":
            return self.frames[0]
        previews = [f for f in self.frames if f.kind == "preview" and f.step <= self.cursor.at]
        return previews[-1] if previews else None

    @property
    def _at_end(self) -> bool:
        """True at the last step of a run that has ended."""
        return self.cursor.following and self.run_row is not None and self.run_row.state in ENDED

    # The cursor

    def go(self, step: int) -> None:
        """Move the cursor to a step."""
        self.cursor.go(step)
        self._select_tile()
        self.draw()

    def _select_tile(self) -> None:
        if (frame := self._frame_of_step) is not None:
            self.query_one(Gallery).select(frame)

    def action_step(self, by: int) -> None:
        self._replay.stop()
        self.go(self.cursor.at + by)

    def action_first_step(self) -> None:
        self._replay.stop()
        self.go(1)

    def action_follow(self) -> None:
        self._replay.stop()
        if self.cursor.numbers:
            self.go(self.cursor.numbers[-1])

    @on(CursorWanted)
    def _clicked(self, message: CursorWanted) -> None:
        self._replay.stop()
        self.go(message.step)

    @on(Gallery.Selected)
    def _tile_selected(self, message: Gallery.Selected) -> None:
        if message.frame.kind == "preview":
            self.cursor.go(message.frame.step)
        self.draw()

    @on(StepsPage.Zoom)
    def _zoom(self, message: StepsPage.Zoom) -> None:
        self.cursor.zoom(message.by)
        self.draw()

    @on(ChartsPage.Changed)
    def _charts_changed(self) -> None:
        self.reload()
        self.draw()

    # Replay

    def action_replay(self) -> None:
        if self._replay.is_running:
            self._replay.stop()
            self.draw()
            return
        numbers = self.cursor.numbers
        if len(numbers) < 2:
            return
        if self.cursor.at >= numbers[-1]:
            self.cursor.go(numbers[0])
        self._replay.start(self.cursor.at, slow=self.host.options.low_bandwidth)
        self.draw()

    def _play(self, step: int) -> None:
        self.go(step)
        if self.cursor.at >= self.cursor.numbers[-1]:
            self._replay.stop()
            self.draw()

    def action_speed(self, by: int) -> None:
        self._replay.change_speed(by)
        self.draw_tabs()

    # Actions

    def action_enlarge(self) -> None:
        frame = self.frame_at_cursor
        if frame is None:
            return
        gallery = self.query_one(Gallery)
        frames = gallery.frames if frame in gallery.frames else self.frames

        def turned(frame: FrameRow) -> None:
            gallery.select(frame, notify=True)

        self.host.open_picture(frames, frames.index(frame), self.answers, turned)

    def copied(self) -> Copied | None:
        run, page = self.run_row, self.PAGES[self.page][0]
        if run is None:
            return None
        if page == "frames" and (frame := self.frame_at_cursor) is not None:
            path = self.host.browse.picture(frame.sha256, small=False)
            return Copied("the path of the picture", str(path))
        if page == "prompts" and run.prompt:
            return Copied("the best prompt", run.prompt)
        return Copied(run.id, run.id)

    def action_study(self) -> None:
        if self.run_row is not None:
            self.host.open_study(self.run_row.study_id)

    def action_again(self) -> None:
        if self.run_row is not None:
            self.host.open_new_run(self.run_row.config)

    def action_pause(self) -> None:
        if (run := self.run_row) is not None:
            self.do(lambda: operations.pause(self.host.home, [run]))

    def action_cancel(self) -> None:
        if self.run_row is not None:
            self.confirm_cancel([self.run_row])

    def action_retry(self) -> None:
        if (run := self.run_row) is not None:
            self.do(lambda: operations.retry(self.host.home, [run]))

    def action_tag(self) -> None:
        if self.run_row is not None:
            self.ask_tag([self.run_row])

    def action_note(self) -> None:
        self.edit_note(self.run_id)

    def action_export(self) -> None:
        self.export([self.run_id])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        state = self.run_row.state if self.run_row else None
        if action in ("pause", "cancel") and state in ENDED:
            return False
        if action == "retry" and state not in AGAIN:
            return False
        return super().check_action(action, parameters)
