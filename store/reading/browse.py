"""The read-only queries of screens: pages of long lists and the data of one run.

Plain `sqlite3`, without SQLAlchemy, so that the dashboard starts quickly and a page of a list of
100,000 runs costs no more than a page of 10. Rows are named tuples with the columns and units of
`store.tables`.
"""

import json
import sqlite3
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from store.checking import decoding, file_systems
from store.checking.schema import check_schema, objects_of
from store.errors import NotFound, StoreError, explained
from store.locks import is_locked
from store.reading.filters import STATE, Condition, compile_filter
from store.states import ACTIVE, ENDED, State

_MIGRATIONS = Path(__file__).parents[1] / "migrations" / "versions"
_PACE_STEPS = 20  # the last steps, from which the remaining time is estimated
COMPARED_PICTURES = 96
"""Pictures of the final comparison of prompts (`dexter.search.optimize`)"""
_SHARE_OF_DRAWING = 0.4  # of the time of a step, as drawing alone needs no gradients
_START_SECONDS = 60.0  # in which a runner takes its lock
_MAX_VARIABLES = 500  # row ids asked for at a time
_OPERATIONS = 5_000  # of SQLite between two calls of `wanted`
_MOST_IDLE = 2  # connections that are kept for later
PROCESS_GONE = "its process ended unexpectedly"

# The orders of a list. "study" groups runs by study, newest study first.
ORDERS = {
    "study": "study.rowid DESC, run.seed",
    "created": "run.created_at DESC, run.rowid DESC",
    "state": f"{STATE}, run.created_at DESC",
    "classifier": "classifier.spec, study.class_name, run.seed",
    "class": "study.class_name, classifier.spec, run.seed",
    "score": "run.score_value DESC NULLS LAST, run.rowid",
    "steps": "run.steps_done DESC, run.rowid",
    "words": "run.words NULLS LAST, run.rowid",
    "seed": "run.seed, run.rowid",
    "duration": "run.seconds DESC NULLS LAST, run.rowid",
}


class Keys(NamedTuple):
    """The keys of the rows of a list, in order."""

    keys: "array[int]"
    """Keys of runs. In the order "study", the negated key of a study precedes its runs."""
    runs: int
    """The number of runs among the keys."""
    whole: bool
    """True if no key was left out."""


def answer_names(labels: Sequence[str], class_index: int, settings: Mapping[str, Any]) -> list[str]:
    """Return the name of each predicted class; labels that do not exclude each other are present
    or not, so that a picture without the study's label has no other one as its answer."""
    own = labels[class_index] if 0 <= class_index < len(labels) else str(class_index)
    if settings.get("multi_label"):
        return [own if index == class_index else f"not {own}" for index in range(len(labels))]
    return list(labels)


class StudyRow(NamedTuple):
    """A study in a list."""

    key: int
    """The rowid, by which lists name the study."""
    id: str
    classifier: str
    class_name: str
    class_index: int
    labels: list[str]
    settings: dict[str, Any]
    created_at: str
    states: dict[str, int]
    """The number of runs by state."""
    claims: int = 0
    confirmed: int = 0
    stage: "StageRow | None" = None
    """The stage of the report that is running."""
    finding: str | None = None
    """The confirmed concept with the largest effect that is not part of the class."""
    effect: float | None = None
    """Its effect."""

    @property
    def answers(self) -> list[str]:
        """Its answers by predicted class."""
        return answer_names(self.labels, self.class_index, self.settings)


class RunRow(NamedTuple):
    """A run in a list; only active runs have the last field."""

    key: int
    id: str
    study_id: str
    seed: int
    state: State
    classifier: str
    class_name: str
    created_at: str
    started_at: str | None
    ended_at: str | None
    heartbeat_at: str | None
    device: str | None
    attempt: int
    steps_total: int | None
    steps_done: int
    words: list[str]
    prompt: str | None
    score_value: float | None
    score_low: float | None
    score_high: float | None
    score_n: int | None
    frames_wanted: int | None
    frames_hit: int | None
    frames_tried: int | None
    stop_reason: str | None
    error: str | None
    seconds: float | None
    peak_memory_bytes: int | None
    priority: int
    config_json: str
    seconds_per_step: float | None = None
    words_are_final: bool = True
    """False while an active run has words of its search alone"""
    activity: str | None = None
    """What is done for a run that takes no steps now, such as "loading generator, 2 of 3"."""

    @property
    def config(self) -> dict[str, Any]:
        """Return the run's RunConfig as plain values."""
        config: dict[str, Any] = decoding.decoded_cell(
            "run", "config", dict[str, Any], self.config_json
        )
        return config

    @property
    def seconds_left(self) -> float | None:
        """Estimate the time to the end from the pace of the last steps; None if unknown."""
        if self.state is not State.RUNNING or not self.steps_total or not self.seconds_per_step:
            return None
        left = self.steps_total - self.steps_done
        return self.seconds_per_step * steps_to_end(
            0 if self.words_are_final else left,
            self.config,
            compared=self.words_are_final,
            scored=self.score_value is not None,
            frames=(self.frames_wanted or 0) - (self.frames_hit or 0),
        )


