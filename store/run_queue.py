"""The queue of runs and jobs: order, claims, states, deaths, and the device slots.

Runs (`store.tables.Run`) and analysis jobs (`store.tables.Job`) wait in one line and follow the
same rules; an id says by its first letter which of them it names. Functions of an open `Store`.

Work is active (starting, running, pausing, cancelling) only while a process holds its lock.
`claim` takes the lock inside the transaction that makes the work active, and a process frees it
only after the transaction that ends the work. An observer that sees active work with a free lock
within one write transaction therefore sees work whose process died.
"""

import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Unpack

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col, select

from store import run_records
from store.checking.checks import PRIORITIES, is_work
from store.checking.decoding import decoded_cell
from store.clock import boot_id, now
from store.errors import StoreError
from store.journal import replay
from store.journal.replay import RunFields
from store.locks import FileLock, is_locked, locked_in, try_lock, work_lock
from store.states import ACTIVE, ENDED, UNDER_WAY, Kind, State, is_job, sources
from store.store import Store, new_id
from store.tables import Attempt, Frame, Job, Prompt, Run, Slot, Step, Study, UtcTime, among, usable

Work = Run | Job
_TABLES: tuple[Any, ...] = (Run, Job)

_LOCK_PATIENCE = 2.0  # seconds a claim waits for the last worker of a run to go

# Attempts that die one after another without a step more than before.
MAX_FRUITLESS = 5
# Seconds after the first of them, doubled with each further one.
BACKOFF = 4.0
MAX_BACKOFF = BACKOFF * 2 ** (MAX_FRUITLESS - 2)

_NEW_START = {
    **dict.fromkeys(RunFields.__annotations__, sa.null()),
    "steps_done": 0,
    "progress": 0,
}

# The runs that a job waits for and that have not succeeded.
_NEEDED = (
    "SELECT 1 FROM json_each(iif(json_valid(job.depends_on), job.depends_on, '[]')) AS needed "
    "LEFT JOIN run ON run.id = needed.value WHERE run.state IS NOT 'succeeded'"
)


def _table_of(name: str) -> Any:
    """Return the table of the run or job that an id names."""
    return Job if is_job(name) else Run


def find(store: Store, name: str) -> Work:
    """Return the run or job with this id or unique prefix."""
    return store.job(name) if is_job(name) else store.run(name)


def find_all(store: Store, ids: Sequence[str]) -> list[Work]:
    """Return the runs and jobs with these ids, in this order."""
    found: dict[str, Work] = {}
    with store._read() as session:
        for table in _TABLES:
            own = [name for name in ids if _table_of(name) is table]
            rows = usable(session.exec(select(table).where(among(table.id, own))))
            found.update((work.id, work) for work in rows)
    return [found.get(name) or find(store, name) for name in ids]  # which says what is wrong


# Jobs


def add_job(
    store: Store,
    kind: Kind,
    request: Mapping[str, Any],
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    study_id: str | None = None,
    comparison_id: str | None = None,
    screening_id: str | None = None,
    depends_on: Sequence[str] = (),
    priority: int = 0,
) -> str:
    """Queue a job; return its id.

    `config`: of a run whose models it loads. `device`: the device asked for, as of a run.
    `depends_on`: runs that have to succeed first. Raises StoreError if a job of this kind is
    already queued or running for the study, comparison or screening.
    """
    with store._write(durable=True) as session:
        job = Job(
            id=new_id(session, Job, "j"),
            kind=kind,
            request=dict(request),
            config=None if config is None else dict(config),
            wish=device,
            study_id=study_id,
            comparison_id=comparison_id,
            screening_id=screening_id,
            depends_on=list(depends_on),
            priority=priority,
        )
        _refuse_double(session, job)
        session.add(job)
        return job.id


def jobs(
    store: Store,
    *,
    states: Collection[State] | None = None,
    kind: Kind | None = None,
    study_id: str | None = None,
    comparison_id: str | None = None,
    screening_id: str | None = None,
    limit: int | None = None,
) -> list[Job]:
    """Return jobs, newest first."""
    query = select(Job)
    if states is not None:
        query = query.where(col(Job.state).in_(states))
    if kind is not None:
        query = query.where(Job.kind == kind)
    if study_id is not None:
        query = query.where(Job.study_id == study_id)
    if comparison_id is not None:
        query = query.where(Job.comparison_id == comparison_id)
    if screening_id is not None:
        query = query.where(Job.screening_id == screening_id)
    query = query.order_by(col(Job.created_at).desc(), col(Job.id)).limit(limit)
    with store._read() as session:
        return usable(session.exec(query))


