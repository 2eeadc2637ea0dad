"""Does an attempt of a run at a place: ``python -m dexter_tui.jobs.placement.worker FOLDER T``

FOLDER is that of the run (`dexter_tui.jobs.placement.files`). The process opens no store. It leaves
an attempt when the order asks for that, and ends when the order names a later attempt. Then it does
the attempts of other runs that its job was given, if any, with the models that it has.
"""

import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

if __name__ == "__main__":
    gc.disable()  # imports make no garbage; `start` looks for it again

import torch

from dexter.errors import InputError
from dexter_tui import EXIT_FAILED
from dexter_tui.jobs.placement.attempt_recorder import AttemptRecorder
from dexter_tui.jobs.placement.files import (
    BEAT_SECONDS,
    PROMISE,
    VERSION,
    Ask,
    Heartbeat,
    Order,
    RunFolder,
)
from dexter_tui.jobs.recorder import JournalRecorder, log
from dexter_tui.jobs.run_worker import RunProcess, start
from dexter_tui.jobs.worker import Stopped, redirect_output
from store import State
from store.journal.run_journal import Interruption
from store.run_queue import Work
from store.tables import REFUSED, Run

Answer = TypeVar("Answer")


class PlacedWorker(RunProcess):
    """The process of one attempt, or of several that follow each other."""

    order: Order
    """The order for the attempt that it does now"""

    def __init__(self) -> None:
        super().__init__()
        self.stopping = self.terminated = False
        self._interrupted: Interruption | None = None
        self._activity: str | None = None
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self.interrupt)

    def folder_of(self, run: Run) -> Path:
        return self.folder.path

    def log_of(self, run: Run) -> Path:
        return self.folder.log

    def tell(self, work: Work, activity: str | None) -> None:
        self._activity = activity

    def interrupt(self, number: int, _frame: object) -> None:
        """Note a signal: USR1 says to look at the order, or that the time limit is near."""
        self.terminated = True
        limit = number == signal.SIGUSR1
        self._interrupted = Interruption.TIME_LIMIT if limit else Interruption.TERMINATED

    def check(self, name: str) -> None:
        self.heed(self._read_order())
        if self._interrupted is not None:
            raise Stopped(State.QUEUED)

    def _read_order(self) -> Ask:
        """Return what is asked for; end the process if it is superseded."""
        order = self.run.order()
        if order is None:  # the folder is away for a while
            return Ask.RUN
        if order.attempt != self.order.attempt:
            log(f"superseded by attempt {order.attempt}: this process ends", "warning")
            os._exit(0)
        return order.ask

    def heed(self, ask: Ask) -> None:
        """Raise Stopped if the order asks for an end."""
        if ask is Ask.PAUSE:
            raise Stopped(State.PAUSED)
        if ask is Ask.CANCEL:
            raise Stopped(State.CANCELLED)

    def record_stop(self, recorder: JournalRecorder, stopped: Stopped) -> None:
        assert isinstance(recorder, AttemptRecorder)
        if stopped.state is State.QUEUED and self._interrupted is not None:
            recorder.stopped(self._interrupted)  # what becomes of the run is not for its worker
        else:
            recorder.state(stopped.state)
            self.stopping = False  # what follows in its job was not asked to pause

    def work(self, folder: RunFolder, order: Order) -> int:
        """Do an attempt that this process has claimed; return the exit code."""
        self.run, self.order, self.folder = folder, order, folder.attempt(order.attempt)
        self.on_cuda = torch.cuda.is_available() and order.run["config"].get("device") != "cpu"
        self._activity = "starting"
        recorder = AttemptRecorder(self.folder, order)
        recorder.begin()
        done = threading.Event()
        beats = threading.Thread(target=self._beat, args=(recorder, done), daemon=True)
        beats.start()
        try:
            return self._work(recorder)
        finally:
            done.set()
            beats.join()

    def _work(self, recorder: AttemptRecorder) -> int:
        run = Run(**{**self.order.run, "attempt": self.order.attempt})
        log(f"run {run.id}, attempt {run.attempt}, process {os.getpid()} on {socket.gethostname()}")
        wish = run.wish
        try:
            self.heed(self.order.ask)
            if wish.startswith("cuda") and not self.on_cuda:
                raise InputError(
                    f"{socket.gethostname()} has no {wish} that torch can use",
                    field="device",
                    value=wish,
                    remedy="check gres or gpus of the place in config.toml",
                )
        except Stopped as stopped:
            recorder.state(stopped.state)
        except InputError as error:
            recorder.state(State.FAILED, error=str(error), stop_reason=REFUSED)
        else:
            return self.carry_out(run, recorder)
        recorder.settle(lambda: False)
        return 0

    def _beat(self, recorder: AttemptRecorder, done: threading.Event) -> None:
        """Give signs of life; end the process if it is superseded, or hangs."""
        count = 0
        while not done.is_set():
            self._read_order()
            if recorder.hangs():  # a later attempt continues from where it was
                log("no entry for longer than was promised: this process ends", "error")
                os._exit(EXIT_FAILED)
            count += 1
            with suppress(OSError):  # a folder that is away for a while
                self.folder.beat(Heartbeat(count, self._activity))
            done.wait(BEAT_SECONDS)


def main(path: Path, attempt: int) -> int:
    """Do an attempt and those that follow it in its job; return the worst exit code."""
    worker = PlacedWorker()
    first = RunFolder(path.parent.parent, path.name)
    codes = [_do(worker, first, attempt)]
    for run_id, number in first.attempt(attempt).pack():
        if worker.stopping or worker.terminated:
            break
        run = RunFolder(path.parent.parent, run_id)
        with suppress(OSError):
            redirect_output(run.attempt(number).log)
        codes.append(_do(worker, run, number))
    return max(codes)


def _do(worker: PlacedWorker, run: RunFolder, attempt: int) -> int:
    """Do an attempt if it is the current one and nobody else has it; return the exit code."""
    try:
        order = _patiently(run.order)
        if order is None:
            raise FileNotFoundError(f"{run.path}: no order that can be read")
        if order.version != VERSION:
            log(f"{run.path}: an order of version {order.version}, not {VERSION}", "error")
            return EXIT_FAILED
        if order.attempt != attempt:
            log(f"attempt {attempt} is superseded by attempt {order.attempt}: nothing to do")
            return 0
        if not _patiently(run.attempt(attempt).claim):
            log(f"attempt {attempt} was begun by another process: nothing to do")
            return 0
    except OSError as error:
        log(str(error), "error")
        return EXIT_FAILED
    return worker.work(run, order)


def _patiently(ask: Callable[[], Answer]) -> Answer:
    """Return an answer, also of a folder that is away for a while, or shows late what is new.

    After `PROMISE` seconds, return None if that is the answer, or raise OSError.
    """
    deadline = time.monotonic() + PROMISE
    while True:
        late = time.monotonic() > deadline
        try:
            if (answer := ask()) is not None or late:
                return answer
        except OSError:
            if late:
                raise
        time.sleep(1)


if __name__ == "__main__":
    start()
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