def steps_to_end(
    steps: int, config: Mapping[str, Any], *, compared: bool, scored: bool, frames: int
) -> float:
    """Return what a run has to do, in steps.

    The pictures that follow the search count as parts of a step: those that compare the best
    prompts and score the best one, and its frames.
    """
    pictures = 0.0 if compared else COMPARED_PICTURES
    pictures += 0 if scored else _number(config.get("score_images"))
    pictures += max(frames, 0)
    return max(steps, 0) + pictures * _SHARE_OF_DRAWING / max(_number(config.get("batch")), 1)


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0


class StepRow(NamedTuple):
    """A step of the search."""

    step: int
    losses: dict[str, float | None]
    target_probability: float | None
    predicted_class: int | None
    words: list[str]
    pseudo_targets: list[str | None]
    best_words: list[str]
    best_loss: float | None
    entropy: float | None
    temperature: float | None
    seconds: float | None
    word_probabilities: list[dict[str, float]] | None
    """The most probable words of each slot; None in runs of older versions"""


class FrameRow(NamedTuple):
    """A picture: a preview of a step, or a frame of the best prompt (step 0)."""

    id: int
    kind: str
    step: int
    seed: int
    prompt: str
    predicted_class: int
    target_probability: float
    hit: bool
    sha256: str


class PromptRow(NamedTuple):
    """A prompt that the search sampled."""

    rank: int
    words: list[str]
    text: str
    mean_loss: float | None
    pictures: int


class WordGainRow(NamedTuple):
    """A fall of the loss with a word in the prompt (`dexter.search.word_gains.WordGain`)."""

    word: str
    gain: float
    low: float
    high: float
    carries: bool
    pictures: int


_GAIN = ("word", "gain", "low", "high", "pictures")


class EvidenceRow(NamedTuple):
    """The pairs of a claim in one context."""

    context: str
    saturated: bool
    control_mean: float
    pairs: int
    effect: float | None
    low: float | None
    high: float | None
    control_prompts: list[str]
    control: list[float]
    treated: list[float]


class ClaimRow(NamedTuple):
    """A tested claim; see `store.tables.Claim`."""

    id: int
    number: int
    concept: str
    slot: str
    direction: int
    sources: dict[str, list[str]]
    effect: float
    low: float
    high: float
    p_corrected: float
    pairs: int
    flips: int
    placebo_threshold: float | None
    detected: float | None
    prior: float | None
    in_frames: float | None
    over_represented: bool
    core: bool
    min_effect: float
    verdict: str
    reason: str | None
    evidence: list[EvidenceRow]


_CLAIM_COLUMNS = ClaimRow._fields[:-1]


class StageRow(NamedTuple):
    """A stage of the report on a study."""

    name: str
    done: int
    total: int
    state: str
    """Either waiting, running, done or failed, or "left" if the process ended before it."""
    error: str | None


class JobRow(NamedTuple):
    """A job of the queue."""

    id: str
    state: State
    stage: str | None
    done: int
    total: int
    error: str | None
    activity: str | None = None
    """What is done for it before its first stage, such as "loading generator, 2 of 3"."""


def progress_of(job: JobRow | None, *, done: bool = False) -> dict[str, Any]:
    """Return state, stage, done, total and error of an analysis, by its job unless it is done."""
    if done or job is None:
        state, error = ("done", None) if done else ("failed", PROCESS_GONE)
        return {"state": state, "stage": None, "done": 0, "total": 0, "error": error}
    state, error = "waiting", None
    if job.state in ACTIVE:
        state = "running"
    elif job.state in ENDED:
        state, error = "failed", job.error or job.state.value
        if job.state in (State.CANCELLED, State.LOST):
            state, error = job.state.value, job.error
    progress = {"stage": job.activity or job.stage, "done": job.done, "total": job.total}
    return progress | {"state": state, "error": error}


class _JobRow(NamedTuple):
    """A job as it is stored."""

    id: str
    state: State
    stage: str | None
    done: int
    total: int
    error: dict[str, Any] | None


class CaptionRow(NamedTuple):
    """A caption of one or more pictures."""

    text: str
    pictures: int
    sha256: str
    """Hash of one of the pictures."""


