"""The engine for a box that is reached by SSH: rsync for files, a lock for each worker.

A worker there holds an flock on its attempt's folder for as long as it lives, taken before the
connection that starts it ends. So the box itself says which attempts are under way, also after a
dropped connection. Needs flock (util-linux) and rsync there, and a key that asks no password.
"""

import re
import shlex
from pathlib import Path

from dexter_tui.jobs.placement.engine import End, Phase, PlacementError, Seen, ask
from dexter_tui.jobs.placement.files import RunFolder
from dexter_tui.jobs.placement.places import Place

_OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5",
            "-o", "ServerAliveCountMax=3")  # fmt: skip
_LISTED = re.compile(r"(r[a-z0-9]+) (\d+) (\d+) (-|\d+)")
_BEGIN = "dexter-listing"
_END = "dexter-end"


class Ssh:
    """The workers of this user on a box."""

    def __init__(self, place: Place, home: Path) -> None:
        self._place = place
        self.root = home / "places" / place.name
        self.poll_seconds = 5.0
        self._gpus: dict[str, str] = {}  # those of the workers that were listed last, by name
        (self.root / "runs").mkdir(mode=0o700, parents=True, exist_ok=True)

    def jobs(self) -> dict[str, Seen]:
        # Between two marks, so that what a login prints is no answer, and half of one neither.
        commands = f"""
            echo {_BEGIN}
            mkdir -p {self._there("runs")} && cd {self._there("runs")} || exit 1
            for lock in r*/attempt-*/lock; do
                [ -e "$lock" ] || continue
                flock --nonblock "$lock" true && continue
                folder=${{lock%/lock}}
                echo "${{folder%/*}} ${{folder#*/attempt-}}" $(cat "$folder/pid" "$folder/gpu")
            done
            echo {_END}
        """
        lines = [line.strip() for line in self._ask(commands).splitlines()]
        if _BEGIN not in lines or lines[-1] != _END:
            raise PlacementError(f"{self._place.host} gave no whole listing of its workers")
        found = {}
        self._gpus = {}
        for line in lines[lines.index(_BEGIN) + 1 : -1]:
            match = _LISTED.fullmatch(line)
            if match is None:
                raise PlacementError(f"{self._place.host} printed {line[:80]!r}, not a worker")
            run, attempt, pid, gpu = match.groups()
            where = f"process {pid}" if gpu == "-" else f"process {pid} on GPU {gpu}"
            name = f"dexter-{run}-{attempt}"
            found[name] = Seen(pid, Phase.RUNNING, f"running, {where}")
            self._gpus[name] = gpu
        return found

    def submit(self, name: str, run: RunFolder, attempt: int) -> str:
        place = self._place
        there = self._remote(run)
        free = [str(n) for n in range(place.gpus) if str(n) not in self._gpus.values()]
        if place.gpus and not free:
            raise PlacementError(f"all {place.gpus} GPUs of {place.host} are in use")
        gpu = free[0] if place.gpus else "-"
        visible = gpu if place.gpus else ""
        worker = shlex.join(
            [place.python, "-P", "-m", "dexter_tui.jobs.placement.worker", there, str(attempt)]
        )
        # The lock is taken here and inherited by the worker: it is never free in between.
        commands = f"""
            cd {shlex.quote(there)}/attempt-{attempt} || exit 1
            exec 9>lock
            flock --nonblock 9 || {{ echo "{name} is running already" >&2; exit 1; }}
            echo {gpu} > gpu
            export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
            export PYTHONUNBUFFERED=1 CUDA_VISIBLE_DEVICES={visible}
            setsid nohup {worker} < /dev/null >> log 2>&1 &
            echo $! > pid
            cat pid
        """
        answer = self._ask(commands).strip().split("\n")[-1]
        if not answer.isdecimal():
            raise PlacementError(f"{place.host} printed {answer[:80]!r}, not a process")
        self._gpus[name] = gpu
        return answer

    def nudge(self, handle: str) -> None:
        """Do nothing: the worker reads its order every few seconds."""

    def end_of(self, handle: str) -> End | None:
        """Return None: a box keeps no record of processes."""
        return None

    def withdraw(self, run: RunFolder, attempt: int) -> bool:
        folder = f"{shlex.quote(self._remote(run))}/attempt-{attempt}"
        commands = f"""
            cd {folder} || exit 1
            if (set -C; echo keeper > claim) 2> /dev/null; then echo withdrawn; else echo begun; fi
        """
        answer = self._ask(commands).strip().split("\n")[-1]
        if answer not in ("withdrawn", "begun"):
            raise PlacementError(f"{self._place.host} printed {answer[:80]!r}")
        return answer == "withdrawn"

    def push(self, run: RunFolder) -> None:
        order = run.order()
        if order is None:
            raise PlacementError(f"{run.path}: the order cannot be read")
        folder = f"attempt-{order.attempt}"
        there = self._remote(run)
        self._ask(f"mkdir -p -m 700 {shlex.quote(there)}/{folder}/artifacts")
        if not (run.path / folder / "journal.jsonl").exists():  # the checkpoints to begin from
            checkpoints = ["--include=/checkpoint*.pt", "--exclude=*"]
            self._copy(*checkpoints, f"{run.path}/{folder}/", f"{self._host}:{there}/{folder}/")
        # The order last, under its name only when it is whole.
        self._copy(f"{run.path}/order.json", f"{self._host}:{there}/")

    def pull(self, run: RunFolder, attempt: int) -> None:
        folder = f"attempt-{attempt}"
        target = run.attempt(attempt).path
        # Whole files under temporary names, then renamed: nothing half-written is seen.
        source = f"{self._host}:{self._remote(run)}/{folder}/"
        self._copy("--exclude=/lock", "--exclude=.new-*", source, f"{target}/")

    @property
    def _host(self) -> str:
        return str(self._place.host)

    def _there(self, name: str) -> str:
        return shlex.quote(f"{self._place.folder}/{name}")

    def _remote(self, run: RunFolder) -> str:
        return f"{self._place.folder}/runs/{run.path.name}"

    def _copy(self, *arguments: str) -> None:
        shell = shlex.join(["ssh", *_OPTIONS])
        ask(["rsync", "--recursive", "--times", "--perms", f"--rsh={shell}", *arguments])

    def _ask(self, commands: str) -> str:
        return ask(["ssh", *_OPTIONS, self._host, "sh", "-s"], given=commands)
