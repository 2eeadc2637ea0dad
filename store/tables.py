"""The tables of the store.

Times are UTC in ISO 8601, lists and dicts are JSON, probabilities and scores are fractions.
Pictures are not here: `artifact` names them by the SHA-256 of their bytes.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, partial
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, Relationship, SQLModel

from store.checking import decoding
from store.clock import now
from store.errors import StoreError
from store.json_numbers import finite
from store.states import Kind, Outcome, State

_Rows = TypeVar("_Rows")

REFUSED = "refused"  # the `stop_reason` of a run that failed for bad input


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, stored as 2026-01-31T12:00:00.000000Z: sorts as text, SQLite reads it."""

    impl = sa.String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return decoding.parse_time(value)


class _Json(TypeDecorator[Any]):
    """A value as JSON text; a text that is none is left to `_check`."""

    impl = sa.JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return decoding.parse_json


class _Boolean(TypeDecorator[bool]):
    """A truth value as 0 or 1."""

    impl = sa.Boolean
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return decoding.parse_bool


class _Enum(TypeDecorator[StrEnum]):
    """A member of an enumeration as its text."""

    impl = sa.Enum
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__(kind, native_enum=False, length=16, values_callable=_values)
        self.kind = kind

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return partial(decoding.parse_enum, self.kind)


JSON = _Json(none_as_null=True)


def to_json(value: object) -> str:
    """JSON that SQLite can read: numbers that are not finite become null, keys are sorted."""
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False, sort_keys=True)
    except ValueError:
        return json.dumps(finite(value), ensure_ascii=False, sort_keys=True)


def among(column: Any, values: Iterable[str] | Iterable[int]) -> sa.ColumnElement[bool]:
    """Return the condition that a column is one of any number of values."""
    # One variable, whose number SQLite limits.
    listed = sa.func.json_each(to_json(list(values))).table_valued("value")
    found: sa.ColumnElement[bool] = column.in_(sa.select(listed.c.value))
    return found


def _values(states: type[StrEnum]) -> list[str]:
    return [state.value for state in states]


