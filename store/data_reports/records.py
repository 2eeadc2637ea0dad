"""The writing of reports on pictures, as functions of an open `Store`."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from store.clock import now
from store.data_reports.explanations import own_picture
from store.store import Store, new_id
from store.tables import DataReport, Job, Note, Picture

WEIGHTS = "weights.safetensors"
"""The file of the weights that a debiasing found, in the folder of its report."""


def add(
    store: Store,
    kind: str,
    *,
    classifier_id: int,
    data: str,
    data_hash: str,
    request: Mapping[str, Any],
) -> str:
    """Keep what is asked; return the id of the report to come."""
    with store._write(durable=True) as session:
        row = DataReport(
            id=new_id(session, DataReport, "d"),
            kind=kind,
            classifier_id=classifier_id,
            data=data,
            data_hash=data_hash,
            request=dict(request),
        )
        session.add(row)
        return row.id


def set_job(store: Store, report_id: str, job_id: str) -> None:
    """Record the job that makes a report."""
    with store._write(durable=True) as session:
        session.get_one(DataReport, report_id).job_id = job_id


def data_report(store: Store, name: str) -> DataReport:
    """Return the report of this id or unique prefix."""
    with store._read() as session:
        return store._find(session, DataReport, name)


def finish(store: Store, report_id: str, result: Mapping[str, Any]) -> None:
    """Write the result, and name it in the job."""
    with store._write(durable=True) as session:
        row = session.get_one(DataReport, report_id)
        row.result, row.ended_at = dict(result), now()
        if row.job_id is not None:
            session.get_one(Job, row.job_id).result = {"data_report": report_id}


def delete(session: Session, report_id: str) -> None:
    """Forget a report and its job; of a what-if, also the user's picture in the bank."""
    row = session.get(DataReport, report_id)
    if row is None:
        return
    given = given_pictures(session, [report_id])
    session.exec(sa.delete(Picture).where(col(Picture.generator).in_(given)))
    session.exec(sa.delete(Job).where(col(Job.id) == row.job_id))
    session.exec(sa.delete(Note).where(col(Note.of) == report_id))
    session.exec(sa.delete(DataReport).where(col(DataReport.id) == report_id))


def given_pictures(session: Session, report_ids: Collection[str]) -> dict[str, str]:
    """Return the users' pictures that only these what-ifs show: key in the bank to artifact."""
    hashes = select(DataReport.data_hash)
    _, prompt, seed = own_picture("")
    rows = session.exec(
        select(Picture.generator, Picture.sha256).where(
            Picture.prompt == prompt,
            Picture.seed == seed,
            col(Picture.generator).in_(hashes.where(col(DataReport.id).in_(report_ids))),
            col(Picture.generator).not_in(hashes.where(col(DataReport.id).not_in(report_ids))),
        )
    )
    return dict(rows.all())


def folder(home: Path, report_id: str) -> Path:
    """Return where the files of a report are: of its work, and the weights that it found."""
    return home / "data_reports" / report_id
