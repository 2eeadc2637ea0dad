"""The checks of all records and rows: nothing is believed to be what it is called before.

Texts, numbers and lists have limits, numbers are finite and in their ranges, and names have the
form that this program gives them. Imports check each record (`check`), readers of a store each cell
(`store.checking.decoding`).
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from store.artifacts import SUFFIXES
from store.errors import StoreError
from store.states import EXPLAINING, NoteKind

Record = dict[str, Any]

MAX_LONG = 1_000_000  # characters of a report
MAX_TEXT = 20_000  # characters of any other text
MAX_ITEMS = 100_000  # of a list or object, such as the labels of a classifier
MAX_DEPTH = 12
MAX_INTEGER = 2**63 - 1  # of SQLite
_TIMES = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))

IDS = {kind: rf"{kind[0]}[a-z0-9]{{1,31}}" for kind in ("run", "study", "comparison", "job")}
IDS["screening"] = r"x[a-z0-9]{1,31}"
IDS["data_report"] = r"d[a-z0-9]{1,31}"
_SHA256 = r"[0-9a-f]{64}"
_FORMS = {
    "sha256": _SHA256,
    "classifier_key": _SHA256,
    "run_id": IDS["run"],
    "study_id": IDS["study"],
    "comparison_id": IDS["comparison"],
    "screening_id": IDS["screening"],
}
KINDS = frozenset(
    re.findall(
        r"\w+",
        "classifier study run tag step prompt frame attribution score stage report claim "
        "comparison member difference activation disagreement note artifact caption picture "
        "bank screening screened finding data_report",
    )
)
_LONG = {
    ("report", "markdown"),
    ("note", "text"),
    ("bank", "pool_text"),
    ("data_report", "request"),
}

PRIORITIES = (-(10**9), 10**9)
_COUNT = (0, 10**9)
_SIDE = (1, 2**15)  # pixels
_UNIT = (-1e-6, 1 + 1e-6)  # fractions, with room for rounding
_CHANGE = (-2 - 1e-6, 2 + 1e-6)  # also of two changes, one less the other
_ANY = (-1e300, 1e300)


def _each(names: str, limits: tuple[float, float]) -> dict[str, tuple[float, float]]:
    return dict.fromkeys(names.split(), limits)


# The ranges of numbers, by the name of their column, which means the same in all tables.
_RANGES: dict[str, tuple[float, float]] = {
    **_each("attempt progress fruitless steps_total steps_done score_n score_hits step", _COUNT),
    **_each("frames_wanted frames_hit frames_tried hits n pairs pictures cross_pictures", _COUNT),
    **_each("drawn flips prior_n in_frames_n subsets seeds done total position", _COUNT),
    **_each("input_tokens output_tokens", _COUNT),
    **_each("class_index predicted_class", (0, 10**6)),
    **_each("number rank", (1, 10**6)),
    **_each("member first second", (0, 10**4)),
    **_each("image_size side width height", _SIDE),
    **_each("target_probability score_value score_low score_high value p p_corrected", _UNIT),
    **_each("flip_low flip_high detected_control detected_treated mean a b control_mean", _UNIT),
    **_each("prior prior_low prior_high in_frames in_frames_low in_frames_high", _UNIT),
    **_each("effect leave_one_out detected", _CHANGE),
    **_each("low high leave_one_out_low leave_one_out_high weight r2 r2_low r2_high", _ANY),
    **_each("placebo_threshold min_effect mean_loss best_loss entropy temperature", _ANY),
    **_each("seed peak_memory_bytes size", (0, MAX_INTEGER)),
    **_each("priority", PRIORITIES),
    **_each("seconds", (0, 1e10)),
    **_each("pid", (1, 2**22)),
    **_each("journal_entries place", _COUNT),
}
# A list of seeds, and the names of places at which runs are done.
_NO_NUMBERS = {("evidence", "seeds"), ("run", "place"), ("attempt", "place")}
_CHOICES: dict[tuple[str, str], tuple[object, ...]] = {
    ("frame", "kind"): ("preview", "frame"),
    ("claim", "direction"): (1, -1),
    ("claim", "verdict"): ("confirmed", "refuted", "inconclusive"),
    ("difference", "verdict"): ("differ", "alike", "open"),
    ("comparison", "state"): ("waiting", "running", "done", "failed"),
    ("screening", "state"): ("waiting", "done"),
    ("data_report", "kind"): ("slices", "debias", *EXPLAINING),
    ("stage", "state"): ("waiting", "running", "done", "failed"),
}
# Lists of texts, with their longest number of items.
_WORDS = {"words": 64, "best_words": 64, "pseudo_targets": 64, "labels": MAX_ITEMS}
_TEXTS = {"classifier", "class_name", "template", "suffix", "generator", "masked_lm", "preset",
          "device", "arch", "labels"}  # fmt: skip
_PAIRS = ("control_prompts", "treated_prompts", "control_seeds", "seeds", "control", "treated")
_GAIN = {"gain": _ANY, "low": _ANY, "high": _ANY, "pictures": _COUNT}


def refuse(problem: str) -> NoReturn:
    """Raise the error for a record that cannot be used."""
    raise StoreError(problem, remedy="export the bundle again")


def is_work(name: object) -> bool:
    """Return whether this is an id of a run or job."""
    return isinstance(name, str) and bool(re.fullmatch(f"{IDS['run']}|{IDS['job']}", name))


def check(record: object) -> Record:
    """Return a record if all its parts can be believed to be what they are called."""
    if not isinstance(record, dict) or record.get("record") not in list(KINDS):
        refuse(f"not a record of dexter-tui: {str(record)[:80]!r}")
    kind = record["record"]
    for name, value in record.items():
        check_cell(kind, name, value)
    _check_parts(kind, record)
    return record


def check_cell(kind: str, name: str, value: object) -> None:
    """Raise StoreError unless a field of a record can be believed to be what it is called."""
    where = f"{kind}.{name[:40]}"
    _check_value(where, value, MAX_LONG if (kind, name) in _LONG else MAX_TEXT)
    if name in ("config", "settings"):
        _check_settings(where, value)
    if value is None:
        return
    if name in _RANGES and (kind, name) not in _NO_NUMBERS:
        _check_number(where, value, _RANGES[name])
    if (kind, name) in _CHOICES and value not in _CHOICES[kind, name]:
        refuse(f"{where}: {str(value)[:40]!r} is unknown")
    if name in _WORDS:
        _check_words(where, value, _WORDS[name], holes=name == "pseudo_targets")
    if name.endswith("_at"):
        check_time(where, value)
    form = IDS.get(kind) if name == "id" else _FORMS.get(name)
    if form is not None and not re.fullmatch(form, str(value)):
        noun = f"id of a {kind}" if name == "id" else name
        refuse(f"{where}: {str(value)[:80]!r} is no {noun}")
    if name == "body" or (kind, name) == ("member", "report"):
        _check_report(where, value)
    if (kind, name) in _SHAPES:
        _SHAPES[kind, name](value)


def _check_parts(kind: str, record: Record) -> None:
    """Refuse a record that lacks what it is found by, or what its kind needs."""
    if kind in IDS and record.get("id") is None:
        refuse(f"a {kind} has no id")
    if kind in ("frame", "artifact", "caption", "picture") and record.get("sha256") is None:
        refuse(f"{kind}: has no hash of a picture")
    if kind == "artifact" and record.get("mime") not in (None, *SUFFIXES):
        refuse(f"artifact.mime: {str(record['mime'])[:40]!r} is unknown")
    needed = {"tag": ("name",), "step": ("losses",), "classifier": ("labels",),
              "claim": ("sources", "contexts"),
              "data_report": ("request", "result")}  # fmt: skip
    for name in needed.get(kind, ()):
        if record.get(name) is None:
            refuse(f"{kind}.{name}: missing")
    for context in record["contexts"] if kind == "claim" else ():
        _check_context(context)
    for problem in check_row(kind, record).values():
        refuse(problem)


def check_row(kind: str, row: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong between the columns of a row, by column; each by itself is right."""
    interval = ("score_low", "score_high", "score_n")
    if kind == "run" and row.get("score_value") is not None:
        if any(row.get(name, 0) is None for name in interval):
            return {"score_value": "run.score_value: has no interval"}
        return {}
    if kind == "evidence" and set(_PAIRS) <= row.keys():
        try:
            _check_context(row)
        except StoreError as error:
            return {"context": error.problem}
    if kind == "data_report" and {"kind", "request"} <= row.keys():
        request = row["request"]
        about_class = isinstance(request, dict) and "class_name" in request
        if about_class != (row["kind"] in EXPLAINING):
            return {"request": f"data_report.request: not one of {row['kind']}"}
    return {}


