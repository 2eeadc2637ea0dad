"""Starts processes that outlive this one: the runners of device slots, and their workers.

They live in sessions of their own and have no terminal, so that a closed terminal or a killed
command harms no work.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dexter_tui.paths import PACKAGED, home
from store import run_queue
from store.artifacts import open_log
from store.states import Kind, is_job

if TYPE_CHECKING:
    from store import Store

WORKERS = dict.fromkeys(Kind, "dexter_tui.analysis.worker") | {
    Kind.RUN: "dexter_tui.jobs.run_worker"
}
"""The module whose process does a kind of work; named, not imported: it lies above this room."""

LOG_BYTES = 2**20  # a longer log of a slot starts again
_LOGIND = (Path("/etc/systemd/logind.conf"), Path("/etc/systemd/logind.conf.d"))


def worker_environment() -> dict[str, str]:
    """Return an environment with one thread, for reproducible numbers, and our packages."""
    path = os.environ.get("PYTHONPATH")
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the numbers of nvidia-smi; CUDA's own: fastest first
        **os.environ,
        "DEXTER_HOME": str(home()),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(PACKAGED), *([path] if path else [])]),
    }


def log_file(store: Store, name: str) -> Path:
    """Return the log of the worker of a run or job."""
    return _logs(store) / f"{name}.log" if is_job(name) else store.run_folder(name) / "log"


def slot_log(store: Store, slot: str) -> Path:
    """Return the log of a slot's runner, and of its workers before they take anything."""
    return _logs(store) / f"{slot}.log"


def _logs(store: Store) -> Path:
    folder = run_queue.logs(store)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def start_runner(store: Store, slot: str) -> subprocess.Popen[bytes]:
    """Start the runner of a slot. It ends at once if the slot has one."""
    return start(store, "dexter_tui.jobs.runner", slot)


def start_keeper(store: Store, slot: str) -> subprocess.Popen[bytes]:
    """Start the keeper of a place (`control.keeper_slot`). It ends at once if there is one."""
    return start(store, "dexter_tui.jobs.placement.keeper", slot)


def start(
    store: Store, module: str, slot: str, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a module of ours for a slot, detached."""
    path = slot_log(store, slot)
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.unlink()
    with open_log(path) as log:
        return subprocess.Popen(
            [*scope(), sys.executable, "-P", "-m", module, slot],
            env={**worker_environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def logout_kills() -> bool:
    """Return whether the system ends what a user left running at logout."""
    if not _kills_user_processes():
        return False
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or ""
    return not Path("/var/lib/systemd/linger", user).is_file()


@cache
def _kills_user_processes() -> bool:
    setting = "no"
    files = [_LOGIND[0], *(sorted(_LOGIND[1].glob("*.conf")) if _LOGIND[1].is_dir() else [])]
    for file in files:
        if file.is_file():
            for line in file.read_text(errors="replace").splitlines():
                key, _, value = line.strip().partition("=")
                if key.strip() == "KillUserProcesses":
                    setting = value.strip().lower()
    return setting in ("yes", "true", "1", "on")


@cache
def scope() -> tuple[str, ...]:
    """Return the prefix for a unit of the user's service manager, which lingering spares."""
    if not _kills_user_processes() or not shutil.which("systemd-run"):
        return ()
    command = ("systemd-run", "--user", "--scope", "--quiet", "--collect")
    works = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    return command if works else ()


LOGOUT_WARNING = (
    "this system ends your processes when you log out (KillUserProcesses): runs and jobs will be "
    "paused then and continue when you are back; `loginctl enable-linger` keeps them running"
)
