"""Runs at a place: attempts as their workers write them, and a place whose commands are feigned."""

import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from pathlib import Path

import recorded
from small_pictures import noise

from dexter_tui.jobs.placement.attempt_recorder import AttemptRecorder
from dexter_tui.jobs.placement.files import Order, RunFolder
from dexter_tui.jobs.recorder import JournalRecorder, Recorder
from store import State, Store
from store.journal.run_journal import Journal

PLACE = "farm"
SCORE = {"score_value": 0.5, "score_low": 0.2, "score_high": 0.8, "score_n": 8, "score_hits": 4}


def new_run(store: Store, seed: int = 0) -> str:
    """Queue a run for the place; return its id."""
    classifier = store.ensure_classifier("lab:birds", None, ["a", "b"], 64)
    study = store.ensure_study(classifier, "a", 0, {"template": "a [MASK]"})
    [run_id] = store.add_runs(study, [(seed, {"steps": 20, "device": "cpu"})], place=PLACE)
    return run_id


def write_attempt(folder: RunFolder, order: Order, upto: int = 20, *, end: bool = True) -> None:
    """Write what the worker of an attempt writes: a line of its journal for each flush."""
    attempt = folder.attempt(order.attempt)
    assert attempt.claim()
    recorder = AttemptRecorder(attempt, order)
    record(recorder, upto, end=end)


def record(
    recorder: JournalRecorder,
    upto: int = 20,
    *,
    end: bool = True,
    flush: Callable[[int], None] | None = None,
) -> None:
    """Record a run of 20 steps with any recorder that has begun, or begins here.

    `flush` is called behind every other step with its number.
    """
    if isinstance(recorder, AttemptRecorder):
        recorder.begin()
    recorder.state(State.RUNNING)
    recorder.fields(device="cpu", steps_total=20, seed_ranges={"score": [1, 5]})
    for number in range(1, upto + 1):
        recorder.step({"step": number, "losses": {"total": 1 / number}, "words": ["sea", "owl"]})
        if number % 5 == 0:
            frame(recorder, number)
        if number % 2 == 0 and flush is not None:
            flush(number)
        elif number % 2 == 0:
            assert recorder.flush(30.0)
    if end:
        prompt = {"words": ["sea"], "text": "a sea", "mean_loss": 0.5, "pictures": 16}
        recorder.prompts([prompt])
        recorder.fields(words=("sea",), prompt="a sea", **SCORE)
        frame(recorder, 99, kind="frame")
        recorder.state(State.SUCCEEDED, seconds=1.5)
    assert recorder.flush(30.0)


def frame(recorder: JournalRecorder, seed: int, kind: str = "preview") -> None:
    """Record a picture."""
    recorder.frame(
        noise(seed),
        kind=kind,
        step=seed if kind == "preview" else 0,
        seed=seed,
        prompt="a sea",
        predicted_class=0,
        target_probability=0.5,
        hit=True,
    )


class FeignedSlurm:
    """Commands of Slurm that answer from files, and note how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.path = str(folder)  # a Slurm of this machine is not found
        for name in ("cat", "sleep"):
            (folder / name).symlink_to(str(shutil.which(name)))
        self.say("squeue", "")
        self.say("sbatch", "7")
        self.say("scontrol", "JobState=COMPLETED ExitCode=0:0")
        self.say("scancel", "")

    def say(self, name: str, answer: str, *, code: int = 0, hang: bool = False) -> None:
        """Set the answer of a command."""
        (self.folder / f"{name}.answer").write_text(answer)
        sleep = "exec sleep 600\n" if hang else ""
        self._script(
            name,
            f'#!/bin/sh\necho "$@" >> {self.folder}/{name}.calls\n{sleep}'
            f"cat {self.folder}/{name}.answer\nexit {code}\n",
        )

    def lose(self, name: str) -> None:
        """Remove a command."""
        (self.folder / name).unlink()

    def calls(self, name: str) -> list[str]:
        """Return the arguments of the calls of a command."""
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def _script(self, name: str, text: str) -> None:
        path = self.folder / name
        new = path.with_suffix(".new")
        new.write_text(text)
        new.chmod(0o700)
        new.replace(path)


def results(store: Store, run_id: str, *, without: Collection[str] = ()) -> object:
    """Return all rows of a run but its times, its name and where it ran."""
    own = {"run_id", "id", "created_at", "study_id", *without}
    with closing(sqlite3.connect(store.path)) as connection:
        connection.row_factory = sqlite3.Row
        rows = {
            table: sorted(
                tuple((key, value) for key, value in dict(row).items() if key not in own)
                for row in connection.execute(f"SELECT * FROM {table} WHERE run_id = ?", (run_id,))
            )
            for table in ("step", "prompt", "frame")
        }
    run = store.run(run_id)
    names = {"state", "words", "prompt", "steps_done", "seconds", "device", "seed_ranges", "error"}
    return rows, {name: getattr(run, name) for name in sorted({*names, *SCORE} - {*without})}


def lines(folder: RunFolder, attempt: int) -> Iterator[bytes]:
    """Yield the lines of an attempt's journal."""
    yield from folder.attempt(attempt).journal.read_bytes().splitlines(keepends=True)


def local_run(store: Store, upto: int = 20) -> str:
    """Record the same run as a worker of this machine does; return its id."""
    classifier = store.ensure_classifier("lab:birds", None, ["a", "b"], 64)
    study = store.ensure_study(classifier, "a", 0, {"template": "a [MASK]"})
    run_id = recorded.add_run(store, study, 1, {"steps": 20, "device": "cpu"})
    run = recorded.claim(store, ids={run_id})
    recorder = Recorder(store, run)
    recorder.start(run)
    record(recorder, upto)
    return run_id


def journal_of(store: Store, run_id: str) -> Journal:
    """Return the journal of a run in the home."""
    return Journal(store.home / "runs" / run_id)
