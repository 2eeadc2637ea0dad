"""The files from which a run goes on as if nothing had happened."""

import io
import pickle
import time
from pathlib import Path
from typing import Any

import torch

from dexter.search.loop import Search, Step
from dexter_tui.jobs.control import CHECKPOINTS
from dexter_tui.jobs.recorder import JournalRecorder, log
from store import StoreError
from store.artifacts import write_atomic
from store.errors import explained
from store.tables import Run

EVERY_SECONDS = 5.0
EVERY_STEPS = 10


_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError, TypeError,
               ValueError, AttributeError)  # fmt: skip


class Checkpoints:
    """The last two states of a run, bound to its configuration.

    The second is for the case that the first was torn, or that it is ahead of the record.
    """

    def __init__(self, folder: Path, run: Run) -> None:
        self._new, self._old = (folder / name for name in CHECKPOINTS)
        self._config_hash = run.config_hash
        self._reduced = run.reduced

    def load(self, search: Search, recorder: JournalRecorder) -> None:
        """Have the search go on from the newest state that is not ahead of the record.

        Without one it begins at its start. A file that is damaged, or of another configuration,
        is passed over, with a line in the log; one that rests on entries of the journal that were
        lost is removed: their numbers will be used again. A run that ran out of memory gets half as
        many pictures at a time (not fewer prompts a step, so that its search stays the same up to
        rounding).
        """
        saved = self._read(recorder.steps_recorded(), recorder.entries_found)
        if saved is not None:
            log(f"going on behind step {saved['state']['step']}")
        if self._reduced and not (saved and saved["reduced"]):
            state = saved["state"] if saved else search.state_dict()
            plan = state["plan"]
            half = {name: max(plan[name] // 2, 1) for name in ("micro_batch", "picture_batch")}
            state["plan"] = {**plan, **half, "gradient_checkpointing": "all"}
            search.load_state_dict(state)
        elif saved:
            search.load_state_dict(saved["state"])

    def _read(self, steps: int, entries: int) -> dict[str, Any] | None:
        for path in (self._new, self._old):
            if not path.exists():
                continue
            try:
                saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                step = saved["state"]["step"]
                if saved["config_hash"] != self._config_hash:
                    log(f"{path} belongs to other settings: not used", "warning")
                elif step > steps or saved.get("entries", 0) > entries:
                    log(f"{path}: its step {step} is ahead of the record: removed", "warning")
                    path.unlink()
                else:
                    return saved
            except _UNREADABLE as error:
                log(f"{path} cannot be read ({type(error).__name__}): not used", "warning")
        return None

    def save(self, state: dict[str, Any], entries: int) -> None:
        """Write the newer file, at once or not at all; what it was is the older one now.

        `entries`: the journal's last entry, on which the state rests.
        """
        buffer = io.BytesIO()
        saved = {
            "config_hash": self._config_hash,
            "reduced": self._reduced,
            "entries": entries,
            "state": state,
        }
        torch.save(saved, buffer)
        temporary = self._new.with_suffix(".new")
        with explained(self._new):
            write_atomic(temporary, buffer.getvalue())
            if self._new.exists():
                self._new.replace(self._old)
            temporary.replace(self._new)


class Saving:
    """The schedule of checkpoints: none is written before the records that it rests on."""

    def __init__(self, recorder: JournalRecorder, checkpoints: Checkpoints, search: Search) -> None:
        self._recorder = recorder
        self._checkpoints = checkpoints
        self._search = search
        self._saved_at = time.monotonic()

    def due(self, step: Step) -> bool:
        """Return whether a checkpoint is due."""
        return step.step % EVERY_STEPS == 0 or time.monotonic() - self._saved_at >= EVERY_SECONDS

    def save(self, promise: float) -> None:
        """Write what waits, then a checkpoint; `promise` as in `JournalRecorder.flush`.

        In this order, because a resumed run goes on behind its checkpoint: no step before that
        may be missing. What cannot be written is left for the next time.
        """
        self._saved_at = time.monotonic()
        if not self._recorder.flush(promise):
            return
        try:
            with self._recorder.counted():
                self._checkpoints.save(self._search.state_dict(), self._recorder.entries)
        except StoreError as error:
            log(f"going on without a new checkpoint: {error}", "warning")
