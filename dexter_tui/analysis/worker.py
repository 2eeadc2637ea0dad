"""Works on one queued analysis, such as a report: ``python -m dexter_tui.analysis.worker SLOT``

Each job has a process of its own, whose memory is free again when it ends.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from dexter.device import is_out_of_memory
from dexter.errors import InputError
from dexter.loading import importing
from dexter_tui import EXIT_FAILED, EXIT_REFUSED
from dexter_tui.analysis import comparison_job, probe_job, report_job, screening_job
from dexter_tui.analysis.data import debias_job, slices_job
from dexter_tui.analysis.desk import Desk, Failed, error_parts
from dexter_tui.analysis.explaining import bias_job, whatif_job
from dexter_tui.formatting import clean
from dexter_tui.jobs.recorder import log
from dexter_tui.jobs.worker import (
    FULL,
    LOAD_PROMISE,
    Stopped,
    Worker,
    first_line,
    log_trace,
    main,
)
from store import State, StoreError, run_queue
from store.run_queue import Work
from store.states import Kind
from store.tables import Job

JOBS: dict[Kind, Callable[[Desk], Failed | None]] = {
    Kind.REPORT: report_job.work,
    Kind.PROBE: probe_job.work,
    Kind.COMPARISON: comparison_job.work,
    Kind.SCREENING: screening_job.work,
    Kind.SLICES: slices_job.work,
    Kind.DEBIAS: debias_job.work,
    Kind.WHATIF: whatif_job.work,
    Kind.EXPLAIN_BIAS: bias_job.work,
}
"""What does a job of each kind; it returns what failed, None if nothing did."""


def _with_more_memory(job: Work) -> str:
    """Return what to do about a job that ran out of memory."""
    assert isinstance(job, Job)
    smaller = "" if job.kind is Kind.REPORT else ", or --dtype bfloat16"  # that of its runs
    return (
        f"free memory and run `dexter-tui retry {job.id}`, which continues from there, or ask "
        f"again with another --device{smaller}"
    )


class AnalysisWorker(Worker):
    """A worker that does one job of analysis."""

    KINDS = frozenset(JOBS)

    def fits(self, config: Mapping[str, Any] | None) -> bool:
        return True  # it takes one and ends

    def do(self, work: Work) -> int:
        assert isinstance(work, Job)
        self.stopping = True
        code = EXIT_FAILED
        try:
            self._start(work)
            with importing():  # nearly every job loads a classifier
                import_module("transformers.modeling_utils")
            desk = Desk(self.store, work, "cuda" if self.slot.on_cuda else "cpu", heed=self._look)
            failed = JOBS[work.kind](desk)
        except Stopped as stopped:
            run_queue.set_state(self.store, work.id, stopped.state)
            outcome, code = stopped.state.value, 0
        except (InputError, StoreError) as error:
            if error.__cause__ is not None and isinstance(error, StoreError):
                raise  # the store cannot be used now: the job is queued again
            outcome, code = f"refused: {error}", EXIT_REFUSED
            self._fail(work, {**error_parts(error), "refused": True})
        except Exception as error:  # a defect ends this job, not those that wait behind it
            if isinstance(error, OSError) and error.errno in FULL:
                raise  # a full disk is no fault of the job: it is queued again
            log_trace()
            outcome = clean(first_line(error))
            remedy = _with_more_memory(work) if is_out_of_memory(error) else None
            self._fail(work, {"problem": outcome, "remedy": remedy})
        else:
            if failed is None:
                run_queue.finish_job(self.store, work.id, State.SUCCEEDED)
                outcome, code = "succeeded", 0
            else:
                outcome = failed.line
                remedy = f"`dexter-tui retry {work.id}` continues from there"
                if failed.out_of_memory:
                    remedy = _with_more_memory(work)
                self._fail(work, {"problem": outcome, "remedy": remedy})
        log(outcome, "error" if code else "info")
        return code

    def _start(self, job: Job) -> None:
        """Clear what an attempt before has left, and say that this one runs."""
        state = run_queue.update_job(
            self.store,
            job.id,
            notes=[],
            stage=None,
            done=0,
            total=0,
            steps_done=0,
            error=None,
            promise=LOAD_PROMISE,
        )
        self.heed(state)
        try:
            run_queue.set_state(self.store, job.id, State.RUNNING)
        except StoreError:  # perhaps a user was faster
            self.check(job.id)
            raise

    def _look(self, state: State) -> None:
        """Look after the runner, and raise Stopped if the state of the job asks for an end."""
        self.keep_runner()
        self.heed(state)

    def _fail(self, job: Job, error: Mapping[str, Any]) -> None:
        run_queue.finish_job(self.store, job.id, State.FAILED, error=error)


if __name__ == "__main__":
    sys.exit(main(AnalysisWorker, sys.argv[1]))
