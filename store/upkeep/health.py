"""The maintenance of a store: checks and repairs, garbage collection, backups."""

import contextlib
import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlmodel import col, select

from store import artifacts, run_queue
from store.clock import now
from store.database import backup, connect, is_complete
from store.errors import StoreError, explained, primary_code
from store.journal import study_file
from store.journal.run_journal import NAME
from store.locks import is_locked
from store.states import ACTIVE, State
from store.store import Store
from store.tables import Artifact, Run, Study, Table, among
from store.upkeep import journals
from store.upkeep.retention import files_of_no_job
from store.upkeep.trouble import Progress, Trouble, set_aside, silent

YOUNG_SECONDS = 3600.0  # the row of a younger file may not be written yet
KEPT_BACKUPS = 3
_NAMED = re.compile(rb'"sha256":"([0-9a-f]{64})"')  # in a line of a journal
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}


def examine(store: Store, *, repair: bool = False, progress: Progress = silent) -> list[Trouble]:
    """Return the problems of a store and its files, and repair them with `repair`.

    Reads every artifact to compare it with its hash. `progress` receives the part that is being
    checked, the number of checked items and their total.
    """
    found = list(damage(store.path))
    if found:
        return found
    return [
        *journals.examine(store, repair, progress),
        *_study_files(store, repair),
        *_artifacts(store, repair, progress),
        *_leftovers(store, repair),
    ]


def damage(path: Path) -> Iterator[Trouble]:
    """Yield the damage of the database itself."""
    with explained(path), contextlib.closing(connect(path, "ro")) as connection:
        try:
            lines = [line for (line,) in connection.execute("PRAGMA integrity_check(5)")]
            broken = connection.execute("PRAGMA foreign_key_check").fetchall()
        except sqlite3.DatabaseError as error:
            if primary_code(error) not in _DAMAGE:  # a full disk, say: nothing can be read
                raise
            lines, broken = [str(error)], []
    if lines != ["ok"]:
        yield Trouble(
            "damaged", f"{path}: {lines[0]}", False, "`dexter-tui doctor --rebuild`, or a backup"
        )
    elif broken:
        yield Trouble(
            "damaged",
            f"{path}: {len(broken)} rows refer to missing rows",
            False,
            "`dexter-tui doctor --rebuild`, or a backup",
        )


def _study_files(store: Store, repair: bool) -> Iterator[Trouble]:
    """Check that a lost store can be rebuilt with what was found about each study."""
    with store._read() as session:
        studies = session.exec(select(Study.id)).all()
    for study_id in studies:
        path = study_file.path(store.home, study_id)
        problem = "cannot be read"
        try:
            study_file.read(path)
            continue
        except FileNotFoundError:
            with store._read() as session:
                found = any(study_file.rows(session, study_id).values())
            if not found or run_queue.jobs(store, study_id=study_id, states=ACTIVE):
                continue  # a job writes it
            problem = "is missing"
        except (OSError, ValueError, RecursionError):
            pass
        if repair:
            if path.exists():
                set_aside(store.home, path, path.name)
            store.keep_study(study_id)
        yield Trouble("study file", f"{path} {problem}", repair)


def _artifacts(store: Store, repair: bool, progress: Progress) -> Iterator[Trouble]:
    with store._read() as session:
        hashes = session.exec(select(Artifact.sha256)).all()
    for number, sha256 in enumerate(hashes):
        progress("artifacts", number, len(hashes))
        path = store.artifact_path(sha256)
        with explained(path):
            if not path.exists():
                wrong = "is missing"
            elif artifacts.digest(path.read_bytes()) != sha256:
                wrong = "is damaged"
            else:
                continue
        removed = repair and _forget(store, sha256)
        if removed and path.exists():
            set_aside(store.home, path, path.name)
        yield Trouble(
            "artifact",
            f"{path} {wrong}" + ("; the rows that named it are removed" if removed else ""),
            removed,
        )


def _references() -> list[tuple[sa.Table, sa.Column[str]]]:
    """Return the columns that name artifacts, with their tables."""
    target = Artifact.__table__.c.sha256  # type: ignore[attr-defined]
    return [
        (table, key.parent)
        for table in Table.metadata.tables.values()
        for key in table.foreign_keys
        if key.column is target
    ]


def _forget(store: Store, sha256: str) -> bool:
    """Remove an artifact's row and the rows that name it; return False if others need these."""
    try:
        with store._write() as session:
            for table, column in _references():
                session.execute(sa.delete(table).where(column == sha256))
            session.execute(sa.delete(Artifact).where(col(Artifact.sha256) == sha256))
    except StoreError:
        return False
    return True