class Table(SQLModel):
    """Base of all tables, with names for constraints, which migrations need."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


@sa.event.listens_for(Table, "load", propagate=True)
@sa.event.listens_for(Table, "refresh", propagate=True)
def _check(row: Table, *_: object) -> None:
    """Replace what is damaged in a row as it is read."""
    state = sa.inspect(row)
    kind, cells = _cells(type(row))
    values = {name: state.dict[name] for name in cells if name in state.dict}
    bad = decoding.problems(kind, cells, values)
    state.info["usable"] = decoding.is_usable(kind, bad)
    if not bad:
        return
    line = decoding.note(kind, values, bad)
    for name in bad:
        set_committed_value(row, name, cells[name].neutral(name))
    if "error" in values and line is not None:
        own = {"problem": line} if cells["error"].type is dict else line
        set_committed_value(row, "error", own)


@cache
def _cells(table: type[Table]) -> tuple[str, dict[str, decoding.Cell]]:
    """Return the name of a table and the cells of its columns."""
    fields = table.model_fields
    return str(table.__tablename__), {
        name: decoding.cell(field.annotation) for name, field in fields.items()
    }


def is_usable(row: Any) -> bool:
    """Return whether a row, or each of several, was read without damage that hides it."""
    if isinstance(row, Table):
        return bool(sa.inspect(row).info.get("usable", True))
    return row is not None and (not isinstance(row, tuple) or all(map(is_usable, row)))


def usable(rows: Iterable[_Rows]) -> list[_Rows]:
    """Return the rows but for those left out because of damage."""
    return [row for row in rows if is_usable(row)]


class Classifier(Table, table=True):
    """A classifier: the same spec with other weights or labels is another row."""

    id: int = Field(default=None, primary_key=True)
    spec: str
    weights_hash: str | None
    labels: list[str] = Field(sa_type=JSON)
    image_size: int  # pixels, side of the square
    key: str = Field(unique=True)  # SHA-256 of all the columns above
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)


class Study(Table, table=True):
    """A classifier, a class and a set of settings; its runs are the seeds."""

    __table_args__ = (sa.UniqueConstraint("classifier_id", "class_index", "settings_hash"),)

    id: str = Field(primary_key=True)
    classifier_id: int = Field(foreign_key="classifier.id")
    class_name: str
    class_index: int
    settings: dict[str, Any] = Field(sa_type=JSON)
    settings_hash: str  # SHA-256 of the settings
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)

    classifier: Classifier = Relationship(
        sa_relationship_kwargs={"lazy": "joined", "innerjoin": True}
    )


class Run(Table, table=True):
    """A seed of a study: its state, where it runs and its results."""

    __table_args__ = (
        # All that a list is ordered and mostly filtered by, without the large rows.
        sa.Index(
            "ix_run_list",
            "study_id",
            "seed",
            "state",
            "created_at",
            "score_value",
            "words",
            "id",
            "error",
        ),
    )

    id: str = Field(primary_key=True)
    study_id: str = Field(foreign_key="study.id", index=True)
    seed: int
    state: State = Field(
        default=State.QUEUED,
        sa_type=_Enum(State),
        index=True,
    )
    priority: int = 0  # of two queued runs the one with more goes first, else the older
    not_before: datetime | None = Field(sa_type=UtcTime, default=None)  # after a crash: when again
    config: dict[str, Any] = Field(sa_type=JSON)
    config_hash: str  # SHA-256 of the config
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)
    started_at: datetime | None = Field(sa_type=UtcTime, default=None)  # of the first attempt
    ended_at: datetime | None = Field(sa_type=UtcTime, default=None)
    heartbeat_at: datetime | None = Field(sa_type=UtcTime, default=None)  # last sign of the worker
    pid: int | None = None
    boot_id: str | None = None
    host: str | None = None
    device: str | None = None
    slot: str | None = None  # the device slot that took it last
    place: str | None = None  # where it runs, a name in config.toml; None: this machine
    attempt: int = 0
    progress: int = 0  # the most steps that were done before this attempt
    fruitless: int = 0  # attempts in a row that died without going beyond `progress`
    # It ran out of memory: fewer pictures at a time, with checkpointing.
    reduced: bool = Field(sa_type=_Boolean, default=False)
    promise: float | None = None  # seconds after heartbeat_at in which the next sign is due
    journal_entries: int = 0  # how much of the run's journal is in the store
    steps_total: int | None = None  # the step limit
    steps_done: int = 0
    words: list[str] | None = Field(sa_type=JSON, default=None)  # of the best prompt, per slot
    prompt: str | None = None  # the best prompt
    # Of the words of all prompts that were compared: word, gain, low, high, pictures.
    word_gains: list[dict[str, Any]] | None = Field(sa_type=JSON, default=None)
    score_value: float | None = None  # activation score, with its 95% Wilson interval
    score_low: float | None = None
    score_high: float | None = None
    score_n: int | None = None
    score_hits: int | None = None
    frames_wanted: int | None = None
    frames_hit: int | None = None
    frames_tried: int | None = None
    stop_reason: str | None = None
    error: str | None = None
    seed_ranges: dict[str, Any] | None = Field(sa_type=JSON, default=None)  # purpose: [from, to)
    peak_memory_bytes: int | None = None
    seconds: float | None = None

    study: Study = Relationship(sa_relationship_kwargs={"lazy": "joined", "innerjoin": True})

    @property
    def kind(self) -> Kind:
        """The kind of this work, as of a `Job`."""
        return Kind.RUN

    @property
    def wish(self) -> str:
        """The device asked for."""
        return str(self.config.get("device", "auto"))

    @property
    def error_line(self) -> str | None:
        """The error as a sentence."""
        return self.error

    @property
    def refused(self) -> bool:
        """True if it failed because of bad input."""
        return self.state is State.FAILED and self.stop_reason == REFUSED

    @property
    def words_that_carry(self) -> list[str]:
        """Words that carry the prompts that were compared, beyond doubt; the surest first."""
        return [gain["word"] for gain in self.word_gains or () if gain["low"] > 0]

    @property
    def words_worth_testing(self) -> list[str]:
        """The words that carry, then the rest of the best prompt; none of embeddings."""
        if self.is_of_embeddings:
            return []
        return list(dict.fromkeys([*self.words_that_carry, *(self.words or ())]))

    @property
    def text_prompt(self) -> str | None:
        """The best prompt, if it is a text; None of embeddings that are named by near words."""
        return None if self.is_of_embeddings else self.prompt

    @property
    def is_of_embeddings(self) -> bool:
        """Return whether the run searched for embeddings in place of words."""
        return self.config.get("search") == "continuous"


class Attempt(Table, table=True):
    """An attempt of a run at a place away from this machine, from the intent to its end.

    The row is written before anything is submitted. Only the attempt that `Run.attempt` numbers is
    believed; what earlier ones still write is left where it is, and counted.
    """

    run_id: str = Field(primary_key=True, foreign_key="run.id")
    attempt: int = Field(primary_key=True)
    place: str
    intended_at: datetime = Field(sa_type=UtcTime, default_factory=now)
    # The number of its first entry in the run's journal; None until its order is written.
    first_entry: int | None = None
    handle: str | None = None  # the place's own name of the job, once it is known
    submitted_at: datetime | None = Field(sa_type=UtcTime, default=None)
    seen: str | None = None  # the state of the job in the place's words,
    seen_at: datetime | None = Field(sa_type=UtcTime, default=None)  # when they were said
    ended_at: datetime | None = Field(sa_type=UtcTime, default=None)
    outcome: Outcome | None = Field(sa_type=_Enum(Outcome), default=None)
    reason: str | None = None
    quarantined: int = 0  # entries that it wrote and that were not taken

    @property
    def name(self) -> str:
        """The name of its job at the place."""
        return f"dexter-{self.run_id}-{self.attempt}"


class Tag(Table, table=True):
    """A word of a user's about a run."""

    run_id: str = Field(foreign_key="run.id", primary_key=True)
    name: str = Field(primary_key=True)


