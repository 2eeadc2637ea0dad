"""One file per run with all that was found out about it, in the order it was.

A run's worker writes here first, and the store is brought up to date from here: a database that
is locked, full or moved away for a while stops no run, and one that is lost can be rebuilt.

A line is one entry, a JSON object with its number "n", its "kind", the time "at", and:

    run      the run as it was queued, with its study and classifier (n = 0)
    start    an attempt: attempt, pid, boot_id, host, slot
    fields   columns of the run that got a value
    steps    rows: columns of `Step`
    prompts  rows: columns of `Prompt`, best first
    frame    columns of `Frame`, and of its `Artifact`
    state    to: the state that the worker moved the run to, with columns of the run
    rows     all that the store held when the journal had to be made anew
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
    """The journal in a run's folder. Only the process that holds the run's lock may write it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._next: int | None = None
        self._whole = 0  # bytes of whole lines

    def read(self, after: int = -1) -> list[Entry]:
        """The whole entries with a number above `after`; what a power cut tore is left out."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        entries, whole = _parse(data)
        self._whole = whole
        return [entry for entry in entries if entry["n"] > after]

    def last(self) -> int | None:
        """The number of the last whole entry; None if there is none."""
        try:
            with self.path.open("rb") as file:
                file.seek(0, os.SEEK_END)
                size = file.tell()
                reach = 2**16
                while True:
                    file.seek(max(size - reach, 0))
                    lines = file.read().split(b"\n")
                    # The first may be cut by where we began; behind the last \n is what is torn.
                    for line in reversed(lines[1 if reach < size else 0 : -1]):
                        with suppress(ValueError, KeyError, TypeError):
                            return int(json.loads(line)["n"])
                    if reach >= size:
                        return None
                    reach *= 8
        except FileNotFoundError:
            return None

    def open(self, after: int = -1) -> None:
        """Get ready to write entries that are numbered above `after` and above those there."""
        entries = self.read()
        self._next = max([after, *(entry["n"] for entry in entries)]) + 1

    @property
    def written(self) -> int:
        """The number of the last entry, once it is open; -1 if there is none."""
        return -1 if self._next is None else self._next - 1

    def append(self, entries: Sequence[Mapping[str, Any]]) -> list[Entry]:
        """Write entries, safe from a power cut when this returns; as they were numbered.

        OSError if they cannot be written: then none of them is there, and the call may be tried
        again.
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
                os.ftruncate(descriptor, self._whole)  # a torn line, or one that did not fit
            os.lseek(descriptor, self._whole, os.SEEK_SET)
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._whole += len(data)
        self._next += len(numbered)
        return numbered

    def replace(self, entries: Sequence[Entry]) -> None:
        """Write the file anew with these entries, which bring their numbers."""
        data = "".join(_line(entry) for entry in entries).encode()
        write_atomic(self.path, data)
        self._whole = len(data)
        self._next = entries[-1]["n"] + 1


def _line(entry: Mapping[str, Any]) -> str:
    # allow_nan: what a loss really was belongs to the record; `json.loads` reads it back.
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _parse(data: bytes) -> tuple[list[Entry], int]:
    """The entries up to the first torn line, and how many bytes they take."""
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
