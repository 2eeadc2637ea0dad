"""The results of comparisons for screens, programs and reports, read without SQLAlchemy.

`page` returns a whole comparison as plain values; `compare --json` prints the same.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from store.checking.decoding import decoded, decoded_cell
from store.errors import StoreError, explained
from store.reading.browse import PROCESS_GONE, Browse, progress_of
from store.reading.origin import is_toy, origin
from store.states import State


class _Head(NamedTuple):
    """A comparison itself."""

    id: str
    state: str
    stage: str | None
    done: int
    total: int
    error: str | None
    settings: dict[str, Any]
    baseline: str | None
    generator: str | None
    detector: str | None
    pictures: int | None
    cross_pictures: int | None
    drawn: int | None
    created_at: str
    ended_at: str | None


class _Listed(NamedTuple):
    """A comparison in a list."""

    id: str
    state: str
    stage: str | None
    done: int
    total: int
    error: str | None
    baseline: str | None
    created_at: str
    differ: int


class _Progress(NamedTuple):
    """The progress of a comparison."""

    id: str
    state: str
    stage: str | None
    done: int
    total: int
    error: str | None


class _Name(NamedTuple):
    """The name of a member and its class."""

    comparison_id: str
    name: str
    class_name: str


class _Member(NamedTuple):
    """A classifier in a comparison, with the settings of its study."""

    key: int
    class_name: str
    name: str
    classifier: str
    weights_hash: str | None
    class_index: int
    study: str | None
    pictures: int | None
    report: dict[str, Any] | None
    config: dict[str, Any] | None
    settings: dict[str, Any] | None


class _Run(NamedTuple):
    """A run of a member's study."""

    id: str
    seed: int
    state: State
    words: list[str]
    prompt: str | None
    score_value: float | None
    score_low: float | None
    score_high: float | None
    score_n: int | None


class _Frame(NamedTuple):
    """A frame of a member's study."""

    sha256: str
    prompt: str
    target_probability: float


class _Claim(NamedTuple):
    """A claim of a member."""

    id: int
    number: int
    concept: str
    direction: int
    effect: float
    low: float
    high: float
    p: float
    p_corrected: float
    pairs: int
    flips: int
    placebo_threshold: float | None
    detected: float | None
    detected_control: float | None
    detected_treated: float | None
    prior: float | None
    over_represented: bool
    core: bool
    min_effect: float
    verdict: str
    reason: str | None


class _Difference(NamedTuple):
    """A difference between two members, by name."""

    class_name: str
    concept: str
    one: str
    other: str
    effect: float
    low: float
    high: float
    p: float
    p_corrected: float
    pairs: int
    verdict: str
    reason: str | None


class _Activation(NamedTuple):
    """The share of pictures of a prompt of another member that one takes for the class."""

    source: int
    prompt: str
    value: float
    low: float
    high: float
    n: int
    hits: int
    mean: float


class _Disagreement(NamedTuple):
    """A picture on which two members differ."""

    class_name: str
    one: str
    other: str
    rank: int
    prompt: str
    seed: int
    p_a: float
    p_b: float


class _Pairs(NamedTuple):
    """The pairs of a claim in one context."""

    context: str
    saturated: bool
    control_mean: float
    pairs: int
    control_prompts: list[str]
    treated_prompts: list[str]
    control_seeds: list[int]
    seeds: list[int]
    control: list[float]
    treated: list[float]


class _Tile(NamedTuple):
    """A place in a sheet of the bank."""

    sha256: str
    place: int
    side: int


_FRAMES = 6  # frames of each member's study


def find(browse: Browse, name: str) -> str:
    """Return the id of a comparison from the id or a unique prefix."""
    return browse.id_of("comparison", name, noun="comparison", command="compare")


def listed(browse: Browse, limit: int = 200) -> list[dict[str, Any]]:
    """Return the comparisons, newest first, with member names and the number of differences."""
    rows = browse.rows(
        "SELECT id, state, stage, done, total, error, baseline, created_at, "
        "(SELECT count(*) FROM difference JOIN member ON member.id = a_id "
        "WHERE comparison_id = comparison.id AND verdict = 'differ') "
        "FROM comparison ORDER BY created_at DESC, id LIMIT ?",
        (limit,),
    )
    found = [one._asdict() for one in decoded("comparison", _Listed, rows)]
    names: dict[str, list[_Name]] = {}
    members = "SELECT comparison_id, name, class_name FROM member ORDER BY id"
    for member in decoded("member", _Name, browse.rows(members) if found else ()):
        names.setdefault(member.comparison_id, []).append(member)
    for one in found:
        own = names.get(one["id"], ())
        one["classifiers"] = list(dict.fromkeys(member.name for member in own))
        one["classes"] = list(dict.fromkeys(member.class_name for member in own))
        _read_job(browse, one)
    return found


