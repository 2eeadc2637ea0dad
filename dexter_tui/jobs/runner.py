"""Has queued runs and jobs done on one device slot: ``python -m dexter_tui.jobs.runner SLOT``

It starts a worker where work waits that the device has room for, sees that requests of users are
followed, queues work again whose process died, and ends when nothing is left to do.
It finds its worker by locks and by the store, so that it can be killed and another takes over:
the worker itself starts one.
"""

import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.planning.estimate import estimate
from dexter_tui import EXIT_FAILED
from dexter_tui.formatting import size
from dexter_tui.jobs import control, guard, launch
from dexter_tui.jobs.recorder import log
from dexter_tui.machine import devices, doctor
from dexter_tui.paths import home
from store import State, Store, StoreError, run_queue
from store.database import is_newer
from store.locks import holder_here, is_locked, try_lock
from store.run_queue import Work

POLL_SECONDS = 0.5
IDLE_SECONDS = 15.0
TERM_SECONDS = 15.0
"""The seconds after which work that was asked to end is sent SIGTERM,"""
KILL_SECONDS = 30.0
"""and those after which it is killed."""
STARTS = 2
"""The workers in a row that end without taking anything before a slot is given up."""
IDLE_SHARE = 0.1
"""The share of a GPU's memory below which nobody computes on it."""
STOPPED_SECONDS = 5.0
"""The seconds after which a worker that was stopped (SIGSTOP) is continued."""
PROMISE = 900.0
"""Seconds without a sign in which a worker counts as alive, where it promised nothing."""


def main(name: str) -> int:
    """Work until nothing is left to do."""
    if not (home() / "store.sqlite").exists():  # deleted since this process was started
        log(f"{home()}: no store")
        return EXIT_FAILED
    with Store.open(home()) as store:
        runner = Runner(store, devices.slot(name))
        while True:
            lock = try_lock(run_queue.runner_lock(store, name))
            if lock is None:
                return 0  # the slot has a runner
            with lock:
                guard.start(store, lock)
                code = runner.work()
            # A process that queued work while we still held the lock counts on us.
            if code or runner.ending or not run_queue.queue(store, devices=runner.slot.accepts):
                return code


@dataclass
class _Watched:
    """The signs of life of the work on the slot."""

    name: str
    attempt: int
    sign: datetime | None = None
    """Its heartbeat, as the store has it,"""
    sign_at: float = field(default_factory=time.monotonic)
    """and since when, by our own clock, which no change of the time of day moves."""
    asked_at: float | None = None
    """Since when it is to end or to pause."""
    terminated: bool = False
    """Whether it was sent SIGTERM for that."""