class Step(Table, table=True):
    """A step of the optimisation; a replay after a checkpoint replaces it."""

    run_id: str = Field(foreign_key="run.id", primary_key=True)
    step: int = Field(primary_key=True)  # from 1
    losses: dict[str, float] = Field(sa_type=JSON)  # by term, with "total"
    target_probability: float | None = None
    predicted_class: int | None = None
    hits: int | None = None
    words: list[str] = Field(sa_type=JSON)
    pseudo_targets: list[str | None] | None = Field(sa_type=JSON, default=None)
    best_words: list[str] | None = Field(sa_type=JSON, default=None)
    best_loss: float | None = None
    word_probabilities: list[dict[str, float]] | None = Field(sa_type=JSON, default=None)
    """The most probable words of each slot, with their probabilities; None before version 0011."""
    entropy: float | None = None  # nats, mean of the slots
    temperature: float | None = None
    seconds: float | None = None


class Prompt(Table, table=True):
    """A prompt that the search sampled, by its mean loss (rank 1 is the best)."""

    run_id: str = Field(foreign_key="run.id", primary_key=True)
    rank: int = Field(primary_key=True)
    words: list[str] = Field(sa_type=JSON)
    text: str
    mean_loss: float | None = None  # over the pictures
    pictures: int  # fresh ones, on which the best prompts were compared


class Artifact(Table, table=True):
    """A file under artifacts/sha256; the row is written after the file."""

    sha256: str = Field(primary_key=True)
    mime: str
    size: int  # bytes
    width: int | None = None  # pixels; pictures only
    height: int | None = None
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)


