"""The engine for a box that is reached over SSH and shares no folder with this machine.

The keeper works on a mirror: a folder of this machine of the form of
`dexter_tui.jobs.placement.files`. One connection is held to a process at the box
(`dexter_tui.jobs.placement.box`), which is sent orders and sends what attempts wrote. It is foreign
content: of each attempt only files of known names are taken, up to a size, and pictures by their
hash; the ingester then believes it or not, as it does for a shared folder.
"""

import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ValidationError

from dexter_tui.formatting import clean
from dexter_tui.jobs.control import CHECKPOINTS
from dexter_tui.jobs.placement import engine, machines
from dexter_tui.jobs.placement.box import CHECKPOINT, GPU_SECONDS, MAX_FILE, MAX_HEARTBEAT, made
from dexter_tui.jobs.placement.engine import End, Phase, PlacementError, Seen
from dexter_tui.jobs.placement.files import AttemptFolder, RunFolder
from dexter_tui.jobs.placement.machines import Machine
from dexter_tui.jobs.placement.places import Box
from dexter_tui.jobs.placement.wire import GREETING, VERSION, Broken, Line, Message
from dexter_tui.machine import nvidia_smi
from store.artifacts import NotPlain, digest, open_log, open_to_read, write_atomic
from store.clock import now

_OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3")
MAX_JOURNAL = 2**31
"""The longest journal of an attempt that is taken, in bytes."""
MAX_LOG = 2**28
MAX_PROLOGUE = 1000
"""The most lines that a shell's start files may print."""
MAX_AGE = 3600.0
"""The age in seconds beyond which readings are not said to be older."""
HISTORY = 60
"""The most readings of a GPU that are shown, one each `box.GPU_SECONDS`."""
_HASH = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"dexter-(r[a-z0-9]+)-(\d+)")


class _Job(BaseModel):
    run: str
    attempt: int
    lives: bool
    pid: int | None
    claimed: bool
    behind: bool


class _File(BaseModel):
    run: str
    attempt: int
    name: str
    at: int | list[int]


class _Synced(BaseModel):
    host: str
    jobs: list[_Job]
    files: list[_File]
    work: dict[str, str]
    gpus: str | None
    gpus_age: float


class _Connection:
    """A connection to the process at the box."""

    def __init__(self, box: Box) -> None:
        options = [part for option in _OPTIONS for part in ("-o", option)]
        # A shell there reads the command.
        command = shlex.join(
            [box.python, "-P", "-m", "dexter_tui.jobs.placement.box", str(box.folder)]
        )
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                ["ssh", "-T", *options, *box.flags, "--", box.host, f"exec {command}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # a signal to the keeper is none to it
            )
        except OSError as error:
            raise Broken(error.strerror or str(error)) from None
        assert self._process.stdin is not None and self._process.stdout is not None
        self._line = Line(
            self._process.stdout.fileno(), self._process.stdin.fileno(), engine.COMMAND_SECONDS
        )
        try:
            lines = 0
            while self._line.line() + b"\n" != GREETING:
                if (lines := lines + 1) > MAX_PROLOGUE:
                    raise Broken("it does not stop printing")
        except Broken as error:
            raise Broken(self._why(error)) from None

    def ask(self, request: dict[str, Any], files: Sequence[bytes]) -> Message:
        """Return the answer to a request; raise Broken, and close, if none comes."""
        try:
            self._line.send(request, files)
            return self._line.receive()
        except Broken as error:
            raise Broken(self._why(error)) from None

    def _why(self, error: Broken) -> str:
        """Close; return the last line that ssh or the box printed, or the error."""
        self._end()
        self._errors.seek(0)
        lines = self._errors.read(2**16).decode(errors="replace").strip().splitlines()
        self.close()
        return clean(lines[-1])[:300] if lines else f"connection lost: {error}"

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def close(self) -> None:
        """End the connection."""
        self._end()
        self._errors.close()