def under_way(
    store: Store, kind: Kind, request: Mapping[str, Any], *, study_id: str | None = None
) -> Job | None:
    """Return the newest job under way that was asked for in the same way; None if there is none.

    Perhaps the command that asked for it was killed. A job whose runs are paused does not count.
    """
    for job in jobs(store, states=UNDER_WAY, kind=kind, study_id=study_id):
        if job.request == request:
            with store._read() as session:
                needed = session.exec(select(Run.state).where(among(col(Run.id), job.depends_on)))
                if UNDER_WAY | {State.SUCCEEDED} >= {*needed}:
                    return job
    return None


def _refuse_double(session: Session, job: Job) -> None:
    """Raise StoreError if another job of this kind is at the same object."""
    for column, value in (
        (Job.study_id, job.study_id),
        (Job.comparison_id, job.comparison_id),
        (Job.screening_id, job.screening_id),
    ):
        if value is None:
            continue
        other = session.exec(
            select(Job.id).where(
                col(column) == value,
                Job.kind == job.kind,
                Job.id != job.id,
                col(Job.state).not_in(ENDED),
            )
        ).first()
        if other is not None:
            raise StoreError(
                f"a {job.kind.value} of {value} is being made already (job {other})",
                remedy="wait for its end (`dexter-tui status` shows whether a runner is alive), or "
                f"`dexter-tui cancel {other}`",
            )


# The line


def claim(
    store: Store,
    *,
    ids: Collection[str] | None = None,
    devices: Collection[str] | None = None,
    slot: str | None = None,
    place: str | None = None,
    fits: Callable[[Kind, Mapping[str, Any] | None], bool] | None = None,
) -> Work | None:
    """Make the first in line (of these) "starting" for this process; None if nothing is due.

    `devices` are the devices asked for that `slot` accepts. With `place`, the first of that place
    is claimed, and its attempt recorded (`store.tables.Attempt`). `fits` is asked about the kind
    and the configuration of the first in line; if it does not fit, nothing is claimed.
    This process holds the lock until `set_state` or `finish` ends the work, it calls `release`,
    or dies.
    """
    lines = []
    kinds = ((Run, sa.literal(Kind.RUN.value)), (Job, sa.cast(Job.kind, sa.String)))
    for table, kind in kinds if place is None else kinds[:1]:
        line = sa.select(
            col(table.id),
            kind.label("kind"),
            col(table.config),
            col(table.priority).label("priority"),
            col(table.created_at).label("created_at"),
        ).where(*_in_line(table, devices), *_at(table, place))
        lines.append(line if ids is None else line.where(among(table.id, ids)))
    queued = sa.union_all(*lines).order_by(sa.text("priority DESC, created_at, id"))
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        lock: FileLock | None = None
        held = []
        try:
            with store._write(durable=place is not None) as session:
                for name, kind, config, *_ in session.execute(queued):
                    if not is_work(name):
                        continue
                    lock = try_lock(lock_path(store, name))
                    if lock is None:
                        held.append(name)
                    elif fits is None or fits(_kind(kind), _config(config)):
                        work = _claim(session, name, slot)
                        if place is not None:
                            _send_away(session, work, place)
                        break
                    else:
                        lock.release()
                        return None
        except StoreError:
            if lock is not None:
                lock.release()
            raise
        if lock is not None:
            store._locks[work.id] = lock
            return work
        if not held:
            return None
        # A worker that gave its run back a moment ago is still to free the lock, and an
        # observer that asks whether it is held (`is_locked`) holds it for an instant.
        if time.monotonic() > deadline:
            raise StoreError(
                f"queued, but another process still holds it: {', '.join(held)}",
                remedy="end that process and try again",
            )
        time.sleep(0.02)


def _kind(raw: object) -> Kind:
    kind: Kind = decoded_cell("job", "kind", Kind, raw)
    return kind


def _config(value: object) -> Mapping[str, Any] | None:
    """Return a configuration; one that is damaged is empty, and refused when it is used."""
    return value if value is None or isinstance(value, Mapping) else {}


