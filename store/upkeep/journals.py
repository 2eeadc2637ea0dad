"""The journals of runs: their checks and repairs, and the restoring of runs from them.

Journals may come from elsewhere, so entries are believed when `store.upkeep.home_files` checked
them.
"""

from collections.abc import Iterator, Sequence

from sqlalchemy.exc import NoResultFound
from sqlmodel import Session, select

from store import run_queue, run_records
from store.errors import StoreError, explained
from store.journal import replay
from store.journal.run_journal import NAME, Accident, Entry, Fault, Inspected, Journal
from store.locks import holder, try_lock
from store.states import ACTIVE, State, is_job
from store.store import Store
from store.tables import Frame, Run
from store.upkeep import home_files
from store.upkeep.trouble import Progress, Trouble, set_aside


def examine(store: Store, repair: bool, progress: Progress) -> Iterator[Trouble]:
    """Yield the problems of journals and locks, and of work whose process is gone."""
    with store._read() as session:
        known = set(session.exec(select(Run.id)))
    folders = {path.parent.name for path in (store.home / "runs").glob(f"*/{NAME}")}
    for number, run_id in enumerate(sorted(known | folders)):
        progress("journals", number, len(known | folders))
        alive = run_queue.is_alive(store, run_id)
        if run_id in known:
            yield from examine_run(store, run_id, alive, repair)
        elif not alive:
            yield from _missing_run(store, run_id, repair)
    yield from _processes(store, repair)


def _processes(store: Store, repair: bool) -> Iterator[Trouble]:
    """Check that the process of active work lives and has its lock."""
    found = list(run_queue.active(store))
    dead = [
        work
        for work in found
        if not run_queue.is_away(work) and not run_queue.is_alive(store, work.id)
    ]
    if dead and repair:
        run_queue.reconcile(store)
    for work in found:
        called = f"{work.kind.value if is_job(work.id) else 'run'} {work.id}"
        lock = run_queue.lock_path(store, work.id)
        if run_queue.is_away(work):
            continue  # its keeper looks after it
        if work in dead:
            what = f"{called} is active, but its process is gone"
            yield Trouble("dead run", what, repair)
        elif not lock.exists():
            yield Trouble(
                "lock",
                f"{called}: its lock was deleted; its process {holder(lock)} locks it again",
                False,
                "check again in a few seconds",
            )


_FAULTS = {
    Fault.MISSING: "is missing",
    Fault.HEADLESS: "lacks its beginning",
    Fault.TORN: "has unreadable lines within",
    Fault.GAP: "lacks entries within",
}
_ACCIDENTS = {
    Accident.JOURNAL_DELETED: "its journal was deleted while it ran, and written again",
    Accident.JOURNAL_REPLACED: "its journal was replaced while it ran, and written again",
    Accident.JOURNAL_CUT: "its journal was cut while it ran, and written again",
    Accident.JOURNAL_CHANGED: "its journal was changed while it ran, and written again",
    Accident.LOCK_DELETED: "its lock was deleted while it ran, and taken again",
}


def examine_run(store: Store, run_id: str, alive: bool, repair: bool) -> Iterator[Trouble]:
    """Yield the problems of the journal of a run that the store has."""
    with store._read() as session:
        run = session.get(Run, run_id)
    if run is None:
        return  # deleted meanwhile
    found = Journal(store.home / "runs" / run_id).inspect()
    for entry in found.entries:
        if entry["kind"] == "accident" and entry.get("what") in list(Accident):
            what = _ACCIDENTS[Accident(entry["what"])]
            yield Trouble("accident", f"run {run_id}: {what} ({entry.get('at')})", True)
    problem = None
    try:
        new = _checked(run, found)
    except StoreError as refused:
        problem = f"has entries that are not valid ({refused.problem})"
        new = []
    if found.fault is not None:
        problem = _FAULTS[found.fault]
    elif found.last < run.journal_entries:
        problem = f"was cut behind entry {found.last}; the store has {run.journal_entries}"
    if problem is None:
        if new and not alive:
            if repair:
                catch_up(store, run_id)
            yield Trouble("behind", f"run {run_id}: its journal is ahead of the store", repair)
    elif alive:
        yield Trouble(
            "journal",
            f"run {run_id}: its journal {problem}; its process writes it again",
            False,
            "check again in a few seconds",
        )
    else:
        lost = sum(entry["n"] > run.journal_entries + len(new) for entry in found.entries)
        also = f"; {lost} of its last entries are lost" if lost else ""
        repaired = repair and _write_journal(store, run_id, new)
        yield Trouble("journal", f"run {run_id}: its journal {problem}{also}", repaired)


