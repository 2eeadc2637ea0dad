"""The journal of a run: a file with all its results, in chronological order.

A run's worker writes to the journal first and updates the store from it. So a database that is
locked, full or moved for a while stops no run, and a lost one can be rebuilt.

Each line is an entry: a JSON object with its number "n", its "kind", the time "at", and:

    run      the run as it was queued, with its study and classifier (n = 0)
    start    an attempt: attempt, pid, boot_id, host, slot
    fields   columns of the run with new values
    steps    rows: columns of `Step`
    prompts  rows: columns of `Prompt`, best first
    frame    columns of `Frame`, and of its `Artifact`
    state    to: the state that the worker moved the run to, with columns of the run
    rows     all rows of the run, written when the journal had to be replaced
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from store.artifacts import write_atomic
from store.clock import now

Entry = dict[str, Any]
NAME = "journal.jsonl"


class Journal:
    """The journal in a run's folder. Only the process that holds the run's lock may write to it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._next: int | None = None
        self._whole = 0  # bytes of complete lines

    def read(self, after: int = -1) -> list[Entry]:
        """Return the complete entries with a number above `after`; a torn line is left out."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        entries, whole = _parse(data)
        self._whole = whole
        return [entry for entry in entries if entry["n"] > after]

    def last(self) -> int | None:
        """Return the number of the last complete entry; None if there is none."""
        try:
            with self.path.open("rb") as file:
                file.seek(0, os.SEEK_END)
                size = file.tell()
                reach = 2**16
                while True:
                    file.seek(max(size - reach, 0))
                    lines = file.read().split(b"\n")
                    # The first line may begin before these bytes; a torn line follows the last \n.
                    for line in reversed(lines[1 if reach < size else 0 : -1]):
                        with suppress(ValueError, KeyError, TypeError):
                            return int(json.loads(line)["n"])
                    if reach >= size:
                        return None
                    reach *= 8
        except FileNotFoundError:
            return None

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

        Raises OSError if they cannot be written. None of them is then in the journal, and the
        call can be repeated.
        """
        if self._next is None:
            self.open()
        assert self._next is not None
        time = now().isoformat()
        numbered = [
            {"at": time, **entry, "n": number} for number, entry in enumerate(entries, self._next)
        ]
        data = "".join(_line(entry) for entry in numbered).encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size > self._whole:
                os.ftruncate(descriptor, self._whole)  # a torn or unfinished line
            os.lseek(descriptor, self._whole, os.SEEK_SET)
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._whole += len(data)
        self._next += len(numbered)
        return numbered

    def replace(self, entries: Sequence[Entry]) -> None:
        """Replace the file's content with these entries, which are already numbered."""
        data = "".join(_line(entry) for entry in entries).encode()
        write_atomic(self.path, data)
        self._whole = len(data)
        self._next = entries[-1]["n"] + 1


def _line(entry: Mapping[str, Any]) -> str:
    # NaN is allowed: the record keeps a loss as it was, and `json.loads` reads it back.
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _parse(data: bytes) -> tuple[list[Entry], int]:
    """Return the entries before the first torn line, and their size in bytes."""
    entries: list[Entry] = []
    whole = 0
    for line in data.splitlines(keepends=True):
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n") or not isinstance(entry, dict):
            break
        entries.append(entry)
        whole += len(line)
    return entries, whole
