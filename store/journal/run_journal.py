"""The journal of a run: a file with all its results, in chronological order.

A run's worker writes to the journal first and updates the store from it. So a database that is
locked, full or moved for a while stops no run, and a lost one can be rebuilt.

Each line is an entry: a JSON object with its number "n", its "kind", the time "at", and:

    run      the run as it was queued, with its study and classifier (n = 0)
    start    an attempt: attempt, pid, boot_id, host, slot
    stopped  why: the `Interruption` that ended an attempt away from the store
    fields   columns of the run with new values
    steps    rows: columns of `Step`
    prompts  rows: columns of `Prompt`, best first
    frame    columns of `Frame`, and of its `Artifact`
    state    to: the state that the worker moved the run to, with columns of the run
    rows     all rows of the run, written when the journal had to be replaced
    accident what: the `Accident` that the worker met and repaired

Numbers rise by one from line to line.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from store.artifacts import NotPlain, open_plain, open_to_read, write_atomic
from store.clock import now

Entry = dict[str, Any]
NAME = "journal.jsonl"
# The kinds of entries that contain a whole run.
WHOLE = ("run", "rows")


class Interruption(StrEnum):
    """A signal that ended an attempt away from the store, behind its last checkpoint."""

    TIME_LIMIT = "time_limit"
    TERMINATED = "terminated"


class Accident(StrEnum):
    """Damage from outside that the worker of a run met while it ran, and repaired."""

    JOURNAL_DELETED = "journal_deleted"
    JOURNAL_REPLACED = "journal_replaced"
    JOURNAL_CUT = "journal_cut"
    JOURNAL_CHANGED = "journal_changed"
    LOCK_DELETED = "lock_deleted"


class Disturbed(Exception):
    """Stops an append to a journal whose file is no longer the one that was written."""

    def __init__(self, accident: Accident) -> None:
        super().__init__(accident)
        self.accident = accident


class Fault(StrEnum):
    """The fault of a journal at rest."""

    MISSING = "missing"
    HEADLESS = "headless"
    """It does not begin with a whole run."""
    TORN = "torn"
    """An unreadable line is followed by others."""
    GAP = "gap"
    """The numbers of its entries do not rise by one."""


@dataclass(frozen=True)
class Inspected:
    """The content of a journal's file, sound or not."""

    entries: list[Entry]
    """All readable entries, by number; those behind a torn line as well."""
    fault: Fault | None

    @property
    def last(self) -> int:
        """Return the number of the last readable entry; -1 if there is none."""
        return self.entries[-1]["n"] if self.entries else -1

    def following(self, number: int) -> list[Entry]:
        """Return the entries that follow the one of this number, up to the first gap."""
        found: list[Entry] = []
        for entry in self.entries:
            if entry["n"] == number + 1 + len(found):
                found.append(entry)
        return found

    def whole(self) -> list[Entry]:
        """Return the entries from which the run can be restored; none if its first is missing."""
        for entry in self.entries:
            if entry["kind"] in WHOLE:
                return [entry, *self.following(entry["n"])]
        return []


