"""Jobs and their notes, for people and for programs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dexter_tui.formatting import clean
from store.states import NoteKind

if TYPE_CHECKING:
    from store.run_queue import Work
    from store.tables import Job


def job_json(job: "Job") -> dict[str, Any]:
    """Return a job as the programs' interface shows it."""
    columns = (
        "id kind state priority study_id comparison_id screening_id depends_on slot attempt "
        "stage done total notes result error created_at started_at ended_at heartbeat_at"
    )
    return job.model_dump(mode="json", include=set(columns.split()))


def any_json(work: "Work") -> dict[str, Any]:
    """Return a run or a job as the programs' interface shows it."""
    from dexter_tui.presentation.run_tables import run_json
    from store.tables import Run

    return run_json(work) if isinstance(work, Run) else job_json(work)


def work_json(work: "Work") -> dict[str, Any]:
    """Return what the list of all kinds of work shows of a run or job."""
    from store.tables import Run

    own: dict[str, Any]
    if isinstance(work, Run):
        own = {"of": work.study_id, "stage": None, "done": work.steps_done}
        own["total"] = work.steps_total
    else:
        of = work.study_id or work.comparison_id or work.screening_id
        own = {"of": of, "stage": work.stage}
        own |= {"done": work.done, "total": work.total}
    return {
        "id": work.id,
        "kind": work.kind.value,
        "state": work.state.value,
        "slot": work.slot,
        "attempt": work.attempt,
        "priority": work.priority,
        "error": work.error_line,
        **own,
    }


def note_line(note: Mapping[str, Any]) -> str:
    """Return a note of a job as a line."""
    match NoteKind(note["kind"]):
        case NoteKind.STAGE_DONE:
            line = f"{note['stage']}: done"
        case NoteKind.STAGE_FAILED:
            line = f"{note['stage']}: failed: {note['error']}"
        case NoteKind.AGAINST:
            line = f"against: {note['prompt']}"
        case NoteKind.NO_DETECTOR:
            line = f"{note['error']}; without an image-text model no claim can be confirmed"
    return clean(line)
