"""The attempts of runs at places away from this machine. Functions of an open `Store`.

`store.run_queue.claim` opens an attempt in the transaction that makes its run active, before
anything is submitted; `close` ends both in one transaction. In between, the keeper of the place
holds the run's lock. A keeper that starts takes it again with `adopt`.
"""

from typing import Any

import sqlalchemy as sa
from sqlmodel import col, select

from store import run_queue
from store.clock import now
from store.locks import try_lock
from store.states import ACTIVE, Outcome, State
from store.store import Store
from store.tables import Attempt, Run, usable


def open_attempts(store: Store, place: str | None = None) -> list[Attempt]:
    """Return the attempts that have not ended, at one place or at all, oldest first."""
    query = select(Attempt).where(col(Attempt.ended_at).is_(None))
    if place is not None:
        query = query.where(Attempt.place == place)
    with store._read() as session:
        return usable(session.exec(query.order_by(col(Attempt.intended_at))))


def attempts_of(store: Store, run_id: str) -> list[Attempt]:
    """Return the attempts of a run away from this machine, oldest first."""
    with store._read() as session:
        query = select(Attempt).where(Attempt.run_id == run_id)
        return usable(session.exec(query.order_by(col(Attempt.attempt))))


def adopt(store: Store, run_id: str) -> bool:
    """Take the lock of a run whose keeper is gone; return whether this process has it."""
    if run_id not in store._locks:
        lock = try_lock(run_queue.lock_path(store, run_id))
        if lock is None:
            return False
        store._locks[run_id] = lock
    return True


def update(store: Store, attempt: Attempt, **values: Any) -> None:
    """Write columns of an attempt, safe from a power cut, and set them in the given row."""
    with store._write(durable=True) as session:
        session.exec(
            sa.update(Attempt)
            .where(col(Attempt.run_id) == attempt.run_id, col(Attempt.attempt) == attempt.attempt)
            .values(**values)
        )
    for name, value in values.items():
        setattr(attempt, name, value)


def close(store: Store, attempt: Attempt, outcome: Outcome, reason: str) -> Run:
    """End an attempt, and settle its run if that is still active; free the run's lock.

    Such a run is queued again to continue where it was, except where a user asked for another
    state, its job was cancelled at the place or refused there, or its attempts get no further.
    """
    with store._write(durable=True) as session:
        row = session.get(Attempt, (attempt.run_id, attempt.attempt))
        if row is not None:  # a rebuilt store has no attempts
            row.outcome, row.reason, row.ended_at = outcome, reason, now()
        run = session.get_one(Run, attempt.run_id)
        if run.state in ACTIVE and run.attempt == attempt.attempt:
            _settle(run, outcome, reason)
        session.flush()
    run_queue.release(store, attempt.run_id)
    return run


def _settle(run: Run, outcome: Outcome, reason: str) -> None:
    if run.state in (State.PAUSING, State.CANCELLING):
        run_queue.settle(run)
    elif outcome in (Outcome.CANCELLED, Outcome.REFUSED):
        run.state = State.CANCELLED if outcome is Outcome.CANCELLED else State.FAILED
        run.ended_at, run.error = now(), f"attempt {run.attempt}: {reason}"
    elif outcome is Outcome.WITHDRAWN:  # nothing was tried
        run.state, run.error = State.QUEUED, f"attempt {run.attempt}: {reason}; queued again"
    else:
        run_queue.settle(run, reason)
