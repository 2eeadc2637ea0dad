"""The records of analyses: captions, claims, pictures, scores, stages, reports.

Functions of an open `Store`. Like its methods they take and give plain values and rows.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import col, select

from store import run_queue
from store.clock import now
from store.store import Store
from store.tables import (
    Attribution,
    Caption,
    Claim,
    Drawing,
    Evidence,
    Frame,
    Job,
    Picture,
    Placebo,
    Probe,
    Report,
    Run,
    Score,
    Stage,
    Table,
    among,
    usable,
)

# Captions


def hit_frames(store: Store, study_id: str) -> list[Frame]:
    """Return the frames that hit the study's class, no picture twice, in the runs' order."""
    with store._read() as session:
        rows = session.exec(
            select(Frame)
            .join(Run)
            .where(Run.study_id == study_id, Frame.kind == "frame", col(Frame.hit))
            .order_by(col(Run.seed), col(Run.id), col(Frame.id))
        )
        return list({frame.sha256: frame for frame in usable(rows)}.values())


def known_captions(store: Store, model: str, prompt_hash: str) -> dict[str, str]:
    """Return a model's captions under a system prompt: picture -> text."""
    with store._read() as session:
        rows = session.exec(
            select(Caption).where(Caption.model == model, Caption.prompt_hash == prompt_hash)
        )
        return {row.sha256: row.text for row in usable(rows)}


def add_caption(
    store: Store,
    sha256: str,
    *,
    model: str,
    prompt_hash: str,
    text: str,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
) -> None:
    """Keep a caption; one of the same picture, model and system prompt is replaced."""
    values = {
        "sha256": sha256,
        "model": model,
        "prompt_hash": prompt_hash,
        "text": text,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "created_at": now(),
    }
    _replace(store, Caption, values, ("sha256", "model", "prompt_hash"))


def captions(store: Store, study_id: str) -> list[Caption]:
    """Return the captions of frames that hit the study's class, by any author, oldest first.

    The order is the same in every store that has them.
    """
    shas = {frame.sha256 for frame in hit_frames(store, study_id)}
    with store._read() as session:
        rows = session.exec(
            select(Caption).order_by(
                col(Caption.created_at),
                col(Caption.sha256),
                col(Caption.model),
                col(Caption.prompt_hash),
            )
        )
        return [row for row in usable(rows) if row.sha256 in shas]


# Claims


def replace_claims(store: Store, study_id: str, claims: Sequence[Mapping[str, Any]]) -> None:
    """Write a study's claims, numbered from 1, in place of those it had.

    Each holds the columns of `Claim` and under "contexts" those of `Evidence`.
    """
    with store._write() as session:
        _delete_claims(session, col(Claim.study_id) == study_id)
        for number, claim in enumerate(claims, 1):
            _add_claim(session, {**claim, "study_id": study_id, "number": number})


def add_probe(
    store: Store,
    *,
    classifier_id: int,
    class_name: str,
    class_index: int,
    question: str,
    control: str,
    treated: str,
    claim: Mapping[str, Any],
    job_id: str | None = None,
) -> Probe:
    """Keep a question with its answer, as the result of a job if there is one: {"probe": id}."""
    with store._write(durable=True) as session:
        probe = Probe(
            classifier_id=classifier_id,
            class_name=class_name,
            class_index=class_index,
            question=question,
            control=control,
            treated=treated,
        )
        session.add(probe)
        session.flush()
        _add_claim(session, {**claim, "probe_id": probe.id, "number": 1})
        if job_id is not None:
            session.get_one(Job, job_id).result = {"probe": probe.id}
        session.refresh(probe)
        return probe


def _add_claim(session: Any, values: Mapping[str, Any]) -> None:
    claim = Claim(**{name: value for name, value in values.items() if name != "contexts"})
    session.add(claim)
    session.flush()
    session.add_all(Evidence(claim_id=claim.id, **context) for context in values["contexts"])


