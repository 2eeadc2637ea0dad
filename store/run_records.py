"""The records of runs: their journals, steps, prompts and pictures.

A worker writes to the run's journal; `catch_up` brings the store up to date from there. Functions
of an open `Store`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from store.clock import now
from store.database import rehearsal
from store.journal import replay
from store.journal.run_journal import Entry, Journal
from store.store import Store
from store.tables import Run


def journal(store: Store, run_id: str) -> Journal:
    """Return the journal of a run."""
    return Journal(store.run_folder(run_id))


def open_journal(store: Store, run_id: str) -> Journal:
    """Return the journal of a run that this process claimed, open for writing.

    The store is brought up to date from it. A journal that is missing, or that lacks what the
    store has, is written again from the store.
    """
    own = journal(store, run_id)
    _rehearse(store, run_id)
    catch_up(store, run_id)
    entries = own.read()
    with store._read() as session:
        run = session.get_one(Run, run_id)
        if not entries or entries[-1]["n"] < run.journal_entries:
            own.replace([replay.rows_entry(session, run)])
    own.open(run.journal_entries)
    return own


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

    `entries` are the last of the journal, to spare reading it. `promise`: seconds in which the
    worker will give its next sign. A store that does not hold the run gets all of it.
    """
    sign = {"heartbeat_at": now(), "promise": promise}
    with store._write() as session:
        # Not the whole row: others wait for the lock.
        there = session.exec(select(Run.journal_entries).where(Run.id == run_id)).first()
        if there is None:
            _restore(store, session, run_id)
            entries = []
        elif entries is None or (entries and entries[0]["n"] > there + 1):
            entries = journal(store, run_id).read(there)
        new = [entry for entry in entries if there is not None and entry["n"] > there]
        replay.apply(session, run_id, new, values=sign)


def _restore(store: Store, session: Session, run_id: str) -> None:
    entries = journal(store, run_id).read()
    if not entries or entries[0]["kind"] not in replay.WHOLE:
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