class AttributionRow(NamedTuple):
    """The loss of probability without a word, with its interval."""

    run_id: str
    position: int
    word: str
    leave_one_out: float
    leave_one_out_low: float
    leave_one_out_high: float


class ScoreRow(NamedTuple):
    """The activation score of a text as a prompt, with its interval."""

    kind: str
    text: str
    value: float
    low: float
    high: float
    n: int


class ReportRow(NamedTuple):
    """A report; ``body`` holds its sentences if they were checked."""

    id: int
    author: str
    markdown: str
    body: dict[str, Any] | None
    created_at: str


_AT_WORK = (*ACTIVE, State.QUEUED)
_RUN_COLUMNS = (
    "run.rowid, run.id, run.study_id, run.seed, run.state, classifier.spec, study.class_name, "
    "run.created_at, run.started_at, run.ended_at, run.heartbeat_at, run.device, run.attempt, "
    "run.steps_total, run.steps_done, run.words, run.prompt, run.score_value, run.score_low, "
    "run.score_high, run.score_n, run.frames_wanted, run.frames_hit, run.frames_tried, "
    "run.stop_reason, run.error, run.seconds, run.peak_memory_bytes, run.priority, run.config"
)
_FROM = (
    "run JOIN study ON study.id = run.study_id JOIN classifier ON classifier.id = "
    "study.classifier_id"
)
_STEP_COLUMNS = (
    "step, losses, target_probability, predicted_class, words, pseudo_targets, best_words, "
    "best_loss, entropy, temperature, seconds, word_probabilities"
)
_FRAME_COLUMNS = "id, kind, step, seed, prompt, predicted_class, target_probability, hit, sha256"


def newest_migration() -> str:
    """Return the newest schema that this code supports, from its migrations' file names."""
    return max(path.name[:4] for path in _MIGRATIONS.rglob("[0-9]*.py"))