class Frame(Table, table=True):
    """A picture of a run: a preview of a step, or a frame drawn from the best prompt (step 0)."""

    __table_args__ = (sa.UniqueConstraint("run_id", "kind", "step", "seed"),)

    id: int = Field(default=None, primary_key=True)
    run_id: str = Field(foreign_key="run.id")
    kind: str  # "preview" or "frame"
    step: int = 0
    seed: int
    prompt: str
    predicted_class: int
    target_probability: float
    hit: bool = Field(sa_type=_Boolean)  # the classifier gives it the target class
    sha256: str = Field(foreign_key="artifact.sha256", index=True)
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)


class Job(Table, table=True):
    """An analysis in the queue: a report, a probe, a comparison or a screening.

    It waits in one line with the runs, and its columns of the same name mean the same. Jobs are
    in no journal: where a store is rebuilt, what they found is restored, and they can be asked
    for again.
    """

    id: str = Field(primary_key=True)
    kind: Kind = Field(sa_type=_Enum(Kind))
    state: State = Field(default=State.QUEUED, sa_type=_Enum(State), index=True)
    priority: int = 0
    not_before: datetime | None = Field(sa_type=UtcTime, default=None)
    wish: str = "auto"  # the device asked for: auto, cpu, cuda or cuda:N
    request: dict[str, Any] = Field(sa_type=JSON)  # what was asked; never a key
    config: dict[str, Any] | None = Field(sa_type=JSON, default=None)  # its models, as of a run
    depends_on: list[str] = Field(sa_type=JSON)  # runs that have to succeed first
    study_id: str | None = Field(foreign_key="study.id", default=None, index=True)
    comparison_id: str | None = Field(foreign_key="comparison.id", default=None, index=True)
    screening_id: str | None = Field(foreign_key="screening.id", default=None, index=True)
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)
    started_at: datetime | None = Field(sa_type=UtcTime, default=None)
    ended_at: datetime | None = Field(sa_type=UtcTime, default=None)
    heartbeat_at: datetime | None = Field(sa_type=UtcTime, default=None)
    pid: int | None = None
    boot_id: str | None = None
    host: str | None = None
    slot: str | None = None
    attempt: int = 0
    progress: int = 0
    fruitless: int = 0
    promise: float | None = None
    steps_done: int = 0  # pictures and texts of this attempt, over all stages
    stage: str | None = None
    done: int = 0  # of the stage, of `total`
    total: int = 0
    # Dicts with a `store.states.NoteKind` under "kind", of the last attempt.
    notes: list[dict[str, Any]] = Field(sa_type=JSON, default_factory=list)
    result: dict[str, Any] | None = Field(sa_type=JSON, default=None)  # ids of what it made
    # problem, and where there are any: field, value, remedy, refused (true for bad input).
    error: dict[str, Any] | None = Field(sa_type=JSON, default=None)

    @property
    def error_line(self) -> str | None:
        """The error as a sentence."""
        if self.error is None:
            return None
        parts = {name: self.error.get(name) for name in ("field", "value", "remedy")}
        return StoreError(self.error["problem"], **parts).sentence()

    @property
    def refused(self) -> bool:
        """True if it failed because of bad input."""
        return self.state is State.FAILED and bool((self.error or {}).get("refused"))


class Slot(Table, table=True):
    """A place for one run at a time, on a device, as its runner last described it.

    Its lock, not this row, says whether the runner lives.
    """

    name: str = Field(primary_key=True)
    device: str  # "cpu", or the UUID of a GPU
    pid: int  # of the runner
    boot_id: str | None = None
    updated_at: datetime = Field(sa_type=UtcTime, default_factory=now)
    note: str | None = None  # why it waits, or gave up
    # It gave up: its workers cannot even start.
    broken: bool = Field(sa_type=_Boolean, default=False)
    # The run or job that it works on or starts a worker for, and what is done for it now, in a few
    # words such as "loading generator, 2 of 3"; None while its own progress says enough.
    work_id: str | None = None
    activity: str | None = None


