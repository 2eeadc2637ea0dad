"""The actions of a user on runs and jobs: pause, resume, cancel, retry; and their runners.

The command line and the dashboard call these and nothing else. Each takes effect in the store,
where runners and workers look; nothing here waits for them. A StoreError says in one line what
cannot be done. Names are ids or unique prefixes of runs and jobs.
"""

import os
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dexter_tui.jobs import launch, trust
from dexter_tui.machine import devices
from store import ACTIVE, State, Store, StoreError, comparison_records, run_queue, screening_records
from store.clock import boot_id
from store.locks import holder_here, is_locked, took_lock
from store.run_queue import Work
from store.states import AGAIN
from store.tables import Job, Run, Slot

HAND_OVER_SECONDS = 60.0  # that a runner may take to end
CHECKPOINTS = ("checkpoint.pt", "checkpoint.old.pt")  # of a run, the newer first


def pause(store: Store, name: str) -> Work:
    """Have work keep its place and its process end; what is queued stays out of the line."""
    return _move(store, name, {State.QUEUED: State.PAUSED}, State.PAUSING)


def settings_of(store: Store, work: Work) -> list[Mapping[str, object]]:
    """Return the settings of all models that the work loads, and of endpoints, as recorded."""
    found = [work.config] if work.config is not None else []
    if isinstance(work, Job):
        found.append(work.request)
        if work.comparison_id is not None:
            members = comparison_records.members(store, work.comparison_id)
            found += [member.config for member in members]
        if work.screening_id is not None:
            screened = screening_records.screened(store, work.screening_id)
            found += [m.config for m in screened if m.pictures is None and m.error is None]
    return [*found]


def resume(store: Store, name: str, *, agreed: Collection[str] = ()) -> Work:
    """Queue work again that was paused or ended early, to continue where it was.

    `agreed`: the fields to which the user agrees, see `trust.agreed_by`. Raises
    `trust.ConsentNeeded` if that is not enough.
    """
    found = run_queue.find(store, name)
    if found.state in RESUMABLE:
        trust.require(settings_of(store, found), agreed)
    return run_queue.set_state(store, found.id, State.QUEUED, from_=RESUMABLE)


def cancel(store: Store, name: str) -> Work:
    """End work, at its next step if a process is at it; its runner sees to it that it does."""
    idle = {State.QUEUED: State.CANCELLED, State.PAUSED: State.CANCELLED}
    return _move(store, name, idle, State.CANCELLING)


def retry(
    store: Store, name: str, *, from_start: bool = False, agreed: Collection[str] = ()
) -> Work:
    """Queue work again that failed, was lost or cancelled; its failed attempts are forgotten.

    It continues where it was; a run starts over with `from_start`. `agreed` as for `resume`.
    """
    work = run_queue.find(store, name)
    if work.state in AGAIN:
        trust.require(settings_of(store, work), agreed)
    over = from_start and isinstance(work, Run)
    work = run_queue.set_state(store, work.id, State.QUEUED, from_=AGAIN, over=over)
    if over:  # a worker that is faster passes over them: they are ahead of the record
        for file in CHECKPOINTS:
            (store.run_folder(work.id) / file).unlink(missing_ok=True)
    return work


RESUMABLE = {State.PAUSED, *AGAIN}


def set_priority(store: Store, name: str, priority: int) -> Work:
    """Move queued work in the line: the highest priority goes first, then the oldest."""
    return run_queue.set_priority(store, run_queue.find(store, name).id, priority)


def kill(store: Store, name: str) -> Work:
    """Cancel work and end its process at once."""
    work = cancel(store, name)
    if work.state in ACTIVE:
        end_process(store, work, signal.SIGKILL)
        run_queue.reconcile(store)
    return run_queue.find(store, work.id)


def end_process(store: Store, work: Work, number: signal.Signals) -> None:
    """Send a signal to the process at the work, and to those that it started."""
    # The lock proves that the process lives, so that its number is still its own.
    if work.pid is None or work.boot_id != boot_id() or not run_queue.is_alive(store, work.id):
        return
    if took_lock(work.pid):  # else it is in another container, where it has this number
        with suppress(ProcessLookupError):
            os.killpg(work.pid, number)


def _move(store: Store, name: str, idle: dict[State, State], active: State) -> Work:
    """Move work to a state that depends on where it is, which may change meanwhile."""
    work = run_queue.find(store, name)
    for _ in range(3):
        with suppress(StoreError):
            target = idle.get(work.state, active)
            return run_queue.set_state(store, work.id, target, from_={work.state})
        before, work = work.state, run_queue.find(store, work.id)
        if work.state is before:
            break
    return run_queue.set_state(store, work.id, idle.get(work.state, active), from_={work.state})


# Runners that this process started, by home and slot.
_started: dict[tuple[Path, str], subprocess.Popen[bytes]] = {}


