"""What users keep and what they throw away: deleting, archiving, notes.

To archive is to give the tag `archived`: lists leave such runs out unless asked for them.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import col, select

from store import comparison_records, run_queue
from store.clock import now
from store.errors import StoreError, explained
from store.locks import try_lock
from store.states import ACTIVE
from store.store import Store
from store.study_records import _delete_claims
from store.tables import (
    Artifact,
    Attribution,
    Caption,
    Claim,
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
)

ARCHIVED = "archived"
_MANY = 500
_OF_RUN: tuple[Any, ...] = (Step, Prompt, Frame, Tag, Attribution)
_OF_STUDY: tuple[Any, ...] = (Report, Score, Stage, Job)


@dataclass(frozen=True)
class Doomed:
    """What a deletion would take."""

    runs: list[str]
    studies: list[str]
    """Those that would have no run left, with their claims and reports."""
    comparisons: list[str]
    pictures: int
    """That nothing else names."""
    bytes: int

    def line(self) -> str:
        """In a few words."""
        named = (
            (self.runs, "run", "runs"),
            (self.studies, "study", "studies"),
            (self.comparisons, "comparison", "comparisons"),
        )
        parts = [f"{len(own)} {one if len(own) == 1 else more}" for own, one, more in named if own]
        return f"{', '.join(parts)}, {self.pictures} pictures ({self.bytes / 1e6:.1f} MB)"


def doomed(store: Store, names: Sequence[str]) -> Doomed:
    """What deleting these runs, studies and comparisons would take. StoreError if it cannot be.

    Refused are runs at work, reports and comparisons that are being made, and studies that a
    comparison rests on.
    """
    runs: dict[str, Run] = {}
    studies: set[str] = set()
    comparisons: list[str] = []
    for name in names:
        if name.startswith("c"):
            comparisons.append(comparison_records.comparison(store, name).id)
            _refuse_active(run_queue.jobs(store, comparison_id=comparisons[-1], states=ACTIVE))
            continue
        found = store.find(name)
        if isinstance(found, Study):
            studies.add(found.id)
            runs |= {run.id: run for run in store.runs(study_id=found.id)}
        else:
            runs[found.id] = found
    for run in runs.values():
        if run_queue.is_alive(store, run.id):
            raise StoreError(f"run {run.id} is at work; cancel it first")
    with store._read() as session:
        for study_id in {run.study_id for run in runs.values()}:
            left = set(session.exec(select(Run.id).where(Run.study_id == study_id))) - set(runs)
            if not left:
                studies.add(study_id)
        for study_id in studies:
            _refuse_active(run_queue.jobs(store, study_id=study_id, states=ACTIVE))
        for member in session.exec(select(Member).where(col(Member.study_id).in_(studies))):
            if member.comparison_id not in comparisons:
                raise StoreError(
                    f"study {member.study_id} is in comparison {member.comparison_id}; delete "
                    "that too, or first"
                )
        shas = _only_here(session, list(runs))
        sizes = [
            session.exec(
                select(sa.func.sum(Artifact.size)).where(col(Artifact.sha256).in_(part))
            ).one()
            for part in _parts(shas)
        ]
    return Doomed(
        sorted(runs), sorted(studies), comparisons, len(shas), sum(size or 0 for size in sizes)
    )


def _refuse_active(jobs: Sequence[Job]) -> None:
    for job in jobs:
        about = job.comparison_id or job.study_id
        raise StoreError(
            f"{about}: its {job.kind.value} {job.id} is {job.state.value}",
            remedy="cancel it first",
        )


def delete(store: Store, what: Doomed) -> None:
    """Delete it: the rows in one transaction, then the files."""
    locks = []
    try:
        for run_id in what.runs:
            lock = try_lock(run_queue.lock_path(store, run_id))
            if lock is None:
                raise StoreError(f"run {run_id} is at work; cancel it first")
            locks.append(lock)
        for comparison_id in what.comparisons:
            comparison_records.delete_comparison(store, comparison_id)
        with store._write(durable=True) as session:
            shas = _only_here(session, what.runs)
            for part in _parts(what.runs):
                for table in _OF_RUN:
                    session.execute(sa.delete(table).where(table.run_id.in_(part)))
                session.exec(sa.delete(Note).where(col(Note.of).in_(part)))
                session.exec(sa.delete(Run).where(col(Run.id).in_(part)))
            for study_id in what.studies:
                _delete_claims(session, col(Claim.study_id) == study_id)
                for owned in _OF_STUDY:
                    session.execute(sa.delete(owned).where(owned.study_id == study_id))
                session.exec(sa.delete(Note).where(col(Note.of) == study_id))
                session.exec(sa.delete(Study).where(col(Study.id) == study_id))
            for part in _parts(shas):
                session.exec(sa.delete(Caption).where(col(Caption.sha256).in_(part)))
                session.exec(sa.delete(Artifact).where(col(Artifact.sha256).in_(part)))
        with explained(store.home):
            for run_id in what.runs:
                shutil.rmtree(store.home / "runs" / run_id, ignore_errors=True)
            for sha256 in shas:
                store.artifact_path(sha256).unlink(missing_ok=True)
                store._thumbnail_path(sha256).unlink(missing_ok=True)
    finally:
        for lock in locks:
            lock.release()
        for run_id in what.runs:
            if not run_queue.is_alive(store, run_id):
                run_queue.lock_path(store, run_id).unlink(missing_ok=True)


def _only_here(session: sa.orm.Session, run_ids: Sequence[str]) -> list[str]:
    """Pictures that only frames of these runs name."""
    own: set[str] = set()
    for part in _parts(run_ids):
        own |= set(session.scalars(sa.select(col(Frame.sha256)).where(col(Frame.run_id).in_(part))))
    elsewhere: set[str] = set()
    for part in _parts(sorted(own)):
        others = sa.select(col(Frame.sha256)).where(
            col(Frame.sha256).in_(part), col(Frame.run_id).not_in(list(run_ids)[:30_000])
        )
        sheets = sa.select(col(Picture.sha256)).where(col(Picture.sha256).in_(part))
        elsewhere |= set(session.scalars(others)) | set(session.scalars(sheets))
    return sorted(own - elsewhere)


def _parts(values: Sequence[str]) -> list[list[str]]:
    return [list(values[at : at + _MANY]) for at in range(0, len(values), _MANY)]


def set_note(store: Store, name: str, text: str) -> str:
    """Keep what a user says of a run, study or comparison ("" takes it away); the id of that."""
    of = named(store, name)
    if len(text) > 10_000:
        raise StoreError(f"a note of {len(text):,} characters; up to 10,000 are kept")
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
    return of


def named(store: Store, name: str) -> str:
    """The id of a run, study or comparison, from it or a unique beginning of it."""
    return (
        comparison_records.comparison(store, name).id
        if name.startswith("c")
        else store.find(name).id
    )


def archived(store: Store) -> set[str]:
    """The runs that lists leave out."""
    with store._read() as session:
        return set(session.exec(select(Tag.run_id).where(Tag.name == ARCHIVED)))


def note(store: Store, of: str) -> str | None:
    """What a user said about it."""
    with store._read() as session:
        row = session.get(Note, of)
        return None if row is None else row.text


def run_ids(store: Store, names: Sequence[str]) -> list[str]:
    """Of runs and studies, the runs."""
    ids: list[str] = []
    for name in names:
        found = store.find(name)
        own = store.runs(study_id=found.id) if isinstance(found, Study) else [found]
        ids += [run.id for run in own]
    return list(dict.fromkeys(ids))


def set_tag(store: Store, names: Sequence[str], tag: str, *, given: bool) -> list[str]:
    """Give runs (all of a study) a tag, or take it away; their ids."""
    ids = run_ids(store, names)
    with store._read() as session:
        having = set(
            session.exec(select(Tag.run_id).where(Tag.name == tag, col(Tag.run_id).in_(ids)))
        )
    change = [run_id for run_id in ids if (run_id in having) != given]
    if change:
        store.toggle_tag(change, tag)  # none of them, or all, have it
    return ids
