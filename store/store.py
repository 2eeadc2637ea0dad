"""The store: one folder ("home") with a SQLite file, pictures, runs' files and locks.

    home/store.sqlite           the tables (store.tables)
    home/artifacts/sha256/ab/   files by their hash
    home/thumbnails/ab/         pictures made small, by the hash of the original
    home/runs/<run>/            log and checkpoint of a run
    home/locks/                 run-<run>.lock: held by the process that works on the run

A run is active (starting, running, pausing, cancelling) only while a process holds its lock.
`claim_run` takes the lock inside the transaction that makes the run active, and a process frees
it only after the transaction that ends the run. So whoever sees an active run whose lock is free,
within one write transaction, sees a run whose process died: it is lost.
"""

import difflib
import os
import secrets
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypedDict, TypeVar, Unpack

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col, select

from store import artifacts
from store.database import is_current, prepare, reader_engine, writer_engine
from store.errors import StoreError, explained
from store.locks import FileLock, is_locked, try_lock
from store.states import ACTIVE, ENDED, State, sources
from store.tables import (
    Artifact,
    Classifier,
    Frame,
    Prompt,
    Report,
    Run,
    Step,
    Study,
    Table,
    UtcTime,
    now,
    to_json,
)

_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"  # base32
_LOCK_PATIENCE = 2.0  # seconds a claim waits for the last worker of a run to go

_Named = TypeVar("_Named", Run, Study)


