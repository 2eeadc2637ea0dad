"""The runs of one command, from the queue to their end."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from dexter_tui import EXIT_FAILED, EXIT_REFUSED
from dexter_tui.jobs import control
from dexter_tui.machine import devices
from store import ENDED, State, Store, StoreError
from store.clock import now
from store.tables import Run

ENSURE_SECONDS = 3.0


@dataclass
class Team:
    """Sees that runners work on the runs ``run_ids``, on up to ``jobs`` CPU slots or GPUs."""

    store: Store
    run_ids: Sequence[str]
    jobs: int | None
    _begun: datetime = field(default_factory=now)
    _ensured_at: float = 0.0

    def start(self) -> None:
        """Start the runners that the queue calls for."""
        self._begun = now()
        control.ensure_runners(self.store, jobs=self.jobs, again=True)
        self._ensured_at = time.monotonic()

    def runs(self) -> list[Run]:
        """The runs as they stand."""
        self.store.reconcile()
        return [self.store.run(run_id) for run_id in self.run_ids]

    def working(self) -> bool:
        """Whether any of the runs is still to be waited for."""
        left = [run for run in self.runs() if run.state not in ENDED | {State.PAUSED}]
        if left and time.monotonic() - self._ensured_at > ENSURE_SECONDS:
            control.ensure_runners(self.store, jobs=self.jobs)
            self._ensured_at = time.monotonic()
        if left and all(run.state is State.QUEUED for run in left):
            note = self._hopeless(left[0])
            if note is not None:
                self._abandon(left, note)
                return False
        return bool(left)

    def cancel(self) -> None:
        """Ask for an end of all runs that have not ended: each at its next step."""
        for run in self.runs():
            if run.state not in ENDED:
                with suppress(StoreError):  # the worker was faster
                    control.cancel(self.store, run.id)

    def kill(self) -> None:
        """End the processes that work on the runs at once."""
        for run in self.runs():
            if run.state not in ENDED:
                with suppress(StoreError):
                    control.kill(self.store, run.id)

    def exit_code(self) -> int:
        """0 if all succeeded, 2 if all that failed is refused input, else 1."""
        wrong = [run for run in self.runs() if run.state is not State.SUCCEEDED]
        if not wrong:
            return 0
        refused = all(
            run.state is State.FAILED and run.stop_reason == control.REFUSED for run in wrong
        )
        return EXIT_REFUSED if refused else EXIT_FAILED

    def _hopeless(self, run: Run) -> str | None:
        """Why no slot will take the run: all gave up since we began, and none has a runner."""
        notes = {row.name: row for row in self.store.slots()}
        told = None
        device = run.config.get("device", "auto")
        fitting = [s for s in devices.slots(cpu_slots=self.jobs) if device in s.accepts]
        for slot in fitting:
            row = notes.get(slot.name)
            if control.runner_alive(self.store, slot.name):
                return None
            if row is not None and row.broken and row.updated_at >= self._begun:
                told = row.note
        return told

    def _abandon(self, runs: Sequence[Run], note: str) -> None:
        for run in runs:
            with suppress(StoreError):
                self.store.finish_run(run.id, State.CANCELLED, error=note)
