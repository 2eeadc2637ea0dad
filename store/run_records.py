"""The records of runs: their journals, steps, prompts and pictures.

A worker writes to the run's journal; `catch_up` brings the store up to date from there. Functions
of an open `Store`.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from store.clock import now
from store.database import rehearsal
from store.errors import StoreError
from store.journal import replay
from store.journal.run_journal import Entry, Journal
from store.store import Store
from store.tables import Run


class UnusableJournal(StoreError):
    """Refuses entries of a journal that no worker writes."""


def journal(store: Store, run_id: str) -> Journal:
    """Return the journal of a run."""
    return Journal(store.run_folder(run_id))


def open_journal(store: Store, run_id: str) -> Journal:
    """Return the journal of a run that this process claimed, open for writing.

    The store is brought up to date from it. A journal that is damaged, or that lacks what the
    store has, is written again from the store.
    """
    own = journal(store, run_id)
    _rehearse(store, run_id)
    with suppress(UnusableJournal):  # then it is written again without them
        catch_up(store, run_id)
    with store._read() as session:
        stored = session.get_one(Run, run_id).journal_entries
    found = own.inspect()
    if found.fault is not None or found.last != stored:
        rewrite(store, run_id, own)
    own.open(stored)
    return own


def rewrite(store: Store, run_id: str, own: Journal, entries: Sequence[Entry] = ()) -> None:
    """Write a journal again from the rows of the store, and `entries` that the store lacks.

    Only the process that holds the run's lock may do so.
    """
    with store._read() as session:
        run = session.get(Run, run_id)
        if run is None:
            raise store._unknown(session, Run, run_id)
        rows = replay.rows_entry(session, run)
    (store.home / "runs").mkdir(mode=0o700, exist_ok=True)
    store.run_folder(run_id)
    own.replace([rows, *(entry for entry in entries if entry["n"] > rows["n"])])


def _rehearse(store: Store, run_id: str) -> None:
    """Compile the writes of a run, so that its first holds the lock no longer than the others."""
    if store._writer is not None:
        with store._session(rehearsal(store._writer)) as session:
            replay.rehearse(session, run_id)


def catch_up(
    store: Store,
    run_id: str,
    entries: Sequence[Entry] | None = None,
    *,
    promise: float | None = None,
) -> None:
    """Write what the run's journal has and the store lacks, and a sign of life of its worker.

    `entries` are those behind the last that the store has, to spare reading the journal.
    `promise`: seconds in which the worker will give its next sign. A store that does not hold the
    run gets all of it.
    """
    sign = {"heartbeat_at": now(), "promise": promise}
    with store._write() as session:
        # Not the whole row: others wait for the lock.
        there = session.exec(select(Run.journal_entries).where(Run.id == run_id)).first()
        if there is None:
            _restore(store, session, run_id)
            entries = []
        elif entries is None or (entries and entries[0]["n"] > there + 1):
            entries = journal(store, run_id).inspect().following(there)
        new = [entry for entry in entries if there is not None and entry["n"] > there]
        try:
            replay.apply(session, run_id, new, values=sign)
        except replay.UNUSABLE as error:
            raise UnusableJournal(
                f"run {run_id}: its journal cannot be read ({type(error).__name__})",
                remedy="`dexter-tui doctor --repair`",
            ) from error


def _restore(store: Store, session: Session, run_id: str) -> None:
    entries = journal(store, run_id).inspect().whole()
    if not entries:
        raise store._unknown(session, Run, run_id)
    replay.restore(session, entries[0])
    if entries[1:]:
        replay.apply(session, run_id, entries[1:], rebuilding=True)


def beat(
    store: Store,
    session: Session,
    table: Any,
    name: str,
    fields: Mapping[str, Any],
) -> None:
    """Write columns of a run or job (`table`) with the heartbeat of its worker."""
    changed = session.exec(
        sa.update(table).where(col(table.id) == name).values(heartbeat_at=now(), **fields)
    )
    if not changed.rowcount:
        raise store._unknown(session, table, name)
