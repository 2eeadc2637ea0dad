"""The store: one folder ("home") with a SQLite file, pictures, runs' files and locks.

    home/store.sqlite           the tables (store.tables)
    home/artifacts/sha256/ab/   files by their hash
    home/thumbnails/ab/         pictures made small, by the hash of the original
    home/runs/<run>/            journal, log and checkpoints of a run
    home/studies/               what was found about studies, once more (store.journal.study_file)
    home/places/<place>/        what is fetched from a machine over SSH (dexter_tui.jobs.placement)
    home/locks/                 locks of those who work on runs, jobs and slots (store.run_queue)

The queue is in `store.run_queue`, what workers record of runs in `store.run_records`.
"""

import difflib
import os
import re
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col, select

from store import artifacts
from store.checking import file_systems
from store.clock import now
from store.database import (
    PATIENCE,
    is_current,
    prepare,
    reader_engine,
    writer_engine,
)
from store.errors import StoreError, explained
from store.journal import replay, study_file
from store.journal.run_journal import Journal
from store.locks import FileLock
from store.states import State
from store.tables import (
    Artifact,
    Classifier,
    Comparison,
    DataReport,
    Frame,
    Job,
    Prompt,
    Report,
    Run,
    Screening,
    Step,
    Study,
    Tag,
    among,
    is_usable,
    to_json,
    usable,
)

_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"  # base32

_Named = TypeVar("_Named", Run, Job, Study, Comparison, Screening, DataReport)


