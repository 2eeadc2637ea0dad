"""What keeps a store sound: finding and mending what is wrong, rebuilding, tidying, copies."""

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

YOUNG_SECONDS = 3600.0  # a file this young may be about to get its row
KEPT_BACKUPS = 3

Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, of: int) -> None:
    pass


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong with a store."""

    kind: str
    what: str
    mended: bool
    remedy: str = "`dexter-tui doctor --mend`"


def examine(store: Store, *, mend: bool = False, progress: Progress = _silent) -> list[Trouble]:
    """What is wrong with a store and its files; with `mend`, after it was put right.

    Reads every artifact, to compare it with its hash. `progress` is told what is looked at.
    """
    damage = list(_damage(store.path))
    if damage:
        return damage
    return [
        *_runs(store, mend, progress),
        *_artifacts(store, mend, progress),
        *_leftovers(store, mend),
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
            f"{path}: {len(broken)} rows point to rows that are not there",
            False,
            "`dexter-tui doctor --rebuild`, or a backup",
        )


def _runs(store: Store, mend: bool, progress: Progress) -> Iterator[Trouble]:
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
            if mend:
                restore(store, run_id)
            yield Trouble("missing run", f"run {run_id} has a journal, but no row", mend)
        elif last > known[run_id][1]:
            if mend:
                run_records.catch_up(store, run_id)
            yield Trouble("behind", f"run {run_id}: its journal tells more than the store", mend)
    dead = [
        run_id
        for run_id, (state, _) in known.items()
        if state in ACTIVE and not run_queue.is_alive(store, run_id)
    ]
    if dead and mend:
        run_queue.reconcile(store)
    for run_id in dead:
        yield Trouble("dead run", f"run {run_id} counts as at work, but its process is gone", mend)


def _artifacts(store: Store, mend: bool, progress: Progress) -> Iterator[Trouble]:
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
        gone = mend and _forget(store, sha256)
        if gone and path.exists():
            folder = store.home / "damaged"
            folder.mkdir(mode=0o700, exist_ok=True)
            path.replace(folder / path.name)
        yield Trouble(
            "artifact",
            f"{path} {wrong}" + ("; the rows that named it are removed" if gone else ""),
            gone,
        )


def _references() -> list[tuple[sa.Table, sa.Column[str]]]:
    """The columns that name artifacts."""
    target = Artifact.__table__.c.sha256  # type: ignore[attr-defined]
    return [
        (table, key.parent)
        for table in Table.metadata.tables.values()
        for key in table.foreign_keys
        if key.column is target
    ]


def _forget(store: Store, sha256: str) -> bool:
    """Remove an artifact's row and those that name it; whether nothing else needs these."""
    try:
        with store._write() as session:
            for table, column in _references():
                session.execute(sa.delete(table).where(column == sha256))
            session.execute(sa.delete(Artifact).where(col(Artifact.sha256) == sha256))
    except StoreError:
        return False
    return True


def _leftovers(store: Store, mend: bool) -> Iterator[Trouble]:
    for path in store.home.rglob(".new-*"):
        if _old(path):
            if mend:
                path.unlink(missing_ok=True)
            yield Trouble("leftover", f"{path}: a write that was cut off", mend)
    with store._read() as session:
        known = set(session.exec(select(Run.id)))
    for path in (store.home / "locks").glob("run-*.lock"):
        if path.stem.removeprefix("run-") not in known and not is_locked(path):
            if mend:
                path.unlink(missing_ok=True)
            yield Trouble("leftover", f"{path}: the lock of a run that is not there", mend)


def _old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > YOUNG_SECONDS
    except FileNotFoundError:
        return False


# From the journals


@dataclass(frozen=True)
class Rebuilt:
    """What `rebuild` did."""

    runs: list[str]
    """Those that the store did not have."""
    paused: list[str]
    """Of these, those that had not ended."""
    studies: list[str]
    """Those of which findings, tags or notes were brought back."""
    moved: Path | None
    """Where the damaged file is now."""


def rebuild(home: Path, *, progress: Progress = _silent) -> Rebuilt:
    """Bring every run that has a journal into the store; a damaged store is moved aside first.

    With them comes what was found about their studies. Runs that had not ended are paused,
    because what the user asked of them is in no journal. Comparisons, probes and pictures of the
    bank are in no file of their own.
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
        with contextlib.suppress(OSError, ValueError):  # torn: the next stage writes it anew
            study_id, kept = study_file.read(file)
            with store._write() as session:
                count = study_file.restore(session, study_id, kept)
            if count:
                yield study_id


def restore(store: Store, run_id: str) -> bool:
    """Write a run that the store does not have out of its journal; whether that could be done."""
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
            run.error = f"rebuilt from its journal; `dexter-tui resume {run_id}` goes on"
    return True


def _drop_frames_without_file(store: Store, session: Session, run_id: str) -> None:
    for frame in session.exec(select(Frame).where(Frame.run_id == run_id)).all():
        if not store.artifact_path(frame.sha256).exists():
            session.delete(frame)


# Tidying


@dataclass(frozen=True)
class Collected:
    """Files that nothing needs."""

    files: list[Path]
    bytes: int


def collect(store: Store, *, dry_run: bool = False) -> Collected:
    """Remove what nothing needs: files without a row, artifacts that no row names, checkpoints of
    runs that succeeded, old backups, cut-off writes. `dry_run` only tells.
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
        with store._write() as session:  # no row points to nothing: rows go first
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
    """Write a whole copy of the database, while others go on writing; where it is.

    Pictures and journals are files of their own that are never changed: copy their folders.
    """
    if target is None:
        stamp = now().strftime("%Y%m%dT%H%M%S.%f")
        target = store.home / f"store.{stamp}.backup.sqlite"
    if target.exists():
        raise StoreError(f"{target}: is there already; name another file")
    with explained(target):
        if not target.parent.is_dir():
            raise StoreError(f"{target.parent}: no such folder")
        backup(store.path, target)
    return target
