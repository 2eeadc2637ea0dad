"""The records of comparisons: their members and their findings.

Functions of an open `Store`, as in `store.study_records`; `store.reading.comparisons` reads.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from store.clock import now
from store.errors import StoreError
from store.store import Store, new_id
from store.study_records import _add_claim, _delete_claims
from store.tables import (
    Activation,
    Claim,
    Comparison,
    Difference,
    Disagreement,
    Job,
    Member,
    Note,
    usable,
)


def add_comparison(
    store: Store,
    settings: Mapping[str, Any],
    members: Sequence[Mapping[str, Any]],
    *,
    baseline: str | None = None,
) -> str:
    """Keep what is to be compared; return its id. `members` hold the columns of `Member`."""
    with store._write(durable=True) as session:
        comparison = Comparison(
            id=new_id(session, Comparison, "c"), settings=dict(settings), baseline=baseline
        )
        session.add(comparison)
        session.flush()
        session.add_all(Member(comparison_id=comparison.id, **member) for member in members)
        return comparison.id


def comparison(store: Store, name: str) -> Comparison:
    """Return the comparison of this id or unique prefix."""
    with store._read() as session:
        return store._find(session, Comparison, name)


def members(store: Store, comparison_id: str) -> list[Member]:
    """Return its members, class by class, with `.classifier`."""
    with store._read() as session:
        return usable(
            session.exec(
                select(Member).where(Member.comparison_id == comparison_id).order_by(col(Member.id))
            )
        )


def set_baseline(store: Store, comparison_id: str, name: str | None) -> None:
    """Hold the others against this member, or (None) all against all."""
    if name is not None and name not in {m.name for m in members(store, comparison_id)}:
        raise StoreError(f"comparison {comparison_id} has no member {name!r}")
    with store._write() as session:
        session.exec(
            sa.update(Comparison).where(col(Comparison.id) == comparison_id).values(baseline=name)
        )


def record_findings(
    store: Store,
    comparison_id: str,
    *,
    members: Mapping[int, Mapping[str, Any]],
    claims: Mapping[int, Sequence[Mapping[str, Any]]],
    differences: Sequence[Mapping[str, Any]],
    activations: Sequence[Mapping[str, Any]],
    disagreements: Sequence[Mapping[str, Any]],
    **fields: Any,
) -> None:
    """Write all that was found, in one transaction, in place of what was found before.

    `members`: columns by member id; `claims`: by member id, as `study_records.replace_claims` takes
    them; `fields`: columns of the comparison.
    """
    ids = list(members)
    with store._write(durable=True) as session:
        _forget(session, ids)
        for member_id, columns in members.items():
            session.exec(sa.update(Member).where(col(Member.id) == member_id).values(**columns))
        for member_id, rows in claims.items():
            for number, claim in enumerate(rows, 1):
                _add_claim(session, {**claim, "member_id": member_id, "number": number})
        session.add_all(Difference(**row) for row in differences)
        session.add_all(Activation(**row) for row in activations)
        session.add_all(Disagreement(**row) for row in disagreements)
        session.exec(
            sa.update(Comparison)
            .where(col(Comparison.id) == comparison_id)
            .values(state="done", stage=None, error=None, ended_at=now(), **fields)
        )


def delete_comparison(session: Session, comparison_id: str) -> None:
    """Forget a comparison and all that was found in it; its pictures stay in the bank."""
    ids = session.exec(select(Member.id).where(Member.comparison_id == comparison_id)).all()
    _forget(session, ids)
    session.exec(sa.delete(Member).where(col(Member.id).in_(ids)))
    session.exec(sa.delete(Job).where(col(Job.comparison_id) == comparison_id))
    session.exec(sa.delete(Note).where(col(Note.of) == comparison_id))
    session.exec(sa.delete(Comparison).where(col(Comparison.id) == comparison_id))


def _forget(session: Any, member_ids: Sequence[int]) -> None:
    _delete_claims(session, col(Claim.member_id).in_(member_ids))
    session.exec(sa.delete(Difference).where(col(Difference.a_id).in_(member_ids)))
    session.exec(sa.delete(Activation).where(col(Activation.member_id).in_(member_ids)))
    session.exec(sa.delete(Disagreement).where(col(Disagreement.a_id).in_(member_ids)))
