"""Writes down what a run finds: into its journal, and from there into the store.

A `JournalRecorder` writes a journal, a `Recorder` also the store. Neither a store that is locked,
moved or damaged nor a disk that is full stops the run: what cannot be written waits and is tried
again.
"""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from dexter_tui.formatting import clean
from store import State, Store, StoreError, run_queue, run_records
from store.errors import explained
from store.journal.run_journal import Accident, Disturbed, Entry, Journal
from store.tables import Run

FLUSH_SECONDS = 1.0
RETRY_SECONDS = 3.0  # after a store that could not be written
WAITING_BYTES = 256 * 2**20  # of pictures that wait for room on the disk; then the run waits, too
END_PATIENCE = 60.0  # seconds that a run that ended waits for the store to hear of it


def log(line: str, level: str = "info") -> None:
    """Write a line with the time to this process's log; a full disk swallows it.

    `level` is one of `formatting.LOG_LEVELS`.
    """
    mark = "" if level == "info" else f"[{level}]"
    data = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z {mark} {clean(line)}\n".encode()
    with suppress(OSError):
        os.write(1, data)  # past Python's buffer, which would fail again with each line


class JournalRecorder(ABC):
    """The records of a run, which this process alone writes to the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.entries_found = journal.written
        """The last entry of those before this attempt."""
        self._waiting: list[dict[str, Any]] = []
        self._flushed_at = time.monotonic()
        self._trouble: str | None = None
        self.seconds = 0.0
        """CPU time spent on recording, pictures and checkpoints included."""

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the time spent within as recording."""
        begun = time.process_time()
        try:
            yield
        finally:
            self.seconds += time.process_time() - begun

    @abstractmethod
    def steps_recorded(self) -> int:
        """Return the step up to which every step is in the store."""

    @abstractmethod
    def _place(self, picture: bytes) -> dict[str, Any]:
        """Write the file of a PNG; return the columns of its `Artifact`."""

    @abstractmethod
    def _publish(self, written: Sequence[Entry], promise: float | None) -> None:
        """Have observers see what was written to the journal, and a sign of life."""

    def _append(self, entries: Sequence[dict[str, Any]]) -> list[Entry]:
        return self._journal.append(entries)

    @property
    def entries(self) -> int:
        """The last entry in the journal."""
        return self._journal.written

    # What there is to record

    def start(self, run: Run) -> None:
        """Record that an attempt begins."""
        self._add(
            "start",
            attempt=run.attempt,
            pid=run.pid,
            boot_id=run.boot_id,
            host=run.host,
            slot=run.slot,
        )

    def step(self, row: Mapping[str, Any]) -> None:
        """Record a step: columns of `Step`."""
        last: dict[str, Any] = self._waiting[-1] if self._waiting else {"kind": None}
        if last["kind"] == "steps" and "at" not in last:  # with a time, it may be written already
            last["rows"].append(dict(row))
        else:
            self._add("steps", rows=[dict(row)])

    def fields(self, **values: Any) -> None:
        """Columns of the run."""
        self._add("fields", fields=values)

    def prompts(self, rows: list[dict[str, Any]]) -> None:
        """Record the best prompts, best first: columns of `Prompt`."""
        self._add("prompts", rows=rows)

    def frame(self, png: bytes, **values: Any) -> None:
        """Record a picture: columns of `Frame`, all but its hash."""
        self._add("frame", picture=png, frame=values)

    def state(self, to: State, **values: Any) -> None:
        """Record that the worker moved the run to another state."""
        self._add("state", to=to.value, fields=values)

    def _add(self, kind: str, **values: Any) -> None:
        self._waiting.append({"kind": kind, **values})

    # Writing it

    def due(self) -> bool:
        """Return whether it is time to write."""
        return time.monotonic() - self._flushed_at >= FLUSH_SECONDS

    def flush(self, promise: float | None = None) -> bool:
        """Write what waits; whether all of it is in the journal, safe from a power cut.

        `promise`: seconds in which the next call will come.
        """
        self._flushed_at = time.monotonic()
        with self.counted():
            try:
                written = self._write_journal()
            except (OSError, StoreError, Disturbed) as error:
                self._tell(error)
            else:
                self._publish(written, promise)
        return not self._waiting

    def _write_journal(self) -> list[Entry]:
        ready = []
        for entry in self._waiting:
            if "picture" in entry:  # first the file, then what names it
                artifact = self._place(entry["picture"])
                entry["artifact"] = artifact
                entry["frame"]["sha256"] = artifact["sha256"]
                del entry["picture"]
            ready.append(entry)
        if not ready:
            return []
        with explained(self._journal.path):
            written = self._append(ready)
        self._waiting.clear()
        return written

    def _tell(self, error: Exception) -> None:
        if str(error) != self._trouble:
            self._trouble = str(error)
            log(f"going on; will be written later: {error}", "warning")

    def settle(self, stopped: Callable[[], bool]) -> None:
        """Wait until all is in the journal; `stopped` says to wait no longer."""
        while not self.flush() and not stopped():
            time.sleep(FLUSH_SECONDS)

    def crowded(self) -> bool:
        """Return whether too much waits for the disk, so that the run waits, too."""
        waiting = sum(len(entry.get("picture", b"")) for entry in self._waiting)
        return waiting > WAITING_BYTES


