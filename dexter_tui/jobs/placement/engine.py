"""The protocol of engines, which place workers and say what they see of them.

An engine decides nothing: the queue, states, retries and results are the keeper's. Asking an engine
changes nothing there.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

from dexter_tui.jobs.placement.files import RunFolder

COMMAND_SECONDS = 20.0
"""The seconds after which a command of an engine is given up."""


class Phase(StrEnum):
    """The phase of a job that an engine has."""

    PENDING = "pending"
    RUNNING = "running"


class Cause(StrEnum):
    """The cause of a job's end."""

    CANCELLED = "cancelled"
    PREEMPTED = "preempted"
    ENDED = "ended"


class Seen(NamedTuple):
    """A job in the listing of an engine."""

    handle: str
    phase: Phase
    line: str
    """Its state in the engine's words"""


class End(NamedTuple):
    """The end of a job that the engine has no longer."""

    cause: Cause
    line: str


class PlacementError(Exception):
    """Says in a line that an engine gave no usable answer. Nothing follows for any job."""


class Engine(Protocol):
    """A means to start workers at a place. Each method raises PlacementError and OSError."""

    root: Path
    """The folder of orders and attempts that this machine reads and writes"""
    poll_seconds: float
    """The seconds between two looks at what attempts wrote"""

    def jobs(self) -> dict[str, Seen]:
        """Return the pending and running jobs of all attempts, by name."""
        ...

    def submit(self, name: str, run: RunFolder, attempt: int) -> str:
        """Have a worker started for an attempt; return the job's handle."""
        ...

    def nudge(self, handle: str) -> None:
        """Have the worker of a job look at its order, and end a pending one if it can."""
        ...

    def end_of(self, handle: str) -> End | None:
        """Return how a job that is no longer listed ended; None if that is unknown."""
        ...

    def withdraw(self, run: RunFolder, attempt: int) -> bool:
        """See to it that no worker begins an attempt; return False if one has begun it."""
        ...


def ask(command: Sequence[str], *, given: str = "") -> str:
    """Run a command of an engine; return its output.

    Raises PlacementError if it is missing, fails, or takes longer than `COMMAND_SECONDS`.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # a signal to the keeper is none to it
        )
    except OSError as error:
        raise PlacementError(f"{command[0]}: {error.strerror or error}") from None
    try:
        out, err = process.communicate(given, timeout=COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise PlacementError(f"{command[0]} gave no answer in {COMMAND_SECONDS:.0f} s") from None
    if process.returncode:
        line = (err.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise PlacementError(f"{command[0]}: {line[:300]}")
    return out