class Browse:
    """A reader of the store in ``home``, which need not exist yet. Usable from any thread."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "store.sqlite"
        self._idle: list[tuple[int, sqlite3.Connection]] = []  # with the generation of its file
        self._watch: sqlite3.Connection | None = None
        self._seen: tuple[tuple[int, str, int] | None, int] = (None, -1)
        self._was_there = self.path.is_file()
        self._generation = 0  # of the file, which may be replaced by a backup

    def state_of_schema(self) -> str:
        """Return none (no store yet), old (must be upgraded), current or new (newer program).

        Raises StoreError for an altered store, and for one on a network file system.
        """
        if (refusal := file_systems.refusal(self.home)) is not None:
            raise refusal
        if not self.path.exists() or self.path.stat().st_size == 0:
            return "none"
        with explained(self.path), closing(connect_read_only(self.path)) as connection:
            if "table alembic_version" not in objects_of(connection):
                return "old"  # `Store.open` raises if it is another database
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            revision, newest = str(row[0]) if row else "0000", newest_migration()
            if revision == newest:
                check_schema(connection, self.path)
        return "current" if revision == newest else "old" if revision < newest else "new"

    def changed(self) -> bool:
        """Return whether the store changed since the last call; cheap enough to call often."""
        seen: tuple[tuple[int, str, int] | None, int] = (None, 0)
        try:
            stat, address = self.path.stat(), file_systems.address_to_read(self.path)
            # A connection to a file that is said not to change keeps what it read of it.
            file = stat.st_ino, address, stat.st_mtime_ns if "immutable" in address else 0
            if self._watch is None or file != self._seen[0]:
                self._watch = connect_read_only(self.path)
                self._generation += 1
            [version] = self._watch.execute("PRAGMA data_version").fetchone()
            seen = (file, int(version))
            self._was_there = True
        except (sqlite3.Error, OSError):
            if self._seen != seen:
                self._generation += 1  # a connection would still read the removed file
            self._watch = None
        changed, self._seen = seen != self._seen, seen
        return changed

    def is_gone(self) -> bool:
        """Return whether the file that was there at first, or once in `changed`, was removed."""
        return self._was_there and not self.path.exists()

    # Lists

    def keys(
        self,
        text: str = "",
        order: str = "study",
        *,
        reverse: bool = False,
        most: int | None = None,
        seconds: float | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Keys:
        """Return the runs that match the filter; archived runs only if it asks for tags.

        Returns at most ``most`` runs, and stops early after ``seconds`` of CPU time or once
        ``wanted`` returns False: 100,000 keys take 0.2 s. Raises FilterError.
        """
        condition = compile_filter(text)
        by = ORDERS[order]
        if reverse:
            by = ", ".join(_reversed(part) for part in by.split(", "))
        grouped = order == "study"
        columns = "run.rowid, study.rowid" if grouped else "run.rowid, 0"
        gone = [key for key, _ in self._gone()] if STATE in f"{condition.sql} {by}" else []
        sql = (
            f"WITH gone AS (SELECT value FROM json_each(?)) SELECT {columns} "
            f"FROM {self._tables(condition, by)} WHERE ({condition.sql})"
        )
        archived = "SELECT run_id FROM tag WHERE name = 'archived'"
        if "tag:" not in text and self.rows(f"{archived} LIMIT 1"):
            sql += f" AND run.id NOT IN ({archived})"
        sql += f" ORDER BY {by} LIMIT ?"
        keys, runs, last = array("q"), 0, 0
        add = keys.append
        stopped, end = False, None if seconds is None else time.thread_time() + seconds

        def stop() -> bool:
            nonlocal stopped
            stopped = not wanted() or (end is not None and time.thread_time() > end)
            return stopped

        with explained(self.path), self._lent() as connection:
            if connection is None:
                return Keys(keys, 0, True)
            connection.set_progress_handler(stop, _OPERATIONS)
            try:
                for key, study in connection.execute(
                    sql,
                    (json.dumps(gone), *condition.parameters, -1 if most is None else most),
                ):
                    if study != last:
                        add(-study)
                        last = study
                    add(key)
                    runs += 1
            except sqlite3.OperationalError:
                if not stopped:
                    raise
            finally:
                connection.set_progress_handler(None, 0)
        return Keys(keys, runs, not stopped and runs != most)

    def runs(self, keys: Iterable[int]) -> dict[int, RunRow]:
        """Return the runs with these keys; deleted runs are left out."""
        found = {}
        for row in self._in(f"SELECT {_RUN_COLUMNS} FROM {_FROM} WHERE run.rowid IN", keys):
            for run in decoding.decoded("run", RunRow, [row]):
                found[run.key] = self._alive(run) if run.state in ACTIVE else run
        at_work = {key: run for key, run in found.items() if run.state in _AT_WORK}
        activities = self._activities() if at_work else {}
        for key, run in at_work.items():
            if run.id in activities:
                found[key] = run._replace(activity=activities[run.id])
        return found

    def _activities(self) -> dict[str, str]:
        """Return what slots do now, by the id of the run or job.

        Those of a slot without a runner or worker count for a while: its runner may be starting.
        """
        rows = self.rows(
            "SELECT name, work_id, activity, "
            "(julianday('now') - julianday(updated_at)) * 86400 < ? "
            "FROM slot WHERE activity IS NOT NULL",
            (_START_SECONDS,),
        )
        away = self.rows("SELECT run_id, place, seen FROM attempt WHERE ended_at IS NULL")
        locks = self.home / "locks"
        return {str(run_id): f"{place}: {seen or 'submitting'}" for run_id, place, seen in away} | {
            str(work_id): str(activity)
            for name, work_id, activity, is_new in rows
            if is_new
            or is_locked(locks / f"runner-{name}.lock")
            or is_locked(locks / f"slot-{name}.lock")
        }

    def studies(self, keys: Iterable[int]) -> dict[int, StudyRow]:
        """Return the studies with these keys."""
        rows = self._in(
            "SELECT study.rowid, study.id, spec, class_name, class_index, labels, settings, "
            "study.created_at FROM study JOIN classifier ON classifier.id = classifier_id "
            "WHERE study.rowid IN",
            keys,
        )
        some = (decoding.decoded_values("study", StudyRow, row) for row in rows)
        studies = [values for values in some if values is not None]
        ids = [values["id"] for values in studies]
        claims = {
            study_id: (count, confirmed)
            for study_id, count, confirmed in self._in(
                "SELECT study_id, count(*), sum(verdict = 'confirmed') FROM claim "
                "WHERE study_id IN",
                ids,
                " GROUP BY study_id",
            )
        }
        # SQLite takes the other columns from the row with the maximum.
        findings = {
            study_id: (concept, effect)
            for study_id, concept, effect, _ in self._in(
                "SELECT study_id, concept, effect, max(abs(effect)) FROM claim "
                "WHERE verdict = 'confirmed' AND NOT core AND study_id IN",
                [name for name, (_, confirmed) in claims.items() if confirmed],
                " GROUP BY study_id",
            )
        }
        running = self._in(
            "SELECT study_id FROM stage WHERE state = 'running' AND study_id IN", ids
        )
        stages = {
            study_id: stage
            for (study_id,) in running
            for stage in self.stages(study_id)
            if stage.state == "running"
        }
        found = {}
        for values in studies:
            name = values["id"]
            count, confirmed = claims.get(name, (0, 0))
            finding, effect = findings.get(name, (None, None))
            found[values["key"]] = StudyRow(
                **values, states=self.counts(name), claims=count, confirmed=confirmed,
                stage=stages.get(name), finding=finding, effect=effect,
            )  # fmt: skip
        return found

    def counts(self, study_id: str | None = None) -> dict[str, int]:
        """Return the number of runs by state, of all studies or of one."""
        which, values = ("true", ()) if study_id is None else ("study_id = ?", (study_id,))
        found: dict[str, int] = {}
        for raw, count in self.rows(
            f"SELECT state, count(*) FROM run WHERE {which} GROUP BY state", values
        ):
            state = decoding.decoded_cell("run", "state", State, raw).value
            found[state] = found.get(state, 0) + count
        if not any(state in found for state in ACTIVE):
            return found
        for _, stored in self._gone(which, values):
            found[stored] = found.get(stored, 0) - 1
            found["lost"] = found.get("lost", 0) + 1
        return {state: count for state, count in found.items() if count > 0}

    def newest(self) -> tuple[str | None, str | None]:
        """Return the ids of the newest study and run: their keys may be those of deleted ones."""
        rows = self.rows(
            "SELECT (SELECT id FROM study ORDER BY rowid DESC LIMIT 1), "
            "(SELECT id FROM run ORDER BY rowid DESC LIMIT 1)"
        )
        return rows[0] if rows else (None, None)

    def archived(self) -> int:
        """Return the number of archived runs."""
        rows = self.rows("SELECT count(*) FROM tag WHERE name = 'archived'")
        return int(rows[0][0]) if rows else 0

    def has_unfinished(self) -> bool:
        """Return whether a run is queued or running."""
        names = [state.value for state in ACTIVE | {State.QUEUED}]
        try:
            return bool(
                self.rows(
                    f"SELECT 1 FROM run WHERE state IN ({','.join('?' * len(names))}) LIMIT 1",
                    names,
                )
            )
        except StoreError:
            return False

    def tags(self, run_ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the tags of these runs."""
        found: dict[str, list[str]] = {}
        for run_id, name in self._in(
            "SELECT run_id, name FROM tag WHERE run_id IN", run_ids, " ORDER BY name"
        ):
            found.setdefault(run_id, []).append(name)
        return found

    def note(self, name: str) -> str:
        """Return the user's note on what an id names."""
        rows = self.rows("SELECT text FROM note WHERE of = ?", (name,))
        return decoding.decoded_cell("note", "text", str, rows[0][0]) if rows else ""

    def find(self, name: str) -> int | None:
        """Return the key of a run, or the negated key of a study, by its id."""
        table, sign = ("study", -1) if name.startswith("s") else ("run", 1)
        rows = self.rows(f"SELECT rowid FROM {table} WHERE id = ?", (name,))
        return sign * int(rows[0][0]) if rows else None

    def id_of(
        self, table: str, name: str, *, noun: str, command: str, kind: str | None = None
    ) -> str:
        """Return an id from the id or a unique prefix; raise StoreError, or NotFound, which names
        the command that lists them. kind: one of the column of that name."""
        of_kind, values = ("", ()) if kind is None else (" AND kind = ?", (kind,))
        rows = self.rows(f"SELECT id FROM {table} WHERE id = ?{of_kind}", (name, *values))
        if not rows and name:
            sql = f"SELECT id FROM {table} WHERE substr(id, 1, ?) = ?{of_kind} LIMIT 5"
            rows = self.rows(sql, (len(name), name, *values))
        if len(rows) == 1:
            return str(rows[0][0])
        if rows:
            matches = ", ".join(str(row[0]) for row in rows)
            raise StoreError(
                f"{name!r} is the prefix of more than one {noun}: {matches}",
                value=name,
                remedy="give more letters",
            )
        sql = f"SELECT count(*) FROM {table} WHERE true{of_kind}"
        [(count,)] = self.rows(sql, values) or [(0,)]
        raise NotFound(
            f"no {noun} {name!r} among the {count} in {self.path}",
            value=name,
            remedy=f"`dexter-tui {command}` lists them",
        )

    def study_runs(self, study_id: str) -> list[RunRow]:
        """Return the runs of a study, by seed."""
        rows = self.rows("SELECT rowid FROM run WHERE study_id = ? ORDER BY seed", (study_id,))
        found = self.runs(key for (key,) in rows)
        return [found[key] for (key,) in rows if key in found]

    # One run

    def steps(self, run_id: str, *, after: int = 0, last: int | None = None) -> list[StepRow]:
        """Return the steps after step ``after``, in order; at most the ``last`` of them."""
        sql = f"SELECT {_STEP_COLUMNS} FROM step WHERE run_id = ? AND step > ? ORDER BY step"
        if last is not None:
            rows = self.rows(f"{sql} DESC LIMIT ?", (run_id, after, last))[::-1]
        else:
            rows = self.rows(sql, (run_id, after))
        return decoding.decoded("step", StepRow, rows)

    def losses(self, run_id: str, steps: int, points: int) -> list[float]:
        """Return the total loss at some of the steps 1 to ``steps``, spread evenly."""
        some = sorted({1 + k * (steps - 1) // max(points - 1, 1) for k in range(points)})
        rows = self.rows(
            "SELECT CASE WHEN json_valid(losses) THEN json_extract(losses, '$.total') END "
            f"FROM step WHERE run_id = ? AND step IN ({','.join('?' * len(some))}) ORDER BY step",
            (run_id, *some),
        )
        return [float(loss) for (loss,) in rows if isinstance(loss, int | float)]

    def frames(self, run_id: str, kind: str | None = None) -> list[FrameRow]:
        """Return the pictures of a run, in order; ``kind`` is "preview" or "frame"."""
        sql, values = f"SELECT {_FRAME_COLUMNS} FROM frame WHERE run_id = ?", [run_id]
        if kind is not None:
            sql, values = f"{sql} AND kind = ?", [run_id, kind]
        rows = self.rows(f"{sql} ORDER BY kind DESC, step, id", values)
        return decoding.decoded("frame", FrameRow, rows)

    def newest_preview(self, run_id: str) -> FrameRow | None:
        """Return the latest preview of a run."""
        rows = self.rows(
            f"SELECT {_FRAME_COLUMNS} FROM frame WHERE run_id = ? AND kind = 'preview' "
            "ORDER BY step DESC LIMIT 1",
            (run_id,),
        )
        return next(iter(decoding.decoded("frame", FrameRow, rows)), None)

    def best_frames(self, run: RunRow, limit: int = 1) -> list[FrameRow]:
        """Return the hits of a run, best first."""
        order = "ASC" if run.config.get("direction") == "lower" else "DESC"
        rows = self.rows(
            f"SELECT {_FRAME_COLUMNS} FROM frame WHERE run_id = ? AND kind = 'frame' AND hit "
            f"ORDER BY target_probability {order}, id LIMIT ?",
            (run.id, limit),
        )
        return decoding.decoded("frame", FrameRow, rows)

    def prompts(self, run_id: str, limit: int = 200) -> list[PromptRow]:
        """Return the prompts of a run, best first."""
        rows = self.rows(
            "SELECT rank, words, text, mean_loss, pictures FROM prompt WHERE run_id = ? "
            "ORDER BY rank LIMIT ?",
            (run_id, limit),
        )
        return decoding.decoded("prompt", PromptRow, rows)

    def word_gains(self, run_id: str) -> list[WordGainRow]:
        """Return the gains of the words of a run's prompts, highest lower bound first."""
        rows = self.rows("SELECT word_gains FROM run WHERE id = ?", (run_id,))
        gains = [
            decoding.decoded_cell("run", "word_gains", list[Any] | None, raw) for (raw,) in rows
        ]
        found = [
            WordGainRow(carries=gain["low"] > 0, **{name: gain[name] for name in _GAIN})
            for some in gains
            for gain in some or ()
        ]
        return sorted(found, key=lambda gain: -gain.low)

    # The findings of a study

    def claims(self, study_id: str) -> list[ClaimRow]:
        """Return the claims of a study, by number, each with its evidence."""
        return self._claims("study_id = ? ORDER BY number", study_id)

    def probed(self, job_id: str) -> ClaimRow | None:
        """Return the claim that a probe has tested; None as long as its job has no result."""
        own = "SELECT json_extract(result, '$.probe') FROM job WHERE id = ?"
        return next(iter(self._claims(f"probe_id = ({own})", job_id)), None)

    def _claims(self, which: str, value: str) -> list[ClaimRow]:
        rows = self.rows(f"SELECT {', '.join(_CLAIM_COLUMNS)} FROM claim WHERE {which}", (value,))
        some = (decoding.decoded_values("claim", ClaimRow, row) for row in rows)
        claims = [values for values in some if values is not None]
        evidence: dict[int, list[EvidenceRow]] = {}
        for claim_id, *columns in self._in(
            f"SELECT claim_id, {', '.join(EvidenceRow._fields)} FROM evidence WHERE claim_id IN",
            [values["id"] for values in claims],
            " ORDER BY context",
        ):
            rows_of = evidence.setdefault(claim_id, [])
            rows_of += decoding.decoded("evidence", EvidenceRow, [columns])
        return [ClaimRow(**values, evidence=evidence.get(values["id"], [])) for values in claims]

    def captions(self, study_id: str) -> list["CaptionRow"]:
        """Return the captions of a study's pictures, the most frequent first."""
        rows = self.rows(
            "SELECT caption.text, count(DISTINCT frame.sha256), min(frame.sha256) FROM caption "
            "JOIN frame ON frame.sha256 = caption.sha256 JOIN run ON run.id = frame.run_id "
            "WHERE run.study_id = ? GROUP BY caption.text ORDER BY 2 DESC, 1",
            (study_id,),
        )
        return decoding.decoded("caption", CaptionRow, rows)

    def attribution(self, study_id: str) -> list["AttributionRow"]:
        """Return the words of the runs' best prompts."""
        rows = self.rows(
            "SELECT run_id, position, word, leave_one_out, leave_one_out_low, leave_one_out_high "
            "FROM attribution JOIN run ON run.id = run_id WHERE study_id = ? "
            "ORDER BY seed, position",
            (study_id,),
        )
        return decoding.decoded("attribution", AttributionRow, rows)

    def scores(self, study_id: str) -> list["ScoreRow"]:
        """Return texts as prompts, the highest score first."""
        rows = self.rows(
            "SELECT kind, text, value, low, high, n FROM score WHERE study_id = ? "
            "ORDER BY value DESC, kind, text",
            (study_id,),
        )
        return decoding.decoded("score", ScoreRow, rows)

    def stages(self, study_id: str) -> list[StageRow]:
        """Return the stages of a study's report; one that no process is at has failed or waits."""
        job = self.report_job(study_id)
        state = None if job is None else job.state
        found = []
        rows = self.rows(
            "SELECT name, done, total, state, error FROM stage WHERE study_id = ? ORDER BY rowid",
            (study_id,),
        )
        for stage in decoding.decoded("stage", StageRow, rows):
            if state in ACTIVE:
                pass
            elif stage.state in ("running", "waiting") and state in (State.QUEUED, State.PAUSED):
                stage = stage._replace(state="waiting")
            elif stage.state == "running":
                stage = stage._replace(state="failed", error=PROCESS_GONE)
            elif stage.state == "waiting":
                stage = stage._replace(state="left")
            found.append(stage)
        return found

    def report_job(self, study_id: str) -> JobRow | None:
        """Return the newest report job of a study."""
        return self._newest_job("study_id = ? AND kind = 'report'", study_id)

    def comparison_job(self, comparison_id: str) -> JobRow | None:
        """Return the newest job of a comparison."""
        return self._newest_job("comparison_id = ?", comparison_id)

    def screening_job(self, screening_id: str) -> JobRow | None:
        """Return the newest job of a screening."""
        return self._newest_job("screening_id = ?", screening_id)

    def job_of(self, job_id: str) -> JobRow | None:
        """Return a job."""
        return self._newest_job("id = ?", job_id)

    def _newest_job(self, which: str, value: str) -> JobRow | None:
        """Return a job; an active one whose lock no process holds is lost."""
        query = (
            "SELECT id, state, stage, done, total, error FROM job "
            f"WHERE {which} ORDER BY created_at DESC, id DESC LIMIT 1"
        )
        for _ in range(2):
            found = decoding.decoded("job", _JobRow, self.rows(query, (value,)))
            if not found:
                return None
            job = JobRow(*found[0][:-1], error=(found[0].error or {}).get("problem"))
            if job.state is State.QUEUED:  # the stage of an earlier attempt is over
                job = job._replace(stage=None, done=0, total=0)
            if job.state not in ACTIVE or is_locked(self.home / "locks" / f"job-{job.id}.lock"):
                return job._replace(activity=self._activities().get(job.id))
            # A process frees the lock after it has written the end, so look again.
        return job._replace(state=State.LOST, error=PROCESS_GONE)

    def report(self, study_id: str) -> ReportRow | None:
        """Return the newest report on a study."""
        rows = self.rows(
            "SELECT id, author, markdown, body, created_at FROM report WHERE study_id = ? "
            "ORDER BY id DESC LIMIT 1",
            (study_id,),
        )
        if not rows:
            return None
        return next(iter(decoding.decoded("report", ReportRow, rows)), None)

    # Files

    def picture(self, sha256: str, *, small: bool = True) -> Path:
        """Return the file of a picture; with ``small``, its thumbnail if there is one."""
        thumbnail = self.home / "thumbnails" / sha256[:2] / f"{sha256}.jpg"
        if small and thumbnail.exists():
            return thumbnail
        return self.home / "artifacts" / "sha256" / sha256[:2] / sha256

    def log(self, run_id: str) -> Path:
        """Return the log file of a run's worker, which need not exist."""
        return self.home / "runs" / run_id / "log"

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query; none if there is no store yet."""
        with explained(self.path), self._lent() as connection:
            return list(connection.execute(sql, tuple(parameters))) if connection else []

    # Internals

    def _state_now(self, key: int, name: str, state: State) -> State:
        """Return the state of an active run; lost if no process of this machine holds its lock."""
        if is_locked(self.home / "locks" / f"run-{name}.lock"):
            return state
        # A process writes the final state before it frees the lock, so read the state again.
        found = self.rows("SELECT state, place FROM run WHERE rowid = ?", (key,))
        if not found:
            return state
        [(stored, place)] = found
        if stored == state:
            return State.LOST if place is None else state
        now: State = decoding.decoded_cell("run", "state", State, stored)
        return now

    def _gone(self, which: str = "true", values: Sequence[object] = ()) -> list[tuple[int, str]]:
        """Return key and stored state of the active runs that are lost, of all or of some."""
        active = [state.value for state in ACTIVE]
        marks = ", ".join("?" * len(active))
        sql = f"SELECT rowid, id, state FROM run WHERE {which} AND state IN ({marks})"
        return [
            (key, stored)
            for key, name, stored in self.rows(sql, (*values, *active))
            if self._state_now(key, name, State(stored)) is State.LOST
        ]

    def _alive(self, run: RunRow) -> RunRow:
        """Add the pace to an active run; mark it as lost if no process holds its lock."""
        state = self._state_now(run.key, run.id, run.state)
        if state is State.LOST:
            gone = f"{PROCESS_GONE}; the run can be resumed"
            return run._replace(state=state, error=run.error or gone)
        if state is not run.state:
            return run._replace(state=state)
        rows = self.rows(
            "SELECT seconds, best_words FROM step WHERE run_id = ? ORDER BY step DESC LIMIT ?",
            (run.id, _PACE_STEPS),
        )
        some = [
            decoding.decoded_cell("step", "seconds", float | None, seconds) for seconds, _ in rows
        ]
        paces = [seconds for seconds in some if seconds is not None]
        words = run.words
        if not words and rows:
            words = decoding.decoded_cell("step", "best_words", list[str] | None, rows[0][1]) or []
        return run._replace(
            seconds_per_step=sum(paces) / len(paces) if paces else None,
            words=words,
            words_are_final=bool(run.words),
        )

    @staticmethod
    def _tables(condition: Condition, order: str) -> str:
        """Return only the tables that are needed: joins of 100,000 rows are slow."""
        used = f"{condition.sql} {order}"
        if "study." in used or "classifier." in used:
            return _FROM
        return "run"

    def _in(self, sql: str, keys: Iterable[object], end: str = "") -> list[tuple[Any, ...]]:
        wanted, rows = list(keys), []
        for start in range(0, len(wanted), _MAX_VARIABLES):
            part = wanted[start : start + _MAX_VARIABLES]
            rows += self.rows(f"{sql} ({','.join('?' * len(part))}){end}", part)
        return rows

    @contextmanager
    def _lent(self) -> Iterator[sqlite3.Connection | None]:
        """Lend a connection that nobody else uses; None if there is no store yet.

        The one that was used last comes first, and few are kept: each thread's own would keep a
        page cache of 2 MB.
        """
        generation = self._generation
        connection: sqlite3.Connection | None = None
        while self._idle and connection is None:
            with suppress(IndexError):  # another thread took the last one
                of, connection = self._idle.pop()
                if of != generation:
                    connection.close()
                    connection = None
        if connection is None and self.path.exists():
            connection = connect_read_only(self.path)
        try:
            yield connection
        finally:
            if connection is not None and len(self._idle) < _MOST_IDLE:
                self._idle.append((generation, connection))
            elif connection is not None:
                connection.close()


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a plain connection that cannot write, usable from any thread."""
    connection = sqlite3.connect(
        file_systems.address_to_read(path),
        uri=True,
        timeout=10,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = decoding.to_text
    connection.execute("PRAGMA query_only=ON")
    return connection


def _reversed(part: str) -> str:
    nulls = " NULLS LAST" if part.endswith(" NULLS LAST") else ""
    column = part.removesuffix(nulls)
    if column.endswith(" DESC"):
        return column.removesuffix(" DESC") + nulls
    return f"{column} DESC{nulls}"
