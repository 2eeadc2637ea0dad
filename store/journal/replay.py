"""The conversion of a run's journal (`store.journal.run_journal`) to rows, and back."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col, select

from store.checking.decoding import cell
from store.clock import now
from store.journal.run_journal import Entry
from store.states import ENDED, State, sources
from store.tables import (
    Artifact,
    Classifier,
    Frame,
    Prompt,
    Run,
    Step,
    Study,
    Table,
    UtcTime,
)

# The errors of entries that are not what a worker writes; `doctor` reports their journals.
UNUSABLE = (
    LookupError,
    TypeError,
    ValueError,
    OverflowError,
    AttributeError,
    sa.exc.CompileError,
    sa.exc.IntegrityError,
    sa.exc.InterfaceError,
    sa.exc.ProgrammingError,
)


class RunFields(TypedDict, total=False):
    """The fields of a run that its worker writes; units as in `store.tables.Run`."""

    device: str
    steps_total: int
    words: Sequence[str]
    prompt: str
    word_gains: Sequence[Mapping[str, Any]]
    score_value: float
    score_low: float
    score_high: float
    score_n: int
    score_hits: int
    frames_wanted: int
    frames_hit: int
    frames_tried: int
    stop_reason: str
    error: str
    seed_ranges: Mapping[str, Any]
    peak_memory_bytes: int | None
    seconds: float


# The columns of a run that its worker writes.
_WRITTEN = frozenset(RunFields.__annotations__) | {"reduced"}

_STEP: dict[str, Any] = {
    column.name: None
    for column in Step.__table__.columns  # type: ignore[attr-defined]
}


def rehearse(session: Session, run_id: str) -> None:
    """Run the usual statements of `apply` in a session that executes none of them."""
    at = now().isoformat()
    artifact = dict.fromkeys(("sha256", "mime", "size", "width", "height"))
    names = "kind step seed prompt predicted_class target_probability hit sha256"
    entries = [
        {"n": 0, "kind": "steps", "rows": [{"step": 1}]},
        {
            "n": 0,
            "kind": "frame",
            "at": at,
            "artifact": artifact,
            "frame": dict.fromkeys(names.split()),
        },
    ]
    apply(session, run_id, entries, values={"heartbeat_at": now(), "promise": 1.0})


def write_steps(session: Session, run_id: str, steps: Sequence[Mapping[str, Any]]) -> None:
    """Write steps (columns of `Step`), replacing any with the same number."""
    _upsert(session, Step, [{**_STEP, **step, "run_id": run_id} for step in steps], "run_id step")


def write_prompts(session: Session, run_id: str, prompts: Sequence[Mapping[str, Any]]) -> None:
    """Replace the run's prompts, best first."""
    session.exec(sa.delete(Prompt).where(col(Prompt.run_id) == run_id))
    session.add_all(
        Prompt(run_id=run_id, rank=rank, **prompt) for rank, prompt in enumerate(prompts, 1)
    )


def write_frame(session: Session, run_id: str, frame: Mapping[str, Any]) -> None:
    """Write a picture's row, replacing any of the same kind, step and seed."""
    row = {"created_at": now(), **frame, "run_id": run_id}
    _upsert(session, Frame, [row], "run_id kind step seed")


def write_artifact(session: Session, artifact: Mapping[str, Any]) -> None:
    """Write the row of an existing file."""
    session.exec(
        insert(Artifact).values(**{"created_at": now(), **artifact}).on_conflict_do_nothing()
    )


def _upsert(session: Session, table: type[Table], rows: list[dict[str, Any]], keys: str) -> None:
    # Into the table, not the class: the ORM omits None values, which needs a statement per case.
    statement = insert(table.__table__)  # type: ignore[attr-defined]
    session.exec(
        statement.on_conflict_do_update(
            index_elements=keys.split(),
            set_={name: statement.excluded[name] for name in rows[0]},
        ),
        params=rows,
    )


