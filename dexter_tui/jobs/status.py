"""The status of slots and queue, for `status --json`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from store import Store


def describe(store: "Store") -> dict[str, Any]:
    """The slots and the queue, as `status --json` tells of them."""
    from dexter_tui.jobs import control
    from dexter_tui.machine import devices
    from dexter_tui.presentation import run_tables
    from store import ACTIVE, State
    from store.clock import now

    store.reconcile()
    at_work = {run.slot: run for run in store.runs(states=ACTIVE) if run.slot is not None}
    rows = {row.name: row for row in store.slots()}
    known = {slot.name: slot for slot in devices.slots()}
    names = dict.fromkeys([*known, *rows, *at_work])
    slots = []
    for name in names:
        run = at_work.get(name)
        row = rows.get(name)
        runner = control.runner_alive(store, name)
        if name not in known and not runner and run is None:
            continue
        sign = None
        if run is not None and run.heartbeat_at is not None:
            sign = max((now() - run.heartbeat_at).total_seconds(), 0.0)
        slots.append(
            {
                "name": name,
                "device": known[name].device.name if name in known else name,
                "runner": runner,
                "run": None if run is None else run_tables.run_json(run),
                "pid": None if run is None else run.pid,
                "seconds_since_sign": sign,
                "silent": sign is not None and run is not None and sign > (run.promise or 900),
                "note": row.note if row is not None and (runner or row.broken) else None,
            }
        )
    queue = store.queue()
    due = store.queue(due=True)
    return {
        "slots": slots,
        "queued": len(queue),
        "waiting": len(queue) - len(due),
        "paused": len(store.runs(states={State.PAUSED})),
    }
