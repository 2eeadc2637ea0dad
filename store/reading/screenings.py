"""The results of screenings for screens, programs and reports, read without SQLAlchemy.

`page` returns a whole screening as plain values; `screen --json` prints the same.
"""

import json
from collections.abc import Mapping
from typing import Any

from store.errors import StoreError
from store.reading.browse import PROCESS_GONE, Browse
from store.states import ACTIVE, ENDED

_FINDING = [
    "concept",
    "slot",
    "verdict",
    "effect",
    "low",
    "high",
    "log_odds",
    "log_odds_low",
    "log_odds_high",
    "contexts",
    "pictures",
    "core",
    "asked",
    "otherwise",
    "per_drawn",
    "direct",
    "companions",
    "explained_by",
]
_CLAIM = ["id", "verdict", "reason", "effect", "low", "high", "p_corrected", "pairs", "direction"]
_SCREENING = [
    "id",
    "class_name",
    "settings",
    "watch",
    "state",
    "detector",
    "drawn",
    "created_at",
    "ended_at",
]
VERDICTS = ("raises", "lowers", "explained", "not_drawn", "weak", "open", "none")
"""In the order in which findings are listed."""


def find(browse: Browse, name: str) -> str:
    """Return the id of a screening from the id or a unique prefix."""
    rows = browse.rows("SELECT id FROM screening WHERE id = ?", (name,)) or browse.rows(
        "SELECT id FROM screening WHERE substr(id, 1, ?) = ? LIMIT 5", (len(name), name)
    )
    if len(rows) == 1 and name:
        return str(rows[0][0])
    if rows and name:
        matches = ", ".join(row[0] for row in rows)
        raise StoreError(
            f"{name!r} is the prefix of more than one screening: {matches}",
            value=name,
            remedy="give more letters",
        )
    [(count,)] = browse.rows("SELECT count(*) FROM screening") or [(0,)]
    raise StoreError(
        f"no screening {name!r} among the {count} in {browse.path}",
        value=name,
        remedy="`dexter-tui screen` lists them",
    )


def listed(browse: Browse, limit: int = 200) -> list[dict[str, Any]]:
    """Return the screenings, newest first, with their classifiers and numbers of findings."""
    rows = browse.rows(
        f"SELECT {', '.join(_SCREENING)}, "
        "(SELECT json_group_array(name) FROM (SELECT name FROM screened "
        "WHERE screening_id = screening.id ORDER BY position)), "
        "(SELECT count(*) FROM finding JOIN screened ON screened.id = screened_id "
        "WHERE screening_id = screening.id AND verdict = 'raises' AND NOT core), "
        "(SELECT count(*) FROM finding JOIN screened ON screened.id = screened_id "
        "WHERE screening_id = screening.id AND verdict = 'lowers' AND NOT core) "
        "FROM screening ORDER BY created_at DESC, id LIMIT ?",
        (limit,),
    )
    found = []
    for row in rows:
        one = _screening(row)
        names, one["raises"], one["lowers"] = row[len(_SCREENING) :]
        one["classifiers"] = json.loads(names)
        _read_job(browse, one)
        del one["settings"]
        found.append(one)
    return found


def page(browse: Browse, name: str) -> dict[str, Any]:
    """Return a whole screening; raise StoreError if none has this id."""
    screening_id = find(browse, name)
    [row] = browse.rows(
        f"SELECT {', '.join('screening.' + column for column in _SCREENING)}, bank.pool, "
        "bank.topic, bank.seed, bank.generator, bank.key FROM screening "
        "JOIN bank ON bank.key = bank_key WHERE screening.id = ?",
        (screening_id,),
    )
    one = _screening(row)
    pool, topic, seed, generator, key = row[len(_SCREENING) :]
    one |= {"pool": pool, "topic": json.loads(topic), "design_seed": seed}
    one |= {"generator": generator, "bank": key}
    _read_job(browse, one)
    one["members"] = [
        _member(browse, *columns)
        for columns in browse.rows(
            "SELECT screened.id, name, classifier.weights_hash, class_index, file_hash, error, "
            "pictures, level, mean FROM screened JOIN classifier ON classifier.id = classifier_id "
            "WHERE screening_id = ? ORDER BY position",
            (screening_id,),
        )
    ]
    one["classifiers"] = [member["name"] for member in one["members"]]
    one["pictures"] = max((member["pictures"] or 0 for member in one["members"]), default=0)
    return one


def _screening(row: tuple[Any, ...]) -> dict[str, Any]:
    one = dict(zip(_SCREENING, row, strict=False))
    one["settings"] = json.loads(one["settings"])
    one["watch"] = json.loads(one["watch"]) if one["watch"] else None
    return one


def _member(browse: Browse, key: int, *columns: Any) -> dict[str, Any]:
    names = ["name", "weights_hash", "class_index", "file_hash", "error", "pictures", "level",
             "mean"]  # fmt: skip
    member = dict(zip(names, columns, strict=True))
    claims = {
        (concept, slot): dict(zip(_CLAIM, rest, strict=True))
        for concept, slot, *rest in browse.rows(
            f"SELECT concept, slot, {', '.join(_CLAIM)} FROM claim WHERE screened_id = ?", (key,)
        )
    }
    findings = []
    for row in browse.rows(
        f"SELECT {', '.join(_FINDING)} FROM finding WHERE screened_id = ?", (key,)
    ):
        one = dict(zip(_FINDING, row, strict=True))
        for name in ("contexts", "companions", "explained_by"):
            one[name] = json.loads(one[name])
        one["core"] = bool(one["core"])
        one["log_odds"] = {
            "effect": one["log_odds"],
            "low": one.pop("log_odds_low"),
            "high": one.pop("log_odds_high"),
        }
        asked = one.pop("asked")
        otherwise = one.pop("otherwise")
        one["drawn"] = None if asked is None else {"asked": asked, "otherwise": otherwise}
        one["confirmation"] = claims.get((one["concept"], one["slot"]))
        findings.append(one)
    findings.sort(key=_rank)
    return member | {"findings": findings}


def _rank(finding: Mapping[str, Any]) -> tuple[Any, ...]:
    order = VERDICTS.index(finding["verdict"]) if finding["verdict"] in VERDICTS else len(VERDICTS)
    return finding["core"], order, -abs(finding["effect"]), finding["concept"], finding["slot"]


def _read_job(browse: Browse, one: dict[str, Any]) -> None:
    """Take state, progress and error of a screening from its newest job."""
    one |= {"stage": None, "done": 0, "total": 0, "error": None, "job": None}
    job = browse.screening_job(one["id"])
    if job is not None:
        one["job"] = job.id
    if one["state"] == "done":
        return
    if job is None:
        one["state"], one["error"] = "failed", PROCESS_GONE
        return
    one |= {"stage": job.stage, "done": job.done, "total": job.total}
    if job.state in ACTIVE:
        one["state"] = "running"
    elif job.state in ENDED:
        one["state"], one["error"] = "failed", job.error or job.state.value
    else:
        one["state"] = "waiting"
