"""The loop of a worker: it takes one piece of work after another from the queue, on one slot.

Each kind of work has a module that is started as ``python -m MODULE SLOT`` (`launch.WORKERS`) and
that calls `main` with its own `Worker`. A worker claims the first in line if that is of its kind;
else it ends, and its runner starts the module of the other kind. The lock of what it claimed is
held for as long as the process works on it, and all that observers need is in the store.
"""

import errno
import gc
import os
import re
import signal
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from dexter.device import is_out_of_memory
from dexter_tui import EXIT_FAILED
from dexter_tui.jobs import control, guard, launch
from dexter_tui.jobs.launch import log_file
from dexter_tui.jobs.recorder import log
from dexter_tui.machine import devices
from dexter_tui.paths import home
from store import State, Store, StoreError, run_queue
from store.artifacts import open_log
from store.database import PATIENCE
from store.locks import try_lock
from store.run_queue import Work
from store.states import Kind

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""The errors of a disk on which nothing can be written."""
GIVE_BACK_SECONDS = 1.0  # between tries to queue work again on a disk that is full
START_PATIENCE = 60.0  # seconds that a worker waits for a store that cannot be written
LOAD_PROMISE = 3600.0  # seconds: models may have to be downloaded, a score may be long


class Stopped(Exception):
    """Ends work before its time, to leave it in this state."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.state = state


class Worker(ABC):
    """A process that works on one slot on the kinds of work that it knows."""

    KINDS: ClassVar[frozenset[Kind]]
    PATIENCE: ClassVar[float] = PATIENCE
    """The seconds that its writes wait for other processes that write."""

    def __init__(self, store: Store, slot: devices.Slot) -> None:
        self.store = store
        self.slot = slot
        self.stopping = False
        """Whether this process takes nothing further."""
        self.terminated = False
        """Whether it was sent SIGTERM."""
        self._runner = os.getppid()

    @abstractmethod
    def fits(self, config: Mapping[str, Any] | None) -> bool:
        """Return whether this process can take work with this configuration next."""

    @abstractmethod
    def do(self, work: Work) -> int:
        """Do what was claimed and record its end; return the exit code.

        StoreError and OSError mean that nothing can be written: the work is queued again.
        """

    def terminate(self, *_: object) -> None:
        """On SIGTERM: keep the place of the work, give it back, and end."""
        self.stopping = self.terminated = True

    def claim(self) -> Work | None:
        """Claim the first in line for this slot, if it is for this process."""
        deadline = time.monotonic() + START_PATIENCE
        while True:
            try:
                return run_queue.claim(
                    self.store,
                    devices=self.slot.accepts,
                    slot=self.slot.name,
                    fits=lambda kind, config: kind in self.KINDS and self.fits(config),
                )
            except StoreError:
                if time.monotonic() > deadline or self.stopping:
                    raise
                time.sleep(0.2)

    def keep_runner(self) -> None:
        """Start a runner if this process's own was killed."""
        if os.getppid() != self._runner and not control.runner_alive(self.store, self.slot.name):
            with suppress(OSError):  # a disk that is full or read-only: at the next look
                launch.start_runner(self.store, self.slot.name)
                self._runner = os.getppid()

    def work(self, work: Work) -> int:
        """Do what was claimed, whatever comes of it; return the exit code."""
        problem = None
        try:
            code = self.do(work)
        except (StoreError, OSError) as error:  # nothing can be written: it is queued again
            log(f"given up for now: {error}", "error")
            self.stopping = True
            code = EXIT_FAILED
            problem = error.problem if isinstance(error, StoreError) else str(error)
        if problem is not None:  # not in the handler, whose traceback keeps what `do` has loaded
            self._give_back(work, problem)
        self.tell(work, None)
        run_queue.release(self.store, work.id)
        return code

    def _give_back(self, work: Work, problem: str) -> None:
        """Queue the work again, with the reason, as soon as that can be written."""
        while True:
            try:
                run_queue.give_back(self.store, work.id, f"stopped by an error ({problem})")
                return
            except (StoreError, OSError):
                if self.terminated or not self.store.path.exists():
                    return
                time.sleep(GIVE_BACK_SECONDS)  # no event announces room on a disk

    def tell(self, work: Work, activity: str | None) -> None:
        """Show observers what is done for the work now; None: its progress says enough."""
        with suppress(StoreError):  # no loss
            run_queue.set_activity(self.store, self.slot.name, work.id, activity)

    def check(self, name: str) -> None:
        """Raise Stopped if a user or a signal asked for an end."""
        self.keep_runner()
        try:
            state = run_queue.find(self.store, name).state
        except StoreError:  # a store that is away asks for nothing
            state = State.RUNNING
        self.heed(state)

    def heed(self, state: State) -> None:
        """Raise Stopped if this state of the work, or a signal, asks for an end."""
        if state is State.CANCELLING:
            raise Stopped(State.CANCELLED)
        if state is State.PAUSING:
            raise Stopped(State.PAUSED)
        if self.terminated:
            raise Stopped(State.QUEUED)


def main(make: type[Worker], slot_name: str) -> int:
    """Work until nothing waits that this process can do.

    Returns 0, 1 if anything failed, or 2 if all that failed was refused input.
    """
    try:
        return _work_through(make, slot_name)
    except StoreError as error:  # the runner tries again when the store can be used
        log(str(error), "error")
        return 0
    finally:
        gc.freeze()  # an end without a look for garbage, which takes longer than the rest of it


def _work_through(make: type[Worker], name: str) -> int:
    codes = set()
    if not (home() / "store.sqlite").exists():  # deleted since this process was started
        log(f"{home()}: no store")
        return 0
    with Store.open(home(), patience=make.PATIENCE) as store:
        lock = try_lock(run_queue.slot_lock(store, name))
        if lock is None:
            return 0  # the slot has a worker
        with lock:
            guard.start(store, lock)
            worker = make(store, devices.slot(name))
            signal.signal(signal.SIGTERM, worker.terminate)
            while not worker.stopping and (work := worker.claim()) is not None:
                redirect_output(log_file(store, work.id))
                log(
                    f"{work.kind.value} {work.id}, attempt {work.attempt}, "
                    f"process {os.getpid()}, {name}"
                )
                worker.tell(work, "starting")
                codes.add(worker.work(work))
            worker.keep_runner()
    return EXIT_FAILED if EXIT_FAILED in codes else max(codes, default=0)


_TORCH_LINE = re.compile(r"\[enforce fail at \S+\] err == 0\. ")
"""The line of torch's code that found no memory."""


def first_line(error: Exception) -> str:
    """Return the first line of a defect: its type, or that memory ran out, and what it says."""
    said = _TORCH_LINE.sub("", (str(error).strip().splitlines() or [""])[0])
    name = "out of memory" if is_out_of_memory(error) else type(error).__name__
    return f"{name}: {said}" if said else name


def log_trace() -> None:
    """Log where the exception that is handled came from."""
    for line in traceback.format_exc().splitlines():
        log(line, "error")


def redirect_output(path: Path) -> None:
    """Send this process's output, also that of native code, to a log file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with open_log(path) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
