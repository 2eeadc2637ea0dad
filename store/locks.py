"""The locks between processes: flock, which the kernel frees when its holder dies.

The kernel locks a file, not its name. A process whose lock file is deleted still counts as the
holder: `is_locked` finds it by the file that it has open (on Linux), and `FileLock.keep` takes the
lock again under the name.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from store.artifacts import open_plain
from store.states import is_job

_PROC = Path("/proc")  # Linux only
_DELETED = " (deleted)"  # as the kernel writes it behind the name of such a file
_OBSERVER_SECONDS = 1.0  # at most for which `is_locked` of others holds a lock
_RETRY_SECONDS = 0.02


class FileLock:
    """An flock held until `release` or the end of this process, however it ends."""

    def __init__(self, path: Path, *, wait: bool) -> None:
        """Take the lock; without `wait`, raise BlockingIOError if another process holds it."""
        self.path = path
        self.retaken = 0
        """The number of times that `keep` took the lock again."""
        self._mutex = threading.Lock()
        self._descriptor: int | None = None
        while self._descriptor is None:
            descriptor = _lock(path, wait=wait)
            if _deleted_holder(path) is None:
                self._descriptor = descriptor
            else:
                os.close(descriptor)
                if not wait:
                    raise BlockingIOError(f"{path}: held by a process whose lock file was deleted")
                time.sleep(_RETRY_SECONDS)

    def keep(self) -> bool:
        """Take the lock again if its file was deleted or replaced; return whether it was.

        Raises BlockingIOError if another process has taken the lock meanwhile, and another OSError
        if no file can be written.
        """
        with self._mutex:
            if self._descriptor is None or _is_named(self._descriptor, self.path):
                return False
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            deadline = time.monotonic() + _OBSERVER_SECONDS
            while True:
                try:
                    descriptor = _lock(self.path, wait=False)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_RETRY_SECONDS)
            os.close(self._descriptor)  # only now: the process holds one of the two at any time
            self._descriptor = descriptor
            self.retaken += 1
            return True

    def inheritable(self) -> int:
        """Have programs that this process starts or becomes hold the lock; return the descriptor.

        They hold it until they end, whether this process releases it or not.
        """
        assert self._descriptor is not None
        os.set_inheritable(self._descriptor, True)
        return self._descriptor

    def release(self) -> None:
        """Free the lock; a second call does nothing."""
        with self._mutex:
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


def work_lock(home: Path, name: str) -> Path:
    """Return the lock that the process that works on a run or job holds."""
    return home / "locks" / f"{'job' if is_job(name) else 'run'}-{name}.lock"


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of `path`; callers do not block each other."""
    # A holder that takes its lock again has both for an instant, so the last look finds the new.
    return _has_lock(path) or _deleted_holder(path) is not None or _has_lock(path)


def locked_in(folder: Path) -> set[str]:
    """Return the names of a folder's files that `is_locked` finds locked."""
    held: set[str] = set()
    for _ in range(2):  # as there, a last look at the files
        with suppress(FileNotFoundError):
            held |= {entry.name for entry in os.scandir(folder) if _has_lock(Path(entry.path))}
        inside = f"{os.path.realpath(folder)}/"
        held |= {name[len(inside) :] for name, _ in _deleted() if name.startswith(inside)}
    return held


def holder(path: Path) -> int | None:
    """Return the PID of the process that holds the lock; None if none does or it is unknown."""
    if _has_lock(path):
        with suppress(OSError, ValueError):
            return int(path.read_text())
    return _deleted_holder(path)


def holder_here(path: Path) -> int | None:
    """Return the process that took the lock, if it can be sent a signal; None if not.

    The number of a process in another container may be that of any process in this one.
    """
    pid = holder(path)
    return pid if pid is not None and took_lock(pid) else None


def took_lock(pid: int) -> bool:
    """Return whether a process of this number took a lock, as far as the kernel lists locks."""
    return not (_PROC / "locks").exists() or pid in _lockers()


def _lock(path: Path, *, wait: bool) -> int:
    """Return a descriptor of the file of this name, locked; raise BlockingIOError as FileLock."""
    while True:
        descriptor = open_plain(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            os.close(descriptor)
            raise
        if _is_named(descriptor, path):
            break
        os.close(descriptor)  # deleted since it was opened
    with suppress(OSError):  # on a full disk `holder` cannot name the process
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
    return descriptor


def _is_named(descriptor: int, path: Path) -> bool:
    """Return whether an open file is the one of this name."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _has_lock(path: Path) -> bool:
    """Return whether a process holds the lock of the file of this name."""
    try:
        descriptor = open_plain(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _deleted_holder(path: Path) -> int | None:
    """Return the process that holds the lock of a deleted file of this name; None if none does."""
    real = os.path.realpath(path)
    return next((pid for name, pid in _deleted() if name == real), None)


def _deleted() -> Iterator[tuple[str, int]]:
    """Yield the deleted files that processes with locks have open, and the process."""
    for pid in _lockers():
        with suppress(OSError):  # it ended, or is another user's
            for entry in os.scandir(f"{_PROC}/{pid}/fd"):
                with suppress(OSError):
                    # A `Path` of it would keep the parts of the name for a while, of every file.
                    name = os.readlink(entry.path)  # noqa: PTH115
                    if name.endswith(_DELETED):
                        yield name.removesuffix(_DELETED), pid


def _lockers() -> set[int]:
    """Return the processes that hold an flock of any file."""
    try:
        lines = (_PROC / "locks").read_text().splitlines()
    except OSError:
        return set()
    # "3: FLOCK  ADVISORY  WRITE 7554 fe:00:2359445 0 EOF"; one that waits has "->" before FLOCK
    held = [fields for line in lines if (fields := line.split())[1] == "FLOCK"]
    return {int(fields[4]) for fields in held if int(fields[4]) > 0}
