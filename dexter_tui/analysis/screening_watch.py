"""A folder into which a training saves checkpoints: each is screened on one bank as it appears.

The store holds the state: a checkpoint is known by the hash of its content, so a watcher that was
killed continues where it was, and a file that was copied or renamed is screened once.
"""

import hashlib
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dexter.config import RunConfig
from dexter.errors import InputError, MissingInput
from dexter_tui import field_flags
from dexter_tui.analysis import screening_request
from dexter_tui.analysis.screening_request import ScreenRequest
from dexter_tui.analysis.study_request import reachable
from dexter_tui.jobs import trust
from store import ENDED, StoreError, run_queue, screening_records
from store.states import State

if TYPE_CHECKING:
    from store import Store
    from store.tables import Job, Screening

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


class Seen(NamedTuple):
    """The state of a file; it is read once two looks see the same."""

    size: int
    changed: int
    """Nanoseconds."""


@dataclass
class Watcher:
    """A watched folder. request: with no classifiers; each checkpoint becomes one."""

    store: "Store"
    folder: Path
    request: ScreenRequest
    screening_id: str | None = None
    problems: dict[Path, tuple[Seen, InputError]] = field(default_factory=dict)
    """Files that cannot be used, as they were when they were read."""
    _seen: dict[Path, Seen] = field(default_factory=dict)
    _hashes: dict[Path, tuple[Seen, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.folder.expanduser().absolute()
        if not self.folder.is_dir():
            raise InputError(
                f"{self.folder}: no such folder", field="watch", value=str(self.folder)
            )
        values = {**self.request.values, "classifier": f"checkpoint:{self.folder}"}
        class_name = self.request.class_name
        [config] = field_flags.configs(None, [0], {**values, "class_name": class_name})
        if config.arch is None:
            raise MissingInput("arch")
        reachable(self.request.settings)
        self._concepts = screening_request.load_concepts(self.request.pool, config.generator)
        self._watch = {
            "folder": str(self.folder),
            "class_name": class_name,
            "models": config.model_dump(mode="json"),
            "concepts": self._concepts.digest,
            "settings": self.request.settings.model_dump(mode="json"),
        }
        known = screening_records.watched(self.store, self._watch)
        self.screening_id = None if known is None else known.id

    def screening(self) -> "Screening | None":
        """Return the record of the screening, once there is a first checkpoint."""
        if self.screening_id is None:
            return None
        return screening_records.screening(self.store, self.screening_id)

    def look(self, *, settled: bool = False) -> list[str]:
        """Add the checkpoints that are new; return their names.

        `settled`: take files as they are; otherwise a file must look the same twice.
        """
        added = []
        for file in self._stable(settled=settled):
            digest = self._digest(file)
            tried = self.problems.get(file)
            if (
                digest is None
                or digest in self._known()
                or (tried and tried[0] == self._seen[file])
            ):
                continue
            name = file.name
            if name in self._names():
                name = f"{file.name} ({digest[:8]})"
            try:
                self._add(file, name, digest)
            except InputError as error:
                self.problems[file] = self._seen[file], error
                added.append(f"{file.name}: {error}")
                continue
            added.append(name)
        return added

    def queue(self) -> str | None:
        """Queue a job if checkpoints wait and none is at them; return its id."""
        if self.screening_id is None:
            return None
        waiting = [
            member
            for member in screening_records.screened(self.store, self.screening_id)
            if member.pictures is None and member.error is None
        ]
        if not waiting:
            return None
        screening = screening_records.screening(self.store, self.screening_id)
        settings = self.request.settings.from_values(screening.settings)
        config = RunConfig.model_validate(waiting[0].config)
        try:
            return screening_request.queue(self.store, self.screening_id, config, settings)
        except StoreError as error:
            if error.__cause__ is not None:
                raise  # the store cannot be written now
            return None  # a job is at them, perhaps of another watcher

    def job(self) -> "Job | None":
        """Return the job that works on the screening, or waits to; None if there is none."""
        if self.screening_id is None:
            return None
        jobs = run_queue.jobs(self.store, screening_id=self.screening_id)
        return next((job for job in jobs if job.state not in ENDED), None)

    def failure(self) -> str | None:
        """Return why the newest job ended without its result."""
        if self.screening_id is None:
            return None
        jobs = run_queue.jobs(self.store, screening_id=self.screening_id, limit=1)
        if jobs and jobs[0].state in ENDED - {State.SUCCEEDED}:
            return jobs[0].error_line or jobs[0].state.value
        return None

    # The folder

    def _stable(self, *, settled: bool) -> list[Path]:
        """Return the checkpoints that nobody writes, oldest first."""
        now: dict[Path, Seen] = {}
        for file in self.folder.iterdir():
            if file.suffix not in SUFFIXES:
                continue
            with suppress(FileNotFoundError):  # removed since it was listed
                found = file.stat()
                if stat.S_ISREG(found.st_mode):
                    now[file] = Seen(found.st_size, found.st_mtime_ns)
        stable = [f for f, seen in now.items() if settled or self._seen.get(f) == seen]
        self._seen = now
        return sorted(stable, key=lambda f: (now[f].changed, _natural(f.name)))

    def _digest(self, file: Path) -> str | None:
        """Return the SHA-256 (hex) of a file; None if it is gone."""
        seen = self._seen[file]
        known = self._hashes.get(file)
        if known is None or known[0] != seen:
            try:
                known = seen, file_hash(file)
            except OSError:
                return None
            self._hashes[file] = known
        return known[1]

    def _known(self) -> set[str | None]:
        if self.screening_id is None:
            return set()
        rows = screening_records.screened(self.store, self.screening_id)
        return {row.file_hash for row in rows}

    def _names(self) -> set[str]:
        if self.screening_id is None:
            return set()
        return {row.name for row in screening_records.screened(self.store, self.screening_id)}

    def _add(self, file: Path, name: str, digest: str) -> None:
        """Add a checkpoint; the first one says what the labels are."""
        spec = f"checkpoint:{file}"
        if self.screening_id is None:
            request = ScreenRequest(
                [spec],
                self.request.class_name,
                self.request.settings,
                self.request.pool,
                self.request.values,
                self.request.agreed,
            )
            prepared = screening_request.prepare(request, self.store.home)
            member = screening_request.member_row(self.store, name, prepared.members[0])
            row = member | {"file_hash": digest}
            screening_request.ensure_bank(self.store, prepared)
            self.screening_id = screening_records.add_screening(
                self.store,
                prepared.bank_key,
                prepared.topic.class_name,
                prepared.settings.model_dump(mode="json"),
                [row],
                watch=self._watch,
            )
            # Another watcher of this folder may have been faster, with another file.
            screening_records.add_screened(self.store, self.screening_id, row)
            return
        first = screening_records.screened(self.store, self.screening_id)[0]
        values = {**self.request.values, "classifier": spec, "class_name": self.request.class_name}
        [config] = field_flags.configs(None, [0], values)
        config = RunConfig.model_validate({**first.config, "classifier": config.classifier})
        trust.require([config], self.request.agreed)
        row = {
            "name": name,
            "classifier_id": self.store.ensure_classifier(
                config.classifier,
                digest,
                first.classifier.labels,
                first.classifier.image_size,
            ),
            "class_index": first.class_index,
            "config": config.model_dump(mode="json"),
            "file_hash": digest,
        }
        screening_records.add_screened(self.store, self.screening_id, row)


def file_hash(file: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts step-200 before step-1000."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def is_unchanged(config: Mapping[str, Any], digest: str) -> bool:
    """Return whether a checkpoint still is the file that was found."""
    try:
        return file_hash(Path(str(config["classifier"]).removeprefix("checkpoint:"))) == digest
    except OSError:
        return False