def _claim(session: Session, name: str, slot: str | None) -> Work:
    table = _table_of(name)
    stage = {"stage": None, "done": 0, "total": 0} if table is Job else {}
    session.exec(
        sa.update(table)
        .where(col(table.id) == name)
        .values(
            **stage,  # that of an earlier attempt is over
            state=State.STARTING,
            attempt=table.attempt + 1,
            progress=sa.func.max(col(table.progress), col(table.steps_done)),
            started_at=sa.func.coalesce(table.started_at, sa.literal(now(), UtcTime())),
            not_before=None,
            heartbeat_at=now(),
            promise=None,
            pid=os.getpid(),
            boot_id=boot_id(),
            host=socket.gethostname(),
            slot=slot,
        )
    )
    work: Work = session.get_one(table, name)
    return work


def _send_away(session: Session, work: Work, place: str) -> None:
    """Record the attempt of a run that was claimed for a place; no process here works on it."""
    session.add(Attempt(run_id=work.id, attempt=work.attempt, place=place))
    work.pid = work.boot_id = work.host = None
    session.flush()


def queue(store: Store, *, devices: Collection[str] | None = None, due: bool = False) -> list[Work]:
    """Return what is queued, in the order in which it will be taken.

    `devices` as in `claim`, for what waits for this machine; `due` leaves out what waits after a
    crash or for runs.
    """
    found: list[Work] = []
    with store._read() as session:
        for table in _TABLES:
            conditions = _in_line(table, devices, due=due)
            if devices is not None:
                conditions += _at(table, None)
            found += usable(session.exec(select(table).where(*conditions)))
    return sorted(found, key=lambda work: (-work.priority, work.created_at, work.id))


def _in_line(table: Any, devices: Collection[str] | None, *, due: bool = True) -> list[Any]:
    """Return the conditions on queued rows of a table."""
    conditions: list[Any] = [col(table.state) == State.QUEUED, *_whole(table)]
    if due:
        time = now()
        conditions.append(
            col(table.not_before).is_(None)
            | (col(table.not_before) <= time)
            # Nothing waits that long: the clock was set back.
            | (col(table.not_before) > time + timedelta(seconds=MAX_BACKOFF))
        )
        if table is Job:
            conditions.append(sa.text(f"NOT EXISTS ({_NEEDED})"))
    if devices is not None:
        wish: Any = (
            col(Job.wish)
            if table is Job
            else sa.case(
                (sa.func.json_valid(col(Run.config)) == 0, "auto"),
                else_=sa.func.coalesce(sa.func.json_extract(col(Run.config), "$.device"), "auto"),
            )
        )
        conditions.append(wish.in_(devices))
    return conditions


def _at(table: Any, place: str | None) -> list[Any]:
    """Return the condition on the place of queued rows; None: this machine."""
    if table is Job:  # they run here
        return []
    return [col(Run.place).is_(None) if place is None else col(Run.place) == place]


def _whole(table: Any) -> list[Any]:
    """Return the condition that nothing is missing which a row refers to, as in a damaged store."""
    return [Run.study.has(Study.classifier.has())] if table is Run else []  # type: ignore[attr-defined]


def active(store: Store, *, slot: str | None = None) -> list[Work]:
    """Return the work that processes are at, on all slots or on one."""
    found: list[Work] = []
    with store._read() as session:
        for table in _TABLES:
            query = select(table).where(col(table.state).in_(ACTIVE))
            found += usable(
                session.exec(query if slot is None else query.where(table.slot == slot))
            )
    return found


def left(store: Store) -> list[Work]:
    """Return all work that has not ended: the active, then the queued, then the paused."""
    found = active(store) + queue(store)
    with store._read() as session:
        for table in _TABLES:
            found += usable(session.exec(select(table).where(col(table.state) == State.PAUSED)))
    return found


def has_taken(store: Store, slot: str, pid: int) -> bool:
    """Return whether a process took anything on a slot."""
    with store._read() as session:
        return any(
            session.exec(
                select(table.id).where(table.slot == slot, table.pid == pid).limit(1)
            ).first()
            for table in _TABLES
        )


