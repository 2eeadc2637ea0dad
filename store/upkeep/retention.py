"""The curation of a store: deleting, archiving, tags and notes.

Archiving a run gives it the tag `archived`; lists show such runs only on request.
"""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col, select

from store import comparison_records, run_queue, screening_records
from store.checking.checks import is_work
from store.clock import now
from store.data_reports import records as data_records
from store.errors import StoreError, explained
from store.journal import study_file
from store.locks import is_locked
from store.states import ACTIVE
from store.store import Store
from store.study_records import _delete_claims
from store.tables import (
    Artifact,
    Attempt,
    Attribution,
    Caption,
    Claim,
    DataReport,
    Frame,
    Job,
    Member,
    Note,
    Picture,
    Prompt,
    Report,
    Run,
    Score,
    Stage,
    Step,
    Study,
    Tag,
    among,
    usable,
)

ARCHIVED = "archived"
_NOTE_LENGTH = 10_000  # characters
_OF_RUN: tuple[Any, ...] = (Step, Prompt, Frame, Tag, Attribution, Attempt)
_OF_STUDY: tuple[Any, ...] = (Report, Score, Stage, Job)


@dataclass(frozen=True)
class Doomed:
    """The rows and files that a deletion would remove."""

    runs: list[str]
    studies: list[str]
    """Studies that would have no run left, with their claims and reports."""
    comparisons: list[str]
    screenings: list[str]
    data_reports: list[str]
    pictures: int
    """The number of pictures that nothing else names."""
    bytes: int

    @property
    def count(self) -> int:
        """The number that a user types to confirm."""
        others = len(self.comparisons) + len(self.screenings) + len(self.data_reports)
        return len(self.runs) + others

    def line(self) -> str:
        """Return a one-line summary."""
        named = (
            (self.runs, "run", "runs"),
            (self.studies, "study", "studies"),
            (self.comparisons, "comparison", "comparisons"),
            (self.screenings, "screening", "screenings"),
            (self.data_reports, "report on pictures", "reports on pictures"),
        )
        parts = [f"{len(own)} {one if len(own) == 1 else more}" for own, one, more in named if own]
        return f"{', '.join(parts)}, {self.pictures} pictures ({self.bytes / 1e6:.1f} MB)"


def doomed(store: Store, names: Sequence[str]) -> Doomed:
    """Return what deleting what these ids or prefixes name would remove.

    Raises StoreError for active runs, for analyses that are being made, and for studies that
    another comparison includes.
    """
    named_runs: list[str] = []
    studies: set[str] = set()
    comparisons: list[str] = []
    screenings: list[str] = []
    reports: list[str] = []
    for name in names:
        if name.startswith("d"):
            reports.append(data_records.data_report(store, name).id)
        elif name.startswith("x"):
            screenings.append(screening_records.screening(store, name).id)
        elif name.startswith("c"):
            comparisons.append(comparison_records.comparison(store, name).id)
        elif name.startswith("s"):
            studies.add(store.study(name).id)
        else:
            named_runs.append(name)
    runs = run_ids(store, [*named_runs, *studies])
    with store._read() as session:
        _refuse_running(store, session, runs)
        of_runs = among(col(Run.id), runs)
        touched = set(session.exec(select(Run.study_id).where(of_runs)))
        left = session.exec(select(Run.study_id).where(among(col(Run.study_id), touched), ~of_runs))
        studies |= touched - set(left)
        _refuse_used(session, studies, comparisons, screenings, reports)
        shas = _only_here(session, runs, reports)
        size = session.exec(
            select(sa.func.sum(Artifact.size)).where(among(col(Artifact.sha256), shas))
        ).one()
    return Doomed(
        sorted(runs),
        sorted(studies),
        list(dict.fromkeys(comparisons)),
        list(dict.fromkeys(screenings)),
        list(dict.fromkeys(reports)),
        len(shas),
        size or 0,
    )


