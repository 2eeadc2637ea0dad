"""The store: one folder ("home") with a SQLite file, pictures, runs' files and locks.

    home/store.sqlite           the tables (store.tables)
    home/artifacts/sha256/ab/   files by their hash
    home/thumbnails/ab/         pictures made small, by the hash of the original
    home/runs/<run>/            journal, log and checkpoints of a run
    home/studies/               what was found about studies, once more (store.journal.study_file)
    home/locks/                 run-<run>.lock: held by the process that works on the run

A run is active (starting, running, pausing, cancelling) only while a process holds its lock.
`claim_run` takes the lock inside the transaction that makes the run active, and a process frees
it only after the transaction that ends the run. So whoever sees an active run whose lock is free,
within one write transaction, sees a run whose process died.
"""

import difflib
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, TypedDict, TypeVar, Unpack

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col, select

from store import artifacts
from store.clock import boot_id, now
from store.database import (
    PATIENCE,
    is_current,
    prepare,
    reader_engine,
    rehearsal,
    writer_engine,
)
from store.errors import StoreError, explained
from store.journal import replay, study_file
from store.journal.run_journal import Entry, Journal
from store.locks import FileLock, is_locked, try_lock
from store.states import ACTIVE, ENDED, State, sources
from store.tables import (
    Artifact,
    Classifier,
    Comparison,
    Frame,
    Prompt,
    Report,
    Run,
    Slot,
    Step,
    Study,
    Tag,
    UtcTime,
    to_json,
)

_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"  # base32
_LOCK_PATIENCE = 2.0  # seconds a claim waits for the last worker of a run to go

# Attempts of a run that die one after another without a step more than before.
MAX_FRUITLESS = 5
# Seconds after the first of them, doubled with each further one.
BACKOFF = 4.0
MAX_BACKOFF = BACKOFF * 2 ** (MAX_FRUITLESS - 2)

_Named = TypeVar("_Named", Run, Study, Comparison)


class RunFields(TypedDict, total=False):
    """What a worker may write into its run; units as in `store.tables.Run`."""

    device: str
    steps_total: int
    words: Sequence[str]
    prompt: str
    word_gains: Sequence[Mapping[str, Any]]
    score_value: float
    score_low: float
    score_high: float
    score_n: int
    score_hits: int
    frames_wanted: int
    frames_hit: int
    frames_tried: int
    stop_reason: str
    error: str
    seed_ranges: Mapping[str, Any]
    peak_memory_bytes: int | None
    seconds: float


