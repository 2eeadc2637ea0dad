"""The records of a transfer as they arrive: read one by one, and believed when they were checked.

A record is a JSON object a line. Its texts, numbers and lists have limits, its numbers are finite
and in their ranges, and its names have the form that this program gives them. Hashes are computed
again where rows are made of the records (`store.upkeep.transfer`).
"""

import json
import math
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import IO, Any, NoReturn

from store.artifacts import SUFFIXES
from store.errors import StoreError
from store.markdown.study import report_markdown

Record = dict[str, Any]

MAX_LINE = 2_000_000  # bytes of a record
MAX_RECORDS = 2_000_000
MAX_OF_RUN = 20_000  # records of a run, which are in memory together
MAX_BYTES_OF_RUN = 6_000_000
MAX_LONG = 1_000_000  # characters of a report
MAX_TEXT = 20_000  # characters of any other text
MAX_ITEMS = 100_000  # of a list, such as the labels of a classifier
MAX_KEYS = 1_000
MAX_DEPTH = 12
MAX_INTEGER = 2**63 - 1  # of SQLite
_TIMES = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))

IDS = {kind: rf"{kind[0]}[a-z0-9]{{1,31}}" for kind in ("run", "study", "comparison")}
_SHA256 = r"[0-9a-f]{64}"
_FORMS = {
    "sha256": _SHA256,
    "key": _SHA256,
    "classifier_key": _SHA256,
    "run_id": IDS["run"],
    "comparison_id": IDS["comparison"],
}
KINDS = frozenset(
    re.findall(
        r"\w+",
        "classifier study run tag step prompt frame attribution score stage report claim "
        "comparison member difference activation disagreement note artifact caption picture",
    )
)
_LONG = {("report", "markdown"), ("note", "text")}

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
    **_each("priority", (-(10**9), 10**9)),
    **_each("seconds", (0, 1e10)),
}
_CHOICES: dict[tuple[str, str], tuple[object, ...]] = {
    ("frame", "kind"): ("preview", "frame"),
    ("claim", "direction"): (1, -1),
    ("claim", "verdict"): ("confirmed", "refuted", "inconclusive"),
    ("difference", "verdict"): ("differ", "alike", "open"),
    ("comparison", "state"): ("waiting", "running", "done", "failed"),
    ("stage", "state"): ("waiting", "running", "done", "failed"),
    ("artifact", "mime"): tuple(SUFFIXES),
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


def check(record: object) -> Record:
    """Return a record if all its parts can be believed to be what they are called."""
    if not isinstance(record, dict) or record.get("record") not in list(KINDS):
        refuse(f"not a record of dexter-tui: {str(record)[:80]!r}")
    kind = record["record"]
    for name, value in record.items():
        where = f"{kind}.{name[:40]}"
        _check_value(where, value, MAX_LONG if (kind, name) in _LONG else MAX_TEXT)
        if value is None:
            continue
        if name in _RANGES:
            _check_number(where, value, _RANGES[name])
        if (kind, name) in _CHOICES and value not in _CHOICES[kind, name]:
            refuse(f"{where}: {str(value)[:40]!r} is unknown")
        if name in _WORDS:
            _check_words(where, value, _WORDS[name], holes=name == "pseudo_targets")
        if name.endswith("_at"):
            check_time(where, value)
        if name in _FORMS and not re.fullmatch(_FORMS[name], str(value)):
            refuse(f"{where}: {str(value)[:80]!r} is no {name}")
    _check_parts(kind, record)
    return record


def _check_parts(kind: str, record: Record) -> None:
    if kind in IDS and not re.fullmatch(IDS[kind], str(record.get("id"))):
        refuse(f"{str(record.get('id'))[:40]!r} is no id of a {kind}")
    if kind in ("frame", "artifact", "caption", "picture") and record.get("sha256") is None:
        refuse(f"{kind}: has no hash of a picture")
    if kind == "tag" and not re.fullmatch(r"[\w.:+-]{1,40}", str(record.get("name"))):
        refuse(f"{str(record.get('name'))[:40]!r} is no tag")
    for name in ("config", "settings"):
        if name in record:
            _check_settings(f"{kind}.{name}", record[name])
    for name in ("body", "report"):
        if record.get(name) is not None:
            _check_report(f"{kind}.{name}", record[name])
    if kind == "step":
        _check_numbers("step.losses", record.get("losses"))
    if kind == "classifier" and not record.get("labels"):
        refuse("classifier.labels: empty")
    if kind == "run":
        _check_gains(record.get("word_gains"))
        _check_ranges(record.get("seed_ranges"))
    if kind == "claim":
        _check_sources(record.get("sources"))
        contexts = record.get("contexts")
        if not isinstance(contexts, list):
            refuse("claim.contexts: not a list")
        for context in contexts:
            _check_context(context)


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
    elif depth >= MAX_DEPTH:
        refuse(f"{where}: nested too deeply")
    elif isinstance(value, list):
        if len(value) > MAX_ITEMS:
            refuse(f"{where}: {len(value):,} items exceed the limit of {MAX_ITEMS:,}")
        for item in value:
            _check_value(where, item, longest, depth + 1)
    elif isinstance(value, dict):
        if len(value) > MAX_KEYS:
            refuse(f"{where}: {len(value):,} keys exceed the limit of {MAX_KEYS:,}")
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
    """Refuse what is not a time."""
    try:
        at = datetime.fromisoformat(str(value))
        fits = at.tzinfo is not None and _TIMES[0] <= at <= _TIMES[1]
    except (ValueError, OverflowError):
        fits = False
    if not fits or not isinstance(value, str):
        refuse(f"{where}: {str(value)[:40]!r} is not a time with its zone, from 1970 to 2199")


def _check_settings(where: str, values: object) -> None:
    if not isinstance(values, dict):
        refuse(f"{where}: not settings by name")
    for name, value in values.items():
        if name in _TEXTS and value is not None and not isinstance(value, str):
            refuse(f"{where}.{name}: {str(value)[:40]!r} is not a text")


def _check_report(where: str, body: object) -> None:
    """Refuse a report that cannot be shown."""
    try:
        report_markdown(body, level=2)  # type: ignore[arg-type]
    except (LookupError, TypeError, ValueError, AttributeError):
        refuse(f"{where}: not a report")


def _check_gains(gains: object) -> None:
    if gains is None:
        return
    if not isinstance(gains, list) or not all(isinstance(gain, dict) for gain in gains):
        refuse("run.word_gains: not a list of objects")
    for gain in gains:
        if not isinstance(gain.get("word"), str):
            refuse("run.word_gains: a gain has no word")
        for name, limits in _GAIN.items():
            _check_number(f"run.word_gains.{name}", gain.get(name), limits)


def _check_ranges(ranges: object) -> None:
    if ranges is None:
        return
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


# Collections of records by kind


def grouped(records: Iterable[object]) -> dict[str, list[Record]]:
    """Check records, and return them by kind."""
    found: dict[str, list[Record]] = {}
    for one in records:
        record = check(one)
        found.setdefault(record["record"], []).append(record)
    return found


class Lines:
    """Checked records of one kind in a file of lines; each iteration reads them again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places = array("Q")

    def add(self, place: int) -> None:
        """Add the record that begins at this byte."""
        self._places.append(place)

    def __iter__(self) -> Iterator[Record]:
        for place in self._places:
            self._file.seek(place)
            record: Record = json.loads(self._file.readline())
            yield record


def spooled(file: IO[bytes]) -> Mapping[str, Lines]:
    """Check the records in a seekable file that nobody else writes; return them by kind."""
    found: dict[str, Lines] = {}
    of_run: dict[str, tuple[int, int]] = {}
    file.seek(0)
    place = number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            refuse(f"record {number}: longer than {MAX_LINE:,} bytes")
        if number > MAX_RECORDS:
            refuse(f"more than {MAX_RECORDS:,} records")
        try:
            record = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            refuse(f"record {number} is not JSON")
        kind = check(record)["record"]
        if "run_id" in record:
            count, size = of_run.get(record["run_id"], (0, 0))
            of_run[record["run_id"]] = (count + 1, size + len(line))
            if count >= MAX_OF_RUN or size + len(line) > MAX_BYTES_OF_RUN:
                refuse(f"run {record['run_id']}: too many records")
        found.setdefault(kind, Lines(file)).add(place)
        place += len(line)
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