def _leftovers(store: Store, repair: bool) -> Iterator[Trouble]:
    for path in store.home.rglob(".new-*"):
        if _old(path):
            if repair:
                path.unlink(missing_ok=True)
            yield Trouble("leftover", f"{path}: an interrupted write", repair)
    for path in store.home.glob("store.*.backup.sqlite"):
        if not is_complete(path):
            if repair:
                path.unlink(missing_ok=True)
            yield Trouble("leftover", f"{path}: an incomplete backup", repair)
    with store._read() as session:
        known = set(session.exec(select(Run.id)))
    for path in (store.home / "locks").glob("run-*.lock"):
        if path.stem.removeprefix("run-") not in known and not is_locked(path):
            if repair:
                path.unlink(missing_ok=True)
            yield Trouble("leftover", f"{path}: the lock of a run that does not exist", repair)


def _old(path: Path) -> bool:
    found = _stat(path)
    return found is not None and time.time() - found.st_mtime > YOUNG_SECONDS


def _stat(path: Path) -> os.stat_result | None:
    """Return the state of a file; None if it was removed, as by another collection, or is none."""
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        return found if stat.S_ISREG(found.st_mode) else None
    return None


# Garbage collection and backups


@dataclass(frozen=True)
class Collected:
    """The files that nothing needs."""

    files: list[Path]
    bytes: int


def collect(store: Store, *, dry_run: bool = False) -> Collected:
    """Remove files without a row, artifacts that no row names, checkpoints of succeeded runs, logs
    of deleted jobs, old backups and interrupted writes; with `dry_run`, only list them.

    Files without a row that a journal or a remaining backup names are kept: either may be restored.
    """
    with store._read() as session:
        hashes = set(session.exec(select(Artifact.sha256)))
        named: set[str] = set()
        for _, column in _references():
            named.update(sha256 for (sha256,) in session.execute(sa.select(column).distinct()))
        succeeded = session.exec(select(Run.id).where(Run.state == State.SUCCEEDED)).all()
    idle = [sha256 for sha256 in hashes - named if _old(store.artifact_path(sha256))]
    times = {
        path: found.st_mtime
        for path in store.home.glob("store.*.backup.sqlite")
        if (found := _stat(path)) is not None
    }
    backups = sorted(times, key=lambda path: times[path])
    old_backups, backups = backups[:-KEPT_BACKUPS], backups[-KEPT_BACKUPS:]
    files = [*old_backups, *(store.artifact_path(sha256) for sha256 in idle)]
    without_row = []
    for folder in ("artifacts/sha256", "thumbnails"):
        for path in (store.home / folder).glob("*/*"):
            sha256 = path.stem
            if sha256 not in hashes and _old(path):
                without_row.append(path)
            elif sha256 in idle and folder == "thumbnails":
                files.append(path)
    if without_row:
        restorable = _restorable(store, backups)
        files += [path for path in without_row if path.stem not in restorable]
    for run_id in succeeded:
        files += (store.home / "runs" / run_id).glob("checkpoint*")
    files += files_of_no_job(store)
    files += [path for path in store.home.rglob(".new-*") if _old(path)]
    sizes = {path: found.st_size for path in files if (found := _stat(path)) is not None}
    if not dry_run:
        with store._write() as session:  # rows first: no row may name a missing file
            still = {
                sha256
                for _, column in _references()
                for (sha256,) in session.execute(sa.select(column).where(among(column, idle)))
            }
            session.execute(
                sa.delete(Artifact).where(among(col(Artifact.sha256), set(idle) - still))
            )
        keep = {store.artifact_path(sha256) for sha256 in still}
        for path in sizes:
            if path not in keep:
                path.unlink(missing_ok=True)
    return Collected(sorted(sizes), sum(sizes.values()))


def _restorable(store: Store, backups: Sequence[Path]) -> set[str]:
    """Return the hashes of the artifacts that journals of runs and these backups name."""
    found: set[str] = set()
    for path in backups:
        with (  # another collection may have removed it
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(connect(path, "ro")) as connection,
        ):
            found.update(sha256 for (sha256,) in connection.execute("SELECT sha256 FROM artifact"))
    for path in (store.home / "runs").glob(f"*/{NAME}"):
        with contextlib.suppress(OSError), artifacts.open_to_read(path) as file:
            found.update(named.decode() for line in file for named in _NAMED.findall(line))
    return found


def back_up(store: Store, target: Path | None = None) -> Path:
    """Write a complete copy of the database while others use it; return its path.

    Pictures and journals are separate files, which are never changed: copy their folders.
    """
    if target is None:
        stamp = now().strftime("%Y%m%dT%H%M%S.%f")
        target = store.home / f"store.{stamp}.backup.sqlite"
    if target.exists():
        raise StoreError("exists already", field=str(target), remedy="name another file")
    with explained(target):
        if not target.parent.is_dir():
            raise StoreError(
                "no such folder",
                field=str(target.parent),
                remedy="create it or name another file",
            )
        backup(store.path, target)
    return target