class RunFields(TypedDict, total=False):
    """What a worker may write into its run; units as in `store.tables.Run`."""

    device: str
    steps_total: int
    words: Sequence[str]
    prompt: str
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

    def __init__(self, home: Path, *, read_only: bool) -> None:
        self.home = home
        self.path = home / "store.sqlite"
        self._reader = reader_engine(self.path)
        self._writer = None if read_only else writer_engine(self.path)
        self._process = os.getpid()
        self._locks: dict[str, FileLock] = {}

    @classmethod
    def open(cls, home: Path, *, read_only: bool = False) -> Self:
        """Open the store, made or upgraded if need be; StoreError if it cannot be used."""
        home = home.absolute()
        path = home / "store.sqlite"
        with explained(path):
            if read_only:
                if not is_current(path):
                    raise StoreError(f"{path}: no store of this version yet; start a run first")
            else:
                _make_folders(home)
                prepare(path, home / "locks" / "upgrade.lock")
        return cls(home, read_only=read_only)

    def close(self) -> None:
        """Close the file and free the locks of runs."""
        for lock in self._locks.values():
            lock.release()
        self._reader.dispose()
        if self._writer is not None:
            self._writer.dispose()

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

    def add_run(self, study_id: str, seed: int, config: Mapping[str, Any]) -> str:
        """Queue a run; its id."""
        with self._write() as session:
            if session.get(Study, study_id) is None:
                raise self._unknown(session, Study, study_id)
            run = Run(
                id=_new_id(session, Run, "r"),
                study_id=study_id,
                seed=seed,
                config=dict(config),
                config_hash=_hash(config),
            )
            session.add(run)
            return run.id

    def claim_run(
        self, *, run_ids: Collection[str] | None = None, study_id: str | None = None
    ) -> Run | None:
        """Make the oldest queued run (of these) "starting" for this process; None if none is left.

        This process holds the run's lock until `set_state` or `finish_run` ends the run, or until
        the process dies.
        """
        queued = (
            select(Run.id)
            .where(Run.state == State.QUEUED)
            .order_by(col(Run.created_at), col(Run.id))
        )
        if run_ids is not None:
            queued = queued.where(col(Run.id).in_(run_ids))
        if study_id is not None:
            queued = queued.where(Run.study_id == study_id)
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            lock: FileLock | None = None
            held = []
            try:
                with self._write() as session:
                    for run_id in session.exec(queued).all():
                        lock = try_lock(self._lock_path(run_id))
                        if lock is not None:
                            run = self._claim(session, run_id)
                            break
                        held.append(run_id)
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

    def _claim(self, session: Session, run_id: str) -> Run:
        session.exec(
            sa.update(Run)
            .where(col(Run.id) == run_id)
            .values(
                state=State.STARTING,
                attempt=Run.attempt + 1,
                started_at=sa.func.coalesce(Run.started_at, sa.literal(now(), UtcTime())),
                heartbeat_at=now(),
                pid=os.getpid(),
                boot_id=_boot_id(),
                host=socket.gethostname(),
            )
        )
        return session.get_one(Run, run_id)

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
        times: dict[str, Any] = {}
        if to in ENDED:
            times["ended_at"] = now()
        elif to == State.QUEUED:
            times = {"ended_at": None, "error": None}
        with self._write() as session:
            changed = session.exec(
                sa.update(Run)
                .where(col(Run.id) == run_id, col(Run.state).in_(allowed))
                .values(state=to, **times, **fields)
            )
            run = session.get(Run, run_id)
            if run is None:
                raise self._unknown(session, Run, run_id)
            if not changed.rowcount:
                raise StoreError(f"run {run_id} is {run.state}; it cannot become {to} now")
        if to not in ACTIVE:
            self._release(run_id)
        return run

    def _release(self, run_id: str) -> None:
        lock = self._locks.pop(run_id, None)
        if lock is not None:
            lock.release()

    def reconcile(self) -> list[str]:
        """Mark active runs whose process is gone as lost; their ids. Call it before a listing."""
        if self._writer is None:
            return []
        active = col(Run.state).in_(ACTIVE)
        with self._read() as session:
            ids = session.exec(select(Run.id).where(active))
            if all(is_locked(self._lock_path(run_id)) for run_id in ids):
                return []
        # Looked at again within a write transaction, in which no run can be claimed or ended.
        lost = []
        with self._write() as session:
            for run in session.exec(select(Run).where(active)):
                if not is_locked(self._lock_path(run.id)):
                    run.state = State.LOST
                    run.ended_at = run.heartbeat_at
                    run.error = "its process ended without a word (killed, or the machine stopped)"
                    lost.append(run.id)
        return lost

    def _lock_path(self, run_id: str) -> Path:
        return self.home / "locks" / f"run-{run_id}.lock"

    # What a worker records

    def record_steps(self, run_id: str, steps: Sequence[Mapping[str, Any]]) -> None:
        """Write steps (columns of `Step`) in one transaction; those already there are replaced."""
        if not steps:
            return
        rows = [{**_STEP, **step, "run_id": run_id} for step in steps]
        with self._write() as session:
            self._beat(session, run_id, {"steps_done": rows[-1]["step"]})
            _upsert(session, Step, rows, ("run_id", "step"))

    def record_prompts(self, run_id: str, prompts: Sequence[Mapping[str, Any]]) -> None:
        """Replace the run's prompts, best first: words, text, mean_loss, pictures."""
        with self._write() as session:
            self._beat(session, run_id, {})
            session.exec(sa.delete(Prompt).where(col(Prompt.run_id) == run_id))
            session.add_all(
                Prompt(run_id=run_id, rank=rank, **prompt) for rank, prompt in enumerate(prompts, 1)
            )

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
            "run_id": run_id,
            "kind": kind,
            "step": step,
            "seed": seed,
            "prompt": prompt,
            "predicted_class": predicted_class,
            "target_probability": target_probability,
            "hit": hit,
            "sha256": sha256,
            "created_at": now(),
        }
        with self._write() as session:
            self._beat(session, run_id, {})
            _upsert(session, Frame, [row], ("run_id", "kind", "step", "seed"))

    def put_artifact(self, data: bytes, mime: str) -> str:
        """Keep a file; its SHA-256. A picture must be what `mime` says and gets a thumbnail."""
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
        with self._write() as session:
            session.exec(
                insert(Artifact)
                .values(
                    sha256=sha256,
                    mime=mime,
                    size=len(data),
                    width=size and size[0],
                    height=size and size[1],
                    created_at=now(),
                )
                .on_conflict_do_nothing()
            )
        return sha256

    def add_report(self, study_id: str, markdown: str, *, author: str) -> int:
        """Keep a text about a study; its id. `author` is the model or person that wrote it."""
        with self._write() as session:
            if session.get(Study, study_id) is None:
                raise self._unknown(session, Study, study_id)
            report = Report(study_id=study_id, author=author, markdown=markdown)
            session.add(report)
            session.flush()
            return report.id

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
        limit: int | None = None,
    ) -> list[Run]:
        """Runs, newest first, with `.study.classifier`; `classifier` is a spec."""
        query = select(Run).join(Study).join(Classifier)
        if study_id is not None:
            query = query.where(Run.study_id == study_id)
        if states is not None:
            query = query.where(col(Run.state).in_(states))
        if classifier is not None:
            query = query.where(Classifier.spec == classifier)
        if class_name is not None:
            query = query.where(Study.class_name == class_name)
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
    def _write(self) -> Iterator[Session]:
        if self._writer is None:
            raise StoreError(f"{self.path}: opened for reading only")
        with self._session(self._writer) as session:
            yield session

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with self._session(self._reader) as session:
            yield session

    @contextmanager
    def _session(self, engine: sa.Engine) -> Iterator[Session]:
        if os.getpid() != self._process:
            raise RuntimeError("a Store must not be carried over a fork; open it anew")
        with (
            explained(self.path),
            Session(engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session


_STEP: dict[str, Any] = {
    column.name: None
    for column in Step.__table__.columns  # type: ignore[attr-defined]
}


def _upsert(
    session: Session, table: type[Table], rows: list[dict[str, Any]], keys: Sequence[str]
) -> None:
    statement = insert(table)
    session.exec(
        statement.on_conflict_do_update(
            index_elements=keys, set_={name: statement.excluded[name] for name in rows[0]}
        ),
        params=rows,
    )


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
    return "run" if table is Run else "study"


def _new_id(session: Session, table: type[_Named], letter: str) -> str:
    while True:
        name = letter + "".join(secrets.choice(_ID_LETTERS) for _ in range(7))
        if session.get(table, name) is None:
            return name


def _boot_id() -> str | None:
    path = Path("/proc/sys/kernel/random/boot_id")  # Linux only
    return path.read_text().strip() if path.exists() else None