class Recorder(JournalRecorder):
    """The records of a run that this process has claimed, in its journal and in the store."""

    def __init__(self, store: Store, run: Run) -> None:
        super().__init__(run_records.open_journal(store, run.id))
        self._store = store
        self._run_id = run.id
        self._unstored: list[Entry] = []
        """The entries in the journal that the store lacks."""
        self._locks_retaken = 0
        self._store_at = 0.0  # when the store is tried again
        self._behind = False

    def steps_recorded(self) -> int:
        numbers = [step.step for step in self._store.steps(self._run_id)]
        return next((n for n, step in enumerate(numbers) if step != n + 1), len(numbers))

    def _place(self, picture: bytes) -> dict[str, Any]:
        return self._store.place_artifact(picture, "image/png")

    def _write_journal(self) -> list[Entry]:
        retaken = run_queue.times_retaken(self._store, self._run_id)
        if retaken > self._locks_retaken:
            self._locks_retaken = retaken
            self._add("accident", what=Accident.LOCK_DELETED.value)
        return super()._write_journal()

    def _append(self, entries: Sequence[dict[str, Any]]) -> list[Entry]:
        try:
            return self._journal.append(entries)
        except Disturbed as found:
            log(f"{self._journal.path}: {found}; writing it again from the store", "warning")
            run_records.rewrite(self._store, self._run_id, self._journal, self._unstored)
            accident = {"kind": "accident", "what": found.accident.value}
            return self._journal.append([accident, *entries])

    def _publish(self, written: Sequence[Entry], promise: float | None) -> None:
        self._unstored += written
        self._write_store(promise)

    def _write_store(self, promise: float | None) -> None:
        if self._behind and time.monotonic() < self._store_at:
            return
        try:
            run_records.catch_up(self._store, self._run_id, self._unstored, promise=promise)
        except StoreError as error:
            self._behind = True
            self._store_at = time.monotonic() + RETRY_SECONDS
            self._tell(error)
        else:
            self._behind = False
            self._unstored = []
            if self._trouble:
                log("all is written again")
                self._trouble = None

    def settle(self, stopped: Callable[[], bool]) -> None:
        """Wait until all is in the journal and, for a while, until the store has it.

        The next process that sees the run without its worker brings the rest into the store.
        `stopped` says to wait no longer.
        """
        super().settle(stopped)
        deadline = time.monotonic() + END_PATIENCE
        while self._behind and time.monotonic() < deadline and not stopped():
            time.sleep(FLUSH_SECONDS)
            self._store_at = 0.0
            self.flush()