def apply(
    session: Session,
    run_id: str,
    entries: Sequence[Entry],
    *,
    values: Mapping[str, Any] | None = None,
    rebuilding: bool = False,
) -> None:
    """Write entries that follow those already in the tables, and `values` of the run's columns.

    With `rebuilding`, every state of the journal is accepted, because the state changes that the
    user made in between are in no journal. Raises one of `UNUSABLE` for entries that no worker
    writes.
    """
    try:
        _apply(session, run_id, entries, values or {}, rebuilding=rebuilding)
    except sa.exc.DBAPIError:
        raise
    except sa.exc.StatementError as error:  # a value that its column cannot hold
        raise ValueError(str(error.orig)) from error


def _apply(
    session: Session,
    run_id: str,
    entries: Sequence[Entry],
    values: Mapping[str, Any],
    *,
    rebuilding: bool,
) -> None:
    run = dict(values)
    for entry in entries:
        match entry["kind"]:
            case "steps":
                _check_types(Step, *entry["rows"])
                write_steps(session, run_id, entry["rows"])
                run["steps_done"] = entry["rows"][-1]["step"]
            case "fields":
                run |= written(entry["fields"])
            case "prompts":
                _check_types(Prompt, *entry["rows"])
                write_prompts(session, run_id, entry["rows"])
            case "frame":
                at = datetime.fromisoformat(entry["at"])
                _check_types(Artifact, entry["artifact"])
                _check_types(Frame, entry["frame"])
                write_artifact(session, {**entry["artifact"], "created_at": at})
                write_frame(session, run_id, {**entry["frame"], "created_at": at})
            case "start":
                _start(session, run_id, entry, rebuilding=rebuilding)
            case "state":
                _move(session, run_id, entry, rebuilding=rebuilding)
    if entries:
        run["journal_entries"] = entries[-1]["n"]
    if run:
        session.exec(sa.update(Run).where(col(Run.id) == run_id).values(**run))


