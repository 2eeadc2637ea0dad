"""The progress of runs and jobs on standard error, for the commands that wait for them."""

import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dexter.errors import InputError
from dexter_tui.cli.output import console_on, say_space, start_runners
from dexter_tui.formatting import STATE_STYLES, clean, duration, plain
from dexter_tui.jobs.team import Team
from dexter_tui.machine import terminal_images
from dexter_tui.presentation.job_tables import note_line
from dexter_tui.presentation.run_tables import score_text, seconds_left, steps_text, study_title
from store import ENDED, State, Store, run_queue
from store.artifacts import open_picture
from store.run_queue import Work
from store.states import ACTIVE
from store.tables import Job, Run

POLL_SECONDS = 0.5
LINE_SECONDS = 10.0  # between two lines about one run, where there is no terminal
SPACE_SECONDS = 30.0  # between two looks at the free disk space
PREVIEW_SECONDS = 2.0  # between two pictures: 24 by 12 cells are 10 kB on a slow line
PREVIEW_COLUMNS = 24
PREVIEW_ROWS = PREVIEW_COLUMNS // 2
PACE_STEPS = 20  # the last steps or changes, for the estimate of the time left


def watch(
    team: Team,
    whole: Callable[[Sequence[Work]], str] = lambda works: "",
    names: Mapping[str, str] | None = None,
) -> None:
    """Show the team's runs and jobs on standard error until all have ended.

    The first Ctrl-C cancels them and waits for their end, the second kills their processes.
    `whole` returns a line on all of them together, shown beside the lines of each. `names` says
    what some of the jobs are about, by id.
    """
    console = console_on(sys.stderr)
    whole_at = space_at = time.monotonic()
    lines = Lines(console, names)
    searching = all(isinstance(work, Run) for work in team.work())
    screen = Screen(team.store, console) if console.is_terminal and searching else None
    live = Live(console=console, auto_refresh=False, transient=True)
    with _interrupts() as presses, live if screen else nullcontext():
        answered = 0
        while team.working():
            if presses.count > answered:
                answered = presses.count
                if answered == 1:
                    console.print("cancelling; Ctrl-C again to kill")
                    team.cancel()
                else:
                    team.kill()
            if screen:
                live.update(screen.render(team.runs()), refresh=True)
            else:
                lines.show(team.work(), run_queue.activities(team.store))
                line = whole(team.work())
                if line and time.monotonic() - whole_at >= LINE_SECONDS:
                    whole_at = time.monotonic()
                    console.print(line, markup=False, highlight=False)
            if time.monotonic() - space_at >= SPACE_SECONDS:
                space_at = time.monotonic()
                say_space(team.store.home)
            time.sleep(POLL_SECONDS)
        if not screen:
            lines.show(team.work())


def follow(store: Store, job_id: str, *, detach: bool = False) -> int:
    """Have runners do a job, and show its progress until it ends; return the exit code.

    Ctrl-C cancels the job. With `detach` nothing is waited for. InputError for refused input.
    """
    start_runners(store)
    if detach:
        return 0
    team = Team(store, [job_id])
    watch(team)
    job = store.job(job_id)
    if job.refused and job.error is not None:
        parts = {name: job.error.get(name) for name in ("field", "value", "remedy")}
        raise InputError(job.error["problem"], **parts)
    return team.exit_code()


class _Presses:
    """A count of Ctrl-C."""

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


_NONE: Mapping[str, str] = {}


