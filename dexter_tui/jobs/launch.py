"""Starts processes that outlive this one: the runners of device slots, and their workers.

They live in sessions of their own and have no terminal, so that a closed terminal or a killed
command harms no run.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from dexter_tui.paths import PACKAGED, home
from store import Store

LOG_BYTES = 2**20  # a slot's log that is longer begins anew
_LOGIND = (Path("/etc/systemd/logind.conf"), Path("/etc/systemd/logind.conf.d"))


def worker_environment() -> dict[str, str]:
    """One thread each, for speed side by side and for the same numbers again, and our packages."""
    path = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "DEXTER_HOME": str(home()),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(PACKAGED), *([path] if path else [])]),
    }


def log_file(store: Store, run_id: str) -> Path:
    """Where a run's worker writes what it has to say."""
    return store.run_folder(run_id) / "log"


def slot_log(store: Store, slot: str) -> Path:
    """Where a slot's runner, and its workers before they take a run, write."""
    folder = store.home / "logs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{slot}.log"


def start_runner(store: Store, slot: str) -> subprocess.Popen[bytes]:
    """Start the runner of a slot. It ends at once if the slot has one."""
    return start(store, "dexter_tui.jobs.runner", slot)


def start(
    store: Store, module: str, slot: str, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a module of ours for a slot, detached."""
    path = slot_log(store, slot)
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.unlink()
    with path.open("ab") as log:
        return subprocess.Popen(
            [*_scope(), sys.executable, "-P", "-m", module, slot],
            env={**worker_environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def logout_kills() -> bool:
    """Whether the system ends what a user left running at logout."""
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
def _scope() -> tuple[str, ...]:
    """A unit of the user's own service manager: where logout kills, that is spared if lingering."""
    if not _kills_user_processes() or not shutil.which("systemd-run"):
        return ()
    command = ("systemd-run", "--user", "--scope", "--quiet", "--collect")
    works = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    return command if works else ()


LOGOUT_WARNING = (
    "this system ends your processes when you log out (KillUserProcesses): runs will be paused "
    "then, and go on when you are back; `loginctl enable-linger` lets them go on"
)
