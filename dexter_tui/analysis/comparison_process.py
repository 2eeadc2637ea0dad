"""The process of a comparison: start it and follow it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dexter.errors import InputError
from dexter_tui import EXIT_FAILED, EXIT_REFUSED

if TYPE_CHECKING:
    from store import Store

POLL_SECONDS = 0.5


LINE_SECONDS = 5.0


def _logs(store: "Store") -> Path:
    folder = store.home / "logs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def log_file(store: "Store", comparison_id: str) -> Path:
    """What the process that compares has to say."""
    return _logs(store) / f"comparison-{comparison_id}.log"


def start(store: "Store", comparison_id: str) -> subprocess.Popen[bytes]:
    """Start the process that compares, in a session of its own."""
    return _detached(
        ["dexter_tui.analysis.comparison_worker", comparison_id], log_file(store, comparison_id)
    )


def _detached(module: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """A module with its arguments, in a session of its own."""
    from dexter_tui.jobs.launch import worker_environment

    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", *module],
            env=worker_environment(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def follow(
    store: "Store",
    comparison_id: str,
    process: subprocess.Popen[bytes],
    tell: Callable[[str], None],
) -> int:
    """Tell how far it is until its process ends; its exit code. Ctrl-C ends it."""
    from dexter_tui.formatting import duration
    from store import comparison_records

    began = time.monotonic()
    told_at, told = began, ""
    while True:
        try:
            ended = process.poll() is not None
            row = comparison_records.comparison(store, comparison_id)
            stage = row.stage or ""
            now = time.monotonic()
            if row.state == "running" and (stage != told or now - told_at >= LINE_SECONDS):
                if stage != told:
                    began = now
                line = f"{stage}: {row.done} of {row.total} pictures" if row.total else stage
                if row.done and stage == told:
                    left = (now - began) * (row.total - row.done) / row.done
                    line += f", {duration(left)} left"
                told_at, told = now, stage
                tell(line)
            if ended:
                break
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            tell("ending")
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
    lines = log_file(store, comparison_id).read_text(errors="replace").splitlines()
    for line in lines[1:]:
        if "nothing tells whether" in line or (row.state == "done" and line.startswith("note: ")):
            tell(line)
    if process.returncode:
        told = row.error or (lines[-1] if lines else f"ended with {process.returncode}")
        if process.returncode == EXIT_REFUSED:
            raise InputError(told)
        tell(told)
        return EXIT_FAILED
    return 0
