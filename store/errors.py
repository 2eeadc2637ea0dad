"""The errors of the store: one line for the user, with the file and what to do."""

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class StoreError(RuntimeError):
    """Refused input, or a store that cannot be used: what is wrong, where, and what to do.

    The arguments are those of `dexter.errors.InputError`, which the store cannot import.
    """

    def __init__(
        self,
        problem: str,
        *,
        field: str | None = None,
        value: object = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.field = field
        self.value = value
        self.remedy = remedy

    def __str__(self) -> str:
        return self.sentence()

    def sentence(self, name: Callable[[str], str] = str) -> str:
        """Return the error as one line; `name` turns a field into what the user typed."""
        text = self.problem if self.field is None else f"{name(self.field)}: {self.problem}"
        return f"{text}; {self.remedy}" if self.remedy else text


class NotFound(StoreError):
    """An id that the store does not have, any more or at all."""


class _Reason(NamedTuple):
    """The explanation of an error code."""

    problem: str
    remedy: str
    has_alternative: bool = False
    """Another path would avoid the problem; see `instead` of `explained`."""


_LOCKED = _Reason(
    "locked: another process is writing and does not finish",
    "try again, and end that process if the lock persists",
)
_DISK_FULL = _Reason(
    "the disk is full, or a quota or file size limit is reached",
    "free some space and try again (the store itself is intact)",
)
_DISK_ERROR = _Reason(
    "disk error, perhaps because the disk is full or a quota or file size limit is reached",
    _DISK_FULL.remedy,
)
_READ_ONLY = _Reason(
    "cannot be opened or written", "make it writable for this user", has_alternative=True
)
_DAMAGED = _Reason(
    "damaged or not a store",
    "copy a backup (store.*.backup.sqlite) over it and remove its -wal and -shm files",
    has_alternative=True,
)

_SQLITE = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_IOERR: _DISK_ERROR,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_FULL: _DISK_FULL,
    sqlite3.SQLITE_CANTOPEN: _READ_ONLY,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}
_OS = {
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: _DISK_FULL,
    errno.EFBIG: _DISK_FULL,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
}


@contextmanager
def explained(
    path: Path, *, instead: str = "name another folder with DEXTER_HOME"
) -> Iterator[None]:
    """Turn errors of the disk and the database, raised while `path` is used, into StoreError.

    `instead` is the alternative for a user who cannot use this path at all.
    """
    try:
        yield
    except OSError as error:
        reason = _OS.get(error.errno or 0)
        text = error.strerror or str(error)
        raise _error(str(error.filename or path), reason, text, instead) from error
    except Exception as error:
        # SQLAlchemy, which need not be loaded here, wraps the driver's error as `orig`.
        cause = getattr(error, "orig", error)
        if not isinstance(cause, sqlite3.Error):
            raise
        raise _error(str(path), _SQLITE.get(primary_code(cause)), str(cause), instead) from error


def primary_code(error: BaseException) -> int:
    """Return SQLite's primary result code (https://sqlite.org/rescode.html), or 0 for none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _error(field: str, reason: _Reason | None, text: str, instead: str) -> StoreError:
    if reason is None:
        return StoreError(text, field=field)
    remedy = f"{reason.remedy} or {instead}" if reason.has_alternative else reason.remedy
    return StoreError(reason.problem, field=field, remedy=remedy)
