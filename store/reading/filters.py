"""The filter language of lists: words and conditions on fields, compiled to SQL.

state:running classifier:birds*     both; * matches any text, ? any character
state:failed,lost                   either state
score>0.8 steps<=30                 numbers; also = and !=
words~sea                           contains
sea                                 contains, in any text field
"polar bear"                        quotes keep words together
-tag:old                            not
state:lost or score<0.1             either; a space binds tighter than `or`
created>2026-11-01 created>2d       after a day (UTC), or in the last 2 days (also h, m)
config.steps>=1000                  any setting of the run
"""

import difflib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from store.errors import StoreError
from store.states import State


class FilterError(StoreError):
    """A filter that is not valid."""


class Condition(NamedTuple):
    """A WHERE clause over run, study, classifier and `STATE`'s table, and its parameters."""

    sql: str
    parameters: tuple[object, ...]


STATE = "CASE WHEN run.rowid IN gone THEN 'lost' ELSE run.state END"
"""The state as it is shown; the table ``gone`` has the active runs whose process has ended."""
TEXT = {
    "id": "run.id",
    "study": "run.study_id",
    "classifier": "classifier.spec",
    "class": "study.class_name",
    "state": STATE,
    "words": "coalesce(run.words, '')",
    "prompt": "coalesce(run.prompt, '')",
    "error": "coalesce(run.error, '')",
    "device": "coalesce(run.device, '')",
    "preset": "json_extract(run.config, '$.preset')",
}
NUMBERS = {
    "seed": "run.seed",
    "score": "run.score_value",
    "steps": "run.steps_done",
    "frames": "run.frames_hit",
    "attempt": "run.attempt",
    "seconds": "run.seconds",
    "priority": "run.priority",
}
TIMES = {"created": "run.created_at", "started": "run.started_at", "ended": "run.ended_at"}
FIELDS = (*TEXT, *NUMBERS, *TIMES, "tag", "config.NAME")
# The fields in which a bare word is searched.
ANYWHERE = ("id", "study", "classifier", "class", "state", "words", "error")

_TOKEN = re.compile(r'(?:"[^"]*"?|[^\s"])+')
_TERM = re.compile(r"(config\.\w+|[a-z]+)(:|~|!=|>=|<=|=|>|<)(.*)", re.DOTALL)


def compile_filter(text: str, now: Callable[[], datetime] | None = None) -> Condition:
    """Compile a filter; an empty one matches every run. Raises FilterError."""
    clock = now or (lambda: datetime.now(UTC))
    either: list[list[Condition]] = [[]]
    for token in _TOKEN.findall(text):
        if token.lower() == "or":
            either.append([])
        else:
            either[-1].append(_term(token, clock))
    if either == [[]]:
        return Condition("1", ())
    if not all(either):
        raise FilterError("`or` without a condition on each side", remedy="write A or B")
    return _join(" OR ", [_join(" AND ", group) for group in either])


def searched_words(text: str) -> list[str]:
    """Return the words that a filter looks for in texts, to mark them where they are shown."""
    found = []
    for token in _TOKEN.findall(text):
        match = _TERM.fullmatch(token)
        word = match[3] if match is not None and match[2] == "~" else token
        if (match is None or match[2] == "~") and token[0] not in "-!" and token.lower() != "or":
            found.append(word.replace('"', ""))
    return found


def _join(operator: str, parts: list[Condition]) -> Condition:
    sql = operator.join(f"({part.sql})" for part in parts)
    return Condition(sql, tuple(value for part in parts for value in part.parameters))