def _refuse_used(
    session: Session,
    studies: Collection[str],
    comparisons: Collection[str],
    screenings: Collection[str],
    reports: Collection[str],
) -> None:
    """Raise StoreError for what a job is at, and for studies that another comparison includes."""
    jobs = session.exec(select(DataReport.job_id).where(among(col(DataReport.id), reports)))
    used = {*studies, *comparisons, *screenings, *jobs}
    for job in usable(session.exec(select(Job).where(col(Job.state).in_(ACTIVE)))):
        if used & {job.study_id, job.comparison_id, job.screening_id, job.id} - {None}:
            owner = job.comparison_id or job.screening_id or job.study_id
            about = job.request.get("data_report") or owner or job.id
            raise StoreError(
                f"{about}: its {job.kind.value} {job.id} is {job.state.value}",
                remedy="cancel it first",
            )
    for member in session.exec(select(Member).where(among(col(Member.study_id), studies))):
        if member.comparison_id not in comparisons:
            raise StoreError(
                f"study {member.study_id} is in comparison {member.comparison_id}",
                value=member.study_id,
                remedy="delete the comparison first, or both at once",
            )


def _refuse_changed(session: Session, what: Doomed) -> None:
    """Raise StoreError if a deletion would now meet more than `doomed` found."""
    _refuse_used(session, what.studies, what.comparisons, what.screenings, what.data_reports)
    more = select(Run.id, Run.study_id).where(
        among(col(Run.study_id), what.studies), ~among(col(Run.id), what.runs)
    )
    for new, study_id in session.exec(more.order_by(col(Run.id)).limit(1)):
        raise StoreError(
            f"study {study_id} has a new run {new}; nothing was deleted",
            value=study_id,
            remedy="try again",
        )


def _refuse_running(store: Store, session: Session, runs: Sequence[str]) -> None:
    """Raise StoreError for runs whose process lives, here or at another place."""
    away = (among(col(Run.id), runs), col(Run.place).is_not(None), col(Run.state).in_(ACTIVE))
    running = {*run_queue.alive(store, runs), *session.exec(select(Run.id).where(*away))}
    if running:
        run_id = min(running)
        raise StoreError(f"run {run_id} is running", value=run_id, remedy="cancel it first")


def delete(store: Store, what: Doomed) -> None:
    """Delete the rows in one transaction, then the files.

    Raises StoreError, and deletes nothing, if that would now be more than `doomed` found.
    """
    # Within a write transaction nothing can be claimed.
    with store._write(durable=True) as session:
        _refuse_running(store, session, what.runs)
        _refuse_changed(session, what)
        shas = _only_here(session, what.runs, what.data_reports)
        for comparison_id in what.comparisons:
            comparison_records.delete_comparison(session, comparison_id)
        for screening_id in what.screenings:
            screening_records.delete_screening(session, screening_id)
        for report_id in what.data_reports:
            data_records.delete(session, report_id)
        of_runs = among(col(Run.id), what.runs)
        touched = set(session.exec(select(Run.study_id).where(of_runs)))
        for table in _OF_RUN:
            session.execute(sa.delete(table).where(among(table.run_id, what.runs)))
        session.exec(sa.delete(Run).where(of_runs))
        _delete_claims(session, among(col(Claim.study_id), what.studies))
        for owned in _OF_STUDY:
            session.execute(sa.delete(owned).where(among(owned.study_id, what.studies)))
        session.exec(sa.delete(Note).where(among(col(Note.of), [*what.runs, *what.studies])))
        session.exec(sa.delete(Study).where(among(col(Study.id), what.studies)))
        session.exec(sa.delete(Caption).where(among(col(Caption.sha256), shas)))
        session.exec(sa.delete(Artifact).where(among(col(Artifact.sha256), shas)))
    with explained(store.home):
        for report_id in what.data_reports:
            shutil.rmtree(data_records.folder(store.home, report_id), ignore_errors=True)
        for run_id in what.runs:
            shutil.rmtree(store.home / "runs" / run_id, ignore_errors=True)
        for study_id in what.studies:
            study_file.path(store.home, study_id).unlink(missing_ok=True)
        for study_id in touched - {*what.studies}:
            store.keep_study(study_id)  # without what was found about these runs
        for sha256 in shas:
            store.artifact_path(sha256).unlink(missing_ok=True)
            store._thumbnail_path(sha256).unlink(missing_ok=True)
        for run_id in {*what.runs} - run_queue.alive(store, what.runs):
            run_queue.lock_path(store, run_id).unlink(missing_ok=True)
        for path in files_of_no_job(store):
            path.unlink(missing_ok=True)


