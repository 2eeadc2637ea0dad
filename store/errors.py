"""Errors of the store: one line for the user, with the file and what to do."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError


class StoreError(RuntimeError):
    """Refused input or a store that cannot be used; `str(error)` is one line for the user."""


_DISK_FULL = (
    "the disk is full or a quota or file size limit is reached; "
    "free some space and try again (the store itself is intact)"
)
_READ_ONLY = (
    "cannot be written or opened; make it writable for this user "
    "or name another folder with DEXTER_HOME"
)
_DAMAGED = (
    "is damaged or not a store; put back a backup (store.*.backup.sqlite) "
    "or name another folder with DEXTER_HOME"
)

# Primary result codes of SQLite (https://sqlite.org/rescode.html).
_SQLITE = {
    5: "is locked: another process has been writing for over 10 seconds; try again, "
    "and if this stays, end the process that hangs",
    8: _READ_ONLY,
    10: "cannot be read or written (disk error); " + _DISK_FULL,
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
def explained(path: Path) -> Iterator[None]:
    """Turn what disk and database refuse while `path` is used into a StoreError."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        raise StoreError(f"{path}: {_SQLITE.get(code, cause)}") from error
    except OSError as error:
        reason = _OS.get(error.errno or 0, error.strerror or str(error))
        raise StoreError(f"{error.filename or path}: {reason}") from error
