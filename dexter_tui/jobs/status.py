"""The status of slots, places and queue, for `status --json`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from store import Store


def describe(store: "Store") -> dict[str, Any]:
    """Return the slots, the attempts at places, and the work of all kinds that has not ended."""
    from dexter_tui.jobs import control
    from dexter_tui.machine import devices
    from dexter_tui.presentation import job_tables, run_tables
    from store import ACTIVE, State, run_queue
    from store.clock import now
    from store.placed import attempts
    from store.tables import Job, Run

    rows = {row.name: row for row in run_queue.slots(store)}
    left = {work.id: work for work in run_queue.left(store)}
    active = {name: work for name, work in left.items() if work.state in ACTIVE}
    for name in {*active} - run_queue.alive(store, active):
        if not run_queue.is_away(active[name]):  # its process is gone: see `reconcile`
            active.pop(name).state = State.LOST
    working = {work.slot: work for work in active.values() if work.slot is not None}
    known = {slot.name: slot for slot in devices.slots()}
    names = dict.fromkeys([*known, *rows, *working])
    slots = []
    for name in names:
        work = working.get(name)
        row = rows.get(name)
        runner = control.runner_alive(store, name)
        if name not in known and not runner and work is None:
            continue
        # A slot is busy from the start of a worker, which then takes seconds to load.
        noted = left.get(row.work_id or "") if row is not None and row.activity else None
        starts = runner and work is None and noted is not None and noted.state is State.QUEUED
        busy = noted if starts else work
        sign = None
        if work is not None and work.heartbeat_at is not None:
            sign = max((now() - work.heartbeat_at).total_seconds(), 0.0)
        slots.append(
            {
                "name": name,
                "device": known[name].device.name if name in known else name,
                "runner": runner,
                "run": run_tables.run_json(work) if isinstance(work, Run) else None,
                "job": job_tables.job_json(work) if isinstance(work, Job) else None,
                "starting": job_tables.work_json(noted) if noted and starts else None,
                "activity": row.activity if row and noted and noted is busy else None,
                "pid": None if work is None else work.pid,
                "seconds_since_sign": sign,
                "silent": sign is not None and work is not None and sign > (work.promise or 900),
                "note": row.note if row is not None and (runner or row.broken) else None,
            }
        )
    away = [
        {
            "run": one.run_id,
            "attempt": one.attempt,
            "place": one.place,
            "job": one.handle,
            "state": one.seen or "submitting",
            "seconds_since_seen": None
            if one.seen_at is None
            else max((now() - one.seen_at).total_seconds(), 0.0),
        }
        for one in attempts.open_attempts(store)
    ]
    queue = run_queue.queue(store)
    due = run_queue.queue(store, due=True)
    return {
        "slots": slots,
        "places": away,
        "queued": len(queue),
        "waiting": len(queue) - len(due),
        "paused": sum(work.state is State.PAUSED for work in left.values()),
        "jobs": [job_tables.work_json(work) for work in left.values()],
    }
