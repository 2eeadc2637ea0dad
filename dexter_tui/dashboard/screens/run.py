"""The screen of a run: charts, words, frames, prompts, settings and log at a step.

All pages share a cursor. It follows the newest step until the user moves it. A replay moves it at a
chosen number of steps per second.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import ClassVar, NamedTuple

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Grid, Horizontal, Vertical, VerticalScroll
from textual.timer import Timer
from textual.widgets import ContentSwitcher, Static

from dexter_tui.dashboard import operations
from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines, fit
from dexter_tui.dashboard.host import Copied
from dexter_tui.dashboard.screens.base import entitle
from dexter_tui.dashboard.screens.tabbed_screen import PagesScreen
from dexter_tui.dashboard.widgets.chart import Axis, Chart, CursorWanted
from dexter_tui.dashboard.widgets.claim_list import interval_bar
from dexter_tui.dashboard.widgets.gallery import Gallery
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.log_view import LogView, tail
from dexter_tui.dashboard.widgets.picture import Picture
from dexter_tui.dashboard.widgets.ribbons import Ribbons
from dexter_tui.dashboard.widgets.summaries import (
    fitted,
    frame_caption,
    local_time,
    origin_text,
    settings_text,
    state_parts,
    words_table,
)
from dexter_tui.dashboard.widgets.tabs import TabBar, TextPage
from dexter_tui.formatting import clean, short_path, short_spec, size
from store.errors import StoreError
from store.reading.browse import FrameRow, PromptRow, RunRow, StepRow, WordGainRow
from store.reading.diverse import diverse, small_file
from store.states import AGAIN, ENDED

REPLAY_SECONDS = 0.2  # between two redraws of a replay
SLOW_REPLAY_SECONDS = 1.0
SPEEDS = (1, 2, 5, 10, 20, 50, 100)  # steps per second

_BAR = 16  # columns of an interval bar
_BEST_FRAMES = 8  # that differ, at the front of a finished run's gallery

# The charts of every run; charts of the single losses follow.
CHARTS: tuple[tuple[str, Callable[[StepRow], float | None]], ...] = (
    ("p(class)", lambda step: step.target_probability),
    ("loss", lambda step: step.losses.get("total")),
    ("best loss", lambda step: step.best_loss),
    ("entropy", lambda step: step.entropy),
)


class Wish(NamedTuple):
    """The data that the screen already has."""

    after: int
    attempt: int
    page: str


class Found(NamedTuple):
    """The data of the run."""

    run: RunRow | None
    labels: list[str]
    steps: list[StepRow]
    after: int
    frames: list[FrameRow]
    prompts: list[PromptRow]
    gains: list[WordGainRow]
    log: list[str] | None


class StepsPage(VerticalScroll, can_focus=True, inherit_bindings=False):
    """A page along the steps: left, right, home and end move the cursor."""

    BINDINGS = bindings("chart")

    def action_log_scale(self) -> None:
        _run(self).log_scale()

    def action_zoom(self, by: int) -> None:
        _run(self).zoom(by)


def _run(widget: VerticalScroll) -> "RunScreen":
    assert isinstance(widget.screen, RunScreen)
    return widget.screen


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

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id
        self.run_row: RunRow | None = None
        self.steps: list[StepRow] = []
        self.numbers: list[int] = []
        self.frames: list[FrameRow] = []
        self.labels: list[str] = []
        self.cursor = 1
        self.following = True
        self._log = False
        self._window: tuple[int, int] | None = None
        self._speed = 2
        self._player: Timer | None = None
        self._charts: dict[str, Chart] = {}
        self._captioned: FrameRow | None = None

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        yield TabBar(id="tabs")
        with Horizontal(id="run-body"):
            with ContentSwitcher(id="pages", initial="charts"):
                with StepsPage(id="charts"):
                    yield Grid(id="chart-grid")
                with StepsPage(id="words", classes="panel page"):
                    yield Ribbons(id="ribbons")
                    yield TextLines(id="words-here")
                yield Gallery(id="frames", classes="panel page")
                yield TextPage(id="prompts", text_id="prompts-text")
                yield TextPage(id="config", text_id="config-text")
                yield LogView(id="log", classes="panel page")
            with Vertical(id="inspector", classes="panel"):
                yield Picture(self.host.pictures, id="at-cursor")
                yield Static(id="at-cursor-caption")
                yield TextLines(id="at-cursor-words")
        yield KeyBar()

    def on_mount(self) -> None:
        self.draw_tabs()
        self.focus_page()

    # Reading

    def wish(self) -> Wish:
        after = self.steps[-1].step if self.steps else 0
        attempt = self.run_row.attempt if self.run_row else 0
        return Wish(after, attempt, self.PAGES[self.page][0])

    def load(self, wish: Wish) -> Found:
        browse = self.host.browse
        key = browse.find(self.run_id)
        run = browse.runs([key]).get(key) if key is not None else None
        if run is None:
            return Found(None, [], [], 0, [], [], [], None)
        # A new attempt resumes from a checkpoint and replaces later steps.
        after = wish.after if run.attempt == wish.attempt else 0
        study = browse.find(run.study_id)
        labels = browse.studies([-study])[-study].labels if study is not None else []
        return Found(
            run,
            labels,
            browse.steps(run.id, after=after),
            after,
            self._ordered(run, browse.frames(run.id)),
            browse.prompts(run.id) if wish.page == "prompts" else [],
            browse.word_gains(run.id) if wish.page == "prompts" else [],
            tail(browse.log(run.id)) if wish.page == "log" else None,
        )

    def _ordered(self, run: RunRow, frames: list[FrameRow]) -> list[FrameRow]:
        """Return the best frames of a finished run first: those that differ, then by p(class)."""
        drawn = [frame for frame in frames if frame.kind == "frame"]
        if run.state not in ENDED or not drawn:
            return frames
        hits = [frame for frame in drawn if frame.hit]
        hits.sort(key=lambda frame: -frame.target_probability)
        with suppress(StoreError, OSError):  # the gallery marks a missing file
            browse = self.host.browse
            best = diverse(
                [hits], lambda frame: small_file(browse.picture(frame.sha256)), _BEST_FRAMES
            )
            hits = [*best, *(frame for frame in hits if frame not in best)]
        samples = [frame for frame in frames if frame.kind != "frame"]
        return [*hits, *(frame for frame in drawn if not frame.hit), *samples]

    def show(self, data: Found) -> None:
        if data.run is None:
            self.leave(f"run {self.run_id} was deleted")
            return
        self.run_row, self.labels, self.frames = data.run, data.labels, data.frames
        if data.after == 0:
            self.steps = data.steps
        else:
            self.steps += [step for step in data.steps if step.step > self.steps[-1].step]
        self.numbers = [step.step for step in self.steps]
        if self.following and self.numbers and self._player is None:
            self.cursor = self.numbers[-1]
        page = self.PAGES[self.page][0]
        if page == "prompts":
            text = self._prompts_text(data.prompts).append_text(self._gains_text(data.gains))
            self.query_one("#prompts", TextPage).put(text)
        if page == "config":
            self._show_config()
        if data.log is not None:
            self.query_one(LogView).show_lines(data.log)
        self.query_one(Gallery).show(self.frames)
        if self.following:
            self._select_tile()
        self._make_charts()
        self._show_title()
        self.draw()
        self.refresh_bindings()

    def page_changed(self) -> None:
        self.reload()
        self.draw()

    # Drawing

    def _show_title(self) -> None:
        run, palette, signs = self.run_row, self.host.palette, self.host.signs
        if run is None:
            return
        target = Text(f"{short_spec(run.classifier)} {signs.arrow} ", palette.dim)
        target.append(clean(run.class_name), f"bold {palette.accent}")
        parts = [
            (10, Text(clean(run.id), f"bold {palette.primary}")),
            (9, target),
            (6, Text(f"seed {run.seed}", palette.dim)),
            (7, origin_text(run.classifier, run.config, run.config.get("preset"), palette)),
            *state_parts(run, palette, signs),
        ]
        text = fitted(parts, self.query_one("#title").size.width or self.size.width)
        if run.error:
            text.append(f"  {clean(run.error)}", palette.bad)
        self._put("#title", text)

    @property
    def axis(self) -> Axis:
        """The range of steps and the cursor that all pages share."""
        last = self.numbers[-1] if self.numbers else 1
        total = self.run_row.steps_total if self.run_row else None
        if self.run_row and self.run_row.state not in ENDED and total:
            last = max(last, total)  # leave room for the steps to come
        first, last = self._window or (1, max(last, 2))
        return Axis(first, last, self.cursor)

    def _make_charts(self) -> None:
        """Create the missing charts."""
        if not self.steps:
            return
        names = [name for name, _ in CHARTS]
        names += sorted(set(self.steps[-1].losses) - {"total"})
        grid = self.query_one("#chart-grid", Grid)
        for series, name in enumerate(names):
            if name not in self._charts:
                self._charts[name] = Chart(name, series=series, classes="chart panel")
                grid.mount(self._charts[name])
        across = 2 if self.has_class("-huge") else 1
        # As tall as the page; taller if the page is too small for legible curves.
        grid.styles.min_height = -(-len(self._charts) // across) * (9 if across == 2 else 7)

    def on_resize(self) -> None:
        self._make_charts()
        self._show_title()

    def draw(self) -> None:
        """Draw the visible page and the panel beside it at the cursor."""
        axis, page = self.axis, self.PAGES[self.page][0]
        if page == "charts":
            getters = dict(CHARTS)
            for name, chart in self._charts.items():
                get = getters.get(name) or _loss(name)
                values = [get(step) for step in self.steps]
                # Log-odds may be negative, where a logarithm is undefined.
                positive = all(value > 0 for value in values if value is not None)
                chart.show(
                    self.numbers, values, axis, log=self._log and positive and "loss" in name
                )
        elif page == "words":
            self.query_one(Ribbons).show(self.steps, axis)
        self._show_cursor()
        self.draw_tabs()

    def _show_cursor(self) -> None:
        run = self.run_row
        step = self.step_at_cursor
        if run is None:
            return
        palette = self.host.palette
        inspector = self.query_one("#inspector")
        entitle(inspector, f"Step {self.cursor}" if step else "No steps yet")
        frame = self.frame_at_cursor
        picture = self.query_one("#at-cursor", Picture)
        picture.sha256 = frame and frame.sha256
        if picture.display != (frame is not None):
            picture.display = frame is not None
        caption = frame_caption(frame, self.labels, palette) if frame else Text()
        beside, below = self.query_one("#at-cursor-words"), self.query_one("#words-here")
        width = max(beside.size.width or below.size.width, 40)
        shown = run if self._at_end else run._replace(words=[])
        words = words_table(shown, step, width, palette)
        if step is not None:
            words.append("\n\n")
            for name, value in {
                "p(class)": step.target_probability,
                "loss": step.losses.get("total"),
                "best loss": step.best_loss,
                "entropy": step.entropy,
                "temperature": step.temperature,
                "seconds": step.seconds,
            }.items():
                if value is not None:
                    words.append(f"{name:<14}", palette.dim).append(f"{value:.4g}\n")
        if frame != self._captioned:
            self._captioned = frame
            self.query_one("#at-cursor-caption", Static).update(caption)
        self._put("#at-cursor-words", words)
        if self.PAGES[self.page][0] == "words":
            self._put("#words-here", words)

    def _put(self, selector: str, text: Text) -> None:
        self.query_one(selector, TextLines).put(text)

    def tabs_right(self) -> Text:
        palette = self.host.palette
        text = Text()
        if self._player is not None:
            text.append(f"replay {SPEEDS[self._speed]}/s  ", palette.accent)
        elif self.following and self.run_row and self.run_row.state not in ENDED:
            text.append("live  ", palette.active)
        if self._log:
            text.append("log  ", palette.accent)
        if self.numbers:
            axis = self.axis
            text.append(f"step {self.cursor}", "bold")
            if self._player is None:
                window = f" of {axis.first}{self.host.signs.dash}{axis.last} "
                text.append(window, palette.dim)
        return text

    @property
    def step_at_cursor(self) -> StepRow | None:
        """The step at the cursor."""
        at = bisect_right(self.numbers, self.cursor)
        return self.steps[at - 1] if at else None

    @property
    def frame_at_cursor(self) -> FrameRow | None:
        """The picture selected on the page of frames; elsewhere that of the cursor's step.

        At the end of a finished run this is its best frame.
        """
        gallery = self.query_one(Gallery)
        if self.PAGES[self.page][0] == "frames" and gallery.selected is not None:
            return gallery.selected
        if self._at_end and self.frames and self.frames[0].kind == "frame":
            return self.frames[0]
        previews = [f for f in self.frames if f.kind == "preview" and f.step <= self.cursor]
        return previews[-1] if previews else None

    @property
    def _at_end(self) -> bool:
        """True at the last step of a run that has ended."""
        return self.following and self.run_row is not None and self.run_row.state in ENDED

    # The cursor

    def go(self, step: int) -> None:
        """Move the cursor to a step."""
        if not self.numbers:
            return
        self.cursor = max(self.numbers[0], min(step, self.numbers[-1]))
        self.following = self.cursor == self.numbers[-1]
        if self._window is not None:
            first, last = self._window
            span = last - first
            if self.cursor < first:
                self._window = (self.cursor, self.cursor + span)
            elif self.cursor > last:
                self._window = (self.cursor - span, self.cursor)
        self._select_tile()
        self.draw()

    def _select_tile(self) -> None:
        tiles = [
            k for k, f in enumerate(self.frames) if f.kind == "preview" and f.step <= self.cursor
        ]
        if self._at_end and self.frames and self.frames[0].kind == "frame":
            self.query_one(Gallery).select(0)
        elif tiles:
            self.query_one(Gallery).select(tiles[-1])

    def action_step(self, by: int) -> None:
        self.stop_replay()
        self.go(self.cursor + by)

    def action_first_step(self) -> None:
        self.stop_replay()
        self.go(1)

    def action_follow(self) -> None:
        self.stop_replay()
        if self.numbers:
            self.go(self.numbers[-1])

    @on(CursorWanted)
    def _clicked(self, message: CursorWanted) -> None:
        self.stop_replay()
        self.go(message.step)

    @on(Gallery.Selected)
    def _tile_selected(self, message: Gallery.Selected) -> None:
        if message.frame.kind == "preview":
            self.cursor = message.frame.step
            self.following = bool(self.numbers) and self.cursor == self.numbers[-1]
        self.draw()

    def zoom(self, by: int) -> None:
        """Show half (2) or twice (-2) as many steps around the cursor, or all (0)."""
        self._window, axis = (None, self.axis)
        if by:
            span = max((axis.last - axis.first) // 2 if by > 0 else (axis.last - axis.first) * 2, 4)
            whole = self.axis
            if span < whole.last - whole.first:
                first = max(whole.first, min(self.cursor - span // 2, whole.last - span))
                self._window = (first, first + span)
        self.draw()

    def log_scale(self) -> None:
        """Switch the scale of positive losses."""
        self._log = not self._log
        self.draw()

    # Replay

    def action_replay(self) -> None:
        if self._player is not None:
            self.stop_replay()
            self.draw()
            return
        if len(self.numbers) < 2:
            return
        if self.cursor >= self.numbers[-1]:
            self.cursor = self.numbers[0]
        slow = self.host.options.low_bandwidth
        seconds = SLOW_REPLAY_SECONDS if slow else REPLAY_SECONDS
        self._position = float(self.cursor)
        self._player = self.set_interval(seconds, lambda: self._play(seconds))
        self.draw()

    def _play(self, seconds: float) -> None:
        self._position += SPEEDS[self._speed] * seconds
        self.go(int(self._position))
        if self.cursor >= self.numbers[-1]:
            self.stop_replay()
            self.draw()

    def stop_replay(self) -> None:
        """Stop the replay at the cursor."""
        if self._player is not None:
            self._player.stop()
            self._player = None

    def action_speed(self, by: int) -> None:
        self._speed = max(0, min(self._speed + by, len(SPEEDS) - 1))
        self.draw_tabs()

    # Pages of text

    def _prompts_text(self, prompts: Sequence[PromptRow]) -> Text:
        palette = self.host.palette
        text = Text(no_wrap=True, overflow="ellipsis")
        if not prompts:
            return text.append("Prompts are ranked when the search ends.", palette.dim)
        text.append(f"{'rank':>4}  {'mean loss':>9}  {'pictures':>8}  words\n", palette.dim)
        longest = max(len(", ".join(map(clean, prompt.words))) for prompt in prompts)
        for prompt in prompts:
            loss = "" if prompt.mean_loss is None else f"{prompt.mean_loss:.3f}"
            text.append(f"{prompt.rank:>4}  ", palette.dim)
            text.append(f"{loss:>9}  {prompt.pictures:>8}  ")
            words = ", ".join(map(clean, prompt.words))
            text.append(f"{words:<{min(longest, 40)}}", f"bold {palette.accent}")
            text.append(f"   {clean(prompt.text)}\n", palette.dim)
        return text

    def _gains_text(self, gains: Sequence[WordGainRow]) -> Text:
        """Show the loss reduction of each word with its interval; a tick marks the drivers."""
        palette, signs = self.host.palette, self.host.signs
        text = Text(no_wrap=True, overflow="ellipsis")
        if not gains:
            return text
        first, last = min(0.0, *(g.low for g in gains)), max(0.0, *(g.high for g in gains))
        if first == last:  # all pictures scored the same
            last = 1.0
        mark = signs.states["succeeded"]
        title = f"Words that drive the result ({mark}), estimated from every picture in the search"
        text.append(f"\n{title}\n", "bold")
        header = f"  {'word':<14} {'':<{_BAR}} {'loss reduction (95% CI)':<25}{'pictures':>8}\n"
        text.append(header, palette.dim)
        for gain in gains:
            colour = palette.good if gain.carries else palette.dim
            text.append(f"{mark if gain.carries else '':<2}", colour)
            text.append(f"{fit(clean(gain.word), 14):<14} ", f"bold {colour}")
            interval = (gain.low, gain.gain, gain.high)
            interval_bar(text, interval, (first, last), _BAR, colour, palette, signs)
            text.append(f" {gain.gain:+.2f} ({gain.low:+.2f} to {gain.high:+.2f})".ljust(26))
            text.append(f"{gain.pictures:>8}\n", palette.dim)
        return text

    def _show_config(self) -> None:
        run = self.run_row
        if run is None:
            return
        from dexter.config import PRESETS, RunConfig

        # In the order of the fields of RunConfig.
        stored = run.config
        order = [name for name in RunConfig.model_fields if name in stored]
        config = {name: stored[name] for name in dict.fromkeys((*order, *stored))}
        name = str(config.get("preset", "default"))
        preset: dict[str, object] = {}
        if name in PRESETS:
            made = RunConfig.from_preset(name, classifier="any", class_name="any")
            own = ("classifier", "class_name", "seed")  # never part of a preset
            preset = {k: v for k, v in made.model_dump(mode="json").items() if k not in own}
        key = self.host.browse.find(run.study_id)
        study = self.host.browse.studies([-key])[-key].settings if key is not None else {}
        facts = {
            "run": run.id,
            "study": run.study_id,
            "recognised": str(study.get("recognised") or ""),
            "attempt": str(run.attempt),
            "created": local_time(run.created_at),
            "started": local_time(run.started_at),
            "ended": local_time(run.ended_at),
            "stop reason": run.stop_reason or "",
            "tags": ", ".join(self.host.browse.tags([run.id]).get(run.id, ())),
            "note": self.host.browse.note(run.id).replace("\n", "; "),
            "peak memory": size(run.peak_memory_bytes) if run.peak_memory_bytes else "",
            "files": short_path(self.host.browse.log(run.id).parent),
        }
        self.query_one("#config", TextPage).put(
            settings_text(config, preset, self.host.palette, facts)
        )

    # Actions

    def action_enlarge(self) -> None:
        frame = self.frame_at_cursor
        if frame is not None:
            self.host.open_picture(self.frames, self.frames.index(frame), self.labels)

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


def _loss(name: str) -> Callable[[StepRow], float | None]:
    return lambda step: step.losses.get(name)