class Runner:
    """The runner of one slot."""

    def __init__(self, store: Store, slot: devices.Slot) -> None:
        self.store = store
        self.slot = slot
        self._telemetry = devices.reader(slot)
        self._worker: subprocess.Popen[bytes] | None = None
        self._watched: _Watched | None = None
        self._stopped_at: float | None = None
        self._failed_starts = 0
        self._note: str | None = ""  # what the store has of a runner before this one
        self.ending = False

    def work(self) -> int:
        """Loop; return the exit code."""
        signal.signal(signal.SIGTERM, self._terminate)
        idle_since = time.monotonic()
        trouble = ""
        while not self.ending:
            try:
                if self._tick():
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > IDLE_SECONDS:
                    log("nothing to do")
                    return 0
            except (StoreError, OSError) as error:
                if not self.store.path.exists() and not self._occupied():
                    log(str(error))
                    return 1
                if self._watched is not None:
                    self._watched.sign_at = time.monotonic()
                if str(error) != trouble:
                    trouble = str(error)
                    log(f"trying again: {error}", "warning")
            if self._failed_starts >= STARTS:
                return self._give_up()
            time.sleep(POLL_SECONDS)
        return 0

    def _terminate(self, *_: object) -> None:
        self.ending = True

    def _tick(self) -> bool:
        """Do what is to be done now; return whether there is anything to stay for."""
        if self._note == "":
            self._describe(None)
        run_queue.reconcile(self.store)
        if self._worker is not None and self._worker.poll() is not None:
            self._bury(self._worker)
        if self._occupied():
            self._wake()
            self._watch()
            return True
        self._watched = None
        due = run_queue.queue(self.store, devices=self.slot.accepts, due=True)
        if not due:
            return bool(run_queue.queue(self.store, devices=self.slot.accepts))
        lacking = self._lacking(due[0])
        if self._describe(lacking) and self.slot.on_gpu and lacking is not None:
            control.ensure_runners(self.store)  # perhaps another card has room
        if lacking is None and is_newer(self.store.path):
            log("ends: a newer version upgraded the store, and its runner takes over")
            self.ending = True
        elif lacking is None:
            run_queue.set_activity(self.store, self.slot.name, due[0].id, "loading torch")
            self._worker = launch.start(
                self.store, launch.WORKERS[due[0].kind], self.slot.name, self.slot.environment()
            )
        return True

    def _occupied(self) -> bool:
        """Return whether a worker is on the slot, or about to be."""
        return self._worker is not None or is_locked(
            run_queue.slot_lock(self.store, self.slot.name)
        )

    def _bury(self, worker: subprocess.Popen[bytes]) -> None:
        """Count a worker of ours that ended without taking anything."""
        self._worker = None
        took = run_queue.has_taken(self.store, self.slot.name, worker.pid)
        self._failed_starts = 0 if took or not worker.returncode else self._failed_starts + 1
        if worker.returncode:
            log(f"the worker ended with {worker.returncode}", "error")

    def _give_up(self) -> int:
        packages = doctor.check_packages()
        if packages.status == "error":
            note = f"no worker could start: {packages.detail}; {packages.remedy}"
        else:
            path = launch.slot_log(self.store, self.slot.name)
            note = f"no worker took anything: they ended at their start; see {path}"
        log(note)
        run_queue.set_slot(
            self.store, self.slot.name, self.slot.device.uuid, note=note, broken=True
        )
        return 1

    # The work on the slot

    def _wake(self) -> None:
        """Continue a worker that was stopped."""
        worker = holder_here(run_queue.slot_lock(self.store, self.slot.name))
        if worker is None and self._worker is not None:
            worker = self._worker.pid
        if worker is None or not control.is_stopped(worker):
            self._stopped_at = None
            return
        self._stopped_at = self._stopped_at or time.monotonic()
        if time.monotonic() - self._stopped_at > STOPPED_SECONDS:
            log(f"the worker, process {worker}, was stopped: continuing it")
            control.let_go_on(worker)

    def _watch(self) -> None:
        """See that the work on the slot gives signs of life, and ends when it is asked to."""
        work = self._at_work()
        if work is None:
            return
        watched = self._watched
        now = time.monotonic()
        if watched is None or (watched.name, watched.attempt) != (work.id, work.attempt):
            watched = self._watched = _Watched(work.id, work.attempt)
        if watched.sign != work.heartbeat_at:
            watched.sign, watched.sign_at = work.heartbeat_at, now
        if work.state in (State.CANCELLING, State.PAUSING):
            watched.asked_at = watched.asked_at or now
            waited = now - watched.asked_at
            # Work that is paused may take its time, if it gives signs of life.
            if work.state is State.CANCELLING:
                self._press(work, watched, waited)
        silent = now - watched.sign_at
        promise = work.promise or PROMISE
        if silent > promise:
            # While the store cannot be written, which this tries, no sign can be given.
            self._describe(f"{work.kind.value} {work.id} gave no sign for {silent:.0f} s")
            if silent > 1.5 * promise:  # it hangs, and is continued from where it was
                control.end_process(self.store, work, signal.SIGKILL)
        else:
            self._describe(None)

    def _press(self, work: Work, watched: _Watched, waited: float) -> None:
        if waited > KILL_SECONDS:
            log(f"{work.kind.value} {work.id} does not end: killed")
            control.end_process(self.store, work, signal.SIGKILL)
        elif waited > TERM_SECONDS and not watched.terminated:
            watched.terminated = True
            control.end_process(self.store, work, signal.SIGTERM)

    def _at_work(self) -> Work | None:
        active = run_queue.active(self.store, slot=self.slot.name)
        return active[0] if active else None

    # Room on the device

    def _lacking(self, work: Work) -> str | None:
        """Return why the work cannot start now; None if it can."""
        try:
            reading = self._telemetry.read(self.slot.device.uuid)
        except LookupError as error:
            return str(error)
        try:
            if work.config is None:
                return None
            config = RunConfig.model_validate(work.config)
            expected = estimate(
                config,
                budget=reading.total_bytes,
                device="cuda" if self.slot.on_gpu else "cpu",
            )
        except (InputError, ValueError):
            return None  # its worker says what is wrong
        # A GPU on which others compute is left to them, unless the user named it.
        if self.slot.on_gpu and reading.processes and ":" not in work.wish:
            return f"in use by {len(reading.processes)} other processes"
        if expected.peak_bytes <= reading.free_bytes or not self._others_have(reading):
            return None
        return (
            f"{work.kind.value} {work.id} needs {size(expected.peak_bytes)} of memory, "
            f"{size(reading.free_bytes)} are free"
        )

    def _others_have(self, reading: devices.Reading) -> bool:
        """Return whether waiting may help: too much for the whole device is tried all the same."""
        if self.slot.on_gpu:
            return reading.used_bytes > IDLE_SHARE * reading.total_bytes
        active = run_queue.active(self.store)
        return any(work.slot is not None and work.slot.startswith("cpu-") for work in active)

    def _describe(self, note: str | None) -> bool:
        """Record why the slot waits; return whether that is new."""
        if note == self._note:
            return False
        run_queue.set_slot(self.store, self.slot.name, self.slot.device.uuid, note=note)
        self._note = note
        if note:
            log(note)
        return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
