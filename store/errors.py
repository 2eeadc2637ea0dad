"""Errors of the store: one line for the user, with the file and what to do."""

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class StoreError(RuntimeError):
    """Refused input, or a store that cannot be used: what is wrong, where, and what to do.

    The parts mean what they mean in `dexter.errors.InputError`, which the store does not know.
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


_DISK_FULL = (
    "the disk is full, or a quota or file size limit is reached; "
    "free some space and try again (the store itself is intact)"
)
_READ_ONLY = "cannot be opened or written; make it writable for this user or {instead}"
_DAMAGED = "damaged or not a store; put back a backup (store.*.backup.sqlite) or {instead}"

# Primary result codes of SQLite (https://sqlite.org/rescode.html).
_SQLITE = {
    5: "locked: another process is writing, and does not end; try again, "
    "and if this stays, end the process that hangs",
    8: _READ_ONLY,
    10: "disk error; perhaps " + _DISK_FULL,
    11: _DAMAGED,
    13: _DISK_FULL,
    14: _READ_ONLY,
    26: _DAMAGED,
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
    """Turn what disk and database refuse while `path` is used into a StoreError.

    `instead` is what the user may do if the place cannot be used at all.
    """
    try:
        yield
    except OSError as error:
        reason = _OS.get(error.errno or 0, error.strerror or str(error))
        name = error.filename or path
        raise StoreError(f"{name}: {reason.replace('{instead}', instead)}") from error
    except Exception as error:
        # SQLAlchemy, which need not be loaded here, wraps the driver's error as `orig`.
        cause = getattr(error, "orig", error)
        if not isinstance(cause, sqlite3.Error):
            raise
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        reason = _SQLITE.get(code, str(cause))
        raise StoreError(f"{path}: {reason.replace('{instead}', instead)}") from error