def _delete_claims(session: Any, which: Any) -> None:
    ids = session.exec(select(Claim.id).where(which)).all()
    session.exec(sa.delete(Evidence).where(among(col(Evidence.claim_id), ids)))
    session.exec(sa.delete(Claim).where(among(col(Claim.id), ids)))


def claims(store: Store, study_id: str) -> list[Claim]:
    """Return the claims of a study, by number."""
    with store._read() as session:
        return usable(
            session.exec(
                select(Claim).where(Claim.study_id == study_id).order_by(col(Claim.number))
            )
        )


def probe(store: Store, probe_id: int) -> tuple[Probe, Claim]:
    """Return a question with its answer."""
    with store._read() as session:
        found = session.get_one(Probe, probe_id)
        return found, session.exec(select(Claim).where(Claim.probe_id == probe_id)).one()


def evidence(store: Store, claim_ids: Collection[int]) -> dict[int, list[Evidence]]:
    """Return the pairs behind claims, by claim and context."""
    found: dict[int, list[Evidence]] = {claim_id: [] for claim_id in claim_ids}
    with store._read() as session:
        rows = session.exec(select(Evidence).where(among(col(Evidence.claim_id), claim_ids)))
        for row in usable(rows):
            found[row.claim_id].append(row)
    return found


# The picture bank


def known_pictures(
    store: Store, generator: str, prompts: Iterable[str]
) -> dict[tuple[str, int], Picture]:
    """Return the bank's pictures of these prompts, by prompt and seed."""
    with store._read() as session:
        rows = session.exec(
            select(Picture).where(
                Picture.generator == generator, among(col(Picture.prompt), set(prompts))
            )
        )
        return {(row.prompt, row.seed): row for row in usable(rows)}


def claim_pictures(
    store: Store, generator: str, pictures: Sequence[tuple[str, int]], job_id: str
) -> list[tuple[str, int]]:
    """Reserve pictures for a job that draws them now; return those that it has to draw.

    They are the pictures that the bank lacks and no other living job draws.
    """
    prompts = {prompt for prompt, _ in pictures}
    with store._write() as session:
        there = {
            (row.prompt, row.seed)
            for row in session.exec(
                select(Picture).where(
                    Picture.generator == generator, among(col(Picture.prompt), prompts)
                )
            )
        }
        dead: set[str] = set()
        for other in session.exec(select(Drawing.job_id).distinct()):
            if other != job_id and not run_queue.is_alive(store, other):
                dead.add(other)
        session.exec(sa.delete(Drawing).where(among(col(Drawing.job_id), dead)))
        for row in session.exec(
            select(Drawing).where(
                Drawing.generator == generator,
                among(col(Drawing.prompt), prompts),
                Drawing.job_id != job_id,
            )
        ):
            there.add((row.prompt, row.seed))
        own = [picture for picture in pictures if picture not in there]
        if own:
            rows = [
                {"generator": generator, "prompt": prompt, "seed": seed, "job_id": job_id}
                for prompt, seed in own
            ]
            session.exec(insert(Drawing).on_conflict_do_nothing(), params=rows)
        return own


def add_pictures(
    store: Store,
    generator: str,
    pictures: Sequence[tuple[str, int]],
    *,
    sha256: str,
    side: int,
) -> None:
    """Record the tiles of a sheet as these pictures, each a prompt and a seed."""
    rows = [
        {
            "generator": generator,
            "prompt": prompt,
            "seed": seed,
            "sha256": sha256,
            "place": place,
            "side": side,
        }
        for place, (prompt, seed) in enumerate(pictures)
    ]
    with store._write() as session:
        session.exec(insert(Picture).on_conflict_do_nothing(), params=rows)
        session.exec(
            sa.delete(Drawing).where(
                col(Drawing.generator) == generator,
                sa.tuple_(col(Drawing.prompt), col(Drawing.seed)).in_(list(pictures)),
            )
        )


# Placebos


