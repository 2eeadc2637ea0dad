"""The files of a run at a place: its order, and what each attempt writes.

    FOLDER/runs/RUN/order.json             the current attempt, and what is asked of it
    FOLDER/runs/RUN/attempt-T/claim        made by the one process that works on the attempt
                              journal.jsonl, artifacts/SHA256, checkpoint.pt
                              heartbeat.json, log
                              pack.json              the attempts that follow it in its job

The keeper beside the store writes the order, the pack and, for attempts that no worker may begin
any more, the claim. All else is written by the worker.
"""

import json
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from store.artifacts import NotPlain, open_plain, open_to_read, write_atomic
from store.journal.run_journal import NAME

VERSION = 1
"""The version of orders and of journals of attempts."""
BEAT_SECONDS = 5.0
"""The seconds between two heartbeats."""
PROMISE = 60.0
"""The seconds without a heartbeat after which a worker may be gone: a shared folder may show
changes that late."""


class Ask(StrEnum):
    """The request to the worker of an attempt."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class Order(BaseModel):
    """The order for a run: the attempt that counts, with all that its worker needs."""

    version: int = VERSION
    attempt: int
    ask: Ask = Ask.RUN
    run: dict[str, Any]
    """Columns of the run"""
    first_entry: int
    """The number of the attempt's first entry, which follows the last in the run's journal"""
    steps: int
    """The step up to which every step is recorded"""
    log_from: int
    """The size in bytes of the run's log before the attempt"""
    job: str | None = None
    """The name of the job that does it among others; None: a job of its own"""


class Heartbeat(NamedTuple):
    """A sign of life; it differs from the one before."""

    number: int
    activity: str | None


class AttemptFolder:
    """The folder of an attempt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / NAME
        self.log = path / "log"
        self._claim = path / "claim"
        self._heartbeat = path / "heartbeat.json"
        self._pack = path / "pack.json"

    def make(self) -> None:
        """Make the folder; raise OSError if that fails."""
        (self.path / "artifacts").mkdir(mode=0o700, parents=True, exist_ok=True)

    def artifact(self, sha256: str) -> Path:
        """Return the file of an artifact."""
        return self.path / "artifacts" / sha256

    def claim(self) -> bool:
        """Become the one process that may write here; return False if another one is."""
        try:
            descriptor = open_plain(self._claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return False
        # That it exists is what counts: its content is for people, and may find no room.
        with suppress(OSError), os.fdopen(descriptor, "w") as file:
            json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
        return True

    def is_claimed(self) -> bool:
        """Return whether a process has the attempt, or had it."""
        return self._claim.exists()

    def write_pack(self, pack: Sequence[tuple[str, int]]) -> None:
        """Write which attempts, by run and number, follow this one in its job."""
        write_atomic(self._pack, json.dumps(pack).encode())

    def is_first(self) -> bool:
        """Return whether a job that does several attempts begins with this one."""
        return self._pack.exists()

    def pack(self) -> list[tuple[str, int]]:
        """Return the attempts that follow in its job; none if they cannot be read."""
        try:
            with open_to_read(self._pack) as file:
                return [(str(run), int(attempt)) for run, attempt in json.loads(file.read())]
        except (OSError, ValueError, TypeError):
            return []

    def beat(self, heartbeat: Heartbeat) -> None:
        """Give a sign of life; raise OSError if that fails."""
        write_atomic(self._heartbeat, json.dumps(heartbeat._asdict()).encode())

    def heartbeat(self) -> Heartbeat | None:
        """Return the last sign of life; None if there is none that can be read."""
        try:
            with open_to_read(self._heartbeat) as file:
                found = json.loads(file.read(10_000))
            activity = found["activity"]
            return Heartbeat(int(found["number"]), None if activity is None else str(activity))
        except (OSError, ValueError, LookupError, TypeError):
            return None


class RunFolder:
    """The folder of a run at a place."""

    def __init__(self, root: Path, run_id: str) -> None:
        self.path = root / "runs" / run_id
        self._order = self.path / "order.json"

    def attempt(self, number: int) -> AttemptFolder:
        """Return the folder of an attempt."""
        return AttemptFolder(self.path / f"attempt-{number}")

    def order(self) -> Order | None:
        """Return the order; None if it cannot be read now."""
        try:
            with open_to_read(self._order) as file:
                return Order.model_validate_json(file.read())
        except (FileNotFoundError, NotPlain, ValidationError, OSError):
            return None

    def write_order(self, order: Order) -> None:
        """Replace the order, at once; raise OSError if that fails."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self._order, order.model_dump_json().encode())
