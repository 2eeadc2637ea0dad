"""Keeps the runs of a place: ``python -m dexter_tui.jobs.placement.keeper PLACE``

The keeper claims queued runs for the place, has its engine place their workers, takes in what they
record, and settles their ends. It is the only process that does so, beside the store, and may be
killed at any point: the next one continues from the rows of `store.tables.Attempt`.
"""

import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from dexter.errors import InputError
from dexter_tui import EXIT_FAILED, EXIT_REFUSED
from dexter_tui.jobs import control, guard
from dexter_tui.jobs.control import CHECKPOINTS
from dexter_tui.jobs.placement import machines, places
from dexter_tui.jobs.placement.engine import (
    Cause,
    End,
    Engine,
    Phase,
    PlacementError,
    Seen,
)
from dexter_tui.jobs.placement.files import PROMISE, Ask, AttemptFolder, Order, RunFolder
from dexter_tui.jobs.placement.ingester import Ingester, Quarantined, count_beyond
from dexter_tui.jobs.placement.ray import Ray
from dexter_tui.jobs.placement.slurm import Slurm
from dexter_tui.jobs.placement.ssh import Ssh
from dexter_tui.jobs.recorder import log
from dexter_tui.paths import home
from store import ACTIVE, State, Store, StoreError, run_queue, run_records
from store.artifacts import NotPlain, open_to_read, write_atomic
from store.clock import now
from store.journal.run_journal import Interruption
from store.locks import try_lock
from store.placed import attempts
from store.states import Outcome
from store.tables import Attempt, Run

LIST_SECONDS = 5.0
"""The seconds between two listings of the jobs of a place."""
IDLE_SECONDS = 15.0
RETRY_SECONDS = (10.0, 30.0, 90.0)
"""The pauses after submissions that the place refused, before the run fails."""
ENGINES: dict[str, Callable[[places.Place], Engine]] = {"slurm": Slurm, "ray": Ray}
_ASKS = {State.PAUSING: Ask.PAUSE, State.CANCELLING: Ask.CANCEL}


def main(slot: str) -> int:
    """Keep the runs of a place until none is left; `slot` is its `control.keeper_slot`."""
    name = slot.removeprefix(control.keeper_slot(""))
    if not (home() / "store.sqlite").exists():  # deleted since this process was started
        log(f"{home()}: no store")
        return EXIT_FAILED
    with Store.open(home()) as store:
        while True:
            lock = try_lock(run_queue.runner_lock(store, slot))
            if lock is None:
                return 0  # the place has a keeper
            with lock:
                guard.start(store, lock)
                try:
                    place = places.place(name)
                except InputError as error:
                    log(str(error), "error")
                    run_queue.set_slot(store, slot, "elsewhere", note=str(error), broken=True)
                    return EXIT_REFUSED
                keeper = Keeper(store, place, engine_of(store, place))
                keeper.work()
            if keeper.ending or not waiting(store, name):
                return 0


def engine_of(store: Store, place: places.Place | places.Box) -> Engine:
    """Return the engine for a place."""
    if isinstance(place, places.Box):

        def under_way() -> list[tuple[str, int]]:
            return [(a.run_id, a.attempt) for a in attempts.open_attempts(store, place.name)]

        return Ssh(place, machines.folder(store.home, place.name), under_way)
    return ENGINES[place.kind](place)


def waiting(store: Store, place: str) -> bool:
    """Return whether anything is queued for a place, or under way there."""
    queued = any(isinstance(w, Run) and w.place == place for w in run_queue.queue(store))
    return queued or bool(attempts.open_attempts(store, place))