class Report(Table, table=True):
    """A text about a study, as a model, a person or the evidence itself gave it."""

    id: int = Field(default=None, primary_key=True)
    study_id: str = Field(foreign_key="study.id", index=True)
    author: str  # "evidence", the reporter's model or a person
    markdown: str
    body: dict[str, Any] | None = Field(sa_type=JSON, default=None)  # sections of checked sentences
    prompt_hash: str | None = None  # SHA-256 of the reporter's system prompt
    input_tokens: int | None = None
    output_tokens: int | None = None
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)


class Caption(Table, table=True):
    """A model's text on a picture, kept for every study that shows the same picture."""

    __table_args__ = (sa.UniqueConstraint("sha256", "model", "prompt_hash"),)

    id: int = Field(default=None, primary_key=True)
    sha256: str = Field(foreign_key="artifact.sha256")
    model: str
    prompt_hash: str  # SHA-256 of the system prompt
    text: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)


class Probe(Table, table=True):
    """A question of a user about a classifier; its answer is a claim."""

    id: int = Field(default=None, primary_key=True)
    classifier_id: int = Field(foreign_key="classifier.id")
    class_name: str
    class_index: int
    question: str
    control: str  # the prompts compared
    treated: str
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)

    classifier: Classifier = Relationship(
        sa_relationship_kwargs={"lazy": "joined", "innerjoin": True}
    )


class Comparison(Table, table=True):
    """Classifiers side by side: the same claims, tested on the same pictures."""

    id: str = Field(primary_key=True)
    settings: dict[str, Any] = Field(sa_type=JSON)  # what was asked
    baseline: str | None = None  # the name of the member that the others are held against
    state: str = "waiting"  # waiting, running, done, failed
    stage: str | None = None
    done: int = 0
    total: int = 0
    error: str | None = None
    generator: str | None = None  # key of its pictures in the bank
    detector: str | None = None  # the image-text model
    pictures: int | None = None  # that the claims were tested on, each shown to all members
    cross_pictures: int | None = None  # of the members' prompts
    drawn: int | None = None  # of both, made for this comparison; the others were in the bank
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)
    ended_at: datetime | None = Field(sa_type=UtcTime, default=None)


class Member(Table, table=True):
    """A classifier in a comparison, asked about one class."""

    __table_args__ = (sa.UniqueConstraint("comparison_id", "class_name", "position"),)

    id: int = Field(default=None, primary_key=True)
    comparison_id: str = Field(foreign_key="comparison.id")
    class_name: str
    position: int  # column, from 0
    name: str  # as it is called in this comparison
    classifier_id: int = Field(foreign_key="classifier.id")
    class_index: int
    study_id: str | None = Field(foreign_key="study.id", default=None, index=True)
    config: dict[str, Any] = Field(sa_type=JSON)  # that its models are loaded by
    pictures: int | None = None  # that its own candidates alone would have needed
    report: dict[str, Any] | None = Field(sa_type=JSON, default=None)  # out of its claims here

    classifier: Classifier = Relationship(
        sa_relationship_kwargs={"lazy": "joined", "innerjoin": True}
    )


class Difference(Table, table=True):
    """The effect of a concept on a class of one member, less that on another's.

    Over the same pairs of pictures; `low` and `high` are at 1 - 0.05/3, `p_corrected` is for
    three looks and all differences of the comparison.
    """

    a_id: int = Field(foreign_key="member.id", primary_key=True)
    b_id: int = Field(foreign_key="member.id", primary_key=True)
    concept: str = Field(primary_key=True)
    effect: float  # a less b
    low: float
    high: float
    p: float
    p_corrected: float
    pairs: int
    verdict: str  # differ, alike or open
    reason: str | None = None


class Activation(Table, table=True):
    """The share of a prompt's pictures that a member takes for the class, with a 95% interval."""

    member_id: int = Field(foreign_key="member.id", primary_key=True)
    source_id: int = Field(foreign_key="member.id", primary_key=True)  # whose prompt it is
    prompt: str
    value: float
    low: float
    high: float
    n: int
    hits: int
    mean: float  # probability of the class