def written(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return columns of a run; raise ValueError if a worker does not write one of them, or so."""
    if unknown := fields.keys() - _WRITTEN:
        raise ValueError(f"its worker does not write {sorted(unknown)[0][:40]!r}")
    _check_types(Run, fields)
    return fields


# What a worker writes is a list or tuple before it is JSON.
_KINDS: dict[type, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
    list: (list, tuple),
    dict: (dict,),
}


def _check_types(table: type[Table], *rows: Mapping[str, Any]) -> None:
    """Raise ValueError for a value that is not of its column's type; SQLite would take it."""
    for row in rows:
        for name, value in row.items():
            field = table.model_fields.get(name)
            if field is None or value is None:
                continue
            kind = cell(field.annotation).type
            kinds = _KINDS.get(kind, (object,))
            if not isinstance(value, kinds) or (isinstance(value, bool) and kind in (int, float)):
                raise ValueError(f"{table.__tablename__}.{name} is {str(value)[:40]!r}")


def _start(session: Session, run_id: str, entry: Entry, *, rebuilding: bool) -> None:
    at = sa.literal(datetime.fromisoformat(entry["at"]), UtcTime())
    values: dict[str, Any] = {
        "attempt": sa.func.max(col(Run.attempt), entry["attempt"]),
        "started_at": sa.func.coalesce(col(Run.started_at), at),
    }
    if "version" in entry:  # of an attempt at another place: all that is known of where it is
        values["host"] = entry["host"]
    if rebuilding:
        # A user asked again for a run that had ended, which no journal records.
        values |= {"state": State.STARTING, "ended_at": None, "error": None, "stop_reason": None}
        values |= {name: entry[name] for name in ("pid", "boot_id", "host", "slot")}
    session.exec(sa.update(Run).where(col(Run.id) == run_id).values(**values))


def _move(session: Session, run_id: str, entry: Entry, *, rebuilding: bool) -> None:
    """Move the run to a state if that is still legal: the user may have moved it first."""
    to = State(entry["to"])
    values: dict[str, Any] = {"error": None, "stop_reason": None} if to is State.QUEUED else {}
    if to is State.SUCCEEDED:
        values["error"] = None
    if to in ENDED:
        values["ended_at"] = datetime.fromisoformat(entry["at"])
    values |= written(entry.get("fields", {}))
    statement = sa.update(Run).where(col(Run.id) == run_id)
    if not rebuilding:
        statement = statement.where(col(Run.state).in_(sources(to)))
    session.exec(statement.values(state=to, **values))


# Whole runs, for a store that has lost them


def queued_entry(run: Run, study: Study, classifier: Classifier) -> Entry:
    """Return the first entry of a run's journal."""
    return {
        "n": 0,
        "kind": "run",
        "at": now().isoformat(),
        "run": run.model_dump(
            mode="json",
            include={
                "id",
                "study_id",
                "seed",
                "config",
                "config_hash",
                "created_at",
                "priority",
                "place",
            },
        ),
        "study": study.model_dump(mode="json", exclude={"classifier_id"}),
        "classifier": classifier.model_dump(mode="json", exclude={"id"}),
    }


def rows_entry(session: Session, run: Run) -> Entry:
    """Return all rows of a run as one entry."""
    frames = session.exec(
        select(Frame, Artifact).join(Artifact).where(Frame.run_id == run.id).order_by(col(Frame.id))
    )
    return {
        **queued_entry(run, run.study, run.study.classifier),
        "n": run.journal_entries,
        "kind": "rows",
        "values": run.model_dump(mode="json", exclude={"study"}),
        "steps": [
            step.model_dump(mode="json", exclude={"run_id"})
            for step in session.exec(select(Step).where(Step.run_id == run.id))
        ],
        "prompts": [
            prompt.model_dump(mode="json", exclude={"run_id", "rank"})
            for prompt in session.exec(
                select(Prompt).where(Prompt.run_id == run.id).order_by(col(Prompt.rank))
            )
        ],
        "frames": [
            {
                "frame": frame.model_dump(mode="json", exclude={"id", "run_id"}),
                "artifact": artifact.model_dump(mode="json"),
            }
            for frame, artifact in frames
        ],
    }


def restore(session: Session, entry: Entry) -> None:
    """Write the run of a "run" or "rows" entry, with its study and classifier."""
    session.exec(
        insert(Classifier).values(**times(Classifier, entry["classifier"])).on_conflict_do_nothing()
    )
    classifier = session.exec(
        select(Classifier.id).where(Classifier.key == entry["classifier"]["key"])
    ).one()
    study = {**times(Study, entry["study"]), "classifier_id": classifier}
    session.exec(insert(Study).values(**study).on_conflict_do_nothing())
    study_id = session.exec(
        select(Study.id).where(
            Study.classifier_id == classifier,
            Study.class_index == study["class_index"],
            Study.settings_hash == study["settings_hash"],
        )
    ).one()
    values = {**entry["run"], **entry.get("values", {}), "study_id": study_id}
    run_id = values["id"]
    session.add(Run(**times(Run, {**values, "journal_entries": entry["n"]})))
    session.flush()
    if entry.get("steps"):
        write_steps(session, run_id, entry["steps"])
    write_prompts(session, run_id, entry.get("prompts", []))
    for picture in entry.get("frames", []):
        write_artifact(session, times(Artifact, picture["artifact"]))
        write_frame(session, run_id, times(Frame, picture["frame"]))


def times(table: type[Table], values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the times among the JSON values of a row back to datetimes."""
    columns = table.__table__.columns  # type: ignore[attr-defined]
    return {
        name: datetime.fromisoformat(value)
        if value is not None and isinstance(columns[name].type, UtcTime)
        else value
        for name, value in values.items()
    }
