"""The notices at the end of runs and jobs: on the screen, by the terminal, by a command."""

import os
import shlex
import subprocess
from collections import deque
from collections.abc import Iterable, Sequence

from dexter_tui.formatting import clean
from store.checking.checks import is_work
from store.reading.browse import Browse
from store.states import ENDED

MOST_NAMED = 3
"""Works that a notice names; more are counted."""
MOST_HOOKS = 4
"""Commands of the user that run at a time"""
_MOST = 2_000
"""Works that are watched at a time, the oldest first."""

Ended = tuple[str, str]
"""The id of a run or job, and its state"""


class FinishWatch:
    """Remembers the unfinished runs and jobs; usable from one thread at a time."""

    def __init__(self, browse: Browse) -> None:
        self._browse = browse
        self._unfinished: set[str] | None = None

    def ended(self) -> list[Ended]:
        """Return what has ended since the last call; nothing at the first."""
        marks = ", ".join("?" * len(ENDED))
        states = [state.value for state in ENDED]
        parts = [
            f"SELECT id, created_at FROM {table} WHERE state NOT IN ({marks})"
            for table in ("run", "job")
        ]
        rows = self._browse.rows(
            f"{' UNION ALL '.join(parts)} ORDER BY 2, 1 LIMIT {_MOST}", [*states, *states]
        )
        before, self._unfinished = self._unfinished, {str(name) for name, _ in rows}
        gone = sorted((before or set()) - self._unfinished)[:_MOST]
        found: list[Ended] = []
        for name in gone:
            for table in ("run", "job"):
                # One that older ones pushed out of the watched works has not ended.
                rows = self._browse.rows(
                    f"SELECT id, state FROM {table} WHERE id = ? AND state IN ({marks})",
                    [name, *states],
                )
                # A store may be from elsewhere; ids go to the terminal and to the user's command.
                found += [(key, str(state)) for key, state in rows if is_work(key)]
        return found


def sentence(ended: Sequence[Ended]) -> str:
    """Return what ended as one line."""
    if len(ended) <= MOST_NAMED:
        return ", ".join(f"{name} {state}" for name, state in ended)
    counts = {state: sum(own == state for _, own in ended) for _, state in ended}
    return f"{len(ended)} runs and jobs ended: " + ", ".join(
        f"{count} {state}" for state, count in counts.items()
    )


def signals(kinds: Iterable[str], line: str) -> str:
    """Return the control sequences of some kinds of notice: bell, osc9 and osc777."""
    text = clean(line).replace(";", ",")
    known = {
        "bell": "\a",
        "osc9": f"\x1b]9;dexter-tui: {text}\x1b\\",
        "osc777": f"\x1b]777;notify;dexter-tui;{text}\x1b\\",
    }
    return "".join(known.get(kind, "") for kind in kinds)


class Hooks:
    """Starts the user's command for each end, a few at a time."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._waiting: deque[Ended] = deque()
        self._running: list[subprocess.Popen[bytes]] = []

    def add(self, ended: Iterable[Ended]) -> None:
        """Remember ends; `start` runs the command for them."""
        self._waiting.extend(ended)

    def start(self) -> None:
        """Start the command for those that wait, with DEXTER_ID and DEXTER_STATE set.

        Raises OSError or ValueError for a command that cannot be started; none waits then.
        """
        self._running = [process for process in self._running if process.poll() is None]
        while self._waiting and len(self._running) < MOST_HOOKS:
            name, state = self._waiting.popleft()
            try:
                self._running.append(_start(shlex.split(self._command), name, state))
            except (OSError, ValueError):
                self._waiting.clear()
                raise


def _start(words: Sequence[str], name: str, state: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words,
        env={**os.environ, "DEXTER_ID": name, "DEXTER_STATE": state},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
