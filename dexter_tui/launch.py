"""Starts worker processes, watches them, and ends them when the user says so.

Workers live in sessions of their own, so that a closed terminal or a killed command harms no run.
Their state is read from the store alone.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dexter_tui import EXIT_FAILED, EXIT_REFUSED
from dexter_tui.paths import PACKAGED, home
from store import ENDED, State, Store, StoreError
from store.tables import Run


def worker_environment() -> dict[str, str]:
    """One thread each, for speed side by side and for the same numbers again, and our packages."""
    path = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "DEXTER_HOME": str(home()),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(PACKAGED), *([path] if path else [])]),
    }


def log_file(store: Store, run_id: str) -> Path:
    """Where a run's worker writes what it has to say."""
    return store.run_folder(run_id) / "log"


@dataclass
class Team:
    """Up to ``jobs`` workers that take the runs ``run_ids`` one after another."""

    store: Store
    run_ids: Sequence[str]
    jobs: int
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    _queued_at_start: int = 0
    _first_queued: str = ""

    def start(self) -> None:
        """Start the workers that the queued runs call for."""
        self._queued_at_start = self._queued()
        for _ in range(min(self.jobs, self._queued_at_start)):
            self._spawn()

    def runs(self) -> list[Run]:
        """The runs as they stand; one whose worker died is lost by now."""
        self.store.reconcile()
        return [self.store.run(run_id) for run_id in self.run_ids]

    def working(self) -> bool:
        """Whether any worker lives, after burying the dead and, where needed, replacing them."""
        for worker in list(self.workers):
            code = worker.poll()
            if code is not None:
                self.workers.remove(worker)
                self.exit_codes.append(code)
                if code < 0 or code > EXIT_REFUSED:
                    self._replace()
        return bool(self.workers)

    def cancel(self) -> None:
        """Ask for an end of all runs that have not ended: each at its next step."""
        for run in self.runs():
            to = State.CANCELLED if run.state in (State.QUEUED, State.PAUSED) else State.CANCELLING
            self._try_state(run, to)
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the workers at once."""
        for worker in self.workers:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        self.workers.clear()
        for run_id in self.run_ids:
            self._try_state(self.store.run(run_id), State.CANCELLED)

    def abandon_queued(self) -> None:
        """End the runs that no worker took: those that were started could not even begin."""
        for run in self.runs():
            if run.state is State.QUEUED:
                log = log_file(self.store, self._first_queued)
                error = f"no worker took this run: they ended at their start; see {log}"
                with suppress(StoreError):
                    self.store.finish_run(run.id, State.CANCELLED, error=error)

    def exit_code(self) -> int:
        """0 if all succeeded, 2 if all that went wrong is refused input, else 1."""
        if all(run.state is State.SUCCEEDED for run in self.runs()):
            return 0
        wrong = [code for code in self.exit_codes if code]
        refused = bool(wrong) and all(code == EXIT_REFUSED for code in wrong)
        return EXIT_REFUSED if refused else EXIT_FAILED

    def _queued(self) -> int:
        return sum(self.store.run(run_id).state is State.QUEUED for run_id in self.run_ids)

    def _replace(self) -> None:
        """A worker was killed: another takes its place, unless they die without taking a run."""
        queued = self._queued()
        if 0 < queued < self._queued_at_start:
            self._queued_at_start = queued
            self._spawn()

    def _spawn(self) -> None:
        # Until a worker takes a run, what it says goes to the log of the first that waits.
        self._first_queued = next(
            run_id for run_id in self.run_ids if self.store.run(run_id).state is State.QUEUED
        )
        with log_file(self.store, self._first_queued).open("ab") as log:
            self.workers.append(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "dexter_tui.worker", *self.run_ids],
                    env=worker_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _try_state(self, run: Run, to: State) -> None:
        if run.state in ENDED:
            return
        with suppress(StoreError):  # the worker was faster
            self.store.set_state(run.id, to)
