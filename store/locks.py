"""The locks between processes: flock, which the kernel frees when its holder dies."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class FileLock:
    """An flock held until `release` or the end of this process, however it ends.

    The file stays: if it were removed, two processes could lock different files of the same name.
    """

    def __init__(self, path: Path, *, wait: bool) -> None:
        """Take the lock; without `wait`, raise BlockingIOError if another process holds it."""
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            self.release()
            raise
        with suppress(OSError):  # on a full disk `holder` cannot name the process
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, b"%d\n" % os.getpid())

    def release(self) -> None:
        """Free the lock; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def try_lock(path: Path) -> FileLock | None:
    """Take the lock of `path`; return None if another process holds it."""
    try:
        return FileLock(path, wait=False)
    except BlockingIOError:
        return None


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of `path`; callers do not block each other."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(path: Path) -> int | None:
    """Return the PID of the process that holds the lock; None if none does or it is unknown."""
    if not is_locked(path):
        return None
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None
