"""The one way from the journal of an attempt into the run's journal and the store.

An attempt numbers its entries on from those in the run's journal (`Order.first_entry`), so that an
entry has one number in both, and which were taken is known from the run's journal alone: a keeper
that is killed anywhere takes the rest, and nothing twice. Entries are believed after the checks of
an import. The times in the store are those at which entries were taken, by the one clock beside
the store; that of the worker is kept as "worker_at".
"""

import os
import time

from dexter_tui.jobs.placement.files import PROMISE, VERSION, AttemptFolder, Heartbeat
from dexter_tui.jobs.recorder import log
from store import State, Store, StoreError, run_records
from store.artifacts import FORMATS, NotPlain, digest, open_log, open_picture, open_to_read
from store.clock import now
from store.errors import explained
from store.journal.run_journal import Disturbed, Entry, Interruption, parse_line
from store.tables import Run
from store.upkeep import home_files

BEAT_SECONDS = 10.0
"""The seconds between two heartbeats of a run in the store."""
MAX_BYTES = 2**24
"""The most of a journal that is read at a time, in bytes, and the longest line."""
MAX_PICTURE = 2**28  # bytes
_KINDS = frozenset({"start", "fields", "steps", "prompts", "frame", "state", "stopped", "accident"})
_MOVES = frozenset({State.RUNNING, State.QUEUED, State.PAUSED, State.CANCELLED, State.SUCCEEDED,
                    State.FAILED})  # fmt: skip


class Quarantined(Exception):
    """Says why nothing further of an attempt is believed."""


class _Waits(Exception):
    """Says what an entry waits for: it may be on its way."""