class Ssh:
    """The jobs at a box.

    `under_way` returns the attempts that have not ended, as ids of runs and numbers.
    """

    def __init__(
        self, box: Box, mirror: Path, under_way: Callable[[], Sequence[tuple[str, int]]]
    ) -> None:
        self._box = box
        self.root = mirror
        self.poll_seconds = 1.0
        self._under_way = under_way
        self._connection: _Connection | None = None
        self._orders: dict[str, bytes] = {}
        """The orders that the box has, by run"""
        self._checkpoints: dict[tuple[str, int], list[int]] = {}
        self._read_at: datetime | None = None
        self._history: dict[str, list[float | None]] = {}
        (mirror / "runs").mkdir(mode=0o700, parents=True, exist_ok=True)

    def jobs(self) -> dict[str, Seen]:
        under_way = self._under_way()
        orders = self._changed({run_id for run_id, _ in under_way} | set(self._orders))
        asked = [one for run_id, attempt in under_way for one in self._asked(run_id, attempt)]
        answer, contents = self._ask(
            "sync", list(orders.values()), orders=list(orders), attempts=asked, gpus=self._box.gpus
        )
        try:
            synced = _Synced.model_validate(answer)
        except ValidationError:
            self._close()
            raise PlacementError(f"{self._box.host}: what it sent is no listing") from None
        self._orders |= orders
        for run_id in set(self._orders) - {run_id for run_id, _ in under_way}:
            del self._orders[run_id]
        wanted = {(one["run"], one["attempt"]) for one in asked}
        for file, content in zip(synced.files, contents, strict=False):
            if (file.run, file.attempt) in wanted:
                self._take(file, content)
        seen = {}
        for job in synced.jobs:
            if (job.run, job.attempt) not in under_way:
                continue
            name = f"dexter-{job.run}-{job.attempt}"
            if job.claimed:
                self._folder(job).claim()
            if job.lives or job.behind:
                seen[name] = _seen(name, job, synced)
        self._note(synced)
        return seen

    def submit(self, name: str, run: RunFolder, attempt: int) -> str:
        order = _content(run.path / "order.json")
        folder = run.attempt(attempt)
        kept = {one: data for one in CHECKPOINTS if (data := _content(folder.path / one))}
        self._ask(
            "start", [order, *kept.values()], run=run.path.name, attempt=attempt,
            gpus=self._box.gpus, names=list(kept),
        )  # fmt: skip
        self._orders[run.path.name] = order
        return name

    def nudge(self, handle: str) -> None:
        run_id, attempt = _NAME.fullmatch(handle).groups()  # type: ignore[union-attr]
        order = _content(RunFolder(self.root, run_id).path / "order.json")
        self._ask("nudge", [order], run=run_id, attempt=int(attempt))

    def end_of(self, handle: str) -> End | None:
        return None  # a box keeps no record of what ended

    def withdraw(self, run: RunFolder, attempt: int) -> bool:
        answer, _ = self._ask("withdraw", [], run=run.path.name, attempt=attempt)
        withdrawn = answer.get("withdrawn")
        if not isinstance(withdrawn, bool):
            raise PlacementError(f"{self._box.host}: what it sent is no answer")
        made(run.attempt(attempt)).claim()  # there is one there in any case
        return withdrawn

    # Asking

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, do: str, files: Sequence[bytes], **values: Any) -> Message:
        try:
            if self._connection is None:
                self._connection = _Connection(self._box)
            answer, contents = self._connection.ask({"do": do, "version": VERSION, **values}, files)
        except Broken as error:
            self._connection = None
            raise PlacementError(f"ssh {self._box.host}: {error}") from None
        if "error" in answer:
            raise PlacementError(f"{self._box.host}: {clean(str(answer['error']))[:300]}")
        return answer, contents

    def _changed(self, run_ids: set[str]) -> dict[str, bytes]:
        """Return the orders that the box may not have."""
        found = {}
        for run_id in run_ids:
            order = _content(RunFolder(self.root, run_id).path / "order.json")
            if order and order != self._orders.get(run_id):
                found[run_id] = order
        return found

    def _asked(self, run_id: str, current: int) -> list[dict[str, Any]]:
        """Return what the mirror has of the attempts of a run: earlier ones may still write."""
        run = RunFolder(self.root, run_id)
        found = []
        for number in range(1, current + 1):
            if number < current and not (run.path / f"attempt-{number}").is_dir():
                continue
            folder = made(run.attempt(number))
            found.append(
                {
                    "run": run_id,
                    "attempt": number,
                    "current": number == current,
                    "journal": _size(folder.journal),
                    "log": _size(folder.log),
                    "checkpoint": self._checkpoints.get((run_id, number)),
                }
            )
        return found

    # Taking

    def _folder(self, one: _File | _Job) -> AttemptFolder:
        return made(RunFolder(self.root, one.run).attempt(one.attempt))

    def _take(self, file: _File, content: bytes) -> None:
        """Bring a file, or a part of one, into the mirror."""
        folder = self._folder(file)
        if file.name in ("journal", "log"):
            path, most = {
                "journal": (folder.journal, MAX_JOURNAL), "log": (folder.log, MAX_LOG)
            }[file.name]  # fmt: skip
            if file.at == _size(path) and file.at + len(content) <= most:
                with open_log(path) as target:
                    target.write(content)
        elif file.name == "heartbeat" and len(content) <= MAX_HEARTBEAT:
            write_atomic(folder.path / "heartbeat.json", content)
        elif file.name == "checkpoint" and len(content) <= MAX_FILE and isinstance(file.at, list):
            write_atomic(folder.path / CHECKPOINT, content)
            self._checkpoints[file.run, file.attempt] = file.at
        elif _HASH.fullmatch(file.name) and digest(content) == file.name:
            path = folder.artifact(file.name)
            if not path.exists():
                write_atomic(path, content)

    def _note(self, synced: _Synced) -> None:
        """Write down what is known of the machine, for dashboards."""
        age = min(max(synced.gpus_age, 0.0), MAX_AGE)
        at = now() - timedelta(seconds=age)
        if self._read_at is None or (at - self._read_at).total_seconds() > GPU_SECONDS / 2:
            self._read_at = at
            self._history = {
                device.uuid: [*self._history.get(device.uuid, []), reading.utilisation][-HISTORY:]
                for device, reading in nvidia_smi.parse(synced.gpus or "")
            }
        host, work, gpus = synced.host, synced.work, synced.gpus
        known = Machine(
            place=self._box.name, at=at, host=host, gpus=gpus, work=work, history=self._history
        )
        machines.write(self.root, known)


def _seen(name: str, job: _Job, synced: _Synced) -> Seen:
    gpu = next((gpu for gpu, run in synced.work.items() if run == job.run), None)
    host = clean(synced.host)[:40]
    if not job.lives:
        return Seen(name, Phase.RUNNING, f"ended at {host}, its results are being fetched")
    where = f"{host}, process {job.pid}" if gpu is None else f"{host}, GPU {gpu}"
    if job.claimed:
        return Seen(name, Phase.RUNNING, f"running at {where}")
    waits = "waiting for a GPU" if gpu is None else "starting"
    return Seen(name, Phase.PENDING, f"{waits} at {where}")


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _content(path: Path) -> bytes:
    """Return the content of a plain file of the mirror; nothing if there is none."""
    with suppress(FileNotFoundError, NotPlain), open_to_read(path) as file:
        return file.read()
    return b""