def files_of_no_job(store: Store) -> list[Path]:
    """Return the logs and locks of jobs that the store does not have."""
    logs = {path: path.stem for path in run_queue.logs(store).glob("j*.log")}
    locks = {
        path: path.stem.removeprefix("job-") for path in (store.home / "locks").glob("job-*.lock")
    }
    with store._read() as session:  # after the files: the row of a job is older than both
        known = set(session.exec(select(Job.id)))
    return [
        path
        for path, name in (logs | locks).items()
        if is_work(name) and name not in known and not (path in locks and is_locked(path))
    ]


def _only_here(session: Session, run_ids: Sequence[str], report_ids: Sequence[str]) -> list[str]:
    """Return the pictures that only frames of these runs, and users' of these what-ifs, name."""
    given = data_records.given_pictures(session, report_ids)
    of_runs = among(col(Frame.run_id), run_ids)
    own = {*given.values(), *session.scalars(sa.select(col(Frame.sha256)).where(of_runs))}
    others = sa.select(col(Frame.sha256)).where(among(col(Frame.sha256), own), ~of_runs)
    sheets = sa.select(col(Picture.sha256)).where(
        among(col(Picture.sha256), own), ~among(col(Picture.generator), given)
    )
    elsewhere = {*session.scalars(others), *session.scalars(sheets)}
    return sorted(own - elsewhere)


def set_note(store: Store, name: str, text: str) -> str:
    """Set the note on what a name refers to ("" removes it); return its full id."""
    of = named(store, name)
    if len(text) > _NOTE_LENGTH:
        raise StoreError(
            f"the note has {len(text):,} characters", remedy=f"shorten it to {_NOTE_LENGTH:,}"
        )
    with store._write() as session:
        if not text.strip():
            session.exec(sa.delete(Note).where(col(Note.of) == of))
        else:
            values = {"of": of, "text": text.strip(), "updated_at": now()}
            session.exec(
                insert(Note)
                .values(**values)
                .on_conflict_do_update(index_elements=["of"], set_=values)
            )
        run = session.get(Run, of)
        study_id = of if run is None else run.study_id
        has_file = session.get(Study, study_id) is not None
    if has_file:
        store.keep_study(study_id)
    return of


def named(store: Store, name: str) -> str:
    """Return the id of what can have a note, from the id or a unique prefix."""
    if name.startswith("c"):
        return comparison_records.comparison(store, name).id
    if name.startswith("x"):
        return screening_records.screening(store, name).id
    if name.startswith("d"):
        return data_records.data_report(store, name).id
    return store.find(name).id


def archived(store: Store) -> set[str]:
    """Return the ids of the archived runs."""
    with store._read() as session:
        return set(session.exec(select(Tag.run_id).where(Tag.name == ARCHIVED)))


def note(store: Store, of: str) -> str | None:
    """Return the note on what an id names; None if there is none."""
    with store._read() as session:
        row = session.get(Note, of)
        return None if row is None else row.text


def run_ids(store: Store, names: Sequence[str]) -> list[str]:
    """Return the ids of these runs and of all runs of these studies."""
    ids: list[str] = []
    with store._read() as session:
        known = set(session.exec(select(Run.id).where(among(col(Run.id), names))))
        for name in names:
            if name in known:
                ids.append(name)
            elif name.startswith("s"):
                of_study = select(Run.id).where(Run.study_id == store.study(name).id)
                ids += session.exec(of_study.order_by(col(Run.seed)))
            else:
                ids.append(store.run(name).id)
    return list(dict.fromkeys(ids))


def set_tag(store: Store, names: Sequence[str], tag: str, *, given: bool) -> list[str]:
    """Add a tag to runs, or all runs of a study, or remove it; return the runs' ids."""
    ids = run_ids(store, names)
    store.toggle_tag(ids, tag, given=given)
    return ids
