"""The engine for Slurm: a shared folder, and the commands sbatch, squeue, scontrol and scancel.

sacct is not needed. The flags used are in Slurm since version 17.02.
"""

import getpass
import os
import re
import shlex

from dexter_tui.jobs.placement.engine import Cause, End, Phase, PlacementError, Seen, ask
from dexter_tui.jobs.placement.files import RunFolder
from dexter_tui.jobs.placement.places import Place
from dexter_tui.paths import PACKAGED

GRACE_SECONDS = 120
"""The seconds before the time limit at which a worker saves its place."""
# The user's variables that a worker gets: no others, so that no key is in Slurm's records.
_EXPORTED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE",
             "XDG_CACHE_HOME", "XDG_STATE_HOME")  # fmt: skip
_PENDING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
                      "SPECIAL_EXIT", "RESV_DEL_HOLD"})  # fmt: skip
# A job is listed for a moment after its end.
_ENDED = {
    "BOOT_FAIL": Cause.ENDED,
    "CANCELLED": Cause.CANCELLED,
    "COMPLETED": Cause.ENDED,
    "DEADLINE": Cause.PREEMPTED,
    "FAILED": Cause.ENDED,
    "NODE_FAIL": Cause.ENDED,
    "OUT_OF_MEMORY": Cause.ENDED,
    "PREEMPTED": Cause.PREEMPTED,
    "REVOKED": Cause.CANCELLED,
    "TIMEOUT": Cause.PREEMPTED,
}
_FORMAT = "%i|%j|%T|%r"  # id, name, state, reason
_STATE = re.compile(r"[A-Z][A-Z_]+")
_NAME = re.compile(r"dexter-r[a-z0-9]+-\d+")


def script(python: str, run: RunFolder, attempt: int) -> str:
    """Return the commands that start the worker of an attempt, in the place of their shell."""
    values = {
        "PYTHONPATH": str(PACKAGED),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
    command = [python, "-P", "-m", "dexter_tui.jobs.placement.worker", str(run.path), str(attempt)]
    return f"#!/bin/sh\nexport {exports}\nexec {shlex.join(command)}\n"


class Slurm:
    """The jobs of this user on a cluster."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.root = place.folder
        self.poll_seconds = 1.0

    def jobs(self) -> dict[str, Seen]:
        listing = ask(
            ["squeue", "--noheader", f"--user={getpass.getuser()}", f"--format={_FORMAT}"]
        )
        found = {}
        for line in listing.splitlines():
            parts = line.strip().split("|", 3)
            parts[0] = parts[0].partition("_")[0]  # of an array, which is none of ours
            if len(parts) != 4 or not parts[0].isdecimal() or not _STATE.fullmatch(parts[2]):
                raise PlacementError(f"squeue printed {line[:80]!r}, not ID|NAME|STATE|REASON")
            handle, name, state, reason = parts
            if not _NAME.fullmatch(name) or state in _ENDED:
                continue
            # A state that this program does not know is that of a job that is still there.
            phase = Phase.PENDING if state in _PENDING else Phase.RUNNING
            shown = state.lower() if reason in ("None", "") else f"{state.lower()} ({reason})"
            if name not in found:  # an older one is in the line before
                found[name] = Seen(handle, phase, f"{shown}, job {handle}")
        return found

    def submit(self, name: str, run: RunFolder, attempt: int) -> str:
        place = self._place
        folder = run.attempt(attempt)
        given = {
            "--job-name": name,
            "--output": str(folder.log).replace("%", "%%"),
            "--chdir": str(folder.path),
            "--export": ",".join(one for one in _EXPORTED if one in os.environ),
            "--signal": f"B:USR1@{GRACE_SECONDS}",
            "--partition": place.partition,
            "--account": place.account,
            "--gres": place.gres,
            "--time": place.time,
        }
        flags = [f"{flag}={value}" for flag, value in given.items() if value is not None]
        command = ["sbatch", "--parsable", "--no-requeue", "--open-mode=append", *flags]
        answer = ask([*command, *place.flags], given=script(place.python, run, attempt))
        handle = answer.strip().split("\n")[-1].split(";")[0]
        if not handle.isdecimal():
            raise PlacementError(f"sbatch printed {answer.strip()[:80]!r}, not the number of a job")
        return handle

    def nudge(self, handle: str) -> None:
        ask(["scancel", "--state=PENDING", handle])
        ask(["scancel", "--batch", "--signal=USR1", handle])

    def end_of(self, handle: str) -> End | None:
        answer = ask(["scontrol", "--oneliner", "show", "job", handle])
        state = re.search(r"\bJobState=([A-Z_]+)", answer)
        if state is None or state[1] not in _ENDED:
            raise PlacementError(f"scontrol printed {answer[:80]!r}, and no state of an ended job")
        code = re.search(r"\bExitCode=(\d+:\d+)", answer)
        line = f"job {handle} ended as {state[1]}" + (f", exit code {code[1]}" if code else "")
        return End(_ENDED[state[1]], line)

    def withdraw(self, run: RunFolder, attempt: int) -> bool:
        return run.attempt(attempt).claim()