class Kept:
    """An attempt under way."""

    def __init__(self, run: Run, attempt: Attempt, folder: RunFolder) -> None:
        self.run = run
        self.attempt = attempt
        self.folder = folder
        self.ingester: Ingester | None = None
        self.asked = Ask.RUN
        self.nudged = True
        """Whether its job was nudged since the last request"""
        self.job: str | None = None
        """The name of the job that does it among others; None: a job of its own"""
        self.tried_at = time.monotonic()
        """Since when its job may be known to the place"""
        self.missed_at: float | None = None
        """Since when the place does not say how its job ended"""
        self.pause = 0.0
        self.refusals: list[str] = []

    @property
    def files(self) -> AttemptFolder:
        """The folder of the attempt."""
        return self.folder.attempt(self.attempt.attempt)

    @property
    def job_name(self) -> str:
        """The name of its job at the place."""
        return self.job or self.attempt.name


class Keeper:
    """The keeper of one place."""

    def __init__(self, store: Store, place: places.Place | places.Box, engine: Engine) -> None:
        self.store = store
        self.place = place
        self.engine = engine
        self.ending = False
        self._kept: dict[str, Kept] = {}
        self._jobs: dict[str, Seen] = {}
        self._listed_at: float | None = None  # by time.monotonic: when the listing was asked for
        self._listed: datetime | None = None
        self._list_at = 0.0  # when the next listing is due
        self._trouble: str | None = None
        """The failure of the last listing"""
        self._note: str | None = ""
        self._excused = True

    def work(self) -> None:
        """Loop until nothing is left to do."""
        signal.signal(signal.SIGTERM, self._terminate)
        idle_since = time.monotonic()
        while not self.ending:
            if self.tick():
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > IDLE_SECONDS:
                log("nothing to do")
                return
            time.sleep(self.engine.poll_seconds)

    def _terminate(self, *_: object) -> None:
        self.ending = True

    def tick(self) -> bool:
        """Do what is to be done now; return whether there is anything to stay for."""
        troubles = []
        away = False
        try:
            new = self._adopt()
            away = self._is_away()
            self._pack(new if away else [*new, *self._claim()])
            if self._kept and time.monotonic() >= self._list_at:
                self._list()
        except (StoreError, OSError) as error:
            troubles.append(str(error))
        if away:
            folder = self.engine.root / "runs"
            troubles.append(f"{folder} is not there: runs wait (if it was deleted, make it)")
            self._excused = False
        elif not self._excused:
            for kept in self._kept.values():
                if kept.ingester is not None:
                    kept.ingester.excuse()
            self._excused = True
        # All orders first: those of a pack are submitted together.
        for tend in [] if away else [self._order, self._tend]:
            for kept in list(self._kept.values()):
                if self._kept.get(kept.run.id) is not kept:
                    continue  # closed with the others in its job
                try:
                    tend(kept)
                except (PlacementError, StoreError, OSError) as error:
                    troubles.append(f"run {kept.run.id}: {error}")
        refusals = [kept.refusals[-1] for kept in self._kept.values() if kept.refusals]
        known = [] if self._trouble is None else [self._trouble]
        with suppress(StoreError):
            self._describe(next(iter([*known, *refusals, *troubles]), None))
            return bool(self._kept) or waiting(self.store, self.place.name)
        return True

    # What is kept

    def _is_away(self) -> bool:
        """Return whether the folder is gone, which holds orders; nothing follows for any run."""
        ordered = any(kept.attempt.first_entry is not None for kept in self._kept.values())
        return ordered and not (self.engine.root / "runs").is_dir()

    def _adopt(self) -> list[Kept]:
        """Continue what an earlier keeper left; return the attempts that have no order yet."""
        found = []
        for attempt in attempts.open_attempts(self.store, self.place.name):
            if attempt.run_id in self._kept:
                continue
            run = self.store.run(attempt.run_id)
            if run.attempt != attempt.attempt:
                attempts.close(self.store, attempt, Outcome.GONE, "superseded")
            elif attempts.adopt(self.store, run.id):
                found.append(self._keep(run, attempt))
        return [kept for kept in found if kept.attempt.first_entry is None]

    def _claim(self) -> list[Kept]:
        """Claim what is queued for the place, as far as its limit allows; return that."""
        found: list[Kept] = []
        if self.place.limit - len(self._kept) < min(self.place.pack, self.place.limit):
            return found  # until there is room for a whole pack
        while len(self._kept) < self.place.limit and self._trouble is None:
            run = run_queue.claim(self.store, place=self.place.name)
            if not isinstance(run, Run):
                break
            found.append(self._keep(run, attempts.attempts_of(self.store, run.id)[-1]))
            log(f"run {run.id}: attempt {run.attempt}")
        return found

    def _keep(self, run: Run, attempt: Attempt) -> Kept:
        kept = self._kept[run.id] = Kept(run, attempt, RunFolder(self.engine.root, run.id))
        self._list_at = 0.0
        return kept

    def _pack(self, new: list[Kept]) -> None:
        """Name the jobs of attempts that have no order yet: one for each pack."""
        size = self.place.pack
        for first in range(0, len(new) if size > 1 else 0, size):
            for kept in new[first : first + size]:
                kept.job = new[first].attempt.name

    # The engine

    def _list(self) -> None:
        """Ask for the jobs of the place; without an answer, what was known stays."""
        asked_at = time.monotonic()
        self._list_at = asked_at + LIST_SECONDS
        try:
            self._jobs = self.engine.jobs()
        except PlacementError as error:
            age = "never" if self._listed is None else f"{self._listed:%H:%M:%S} UTC"
            self._trouble = f"{error}; states as of {age}"
        else:
            self._listed_at, self._listed, self._trouble = asked_at, now(), None

    def _is_listed_since(self, moment: float) -> bool:
        return self._listed_at is not None and self._listed_at > moment

    # One attempt

    def _tend(self, kept: Kept) -> None:
        if kept.ingester is None:
            return  # its order could not be written yet
        kept.run = run = self.store.run(kept.run.id)
        try:
            kept.ingester.take()
        except Quarantined as reason:
            self._ask(kept, Ask.CANCEL)  # nothing further of its worker is wanted
            self._close(kept, Outcome.QUARANTINED, f"quarantined: {reason}")
            return
        if kept.ingester.ended:
            self._close(kept, Outcome.FINISHED, "its worker ended it")
            return
        if kept.ingester.stopped is Interruption.TIME_LIMIT:
            self._close(kept, Outcome.PREEMPTED, "preempted: its time limit was near")
            return
        if run.state not in ACTIVE:  # as a rebuilt store may have it
            self._close(kept, Outcome.FINISHED, f"the run is {run.state.value}")
            return
        self._follow(kept)
        if kept.job is not None and kept.asked is not Ask.RUN and self._withdraw(kept):
            return  # the others in its job are begun without it
        job = self._jobs.get(kept.job_name)
        if kept.attempt.handle is None:
            self._place(kept, job)
        elif job is not None:
            self._see(kept, job)
            if not kept.nudged and kept.job is None:  # a job of several goes on with the others
                self.engine.nudge(kept.attempt.handle)
            kept.nudged = True
        elif self._is_listed_since(kept.tried_at):
            self._miss(kept)

    def _order(self, kept: Kept) -> None:
        """Write the order of an attempt, unless an earlier keeper did."""
        if kept.ingester is not None:
            return
        attempt, run = kept.attempt, kept.run
        order = kept.folder.order()
        log_file = self.store.run_folder(run.id) / "log"
        if attempt.first_entry is None or order is None or order.attempt != attempt.attempt:
            if attempt.first_entry is None:
                # Nothing was submitted yet. The next entry is the attempt's first.
                first = run_records.open_journal(self.store, run.id).written + 1
            else:
                first = attempt.first_entry
            folder = kept.files
            folder.make()
            for name in CHECKPOINTS:
                with suppress(FileNotFoundError, NotPlain):
                    with open_to_read(self.store.run_folder(run.id) / name) as file:
                        data = file.read()
                    write_atomic(folder.path / name, data)
            columns = {"id", "study_id", "seed", "config", "config_hash", "reduced", "seconds"}
            order = Order(
                attempt=attempt.attempt,
                run=run.model_dump(mode="json", include=columns),
                first_entry=first,
                steps=_steps_recorded(self.store, run.id),
                log_from=log_file.stat().st_size if log_file.exists() else 0,
                job=kept.job,
            )
            kept.folder.write_order(order)
            if attempt.first_entry is None:
                attempts.update(self.store, attempt, first_entry=first)
        kept.asked, kept.job = order.ask, order.job
        kept.nudged = order.ask is Ask.RUN
        assert attempt.first_entry is not None
        kept.ingester = Ingester(self.store, run, kept.files, attempt.first_entry, order.log_from)

    def _follow(self, kept: Kept) -> None:
        """Pass a user's request on to the worker."""
        ask = _ASKS.get(kept.run.state, Ask.RUN)
        if ask is kept.asked:
            return
        self._ask(kept, ask)
        self._list_at = 0.0
        kept.nudged = False

    def _ask(self, kept: Kept, ask: Ask) -> None:
        order = kept.folder.order()
        if order is None:
            raise OSError(f"{kept.folder.path}: the order cannot be read")
        kept.folder.write_order(order.model_copy(update={"ask": ask}))
        kept.asked = ask

    def _place(self, kept: Kept, job: Seen | None) -> None:
        """Have a worker placed, if the place has no job of this name."""
        if job is not None:
            self._received(kept, job.handle)
            self._see(kept, job)
        elif not self._is_listed_since(kept.tried_at + kept.pause):
            return  # not looked up yet
        elif kept.files.is_claimed():
            self._miss(kept)  # its job was received, and is gone
        elif kept.asked is not Ask.RUN:
            self._withdraw(kept)
        else:
            self._submit(kept)

    def _withdraw(self, kept: Kept) -> bool:
        """Close an attempt that no worker has begun; return whether that was possible."""
        if not self.engine.withdraw(kept.folder, kept.attempt.attempt):
            return False
        self._close(kept, Outcome.WITHDRAWN, "no worker had begun it")
        return True

    def _submit(self, kept: Kept) -> None:
        pack = [kept] if kept.job is None else [kept, *self._others(kept)]
        if kept.job is not None:
            kept.files.write_pack([(one.run.id, one.attempt.attempt) for one in pack[1:]])
        try:
            handle = self.engine.submit(kept.job_name, kept.folder, kept.attempt.attempt)
        except PlacementError as error:
            log(f"{kept.job_name}: {error}", "warning")
            refusals = [*kept.refusals, str(error)]
            for one in pack:
                one.tried_at = time.monotonic()
                if len(refusals) <= len(RETRY_SECONDS):
                    one.pause, one.refusals = RETRY_SECONDS[len(refusals) - 1], refusals
                elif self.engine.withdraw(one.folder, one.attempt.attempt):
                    place = self.place.name
                    self._close(one, Outcome.REFUSED, f"not accepted at {place}: {error}")
            return
        for one in pack:
            one.tried_at, one.refusals = time.monotonic(), []
            self._received(one, handle)

    def _others(self, kept: Kept) -> list[Kept]:
        """Return the attempts that are to follow one in its job."""
        found = []
        for one in self._kept.values():
            if one is kept or one.job != kept.job:
                continue
            if one.ingester is None:  # it gets a job of its own when its order can be written
                one.job = None
            elif one.attempt.handle is None and one.asked is Ask.RUN and not one.files.is_claimed():
                found.append(one)
        return found

    def _received(self, kept: Kept, handle: str) -> None:
        attempts.update(self.store, kept.attempt, handle=handle, submitted_at=now())
        log(f"{kept.attempt.name}: job {handle}")

    def _see(self, kept: Kept, job: Seen) -> None:
        """Record what the place says of the job, and what its worker says."""
        assert kept.ingester is not None
        line = job.line
        if job.phase is Phase.RUNNING and kept.ingester.activity:
            line = f"{kept.ingester.activity} ({job.line})"
        elif job.phase is Phase.RUNNING and kept.job is not None and not kept.files.is_claimed():
            line = f"waits for its turn ({job.line})"
        old = kept.attempt.seen_at
        stale = self._listed is not None and (
            old is None or (self._listed - old).total_seconds() > 30
        )
        if line != kept.attempt.seen or stale:
            attempts.update(self.store, kept.attempt, seen=line, seen_at=self._listed)

    def _miss(self, kept: Kept) -> None:
        """Settle an attempt whose job the place no longer has, when that is certain."""
        ingester, attempt = kept.ingester, kept.attempt
        assert ingester is not None
        begun = kept.files.is_claimed()
        if begun and ingester.stopped is None and ingester.silence <= PROMISE:
            return  # a worker that the place has lost may be alive
        end = self._end_of(kept)
        if not begun and not self.engine.withdraw(kept.folder, attempt.attempt):
            return  # it has begun just now
        if not begun and kept.asked is not Ask.RUN:
            self._close(kept, Outcome.WITHDRAWN, "no worker had begun it")
        elif end is not None and end.cause is Cause.CANCELLED:
            self._close(kept, Outcome.CANCELLED, f"cancelled at {attempt.place}: {end.line}")
        elif not begun and kept.job is not None and not kept.files.is_first():
            self._close(kept, Outcome.WITHDRAWN, "its job ended before its turn")
        elif end is not None and end.cause is Cause.PREEMPTED:
            self._close(kept, Outcome.PREEMPTED, f"preempted: {end.line}")
        else:
            what = "its worker is gone" if begun else "its job ended before its worker began"
            line = "" if end is None else f" ({end.line})"
            self._close(kept, Outcome.GONE, f"{what}{line}")

    def _end_of(self, kept: Kept) -> End | None:
        """Return how a job ended; None if that is unknown, or the place gave no answer for long."""
        if kept.attempt.handle is None:
            return None
        try:
            return self.engine.end_of(kept.attempt.handle)
        except PlacementError:
            kept.missed_at = kept.missed_at or time.monotonic()
            if time.monotonic() - kept.missed_at <= PROMISE:
                raise
            return None

    def _close(self, kept: Kept, outcome: Outcome, reason: str) -> None:
        """End an attempt: keep its place for the next one, and settle its run."""
        for name in CHECKPOINTS if outcome is not Outcome.QUARANTINED else ():
            with suppress(FileNotFoundError, NotPlain):  # a link may name any file of this machine
                with open_to_read(kept.files.path / name) as file:
                    data = file.read()
                write_atomic(self.store.run_folder(kept.run.id) / name, data)
        self._count_quarantined(kept)
        run = attempts.close(self.store, kept.attempt, outcome, reason)
        del self._kept[kept.run.id]
        log(f"{kept.attempt.name}: {outcome.value} ({reason}); the run is {run.state.value}")

    def _count_quarantined(self, kept: Kept) -> None:
        """Count what attempts wrote that was not taken."""
        all_ = attempts.attempts_of(self.store, kept.run.id)  # none in a rebuilt store
        bounds = [one.first_entry for one in all_[1:]]
        taken = self.store.run(kept.run.id).journal_entries + 1
        for one, bound in zip(all_, [*bounds, taken], strict=False):
            if bound is None:
                continue
            folder = kept.folder.attempt(one.attempt)
            count = count_beyond(folder, one.attempt, bound)
            if count != one.quarantined:
                attempts.update(self.store, one, quarantined=count)

    def _describe(self, note: str | None) -> None:
        if note != self._note:
            run_queue.set_slot(
                self.store, control.keeper_slot(self.place.name), self.place.kind, note=note
            )
            self._note = note
            if note:
                log(note, "warning")


def _steps_recorded(store: Store, run_id: str) -> int:
    numbers = [step.step for step in store.steps(run_id)]
    return next((n for n, step in enumerate(numbers) if step != n + 1), len(numbers))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
