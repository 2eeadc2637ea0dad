"""The records of screenings: banks, members, answers of models, findings.

Functions of an open `Store`, as in `store.study_records`; `store.reading.screenings` reads.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col, select

from store.clock import now
from store.errors import StoreError
from store.store import Store, new_id
from store.study_records import _add_claim, _delete_claims
from store.tables import Answer, Bank, Claim, Finding, Job, Note, Screened, Screening, among

# Banks


def ensure_bank(store: Store, key: str, **columns: Any) -> None:
    """Keep a bank (columns of `Bank`) unless there is one under this key."""
    with store._write(durable=True) as session:
        session.exec(
            insert(Bank)
            .values(key=key, rounds=[], created_at=now(), **columns)
            .on_conflict_do_nothing()
        )


def bank(store: Store, key: str) -> Bank | None:
    """Return the bank under this key; None if there is none."""
    with store._read() as session:
        return session.get(Bank, key)


def bank_of(store: Store, screening_id: str) -> Bank:
    """Return the bank of a screening; StoreError if it is gone."""
    found = bank(store, screening(store, screening_id).bank_key)
    if found is None:
        raise StoreError(f"the bank of screening {screening_id} is gone", remedy="screen again")
    return found


def set_generator(store: Store, key: str, generator: str) -> None:
    """Record the key of a bank's pictures; StoreError if it has pictures of other weights."""
    with store._write() as session:
        row = session.get_one(Bank, key)
        if row.generator not in (None, generator):
            raise StoreError(
                "the generator's weights are not those that drew the bank",
                remedy="restore them, or start another screening",
            )
        row.generator = generator


def look_pace(store: Store, key: str) -> float | None:
    """Return how long the last classifier before a bank took for a picture, in seconds."""
    with store._read() as session:
        return session.exec(
            select(Screened.pace)
            .join(Screening)
            .where(Screening.bank_key == key, col(Screened.pace).is_not(None))
            .order_by(col(Screened.id).desc())
            .limit(1)
        ).first()


def set_pace(store: Store, key: str, seconds: float) -> None:
    """Record how long a picture of a bank took to draw."""
    with store._write() as session:
        session.exec(sa.update(Bank).where(col(Bank.key) == key).values(pace=seconds))


