"""The rebuilding of a lost store from the journals of runs and the files of studies."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import select

from store.checking import file_systems
from store.clock import now
from store.database import move_logs
from store.errors import StoreError
from store.journal import study_file
from store.journal.run_journal import NAME
from store.locks import FileLock
from store.states import State
from store.store import Store
from store.tables import Run
from store.upkeep import home_files, journals
from store.upkeep.health import damage
from store.upkeep.trouble import Progress, silent


@dataclass(frozen=True)
class Rebuilt:
    """The result of `rebuild`."""

    runs: list[str]
    """Runs that the store lacked."""
    paused: list[str]
    """The unfinished ones among these runs."""
    studies: list[str]
    """Studies whose findings, tags or notes were restored."""
    moved: Path | None
    """The new path of the damaged file."""
    refused: dict[str, str]
    """The problems of runs and studies whose files cannot be believed, by id."""


def rebuild(home: Path, *, progress: Progress = silent) -> Rebuilt:
    """Restore every run that has a journal, after moving a damaged store aside.

    Also restores the findings of their studies. Unfinished runs are paused, because no journal
    records what the user requested. Comparisons, screenings, probes, reports on pictures and
    pictures of the bank cannot be restored. The files may come from elsewhere: those that fail the
    checks of an import are left out.
    """
    if (refusal := file_systems.refusal(home)) is not None:
        raise refusal
    path = home / "store.sqlite"
    moved = None
    if path.exists() and any(damage(path)):
        (home / "locks").mkdir(mode=0o700, exist_ok=True)
        with FileLock(home / "locks" / "upgrade.lock", wait=True):
            stamp = now().strftime("%Y%m%dT%H%M%S")
            moved = home / f"store.{stamp}.damaged.sqlite"
            path.replace(moved)
            move_logs(path, moved)
    restored, paused = [], []
    refused: dict[str, str] = {}
    with Store.open(home) as store:
        with store._read() as session:
            known = set(session.exec(select(Run.id)))
        folders = sorted(path.parent for path in (home / "runs").glob(f"*/{NAME}"))
        for number, folder in enumerate(folders):
            progress("journals", number, len(folders))
            run_id = folder.name
            try:
                if run_id in known:
                    journals.catch_up(store, run_id)
                    continue
                journals.restore(store, run_id)
            except StoreError as error:
                refused[run_id] = error.problem
                continue
            restored.append(run_id)
            if store.run(run_id).state is State.PAUSED:
                paused.append(run_id)
        studies = list(_restore_studies(store, refused))
    return Rebuilt(restored, paused, studies, moved, refused)


def _restore_studies(store: Store, refused: dict[str, str]) -> Iterator[str]:
    for file in sorted((store.home / "studies").glob("*.json")):
        with contextlib.suppress(OSError, ValueError):  # torn: the next stage replaces it
            study_id, kept = study_file.read(file)
            try:
                kept = home_files.study_rows(study_id, kept)
                with store._write() as session:
                    count = study_file.restore(session, study_id, kept)
            except StoreError as error:
                refused[file.stem] = error.problem
                continue
            if count:
                yield study_id