def _write_journal(store: Store, run_id: str, new: Sequence[Entry]) -> bool:
    """Write a journal again from the store, which gets the entries that it lacks.

    The damaged file is kept in the folder "damaged". Returns False if a process has the run.
    """
    lock = try_lock(run_queue.lock_path(store, run_id))
    if lock is None:
        return False
    with lock, explained(store.home):
        run_records.catch_up(store, run_id, new)
        path = store.home / "runs" / run_id / NAME
        if path.exists():
            set_aside(store.home, path, f"{run_id}.{NAME}")
        run_records.rewrite(store, run_id, Journal(path.parent))
    return True


def _missing_run(store: Store, run_id: str, repair: bool) -> Iterator[Trouble]:
    """Check a journal whose run the store lacks."""
    folder = store.home / "runs" / run_id
    try:
        if repair:
            restore(store, run_id)
        else:
            _restorable(Journal(folder), run_id)
    except StoreError as refused:
        yield Trouble(
            "journal",
            f"run {run_id} has no row, and its journal cannot be used: {refused.problem}",
            False,
            f"remove {folder}, or restore the journal from a backup",
        )
    else:
        yield Trouble("missing run", f"run {run_id} has a journal, but no row", repair)


# Restoring


def catch_up(store: Store, run_id: str) -> None:
    """Write what the journal of a run has and the store lacks, if it can be believed."""
    new = _checked(store.run(run_id), Journal(store.home / "runs" / run_id).inspect())
    run_records.catch_up(store, run_id, new)


def _checked(run: Run, found: Inspected) -> list[Entry]:
    """Return the entries of a run's journal that the store lacks; StoreError if one is invalid."""
    new = found.following(run.journal_entries)
    return home_files.run_entries(new, run.id, run.model_dump(mode="json", exclude={"study"}))


def restore(store: Store, run_id: str) -> None:
    """Restore a run from its journal; raise StoreError if that cannot be believed."""
    entries = _restorable(Journal(store.home / "runs" / run_id), run_id)
    with store._write() as session:
        try:
            replay.restore(session, entries[0])
        except NoResultFound:
            raise StoreError("another study has the id of its study") from None
        if entries[1:]:
            replay.apply(session, run_id, entries[1:], rebuilding=True)
        _drop_frames_without_file(store, session, run_id)
        run = session.get_one(Run, run_id)
        session.refresh(run)
        # A keeper cannot settle an attempt elsewhere that the store does not have.
        kept = run_queue.is_alive(store, run_id) and run.place is None
        if run.state in ACTIVE | {State.QUEUED} and not kept:
            run.state = State.PAUSED
            run.error = f"rebuilt from its journal; `dexter-tui resume {run_id}` continues it"


def _restorable(journal: Journal, run_id: str) -> list[Entry]:
    """Return the checked entries from which a run can be restored."""
    entries = journal.inspect().whole()
    if not entries:
        raise StoreError("it does not contain the beginning of the run")
    return home_files.run_entries(entries, run_id)


def _drop_frames_without_file(store: Store, session: Session, run_id: str) -> None:
    for frame in session.exec(select(Frame).where(Frame.run_id == run_id)).all():
        if not store.artifact_path(frame.sha256).exists():
            session.delete(frame)