class Ingester:
    """The ingester of one attempt; this process holds the lock of the run."""

    def __init__(
        self, store: Store, run: Run, folder: AttemptFolder, first_entry: int, log_from: int
    ) -> None:
        self._store = store
        self._run = run
        self._folder = folder
        self._log_from = log_from
        self._first = first_entry
        self._journal = run_records.open_journal(store, run.id)
        self._file: tuple[int, int] | None = None  # device and inode
        self._offset = 0  # bytes of the lines that were read
        self._lines: dict[int, str] = {}  # hashes of the lines read, by number
        self._unstored: list[Entry] = []
        self._waits: tuple[str, float] | None = None  # for what, since when
        self._heartbeat: Heartbeat | None = None
        self._sign_at = time.monotonic()
        self._beat_at = 0.0
        self.ended = False
        """Whether the worker recorded an end of its work"""
        self.stopped: Interruption | None = None
        """The signal that ended the worker"""
        for entry in self._journal.read(first_entry - 1):
            self._see_end(entry)

    @property
    def activity(self) -> str | None:
        """Return the activity of the worker, in its words; None if none is known."""
        return None if self._heartbeat is None else self._heartbeat.activity

    @property
    def silence(self) -> float:
        """The seconds for which the worker gave no new sign of life, by this machine's clock."""
        return time.monotonic() - self._sign_at

    def excuse(self) -> None:
        """Count silence and what is missing from now on: nothing could be seen until now."""
        self._sign_at, self._waits = time.monotonic(), None

    def take(self) -> None:
        """Take what is new. Raises Quarantined, StoreError and OSError."""
        self._take_log()
        self._see_heartbeat()
        new, read = self._new()
        if new:
            self._record(new)
            self._sign_at = time.monotonic()
        self._offset = read
        due = time.monotonic() - self._beat_at > BEAT_SECONDS and self.silence < BEAT_SECONDS
        if new or self._unstored or due:
            self._beat_at = time.monotonic()
            # Written to the run's journal already, so that a store that is busy loses nothing.
            try:
                run_records.catch_up(self._store, self._run.id, self._unstored, promise=PROMISE)
            except run_records.UnusableJournal as error:
                raise Quarantined(error.problem) from None
            self._unstored = []
        for entry in new:
            self._see_end(entry)

    def _see_end(self, entry: Entry) -> None:
        if entry["kind"] == "state" and entry["to"] != State.RUNNING:
            self.ended = True
        elif entry["kind"] == "stopped":
            self.stopped = Interruption(entry["why"])

    # Reading

    def _new(self) -> tuple[list[Entry], int]:
        """Return the entries to be taken next, checked, and the offset behind them."""
        data = self._read()
        found: list[Entry] = []
        offset = self._offset
        waits = None
        for line in data.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break  # it is being written
            try:
                entry = self._entry(line, self._journal.written + 1 + len(found))
            except _Waits as reason:
                waits = str(reason)
                break
            if entry is not None:
                found.append(entry)
            offset += len(line)
        self._wait_for(waits)
        if not found:
            return [], offset
        known = self._store.run(self._run.id).model_dump(mode="json", exclude={"study"})
        try:
            return home_files.run_entries(found, self._run.id, known), offset
        except StoreError as refused:
            raise Quarantined(f"its journal is not valid: {refused.problem}") from None

    def _read(self) -> bytes:
        try:
            with open_to_read(self._folder.journal) as file:
                stat = os.fstat(file.fileno())
                if self._file != (stat.st_dev, stat.st_ino) or stat.st_size < self._offset:
                    self._file, self._offset = (stat.st_dev, stat.st_ino), 0
                file.seek(self._offset)
                data = file.read(MAX_BYTES)
        except FileNotFoundError:
            return b""
        except NotPlain as error:
            raise Quarantined(f"its journal is {error.strerror}") from None
        if len(data) == MAX_BYTES and b"\n" not in data:
            raise Quarantined(f"a line of its journal is longer than {MAX_BYTES} bytes")
        return data

    def _entry(self, line: bytes, expected: int) -> Entry | None:
        """Return the entry of a line, if it is the one with the expected number."""
        entry = parse_line(line)
        if entry is None:  # a folder on a network may show lines before their bytes
            raise _Waits("a line that can be read")
        if entry.get("attempt") != self._run.attempt:
            return None  # `count_beyond` counts it
        number = entry["n"]
        # Looked at again by each keeper: the one that took it may have been of another version.
        if number == self._first and (entry["kind"] != "start" or entry.get("version") != VERSION):
            raise Quarantined(
                f"its journal is of another version of dexter-tui ({entry.get('version')})"
            )
        content = digest(line)
        if self._lines.setdefault(number, content) != content:
            raise Quarantined(f"its journal has two entries {number}")
        if number < expected:
            return None  # taken already
        if number > expected:
            raise _Waits(f"entry {expected}")
        if entry["kind"] not in _KINDS:
            raise Quarantined(f"entry {number} is of no kind that a worker writes")
        if entry["kind"] == "state" and entry.get("to") not in _MOVES:
            raise Quarantined(f"entry {number} is no state that a worker records")
        if entry["kind"] == "stopped" and entry.get("why") not in list(Interruption):
            raise Quarantined(f"entry {number} is no signal")
        if entry["kind"] == "frame":
            entry = self._with_picture(entry)
        return {**entry, "at": now().isoformat(), "worker_at": entry.get("at")}

    def _with_picture(self, entry: Entry) -> Entry:
        """Bring the picture of an entry into the home; return the entry with its true columns."""
        try:
            sha256 = entry["artifact"]["sha256"]
            if len(sha256) != 64 or not sha256.isalnum():
                raise ValueError
        except (LookupError, TypeError, ValueError):
            raise Quarantined(f"entry {entry['n']} names no picture") from None
        try:
            with open_to_read(self._folder.artifact(sha256)) as file:
                data = file.read(MAX_PICTURE)
        except FileNotFoundError:
            raise _Waits(f"picture {sha256[:12]}") from None
        if digest(data) != sha256:
            raise _Waits(f"all of picture {sha256[:12]}")
        try:
            picture = open_picture(data)
        except StoreError as refused:
            raise Quarantined(f"picture {sha256[:12]}: {refused.problem}") from None
        mime = FORMATS[picture.format or ""]
        return {**entry, "artifact": self._store.place_artifact(data, mime)}

    def _wait_for(self, what: str | None) -> None:
        """Raise Quarantined if the same was waited for too long."""
        if what is None:
            self._waits = None
        elif self._waits is None or self._waits[0] != what:
            self._waits = what, time.monotonic()
        elif time.monotonic() - self._waits[1] > PROMISE:
            raise Quarantined(f"its journal lacks {what}")

    # Recording

    def _record(self, entries: list[Entry]) -> None:
        with explained(self._journal.path):
            try:
                written = self._journal.append(entries)
            except Disturbed as found:
                log(f"{self._journal.path}: {found}; writing it again from the store", "warning")
                run_records.rewrite(self._store, self._run.id, self._journal, self._unstored)
                written = self._journal.append(entries)
        if written[0]["n"] != entries[0]["n"]:
            raise RuntimeError(f"entry {entries[0]['n']} became {written[0]['n']}")
        self._unstored += written

    def _see_heartbeat(self) -> None:
        found = self._folder.heartbeat()
        if found is not None and found != self._heartbeat:
            self._heartbeat = found
            self._sign_at = time.monotonic()

    def _take_log(self) -> None:
        """Append what is new in the attempt's log to that of the run."""
        target = self._store.run_folder(self._run.id) / "log"
        have = max((target.stat().st_size if target.exists() else 0) - self._log_from, 0)
        try:
            with open_to_read(self._folder.log) as file:
                file.seek(have)
                data = file.read(MAX_BYTES)
        except OSError:  # not there yet, or away for a while
            return
        if data:
            with explained(target), open_log(target) as file:
                file.write(data)


def count_beyond(folder: AttemptFolder, attempt: int, bound: int) -> int:
    """Return the number of an attempt's entries that were not taken: those from `bound` on."""
    try:
        with open_to_read(folder.journal) as file:
            entries = [parse_line(line) for line in file]
    except OSError:
        return 0
    return sum(
        entry is None or entry.get("attempt") != attempt or entry["n"] >= bound for entry in entries
    )
