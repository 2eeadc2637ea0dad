"""A terminal behind a slow line: it runs a command and answers what it is asked."""

import fcntl
import os
import pty
import queue
import re
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# What terminals answer to the questions (with regular expressions) of those who show pictures.
_PLAIN = {rb"\x1b\[c": b"\x1b[?1;2c", rb"\x1b\[16t": b"\x1b[6;20;10t"}
ANSWERS: Mapping[str, Mapping[bytes, bytes]] = {
    "silent": {},
    "plain": _PLAIN,
    "sixel": {**_PLAIN, rb"\x1b\[c": b"\x1b[?62;4;22c"},
    "kitty": {
        rb"\x1b_G[^\x1b]*a=q[^\x1b]*\x1b\\": b"\x1b_Gi=31;OK\x1b\\",
        **_PLAIN,
        rb"\x1b\[c": b"\x1b[?62;22c",
    },
}
_LONGEST = 200  # bytes of a question


class FakeTerminal:
    """``argv`` in a terminal of this size; answers arrive ``delay`` seconds late."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        size: tuple[int, int] = (120, 40),
        kind: str = "plain",
        delay: float = 0.0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.output = bytearray()
        self.asked: list[bytes] = []
        self._answers = ANSWERS[kind]
        self._delay = delay
        self._seen = 0
        self._arrived = threading.Condition()
        self._answers_due: queue.Queue[tuple[float, bytes] | None] = queue.Queue()
        self.pid, self._line = pty.fork()
        if self.pid == 0:
            own = {**os.environ, "TERM": "xterm-256color", **(env or {})}
            for name in ("COLUMNS", "LINES"):  # would stand above the terminal's own size
                own.pop(name, None)
            os.execvpe(argv[0], list(argv), own)
        self.resize(*size)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._sender.start()

    def type(self, keys: bytes) -> None:
        """As if someone pressed keys."""
        os.write(self._line, keys)

    def resize(self, columns: int, rows: int) -> None:
        """As if someone drew the window larger or smaller."""
        fcntl.ioctl(self._line, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def wait_for(self, pattern: bytes, *, since: int = 0, seconds: float = 300) -> float:
        """Seconds until the output from byte ``since`` on holds the pattern."""
        start = time.monotonic()
        with self._arrived:
            while not re.search(pattern, self.output[since:], re.DOTALL):
                left = start + seconds - time.monotonic()
                if left <= 0 or not self._arrived.wait(left):
                    raise AssertionError(
                        f"{pattern!r} not in {bytes(self.output[since:])[-2000:]!r}"
                    )
        return time.monotonic() - start

    def answered(self) -> None:
        """Wait until the answers to all questions so far are sent."""
        self._answers_due.join()

    def cpu_seconds(self) -> float:
        """Return the CPU time of the process."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> int:
        """Return its resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) * 1024 if found else 0

    def hang_up(self) -> int:
        """Close the window; return the exit code of the process once it has ended."""
        os.close(self._line)
        _, status = os.waitpid(self.pid, 0)
        self._answers_due.put(None)
        return os.waitstatus_to_exitcode(status)

    def close(self) -> int:
        """End it; its exit code, or minus the signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, or minus the signal, once it has ended."""
        _, status = os.waitpid(self.pid, 0)
        self._reader.join(300)
        self._answers_due.put(None)
        self._sender.join()
        os.close(self._line)
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> None:
        while True:
            try:
                if not select.select([self._line], [], [], 1.0)[0]:
                    continue
                data = os.read(self._line, 65536)
            except (OSError, ValueError):
                return
            if not data:
                return
            with self._arrived:
                self.output += data
                self._answer()
                self._arrived.notify_all()

    def _answer(self) -> None:
        """In the order of the questions, as terminals do."""
        found = []
        for question, answer in self._answers.items():
            for match in re.finditer(question, self.output[self._seen :]):
                found.append((match.start(), match.end(), answer))
        for _, end, answer in sorted(found):
            self.asked.append(answer)
            last = end
            self._answers_due.put((time.monotonic() + self._delay, answer))
        # A question may have arrived in part; what is behind it was looked at for good.
        self._seen = max(self._seen + (last if found else 0), len(self.output) - _LONGEST)

    def _send(self) -> None:
        while (pending := self._answers_due.get()) is not None:
            due, answer = pending
            time.sleep(max(0.0, due - time.monotonic()))
            with suppress(OSError):  # it may have ended meanwhile
                os.write(self._line, answer)
            self._answers_due.task_done()
