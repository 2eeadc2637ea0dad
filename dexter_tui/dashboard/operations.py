"""The changes that the dashboard makes through `dexter_tui.jobs`; each returns a line to show.

Call these from threads: each opens the store itself, which the start has made; a home that was
removed since then stays removed. The first call loads SQLAlchemy, not the start of the dashboard.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dexter.config import RunConfig
from dexter_tui import paths
from dexter_tui.analysis import comparison_request, study_request
from store.errors import StoreError
from store.reading.browse import RunRow
from store.states import AGAIN, ENDED, State

if TYPE_CHECKING:
    from dexter_tui.analysis.comparison_request import Request, Requested
    from dexter_tui.analysis.data.request import DataRequest
    from dexter_tui.analysis.explaining.request import ExplainRequest
    from dexter_tui.analysis.screening_request import ScreenRequest
    from store import Store
    from store.upkeep.retention import Doomed


def pause(home: Path, runs: Sequence[RunRow]) -> str:
    """Pause runs or, if the first is paused, resume the paused ones."""
    from dexter_tui.jobs import control

    if runs[0].state is State.PAUSED:
        paused = [run for run in runs if run.state is State.PAUSED]
        return _each(home, paused, control.resume, "resumed", start=True)
    going = [run for run in runs if run.state not in ENDED and run.state is not State.PAUSED]
    return _each(home, going, control.pause, "paused; running ones save a checkpoint first")


def cancel(home: Path, runs: Sequence[RunRow]) -> str:
    """Cancel runs that have not ended."""
    from dexter_tui.jobs import control

    going = [run for run in runs if run.state not in ENDED]
    return _each(home, going, control.cancel, "cancelled; running ones stop at the next step")


def retry(home: Path, runs: Sequence[RunRow]) -> str:
    """Queue failed, cancelled or lost runs again."""
    from dexter_tui.jobs import control

    ended = [run for run in runs if run.state in AGAIN]
    return _each(home, ended, control.retry, "queued again", start=True)


def prioritise(home: Path, runs: Sequence[RunRow], by: int) -> str:
    """Move queued runs forward or back in the queue."""
    from dexter_tui.jobs import control

    priorities = {run.id: run.priority + by for run in runs}

    def move(store: "Store", run_id: str) -> object:
        return control.set_priority(store, run_id, priorities[run_id])

    queued = [run for run in runs if run.state is State.QUEUED]
    return _each(home, queued, move, f"moved {'forward' if by > 0 else 'back'} in the queue")


def enqueue(home: Path, configs: Sequence[RunConfig]) -> list[str]:
    """Check, queue and start runs; return their ids. Raise InputError for refused settings."""
    from dexter_tui.jobs import control, submit
    from store import Store

    with Store.open(home, make=False) as store:
        run_ids = submit.enqueue(store, configs)
        control.ensure_runners(store, again=True)
    return run_ids


DEMO = ("lab:birds-biased", "lab:birds-balanced")
DEMO_CLASS = "waterbird"


def demo(home: Path) -> str:
    """Queue and start the screening of `make demo`; return its id."""
    from dexter.reasoning.settings import ScreenSettings
    from dexter_tui.analysis.screening_request import ScreenRequest

    return screen(home, ScreenRequest(DEMO, DEMO_CLASS, ScreenSettings()))


class Keeper:
    """Keeps work going, now and then, from one thread at a time.

    It keeps the store open in between: SQLAlchemy makes thousands of objects for one that is
    opened, which refer to each other, so that only a collection frees them.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._store: Store | None = None

    def keep_going(self) -> None:
        """Requeue work whose process died, and replace runners that ended."""
        from dexter_tui.jobs import control
        from store import Store, run_queue
        from store.database import is_current

        try:
            if (
                self._store is None
                or self._store.is_gone()  # another home lies in its place
                or not is_current(self._store.path)  # it is of another version now
            ):
                self.close()
                self._store = Store.open(self._home, make=False)
            run_queue.reconcile(self._store)
            control.ensure_runners(self._store)
        except (StoreError, OSError):
            self.close()
            raise

    def close(self) -> None:
        """Close the store until it is needed again."""
        if self._store is not None:
            self._store.close()
            self._store = None


