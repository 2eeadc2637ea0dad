"""What the dashboard asks of runs. For threads: each call opens the store for itself.

SQLAlchemy is loaded with the first call, not with the dashboard.
"""

from collections.abc import Sequence
from pathlib import Path

from dexter.config import RunConfig
from store.browse import RunRow
from store.errors import StoreError
from store.states import ENDED, State


def pause(home: Path, run: RunRow) -> str:
    """Pause an active run, or let a paused one go on; what was done, in a line."""
    from store import Store

    with Store.open(home) as store:
        if run.state is State.PAUSED:
            store.set_state(run.id, State.QUEUED)
            _start(home, [run.id])
            return f"run {run.id} goes on"
        store.set_state(run.id, State.PAUSING)
    return f"run {run.id} pauses at its next step"


def cancel(home: Path, runs: Sequence[RunRow]) -> str:
    """Cancel runs; what was done, in a line."""
    from store import Store

    done = 0
    with Store.open(home) as store:
        store.reconcile()
        for run in runs:
            state = store.run(run.id).state
            if state in ENDED or state is State.CANCELLING:
                continue
            waiting = state in (State.QUEUED, State.PAUSED)
            store.set_state(run.id, State.CANCELLED if waiting else State.CANCELLING)
            done += 1
    if not done:
        raise StoreError("nothing to cancel: the runs have ended")
    return f"{_runs(done)} cancelled; those at work end at their next step"


def retry(home: Path, runs: Sequence[RunRow]) -> str:
    """Queue runs again that failed, were cancelled or lost."""
    from store import Store

    done = []
    with Store.open(home) as store:
        store.reconcile()
        for run in runs:
            if store.run(run.id).state in (State.FAILED, State.LOST, State.CANCELLED):
                store.set_state(run.id, State.QUEUED)
                done.append(run.id)
    if not done:
        raise StoreError("nothing to retry: only failed, cancelled and lost runs can be")
    _start(home, done)
    return f"{_runs(len(done))} queued again"


def prioritise(home: Path, runs: Sequence[RunRow], by: int) -> str:
    """Move queued runs forward or back in the queue."""
    raise StoreError("runs are taken in the order they were queued")


def enqueue(home: Path, configs: Sequence[RunConfig]) -> list[str]:
    """Check, write and start runs of one study; their ids. InputError for what is refused."""
    from dexter.classifiers import class_index
    from dexter_tui import plan
    from dexter_tui.describe import describe
    from store import Store

    configs = [plan.with_full_paths(config) for config in configs]
    info = describe(configs[0])
    index = class_index(info.labels, configs[0].class_name)
    configs = [plan.with_names(config, info, index) for config in configs]
    plan.check_machine(configs[0], home)
    with Store.open(home) as store:
        run_ids = plan.enqueue(store, configs, info, index)
    _start(home, run_ids)
    return run_ids


def upgrade(home: Path) -> None:
    """Bring a store of an older version up to date, with a backup."""
    from store import Store

    Store.open(home).close()


def _start(home: Path, run_ids: Sequence[str]) -> None:
    """Have detached workers do the runs."""
    from dexter_tui import control
    from store import Store

    with Store.open(home) as store:
        control.ensure_runners(store, again=True)


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"