def set_priority(store: Store, name: str, priority: int) -> Work:
    """Move queued work in the line: the highest priority goes first, then the oldest."""
    least, most = PRIORITIES
    if not least <= priority <= most:
        raise StoreError(
            f"priority {priority:,} is out of range",
            value=priority,
            remedy=f"choose from {least:,} to {most:,}",
        )
    table = _table_of(name)
    with store._write(durable=True) as session:
        changed = session.exec(
            sa.update(table)
            .where(col(table.id) == name, col(table.state) == State.QUEUED)
            .values(priority=priority)
        )
        work: Work | None = session.get(table, name)
        if work is None:
            raise store._unknown(session, table, name)
        if not changed.rowcount:
            raise StoreError(f"{_called(work)} is {work.state.value}; only queued work has a place")
        return work


# States


def set_state(
    store: Store,
    name: str,
    to: State,
    *,
    from_: Collection[State] | None = None,
    over: bool = False,
) -> Work:
    """Move work to another state, if it is in a legal one (and in one of `from_`).

    Raises StoreError if it is not: another process may have been faster. `over`: a run starts over,
    and what its attempts recorded is forgotten, except its log.
    """
    if not over:
        return _change(store, name, to, from_, {})
    lock = try_lock(lock_path(store, name))
    if lock is None:
        raise StoreError(f"run {name}: another process still holds it", remedy="try again")
    with lock:  # no worker may begin before its journal is that of a new start
        found = _change(store, name, to, from_, _NEW_START, forget=(Step, Prompt, Frame))
        with suppress(StoreError, OSError):  # the next worker continues the old one
            run_records.rewrite(store, name, run_records.journal(store, name))
    return found


def finish_run(store: Store, run_id: str, state: State, **fields: Unpack[RunFields]) -> Work:
    """End a run with its results, in one transaction, and free its lock."""
    return _finish(store, run_id, state, fields)


def finish_job(
    store: Store,
    job_id: str,
    state: State,
    *,
    error: Mapping[str, Any] | None = None,
) -> Work:
    """End a job, in one transaction, and free its lock."""
    return _finish(store, job_id, state, {"error": None if error is None else dict(error)})


def _finish(store: Store, name: str, state: State, fields: Mapping[str, Any]) -> Work:
    if state not in ENDED:
        raise ValueError(f"{state} is no end")
    return _change(store, name, state, None, fields)


def update_job(store: Store, job_id: str, **fields: Any) -> State:
    """Write columns of a job and its heartbeat; return its state, which a user may have changed."""
    with store._write() as session:
        run_records.beat(store, session, Job, job_id, fields)
        return State(session.exec(select(Job.state).where(Job.id == job_id)).one())


def add_note(store: Store, job_id: str, note: Mapping[str, Any]) -> None:
    """Append a note to a job: a dict with a `store.states.NoteKind` under "kind"."""
    with store._write() as session:
        job = session.get_one(Job, job_id)
        job.notes = [*job.notes, dict(note)]


def _change(
    store: Store,
    name: str,
    to: State,
    from_: Collection[State] | None,
    fields: Mapping[str, Any],
    forget: Sequence[Any] = (),
) -> Work:
    """Move work to a state, with new values of `fields` and without its rows in `forget`."""
    table = _table_of(name)
    allowed = sources(to) if from_ is None else sources(to) & frozenset(from_)
    values: dict[str, Any] = {}
    if to in ENDED:
        values["ended_at"] = now()
    elif to == State.QUEUED:  # asked for again: what was wrong is taken to be repaired
        values = {"ended_at": None, "error": None, "fruitless": 0, "not_before": None}
        if table is Run:
            values["stop_reason"] = None
    with store._write(durable=True) as session:
        changed = session.exec(
            sa.update(table)
            .where(col(table.id) == name, col(table.state).in_(allowed))
            .values({"state": to, **values, **fields})
        )
        work: Work | None = session.get(table, name)
        if work is None:
            raise store._unknown(session, table, name)
        if not changed.rowcount:
            raise StoreError(f"{_called(work)} is {work.state.value}; it cannot become {to} now")
        if to == State.QUEUED and isinstance(work, Job):
            _refuse_double(session, work)
        for owned in forget:
            session.exec(sa.delete(owned).where(owned.run_id == name))
    if to not in ACTIVE:
        release(store, name)
    return work


def _called(work: Work) -> str:
    return f"{'run' if isinstance(work, Run) else 'job'} {work.id}"