class Store:
    """Open it by `Store.open`, in each process anew: it must not be carried over a fork."""

    def __init__(self, home: Path, *, read_only: bool, patience: float) -> None:
        self.home = home
        self.path = home / "store.sqlite"
        self._reader = reader_engine(self.path)
        self._writer = None if read_only else writer_engine(self.path, patience=patience)
        # For what users are told: a run that is queued stays so, also after a power cut.
        self._durable = (
            None if read_only else writer_engine(self.path, patience=patience, durable=True)
        )
        self._process = os.getpid()
        self._file = _identity(self.path)
        self._locks: dict[str, FileLock] = {}

    @classmethod
    def open(cls, home: Path, *, read_only: bool = False, patience: float = PATIENCE) -> Self:
        """Open the store, made or upgraded if need be; StoreError if it cannot be used.

        `patience`: how many seconds a write waits for other processes that write.
        """
        home = home.absolute()
        path = home / "store.sqlite"
        with explained(path):
            if read_only:
                if not is_current(path):
                    raise StoreError(f"{path}: no store of this version yet; start a run first")
            else:
                _make_folders(home)
                prepare(path, home / "locks" / "upgrade.lock")
        return cls(home, read_only=read_only, patience=patience)

    def close(self) -> None:
        """Close the file and free the locks of runs."""
        for lock in self._locks.values():
            lock.release()
        self._reader.dispose()
        for writer in (self._writer, self._durable):
            if writer is not None:
                writer.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Studies and runs

    def ensure_classifier(
        self, spec: str, weights_hash: str | None, labels: Sequence[str], image_size: int
    ) -> int:
        """The id of this classifier's row, made if it is new. `image_size` in pixels."""
        values = {
            "spec": spec,
            "weights_hash": weights_hash,
            "labels": list(labels),
            "image_size": image_size,
        }
        key = _hash(values)
        with self._write() as session:
            session.exec(
                insert(Classifier)
                .values(**values, key=key, created_at=now())
                .on_conflict_do_nothing()
            )
            return session.exec(select(Classifier.id).where(Classifier.key == key)).one()

    def ensure_study(
        self, classifier_id: int, class_name: str, class_index: int, settings: Mapping[str, Any]
    ) -> str:
        """The id of the study of this classifier, class and settings, made if it is new."""
        settings_hash = _hash(settings)
        with self._write() as session:
            found = session.exec(
                select(Study.id).where(
                    Study.classifier_id == classifier_id,
                    Study.class_index == class_index,
                    Study.settings_hash == settings_hash,
                )
            ).first()
            if found is not None:
                return found
            study = Study(
                id=_new_id(session, Study, "s"),
                classifier_id=classifier_id,
                class_name=class_name,
                class_index=class_index,
                settings=dict(settings),
                settings_hash=settings_hash,
            )
            session.add(study)
            return study.id

    def add_run(
        self, study_id: str, seed: int, config: Mapping[str, Any], *, priority: int = 0
    ) -> str:
        """Queue a run; its id."""
        [run_id] = self.add_runs(study_id, [(seed, config)], priority=priority)
        return run_id

    def add_runs(
        self,
        study_id: str,
        runs: Sequence[tuple[int, Mapping[str, Any]]],
        *,
        priority: int = 0,
    ) -> list[str]:
        """Queue runs, each a seed and a config, in this order; their ids."""
        with self._write(durable=True) as session:
            study = session.get(Study, study_id)
            if study is None:
                raise self._unknown(session, Study, study_id)
            rows = []
            for seed, config in runs:
                run = Run(
                    id=_new_id(session, Run, "r"),
                    study_id=study_id,
                    seed=seed,
                    config=dict(config),
                    config_hash=_hash(config),
                    priority=priority,
                )
                session.add(run)
                rows.append(run)
            session.flush()
            first = {run.id: replay.queued_entry(run, study, study.classifier) for run in rows}
        for run_id, entry in first.items():
            with explained(self.home), suppress(OSError):  # then its worker writes it
                self.journal(run_id).replace([entry])
        return list(first)

    # The queue

    def claim_run(
        self,
        *,
        run_ids: Collection[str] | None = None,
        study_id: str | None = None,
        devices: Collection[str] | None = None,
        slot: str | None = None,
        fits: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> Run | None:
        """Make the first queued run (of these) "starting" for this process; None if none is left.

        `devices` are the values of a config's device that `slot` accepts. `fits` is asked about
        the config of the first in line; if it does not, none is claimed.
        This process holds the run's lock until `set_state` or `finish_run` ends the run, it calls
        `release`, or dies.
        """
        queued = _in_line(sa.select(col(Run.id), col(Run.config)), devices)
        if run_ids is not None:
            queued = queued.where(col(Run.id).in_(run_ids))
        if study_id is not None:
            queued = queued.where(col(Run.study_id) == study_id)
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            lock: FileLock | None = None
            held = []
            try:
                with self._write() as session:
                    for run_id, config in session.execute(queued):
                        lock = try_lock(self._lock_path(run_id))
                        if lock is None:
                            held.append(run_id)
                        elif fits is None or fits(config):
                            run = self._claim(session, run_id, slot)
                            break
                        else:
                            lock.release()
                            return None
            except StoreError:
                if lock is not None:
                    lock.release()
                raise
            if lock is not None:
                self._locks[run.id] = lock
                return run
            if not held:
                return None
            # A worker that gave its run back a moment ago is still to let go of the lock, and
            # one who asks whether it is held (`is_locked`) holds it for an instant.
            if time.monotonic() > deadline:
                raise StoreError(
                    f"queued, but another process still holds it: {', '.join(held)}; "
                    "end that process and try again"
                )
            time.sleep(0.02)

    def _claim(self, session: Session, run_id: str, slot: str | None) -> Run:
        session.exec(
            sa.update(Run)
            .where(col(Run.id) == run_id)
            .values(
                state=State.STARTING,
                attempt=Run.attempt + 1,
                progress=sa.func.max(col(Run.progress), col(Run.steps_done)),
                started_at=sa.func.coalesce(Run.started_at, sa.literal(now(), UtcTime())),
                not_before=None,
                heartbeat_at=now(),
                promise=None,
                pid=os.getpid(),
                boot_id=boot_id(),
                host=socket.gethostname(),
                slot=slot,
            )
        )
        return session.get_one(Run, run_id)

    def queue(self, *, devices: Collection[str] | None = None, due: bool = False) -> list[Run]:
        """The queued runs in the order in which they will be taken.

        `devices` as in `claim_run`; `due` leaves out those that wait after a crash.
        """
        with self._read() as session:
            return list(session.exec(_in_line(select(Run), devices, due=due)).all())

    def toggle_tag(self, run_ids: Sequence[str], name: str) -> bool:
        """Give the runs a tag, or, if all of them have it, take it away; whether it was given."""
        if not re.fullmatch(r"[\w.:+-]{1,40}", name):
            raise StoreError(f"tag {name!r}: give up to 40 letters, digits, and . : + - _")
        studies = set()
        with self._write() as session:
            for run_id in run_ids:
                run = session.get(Run, run_id)
                if run is None:
                    raise self._unknown(session, Run, run_id)
                studies.add(run.study_id)
            which = sa.and_(col(Tag.run_id).in_(run_ids), col(Tag.name) == name)
            having = set(session.exec(select(Tag.run_id).where(which)))
            missing = {*run_ids} - having
            if missing:
                session.add_all(Tag(run_id=run_id, name=name) for run_id in missing)
            else:
                session.exec(sa.delete(Tag).where(which))
        for study_id in studies:
            self.keep_study(study_id)
        return bool(missing)

    def set_priority(self, run_id: str, priority: int) -> Run:
        """Move a queued run in the queue: of two runs the one with more goes first."""
        with self._write(durable=True) as session:
            changed = session.exec(
                sa.update(Run)
                .where(col(Run.id) == run_id, col(Run.state) == State.QUEUED)
                .values(priority=priority)
            )
            run = session.get(Run, run_id)
            if run is None:
                raise self._unknown(session, Run, run_id)
            if not changed.rowcount:
                raise StoreError(f"run {run_id} is {run.state}; only queued runs have a place")
            return run

    def set_state(self, run_id: str, to: State, *, from_: Collection[State] | None = None) -> Run:
        """Move a run to another state, if it is in a legal one (and in one of `from_`).

        StoreError if it is not: another process may have been faster.
        """
        return self._change(run_id, to, from_, {})

    def finish_run(self, run_id: str, state: State, **fields: Unpack[RunFields]) -> Run:
        """End a run with its results, in one transaction, and free its lock."""
        if state not in ENDED:
            raise ValueError(f"{state} is no end")
        return self._change(run_id, state, None, fields)

    def update_run(self, run_id: str, **fields: Unpack[RunFields]) -> None:
        """Write fields of a run and its heartbeat."""
        with self._write() as session:
            self._beat(session, run_id, fields)

    def _change(
        self, run_id: str, to: State, from_: Collection[State] | None, fields: RunFields
    ) -> Run:
        allowed = sources(to) if from_ is None else sources(to) & frozenset(from_)
        values: dict[str, Any] = {}
        if to in ENDED:
            values["ended_at"] = now()
        elif to == State.QUEUED:  # whoever asks for it again has mended what was wrong
            values = {
                "ended_at": None,
                "error": None,
                "stop_reason": None,
                "fruitless": 0,
                "not_before": None,
            }
        with self._write(durable=True) as session:
            changed = session.exec(
                sa.update(Run)
                .where(col(Run.id) == run_id, col(Run.state).in_(allowed))
                .values(state=to, **values, **fields)
            )
            run = session.get(Run, run_id)
            if run is None:
                raise self._unknown(session, Run, run_id)
            if not changed.rowcount:
                raise StoreError(f"run {run_id} is {run.state}; it cannot become {to} now")
        if to not in ACTIVE:
            self.release(run_id)
        return run

    def release(self, run_id: str) -> None:
        """Free the lock of a run that this process claimed."""
        lock = self._locks.pop(run_id, None)
        if lock is not None:
            lock.release()

    def is_alive(self, run_id: str) -> bool:
        """Whether a process works on the run."""
        return is_locked(self._lock_path(run_id))

    def reconcile(self) -> list[str]:
        """Settle the active runs whose process is gone; their ids. Call it before a listing.

        What such a run wrote into its journal is brought into the store first: perhaps it ended.
        If it was asked to pause or to end, it did. Else it is queued again, to go on from its
        checkpoint after a while; if its last `MAX_FRUITLESS` attempts all died without getting
        any further, it is lost.
        """
        if self._writer is None:
            return []
        active = col(Run.state).in_(ACTIVE)
        with self._read() as session:
            ids = session.exec(select(Run.id).where(active)).all()
        gone = [run_id for run_id in ids if not self.is_alive(run_id)]
        settled = []
        for run_id in gone:
            journal = Journal(self.run_folder(run_id)).read()
            # Within a write transaction no run can be claimed or ended.
            with self._write() as session:
                run = session.get_one(Run, run_id)
                if run.state not in ACTIVE or self.is_alive(run_id):
                    continue
                new = [entry for entry in journal if entry["n"] > run.journal_entries]
                replay.apply(session, run_id, new)
                session.refresh(run)
                if run.state in ACTIVE:
                    _settle(run)
                    settled.append(run_id)
        return settled

    def _lock_path(self, run_id: str) -> Path:
        return self.home / "locks" / f"run-{run_id}.lock"

    # Slots

    def runner_lock(self, slot: str) -> Path:
        """Held by the slot's runner for as long as it lives."""
        return self.home / "locks" / f"runner-{slot}.lock"

    def slot_lock(self, slot: str) -> Path:
        """Held by the slot's worker for as long as it lives."""
        return self.home / "locks" / f"slot-{slot}.lock"

    def set_slot(
        self, name: str, device: str, *, note: str | None = None, broken: bool = False
    ) -> None:
        """Describe a slot, as its runner."""
        values = {
            "name": name,
            "device": device,
            "pid": os.getpid(),
            "boot_id": boot_id(),
            "updated_at": now(),
            "note": note,
            "broken": broken,
        }
        with self._write() as session:
            session.exec(
                insert(Slot)
                .values(**values)
                .on_conflict_do_update(index_elements=["name"], set_=values)
            )

    def slots(self) -> list[Slot]:
        """The slots that ever had a runner, by name."""
        with self._read() as session:
            return list(session.exec(select(Slot).order_by(col(Slot.name))))

    # Journals

    def journal(self, run_id: str) -> Journal:
        """The journal of a run."""
        return Journal(self.run_folder(run_id))

    def open_journal(self, run_id: str) -> Journal:
        """The journal of a run that this process claimed, to write into it.

        The store is brought up to date from it. A journal that is not there, or that lacks what
        the store has, is written anew from the store.
        """
        journal = self.journal(run_id)
        self._rehearse(run_id)
        self.catch_up(run_id)
        entries = journal.read()
        with self._read() as session:
            run = session.get_one(Run, run_id)
            if not entries or entries[-1]["n"] < run.journal_entries:
                journal.replace([replay.rows_entry(session, run)])
        journal.open(run.journal_entries)
        return journal

    def _rehearse(self, run_id: str) -> None:
        """So that the first write of a run holds the lock no longer than the others."""
        if self._writer is not None:
            with self._session(rehearsal(self._writer)) as session:
                replay.rehearse(session, run_id)

    def catch_up(
        self,
        run_id: str,
        entries: Sequence[Entry] | None = None,
        *,
        promise: float | None = None,
    ) -> None:
        """Write what the run's journal has and the store has not; a sign of life of its worker.

        `entries` are the last of the journal, to spare reading it. `promise`: seconds in which
        the worker will give its next sign. A store that does not know the run gets all of it.
        """
        sign = {"heartbeat_at": now(), "promise": promise}
        with self._write() as session:
            # Not the whole row: others wait for the lock.
            there = session.exec(select(Run.journal_entries).where(Run.id == run_id)).first()
            if there is None:
                self._restore(session, run_id)
                entries = []
            elif entries is None or (entries and entries[0]["n"] > there + 1):
                entries = self.journal(run_id).read(there)
            new = [entry for entry in entries if there is not None and entry["n"] > there]
            replay.apply(session, run_id, new, values=sign)

    def _restore(self, session: Session, run_id: str) -> None:
        entries = self.journal(run_id).read()
        if not entries or entries[0]["kind"] not in replay.WHOLE:
            raise self._unknown(session, Run, run_id)
        replay.restore(session, entries[0])
        if entries[1:]:
            replay.apply(session, run_id, entries[1:], rebuilding=True)

    # What a worker records

    def record_steps(self, run_id: str, steps: Sequence[Mapping[str, Any]]) -> None:
        """Write steps (columns of `Step`) in one transaction; those already there are replaced."""
        if not steps:
            return
        with self._write() as session:
            self._beat(session, run_id, {"steps_done": steps[-1]["step"]})
            replay.write_steps(session, run_id, steps)

    def record_prompts(self, run_id: str, prompts: Sequence[Mapping[str, Any]]) -> None:
        """Replace the run's prompts, best first: words, text, mean_loss, pictures."""
        with self._write() as session:
            self._beat(session, run_id, {})
            replay.write_prompts(session, run_id, prompts)

    def record_frame(
        self,
        run_id: str,
        *,
        kind: str,
        seed: int,
        prompt: str,
        predicted_class: int,
        target_probability: float,
        hit: bool,
        sha256: str,
        step: int = 0,
    ) -> None:
        """Write a picture's row; one of the same kind, step and seed is replaced.

        `kind` is "preview" (of a step) or "frame" (of the best prompt); `sha256` is from
        `put_artifact`.
        """
        row = {
            "kind": kind,
            "step": step,
            "seed": seed,
            "prompt": prompt,
            "predicted_class": predicted_class,
            "target_probability": target_probability,
            "hit": hit,
            "sha256": sha256,
        }
        with self._write() as session:
            self._beat(session, run_id, {})
            replay.write_frame(session, run_id, row)

    def put_artifact(self, data: bytes, mime: str) -> str:
        """Keep a file; its SHA-256. A picture must be what `mime` says and gets a thumbnail."""
        artifact = self.place_artifact(data, mime)
        with self._write() as session:
            replay.write_artifact(session, artifact)
        sha256: str = artifact["sha256"]
        return sha256

    def place_artifact(self, data: bytes, mime: str) -> dict[str, Any]:
        """Write the file of an artifact, but no row; the columns that its row is to have."""
        sha256 = artifacts.digest(data)
        size: tuple[int, int] | None = None
        with explained(self.home):
            if mime in artifacts.SUFFIXES:
                picture = artifacts.open_picture(data)
                if artifacts.FORMATS[picture.format or ""] != mime:
                    raise StoreError(f"a {picture.format} picture was called {mime}")
                size = picture.size
                small = artifacts.thumbnail(picture)
                if small is not None:
                    _place(self._thumbnail_path(sha256), small)
            _place(self.artifact_path(sha256), data)
        return {
            "sha256": sha256,
            "mime": mime,
            "size": len(data),
            "width": size and size[0],
            "height": size and size[1],
        }

    def add_report(self, study_id: str, markdown: str, *, author: str) -> int:
        """Keep a text about a study; its id. `author` is the model or person that wrote it."""
        with self._write() as session:
            if session.get(Study, study_id) is None:
                raise self._unknown(session, Study, study_id)
            report = Report(study_id=study_id, author=author, markdown=markdown)
            session.add(report)
            session.flush()
            return report.id

    def keep_study(self, study_id: str) -> None:
        """Write a study's findings, tags and notes to their file (`store.journal.study_file`)."""
        with self._read() as session:
            found = study_file.rows(session, study_id)
        with explained(self.home):
            study_file.write(study_file.path(self.home, study_id), study_id, found)

    def _beat(self, session: Session, run_id: str, fields: Mapping[str, Any]) -> None:
        changed = session.exec(
            sa.update(Run).where(col(Run.id) == run_id).values(heartbeat_at=now(), **fields)
        )
        if not changed.rowcount:
            raise self._unknown(session, Run, run_id)

    # Files

    def artifact_path(self, sha256: str) -> Path:
        """The file of an artifact."""
        return self.home / "artifacts" / "sha256" / sha256[:2] / sha256

    def read_artifact(self, sha256: str) -> bytes:
        """The bytes of an artifact; StoreError if they are gone or changed."""
        path = self.artifact_path(sha256)
        with explained(path):
            data = path.read_bytes()
        if artifacts.digest(data) != sha256:
            raise StoreError(f"{path}: damaged (its bytes are not those of its name)")
        return data

    def thumbnail_path(self, sha256: str) -> Path:
        """The small form of a picture: a JPEG of up to 192 pixels, or the picture if it is so."""
        small = self._thumbnail_path(sha256)
        return small if small.exists() else self.artifact_path(sha256)

    def _thumbnail_path(self, sha256: str) -> Path:
        return self.home / "thumbnails" / sha256[:2] / f"{sha256}.jpg"

    def run_folder(self, run_id: str) -> Path:
        """The folder of a run's log and checkpoint, made if need be."""
        folder = self.home / "runs" / run_id
        with explained(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    # Look-ups

    def runs(
        self,
        *,
        study_id: str | None = None,
        states: Collection[State] | None = None,
        classifier: str | None = None,
        class_name: str | None = None,
        slot: str | None = None,
        pid: int | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        """Runs, newest first, with `.study.classifier`; `classifier` is a spec.

        `slot` and `pid`: which took them last.
        """
        query = select(Run).join(Study).join(Classifier)
        if study_id is not None:
            query = query.where(Run.study_id == study_id)
        if states is not None:
            query = query.where(col(Run.state).in_(states))
        if classifier is not None:
            query = query.where(Classifier.spec == classifier)
        if class_name is not None:
            query = query.where(Study.class_name == class_name)
        if slot is not None:
            query = query.where(Run.slot == slot)
        if pid is not None:
            query = query.where(Run.pid == pid)
        query = query.order_by(col(Run.created_at).desc(), col(Run.id)).limit(limit)
        with self._read() as session:
            return list(session.exec(query))

    def find(self, name: str) -> Run | Study:
        """The run or the study of this id or unique beginning of one."""
        return self.study(name) if name.startswith("s") else self.run(name)

    def run(self, name: str) -> Run:
        """The run of this id or unique beginning of one."""
        with self._read() as session:
            return self._find(session, Run, name)

    def study(self, name: str) -> Study:
        """The study of this id or unique beginning of one."""
        with self._read() as session:
            return self._find(session, Study, name)

    def studies(self) -> list[Study]:
        """All studies, newest first, with `.classifier`."""
        with self._read() as session:
            return list(session.exec(select(Study).order_by(col(Study.created_at).desc())))

    def steps(self, run_id: str, *, after: int = 0) -> list[Step]:
        """The steps of a run with a number above `after`, in order."""
        with self._read() as session:
            return list(
                session.exec(
                    select(Step)
                    .where(Step.run_id == run_id, Step.step > after)
                    .order_by(col(Step.step))
                )
            )

    def prompts(self, run_id: str) -> list[Prompt]:
        """The prompts of a run, best first."""
        with self._read() as session:
            return list(
                session.exec(
                    select(Prompt).where(Prompt.run_id == run_id).order_by(col(Prompt.rank))
                )
            )

    def frames(self, run_id: str, *, kind: str | None = None) -> list[Frame]:
        """The pictures of a run in the order they were recorded."""
        query = select(Frame).where(Frame.run_id == run_id).order_by(col(Frame.id))
        if kind is not None:
            query = query.where(Frame.kind == kind)
        with self._read() as session:
            return list(session.exec(query))

    def artifact(self, sha256: str) -> Artifact:
        """The row of an artifact."""
        with self._read() as session:
            row = session.get(Artifact, sha256)
        if row is None:
            raise StoreError(f"no artifact {sha256} in {self.path}")
        return row

    def reports(self, study_id: str) -> list[Report]:
        """The reports of a study, newest first."""
        with self._read() as session:
            return list(
                session.exec(
                    select(Report)
                    .where(Report.study_id == study_id)
                    .order_by(col(Report.id).desc())
                )
            )

    def _find(self, session: Session, table: type[_Named], name: str) -> _Named:
        exact = session.get(table, name)
        if exact is not None:
            return exact
        rows = session.exec(
            select(table).where(col(table.id).startswith(name, autoescape=True)).limit(6)
        ).all()
        if not rows or not name:
            raise self._unknown(session, table, name)
        if len(rows) == 1:
            return rows[0]
        candidates = ", ".join(row.id for row in rows[:5])
        more = ", ..." if len(rows) > 5 else ""
        raise StoreError(f"{name!r} fits more than one {_noun(table)}: {candidates}{more}")

    def _unknown(self, session: Session, table: type[_Named], name: str) -> StoreError:
        ids = session.exec(select(table.id)).all()
        near = difflib.get_close_matches(name, ids, n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}" if near else f"it holds {len(ids)}"
        return StoreError(f"no {_noun(table)} {name!r} in {self.path}; {hint}")

    # Sessions

    @contextmanager
    def _write(self, *, durable: bool = False) -> Iterator[Session]:
        if self._writer is None or self._durable is None:
            raise StoreError(f"{self.path}: opened for reading only")
        with self._session(self._durable if durable else self._writer) as session:
            yield session

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with self._session(self._reader) as session:
            yield session

    def _find_file(self) -> None:
        """Leave a file that was moved away, for the one that lies in its place now."""
        found = _identity(self.path)
        if found is None:
            raise StoreError(f"{self.path}: was moved or removed; put it back")
        if found != self._file:
            for engine in (self._reader, self._writer, self._durable):
                if engine is not None:
                    engine.dispose()
            self._file = found

    @contextmanager
    def _session(self, engine: sa.Engine) -> Iterator[Session]:
        if os.getpid() != self._process:
            raise RuntimeError("a Store must not be carried over a fork; open it anew")
        self._find_file()
        with (
            explained(self.path),
            Session(engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another of its name."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


def _in_line(query: Any, devices: Collection[str] | None, *, due: bool = True) -> Any:
    """The query for queued runs only: the highest priority first, then the oldest."""
    queued = query.where(col(Run.state) == State.QUEUED)
    if due:
        time = now()
        queued = queued.where(
            col(Run.not_before).is_(None)
            | (col(Run.not_before) <= time)
            # No run waits that long: the clock was set back.
            | (col(Run.not_before) > time + timedelta(seconds=MAX_BACKOFF))
        )
    if devices is not None:
        device = sa.func.coalesce(sa.func.json_extract(col(Run.config), "$.device"), "auto")
        queued = queued.where(device.in_(devices))
    return queued.order_by(col(Run.priority).desc(), col(Run.created_at), col(Run.id))


def _settle(run: Run) -> None:
    """Say what became of an active run whose process is gone."""
    if run.state is State.PAUSING:
        run.state = State.PAUSED
        return
    if run.state is State.CANCELLING:
        run.state, run.ended_at = State.CANCELLED, run.heartbeat_at
        return
    rebooted = run.boot_id is not None and run.boot_id != boot_id()
    what = "the machine was started anew" if rebooted else "its process was killed"
    if run.steps_done > run.progress:
        run.fruitless = 0
    elif not rebooted:
        run.fruitless += 1
    if run.fruitless >= MAX_FRUITLESS:
        run.state, run.ended_at = State.LOST, run.heartbeat_at
        run.error = (
            f"{what} in {run.fruitless} attempts one after another without getting any further; "
            f"`dexter-tui show {run.id}` names its log, `dexter-tui retry {run.id}` tries again"
        )
    else:
        run.state = State.QUEUED
        if run.fruitless:
            run.not_before = now() + timedelta(seconds=BACKOFF * 2 ** (run.fruitless - 1))
        run.error = f"attempt {run.attempt}: {what} at step {run.steps_done}; queued again"


def _place(path: Path, data: bytes) -> None:
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        artifacts.write_atomic(path, data)


def _make_folders(home: Path) -> None:
    if not home.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)  # whatever the umask
    for name in ("artifacts", "artifacts/sha256", "thumbnails", "runs", "locks"):
        (home / name).mkdir(mode=0o700, exist_ok=True)


def _hash(value: object) -> str:
    return artifacts.digest(to_json(value).encode())


def _noun(table: type[_Named]) -> str:
    return table.__name__.lower()


def _new_id(session: Session, table: type[_Named], letter: str) -> str:
    while True:
        name = letter + "".join(secrets.choice(_ID_LETTERS) for _ in range(7))
        if session.get(table, name) is None:
            return name
