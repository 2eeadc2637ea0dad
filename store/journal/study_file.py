"""The file of a study: its findings beyond its runs, from which a lost store is rebuilt.

    home/studies/<study>.json    {"study": its id, "rows": {table: rows}}

The runs themselves are in their journals. The file omits pictures of the bank and placebos, which
can be recomputed, and probes and comparisons.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col, select

from store.artifacts import write_atomic
from store.journal.replay import times
from store.tables import (
    Artifact,
    Attribution,
    Caption,
    Claim,
    Evidence,
    Frame,
    Note,
    Report,
    Run,
    Score,
    Stage,
    Study,
    Table,
    Tag,
)

Rows = dict[str, list[dict[str, Any]]]


def path(home: Path, study_id: str) -> Path:
    """Return the path of a study's file."""
    return home / "studies" / f"{study_id}.json"


def rows(session: Session, study_id: str) -> Rows:
    """Return the rows about a study, by table name."""
    runs = sa.select(col(Run.id)).where(col(Run.study_id) == study_id)
    claims = sa.select(col(Claim.id)).where(col(Claim.study_id) == study_id)
    pictures = sa.select(col(Frame.sha256)).where(col(Frame.run_id).in_(runs))
    which: dict[type[Table], sa.ColumnElement[bool]] = {
        Stage: col(Stage.study_id) == study_id,
        Score: col(Score.study_id) == study_id,
        Report: col(Report.study_id) == study_id,
        Claim: col(Claim.study_id) == study_id,
        Evidence: col(Evidence.claim_id).in_(claims),
        Attribution: col(Attribution.run_id).in_(runs),
        Caption: col(Caption.sha256).in_(pictures),
        Tag: col(Tag.run_id).in_(runs),
        Note: (col(Note.of) == study_id) | col(Note.of).in_(runs),
    }
    return {
        _name(table): [row.model_dump(mode="json") for row in session.exec(select(table).where(of))]
        for table, of in which.items()
    }


def write(file: Path, study_id: str, found: Rows) -> None:
    """Write the rows durably; raise OSError if that fails."""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    text = json.dumps({"study": study_id, "rows": found}, ensure_ascii=False)
    write_atomic(file, text.encode())


def read(file: Path) -> tuple[str, Rows]:
    """Return the study's id and its rows; raise ValueError if this is not a study's file."""
    kept = json.loads(file.read_bytes())
    try:
        return kept["study"], kept["rows"]
    except (KeyError, TypeError):
        raise ValueError("not the file of a study") from None


def restore(session: Session, study_id: str, kept: Rows) -> int:
    """Write the rows that the store lacks; return their number.

    Claims are restored only if the study has none, and so are reports. Rows whose run or picture
    is missing are left out.
    """
    if session.get(Study, study_id) is None:
        return 0
    runs = set(session.exec(select(Run.id)))
    pictures = set(session.exec(select(Artifact.sha256)))
    count = _claims(session, study_id, kept)
    reports = select(Report.id).where(Report.study_id == study_id).limit(1)
    if session.exec(reports).first() is None:
        count += _insert(session, Report, kept, {study_id})
    for table, existing in (
        (Stage, {study_id}),
        (Score, {study_id}),
        (Attribution, runs),
        (Tag, runs),
        (Note, {study_id, *runs}),
        (Caption, pictures),
    ):
        count += _insert(session, table, kept, existing)
    return count


def _claims(session: Session, study_id: str, kept: Rows) -> int:
    claims = select(Claim.id).where(Claim.study_id == study_id).limit(1)
    if session.exec(claims).first() is not None:
        return 0
    count = 0
    for values in kept.get(_name(Claim), []):
        claim = Claim(**times(Claim, {**values, "id": None, "member_id": None}))
        session.add(claim)
        session.flush()
        of_claim = [row for row in kept.get(_name(Evidence), []) if row["claim_id"] == values["id"]]
        session.add_all(Evidence(**{**row, "claim_id": claim.id}) for row in of_claim)
        count += 1 + len(of_claim)
    return count


def _insert(session: Session, table: type[Table], kept: Rows, existing: Collection[str]) -> int:
    """Add missing rows under new ids, if their study, run or picture is one of `existing`."""
    count = 0
    for values in kept.get(_name(table), []):
        row = {name: value for name, value in times(table, values).items() if name != "id"}
        about = next(row[name] for name in ("study_id", "run_id", "sha256", "of") if name in row)
        if about in existing:
            result = session.exec(insert(table).values(**row).on_conflict_do_nothing())
            count += result.rowcount
    return count


def _name(table: type[Table]) -> str:
    return str(table.__tablename__)
