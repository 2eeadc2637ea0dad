"""What `run` and `resume` show on standard error while their workers work."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dexter_tui.formatting import STATE_STYLES, clean, duration, plain
from dexter_tui.jobs.team import Team
from dexter_tui.machine import terminal_images
from dexter_tui.presentation.run_tables import score_text, seconds_left, steps_text, study_title
from store import ENDED, State, Store
from store.artifacts import open_picture
from store.states import ACTIVE
from store.tables import Run

POLL_SECONDS = 0.5
LINE_SECONDS = 10.0  # between two lines about one run, where there is no terminal
PREVIEW_SECONDS = 2.0  # between two pictures: 24 by 12 cells are 10 kB on a slow line
PREVIEW_COLUMNS = 24
PREVIEW_ROWS = PREVIEW_COLUMNS // 2
PACE_STEPS = 20  # the last steps, from which the time left is told


def watch(team: Team, console: Console) -> None:
    """Show the team's runs until all have ended.

    The first Ctrl-C cancels the runs and waits for their end, the second kills their processes.
    """
    screen = Screen(team.store, console)
    lines = Lines(console)
    live = Live(console=console, auto_refresh=False, transient=True)
    with _interrupts() as presses, live if console.is_terminal else nullcontext():
        answered = 0
        while team.working():
            if presses.count > answered:
                answered = presses.count
                if answered == 1:
                    console.print("cancelling; Ctrl-C again to kill")
                    team.cancel()
                else:
                    team.kill()
            runs = team.runs()
            if console.is_terminal:
                live.update(screen.render(runs), refresh=True)
            else:
                lines.tell(runs)
            time.sleep(POLL_SECONDS)
        if not console.is_terminal:
            lines.tell(team.runs())


class _Presses:
    """How often Ctrl-C was pressed."""

    count = 0

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.count += 1


@contextmanager
def _interrupts() -> Iterator[_Presses]:
    """Count Ctrl-C instead of being interrupted anywhere."""
    presses = _Presses()
    before = signal.signal(signal.SIGINT, presses)
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, before)


class Lines:
    """Plain lines: each change of state, and now and then how far a run is."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, State] = {}
        self._told_at: dict[str, float] = {}

    def tell(self, runs: Sequence[Run]) -> None:
        """Print what is new about the runs."""
        for run in runs:
            changed = self._states.get(run.id) is not run.state
            waited = time.monotonic() - self._told_at.get(run.id, 0.0)
            if changed or (run.state is State.RUNNING and waited >= LINE_SECONDS):
                self._states[run.id] = run.state
                self._told_at[run.id] = time.monotonic()
                parts = [f"run {run.id} seed {run.seed}: {run.state.value}", steps_text(run)]
                parts += [", ".join(run.words or []), score_text(run), run.error or ""]
                line = "  ".join(clean(part) for part in parts if part)
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class Screen:
    """The live view of a terminal: a line for each seed, and one picture of the search."""

    def __init__(self, store: Store, console: Console) -> None:
        self._store = store
        self._console = console
        self._picture: RenderableType = ""
        self._picture_at = 0.0

    def render(self, runs: Sequence[Run]) -> RenderableType:
        """The view of the runs as they stand."""
        title = study_title(runs[0].study)
        title.truncate(self._console.width, overflow="ellipsis")
        parts: list[RenderableType] = [title]
        room = self._console.height - len(parts) - PREVIEW_ROWS - 4
        shown = _most_telling(runs, max(room, 3))
        parts.append(self._table(shown))
        if len(shown) < len(runs):
            parts.append(Text(f"  and {len(runs) - len(shown)} more", style="dim"))
        if self._console.height >= len(shown) + PREVIEW_ROWS + 5:
            self._refresh_picture(runs)
            parts.append(self._picture)
        return Group(*parts)

    def _table(self, runs: Sequence[Run]) -> Table:
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", expand=True)
        table.add_column("seed", justify="right", no_wrap=True)
        table.add_column("", width=12, no_wrap=True)
        table.add_column("steps", justify="right", no_wrap=True)
        table.add_column("left", justify="right", no_wrap=True)
        table.add_column("loss", justify="right", no_wrap=True)
        table.add_column("p", justify="right", no_wrap=True)
        table.add_column("words", ratio=1, no_wrap=True, overflow="ellipsis")
        for run in runs:
            table.add_row(str(run.seed), *self._cells(run))
        return table

    def _cells(self, run: Run) -> list[RenderableType]:
        steps = self._store.steps(run.id, after=run.steps_done - PACE_STEPS)
        last = steps[-1] if steps else None
        state = Text(run.state.value, style=STATE_STYLES.get(run.state.value, ""))
        loss = f"{last.losses['total']:.3f}" if last else ""
        p = f"{last.target_probability:.2f}" if last and last.target_probability is not None else ""
        words = run.words or (last and last.best_words) or []
        text = plain(run.error, "red") if run.error else plain(", ".join(words))
        left = ""
        if run.state is State.RUNNING and run.words:
            state = Text("drawing", style="cyan")
            left = f"{run.frames_hit or 0}/{run.frames_wanted}"
        elif run.state is State.RUNNING:
            seconds = seconds_left(run, steps)
            left = "" if seconds is None else duration(seconds)
        elif run.state is State.SUCCEEDED:
            left = f"{run.score_value:.0%}" if run.score_value is not None else ""
        progress: RenderableType = state
        if run.state is State.RUNNING and not run.words and run.steps_total:
            progress = ProgressBar(total=run.steps_total, completed=run.steps_done, width=11)
        return [progress, steps_text(run) if run.steps_total else "", left, loss, p, text]

    def _refresh_picture(self, runs: Sequence[Run]) -> None:
        """Take the newest preview of the first run at work, every two seconds at most."""
        now = time.monotonic()
        if now - self._picture_at < PREVIEW_SECONDS:
            return
        self._picture_at = now
        for run in runs:
            if run.state is State.RUNNING:
                previews = self._store.frames(run.id, kind="preview")
                if previews:
                    frame = previews[-1]
                    picture = open_picture(self._store.thumbnail_path(frame.sha256))
                    blocks = terminal_images.half_blocks(picture, PREVIEW_COLUMNS)
                    grid = Table.grid(padding=(0, 2))
                    mark = "taken for the class" if frame.hit else "taken for another class"
                    grid.add_row(
                        Text.from_ansi(blocks),
                        Group(
                            "",
                            plain(f"seed {run.seed}, step {frame.step}", "bold"),
                            plain(frame.prompt),
                            Text(mark, style="green" if frame.hit else "dim"),
                        ),
                    )
                    self._picture = grid
                return


def _most_telling(runs: Sequence[Run], count: int) -> list[Run]:
    """Up to ``count`` runs, those at work first, then the ended, in the order of their seeds."""

    def rank(run: Run) -> tuple[int, int]:
        kind = 0 if run.state in ACTIVE else 1 if run.state in ENDED else 2
        return kind, run.seed

    return sorted(sorted(runs, key=rank)[:count], key=lambda run: run.seed)