# Locks, and those whose process is gone


def lock_path(store: Store, name: str) -> Path:
    """Return the lock that the process that works on a run or job holds."""
    return work_lock(store.home, name)


def release(store: Store, name: str) -> None:
    """Free the lock of what this process claimed."""
    lock = store._locks.pop(name, None)
    if lock is not None:
        lock.release()


def times_retaken(store: Store, name: str) -> int:
    """Return how often this process took the lock of its work again, because it was deleted."""
    lock = store._locks.get(name)
    return 0 if lock is None else lock.retaken


def is_alive(store: Store, name: str) -> bool:
    """Return whether a process of this machine works on a run or job, or keeps its record."""
    return is_locked(lock_path(store, name))


def alive(store: Store, names: Iterable[str]) -> set[str]:
    """Return which of these runs and jobs are alive, as `is_alive` does of one."""
    held = locked_in(store.home / "locks")
    return {name for name in names if lock_path(store, name).name in held}


def is_away(work: Work) -> bool:
    """Return whether active work is at another place, whose keeper settles it.

    No lock of this machine says whether its worker lives.
    """
    return isinstance(work, Run) and work.place is not None and work.state in ACTIVE


def reconcile(store: Store) -> list[str]:
    """Settle the active work whose process is gone; return the ids. Call it before a listing.

    The journal of such a run is first brought into the store: the run may have ended.
    Work that was asked to pause or to end did so. All other work is queued again after a while,
    to continue where it was; if its last `MAX_FRUITLESS` attempts all died without getting any
    further, it is lost. A job whose runs ended without success fails.
    """
    if store._writer is None or not os.access(store.path, os.W_OK):
        return []
    with store._read() as session:
        names = [
            name
            for table in _TABLES
            for name in session.exec(
                select(table.id).where(
                    col(table.state).in_(ACTIVE), *_whole(table), *_at(table, None)
                )
            )
            if is_work(name)
        ]
        in_vain = _in_vain(session)
    settled = []
    for name in names:
        if not is_alive(store, name) and _settle_left(store, name):
            settled.append(name)
    if in_vain:
        with store._write() as session:
            for name, problem in _in_vain(session).items():
                job = session.get_one(Job, name)
                job.state, job.ended_at = State.FAILED, now()
                job.error = {"problem": problem, "remedy": f"then `dexter-tui retry {name}`"}
                settled.append(name)
    return settled


def give_back(store: Store, name: str, what: str) -> None:
    """Settle the work of this process, which cannot go on because of `what`, and free its lock."""
    _settle_left(store, name, what)
    release(store, name)


def _settle_left(store: Store, name: str, what: str | None = None) -> bool:
    """Settle active work that nothing is done for any more; return whether it was.

    what: why its process leaves it; None for work whose process may be gone.
    """
    journal = None if is_job(name) else run_records.journal(store, name).inspect()
    # Within a write transaction nothing can be claimed or ended.
    with store._write() as session:
        work: Work | None = session.get(_table_of(name), name)
        if work is None or work.state not in ACTIVE or is_away(work):
            return False  # deleted or ended meanwhile
        if what is None and is_alive(store, name):
            return False  # claimed meanwhile
        if isinstance(work, Run) and journal is not None:
            new = journal.following(work.journal_entries)
            with suppress(*replay.UNUSABLE), session.begin_nested():
                replay.apply(session, name, new)
            session.refresh(work)
        if work.state not in ACTIVE:
            return False
        settle(work, what)
        return True


def _in_vain(session: Session) -> dict[str, str]:
    """Return the queued jobs that wait for runs that ended without success, and why."""
    waiting = session.exec(
        select(Job).where(Job.state == State.QUEUED, sa.text(f"EXISTS ({_NEEDED})"))
    ).all()
    found = {}
    for job in usable(waiting):
        needed = session.exec(select(Run).where(among(col(Run.id), job.depends_on)))
        runs = {run.id: run for run in usable(needed)}
        for name in job.depends_on:
            run = runs.get(name)
            if run is None:
                found[job.id] = f"it waits for run {name}, which was deleted"
            elif run.state in ENDED - {State.SUCCEEDED}:
                found[job.id] = f"it waits for run {name}, which is {run.state.value}"
                if run.error:
                    found[job.id] += f" ({run.error})"
    return found


