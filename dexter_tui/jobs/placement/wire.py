"""The messages between a keeper and the process that serves it on a box.

A message is a line of JSON and, after it, the bytes of the files whose sizes the line lists under
"sizes". Who receives one bounds both.
"""

import json
import os
import select
from collections.abc import Mapping, Sequence
from typing import Any

VERSION = 1
"""The version of these messages."""
MAX_HEADER = 2**20
"""The longest line, in bytes."""
MAX_FILES = 2**30
"""The most bytes of files in a message."""
GREETING = b"dexter-tui box\n"
"""What the box writes first: a shell's start files may write other lines before it."""


Message = tuple[dict[str, Any], list[bytes]]
"""The line and the files."""


class Broken(Exception):
    """Says in a line what ended an exchange."""


class Line:
    """A pair of pipes. `patience`: the seconds without any progress after which it is given up."""

    def __init__(self, source: int, target: int, patience: float | None = None) -> None:
        self._source = source
        self._target = target
        self._patience = patience
        self._buffer = bytearray()
        if patience is not None:
            os.set_blocking(target, False)

    def send(self, header: Mapping[str, Any], files: Sequence[bytes] = ()) -> None:
        """Send a message; raise Broken if nobody takes it.

        If the other side has ended, `receive` returns what it said before, or raises Broken.
        """
        line = json.dumps({**header, "sizes": [len(file) for file in files]}).encode() + b"\n"
        for data in (line, *files):
            left = memoryview(data)
            while left:
                self._await([], [self._target])
                try:
                    left = left[os.write(self._target, left) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    return
                except OSError as error:
                    raise Broken(error.strerror or "closed") from None

    def receive(self) -> Message:
        """Return the next message. Raises Broken for an end, a silence, and what is no message."""
        try:
            header = json.loads(self.line())
            sizes = [int(size) for size in header.pop("sizes")]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise Broken("what it sent is no message") from None
        if any(size < 0 for size in sizes) or sum(sizes) > MAX_FILES:
            raise Broken(f"it sends more than {MAX_FILES} bytes")
        return header, [self._take(size) for size in sizes]

    def line(self) -> bytes:
        """Return the next line, without its end; raise Broken as `receive`."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_HEADER:
                raise Broken("what it sent is no message")
            self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _fill(self) -> None:
        self._await([self._source], [])
        data = os.read(self._source, 2**18)
        if not data:
            raise Broken("closed")
        self._buffer += data

    def _await(self, sources: list[int], targets: list[int]) -> None:
        if self._patience is None:
            return
        if not any(select.select(sources, targets, [], self._patience)):
            raise Broken(f"no answer in {self._patience:.0f} s")