def _check_value(where: str, value: object, longest: int, depth: int = 0) -> None:
    """Refuse what cannot be stored, shown and written as JSON again."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        if len(value) > longest:
            refuse(f"{where}: {len(value):,} characters exceed the limit of {longest:,}")
        if "\0" in value or not _encodable(value):
            refuse(f"{where}: {value[:40]!r} is not valid text")
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            refuse(f"{where}: {str(value)[:40]} is out of range")
    elif isinstance(value, float):
        if not math.isfinite(value):
            refuse(f"{where}: {value} is not a finite number")
    elif isinstance(value, datetime):  # of a row; a record has texts
        return
    elif depth >= MAX_DEPTH:
        refuse(f"{where}: nested too deeply")
    elif isinstance(value, list):
        if len(value) > MAX_ITEMS:
            refuse(f"{where}: {len(value):,} items exceed the limit of {MAX_ITEMS:,}")
        for item in value:
            _check_value(where, item, longest, depth + 1)
    elif isinstance(value, dict):
        if len(value) > MAX_ITEMS:
            refuse(f"{where}: {len(value):,} keys exceed the limit of {MAX_ITEMS:,}")
        for key, item in value.items():
            _check_value(where, key, MAX_TEXT, depth + 1)
            _check_value(where, item, longest, depth + 1)
    else:
        refuse(f"{where}: a {type(value).__name__} is no JSON value")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _check_number(where: str, value: object, limits: tuple[float, float]) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(f"{where}: {str(value)[:40]!r} is not a number")
    if not limits[0] <= value <= limits[1]:
        refuse(f"{where}: {value} is out of range")


def _check_probabilities(values: object) -> None:
    if not isinstance(values, list):
        refuse("step.word_probabilities: not a list")
    for words in values:
        if not isinstance(words, dict):
            refuse("step.word_probabilities: not probabilities by word")
        for value in words.values():
            _check_number("step.word_probabilities", value, _UNIT)


def _check_numbers(where: str, values: object) -> None:
    if not isinstance(values, dict):
        refuse(f"{where}: not numbers by name")
    for value in values.values():
        if value is not None:  # what was not finite when it was recorded
            _check_number(where, value, _ANY)


def _check_words(where: str, values: object, most: int, *, holes: bool) -> None:
    if not isinstance(values, list) or len(values) > most:
        refuse(f"{where}: not a list of up to {most:,} texts")
    for value in values:
        if not isinstance(value, str) and not (holes and value is None):
            refuse(f"{where}: {str(value)[:40]!r} is not a text")


def check_time(where: str, value: object) -> None:
    """Refuse what is not a time with a zone."""
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        fits = at.tzinfo is not None and _TIMES[0] <= at <= _TIMES[1]
    except (ValueError, OverflowError):
        fits = False
    if not fits or not isinstance(value, str | datetime):
        refuse(f"{where}: {str(value)[:40]!r} is not a time with its zone, from 1970 to 2199")


def _check_settings(where: str, values: object) -> None:
    if not isinstance(values, dict):
        refuse(f"{where}: not settings by name")
    for name, value in values.items():
        if name in _TEXTS and value is not None and not isinstance(value, str):
            refuse(f"{where}.{name}: {str(value)[:40]!r} is not a text")


def _check_report(where: str, body: object) -> None:
    """Refuse a report that cannot be shown."""
    if not isinstance(body, dict) or "title" not in body:
        refuse(f"{where}: not a report")
    for section in [body, *_objects(where, body.get("sections"))]:
        lines = section.get("method") if section is body else section.get("sentences")
        if "title" not in section or not isinstance(lines, list):
            refuse(f"{where}: not a report")
        for sentence in () if section is body else _objects(where, lines):
            if "text" not in sentence or not isinstance(sentence.get("mark"), str):
                refuse(f"{where}: not a report")


def _objects(where: str, values: object) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        refuse(f"{where}: not a list of objects")
    return values


def _check_name_of_tag(name: object) -> None:
    if not re.fullmatch(r"[\w.:+-]{1,40}", str(name)):
        refuse(f"{str(name)[:40]!r} is no tag")


def _check_labels(labels: object) -> None:
    if not labels:
        refuse("classifier.labels: empty")


def _check_contexts(contexts: object) -> None:
    if not isinstance(contexts, list):
        refuse("claim.contexts: not a list")


def _check_gains(gains: object) -> None:
    for gain in _objects("run.word_gains", gains):
        if not isinstance(gain.get("word"), str):
            refuse("run.word_gains: a gain has no word")
        for name, limits in _GAIN.items():
            _check_number(f"run.word_gains.{name}", gain.get(name), limits)


def _check_ranges(ranges: object) -> None:
    if not isinstance(ranges, dict):
        refuse("run.seed_ranges: not an object")
    for pair in ranges.values():
        if not isinstance(pair, list) or len(pair) != 2:
            refuse("run.seed_ranges: not a first and a last seed")
        for seed in pair:
            _check_number("run.seed_ranges", seed, (0, MAX_INTEGER))


def _check_sources(sources: object) -> None:
    if not isinstance(sources, dict):
        refuse("claim.sources: not an object")
    for items in sources.values():
        _check_words("claim.sources", items, MAX_ITEMS, holes=False)


def _check_context(context: object) -> None:
    if not isinstance(context, dict) or not isinstance(context.get("context"), str):
        refuse("claim.contexts: a context has no name")
    lists = [context.get(name) for name in _PAIRS]
    if not all(isinstance(values, list) for values in lists):
        refuse("claim.contexts: a context lacks its pairs")
    if len({len(values) for values in lists if isinstance(values, list)}) > 1:
        refuse("claim.contexts: lists of different lengths")
    if not context.get("saturated") and context.get("pairs") and not context["seeds"]:
        refuse("claim.contexts: a context lacks its pairs")
    for name, values in zip(_PAIRS, lists, strict=True):
        for value in values or ():
            if name.endswith("prompts"):
                if not isinstance(value, str):
                    refuse(f"claim.contexts.{name}: {str(value)[:40]!r} is not a text")
            else:
                limits = _UNIT if name in ("control", "treated") else (0, MAX_INTEGER)
                _check_number(f"claim.contexts.{name}", value, limits)
    for name in ("pairs", "control_mean"):
        _check_number(f"claim.contexts.{name}", context.get(name), _RANGES[name])
    for name in ("effect", "low", "high"):
        if context.get(name) is not None:
            _check_number(f"claim.contexts.{name}", context[name], _ANY)


def _check_error(error: object) -> None:
    """Refuse what is not the parts of an error, see `store.tables.Job`."""
    parts = error if isinstance(error, dict) else {}
    texts = [parts.get("problem"), *(parts.get(name) or "" for name in ("field", "remedy"))]
    if not all(isinstance(text, str) for text in texts):
        refuse("job.error: not an error")


def _check_notes(notes: object) -> None:
    for note in _objects("job.notes", notes):
        if note.get("kind") not in list(_NOTES) or not all(
            isinstance(note.get(part), str) for part in _NOTES[note["kind"]]
        ):
            refuse("job.notes: not a note")


_NOTES: dict[str, tuple[str, ...]] = {
    NoteKind.STAGE_DONE: ("stage",),
    NoteKind.STAGE_FAILED: ("stage", "error"),
    NoteKind.AGAINST: ("prompt",),
    NoteKind.NO_DETECTOR: ("error",),
}


def _check_effects(values: object) -> None:
    """Refuse what are no effects with intervals, by context."""
    _check_objects("finding.contexts", list(values.values()) if isinstance(values, dict) else None)
    for one in values.values() if isinstance(values, dict) else ():
        for name in ("effect", "low", "high"):
            _check_number("finding.contexts", one.get(name), _ANY)


def _check_companions(values: object) -> None:
    _check_objects("finding.companions", values)
    for one in values if isinstance(values, list) else ():
        for name in ("shift", "through"):
            _check_number("finding.companions", one.get(name), _ANY)
        _check_words("finding.companions", [one.get("concept")], 1, holes=False)


def _check_interactions(values: object) -> None:
    for one in _objects("finding.interactions", values):
        for name in ("effect", "low", "high", "pictures"):
            _check_number("finding.interactions", one.get(name), _ANY)
        odds = one.get("log_odds")
        if not isinstance(odds, list) or len(odds) != 3:
            refuse("finding.interactions: log_odds are not an effect and its interval")
        for number in odds:
            _check_number("finding.interactions", number, _ANY)
        _check_words("finding.interactions", [one.get("concept")], 1, holes=False)


def _check_predictiveness(values: object) -> None:
    for name in ("hits", "n", "low", "high"):
        number = values.get(name) if isinstance(values, dict) else None
        _check_number("claim.predictiveness", number, _ANY)


def _check_objects(where: str, values: object) -> None:
    if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
        refuse(f"{where}: not a list of objects")


def _check_topic(values: object) -> None:
    for name in ("subjects", "rivals"):
        words = values.get(name) if isinstance(values, dict) else None
        _check_words("bank.topic", words, MAX_ITEMS, holes=False)


def _check_rounds(values: object) -> None:
    for one in _objects("bank.rounds", values):
        for name in ("start", "count"):
            _check_number("bank.rounds", one.get(name), _COUNT)
        _check_numbers("bank.rounds", one.get("weights"))


def _check_watch(values: object) -> None:
    folder = values.get("folder") if isinstance(values, dict) else None
    _check_words("screening.watch", [folder], 1, holes=False)


def _check_asked(values: object) -> None:
    """Check the request of a report on pictures."""
    where = "data_report.request"
    if not isinstance(values, dict):
        refuse(f"{where}: not an object")
    explains = "class_name" in values  # see `check_row`
    mapping = {} if explains else values.get("mapping")
    if not isinstance(mapping, dict) or not isinstance(values.get("settings"), dict):
        refuse(f"{where}: has no mapping or settings")
    if not isinstance(values.get("models", None if explains else {}), dict):
        refuse(f"{where}: has no models")
    texts = [*mapping.values()]
    if explains:
        texts += [values["class_name"], values.get("pool")]
    else:
        texts += [one.get("name") for one in _objects(where, values.get("concepts"))]
        texts += [values.get("data"), values.get("origin")]
    optional = ("screening", "image") + (("data", "sts") if explains else ())
    texts += [values[name] for name in optional if values.get(name) is not None]
    _check_words(where, texts, MAX_ITEMS, holes=False)


_SHAPES: dict[tuple[str, str], Callable[[object], None]] = {
    ("tag", "name"): _check_name_of_tag,
    ("classifier", "labels"): _check_labels,
    ("step", "word_probabilities"): _check_probabilities,
    ("step", "losses"): lambda losses: _check_numbers("step.losses", losses),
    ("run", "word_gains"): _check_gains,
    ("run", "seed_ranges"): _check_ranges,
    ("claim", "sources"): _check_sources,
    ("job", "depends_on"): lambda ids: _check_words("job.depends_on", ids, MAX_ITEMS, holes=False),
    ("job", "notes"): _check_notes,
    ("job", "error"): _check_error,
    ("placebo", "effects"): lambda effects: _check_numbers("placebo.effects", effects),
    ("claim", "contexts"): _check_contexts,
    ("finding", "contexts"): _check_effects,
    ("finding", "companions"): _check_companions,
    ("finding", "explained_by"): lambda names: _check_words(
        "finding.explained_by", names, MAX_ITEMS, holes=False
    ),
    ("finding", "interactions"): _check_interactions,
    ("claim", "predictiveness"): _check_predictiveness,
    ("bank", "topic"): _check_topic,
    ("bank", "rounds"): _check_rounds,
    ("screening", "watch"): _check_watch,
    ("data_report", "request"): _check_asked,
}


def no_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity in JSON, as `parse_constant` of `json.loads`."""
    raise ValueError(f"{name} is not JSON")
