"""Locks between processes: flock, which the kernel frees when its holder dies."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class FileLock:
    """An flock held until `release` or the end of this process, however it ends.

    The file stays: removing it would let two processes lock two different files of one name.
    """

    def __init__(self, path: Path, *, wait: bool) -> None:
        """Take the lock; without `wait`, BlockingIOError says that another holds it."""
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            self.release()
            raise
        with suppress(OSError):  # a full disk: then nobody knows who holds it
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
    """The lock of `path`, or None while another holds it."""
    try:
        return FileLock(path, wait=False)
    except BlockingIOError:
        return None


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of `path`; those who ask do not disturb each other."""
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
    """The process that holds the lock of `path`; None if there is none, or it is not known."""
    if not is_locked(path):
        return None
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None