class Journal:
    """The journal in a run's folder. Only the process that holds the run's lock may write to it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._next: int | None = None
        self._whole = 0  # bytes of complete lines
        self._file: tuple[int, int] | None = None  # device and inode; None if there was no file
        self._changed_at = 0  # ns
        self._hash = hashlib.blake2b()  # of the complete lines

    def read(self, after: int = -1) -> list[Entry]:
        """Return the complete entries with a number above `after`, up to the first torn line."""
        try:
            with open_to_read(self.path) as file:
                data = file.read()
                self._remember(os.fstat(file.fileno()))
        except FileNotFoundError:
            self._file, self._whole, self._hash = None, 0, hashlib.blake2b()
            return []
        entries, self._whole = _parse(data)
        self._hash = hashlib.blake2b(data[: self._whole])
        return [entry for entry in entries if entry["n"] > after]

    def inspect(self) -> Inspected:
        """Return what can be read of the file, and its fault."""
        try:
            with open_to_read(self.path) as file:
                data = file.read()
        except (FileNotFoundError, NotPlain):
            return Inspected([], Fault.MISSING)
        found = [parse_line(line) for line in data.splitlines(keepends=True)]
        torn = None in found[:-1]  # only the last line may be torn: its write was interrupted
        entries = [entry for entry in found if entry is not None]
        numbers = [entry["n"] for entry in entries]
        fault = None
        if torn:
            fault = Fault.TORN
        elif not entries or entries[0]["kind"] not in WHOLE:
            fault = Fault.HEADLESS
        elif numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            fault = Fault.GAP
        return Inspected(sorted(entries, key=lambda entry: entry["n"]), fault)

    def open(self, after: int = -1) -> None:
        """Prepare to write entries numbered above `after` and above the existing ones."""
        entries = self.read()
        self._next = max([after, *(entry["n"] for entry in entries)]) + 1

    @property
    def written(self) -> int:
        """Return the number of the last entry of an open journal; -1 if there is none."""
        return -1 if self._next is None else self._next - 1

    def append(self, entries: Sequence[Mapping[str, Any]]) -> list[Entry]:
        """Write entries durably and return them with their numbers.

        Raises OSError if they cannot be written, and Disturbed if another process deleted, replaced
        or changed the file. None of them is then in the journal, and the call can be repeated.
        """
        if self._next is None:
            self.open()
        assert self._next is not None
        time = now().isoformat()
        numbered = [
            {"at": time, **entry, "n": number} for number, entry in enumerate(entries, self._next)
        ]
        data = "".join(_line(entry) for entry in numbered).encode()
        made = os.O_CREAT if self._file is None else 0
        try:
            descriptor = open_plain(self.path, os.O_RDWR | made)
        except FileNotFoundError:
            raise Disturbed(Accident.JOURNAL_DELETED) from None
        try:
            self._compare(descriptor)
            os.ftruncate(descriptor, self._whole)  # a torn or unfinished line
            os.lseek(descriptor, self._whole, os.SEEK_SET)
            _write_all(descriptor, data)
            os.fsync(descriptor)
            self._remember(os.fstat(descriptor))
        finally:
            os.close(descriptor)
        self._whole += len(data)
        self._hash.update(data)
        self._next += len(numbered)
        return numbered

    def replace(self, entries: Sequence[Entry]) -> None:
        """Replace the file's content with these entries, which are already numbered."""
        data = "".join(_line(entry) for entry in entries).encode()
        write_atomic(self.path, data)
        self._remember(self.path.stat())
        self._whole = len(data)
        self._hash = hashlib.blake2b(data)
        self._next = entries[-1]["n"] + 1

    def _remember(self, stat: os.stat_result) -> None:
        self._file = stat.st_dev, stat.st_ino
        self._changed_at = stat.st_mtime_ns

    def _compare(self, descriptor: int) -> None:
        """Raise Disturbed unless the file begins with what was written."""
        stat = os.fstat(descriptor)
        if self._file is not None and self._file != (stat.st_dev, stat.st_ino):
            raise Disturbed(Accident.JOURNAL_REPLACED)
        if stat.st_size < self._whole:
            raise Disturbed(Accident.JOURNAL_CUT)
        # An append that failed changes the time as well.
        if self._changed_at != stat.st_mtime_ns and self._file is not None:
            written = hashlib.blake2b(os.pread(descriptor, self._whole, 0))
            if written.digest() != self._hash.digest():
                raise Disturbed(Accident.JOURNAL_CHANGED)


def _line(entry: Mapping[str, Any]) -> str:
    # NaN is allowed: the record keeps a loss as it was, and `json.loads` reads it back.
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def parse_line(line: bytes) -> Entry | None:
    """Return the entry of a line; None for a line that is torn."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not line.endswith(b"\n") or not isinstance(entry, dict):
        return None
    number, kind = entry.get("n"), entry.get("kind")
    return entry if type(number) is int and number >= 0 and isinstance(kind, str) else None


def _parse(data: bytes) -> tuple[list[Entry], int]:
    """Return the entries before the first torn line, and their size in bytes."""
    entries: list[Entry] = []
    whole = 0
    for line in data.splitlines(keepends=True):
        entry = parse_line(line)
        if entry is None:
            break
        entries.append(entry)
        whole += len(line)
    return entries, whole