def _read_job(browse: Browse, one: dict[str, Any]) -> None:
    """Take the job of a comparison; from it state, progress and error of one that is not done."""
    job = browse.comparison_job(one["id"])
    one["job"] = None if job is None else job.id
    if one["state"] == "done":
        return
    if job is not None:
        one |= progress_of(job)
        one["error"] = one["error"] or job.error
    elif one["state"] != "failed":  # of an older version, or from elsewhere
        one["state"], one["error"] = "failed", PROCESS_GONE


def progress(browse: Browse, comparison_id: str) -> dict[str, Any]:
    """Return the progress of a comparison: id, state, stage, done, total, error, job."""
    columns = ", ".join(_Progress._fields)
    rows = browse.rows(f"SELECT {columns} FROM comparison WHERE id = ?", (comparison_id,))
    some = decoded("comparison", _Progress, rows)
    if not some:
        raise StoreError(
            f"comparison {comparison_id} is no longer in the store",
            value=comparison_id,
            remedy="`dexter-tui compare` lists the others",
        )
    found = some[0]._asdict()
    _read_job(browse, found)
    return found


def page(browse: Browse, name: str) -> dict[str, Any]:
    """Return a whole comparison; raise StoreError if none has this id."""
    comparison_id = find(browse, name)
    columns = ", ".join(_Head._fields)
    rows = browse.rows(f"SELECT {columns} FROM comparison WHERE id = ?", (comparison_id,))
    if not (some := decoded("comparison", _Head, rows)):
        raise StoreError(f"comparison {name!r} is damaged", value=name, remedy="restore a backup")
    head = some[0]._asdict()
    _read_job(browse, head)
    members = _members(browse, comparison_id)
    by_id = {member["key"]: member for member in members}
    names = list(dict.fromkeys(member["name"] for member in members))
    claims = _claims(browse, by_id)
    alone: dict[str, int] = {}
    for member in members:
        if member["pictures"] is not None:
            alone[member["name"]] = alone.get(member["name"], 0) + member["pictures"]
    return {
        "id": comparison_id,
        "state": head["state"],
        "error": head["error"],
        "job": head["job"],
        "progress": {name: head[name] for name in ("stage", "done", "total")},
        "created_at": head["created_at"],
        "classifiers": names,
        "classes": list(dict.fromkeys(member["class_name"] for member in members)),
        "baseline": head["baseline"],
        "settings": head["settings"],
        "generator": head["generator"],
        "origin": _origin(members),
        "detector": head["detector"],
        "pictures": {
            "claims": head["pictures"],
            "prompts": head["cross_pictures"],
            "drawn": head["drawn"],
            "one_alone": alone,
        },
        "members": [
            {name: value for name, value in member.items() if name not in ("report", "config")}
            for member in members
        ],
        "claims": claims,
        "differences": _among(names, _differences(browse, comparison_id, head["baseline"])),
        "only_some": only_some(claims, len(names)),
        "cross_activation": _activations(browse, by_id),
        "disagreements": _among(names, _disagreements(browse, comparison_id)),
        "configuration": _configuration(members),
        "reports": _reports(browse, members, head["baseline"]),
    }


def _origin(members: Sequence[Mapping[str, Any]]) -> str:
    """Return the line on the generator and preset; the toy is named for any member it affects."""
    generator = str((members[0]["config"] or {}).get("generator", "unknown")) if members else ""
    specs = [str(member["classifier"]) for member in members]
    spec = next((one for one in specs if is_toy(one, generator)), "lab:")
    presets = {str((member["config"] or {}).get("preset")) for member in members}
    return origin(spec, generator, ", ".join(sorted(presets)))


def _members(browse: Browse, comparison_id: str) -> list[dict[str, Any]]:
    rows = browse.rows(
        "SELECT member.id, member.class_name, member.name, spec, weights_hash, "
        "member.class_index, study_id, member.pictures, member.report, member.config, "
        "study.settings FROM member "
        "JOIN classifier ON classifier.id = member.classifier_id "
        "LEFT JOIN study ON study.id = member.study_id "
        "WHERE comparison_id = ? ORDER BY member.id",
        (comparison_id,),
    )
    members = [one._asdict() for one in decoded("member", _Member, rows)]
    for member in members:
        member["runs"] = _runs(browse, member["study"])
        member["frames"] = _frames(browse, member["study"])
    return members


def _runs(browse: Browse, study_id: str | None) -> list[dict[str, Any]]:
    rows = browse.rows(
        f"SELECT {', '.join(_Run._fields)} FROM run WHERE study_id = ? ORDER BY seed, id",
        (study_id,),
    )
    return [run._asdict() for run in decoded("run", _Run, rows)]


