"""The process of a query: the system ends it at the time limit, also within one long function.

The caller sends a request to this file, run as a script, and receives the answer or the refusal,
both in Python's `marshal` format.
"""

import marshal
import signal
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from store.errors import StoreError
from store.reading import queries
from store.reading.queries import Answer

_GRACE = 0.1  # seconds that SQLite has to stop at the limit by itself


def ask(
    path: Path, sql: str, *, limit: int = queries.LIMIT, timeout: float = queries.TIMEOUT
) -> Answer:
    """Answer a query in a process of its own; raise StoreError if it is refused."""
    return _asked("ask", path, sql, limit, timeout)


def find(path: Path, words: str, *, limit: int = 50, timeout: float = queries.TIMEOUT) -> Answer:
    """Search for words in a process of its own, as `queries.find`."""
    return _asked("find", path, words, limit, timeout)


def _asked(how: str, path: Path, text: str, limit: int, timeout: float) -> Answer:
    queries.check_limits(limit, timeout)
    process = subprocess.run(
        # Without site packages, which a query does not need: it starts in a moment.
        [sys.executable, "-I", "-S", __file__],
        input=marshal.dumps((how, str(path), text, limit, timeout)),
        capture_output=True,
        check=False,
    )
    if process.returncode == -signal.SIGALRM:
        raise queries.too_slow(timeout)
    if process.returncode:
        problem = process.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise RuntimeError(f"the query's process ended with {process.returncode}: {problem}")
    answer, refusal = marshal.loads(process.stdout)
    if refusal is not None:
        raise StoreError(**refusal)
    return Answer(*answer)


def _serve() -> None:
    """Answer the request on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    how, path, text, limit, timeout = marshal.loads(sys.stdin.buffer.read())
    answer = refusal = None
    signal.setitimer(signal.ITIMER_REAL, timeout + _GRACE)
    try:
        do = {"ask": queries.ask, "find": queries.find}[how]
        answer = tuple(do(Path(path), text, limit=limit, timeout=timeout, in_memory=True))
    except StoreError as error:
        parts = ("problem", "field", "value", "remedy")
        refusal = {name: getattr(error, name) for name in parts}
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.stdout.buffer.write(marshal.dumps((answer, refusal)))


if __name__ == "__main__":
    _serve()