def placebos(store: Store, key: str) -> dict[str, dict[str, float]]:
    """Return the placebos measured under a key: word -> context -> effect."""
    with store._read() as session:
        rows = session.exec(select(Placebo).where(Placebo.key == key))
        return {row.word: row.effects for row in usable(rows)}


def add_placebo(
    store: Store, key: str, word: str, effects: Mapping[str, float], pairs: int
) -> None:
    """Keep a placebo's effects."""
    values = {
        "key": key,
        "word": word,
        "effects": dict(effects),
        "pairs": pairs,
        "created_at": now(),
    }
    _replace(store, Placebo, values, ("key", "word"))


# Attribution, scores, stages, reports


def set_attribution(store: Store, run_id: str, words: Sequence[Mapping[str, Any]]) -> None:
    """Write the word attribution of a run (columns of `Attribution`) in place of what it had."""
    with store._write() as session:
        session.exec(sa.delete(Attribution).where(col(Attribution.run_id) == run_id))
        session.add_all(Attribution(run_id=run_id, **word) for word in words)


def attribution(store: Store, study_id: str) -> list[Attribution]:
    """Return the word attributions of a study's runs."""
    with store._read() as session:
        return usable(
            session.exec(
                select(Attribution)
                .join(Run)
                .where(Run.study_id == study_id)
                .order_by(col(Attribution.run_id), col(Attribution.position))
            )
        )


def replace_scores(store: Store, study_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a study's prompt scores (columns of `Score`) in place of those it had."""
    with store._write() as session:
        session.exec(sa.delete(Score).where(col(Score.study_id) == study_id))
        session.add_all(Score(study_id=study_id, **row) for row in rows)


def scores(store: Store, study_id: str) -> list[Score]:
    """Return the prompt scores of a study, best first."""
    with store._read() as session:
        return usable(
            session.exec(
                select(Score)
                .where(Score.study_id == study_id)
                .order_by(col(Score.value).desc(), col(Score.kind), col(Score.text))
            )
        )


def set_stage(
    store: Store,
    study_id: str,
    name: str,
    state: str,
    *,
    done: int = 0,
    total: int = 0,
    error: str | None = None,
) -> None:
    """Record the progress of a stage of a report."""
    values = {
        "study_id": study_id,
        "name": name,
        "state": state,
        "done": done,
        "total": total,
        "error": error,
        "updated_at": now(),
    }
    _replace(store, Stage, values, ("study_id", "name"))


def stages(store: Store, study_id: str) -> list[Stage]:
    """Return the stages of a study in the order in which they were first begun."""
    with store._read() as session:
        return usable(
            session.exec(
                select(Stage).where(Stage.study_id == study_id).order_by(sa.text("stage.rowid"))
            )
        )


def add_report(
    store: Store,
    study_id: str,
    *,
    author: str,
    markdown: str,
    body: Mapping[str, Any] | None,
    prompt_hash: str | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    job_id: str | None = None,
) -> int:
    """Keep a report, of checked sentences if it has a body; return its id.

    It replaces what an attempt before of the same job wrote by the same author. The result of the
    job names its reports: {"reports": {author: id}}.
    """
    with store._write(durable=True) as session:
        job = None if job_id is None else session.get_one(Job, job_id)
        made = dict((job.result or {}).get("reports", {})) if job is not None else {}
        if author in made:
            session.exec(sa.delete(Report).where(col(Report.id) == made[author]))
        report = Report(
            study_id=study_id,
            author=author,
            markdown=markdown,
            body=None if body is None else dict(body),
            prompt_hash=prompt_hash,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )
        session.add(report)
        session.flush()
        if job is not None:
            job.result = {"reports": {**made, author: report.id}}
        return report.id


def _replace(
    store: Store, table: type[Table], values: Mapping[str, Any], keys: Sequence[str]
) -> None:
    statement = insert(table).values(**values)
    with store._write() as session:
        session.exec(statement.on_conflict_do_update(index_elements=keys, set_=values))