def ensure_runners(store: Store, *, jobs: int | None = None, again: bool = False) -> list[str]:
    """Start runners on free slots, as many as the queue calls for; return the slots' names.

    Places of queued or active runs get their keepers.

    Cheap to call now and then: a runner that was killed is replaced, also where nothing waits and
    only its worker is left, and a stopped one is continued.
    `jobs`: the number of CPU slots, and the most GPUs to use. `again`: also try slots whose
    workers could not even start.
    """
    for key, process in list(_started.items()):
        if process.poll() is not None:
            del _started[key]
    waiting, active = run_queue.queue(store), run_queue.active(store)
    if not waiting and not active:
        return []
    if again:
        run_queue.forget_broken(store)
    rows = {row.name: row for row in run_queue.slots(store)}
    places = {work.place for work in waiting + active if isinstance(work, Run) and work.place}
    started = [
        name for place in sorted(places) if _ensure_keeper(store, name := keeper_slot(place), rows)
    ]
    here = [work for work in waiting if isinstance(work, Job) or work.place is None]
    slots = devices.slots(cpu_slots=jobs)
    for alike in ([s for s in slots if s.on_gpu], [s for s in slots if not s.on_gpu]):
        started += _ensure_on(store, alike[:jobs], here, rows)
    return started


def _ensure_keeper(store: Store, name: str, rows: Mapping[str, Slot]) -> bool:
    """Start the keeper of a place unless it has one or cannot start; return whether it did."""
    row = rows.get(name)
    broken = row is not None and row.broken
    if broken or (store.home, name) in _started or runner_alive(store, name):
        return False
    _started[store.home, name] = launch.start_keeper(store, name)
    return True


def _ensure_on(
    store: Store,
    slots: Sequence[devices.Slot],
    waiting: Sequence[Work],
    rows: Mapping[str, Slot],
) -> list[str]:
    """Start runners on slots that accept the same work; return the names of those slots."""
    accepted = frozenset().union(*(slot.accepts for slot in slots))
    need = sum(work.wish in accepted for work in waiting)
    free, orphaned = [], []
    for slot in slots:
        row = rows.get(slot.name)
        has_worker = is_locked(run_queue.slot_lock(store, slot.name))
        if runner_alive(store, slot.name):
            runner = holder_here(run_queue.runner_lock(store, slot.name))
            if runner is not None and is_stopped(runner):
                let_go_on(runner)
            waits = row is not None and row.note is not None  # for room: others may have it
            need -= not has_worker and not waits
        elif (store.home, slot.name) in _started:
            need -= not has_worker
        elif has_worker:
            orphaned.append(slot)
        elif row is None or not row.broken:
            free.append(slot)
    free = free[: max(need, 0)]
    for slot in orphaned + free:
        _started[store.home, slot.name] = launch.start_runner(store, slot.name)
    known = {row.work_id for row in rows.values() if row.activity is not None}
    new = [work for work in waiting if work.id not in known]
    for slot, work in zip(free, new, strict=False):
        with suppress(StoreError):  # no loss: observers hear of it a little later
            run_queue.set_activity(
                store, slot.name, work.id, "starting worker", device=slot.device.uuid
            )
    return [slot.name for slot in orphaned + free]


def keeper_slot(place: str) -> str:
    """Return the name of a place's keeper among those of device slots, for its lock and log."""
    return f"place-{place}"


def hand_over(store: Store, variable: str) -> None:
    """Give new work the value of a variable of our environment, such as a key.

    Workers have the environment of their runner. Where that lacks our value, a runner of our own
    takes its place; work that it watches goes on under the new one. The value is in no file.
    """
    value = os.environ.get(variable)
    if value is None:
        return
    for slot in devices.slots():
        deadline = time.monotonic() + HAND_OVER_SECONDS
        while not _has_given(store, slot.name, variable, value):
            if time.monotonic() > deadline:
                raise StoreError(
                    f"the runner of {slot.name} was started without {variable} and does not end",
                    remedy="end its process, or pass the key with --key-file",
                )
            time.sleep(0.05)


def _has_given(store: Store, slot: str, variable: str, value: str) -> bool:
    """Return whether the slot's next worker will have the value; if not, work towards it."""
    lock = run_queue.runner_lock(store, slot)
    runner = holder_here(lock)
    if runner is not None:
        if _variable(runner, variable) == value:
            return True
        if is_stopped(runner):
            let_go_on(runner)
        with suppress(ProcessLookupError):
            os.kill(runner, signal.SIGTERM)
    elif is_locked(lock):
        return False  # in another container
    elif not is_locked(run_queue.slot_lock(store, slot)):
        return True  # the process that queues the work starts its runner
    elif (own := _started.get((store.home, slot))) is None or own.poll() is not None:
        # Before the slot's worker does.
        _started[store.home, slot] = launch.start_runner(store, slot)
    return False


def _variable(pid: int, name: str) -> str | None:
    """Return a variable of the environment that a process of ours was started with."""
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            key, _, value = entry.partition(b"=")
            if key == name.encode():
                return os.fsdecode(value)
    return None


def is_stopped(pid: int) -> bool:
    """Return whether a process was stopped (SIGSTOP): it keeps what it holds, and does nothing."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


def let_go_on(pid: int) -> None:
    """Continue a stopped process."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def runner_alive(store: Store, slot: str) -> bool:
    """Return whether the slot has a runner."""
    return is_locked(run_queue.runner_lock(store, slot))
