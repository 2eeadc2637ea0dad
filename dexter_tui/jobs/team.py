"""The runs and jobs of one command, from the queue to their end."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from dexter_tui import EXIT_FAILED, EXIT_REFUSED
from dexter_tui.jobs import control
from dexter_tui.machine import devices
from store import ENDED, State, Store, StoreError, run_queue
from store.run_queue import Work
from store.tables import Run

ENSURE_SECONDS = 3.0


@dataclass
class Team:
    """The runs and jobs of a command, on up to ``jobs`` CPU slots or GPUs."""

    store: Store
    ids: Sequence[str]
    jobs: int | None = None
    _ensured_at: float = 0.0

    def work(self) -> list[Work]:
        """Return the runs and jobs as they stand."""
        run_queue.reconcile(self.store)
        return run_queue.find_all(self.store, self.ids)

    def runs(self) -> list[Run]:
        """Return the runs as they stand."""
        return [work for work in self.work() if isinstance(work, Run)]

    def working(self) -> bool:
        """Return whether any of the work is still to be waited for."""
        left = [work for work in self.work() if work.state not in ENDED | {State.PAUSED}]
        if left and time.monotonic() - self._ensured_at > ENSURE_SECONDS:
            control.ensure_runners(self.store, jobs=self.jobs)
            self._ensured_at = time.monotonic()
        if left and all(work.state is State.QUEUED for work in left):
            note = self._hopeless(left[0])
            if note is not None:
                self._abandon(left, note)
                return False
        return bool(left)

    def cancel(self) -> None:
        """Ask for an end of all work that has not ended, at its next step."""
        for work in self.work():
            if work.state not in ENDED:
                with suppress(StoreError):  # the worker was faster
                    control.cancel(self.store, work.id)

    def kill(self) -> None:
        """End the processes that are at the work at once."""
        for work in self.work():
            if work.state not in ENDED:
                with suppress(StoreError):
                    control.kill(self.store, work.id)

    def exit_code(self) -> int:
        """Return 0 if all succeeded, 2 if all that failed is refused input, else 1."""
        wrong = [work for work in self.work() if work.state is not State.SUCCEEDED]
        if not wrong:
            return 0
        refused = all(work.refused for work in wrong)
        return EXIT_REFUSED if refused else EXIT_FAILED

    def _hopeless(self, work: Work) -> str | None:
        """Return why no slot will take the work: all gave up since we began."""
        notes = {row.name: row for row in run_queue.slots(self.store)}
        note = None
        if isinstance(work, Run) and work.place is not None:
            fitting = [control.keeper_slot(work.place)]
        else:
            slots = devices.slots(cpu_slots=self.jobs)
            fitting = [slot.name for slot in slots if work.wish in slot.accepts]
        for name in fitting:
            row = notes.get(name)
            if control.runner_alive(self.store, name):
                return None
            if row is not None and row.broken:
                note = row.note
        return note

    def _abandon(self, left: Sequence[Work], note: str) -> None:
        for work in left:
            with suppress(StoreError):
                if isinstance(work, Run):
                    run_queue.finish_run(self.store, work.id, State.CANCELLED, error=note)
                else:
                    error = {"problem": note}
                    run_queue.finish_job(self.store, work.id, State.CANCELLED, error=error)
