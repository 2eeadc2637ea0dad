"""The results of screenings for screens, programs and reports, read without SQLAlchemy.

`page` returns a whole screening as plain values; `screen --json` prints the same.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from store.checking import decoding
from store.errors import StoreError
from store.reading.browse import Browse, progress_of
from store.reading.sensitivity import MIN_EFFECT


class _Screening(NamedTuple):
    """A screening as it is stored."""

    id: str
    class_name: str
    settings: dict[str, Any]
    watch: dict[str, Any] | None
    state: str
    detector: str | None
    drawn: int
    created_at: str
    ended_at: str | None


class _Bank(NamedTuple):
    """The bank of a screening."""

    pool: str
    topic: dict[str, Any]
    seed: int
    generator: str | None
    key: str


class _Member(NamedTuple):
    """A classifier in a screening."""

    id: int
    name: str
    class_index: int
    file_hash: str | None
    error: str | None
    pictures: int | None
    level: float | None
    mean: float | None


class _Finding(NamedTuple):
    """A finding as it is stored."""

    concept: str
    slot: str
    verdict: str
    effect: float
    low: float
    high: float
    log_odds: float
    log_odds_low: float
    log_odds_high: float
    contexts: dict[str, Any]
    pictures: int
    core: bool
    asked: float | None
    otherwise: float | None
    per_drawn: float | None
    direct: float
    companions: list[dict[str, Any]]
    explained_by: list[str]
    interactions: list[dict[str, Any]] | None


class _Claim(NamedTuple):
    """The paired test of a finding."""

    concept: str
    slot: str
    id: int
    verdict: str
    reason: str | None
    effect: float
    low: float
    high: float
    p_corrected: float
    pairs: int
    direction: int
    predictiveness: dict[str, Any] | None


class _Test(NamedTuple):
    """The part of a paired test that a list shows."""

    screened_id: int
    concept: str
    effect: float
    core: bool
    verdict: str
    pairs: int


_LISTED = ", ".join(f"screening.{name}" for name in _Screening._fields)
VERDICTS = ("raises", "lowers", "explained", "not_drawn", "weak", "open", "none")
"""In the order in which findings are listed."""


def find(browse: Browse, name: str) -> str:
    """Return the id of a screening from the id or a unique prefix."""
    return browse.id_of("screening", name, noun="screening", command="screen")


def listed(browse: Browse, limit: int = 200) -> list[dict[str, Any]]:
    """Return the screenings, newest first, with their classifiers and what was found."""
    rows = browse.rows(
        f"SELECT {_LISTED} FROM screening ORDER BY created_at DESC, id LIMIT ?", (limit,)
    )
    found = []
    for row in decoding.decoded("screening", _Screening, rows):
        one = row._asdict()
        del one["settings"]
        members = [
            (key, decoding.decoded_cell("screened", "name", str, name), error)
            for key, name, error in browse.rows(
                "SELECT id, name, error FROM screened WHERE screening_id = ? ORDER BY position",
                (row.id,),
            )
        ]
        one["classifiers"] = [name for _, name, _ in members]
        counts = dict(
            browse.rows(
                "SELECT verdict, count(*) FROM finding JOIN screened ON screened.id = screened_id "
                "WHERE screening_id = ? AND NOT core GROUP BY verdict",
                (row.id,),
            )
        )
        one |= {name: counts.get(name, 0) for name in ("raises", "lowers")}
        one["failed"] = sum(error is not None for _, _, error in members)
        one |= _tests(browse, row.id, {key: name for key, name, _ in members})
        _read_job(browse, one)
        found.append(one)
    return found


def _tests(browse: Browse, screening_id: str, names: Mapping[int, str]) -> dict[str, Any]:
    """Return the number of paired tests, and the confirmed concepts, largest effect first."""
    columns = ", ".join(f"claim.{name}" for name in _Test._fields)
    rows = browse.rows(
        f"SELECT {columns} FROM claim JOIN screened ON screened.id = screened_id "
        "WHERE screening_id = ?",
        (screening_id,),
    )
    tests = decoding.decoded("claim", _Test, rows)
    found = [one for one in tests if one.verdict == "confirmed" and not one.core]
    found.sort(key=lambda one: -abs(one.effect))
    return {
        "tested": len([one for one in tests if one.pairs]),
        "confirmed": [
            {"classifier": names[one.screened_id], "concept": one.concept, "effect": one.effect}
            for one in found
        ],
    }


def page(browse: Browse, name: str) -> dict[str, Any]:
    """Return a whole screening; raise StoreError if none has this id."""
    screening_id = find(browse, name)
    rows = browse.rows(f"SELECT {_LISTED} FROM screening WHERE id = ?", (screening_id,))
    banks = browse.rows(
        f"SELECT {', '.join('bank.' + column for column in _Bank._fields)} FROM bank "
        "JOIN screening ON bank.key = bank_key WHERE screening.id = ?",
        (screening_id,),
    )
    found = decoding.decoded("screening", _Screening, rows)
    bank = decoding.decoded("bank", _Bank, banks)
    if not found or not bank:
        raise StoreError(
            f"screening {screening_id} is damaged",
            value=screening_id,
            remedy="delete it and start it again",
        )
    one = found[0]._asdict()
    one |= {"pool": bank[0].pool, "topic": bank[0].topic, "design_seed": bank[0].seed}
    one |= {"generator": bank[0].generator, "bank": bank[0].key}
    _read_job(browse, one)
    members = browse.rows(
        f"SELECT {', '.join(_Member._fields)} FROM screened WHERE screening_id = ? "
        "ORDER BY position",
        (screening_id,),
    )
    one["members"] = [
        _member(browse, row) for row in decoding.decoded("screened", _Member, members)
    ]
    one["classifiers"] = [member["name"] for member in one["members"]]
    one["pictures"] = max((member["pictures"] or 0 for member in one["members"]), default=0)
    return one


def min_effect(page: Mapping[str, Any]) -> float:
    """Return the smallest change of p(class) that was to be found."""
    least = page["settings"].get("min_effect")
    return least if isinstance(least, float) else MIN_EFFECT


def _member(browse: Browse, row: _Member) -> dict[str, Any]:
    member = row._asdict()
    key = member.pop("id")
    claims = {
        (claim.concept, claim.slot): claim._asdict()
        for claim in decoding.decoded(
            "claim",
            _Claim,
            browse.rows(
                f"SELECT {', '.join(_Claim._fields)} FROM claim WHERE screened_id = ?", (key,)
            ),
        )
    }
    rows = browse.rows(
        f"SELECT {', '.join(_Finding._fields)} FROM finding WHERE screened_id = ?", (key,)
    )
    findings = []
    for finding in decoding.decoded("finding", _Finding, rows):
        one = finding._asdict()
        one["log_odds"] = {
            "effect": one["log_odds"],
            "low": one.pop("log_odds_low"),
            "high": one.pop("log_odds_high"),
        }
        asked, otherwise = one.pop("asked"), one.pop("otherwise")
        one["drawn"] = None if asked is None else {"asked": asked, "otherwise": otherwise}
        for beside in one["interactions"] or ():
            beside["log_odds"] = dict(
                zip(("effect", "low", "high"), beside["log_odds"], strict=True)
            )
        one["interactions"] = one["interactions"] or []
        one["confirmation"] = claims.get((one["concept"], one["slot"]))
        findings.append(one)
    findings.sort(key=_rank)
    if findings and None in (row.pictures, row.level, row.mean):
        member["error"] = "damaged: findings without pictures, level or mean"
        decoding.note_line(f"damaged screened {row.id}: findings without pictures, level or mean")
        findings = []
    return member | {"findings": findings}


def _rank(finding: Mapping[str, Any]) -> tuple[Any, ...]:
    order = VERDICTS.index(finding["verdict"]) if finding["verdict"] in VERDICTS else len(VERDICTS)
    return finding["core"], order, -abs(finding["effect"]), finding["concept"], finding["slot"]


def _read_job(browse: Browse, one: dict[str, Any]) -> None:
    """Take state, progress and error of a screening from its newest job."""
    job = browse.screening_job(one["id"])
    one |= progress_of(job, done=one["state"] == "done")
    one["job"] = None if job is None else job.id
