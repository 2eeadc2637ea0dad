"""What a user can do to runs: queue, pause, resume, cancel, retry; and who works on them.

The command line and the dashboard call these and nothing else. All of it takes effect in the
store, where runners and workers look; nothing here waits for them. StoreError (InputError for a
configuration) says in one line what cannot be done.
"""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from dexter_tui.jobs import launch
from dexter_tui.machine import devices
from store import ACTIVE, State, Store, StoreError
from store.clock import boot_id
from store.locks import holder, is_locked
from store.tables import Run

REFUSED = "refused"  # the `stop_reason` of a run that failed for what the user gave it
CHECKPOINTS = ("checkpoint.pt", "checkpoint.old.pt")  # of a run, the newer first


def pause(store: Store, run_id: str) -> Run:
    """Have a run keep its place in a checkpoint and its process end; a queued one stays out."""
    return _move(store, run_id, {State.QUEUED: State.PAUSED}, State.PAUSING)


def resume(store: Store, run_id: str) -> Run:
    """Queue a run again that was paused or ended early, to go on from its checkpoint."""
    return store.set_state(store.run(run_id).id, State.QUEUED, from_=RESUMABLE)


def cancel(store: Store, run_id: str) -> Run:
    """End a run: at its next step, if it is at work; its runner sees to it that it does."""
    idle = {State.QUEUED: State.CANCELLED, State.PAUSED: State.CANCELLED}
    return _move(store, run_id, idle, State.CANCELLING)


def retry(store: Store, run_id: str, *, from_start: bool = False) -> Run:
    """Queue a run again that failed, was lost or cancelled; its failed attempts are forgotten.

    It goes on from its checkpoint, or `from_start`.
    """
    run = store.run(run_id)
    if from_start and run.state in _ENDED_EARLY:
        for name in CHECKPOINTS:
            (store.run_folder(run.id) / name).unlink(missing_ok=True)
    return store.set_state(run.id, State.QUEUED, from_=_ENDED_EARLY)


_ENDED_EARLY = {State.FAILED, State.LOST, State.CANCELLED}
RESUMABLE = {State.PAUSED, *_ENDED_EARLY}


def set_priority(store: Store, run_id: str, priority: int) -> Run:
    """Move a queued run in the queue: the highest priority goes first, then the oldest."""
    return store.set_priority(store.run(run_id).id, priority)


def kill(store: Store, run_id: str) -> Run:
    """Cancel a run and end its process at once."""
    run = cancel(store, run_id)
    if run.state in ACTIVE:
        end_process(store, run, signal.SIGKILL)
        store.reconcile()
    return store.run(run.id)


def end_process(store: Store, run: Run, number: signal.Signals) -> None:
    """Send a signal to the process that works on the run, and to those that it started."""
    # The lock proves that the process lives, so that its number is still its own.
    if run.pid is not None and run.boot_id == boot_id() and store.is_alive(run.id):
        with suppress(ProcessLookupError):
            os.killpg(run.pid, number)


def _move(store: Store, run_id: str, idle: dict[State, State], active: State) -> Run:
    """Move a run to a state that depends on where it is, which may change meanwhile."""
    run = store.run(run_id)
    for _ in range(3):
        with suppress(StoreError):
            return store.set_state(run.id, idle.get(run.state, active), from_={run.state})
        before, run = run.state, store.run(run.id)
        if run.state is before:
            break
    return store.set_state(run.id, idle.get(run.state, active), from_={run.state})


_started: dict[str, subprocess.Popen[bytes]] = {}


def ensure_runners(store: Store, *, jobs: int | None = None, again: bool = False) -> list[str]:
    """Start runners on free slots, as many as the queue calls for; the slots' names.

    Cheap to call now and then: a runner that was killed is replaced, also where nothing waits and
    only its worker is left, and one that was stopped goes on.
    `jobs`: how many CPU slots there are to be, and how many GPUs are used at most. `again`: also
    try slots whose workers could not even start.
    """
    for name, process in list(_started.items()):
        if process.poll() is not None:
            del _started[name]
    waiting = store.queue()
    if not waiting and not store.runs(states=ACTIVE, limit=1):
        return []
    rows = {row.name: row for row in store.slots()}
    started = []
    by_accepts: dict[frozenset[str], list[devices.Slot]] = {}
    for slot in devices.slots(cpu_slots=jobs):
        by_accepts.setdefault(slot.accepts if not slot.on_gpu else frozenset({"gpu"}), []).append(
            slot
        )
    for slots in by_accepts.values():
        slots = slots[:jobs]
        accepted = frozenset().union(*(slot.accepts for slot in slots))
        need = sum(run.config.get("device", "auto") in accepted for run in waiting)
        free, without = [], []
        for slot in slots:
            row = rows.get(slot.name)
            has_worker = is_locked(store.slot_lock(slot.name))
            if is_locked(store.runner_lock(slot.name)):
                runner = holder(store.runner_lock(slot.name))
                if runner is not None and is_stopped(runner):
                    let_go_on(runner)
                waits = row is not None and row.note is not None  # for room: others may have it
                need -= not has_worker and not waits
            elif slot.name in _started:
                need -= not has_worker
            elif has_worker:
                without.append(slot)
            elif again or row is None or not row.broken:
                free.append(slot)
        for slot in without + free[: max(need, 0)]:
            _started[slot.name] = launch.start_runner(store, slot.name)
            started.append(slot.name)
    return started


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped (SIGSTOP): it keeps what it holds, and does nothing."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


def let_go_on(pid: int) -> None:
    """Let a stopped process go on."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def runner_alive(store: Store, slot: str) -> bool:
    """Whether the slot has a runner."""
    return is_locked(store.runner_lock(slot))