def settle(work: Work, what: str | None = None) -> None:
    """Decide what becomes of active work whose process is gone; `what` happened to it."""
    if work.state is State.PAUSING:
        work.state = State.PAUSED
        return
    if work.state is State.CANCELLING:
        work.state, work.ended_at = State.CANCELLED, work.heartbeat_at
        return
    rebooted = work.boot_id is not None and work.boot_id != boot_id()
    what = what or ("the machine was restarted" if rebooted else "its process was killed")
    if work.steps_done > work.progress:
        work.fruitless = 0
    elif not rebooted:
        work.fruitless += 1
    if work.fruitless >= MAX_FRUITLESS:
        work.state, work.ended_at = State.LOST, work.heartbeat_at
        problem = f"{what} in {work.fruitless} attempts in a row without getting any further"
        remedy = f"`dexter-tui retry {work.id}` tries again"
        if isinstance(work, Run):
            work.error = f"{problem}; `dexter-tui show {work.id}` names its log, {remedy}"
        else:
            work.error = {"problem": problem, "remedy": remedy}
        return
    work.state = State.QUEUED
    if work.fruitless:
        work.not_before = now() + timedelta(seconds=BACKOFF * 2 ** (work.fruitless - 1))
    where = f"step {work.steps_done}" if isinstance(work, Run) else work.stage or "its start"
    line = f"attempt {work.attempt}: {what} at {where}; queued again"
    if isinstance(work, Run):
        work.error = line
    else:
        work.error = {"problem": line}


# Slots


def runner_lock(store: Store, slot: str) -> Path:
    """Return the lock that the slot's runner holds for as long as it lives."""
    return store.home / "locks" / f"runner-{slot}.lock"


def logs(store: Store) -> Path:
    """Return the folder of the logs of slots and jobs."""
    return store.home / "logs"


def slot_lock(store: Store, slot: str) -> Path:
    """Return the lock that the slot's worker holds for as long as it lives."""
    return store.home / "locks" / f"slot-{slot}.lock"


def set_slot(
    store: Store, name: str, device: str, *, note: str | None = None, broken: bool = False
) -> None:
    """Describe a slot, as its runner."""
    values = {
        "name": name,
        "device": device,
        "pid": os.getpid(),
        "boot_id": boot_id(),
        "updated_at": now(),
        "note": note,
        "broken": broken,
    }
    with store._write() as session:
        session.exec(
            insert(Slot)
            .values(**values)
            .on_conflict_do_update(index_elements=["name"], set_=values)
        )


def forget_broken(store: Store) -> None:
    """Forget which slots gave up, before they are tried again."""
    with store._write() as session:
        session.exec(sa.update(Slot).where(col(Slot.broken)).values(broken=False, note=None))


def set_activity(
    store: Store, slot: str, work_id: str, activity: str | None, *, device: str | None = None
) -> None:
    """Say what a slot does for a run or job now; None: its progress says enough.

    `device` describes a slot that may have had no runner yet.
    """
    values = {"work_id": work_id, "activity": activity, "updated_at": now()}
    with store._write() as session:
        # Runners of several slots may have been started for the first in line.
        session.exec(
            sa.update(Slot)
            .where(col(Slot.work_id) == work_id, col(Slot.name) != slot)
            .values(activity=None)
        )
        if device is not None:
            own = {"name": slot, "device": device, "pid": os.getpid(), "boot_id": boot_id()}
            new = insert(Slot).values(**own, **values, broken=False)
            session.exec(new.on_conflict_do_update(index_elements=["name"], set_=values))
        else:
            session.exec(sa.update(Slot).where(col(Slot.name) == slot).values(**values))


def activities(store: Store) -> dict[str, str]:
    """Return what slots and places do now, by the id of the run or job."""
    here = {
        slot.work_id: slot.activity
        for slot in slots(store)
        if slot.work_id is not None and slot.activity is not None
    }
    with store._read() as session:
        open_ = usable(session.exec(select(Attempt).where(col(Attempt.ended_at).is_(None))))
    return here | {one.run_id: f"{one.place}: {one.seen or 'submitting'}" for one in open_}


def slots(store: Store) -> list[Slot]:
    """Return the slots that ever had a runner, by name."""
    with store._read() as session:
        return usable(session.exec(select(Slot).order_by(col(Slot.name))))