def _frames(browse: Browse, study_id: str | None) -> list[dict[str, Any]]:
    """Return the frames of a study that hit the class, highest p(class) first."""
    rows = browse.rows(
        "SELECT sha256, frame.prompt, target_probability FROM frame JOIN run ON run.id = run_id "
        "WHERE study_id = ? AND kind = 'frame' AND hit ORDER BY target_probability DESC, frame.id "
        "LIMIT ?",
        (study_id, _FRAMES),
    )
    return [
        {"sha256": sha256, "prompt": prompt, "p": p}
        for sha256, prompt, p in decoded("frame", _Frame, rows)
    ]


def _claims(browse: Browse, by_id: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for member_id, member in by_id.items():
        rows = browse.rows(
            f"SELECT {', '.join(_Claim._fields)} FROM claim WHERE member_id = ? ORDER BY number",
            (member_id,),
        )
        for one in decoded("claim", _Claim, rows):
            claim = one._asdict()
            found.append(
                {
                    "id": one.id,
                    "number": one.number,
                    "class_name": member["class_name"],
                    "classifier": member["name"],
                    **claim,
                    "flip_rate": claim["flips"] / claim["pairs"] if claim["pairs"] else None,
                    "bias": claim["verdict"] == "confirmed" and not claim["core"],
                }
            )
    return found


def _differences(browse: Browse, comparison_id: str, baseline: str | None) -> list[dict[str, Any]]:
    """Return the differences; those with the baseline come first, with the baseline as b."""
    rows = browse.rows(
        "SELECT a.class_name, concept, a.name, b.name, effect, low, high, p, p_corrected, pairs, "
        "verdict, reason FROM difference JOIN member AS a ON a.id = a_id "
        "JOIN member AS b ON b.id = b_id WHERE a.comparison_id = ? "
        "ORDER BY a.id, b.id, difference.rowid",
        (comparison_id,),
    )
    found = [_of_two(one) for one in decoded("difference", _Difference, rows)]
    for one in found:
        if baseline is not None and one["a"] == baseline:
            one["a"], one["b"] = one["b"], one["a"]
            one["effect"], one["low"], one["high"] = -one["effect"], -one["high"], -one["low"]
    return sorted(found, key=lambda one: baseline is not None and one["b"] != baseline)


def _among(names: Sequence[str], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows between members that are shown; a damaged member is left out."""
    return [one for one in found if {one["a"], one["b"]} <= set(names)]


def _of_two(row: _Difference | _Disagreement) -> dict[str, Any]:
    """Return a row with its members as "a" and "b"."""
    names = {"one": "a", "other": "b"}
    return {names.get(name, name): value for name, value in row._asdict().items()}


def only_some(claims: Sequence[Mapping[str, Any]], members: int) -> list[dict[str, Any]]:
    """Return claims confirmed for some classifiers but not for all, with their directions."""
    holders: dict[tuple[str, str], dict[str, int]] = {}
    for claim in claims:
        if claim["verdict"] == "confirmed":
            place = holders.setdefault((claim["class_name"], claim["concept"]), {})
            place[claim["classifier"]] = claim["direction"]
    return [
        {"class_name": class_name, "concept": concept, "held_by": names}
        for (class_name, concept), names in holders.items()
        if len(names) < members or len(set(names.values())) > 1
    ]


def _activations(browse: Browse, by_id: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for member_id, member in by_id.items():
        rows = browse.rows(
            "SELECT source_id, prompt, value, low, high, n, hits, mean FROM activation "
            "WHERE member_id = ? ORDER BY source_id",
            (member_id,),
        )
        for one in decoded("activation", _Activation, rows):
            if one.source in by_id:
                values = one._asdict()
                found.append(
                    {
                        "class_name": member["class_name"],
                        "classifier": member["name"],
                        "prompt_of": by_id[values.pop("source")]["name"],
                        **values,
                    }
                )
    return found


def _disagreements(browse: Browse, comparison_id: str) -> list[dict[str, Any]]:
    rows = browse.rows(
        "SELECT a.class_name, a.name, b.name, rank, prompt, seed, disagreement.a, disagreement.b "
        "FROM disagreement JOIN member AS a ON a.id = a_id JOIN member AS b ON b.id = b_id "
        "WHERE a.comparison_id = ? ORDER BY abs(disagreement.a - disagreement.b) DESC, a.id, b.id",
        (comparison_id,),
    )
    return [_of_two(one) for one in decoded("disagreement", _Disagreement, rows)]


_NO_SETTINGS = ("classifier", "recognised", "weights")  # a member's name holds its classifier


def _settings(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a member, with the weights behind the names of its models."""
    found = {key: value for key, value in stored.items() if key not in _NO_SETTINGS}
    weights = stored.get("weights")
    if isinstance(weights, dict):
        found |= {f"weights of {part}": value for part, value in weights.items()}
    return found


def _configuration(members: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the settings in which the studies differ, class by class."""
    found = []
    for class_name in dict.fromkeys(member["class_name"] for member in members):
        own = {
            member["name"]: _settings(member["settings"])
            for member in members
            if member["class_name"] == class_name and member["settings"]
        }
        for setting in sorted({name for settings in own.values() for name in settings}):
            values = {name: settings.get(setting) for name, settings in own.items()}
            if len({json.dumps(value, sort_keys=True) for value in values.values()}) > 1:
                found.append({"class_name": class_name, "setting": setting, "values": values})
    return found


# Reports


def _reports(
    browse: Browse, members: Sequence[Mapping[str, Any]], baseline: str | None
) -> list[dict[str, Any]]:
    """Return the reports section by section, to be read against the baseline or the first.

    Each study contributes its newest checked report, or the report on its claims here.
    """
    found = []
    for class_name in dict.fromkeys(member["class_name"] for member in members):
        bodies: dict[str, Mapping[str, Any]] = {}
        for member in members:
            if member["class_name"] == class_name:
                body = _newest_report(browse, member["study"]) or member["report"]
                if body:
                    bodies[member["name"]] = body
        if not bodies:
            continue
        first = baseline if baseline in bodies else next(iter(bodies))
        titles = dict.fromkeys(
            str(section["title"]) for body in bodies.values() for section in body["sections"]
        )
        for title in titles:
            texts = {name: _section(body, title) for name, body in bodies.items()}
            found.append(
                {
                    "class_name": class_name,
                    "section": title,
                    "texts": texts,
                    "against": first,
                }
            )
    return found


def _newest_report(browse: Browse, study_id: str | None) -> dict[str, Any] | None:
    rows = browse.rows(
        "SELECT body FROM report WHERE study_id = ? AND body IS NOT NULL ORDER BY id DESC LIMIT 1",
        (study_id,),
    )
    body: dict[str, Any] | None = None
    if rows:
        body = decoded_cell("report", "body", dict[str, Any] | None, rows[0][0])
    return body


def _section(body: Mapping[str, Any], title: str) -> list[str]:
    return [
        str(sentence["text"])
        for section in body["sections"]
        if str(section["title"]) == title
        for sentence in section["sentences"]
    ]


# Pictures


def pairs(browse: Browse, claim_id: int, *, limit: int = 64) -> list[dict[str, Any]]:
    """Return the pairs of a claim, largest change first; pictures are named as in `tile`."""
    [(raw,)] = browse.rows("SELECT generator FROM claim WHERE id = ?", (claim_id,)) or [("",)]
    generator = decoded_cell("claim", "generator", str, raw)
    found: list[dict[str, Any]] = []
    rows = browse.rows(
        f"SELECT {', '.join(_Pairs._fields)} FROM evidence WHERE claim_id = ? ORDER BY context",
        (claim_id,),
    )
    for context, _, _, _, *lists in decoded("evidence", _Pairs, rows):
        for row in zip(*lists, strict=False):
            without, with_it, seed, other, p, q = row
            found.append(
                {
                    "context": context,
                    "control": {"prompt": without, "seed": seed, "p": p},
                    "treated": {"prompt": with_it, "seed": other, "p": q},
                }
            )
    found.sort(key=lambda pair: -abs(pair["treated"]["p"] - pair["control"]["p"]))
    found = found[:limit]
    for pair in found:
        for side in ("control", "treated"):
            shown = pair[side]
            shown["tile"] = tile(browse, generator, shown["prompt"], shown["seed"])
    return found


def tile(browse: Browse, generator: str | None, prompt: str, seed: int) -> str | None:
    """Return the place of a picture in the bank as "sheet:place:side"; None if it is gone."""
    rows = browse.rows(
        "SELECT sha256, place, side FROM picture WHERE generator = ? AND prompt = ? AND seed = ?",
        (generator, prompt, seed),
    )
    found = decoded("picture", _Tile, rows)
    return ":".join(map(str, found[0])) if found else None


def tile_bytes(browse: Browse, place: str) -> bytes:
    """Return the picture at a place from `tile` as PNG; raise StoreError for a damaged sheet."""
    import io

    from store.artifacts import open_picture

    sha256, number, side = place.split(":")
    edge = int(side)
    path = browse.picture(sha256, small=False)
    with explained(path):
        sheet = open_picture(path).convert("RGB")
    y, x = divmod(int(number), max(sheet.width // edge, 1))
    buffer = io.BytesIO()
    sheet.crop((x * edge, y * edge, (x + 1) * edge, (y + 1) * edge)).save(buffer, "PNG")
    return buffer.getvalue()