class Disagreement(Table, table=True):
    """A picture of a prompt on which two members differ most, rank 1 the most."""

    a_id: int = Field(foreign_key="member.id", primary_key=True)
    b_id: int = Field(foreign_key="member.id", primary_key=True)
    rank: int = Field(primary_key=True)
    prompt: str
    seed: int
    a: float  # probabilities of the class
    b: float


class Claim(Table, table=True):
    """The effect of a concept on the probability of a class.

    Of a study, of a member of a comparison or of a screening, or the answer of a probe.

    `low` and `high` are at 1 - 0.05/3, `p_corrected` is for three looks and the family.
    """

    __table_args__ = (sa.UniqueConstraint("study_id", "number"),)

    id: int = Field(default=None, primary_key=True)
    study_id: str | None = Field(foreign_key="study.id", default=None)
    probe_id: int | None = Field(foreign_key="probe.id", default=None, index=True)
    member_id: int | None = Field(foreign_key="member.id", default=None, index=True)
    screened_id: int | None = Field(foreign_key="screened.id", default=None, index=True)
    number: int  # by which reports cite it, from 1
    concept: str
    slot: str  # the part of a picture that it is about
    direction: int  # 1 raises, -1 lowers the probability
    sources: dict[str, list[str]] = Field(sa_type=JSON)  # "words": runs, "captions": pictures
    effect: float  # mean change of the probability
    low: float
    high: float
    p: float
    p_corrected: float
    pairs: int
    flips: int  # pairs whose answer changed into the class (out of it, for direction -1)
    flip_low: float
    flip_high: float
    placebo_threshold: float | None = None
    detected: float | None = None  # treated less control
    detected_control: float | None = None
    detected_treated: float | None = None
    prior: float | None = None  # how often it is seen in pictures of the base prompts
    prior_low: float | None = None
    prior_high: float | None = None
    prior_n: int | None = None
    in_frames: float | None = None  # how often in frames that hit the class
    in_frames_low: float | None = None
    in_frames_high: float | None = None
    in_frames_n: int | None = None
    over_represented: bool = Field(sa_type=_Boolean)
    # It belongs to the class, so that to depend on it is no bias.
    core: bool = Field(sa_type=_Boolean)
    min_effect: float
    verdict: str  # confirmed, refuted or inconclusive
    reason: str | None = None  # not_drawn, too_few_pairs, no_better_than_placebo, saturated
    generator: str  # key of its pictures in the bank
    detector: str | None = None  # the image-text model
    # Pairs of fresh prompts whose order is as claimed: hits, n, low, high.
    predictiveness: dict[str, Any] | None = Field(sa_type=JSON, default=None)
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)


class Evidence(Table, table=True):
    """The pairs of a claim in one context, in lists of equal length; empty if it was left out."""

    claim_id: int = Field(foreign_key="claim.id", primary_key=True)
    context: str = Field(primary_key=True)  # class, rivals, or "as asked" by a probe
    saturated: bool = Field(sa_type=_Boolean)
    control_mean: float  # target probability
    pairs: int
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    control_prompts: list[str] = Field(sa_type=JSON)
    treated_prompts: list[str] = Field(sa_type=JSON)
    control_seeds: list[int] = Field(sa_type=JSON)
    seeds: list[int] = Field(sa_type=JSON)  # of the treated pictures
    control: list[float] = Field(sa_type=JSON)  # target probabilities
    treated: list[float] = Field(sa_type=JSON)


class Picture(Table, table=True):
    """A picture of the bank: one tile of a sheet, read row by row."""

    generator: str = Field(primary_key=True)  # SHA-256 of weights and settings
    prompt: str = Field(primary_key=True)
    seed: int = Field(primary_key=True)
    sha256: str = Field(foreign_key="artifact.sha256", index=True)  # the sheet
    place: int  # of the tile, from 0
    side: int  # pixels