def report(home: Path, study_id: str) -> str:
    """Queue a report on a study, and start it if a slot is free; return the job's id."""
    from dexter.reasoning.settings import ReportSettings
    from dexter_tui.jobs import control
    from store import Store, run_queue

    with Store.open(home, make=False) as store:
        run_queue.reconcile(store)
        job_id = study_request.request_report(store, study_id, ReportSettings())
        control.ensure_runners(store, again=True)
    return job_id


def tag(home: Path, runs: Sequence[RunRow], name: str) -> str:
    """Add a tag to the runs; if all have it, remove it."""
    from store import Store

    with Store.open(home, make=False) as store:
        added = store.toggle_tag([run.id for run in runs], name)
    return f"{_runs(len(runs))} {'tagged' if added else 'no longer tagged'} {name}"


def archive(home: Path, names: Sequence[str]) -> str:
    """Archive runs (all runs of a study); if all are archived, restore them."""
    from store import Store
    from store.upkeep import retention

    with Store.open(home, make=False) as store:
        ids = set(retention.run_ids(store, names))
        back = ids <= retention.archived(store)
        retention.set_tag(store, sorted(ids), retention.ARCHIVED, given=not back)
    if back:
        return f"{_runs(len(ids))} restored"
    return f"{_runs(len(ids))} archived; the filter tag:archived shows archived runs"


def doomed(home: Path, names: Sequence[str]) -> "Doomed":
    """Return what deleting these would remove. Raise StoreError if they cannot be deleted."""
    from store import Store, run_queue
    from store.upkeep import retention

    with Store.open(home, make=False) as store:
        run_queue.reconcile(store)
        return retention.doomed(store, names)


def delete(home: Path, what: "Doomed") -> str:
    """Delete what `doomed` found."""
    from store import Store
    from store.upkeep import retention

    with Store.open(home, make=False) as store:
        retention.delete(store, what)
    return f"deleted {what.line()}"


def set_note(home: Path, name: str, text: str) -> str:
    """Save a note on what an id names; "" removes it."""
    from store import Store
    from store.upkeep import retention

    with Store.open(home, make=False) as store:
        retention.set_note(store, name, text)
    return "note saved" if text.strip() else "note removed"


def compare(home: Path, request: "Request") -> "Requested":
    """Queue a comparison and the runs that it lacks, and start them if slots are free."""
    from dexter_tui.jobs import control
    from store import Store, run_queue

    with Store.open(home, make=False) as store:
        run_queue.reconcile(store)
        found = comparison_request.request_comparison(store, request)
        control.ensure_runners(store, again=True)
    return found


def set_baseline(home: Path, comparison_id: str, name: str | None) -> str:
    """Compare all members with one of them, or each with each."""
    from store import Store, comparison_records

    with Store.open(home, make=False) as store:
        comparison_records.set_baseline(store, comparison_id, name)
    return "no baseline" if name is None else f"baseline: {name}"


def screen(home: Path, request: "ScreenRequest") -> str:
    """Queue a screening, and start it if a slot is free; return its id."""
    from dexter_tui.analysis import screening_request
    from dexter_tui.jobs import control
    from store import Store, run_queue

    prepared = screening_request.prepare(request, home)
    with Store.open(home, make=False) as store:
        run_queue.reconcile(store)
        found = screening_request.request_screening(store, prepared)
        control.ensure_runners(store, again=True)
    return found.screening_id