class Lines:
    """Plain lines: each change of state, each note of a job, and now and then the progress."""

    def __init__(self, console: Console, names: Mapping[str, str] | None = None) -> None:
        self._console = console
        self._names = names or {}
        self._states: dict[str, object] = {}
        self._shown_at: dict[str, float] = {}
        self._printed: dict[str, str] = {}  # the last line of each
        self._notes: dict[str, int] = {}
        # The times of the latest progress in the stage of a job, and how much was done then.
        self._progress: dict[str, deque[tuple[float, int]]] = {}

    def show(self, works: Sequence[Work], activities: Mapping[str, str] = _NONE) -> None:
        """Print what is new; `activities` says what slots do now, by the id of the work."""
        for work in works:
            if isinstance(work, Job):
                self._show_notes(work)
            activity = None if work.state in ENDED else activities.get(work.id)
            stage = None if isinstance(work, Run) else work.stage
            state = (work.state, stage, activity)
            changed = self._states.get(work.id) != state
            if changed:
                self._progress.pop(work.id, None)
            if isinstance(work, Job) and work.done:
                known = self._progress.setdefault(work.id, deque(maxlen=PACE_STEPS + 1))
                if not known or known[-1][1] != work.done:
                    known.append((time.monotonic(), work.done))
            waited = time.monotonic() - self._shown_at.get(work.id, 0.0)
            if changed or (work.state is State.RUNNING and waited >= LINE_SECONDS):
                self._states[work.id] = state
                self._shown_at[work.id] = time.monotonic()
                parts = _run_parts(work) if isinstance(work, Run) else self._job_parts(work)
                if activity:
                    parts.insert(1, activity)
                line = "  ".join(clean(part) for part in parts if part)
                if changed or line != self._printed.get(work.id):
                    self._print(line)
                self._printed[work.id] = line

    def _show_notes(self, job: Job) -> None:
        shown = self._notes.get(job.id, 0)
        if len(job.notes) < shown:  # another attempt begins
            shown = 0
        for note in job.notes[shown:]:
            self._print(note_line(note))
        self._notes[job.id] = len(job.notes)

    def _job_parts(self, job: Job) -> list[str]:
        about = f" ({self._names[job.id]})" if job.id in self._names else ""
        name = job.screening_id or job.comparison_id or job.study_id or job.id  # as lists have it
        parts = [f"{job.kind.value} {name}{about}: {job.state.value}"]
        if job.state is State.RUNNING and job.stage:
            parts.append(job.stage)
            if job.total:
                parts.append(f"{job.done} of {job.total}")
                if times := self._progress.get(job.id):
                    # Without the time since the last: a wait, as for room on the disk, is no pace.
                    (began, first), (at, done) = times[0], times[-1]
                    pace = (at - began) / max(1, done - first)
                    left = duration(pace * (job.total - job.done))
                    parts += [f"{left} left at most"] if done > first else []
        return [*parts, job.error_line or ""]

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _run_parts(run: Run) -> list[str]:
    parts = [f"run {run.id} seed {run.seed}: {run.state.value}", steps_text(run)]
    return [*parts, ", ".join(run.words or []), score_text(run), run.error or ""]


class Screen:
    """The live view of a terminal: a line for each seed, and one picture of the search."""

    def __init__(self, store: Store, console: Console) -> None:
        self._store = store
        self._console = console
        self._picture: RenderableType = ""
        self._picture_at = 0.0
        self._activities: Mapping[str, str] = {}

    def render(self, runs: Sequence[Run]) -> RenderableType:
        """Return the view of the runs as they stand."""
        self._activities = run_queue.activities(self._store)
        title = study_title(runs[0].study, runs[0].config.get("preset"))
        parts: list[RenderableType] = []
        for line in title.split("\n"):
            line.truncate(self._console.width, overflow="ellipsis")
            parts.append(line)
        room = self._console.height - len(parts) - PREVIEW_ROWS - 4
        shown = _most_telling(runs, max(room, 3))
        parts.append(self._table(shown))
        if len(shown) < len(runs):
            parts.append(Text(f"  and {len(runs) - len(shown)} more", style="dim"))
        if self._console.height >= len(shown) + PREVIEW_ROWS + 6:
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
        activity = self._activities.get(run.id) or ""
        loss = f"{last.losses['total']:.3f}" if last else ""
        p = f"{last.target_probability:.2f}" if last and last.target_probability is not None else ""
        words = run.words or (last and last.best_words) or []
        text = plain(run.error, "red") if run.error else plain(", ".join(words) or activity)
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
                    taken = frame.predicted_class == run.study.class_index
                    mark = "taken for the class" if taken else "not taken for the class"
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
    """Return up to ``count`` runs, the active first, then the ended, ordered by seed."""

    def rank(run: Run) -> tuple[int, int]:
        kind = 0 if run.state in ACTIVE else 1 if run.state in ENDED else 2
        return kind, run.seed

    return sorted(sorted(runs, key=rank)[:count], key=lambda run: run.seed)