class Drawing(Table, table=True):
    """A picture that a job draws for the bank now, or drew when it died."""

    generator: str = Field(primary_key=True)
    prompt: str = Field(primary_key=True)
    seed: int = Field(primary_key=True)
    job_id: str  # whose lock says whether it still does


class Answer(Table, table=True):
    """The numbers that a model gives to a picture of the bank.

    Of a classifier, the log-odds of its class; of an image-text model, its embedding.
    """

    __table_args__ = ({"sqlite_with_rowid": False},)

    model: str = Field(primary_key=True)  # picture key / weights and class, or image-text model
    prompt: str = Field(primary_key=True)
    seed: int = Field(primary_key=True)
    numbers: bytes  # float32, little-endian


class Bank(Table, table=True):
    """The prompts that all screenings of a topic share: rounds of a design, planned once."""

    key: str = Field(primary_key=True)  # SHA-256 of all that determines its pictures
    generator: str | None = None  # key of its pictures; known once the generator was loaded
    pool: str  # name of the concept pool
    pool_text: str | None = None  # of a user's file
    pool_hash: str  # SHA-256 of concepts and grammar
    topic: dict[str, Any] = Field(sa_type=JSON)  # class_name, subjects, rivals, core
    seed: int  # of the design
    rounds: list[dict[str, Any]] = Field(sa_type=JSON)  # start, count, weights
    pace: float | None = None  # seconds that the last pictures took to draw, each
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)


class Screening(Table, table=True):
    """Classifiers that look at one bank of pictures; their answers are regressed on concepts."""

    id: str = Field(primary_key=True)
    bank_key: str = Field(foreign_key="bank.key", index=True)
    class_name: str
    settings: dict[str, Any] = Field(sa_type=JSON)  # what was asked
    watch: dict[str, Any] | None = Field(sa_type=JSON, default=None)  # folder and models to expect
    state: str = "waiting"  # waiting, done
    detector: str | None = None  # the image-text model
    drawn: int = 0  # pictures made for this screening; the others were in the bank
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)
    ended_at: datetime | None = Field(sa_type=UtcTime, default=None)


class Screened(Table, table=True):
    """A classifier in a screening."""

    __table_args__ = (sa.UniqueConstraint("screening_id", "position"),)

    id: int = Field(default=None, primary_key=True)
    screening_id: str = Field(foreign_key="screening.id", index=True)
    position: int  # from 0; of a watched folder, in the order of training
    name: str  # as it is called in this screening
    classifier_id: int = Field(foreign_key="classifier.id")
    class_index: int
    config: dict[str, Any] = Field(sa_type=JSON)  # that it is loaded by
    file_hash: str | None = None  # SHA-256 of a watched checkpoint
    error: str | None = None  # why it was not screened
    pictures: int | None = None  # it looked at; None until it is judged
    level: float | None = None  # of each interval
    mean: float | None = None  # p(class) over all pictures
    answers_key: str | None = None  # under which it answered; None until it is judged
    pace: float | None = None  # seconds that it took for a picture

    classifier: Classifier = Relationship(
        sa_relationship_kwargs={"lazy": "joined", "innerjoin": True}
    )


class Finding(Table, table=True):
    """The effect of a concept on the class of a classifier, from the pictures of a bank."""

    screened_id: int = Field(foreign_key="screened.id", primary_key=True)
    slot: str = Field(primary_key=True)
    concept: str = Field(primary_key=True)
    verdict: str  # raises, lowers, explained, not_drawn, none, weak or open
    effect: float  # on p(class)
    low: float
    high: float
    log_odds: float
    log_odds_low: float
    log_odds_high: float
    contexts: dict[str, Any] = Field(sa_type=JSON)  # class, rivals: effect, low, high
    pictures: int  # of the smaller side of the contrast
    core: bool  # it belongs to the class, so that to depend on it is no bias
    asked: float | None = None  # share of the pictures that show it, where it was asked for
    otherwise: float | None = None  # where it was not
    per_drawn: float | None = None  # effect per picture that shows it
    direct: float  # effect less what goes through companions
    companions: list[dict[str, Any]] = Field(sa_type=JSON)  # concept, slot, shift, through
    explained_by: list[str] = Field(sa_type=JSON)
    # Of the strongest: concept, slot, effect, low, high, log_odds, pictures; what it adds beside.
    interactions: list[dict[str, Any]] | None = Field(sa_type=JSON, default=None)


