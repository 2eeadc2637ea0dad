"""The two programs at a box that is reached over SSH.

    python -m dexter_tui.jobs.placement.box FOLDER
        serves the keeper of another machine (`dexter_tui.jobs.placement.ssh`) over a connection:
        takes orders, starts workers, and sends what they wrote
    python -m dexter_tui.jobs.placement.box FOLDER RUN T GPU...
        waits until one of the GPUs is free, and becomes the worker of an attempt

FOLDER is of the form of `dexter_tui.jobs.placement.files`. A job is what holds the lock
``attempt-T/job.lock``; a GPU is in use by what holds ``locks/gpu-GPU.lock``. The kernel frees both
when the process ends, however it ends.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dexter_tui.jobs import launch
from dexter_tui.jobs.placement.files import Ask, AttemptFolder, Order, RunFolder
from dexter_tui.jobs.placement.wire import GREETING, VERSION, Broken, Line, Message
from dexter_tui.machine import nvidia_smi
from store.artifacts import open_log, open_to_read, write_atomic
from store.journal.run_journal import parse_line
from store.locks import FileLock, holder, is_locked, try_lock

WORKER = "dexter_tui.jobs.placement.worker"
POLL_SECONDS = 1.0
LOCK_PATIENCE = 2.0
"""The seconds for which an observer may hold the lock of a job."""
MAX_LINES = 2**24
"""The most of a journal in an answer, in bytes."""
MAX_LOG = 2**20
MAX_HEARTBEAT = 10_000
MAX_FILE = 2**28
"""The largest picture or checkpoint that is sent, in bytes."""
ENOUGH = 2**26
"""The bytes after which an answer is sent; the next one has the rest."""
CHECKPOINT = "checkpoint.pt"
GPU_SECONDS = 10.0


def job_lock(folder: AttemptFolder) -> Path:
    """Return the lock that the job of an attempt holds for as long as it lives."""
    return folder.path / "job.lock"


def gpu_lock(root: Path, gpu: str) -> Path:
    """Return the lock that the job on a GPU holds; of a box without GPUs, "" is the one."""
    return root / "locks" / f"gpu-{gpu or 'none'}.lock"


def made(folder: AttemptFolder) -> AttemptFolder:
    """Return the folder of an attempt, made if need be."""
    (folder.path / "artifacts").mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


# Serving


class Server:
    """Answers the keeper of another machine; each method is a request."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._gpus = ""
        self._gpus_at: float | None = None

    def serve(self, line: Line) -> None:
        """Answer until the other side is gone."""
        while True:
            try:
                request, files = line.receive()
                line.send(*self._answer(request, files))
            except Broken:
                return

    def _answer(self, request: dict[str, Any], files: list[bytes]) -> Message:
        try:
            if request["version"] != VERSION:
                return {"error": f"dexter-tui there is of another version ({VERSION})"}, []
            do = {"sync": self.sync, "start": self.start, "nudge": self.nudge,
                  "withdraw": self.withdraw}[request["do"]]  # fmt: skip
            return do(request, files)
        except OSError as error:
            return {"error": f"{error.filename or self._root}: {error.strerror or error}"}, []

    def _folder(self, request: dict[str, Any]) -> AttemptFolder:
        return made(RunFolder(self._root, request["run"]).attempt(request["attempt"]))

    def sync(self, request: dict[str, Any], files: list[bytes]) -> Message:
        """Take orders that changed; list the jobs; send what attempts wrote."""
        for run_id, order in zip(request["orders"], files, strict=True):
            self._write_order(run_id, order)
        # In this order: what began and ended in between has left its claim and its journal.
        jobs = [self._job(one) for one in request["attempts"]]
        sent: list[dict[str, Any]] = []
        data: list[bytes] = []
        for one, job in zip(request["attempts"], jobs, strict=True):
            job["claimed"] = self._folder(one).is_claimed()
            job["behind"] = sum(map(len, data)) > ENOUGH
            if not job["behind"]:
                found, job["behind"] = self._written(one)
                for name, at, content in found:
                    sent.append({"run": one["run"], "attempt": one["attempt"], "name": name,
                                 "at": at})  # fmt: skip
                    data.append(content)
        using = {gpu: holder(gpu_lock(self._root, gpu)) for gpu in request["gpus"] or [""]}
        runs = {job["pid"]: job["run"] for job in jobs if job["pid"] is not None}
        gpus, age = self._read_gpus()
        return {
            "host": socket.gethostname(),
            "jobs": jobs,
            "files": sent,
            "work": {gpu: runs.get(pid, "other") for gpu, pid in using.items() if pid is not None},
            "gpus": gpus,
            "gpus_age": age,
        }, data

    def _write_order(self, run_id: str, order: bytes) -> None:
        folder = RunFolder(self._root, run_id)
        folder.write_order(Order.model_validate_json(order))

    def _job(self, one: dict[str, Any]) -> dict[str, Any]:
        path = job_lock(self._folder(one))
        lives = is_locked(path)
        return {
            "run": one["run"],
            "attempt": one["attempt"],
            "lives": lives,
            "pid": holder(path) if lives else None,
        }

    def _written(self, one: dict[str, Any]) -> tuple[list[tuple[str, Any, bytes]], bool]:
        """Return what an attempt wrote, and whether there is more.

        A file has a name, where its part begins or the state of the whole, and its content.
        """
        folder = self._folder(one)
        found: list[tuple[str, Any, bytes]] = []
        state: list[int] = []
        checkpoint = b""
        if one["current"]:
            if text := _read(folder.log, one["log"], MAX_LOG):
                found.append(("log", one["log"], text))
            if text := _read(folder.path / "heartbeat.json", 0, MAX_HEARTBEAT):
                found.append(("heartbeat", 0, text))
            # Before the journal, which then has all that the checkpoint rests on.
            state, checkpoint = _checkpoint(folder, one["checkpoint"])
        lines = _read(folder.journal, one["journal"], MAX_LINES)
        behind = len(lines) == MAX_LINES
        whole = lines.rfind(b"\n") + 1
        if whole or not behind:  # a longer line is sent as it is, and believed nowhere
            lines = lines[:whole]
        taken, pictures = 0, 0
        for line in lines.splitlines(keepends=True):
            if pictures > ENOUGH:
                behind = True
                break
            sha256 = _picture_of(line)
            if sha256 is not None and one["current"]:
                picture = _read(folder.artifact(sha256), 0, MAX_FILE)
                found.append((sha256, 0, picture))  # before the entry that names it
                pictures += len(picture)
            taken += len(line)
        if taken:
            found.append(("journal", one["journal"], lines[:taken]))
        if checkpoint and not behind:
            found.append(("checkpoint", state, checkpoint))
        return found, behind

    def start(self, request: dict[str, Any], files: list[bytes]) -> Message:
        """Start the job of an attempt with its order and checkpoints, unless there is one."""
        folder = self._folder(request)
        job = _patiently(job_lock(folder))
        if job is None:
            return {}, []
        with job:
            if folder.is_claimed():
                return {}, []
            for name, content in zip(request["names"], files[1:], strict=True):
                write_atomic(folder.path / Path(name).name, content)
            self._write_order(request["run"], files[0])
            command = [sys.executable, "-P", "-m", __spec__.name, str(self._root), request["run"],
                       str(request["attempt"]), *request["gpus"]]  # fmt: skip
            with open_log(folder.log) as output:
                process = subprocess.Popen(
                    [*launch.scope(), *command],
                    env=launch.worker_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=[job.inheritable()],
                )
            job.path.write_text(f"{process.pid}\n")  # the holder from now on
        return {}, []

    def nudge(self, request: dict[str, Any], files: list[bytes]) -> Message:
        """Take an order, and have the worker look at it; a job that waits for a GPU ends."""
        self._write_order(request["run"], files[0])
        path = job_lock(self._folder(request))
        if is_locked(path) and (pid := holder(path)) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
        return {}, []

    def withdraw(self, request: dict[str, Any], files: list[bytes]) -> Message:
        """Make the claim of an attempt, so that no worker begins it."""
        return {"withdrawn": self._folder(request).claim()}, []

    def _read_gpus(self) -> tuple[str | None, float]:
        """Return what nvidia-smi printed last, None without one, and its age in seconds."""
        if self._gpus_at is None or time.monotonic() - self._gpus_at > GPU_SECONDS:
            self._gpus, self._gpus_at = "", time.monotonic()
            with suppress(OSError, subprocess.SubprocessError):
                self._gpus = subprocess.run(
                    nvidia_smi.COMMAND, capture_output=True, text=True, errors="replace",
                    check=True, timeout=5,
                ).stdout  # fmt: skip
        return self._gpus or None, time.monotonic() - self._gpus_at