def _term(token: str, now: Callable[[], datetime]) -> Condition:
    if len(token) > 1 and token[0] in "-!":
        inner = _term(token[1:], now)
        # A comparison with NULL is NULL, and so is its negation.
        return Condition(f"NOT coalesce(({inner.sql}), 0)", inner.parameters)
    match = _TERM.fullmatch(token)
    if match is None:
        word = _contains(token.replace('"', ""))
        return _join(" OR ", [Condition(f"{TEXT[name]} {_LIKE}", (word,)) for name in ANYWHERE])
    name, operator, value = match[1], match[2], match[3].replace('"', "")
    if not value:
        raise FilterError(f"no value after {name}{operator}", remedy=f"write {name}{operator}VALUE")
    if name in NUMBERS:
        return _number(name, NUMBERS[name], operator, value)
    if name in TIMES:
        return _time(name, operator, value, now)
    if name.startswith("config."):
        return _setting(f"json_extract(run.config, '$.{name[7:]}')", operator, value)
    if name == "tag":
        inner = _text("tag", "name", operator, value)
        return Condition(f"run.id IN (SELECT run_id FROM tag WHERE {inner.sql})", inner.parameters)
    if name in TEXT:
        return _text(name, TEXT[name], operator, value)
    near = difflib.get_close_matches(name, FIELDS, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"use one of {', '.join(FIELDS)}"
    raise FilterError(f"no field {name!r}", remedy=remedy)


_LIKE = "LIKE ? ESCAPE '\\'"


def _contains(text: str) -> str:
    return f"%{_escaped(text)}%"


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


def _quoted(value: str) -> str:
    """Return a value as a filter contains it; a value holds no quotes."""
    return f'"{value}"' if re.search(r"\s", value) else value


def _text(name: str, column: str, operator: str, value: str) -> Condition:
    if operator in (">", "<", ">=", "<="):
        text = _quoted(value)
        raise FilterError(f"{name} is a text", remedy=f"use {name}:{text} or {name}~{text}")
    if operator == "~":
        return Condition(f"{column} {_LIKE}", (_contains(value),))
    parts = [part for part in value.split(",") if part]
    if name == "state":
        for part in parts:
            if not re.search(r"[*?]", part) and part not in set(State):
                near = difflib.get_close_matches(part, list(State), n=1)
                remedy = f"did you mean {near[0]}?" if near else f"use one of {', '.join(State)}"
                raise FilterError(f"no state {part!r}", remedy=remedy)
    patterns = []
    for part in parts:
        pattern = _escaped(part).replace("*", "%").replace("?", "_")
        if name == "classifier" and ":" not in part:
            pattern = f"%{pattern}"  # "birds*" matches lab:birds-biased
        patterns.append(pattern)
    either = " OR ".join(f"{column} {_LIKE}" for _ in patterns)
    sql = f"NOT ({either})" if operator == "!=" else either
    return Condition(sql, tuple(patterns))


def _number(name: str, column: str, operator: str, value: str) -> Condition:
    percent = value.endswith("%")
    try:
        number = float(value.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        raise FilterError(
            f"{value!r} is not a number", field=name, value=value, remedy=f"write {name}{operator}1"
        ) from None
    if operator == "~":
        raise FilterError(
            f"{name} is a number",
            remedy=f"use {name}={number:g}, {name}>{number:g} or {name}<{number:g}",
        )
    return Condition(f"{column} {'=' if operator == ':' else operator} ?", (number,))


_AGE = {"m": "minutes", "h": "hours", "d": "days"}


def _time(name: str, operator: str, value: str, now: Callable[[], datetime]) -> Condition:
    if operator in ("~", "!="):
        raise FilterError(f"{name} is a time", remedy=f"use {name}>2026-11-01 or {name}>2d")
    if match := re.fullmatch(r"(\d{1,6})([mhd])", value):
        since = now() - timedelta(**{_AGE[match[2]]: int(match[1])})
        return Condition(f"{TIMES[name]} {operator} ?", (f"{since:%Y-%m-%dT%H:%M:%S}",))
    if not re.fullmatch(r"\d{4}(-\d\d){0,2}(T\d\d(:\d\d){0,2})?", value):
        raise FilterError(
            f"{value!r} is not a time",
            field=name,
            value=value,
            remedy="write a day like 2026-11-01 or an age like 2d",
        )
    if operator in (":", "="):
        return Condition(f"{TIMES[name]} LIKE ?", (f"{value}%",))
    if operator in (">", "<="):
        # "~" sorts after the whole day: "2026-11-01T..." < "2026-11-01~".
        edge = value if operator == ">" else f"{value}~"
        return Condition(f"{TIMES[name]} {operator} ?", (edge,))
    return Condition(f"{TIMES[name]} {operator} ?", (value,))


def _setting(column: str, operator: str, value: str) -> Condition:
    try:
        return _number("config", column, operator, value)
    except FilterError:
        return _text("config", f"coalesce({column}, '')", operator, value)