class DataReport(Table, table=True):
    """A report on a classifier and pictures: its slices or debiasing on labelled ones, a what-if
    or a bias explanation."""

    __tablename__ = "data_report"

    id: str = Field(primary_key=True)
    kind: str  # slices, debias, whatif, explain-bias
    classifier_id: int = Field(foreign_key="classifier.id", index=True)
    job_id: str | None = None  # the job that makes it
    data: str  # the folder, file or setting; of explanations, class and pictures
    data_hash: str  # SHA-256 of names, labels, splits and groups, or of a user's picture, or a bank
    request: dict[str, Any] = Field(sa_type=JSON)  # what was asked
    result: dict[str, Any] | None = Field(sa_type=JSON, default=None)  # see data_reports.results
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)
    ended_at: datetime | None = Field(sa_type=UtcTime, default=None)

    classifier: Classifier = Relationship(
        sa_relationship_kwargs={"lazy": "joined", "innerjoin": True}
    )


class Placebo(Table, table=True):
    """The effect of a word that should have none, by context."""

    key: str = Field(primary_key=True)  # SHA-256 of generator, base prompts, classifier and class
    word: str = Field(primary_key=True)
    effects: dict[str, float] = Field(sa_type=JSON)
    pairs: int
    created_at: datetime = Field(sa_type=UtcTime, default_factory=now)


class Attribution(Table, table=True):
    """The probability that a word of a run's best prompt adds, with 95% intervals."""

    run_id: str = Field(foreign_key="run.id", primary_key=True)
    position: int = Field(primary_key=True)
    word: str
    prompt: str
    leave_one_out: float  # loss of probability without the word
    leave_one_out_low: float
    leave_one_out_high: float
    weight: float  # in a linear surrogate over word subsets
    low: float
    high: float
    r2: float  # of the surrogate, weighted
    r2_low: float
    r2_high: float
    subsets: int
    seeds: int


class Score(Table, table=True):
    """The share of fresh pictures of a text that are taken for the class, with a 95% interval."""

    study_id: str = Field(foreign_key="study.id", primary_key=True)
    # class name, class name + concepts, prompt, caption; smallest sufficient words, without them,
    # random control (of several texts)
    kind: str = Field(primary_key=True)
    text: str = Field(primary_key=True)
    value: float
    low: float
    high: float
    n: int
    hits: int


class Stage(Table, table=True):
    """A stage of a study's report: captions, claims, attribution, scores or report."""

    study_id: str = Field(foreign_key="study.id", primary_key=True)
    name: str = Field(primary_key=True)
    done: int = 0
    total: int = 0
    state: str = "waiting"  # waiting, running, done, failed
    error: str | None = None
    updated_at: datetime = Field(sa_type=UtcTime, default_factory=now)


class Note(Table, table=True):
    """A user's note on a run, a study, a comparison, a screening or a report on pictures."""

    of: str = Field(primary_key=True)  # its id
    text: str
    updated_at: datetime = Field(sa_type=UtcTime, default_factory=now)


class Document(Table, table=True):
    """A text that can be searched for, kept up to date by triggers; `search` is its index."""

    __table_args__ = (sa.UniqueConstraint("kind", "ref"),)

    id: int = Field(default=None, primary_key=True)
    kind: str  # words, caption, claim, report or note
    ref: str  # id of the run, claim, report or what is noted; hash of the picture
    study_id: str | None = None
    text: str
