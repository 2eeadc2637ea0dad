"""The row of the job that a process works on: its progress, its notes, and what users ask of it."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dexter.errors import InputError
from dexter_tui.formatting import clean
from dexter_tui.jobs.worker import LOAD_PROMISE
from store import State, Store, StoreError, run_queue
from store.states import NoteKind
from store.tables import Job

TELL_SECONDS = 0.5


@dataclass
class Progress:
    """The progress of one stage, written to the store at most twice a second."""

    write: Callable[[int, int], None]
    done: int = 0
    total: int = 0
    _written_at: float = 0.0

    def plan(self, more: int) -> None:
        """Set how much is still to do."""
        self.total = self.done + more
        self.add(0)

    def add(self, count: int) -> None:
        """Count what was done. Raises `jobs.worker.Stopped` if a user asked for an end."""
        self.done += count
        self.total = max(self.total, self.done)
        now = time.monotonic()
        if now - self._written_at >= TELL_SECONDS:
            self._written_at = now
            self.write(self.done, self.total)


@dataclass
class Failed:
    """The stages of a job that failed, in a line."""

    line: str
    out_of_memory: bool


class Desk:
    """A job at work, and the store that it reads and writes.

    `device` is what its models are placed on, "cpu" or "cuda". `heed` raises
    `jobs.worker.Stopped` for a state in which the work is to end.
    """

    def __init__(self, store: Store, job: Job, device: str, heed: Callable[[State], None]) -> None:
        self.store = store
        self.job = job
        self.device = device
        self._heed = heed
        self._steps = 0  # of the stages before
        self._progress: Progress | None = None
        self._loading = True  # the worker has said that the job starts

    def loading(self, what: str | None) -> None:
        """Show observers the model that is loaded now; None: the progress says enough."""
        self._loading = what is not None
        activity = f"loading {what}" if what else None
        with suppress(StoreError):  # no loss
            run_queue.set_activity(self.store, self.job.slot or "", self.job.id, activity)

    def begin(
        self,
        stage: str,
        also: Callable[[int, int], None] = lambda done, total: None,
        later: int = 0,
    ) -> Progress:
        """Begin a stage; `also` is called with each progress that is written.

        The job's total includes `later`, the most that later stages have to do, so that the end of
        the job can be estimated from the pace of this stage.
        """
        if self._progress is not None:
            self._steps += self._progress.done + 1

        def write(done: int, total: int) -> None:
            also(done, total)
            if self._loading and (total or stage != "models"):
                self.loading(None)
            state = run_queue.update_job(
                self.store,
                self.job.id,
                stage=stage,
                done=done,
                total=total + later if total else 0,
                steps_done=self._steps + done,
                promise=LOAD_PROMISE,
            )
            self._heed(state)

        self._progress = Progress(write)
        write(0, 0)
        return self._progress

    def note(self, kind: NoteKind, **parts: Any) -> None:
        """Leave a note for those who follow the job."""
        run_queue.add_note(self.store, self.job.id, {"kind": kind.value, **parts})


def error_parts(error: InputError | StoreError) -> dict[str, Any]:
    """Return the parts of an error, for JSON."""
    value = error.value
    plain = value is None or isinstance(value, str | int | float)
    return {
        "problem": clean(error.problem),
        "field": error.field,
        "value": value if plain else str(value),
        "remedy": error.remedy,
    }
