"""The maintenance of a store: checks and repairs, rebuilding, garbage collection, backups."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlmodel import Session, col, select

from store import artifacts, run_queue, run_records
from store.clock import now
from store.database import backup, connect
from store.errors import StoreError, explained
from store.journal import replay, study_file
from store.journal.run_journal import NAME, Journal
from store.locks import FileLock, is_locked
from store.states import ACTIVE, State
from store.store import Store
from store.tables import Artifact, Frame, Run, Table

YOUNG_SECONDS = 3600.0  # the row of a younger file may not be written yet
KEPT_BACKUPS = 3

Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, of: int) -> None:
    pass


@dataclass(frozen=True)
class Trouble:
    """A problem of a store."""

    kind: str
    what: str
    repaired: bool
    remedy: str = "`dexter-tui doctor --repair`"


def examine(store: Store, *, repair: bool = False, progress: Progress = _silent) -> list[Trouble]:
    """Return the problems of a store and its files, and repair them with `repair`.

    Reads every artifact to compare it with its hash. `progress` receives the part that is being
    checked, the number of checked items and their total.
    """
    damage = list(_damage(store.path))
    if damage:
        return damage
    return [
        *_runs(store, repair, progress),
        *_artifacts(store, repair, progress),
        *_leftovers(store, repair),
    ]


def _damage(path: Path) -> Iterator[Trouble]:
    with explained(path), contextlib.closing(connect(path, "ro")) as connection:
        try:
            lines = [line for (line,) in connection.execute("PRAGMA integrity_check(5)")]
            broken = connection.execute("PRAGMA foreign_key_check").fetchall()
        except sqlite3.DatabaseError as error:
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


def _runs(store: Store, repair: bool, progress: Progress) -> Iterator[Trouble]:
    with store._read() as session:
        known = {
            run_id: (state, entries)
            for run_id, state, entries in session.execute(
                sa.select(col(Run.id), col(Run.state), col(Run.journal_entries))
            )
        }
    folders = sorted(path.parent for path in (store.home / "runs").glob(f"*/{NAME}"))
    for number, folder in enumerate(folders):
        progress("journals", number, len(folders))
        run_id = folder.name
        last = Journal(folder).last()
        if last is None or run_queue.is_alive(store, run_id):
            continue
        if run_id not in known:
            if repair:
                restore(store, run_id)
            yield Trouble("missing run", f"run {run_id} has a journal, but no row", repair)
        elif last > known[run_id][1]:
            if repair:
                run_records.catch_up(store, run_id)
            yield Trouble("behind", f"run {run_id}: its journal is ahead of the store", repair)
    dead = [
        run_id
        for run_id, (state, _) in known.items()
        if state in ACTIVE and not run_queue.is_alive(store, run_id)
    ]
    if dead and repair:
        run_queue.reconcile(store)
    for run_id in dead:
        yield Trouble("dead run", f"run {run_id} is active, but its process is gone", repair)


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
            folder = store.home / "damaged"
            folder.mkdir(mode=0o700, exist_ok=True)
            path.replace(folder / path.name)
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
    with store._read() as session:
        known = set(session.exec(select(Run.id)))
    for path in (store.home / "locks").glob("run-*.lock"):
        if path.stem.removeprefix("run-") not in known and not is_locked(path):
            if repair:
                path.unlink(missing_ok=True)
            yield Trouble("leftover", f"{path}: the lock of a run that does not exist", repair)


def _old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > YOUNG_SECONDS
    except FileNotFoundError:
        return False


# Rebuilding from the journals


@dataclass(frozen=True)
class Rebuilt:
    """The result of `rebuild`."""

    runs: list[str]
    """Runs that the store lacked."""
    paused: list[str]
    """The unfinished ones among these runs."""
    studies: list[str]
    """Studies whose findings, tags or notes were restored."""
    moved: Path | None
    """The new path of the damaged file."""


def rebuild(home: Path, *, progress: Progress = _silent) -> Rebuilt:
    """Restore every run that has a journal, after moving a damaged store aside.

    Also restores the findings of their studies. Unfinished runs are paused, because no journal
    records what the user requested. Comparisons, probes and pictures of the bank cannot be
    restored.
    """
    path = home / "store.sqlite"
    moved = None
    if path.exists() and any(_damage(path)):
        (home / "locks").mkdir(mode=0o700, exist_ok=True)
        with FileLock(home / "locks" / "upgrade.lock", wait=True):
            stamp = now().strftime("%Y%m%dT%H%M%S")
            moved = home / f"store.{stamp}.damaged.sqlite"
            path.replace(moved)
            for suffix in ("-wal", "-shm"):
                beside = home / f"{path.name}{suffix}"
                if beside.exists():
                    beside.replace(home / f"{moved.name}{suffix}")
    restored, paused = [], []
    with Store.open(home) as store:
        with store._read() as session:
            known = set(session.exec(select(Run.id)))
        folders = sorted(path.parent for path in (home / "runs").glob(f"*/{NAME}"))
        for number, folder in enumerate(folders):
            progress("journals", number, len(folders))
            if folder.name in known:
                run_records.catch_up(store, folder.name)
            elif restore(store, folder.name):
                restored.append(folder.name)
                if store.run(folder.name).state is State.PAUSED:
                    paused.append(folder.name)
        studies = list(_restore_studies(store))
    return Rebuilt(restored, paused, studies, moved)


def _restore_studies(store: Store) -> Iterator[str]:
    for file in sorted((store.home / "studies").glob("*.json")):
        with contextlib.suppress(OSError, ValueError):  # torn: the next stage replaces it
            study_id, kept = study_file.read(file)
            with store._write() as session:
                count = study_file.restore(session, study_id, kept)
            if count:
                yield study_id


def restore(store: Store, run_id: str) -> bool:
    """Restore a run from its journal; return False if that does not begin with a whole run."""
    entries = run_records.journal(store, run_id).read()
    if not entries or entries[0]["kind"] not in replay.WHOLE:
        return False
    with store._write() as session:
        replay.restore(session, entries[0])
        if entries[1:]:
            replay.apply(session, run_id, entries[1:], rebuilding=True)
        _drop_frames_without_file(store, session, run_id)
        run = session.get_one(Run, run_id)
        session.refresh(run)
        if run.state in ACTIVE | {State.QUEUED} and not run_queue.is_alive(store, run_id):
            run.state = State.PAUSED
            run.error = f"rebuilt from its journal; `dexter-tui resume {run_id}` continues it"
    return True


def _drop_frames_without_file(store: Store, session: Session, run_id: str) -> None:
    for frame in session.exec(select(Frame).where(Frame.run_id == run_id)).all():
        if not store.artifact_path(frame.sha256).exists():
            session.delete(frame)


# Garbage collection and backups


@dataclass(frozen=True)
class Collected:
    """The files that nothing needs."""

    files: list[Path]
    bytes: int


def collect(store: Store, *, dry_run: bool = False) -> Collected:
    """Remove files without a row, artifacts that no row names, checkpoints of succeeded runs, old
    backups and interrupted writes; with `dry_run`, only list them.
    """
    with store._read() as session:
        hashes = set(session.exec(select(Artifact.sha256)))
        named: set[str] = set()
        for _, column in _references():
            named.update(sha256 for (sha256,) in session.execute(sa.select(column).distinct()))
        succeeded = session.exec(select(Run.id).where(Run.state == State.SUCCEEDED)).all()
    idle = [sha256 for sha256 in hashes - named if _old(store.artifact_path(sha256))]
    files = [store.artifact_path(sha256) for sha256 in idle]
    for folder in ("artifacts/sha256", "thumbnails"):
        for path in (store.home / folder).glob("*/*"):
            sha256 = path.stem
            if (sha256 not in hashes and _old(path)) or (sha256 in idle and folder == "thumbnails"):
                files.append(path)
    for run_id in succeeded:
        files += (store.home / "runs" / run_id).glob("checkpoint*.pt")
    backups = sorted(store.home.glob("store.*.backup.sqlite"), key=lambda p: p.stat().st_mtime)
    files += backups[:-KEPT_BACKUPS]
    files += [path for path in store.home.rglob(".new-*") if _old(path)]
    files = sorted({path for path in files if path.is_file()})
    size = sum(path.stat().st_size for path in files)
    if not dry_run:
        with store._write() as session:  # rows first: no row may name a missing file
            still = {
                sha256
                for _, column in _references()
                for (sha256,) in session.execute(sa.select(column).where(column.in_(idle)))
            }
            session.execute(sa.delete(Artifact).where(col(Artifact.sha256).in_(set(idle) - still)))
        keep = {store.artifact_path(sha256) for sha256 in still}
        for path in files:
            if path not in keep:
                path.unlink(missing_ok=True)
    return Collected(files, size)


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