class Store:
    """A store, opened by `Store.open` in each process: it must not be carried over a fork."""

    def __init__(self, home: Path, *, read_only: bool, patience: float) -> None:
        self.home = home
        self.path = home / "store.sqlite"
        self._reader = reader_engine(self.path)
        self._writer = None if read_only else writer_engine(self.path, patience=patience)
        # For what users were shown: a queued run stays queued, also after a power cut.
        self._durable = (
            None if read_only else writer_engine(self.path, patience=patience, durable=True)
        )
        self._process = os.getpid()
        self._file = _identity(self.path)
        self._folder = _identity(home)
        self._locks: dict[str, FileLock] = {}

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        read_only: bool = False,
        make: bool = True,
        patience: float = PATIENCE,
    ) -> Self:
        """Open the store, made or upgraded if need be; StoreError if it cannot be used.

        make: false where one is expected, which may have been moved away.
        patience: how many seconds a write waits for other processes that write.
        """
        home = home.absolute()
        path = home / "store.sqlite"
        with explained(path):
            if (refusal := file_systems.refusal(home)) is not None:
                raise refusal
            if read_only:
                if not is_current(path):
                    raise StoreError(f"{path}: no store of this version yet; start a run first")
            else:
                if not make and not path.exists():
                    raise _gone(path)
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
        """Return the id of this classifier's row, made if it is new. `image_size` in pixels."""
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

    def weights_hashes(self, spec: str) -> list[str]:
        """Return the hashes of the classifiers with this specification, the oldest first."""
        query = select(Classifier.weights_hash).where(Classifier.spec == spec)
        with self._read() as session:
            rows = session.exec(query.order_by(col(Classifier.id))).all()
        return [one for one in rows if one is not None]

    def ensure_study(
        self, classifier_id: int, class_name: str, class_index: int, settings: Mapping[str, Any]
    ) -> str:
        """Return the id of the study of this classifier, class and settings, made if it is new."""
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
                id=new_id(session, Study, "s"),
                classifier_id=classifier_id,
                class_name=class_name,
                class_index=class_index,
                settings=dict(settings),
                settings_hash=settings_hash,
            )
            session.add(study)
            return study.id

    def add_runs(
        self,
        study_id: str,
        runs: Sequence[tuple[int, Mapping[str, Any]]],
        *,
        priority: int = 0,
        place: str | None = None,
    ) -> list[str]:
        """Queue runs, each a seed and a config, in this order; their ids.

        `place`: where they are to run; None for this machine.
        """
        with self._write(durable=True) as session:
            study = session.get(Study, study_id)
            if study is None:
                raise self._unknown(session, Study, study_id)
            rows = []
            for seed, config in runs:
                run = Run(
                    id=new_id(session, Run, "r"),
                    study_id=study_id,
                    seed=seed,
                    config=dict(config),
                    config_hash=_hash(config),
                    priority=priority,
                    place=place,
                )
                session.add(run)
                rows.append(run)
            session.flush()
            first = {run.id: replay.queued_entry(run, study, study.classifier) for run in rows}
        for run_id, entry in first.items():
            with suppress(OSError, StoreError):  # then its worker writes it
                Journal(self.run_folder(run_id)).replace([entry])
        return list(first)

    def toggle_tag(self, run_ids: Sequence[str], name: str, *, given: bool | None = None) -> bool:
        """Give the runs a tag, or, if all of them have it, take it away; whether it was given.

        `given`: give it (True) or take it away (False), whatever they have.
        """
        if not re.fullmatch(r"[\w.:+-]{1,40}", name):
            raise StoreError(f"tag {name!r}: give up to 40 letters, digits, and . : + - _")
        with self._write() as session:
            query = select(Run.id, Run.study_id).where(among(col(Run.id), run_ids))
            found = dict(session.exec(query).all())
            for run_id in run_ids:
                if run_id not in found:
                    raise self._unknown(session, Run, run_id)
            which = sa.and_(among(col(Tag.run_id), run_ids), col(Tag.name) == name)
            having = set(session.exec(select(Tag.run_id).where(which)))
            missing = {*run_ids} - having
            if given is None:
                given = bool(missing)
            if not given:
                session.exec(sa.delete(Tag).where(which))
            elif missing:
                rows = [{"run_id": run_id, "name": name} for run_id in sorted(missing)]
                session.exec(insert(Tag), params=rows)
        for study_id in set(found.values()):
            self.keep_study(study_id)
        return given

    # Files

    def put_artifact(self, data: bytes, mime: str) -> str:
        """Keep a file; its SHA-256. A picture must be what `mime` says and gets a thumbnail."""
        artifact = self.place_artifact(data, mime)
        with self._write() as session:
            replay.write_artifact(session, artifact)
        sha256: str = artifact["sha256"]
        return sha256

    def place_artifact(
        self, data: bytes, mime: str, *, max_pixels: int = artifacts.MAX_PIXELS
    ) -> dict[str, Any]:
        """Write the file of an artifact, but no row; the columns that its row is to have."""
        sha256 = artifacts.digest(data)
        size: tuple[int, int] | None = None
        with explained(self.home):
            if mime in artifacts.SUFFIXES:
                picture = artifacts.open_picture(data, max_pixels)
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

    def keep_study(self, study_id: str) -> None:
        """Write a study's findings, tags and notes to their file (`store.journal.study_file`)."""
        with self._read() as session:
            found = study_file.rows(session, study_id)
        with explained(self.home):
            study_file.write(study_file.path(self.home, study_id), study_id, found)

    def artifact_path(self, sha256: str) -> Path:
        """Return the file of an artifact."""
        return self.home / "artifacts" / "sha256" / sha256[:2] / sha256

    def read_artifact(self, sha256: str) -> bytes:
        """Return the bytes of an artifact; StoreError if they are gone or changed."""
        path = self.artifact_path(sha256)
        with explained(path):
            data = path.read_bytes()
        if artifacts.digest(data) != sha256:
            raise StoreError(f"{path}: damaged (its bytes are not those of its name)")
        return data

    def thumbnail_path(self, sha256: str) -> Path:
        """Return the small form of a picture: a JPEG of up to 192 pixels, or the picture itself."""
        small = self._thumbnail_path(sha256)
        return small if small.exists() else self.artifact_path(sha256)

    def _thumbnail_path(self, sha256: str) -> Path:
        return self.home / "thumbnails" / sha256[:2] / f"{sha256}.jpg"

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of a run's log and checkpoint, made if need be."""
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
        """Return runs, newest first, with `.study.classifier`; `classifier` is a spec."""
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
            return usable(session.exec(query))

    def find(self, name: str) -> Run | Study:
        """Return the run or the study of this id or unique prefix."""
        return self.study(name) if name.startswith("s") else self.run(name)

    def run(self, name: str) -> Run:
        """Return the run of this id or unique prefix."""
        with self._read() as session:
            return self._find(session, Run, name)

    def job(self, name: str) -> Job:
        """Return the job with this id or unique prefix."""
        with self._read() as session:
            return self._find(session, Job, name)

    def study(self, name: str) -> Study:
        """Return the study of this id or unique prefix."""
        with self._read() as session:
            return self._find(session, Study, name)

    def studies(self) -> list[Study]:
        """Return all studies, newest first, with `.classifier`."""
        with self._read() as session:
            return usable(session.exec(select(Study).order_by(col(Study.created_at).desc())))

    def steps(self, run_id: str, *, after: int = 0) -> list[Step]:
        """Return the steps of a run with a number above `after`, in order."""
        with self._read() as session:
            return usable(
                session.exec(
                    select(Step)
                    .where(Step.run_id == run_id, Step.step > after)
                    .order_by(col(Step.step))
                )
            )

    def prompts(self, run_id: str) -> list[Prompt]:
        """Return the prompts of a run, best first."""
        with self._read() as session:
            return usable(
                session.exec(
                    select(Prompt).where(Prompt.run_id == run_id).order_by(col(Prompt.rank))
                )
            )

    def frames(self, run_id: str, *, kind: str | None = None) -> list[Frame]:
        """Return the pictures of a run in the order they were recorded."""
        query = select(Frame).where(Frame.run_id == run_id).order_by(col(Frame.id))
        if kind is not None:
            query = query.where(Frame.kind == kind)
        with self._read() as session:
            return usable(session.exec(query))

    def artifact(self, sha256: str) -> Artifact:
        """Return the row of an artifact."""
        with self._read() as session:
            row = session.get(Artifact, sha256)
        if row is None or not is_usable(row):
            raise StoreError(f"no artifact {sha256} in {self.path}")
        return row

    def reports(self, study_id: str) -> list[Report]:
        """Return the reports of a study, newest first."""
        with self._read() as session:
            return usable(
                session.exec(
                    select(Report)
                    .where(Report.study_id == study_id)
                    .order_by(col(Report.id).desc())
                )
            )

    def _sound(self, row: _Named, name: str) -> _Named:
        """Return a row that can be shown; StoreError for one with damage that hides it."""
        if not is_usable(row):
            raise StoreError(
                f"{_noun(type(row))} {name!r} in {self.path} is damaged", remedy="restore a backup"
            )
        return row

    def _find(self, session: Session, table: type[_Named], name: str) -> _Named:
        exact = session.get(table, name)
        if exact is not None:
            return self._sound(exact, name)
        rows = session.exec(
            select(table).where(col(table.id).startswith(name, autoescape=True)).limit(6)
        ).all()
        if not rows or not name:
            raise self._unknown(session, table, name)
        if len(rows) == 1:
            return self._sound(rows[0], name)
        candidates = ", ".join(row.id for row in rows[:5])
        more = ", ..." if len(rows) > 5 else ""
        raise StoreError(f"{name!r} fits more than one {_noun(table)}: {candidates}{more}")

    def _unknown(self, session: Session, table: type[_Named], name: str) -> StoreError:
        ids = [one for one in session.exec(select(table.id)) if isinstance(one, str)]
        near = difflib.get_close_matches(name, ids, n=3, cutoff=0.5)
        command = _LISTING.get(str(table.__tablename__), "runs")
        hint = f"nearest: {', '.join(near)}" if near else f"`dexter-tui {command}` lists them"
        where = f"among the {len(ids)} in {self.path}"
        if not ids:
            where, hint = f"in {self.path}", "there is none yet"
        if table in (Run, Study) and name[:1] != _noun(table)[0] and not near:  # of another kind
            hint = _IDS
        return StoreError(f"no {_noun(table)} {name!r} {where}; {hint}", value=name)

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

    def held_locks(self) -> list[FileLock]:
        """Return the locks of what this process claimed (`store.run_queue.claim`)."""
        return list(self._locks.values())

    def is_gone(self) -> bool:
        """Return whether the home was deleted, emptied or replaced since it was opened.

        A database alone that is moved away may come back.
        """
        if _identity(self.home) != self._folder:
            return True
        return not self.path.exists() and not (self.home / "runs").exists()

    def _find_file(self) -> None:
        """Leave a file that was moved away, for the one that lies in its place now."""
        found = _identity(self.path)
        if found is None:
            raise _gone(self.path)
        if found != self._file:
            for engine in (self._reader, self._writer, self._durable):
                if engine is not None:
                    engine.dispose()
            self._file = found

    @contextmanager
    def _session(self, engine: sa.Engine) -> Iterator[Session]:
        if os.getpid() != self._process:
            raise RuntimeError("a Store must not be carried over a fork; open it again")
        self._find_file()
        with (
            explained(self.path),
            Session(engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session


def _gone(path: Path) -> StoreError:
    return StoreError(f"{path}: was moved or removed; put it back")


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes a file from another of its name."""
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.st_dev, stat.st_ino


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


_LISTING = {"comparison": "compare", "screening": "screen", "job": "status"}
"""The command that lists the rows of a table, if it is another than `runs`."""


_IDS = (
    "an id begins with r (run), s (study), x (screening or audit), c (comparison), d (report on "
    "pictures) or j (job)"
)


def _noun(table: type[_Named]) -> str:
    return str(table.__tablename__).replace("_", " ")


def new_id(session: Session, table: type[_Named], letter: str) -> str:
    while True:
        name = letter + "".join(secrets.choice(_ID_LETTERS) for _ in range(7))
        if session.get(table, name) is None:
            return name
