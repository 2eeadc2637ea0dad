"""A home beside a cluster: its places, and the runs that it has there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import placed_runs
from gate import Gate
from waiting import until

from dexter_tui.jobs import control
from dexter_tui.jobs.placement.files import RunFolder
from store import Store, run_queue
from store.placed import attempts
from store.states import Outcome
from store.tables import Attempt, Run

STEPS = 80
SLOWLY = 8  # seconds a step; after 45 s without one, a worker takes it that it hangs


class Head:
    """A store with a first run that nothing happened to, which its other runs repeat."""

    def __init__(self, store: Store, folder: Path, gate: Gate) -> None:
        self.store = store
        self.folder = folder
        self.gate = gate
        self.place_name = "cluster"
        self.place()

    def place(self, **settings: object) -> None:
        """Describe the one place of the home; `settings` as in config.toml."""
        own = {"kind": "slurm", "gres": "gpu:1", "time": "50"} if "kind" not in settings else {}
        values = {"folder": f"{self.folder}/shared", **own, **settings}
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        text = "\n".join([f"[places.{self.place_name}]", *lines, ""])
        (self.store.home / "config.toml").write_text(text)

    @property
    def first(self) -> Run:
        """The run that nothing happened to."""
        return min(self.store.runs(), key=lambda run: run.created_at)

    def add(self, count: int = 1, **changed: Any) -> list[str]:
        """Queue the first run again, each with other settings if they are given."""
        first = self.first
        config: Mapping[str, Any] = {**first.config, **changed}
        seeds = [changed.get("seed", first.seed) + number for number in range(count)]
        runs = [(seed, {**config, "seed": seed}) for seed in seeds]
        added = self.store.add_runs(first.study_id, runs, place=self.place_name)
        control.ensure_runners(self.store, again=True)
        return added

    def close(self, steps: int = 15) -> None:
        """Have runs go so far, and then so slowly that none ends, and none seems to hang."""
        self.gate.close(steps, every=SLOWLY)

    def hold(self, steps: int = 15) -> str:
        """Begin the first run again, and hold it when this number of steps is done."""
        self.close(steps)
        [run_id] = self.add()
        self.until(lambda: self.store.run(run_id).steps_done >= steps // 10 * 10)
        return run_id

    def until(self, condition: Any) -> Any:
        """Wait for a condition while a keeper is at the place; return its answer."""

        def met() -> Any:
            control.ensure_runners(self.store, again=True)
            return condition()

        return until(met)

    def attempts(self, run_id: str) -> list[Attempt]:
        """Return the attempts of a run, oldest first."""
        return attempts.attempts_of(self.store, run_id)

    def seen(self, run_id: str) -> str:
        """Return what the place says of the job of a run's last attempt; "" if nothing yet."""
        return next((one.seen or "" for one in reversed(self.attempts(run_id))), "")

    def ends(self, run_id: str, attempt: int = 1) -> Attempt:
        """Wait for the end of an attempt; return it."""

        def ended() -> Attempt | None:
            found = [one for one in self.attempts(run_id) if one.attempt == attempt]
            return found[0] if found and found[0].outcome is not None else None

        found: Attempt = self.until(ended)
        return found

    def outcomes(self, run_id: str) -> list[Outcome | None]:
        """Return the outcomes of a run's attempts."""
        return [one.outcome for one in self.attempts(run_id)]

    def note(self) -> str | None:
        """Return the line of the place's keeper."""
        slots = {row.name: row for row in run_queue.slots(self.store)}
        row = slots.get(control.keeper_slot(self.place_name))
        return None if row is None else row.note

    def run_folder(self, run_id: str) -> RunFolder:
        """Return the folder of a run at the place."""
        return RunFolder(self.folder / "shared", run_id)

    def worker(self, run_id: str, attempt: int = 1) -> int:
        """Return the process that does an attempt."""
        claim = self.run_folder(run_id).attempt(attempt).path / "claim"
        pid: int = json.loads(claim.read_text())["pid"]
        return pid

    def is_undisturbed(self, run_id: str) -> bool:
        """Return whether a run has, bit by bit, what the first one found."""
        times = {"seconds", "device"}
        first = placed_runs.results(self.store, self.first.id, without=times)
        return placed_runs.results(self.store, run_id, without=times) == first