def _read(path: Path, at: int, most: int) -> bytes:
    """Return a part of a plain file; nothing if there is none."""
    with suppress(OSError), open_to_read(path) as file:
        file.seek(at)
        return file.read(most)
    return b""


def _picture_of(line: bytes) -> str | None:
    """Return the hash of the picture that an entry names, if it names one."""
    artifact = (parse_line(line) or {}).get("artifact")
    sha256 = artifact.get("sha256") if isinstance(artifact, dict) else None
    return sha256 if isinstance(sha256, str) and sha256.isalnum() else None


def _checkpoint(folder: AttemptFolder, known: list[int] | None) -> tuple[list[int], bytes]:
    """Return the state of a checkpoint's file and, if that is not `known`, its content."""
    with suppress(OSError), open_to_read(folder.path / CHECKPOINT) as file:
        stat = os.fstat(file.fileno())
        state = [stat.st_mtime_ns, stat.st_size]
        if state != known and stat.st_size <= MAX_FILE:
            return state, file.read(MAX_FILE)
    return [], b""


# Starting


def become_worker(root: Path, run_id: str, attempt: int, gpus: Sequence[str]) -> int:
    """Wait for a GPU, then go on as the worker of an attempt; return an exit code if not.

    This process inherited the lock of the job, and the worker inherits both.
    """
    from dexter_tui.jobs.recorder import log  # here, because serving needs no database

    run = RunFolder(root, run_id)
    (root / "locks").mkdir(mode=0o700, exist_ok=True)
    name = f"dexter-{run_id}-{attempt}"
    while True:
        order = run.order()
        wanted = order is not None and (order.attempt, order.ask) == (attempt, Ask.RUN)
        if not wanted or run.attempt(attempt).is_claimed():
            log(f"{name}: not wanted any more")
            return 0
        for gpu in gpus or ("",):
            if (lock := _patiently(gpu_lock(root, gpu), 0.0)) is not None:
                lock.inheritable()
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu
                log(f"{name} on {f'GPU {gpu}' if gpu else 'the CPU'}")
                command = [sys.executable, "-P", "-m", WORKER, str(run.path), str(attempt)]
                os.execv(sys.executable, command)
        time.sleep(POLL_SECONDS)


def _patiently(path: Path, seconds: float = LOCK_PATIENCE) -> FileLock | None:
    deadline = time.monotonic() + seconds
    while (lock := try_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return lock


def main(arguments: Sequence[str]) -> int:
    """Serve a keeper, or become a worker."""
    root = Path(arguments[0])
    if len(arguments) > 1:
        return become_worker(root, arguments[1], int(arguments[2]), arguments[3:])
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.write(1, GREETING)
    Server(root).serve(Line(0, 1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
