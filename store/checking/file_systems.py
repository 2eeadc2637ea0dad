"""Finds the file system of a home: locks and shared memory of SQLite need a local one.

The tables (`store.sqlite` with its log) and `locks/` have to be local. `artifacts/`, `runs/` and
the other folders may be links to a file system on a network.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from store.errors import StoreError

MOUNTS = Path("/proc/self/mountinfo")  # Linux only
_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|lustre|beegfs\w*|gpfs|ceph|glusterfs|afs|9p|panfs|wekafs|orangefs"
    r"|pvfs2|coda|fuse(\..+)?"
)
# Layers over a local disk. Programs over a block device, as for NTFS, have the type fuseblk. What
# else a program in user space serves is unknown, and mostly on a network.
_LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.encfs", "fuse.cryfs"})
_OCTAL = re.compile(r"\\([0-7]{3})")


def address_to_read(path: Path) -> str:
    """Return the URI under which SQLite opens a database to read it.

    In a folder that is read-only, SQLite cannot make the log and the index that it uses beside a
    database. Where there is no log either, no process has the database open.
    """
    alone = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"


class _Mount(NamedTuple):
    number: int
    parent: int
    point: Path
    kind: str


def file_system(path: Path, mounts: Path | None = None) -> str:
    """Return the type of the file system of `path`, which need not exist; "unknown" without one.

    `mounts` is a table of the form of /proc/self/mountinfo (proc_pid_mountinfo(5)).
    """
    real = Path(os.path.realpath(path))
    try:
        text = (mounts or MOUNTS).read_text(errors="surrogateescape")
    except OSError:
        return "unknown"
    found = [mount for line in text.splitlines() if (mount := _parsed(line)) is not None]
    known = {mount.number for mount in found}
    # Downwards from the root: a mount may be hidden by a later one above it, which has its parent.
    here: _Mount | None = None
    while True:
        below = [
            mount
            for mount in found
            if real.is_relative_to(mount.point)
            and (mount.parent not in known if here is None else mount.parent == here.number)
        ]
        if not below:
            return "unknown" if here is None else here.kind
        here = min(below, key=lambda mount: len(mount.point.parts))
        found.remove(here)  # so that the search ends whatever the table says


def _parsed(line: str) -> _Mount | None:
    before, _, after = line.partition(" - ")
    parts = before.split(" ")
    if len(parts) < 6 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        return None
    point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), parts[4])
    return _Mount(int(parts[0]), int(parts[1]), Path(point), after.split(" ")[0])


def refusal(home: Path, mounts: Path | None = None) -> StoreError | None:
    """Return why no store may lie in a home; None if it may."""
    for path in (home / "store.sqlite", home / "locks"):
        kind = file_system(path, mounts)
        if _NETWORK.fullmatch(kind) and kind not in _LOCAL_FUSE:
            return StoreError(
                f"{home} is on a network file system ({kind}), where the locks of store.sqlite are "
                "unsafe",
                value=str(home),
                remedy="set DEXTER_HOME to a folder on a local disk, such as "
                f"/var/tmp/dexter-tui-{os.getuid()}, in which artifacts and runs may be links",
            )
    return None
