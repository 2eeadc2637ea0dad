"""Records an attempt of a run in its folder at a place, for the ingester to take."""

import errno
import io
import os
import socket
import time
from collections.abc import Sequence
from typing import Any

from PIL import Image

from dexter_tui import EXIT_FAILED
from dexter_tui.jobs.placement.files import VERSION, AttemptFolder, Order
from dexter_tui.jobs.recorder import JournalRecorder, log
from dexter_tui.jobs.worker import LOAD_PROMISE
from store.artifacts import digest, write_atomic
from store.clock import boot_id, now
from store.journal.run_journal import Disturbed, Entry, Interruption, Journal


class AttemptRecorder(JournalRecorder):
    """The records of an attempt, in its folder."""

    def __init__(self, folder: AttemptFolder, order: Order) -> None:
        journal = Journal(folder.path)
        journal.open(order.first_entry - 1)
        super().__init__(journal)
        self.entries_found = order.first_entry - 1
        self._folder = folder
        self._order = order
        self._promise = LOAD_PROMISE

    def steps_recorded(self) -> int:
        return self._order.steps

    def begin(self) -> None:
        """Record that the attempt begins; the first entry says which version writes."""
        self._add(
            "start",
            version=VERSION,
            pid=os.getpid(),
            boot_id=boot_id(),
            host=socket.gethostname(),
            slot=None,
        )

    def stopped(self, why: Interruption) -> None:
        """Record the signal that ended the attempt."""
        self._add("stopped", why=why.value)

    def _add(self, kind: str, **values: Any) -> None:
        super()._add(kind, attempt=self._order.attempt, **values)

    def _place(self, picture: bytes) -> dict[str, Any]:
        sha256 = digest(picture)
        path = self._folder.artifact(sha256)
        if not path.exists():
            write_atomic(path, picture)
        width, height = Image.open(io.BytesIO(picture)).size
        return {"sha256": sha256, "mime": "image/png", "size": len(picture), "width": width,
                "height": height}  # fmt: skip

    def _append(self, entries: Sequence[dict[str, Any]]) -> list[Entry]:
        # What a write that failed has left may be taken already: it is repeated byte by byte.
        for entry in entries:
            entry.setdefault("at", now().isoformat())
        try:
            return super()._append(entries)
        except Disturbed as found:
            if not self._folder.path.is_dir():
                raise FileNotFoundError(
                    errno.ENOENT, "the folder is away", str(self._folder.path)
                ) from None
            # Another process wrote here. A later attempt goes on from the last checkpoint.
            log(f"{self._journal.path}: {found}: this process ends", "error")
            os._exit(EXIT_FAILED)

    def flush(self, promise: float | None = None) -> bool:
        self._promise = promise or LOAD_PROMISE
        return super().flush(promise)

    def _publish(self, written: Sequence[Entry], promise: float | None) -> None:
        pass  # the journal is all that others see

    def hangs(self) -> bool:
        """Return whether the run tried to write nothing for longer than it promised."""
        return time.monotonic() - self._flushed_at > 1.5 * self._promise
