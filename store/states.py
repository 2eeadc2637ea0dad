"""The states of runs and jobs, every legal move between them, and the kinds of jobs."""

from enum import StrEnum


class Kind(StrEnum):
    """The kind of what waits in the queue."""

    RUN = "run"
    REPORT = "report"
    PROBE = "probe"
    COMPARISON = "comparison"
    SCREENING = "screening"
    SLICES = "slices"
    DEBIAS = "debias"
    WHATIF = "whatif"
    EXPLAIN_BIAS = "explain-bias"


EXPLAINING = (Kind.WHATIF, Kind.EXPLAIN_BIAS)
"""The kinds of reports on pictures that ask about a class, not about labelled data."""


class NoteKind(StrEnum):
    """The kind of a note that a job leaves; beside it, its parts."""

    STAGE_DONE = "stage_done"  # stage
    STAGE_FAILED = "stage_failed"  # stage, error
    AGAINST = "against"  # prompt: what a probe compares with
    NO_DETECTOR = "no_detector"  # error: no claim can be confirmed


class Outcome(StrEnum):
    """The end of an attempt away from this machine (`store.tables.Attempt`)."""

    FINISHED = "finished"  # its worker ended the run, or followed a request
    PREEMPTED = "preempted"  # the place took its machine back: no failure
    CANCELLED = "cancelled"  # its job was cancelled at the place, not here
    GONE = "gone"  # no job, no sign of life, no end
    WITHDRAWN = "withdrawn"  # no worker had begun, and none can
    REFUSED = "refused"  # the place did not accept the job
    QUARANTINED = "quarantined"  # its records cannot be believed


class State(StrEnum):
    """The state of a run or job; see `TRANSITIONS`."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"


# "pausing" and "cancelling" are requests of others that the worker follows at its next step;
# a worker that is itself interrupted moves straight to "paused" or "cancelled". A run whose
# process died goes back to "queued", or, having died too often without progress, is "lost".
# A queued job whose runs did not succeed is made "failed" by `run_queue.reconcile`.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.STARTING, State.PAUSED, State.CANCELLED}),
    State.STARTING: frozenset(
        {
            State.QUEUED,
            State.RUNNING,
            State.PAUSING,
            State.PAUSED,
            State.CANCELLING,
            State.CANCELLED,
            State.FAILED,
            State.LOST,
        }
    ),
    State.RUNNING: frozenset(
        {
            State.QUEUED,
            State.PAUSING,
            State.PAUSED,
            State.CANCELLING,
            State.CANCELLED,
            State.SUCCEEDED,
            State.FAILED,
            State.LOST,
        }
    ),
    State.PAUSING: frozenset(
        {State.PAUSED, State.CANCELLING, State.SUCCEEDED, State.FAILED, State.LOST}
    ),
    State.PAUSED: frozenset({State.QUEUED, State.CANCELLED}),
    State.CANCELLING: frozenset({State.CANCELLED, State.SUCCEEDED, State.FAILED, State.LOST}),
    State.CANCELLED: frozenset({State.QUEUED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset({State.QUEUED}),
    State.LOST: frozenset({State.QUEUED}),
}

# A process works on the run and holds its lock.
ACTIVE = frozenset({State.STARTING, State.RUNNING, State.PAUSING, State.CANCELLING})
# No process works on it, nor will without a request.
ENDED = frozenset({State.CANCELLED, State.SUCCEEDED, State.FAILED, State.LOST})

# Queued or worked on, and nobody asked for an end.
UNDER_WAY = frozenset({State.QUEUED, State.STARTING, State.RUNNING})

# Ended without what was wanted of it, so that it may be queued again.
AGAIN = ENDED - {State.SUCCEEDED}


def sources(to: State) -> frozenset[State]:
    """Return the states from which a run may move to `to`."""
    return frozenset(state for state, targets in TRANSITIONS.items() if to in targets)


def is_job(name: str) -> bool:
    """Return whether an id names a job rather than a run, by its first letter."""
    return name.startswith("j")
