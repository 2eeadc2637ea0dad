"""A classifier of colours that holds the worker where a test says, and what asks about it."""

import os
import signal
from pathlib import Path
from typing import Any

import tiny_screening
from waiting import until

from dexter_tui.analysis.desk import Desk
from dexter_tui.analysis.worker import JOBS
from store import Store
from store.data_reports import page as pages
from store.locks import FileLock
from store.reading.browse import Browse

NET = (
    tiny_screening.NET.replace("pictures):\n", "pictures):\n        hold(time.monotonic())\n")
    + """
import os
import sys
import time
from pathlib import Path

GATE = Path(__file__).with_suffix(".gate")

def hold(begun):
    if not sys.argv[0].endswith("worker.py"):
        return
    # Of the process: this module is loaded again with each classifier.
    calls = int(os.environ.get("HELD_CALLS", 0)) + 1
    os.environ["HELD_CALLS"] = str(calls)
    while (mode := GATE.read_text()) != "open":
        if mode == "slow" and time.monotonic() > begun + 0.6:
            return
        if mode != "slow" and calls <= int(mode):
            return
        held = GATE.with_suffix(".held")
        held.with_suffix(".new").write_text(f"{os.getpid()} {calls}")
        held.with_suffix(".new").replace(held)
        time.sleep(0.01)
"""
)


class HeldNet:
    """The classifier, with what commands need to ask about it."""

    def __init__(self, folder: Path) -> None:
        named = tiny_screening.options(folder)
        self.options = [
            *(part for pair in named.items() for part in pair),
            *("--image-text", "none", "--device", "cpu"),
        ]
        """The options that name it, a tiny generator, a class and concepts."""
        self._file = folder / "net.py"
        self._file.write_text(NET)
        self.open()

    def open(self) -> None:
        """Let workers go."""
        self._set("open")

    def slow(self) -> None:
        """Let workers go slowly enough to heed the user at every batch of pictures."""
        self._set("slow")

    def hold(self, calls: int) -> None:
        """Hold each worker after this number of batches of pictures."""
        self._set(str(calls))

    def _set(self, mode: str) -> None:
        new = self._file.with_suffix(".mode")
        new.write_text(mode)
        new.replace(self._file.with_suffix(".gate"))

    def held(self, calls: int, *, but: int = 0) -> int:
        """Wait for a worker held after this number of batches; return its process id."""

        def pid() -> int | None:
            file = self._file.with_suffix(".held")
            if not file.exists():
                return None
            found, at = map(int, file.read_text().split())
            return found if found != but and at == calls + 1 else None

        return until(pid)

    def kill(self, pid: int) -> None:
        """Kill a worker."""
        os.kill(pid, signal.SIGKILL)


def numbers(home: Path, name: str) -> dict[str, Any]:
    """Return what a report found, without ids and times."""
    found = pages.page(Browse(home), name).json()
    own = ("id", "job", "created_at", "ended_at", "screening", "request")
    return {key: value for key, value in found.items() if key not in own}


def undisturbed(home: Path, cli: Any, *command: object) -> dict[str, Any]:
    """Return what a command finds whose job is done in this process."""
    home.mkdir(exist_ok=True)
    Store.open(home).close()
    with FileLock(home / "locks" / "runner-cpu-0.lock", wait=True):
        asked = cli(*command, "--detach", "--json")
        assert asked.code == 0, asked.err
        with Store.open(home) as store:
            job = store.job(asked.json["job"])
            JOBS[job.kind](Desk(store, job, "cpu", heed=lambda state: None))
    return numbers(home, asked.json["id"])