def agree_round(store: Store, key: str, index: int, part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bank's round at an index; the given one, which is kept, if it has none."""
    with store._write(durable=True) as session:
        row = session.get_one(Bank, key)
        if index == len(row.rounds):
            row.rounds = [*row.rounds, dict(part)]
        return dict(row.rounds[index])


# Answers


def answers(store: Store, model: str, prompts: Collection[str]) -> dict[tuple[str, int], bytes]:
    """Return a model's numbers (float32) on pictures of these prompts, by prompt and seed."""
    query = sa.select(col(Answer.prompt), col(Answer.seed), col(Answer.numbers))
    query = query.where(col(Answer.model) == model, among(col(Answer.prompt), prompts))
    with store._read() as session:
        return {(prompt, seed): numbers for prompt, seed, numbers in session.execute(query)}


def all_answers(store: Store, model: str) -> dict[tuple[str, int], bytes]:
    """Return all numbers (float32) of a model, by prompt and seed."""
    query = sa.select(col(Answer.prompt), col(Answer.seed), col(Answer.numbers))
    query = query.where(col(Answer.model) == model).order_by(col(Answer.prompt), col(Answer.seed))
    with store._read() as session:
        return {(prompt, seed): numbers for prompt, seed, numbers in session.execute(query)}


def keep_answers(
    store: Store, model: str, pictures: Sequence[tuple[str, int]], numbers: Sequence[bytes]
) -> None:
    """Keep a model's numbers on pictures; those that are there stay."""
    rows = [
        {"model": model, "prompt": prompt, "seed": seed, "numbers": row}
        for (prompt, seed), row in zip(pictures, numbers, strict=True)
    ]
    with store._write() as session:
        session.exec(insert(Answer).on_conflict_do_nothing(), params=rows)


# Screenings


def add_screening(
    store: Store,
    bank_key: str,
    class_name: str,
    settings: Mapping[str, Any],
    members: Sequence[Mapping[str, Any]],
    *,
    watch: Mapping[str, Any] | None = None,
) -> str:
    """Keep what is to be screened; return its id. `members` hold columns of `Screened`.

    A folder is watched by one screening: if there is one with this `watch`, its id is returned.
    """
    with store._write(durable=True) as session:
        known = None if watch is None else _watching(session, watch)
        if known is not None:
            return known.id
        screening = Screening(
            id=new_id(session, Screening, "x"),
            bank_key=bank_key,
            class_name=class_name,
            settings=dict(settings),
            watch=None if watch is None else dict(watch),
        )
        session.add(screening)
        session.flush()
        session.add_all(
            Screened(screening_id=screening.id, position=position, **member)
            for position, member in enumerate(members)
        )
        return screening.id


def screening(store: Store, name: str) -> Screening:
    """Return the screening of this id or unique prefix."""
    with store._read() as session:
        return store._find(session, Screening, name)


def screened(store: Store, screening_id: str) -> list[Screened]:
    """Return its classifiers, in order, with `.classifier`."""
    with store._read() as session:
        return list(
            session.exec(
                select(Screened)
                .where(Screened.screening_id == screening_id)
                .order_by(col(Screened.position))
            )
        )


def findings(store: Store, screening_id: str) -> dict[int, tuple[Screened, list[dict[str, Any]]]]:
    """Return the judged classifiers with the columns of their findings, strongest effect first."""
    found: dict[int, tuple[Screened, list[dict[str, Any]]]] = {}
    with store._read() as session:
        for member in session.exec(
            select(Screened)
            .where(Screened.screening_id == screening_id, col(Screened.pictures).is_not(None))
            .order_by(col(Screened.position))
        ):
            rows = session.exec(
                select(Finding)
                .where(Finding.screened_id == member.id)
                .order_by(sa.func.abs(col(Finding.effect)).desc())
            )
            found[member.id] = member, [row.model_dump() for row in rows]
    return found


def strongest(found: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """Return up to ``count`` of a classifier's findings that are not part of its class."""
    own = [one for one in found if one["verdict"] in ("raises", "lowers") and not one["core"]]
    return sorted(own, key=lambda one: -abs(one["effect"]))[:count]


def watched(store: Store, watch: Mapping[str, Any]) -> Screening | None:
    """Return the newest screening that watches the same folder in the same way."""
    with store._read() as session:
        return _watching(session, watch)


def _watching(session: Session, watch: Mapping[str, Any]) -> Screening | None:
    rows = session.exec(
        select(Screening)
        .where(col(Screening.watch).is_not(None))
        .order_by(col(Screening.created_at).desc())
    )
    return next((row for row in rows if row.watch == dict(watch)), None)


def add_screened(store: Store, screening_id: str, member: Mapping[str, Any]) -> None:
    """Add a classifier (columns of `Screened`) unless its file is there already."""
    with store._write(durable=True) as session:
        rows = session.exec(select(Screened).where(Screened.screening_id == screening_id)).all()
        if any(row.file_hash == member["file_hash"] for row in rows):
            return
        session.add(Screened(screening_id=screening_id, position=len(rows), **member))
        session.get_one(Screening, screening_id).state = "waiting"


def add_drawn(store: Store, screening_id: str, count: int) -> None:
    """Count pictures that were drawn for a screening."""
    with store._write() as session:
        session.exec(
            sa.update(Screening)
            .where(col(Screening.id) == screening_id)
            .values(drawn=col(Screening.drawn) + count)
        )


def set_problem(store: Store, screened_id: int, problem: str) -> None:
    """Record why a classifier cannot be screened."""
    with store._write() as session:
        session.exec(
            sa.update(Screened).where(col(Screened.id) == screened_id).values(error=problem)
        )


def record_findings(
    store: Store,
    screening_id: str,
    results: Mapping[int, tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]],
    **columns: Any,
) -> None:
    """Write what was found, in one transaction, in place of what was found before.

    `results`: by id of the classifier, columns of `Screened` and rows of `Finding`. `columns`: of
    the screening.
    """
    with store._write(durable=True) as session:
        for screened_id, (fields, findings) in results.items():
            _forget(session, [screened_id])
            session.exec(
                sa.update(Screened).where(col(Screened.id) == screened_id).values(**fields)
            )
            session.add_all(Finding(screened_id=screened_id, **row) for row in findings)
        session.exec(
            sa.update(Screening).where(col(Screening.id) == screening_id).values(**columns)
        )


def record_claims(
    store: Store,
    screening_id: str,
    claims: Mapping[int, Sequence[Mapping[str, Any]]],
) -> None:
    """Write the paired tests of findings, by id of the classifier, and end the screening."""
    with store._write(durable=True) as session:
        _delete_claims(session, col(Claim.screened_id).in_(list(claims)))
        for screened_id, rows in claims.items():
            for number, claim in enumerate(rows, 1):
                _add_claim(session, {**claim, "screened_id": screened_id, "number": number})
        session.exec(
            sa.update(Screening)
            .where(col(Screening.id) == screening_id)
            .values(state="done", ended_at=now())
        )


def delete_screening(session: Session, screening_id: str) -> None:
    """Forget a screening and its findings; pictures and answers stay in the bank."""
    ids = session.exec(select(Screened.id).where(Screened.screening_id == screening_id)).all()
    _forget(session, ids)
    session.exec(sa.delete(Screened).where(col(Screened.id).in_(ids)))
    session.exec(sa.delete(Job).where(col(Job.screening_id) == screening_id))
    session.exec(sa.delete(Note).where(col(Note.of) == screening_id))
    session.exec(sa.delete(Screening).where(col(Screening.id) == screening_id))


def _forget(session: Any, screened_ids: Sequence[int]) -> None:
    _delete_claims(session, col(Claim.screened_id).in_(screened_ids))
    session.exec(sa.delete(Finding).where(col(Finding.screened_id).in_(screened_ids)))