def probe(home: Path, screening_id: str, member: int, text: str) -> str:
    """Queue the test of a text on a screened classifier, counted from 0; return the job's id."""
    from dexter.reasoning.settings import ReportSettings
    from dexter_tui.analysis.explaining.screened import prepared_of
    from dexter_tui.jobs import control, submit
    from store import Store

    with Store.open(home, make=False) as store:
        prepared = prepared_of(store, screening_id, member)
        [checked] = submit.check([prepared.config], home, search=False)
        own = prepared.settings.model_dump(include=set(ReportSettings.model_fields))
        settings = ReportSettings.from_values(own)
        job_id = study_request.request_probe(
            store, text, against=None, checked=checked, settings=settings
        )
        control.ensure_runners(store, again=True)
    return job_id


def report_on_pictures(home: Path, request: "DataRequest") -> str:
    """Queue slices or a debiasing, and start it if a slot is free; return the report's id."""
    from dexter_tui.analysis.data import request as data_request
    from dexter_tui.jobs import control
    from store import Store

    prepared = data_request.prepare(request, home)
    with Store.open(home, make=False) as store:
        found = data_request.request_report(store, prepared)
        control.ensure_runners(store, again=True)
    return found.report_id


def explain(home: Path, request: "ExplainRequest") -> str:
    """Queue a what-if or a bias explanation, and start it if a slot is free; return the report's
    id."""
    from dexter_tui.analysis.explaining import request as explaining
    from dexter_tui.jobs import control
    from store import Store, run_queue

    prepared = explaining.prepare(request, home)
    with Store.open(home, make=False) as store:
        run_queue.reconcile(store)
        found = explaining.request_explanation(store, prepared)
        control.ensure_runners(store, again=True)
    return found.report_id


def cancel_job(home: Path, job_id: str) -> str:
    """Cancel a job at its next step."""
    from dexter_tui.jobs import control
    from store import Store, run_queue

    with Store.open(home, make=False) as store:
        run_queue.reconcile(store)
        control.cancel(store, job_id)
    return f"{job_id} stops at its next step"


def retry_job(home: Path, job_id: str) -> str:
    """Queue a job again that ended without its result."""
    from dexter_tui.jobs import control
    from store import Store, run_queue

    with Store.open(home, make=False) as store:
        run_queue.reconcile(store)
        control.retry(store, job_id)
        control.ensure_runners(store, again=True)
    return f"{job_id} queued"


def export(home: Path, names: Sequence[str], path: str) -> str:
    """Write what ids name in the form that the ending says.

    By the command of that name: what draws plots takes 40 MB, which the dashboard would not get
    rid of.
    """
    from dexter_tui.jobs import launch

    target = paths.expanded(path).absolute()
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "dexter_tui",
            "export",
            "--json",
            f"--output={target}",
            *names,
        ],
        env={**launch.worker_environment(), "DEXTER_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise StoreError(done.stderr.strip().rpartition("\n")[2] or "the export failed") from None
    if refusal := answer.get("error"):
        raise StoreError(refusal["message"], remedy=refusal["remedy"])
    return f"written: {answer['path']}"


def make_current(home: Path) -> None:
    """Make a store, or upgrade one of an older version after a backup."""
    from store import Store

    Store.open(home).close()


def _each(
    home: Path,
    runs: Sequence[RunRow],
    change: Callable[["Store", str], object],
    outcome: str,
    *,
    start: bool = False,
) -> str:
    """Apply a change to every run. Raise StoreError if no run allows it."""
    from dexter_tui.jobs import control, trust
    from store import Store, run_queue

    done, refused = 0, StoreError("no selected run is in a state that allows this")
    with Store.open(home, make=False) as store:
        run_queue.reconcile(store)
        if start:
            works = [run_queue.find(store, run.id) for run in runs]
            trust.require([one for work in works for one in control.settings_of(store, work)])
        for run in runs:
            try:
                change(store, run.id)
                done += 1
            except StoreError as error:
                refused = error
        if start and done:
            control.ensure_runners(store, again=True)
    if not done:
        raise refused
    return f"{_runs(done)} {outcome}"


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"
