"""The process that reasons about a study or a question: start it and follow it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexter.errors import InputError
from dexter.reasoning.settings import ReportSettings
from dexter_tui import EXIT_REFUSED

if TYPE_CHECKING:
    from store import Store


STAGES = ("captions", "claims", "attribution", "scores", "report")


POLL_SECONDS = 0.7


LINE_SECONDS = 5.0


def study_lock(store: "Store", study_id: str) -> Path:
    """Held by the process that reasons about a study, for as long as it lives."""
    return store.home / "locks" / f"study-{study_id}.lock"


def study_log(store: "Store", study_id: str) -> Path:
    """What that process has to say."""
    folder = store.home / "logs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"study-{study_id}.log"


def is_reporting(store: "Store", study_id: str) -> bool:
    """Whether a process reasons about the study now."""
    from store.locks import is_locked

    return is_locked(study_lock(store, study_id))


def start_report(
    store: "Store", study_id: str, settings: "ReportSettings"
) -> subprocess.Popen[bytes]:
    """Start the reasoning about a study, in a session of its own.

    StoreError where it has no finished run, or is being reasoned about already; InputError for a
    key file that is not safe.
    """
    from dexter_tui.jobs.launch import worker_environment
    from store import State, StoreError

    if not store.runs(study_id=study_id, states=[State.SUCCEEDED], limit=1):
        raise StoreError(f"study {study_id} has no finished run yet; nothing to report on")
    if is_reporting(store, study_id):
        raise StoreError(f"study {study_id}: a report is being made already")
    if settings.key_file is not None:
        from dexter.reasoning.chat import read_key

        read_key(Path(settings.key_file).expanduser())
    with study_log(store, study_id).open("ab") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "dexter_tui.analysis.study_worker"),
                *(study_id, settings.model_dump_json()),
            ],
            env=worker_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def follow(
    store: "Store",
    study_id: str,
    process: subprocess.Popen[bytes],
    tell: Callable[[str], None],
) -> int:
    """Tell how far the reasoning is until its process ends; its exit code. Ctrl-C ends it."""
    from store import study_records

    began = time.monotonic()
    told: dict[str, tuple[str, float]] = {}
    begun_at: dict[str, float] = {}
    while True:
        try:
            ended = process.poll() is not None
            for stage in study_records.stages(store, study_id):
                before = told.get(stage.name, ("waiting", 0.0))
                now = time.monotonic()
                begun_at.setdefault(stage.name, now) if stage.state == "running" else None
                changed = stage.state != before[0]
                if stage.state == "waiting" or not (
                    changed or (stage.state == "running" and now - before[1] >= LINE_SECONDS)
                ):
                    continue
                told[stage.name] = (stage.state, now)
                spent = now - begun_at.get(stage.name, began)
                tell(_stage_line(stage, spent))
            if ended:
                return process.returncode
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            tell("ending")
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def _stage_line(stage: Any, spent: float) -> str:
    """ "claims: running, 640 of 1800, 0:25 left"."""
    from dexter_tui.formatting import duration

    line = f"{stage.name}: {stage.state}"
    if stage.total and stage.state == "running":
        line += f", {stage.done} of {stage.total}"
        if stage.done:
            line += f", {duration(spent * (stage.total - stage.done) / stage.done)} left at most"
    return f"{line}: {stage.error}" if stage.error else line


@dataclass(frozen=True)
class Question:
    """What a user asks of a classifier. config: of a run that would search this class."""

    text: str
    against: str | None
    config: dict[str, Any]
    class_index: int
    settings: dict[str, Any] = field(default_factory=dict)


def ask(question: Question) -> dict[str, Any]:
    """The answer, as `findings.probe_json` gives it; progress goes to standard error.

    InputError for what is refused, RuntimeError where the process failed.
    """
    from dexter_tui.jobs.launch import worker_environment

    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "dexter_tui.analysis.study_worker"),
            *("--probe", json.dumps(asdict(question))),
        ],
        env=worker_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None and process.stdout is not None
    last = ""
    for line in process.stderr:
        last = line.strip() or last
        if " pictures" in line or line.startswith("against: "):
            print(f"dexter-tui: {last}", file=sys.stderr, flush=True)
    out = process.stdout.read()
    code = process.wait()
    if code == EXIT_REFUSED:
        raise InputError(last)
    if code:
        raise RuntimeError(last or f"the process ended with {code}")
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer
