"""The engine for Ray: a shared folder, and the REST interface of Ray Jobs on a cluster's head.

This machine needs no Ray. A job's submission id is the attempt's name, of which Ray has one each.
"""

import http.client
import json
import os
import shlex
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from dexter_tui.jobs.placement import engine
from dexter_tui.jobs.placement.engine import Cause, End, Phase, PlacementError, Seen
from dexter_tui.jobs.placement.files import RunFolder
from dexter_tui.jobs.placement.places import Place
from dexter_tui.jobs.placement.slurm import script

_PHASES = {"PENDING": Phase.PENDING, "RUNNING": Phase.RUNNING}
_ENDED = {"STOPPED": Cause.CANCELLED, "SUCCEEDED": Cause.ENDED, "FAILED": Cause.ENDED}
_MAX_ANSWER = 2**26  # bytes; a longer one is cut, and is no JSON
# The user's variables that a worker gets, which Ray records: no others.
_EXPORTED = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "XDG_STATE_HOME")


class Ray:
    """The jobs of a Ray cluster."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.root = place.folder
        self.poll_seconds = 1.0

    def jobs(self) -> dict[str, Seen]:
        return {
            name: Seen(name, _PHASES[state], f"{state.lower()}, job {name}")
            for name, state in self._states().items()
            if state in _PHASES
        }

    def submit(self, name: str, run: RunFolder, attempt: int) -> str:
        log = shlex.quote(str(run.attempt(attempt).log))
        job = {
            "submission_id": name,
            "entrypoint": f"exec >> {log} 2>&1\n{script(self._place.python, run, attempt)}",
            "entrypoint_num_cpus": 1,
            "entrypoint_num_gpus": self._place.gpus,
            "runtime_env": {
                "env_vars": {one: os.environ[one] for one in _EXPORTED if one in os.environ}
            },
        }
        try:
            self._ask("", job)
        except PlacementError:
            if name not in self._states():
                raise
        return name

    def nudge(self, handle: str) -> None:
        if self._states().get(handle) == "PENDING":
            self._ask(f"{handle}/stop", {})

    def end_of(self, handle: str) -> End | None:
        state = self._states().get(handle)  # those of a head before this one are unknown
        return End(_ENDED[state], f"job {handle} ended as {state}") if state in _ENDED else None

    def withdraw(self, run: RunFolder, attempt: int) -> bool:
        return run.attempt(attempt).claim()

    def _states(self) -> dict[str, str]:
        """Return the states of all submitted jobs that Ray remembers, by submission id."""
        listing = self._ask("")
        try:
            found = {job["submission_id"]: job["status"] for job in listing}
        except (TypeError, LookupError):
            raise PlacementError(f"Ray answered {str(listing)[:80]!r}, not its jobs") from None
        return {name: str(state) for name, state in found.items() if name is not None}

    def _ask(self, path: str, given: dict[str, Any] | None = None) -> Any:
        """Return Ray's answer to a GET, or to a POST of JSON."""
        url = f"{self._place.address}/api/jobs/{path}"
        data = None if given is None else json.dumps(given).encode()
        request = Request(url, data, {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=engine.COMMAND_SECONDS) as answer:
                return json.loads(answer.read(_MAX_ANSWER))
        except HTTPError as error:
            line = (error.read(10_000).decode(errors="replace").strip().splitlines() or [""])[-1]
            raise PlacementError(f"{url}: {error.code}: {line[:300]}") from None
        except (OSError, http.client.HTTPException) as error:
            raise PlacementError(f"{url}: {error}") from None
        except ValueError:
            raise PlacementError(f"{url} is not answered by Ray") from None
