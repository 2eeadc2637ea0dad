"""Random faults over real runs, reports, comparisons and screenings.

    python tests/support/chaos.py [--faults 1000] [--seed N] [--tiny]

Work is queued on several slots and disturbed in all the ways that machines and people have. After
each fault the store must be sound and must be true within 100 looks at it: 10 seconds on an idle
machine, longer on a busy one, where the runs are slower too. At the end all work that was not
cancelled on purpose must have succeeded, with the numbers of undisturbed work.
"""

import argparse
import contextlib
import itertools
import math
import os
import pty
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from disturbed_jobs import Jobs
from waiting import until

from dexter.config import RunConfig
from dexter_tui.jobs import control, launch, submit
from dexter_tui.jobs.launch import log_file, slot_log
from store import ACTIVE, ENDED, State, Store, StoreError, run_queue
from store.clock import SKEW
from store.database import is_complete
from store.journal.run_journal import NAME
from store.locks import holder, is_locked
from store.run_queue import Work
from store.states import Kind
from store.tables import Job, Run
from store.upkeep import health, journals

TRUTH_LOOKS = 100
SEEDS = 3  # different runs; the others repeat them
JOBS = (Kind.REPORT, Kind.COMPARISON, Kind.SCREENING)  # the kinds of jobs among the victims
JOB_EVERY = 12  # faults, at most one job at a time
HOUR = 3600.0
READ_ONLY = "disk read-only"
# Some of the faults: `--of`.
GROUPS = {
    "processes": (
        *("kill run", "kill runner", "kill dashboard", "hang up", "stop run", "stop runner"),
        *("disk full", "lock database", "set clock", "race for slot", "power cut", "user"),
    ),
    "accidents": (
        *("journal deleted", "journal replaced", "journal cut", "journal torn", "lock deleted"),
        *("locks deleted", "home deleted", "backup fails", "backup killed"),
    ),
}


class Broken(AssertionError):
    """A fault did harm."""


class Chaos:
    """A home full of runs, and what is done to it.

    Nothing is waited for longer than `limit`, seconds from now for all of it.
    """

    def __init__(
        self, home: Path, configs: list[RunConfig], slots: int, seed: int, limit: float = math.inf
    ) -> None:
        self.home = home
        self.configs = configs
        self.slots = slots
        self.rng = random.Random(seed)
        self.skew = home.parent / "skew"
        os.environ |= {
            "DEXTER_HOME": str(home),
            "DEXTER_CPU_SLOTS": str(slots),
            SKEW: str(self.skew),
        }
        self.store = Store.open(home)
        self.deadline = time.monotonic() + limit
        self.tried: Counter[str] = Counter()
        self.harmless: Counter[str] = Counter()
        self.cancelled: set[str] = set()
        self.by_hand: set[str] = set()
        self.paused: str | None = None  # what a person has paused and means to resume
        self.skipped: dict[str, str] = {}
        self.long_locks = 2
        self.long_stops = 3
        self.jobs: Jobs | None = None
        self.disk: Disk | None = None
        self.kinds = itertools.cycle(JOBS)
        self.rest = 2.0  # seconds between two faults, at most
        self.children: list[subprocess.Popen[bytes]] = []
        self.faults: dict[str, Callable[[], None]] = {
            "kill run": self.kill_run,
            "kill runner": self.kill_runner,
            "kill dashboard": self.kill_dashboard,
            "hang up": self.hang_up,
            "stop run": self.stop_run,
            "stop runner": self.stop_runner,
            "disk full": self.fill_disk,
            "lock database": self.lock_database,
            "set clock": self.set_clock,
            "race for slot": self.race,
            "power cut": self.power_cut,
            "user": self.user,
            "two dashboards": self.two_dashboards,
            "journal deleted": self.delete_journal,
            "journal replaced": self.replace_journal,
            "journal cut": self.cut_journal,
            "journal torn": self.tear_journal,
            "lock deleted": self.delete_lock,
            "locks deleted": self.delete_locks,
            "home deleted": self.delete_home,
            "backup fails": self.fail_backup,
            "backup killed": self.kill_backup,
            "stop for long": self.stop_for_long,
            "clock one hour": self.set_clock_by_an_hour,
            READ_ONLY: self.make_read_only,
        }

    # The world

    def enqueue(self, count: int) -> list[str]:
        return submit.enqueue(self.store, [self.rng.choice(self.configs) for _ in range(count)])

    def operate(self) -> None:
        """Do what a dashboard does all the time, and a person now and then."""
        with contextlib.suppress(StoreError):
            run_queue.reconcile(self.store)
            for work in self.work(State.LOST):
                self.by_hand.add(work.id)
                control.retry(self.store, work.id)
            for work in self.work(State.PAUSED):
                # Rebuilt from its journal, paused again by a power cut, or resumed in vain before.
                if work.id != self.paused:
                    self.by_hand.add(work.id)
                    control.resume(self.store, work.id)
            control.ensure_runners(self.store, again=True)
        for child in self.children[:]:
            if child.poll() is not None:
                self.children.remove(child)

    def work(self, *states: State) -> list[Work]:
        """Return the runs and jobs in these states, by default in any."""
        wanted = set(states or State)
        return [*self.store.runs(states=wanted), *run_queue.jobs(self.store, states=wanted)]

    def at_work(self, *states: State) -> Work:
        """Return a run or job at work, once there is one."""
        return self.pick(lambda: self.work(*(states or (State.STARTING, State.RUNNING))))

    def a_run(self) -> Run:
        """Return a run that records steps, once there is one."""
        run = self.pick(lambda: [*self.store.runs(states={State.RUNNING})])
        assert isinstance(run, Run)
        return run

    def pick(self, among: Callable[[], list[Work]]) -> Work:
        def find() -> Work | None:
            alive = [work for work in among() if run_queue.is_alive(self.store, work.id)]
            return self.rng.choice(alive) if alive else None

        found: Work = self.until(find, "nothing at work")
        return found

    def ask_for_a_job(self) -> None:
        """Queue the next kind of job, if none has still to end."""
        if self.jobs is not None and all(job.state in ENDED for job in self.work_of_jobs()):
            self.jobs.forget_pictures()
            with contextlib.suppress(StoreError):
                self.jobs.ask(next(self.kinds))

    def work_of_jobs(self) -> list[Job]:
        return run_queue.jobs(self.store)

    def until(self, condition: Callable[[], Any], else_: str, looks: float = math.inf) -> Any:
        """Look until it is so, by default as long as there is time: a busy machine is slow."""
        while not (answer := condition()):
            looks -= 1
            if looks <= 0 or time.monotonic() > self.deadline:
                raise Broken(f"{else_}{self.out_of_time()}")
            self.operate()
            time.sleep(0.1)
        return answer

    def out_of_time(self) -> str:
        return " (out of time)" if time.monotonic() > self.deadline else ""

    def runner(self) -> tuple[str, int]:
        """A slot with a runner at work, and the runner's process."""

        def find() -> tuple[str, int] | None:
            alive = [
                (slot.name, slot.pid)
                for slot in run_queue.slots(self.store)
                if is_locked(run_queue.runner_lock(self.store, slot.name))
                and "dexter_tui.jobs.runner" in _command(slot.pid)
            ]
            return self.rng.choice(alive) if alive else None

        found: tuple[str, int] = self.until(find, "no runner")
        return found

    def terminal(self, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
        """The command on a terminal of its own: the process, and the terminal's other end."""
        here, there = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "dexter_tui", *arguments],
            stdin=there,
            stdout=there,
            stderr=there,
            start_new_session=True,
            preexec_fn=_take_terminal,
            env={**launch.worker_environment(), "TERM": "xterm-256color"},
        )
        os.close(there)
        os.set_blocking(here, False)
        self.children.append(process)
        return process, here

    # Faults

    def kill_run(self) -> None:
        _kill(self.at_work().pid)

    def kill_runner(self) -> None:
        _kill(self.runner()[1])

    def kill_dashboard(self) -> None:
        process, here = self.terminal()
        self.until(lambda: _drain(here) or process.poll() is not None, "no dashboard")
        process.kill()
        os.close(here)

    def hang_up(self) -> None:
        """A run is started from a terminal that is closed while it is watched."""
        run = self.rng.choice(self.configs)
        before = {run.id for run in self.store.runs()}
        process, here = self.terminal(*_flags(run))

        def started() -> bool:
            _drain(here)
            if process.poll() is not None:
                raise Broken(f"`run` ended with {process.returncode}")
            return bool({run.id for run in self.store.runs()} - before)

        self.until(started, "the run was not queued")
        os.close(here)  # SIGHUP
        self.until(lambda: process.poll() is not None, "the command outlived its terminal")

    def stop_run(self) -> None:
        run = self.at_work()
        with contextlib.suppress(ProcessLookupError):
            os.kill(run.pid or 0, signal.SIGSTOP)
            if self.rng.random() < 0.8:  # else its runner must see it
                self.live(self.rng.uniform(0.5, 5))
                os.kill(run.pid or 0, signal.SIGCONT)

    def stop_runner(self) -> None:
        os.kill(self.runner()[1], signal.SIGSTOP)  # the next process that looks wakes it

    def fill_disk(self) -> None:
        """No file of the run's process can grow, whichever it writes to."""
        run = self.at_work(State.RUNNING)
        _limit_files(run.pid or 0, 1)
        self.live(self.rng.uniform(2, 8))
        for pid in (run.pid or 0, *_ours(self.home)):  # also a runner that it started meanwhile
            _limit_files(pid, resource.RLIM_INFINITY)

    def lock_database(self) -> None:
        seconds = self.rng.uniform(1, 6)
        if self.long_locks:
            self.long_locks -= 1
            seconds = 30.0
        with contextlib.closing(self.connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    def set_clock(self) -> None:
        self.skew.write_text(str(self.rng.choice([-1, 1]) * 10 ** self.rng.uniform(1, 7)))
        self.live(self.rng.uniform(0.5, 3))
        if self.rng.random() < 0.5:
            self.skew.write_text("0")

    def race(self) -> None:
        """Three runners at once for one slot, be it taken or not."""
        slot = f"cpu-{self.rng.randrange(self.slots)}"
        self.children += [launch.start_runner(self.store, slot) for _ in range(3)]
        self.live(2)
        runners = [
            pid
            for pid in _processes("dexter_tui.jobs.runner", self.home)
            if _command(pid).split()[-1] == slot
        ]
        self.until(
            lambda: len([pid for pid in runners if _command(pid)]) <= 1, "two runners on a slot"
        )

    def until_dead(self) -> None:
        """Wait for killed processes to be gone, without bringing up others."""
        while any(True for _ in _ours(self.home)):
            if time.monotonic() > self.deadline:
                raise Broken("processes that cannot be killed")
            time.sleep(0.05)

    def power_cut(self) -> None:
        """Kill everything at once, and tear what was not yet safe on the disk."""
        self.kill_all()
        self.store.close()
        active = self._read("SELECT id FROM run WHERE state IN ('starting', 'running')")
        wal = self.home / "store.sqlite-wal"
        if wal.exists():
            _tear(wal, self.rng.randrange(9000))
        (self.home / "store.sqlite-shm").unlink(missing_ok=True)
        for (run_id,) in active:
            folder = self.home / "runs" / run_id
            for name in ("journal.jsonl", "checkpoint.pt", "log"):
                if (folder / name).exists() and self.rng.random() < 0.7:
                    _tear(folder / name, self.rng.randrange(400))
            (folder / ".new-0123456789abcdef").write_bytes(self.rng.randbytes(100))
        self.reopen()

    def kill_all(self) -> None:
        for _ in range(2):  # a worker that sees its runner gone starts another
            for pid in _ours(self.home):
                _kill(pid)
        self.until_dead()

    def user(self) -> None:
        """People pause, resume, cancel and reorder."""
        run = self.rng.choice(self.work(State.QUEUED, *ACTIVE) or [self.at_work()])
        act = self.rng.choice(["pause", "cancel", "first"])
        with contextlib.suppress(StoreError):  # it ended before
            if act == "pause":
                self.pause(run.id)
            elif act == "cancel":
                self.cancelled.add(run.id)
                control.cancel(self.store, run.id)
            else:
                control.set_priority(self.store, run.id, self.rng.randrange(5))

    def pause(self, name: str) -> None:
        """Pause a run and resume it."""
        self.paused = name
        try:
            control.pause(self.store, name)
            self.until(lambda: self.state(name) is not State.PAUSING, "not paused")
            if self.state(name) is State.PAUSED:
                # A process frees the run just after it has written that it paused.
                self.until(
                    lambda: not run_queue.is_alive(self.store, name),
                    "paused, but alive",
                    TRUTH_LOOKS,
                )
                control.resume(self.store, name)
        finally:
            self.paused = None

    def state(self, name: str) -> State:
        return run_queue.find(self.store, name).state

    # Lost files

    def two_dashboards(self) -> None:
        """Two dashboards look after the same home, and one of them is killed."""
        ends = [self.terminal() for _ in range(2)]
        for process, here in ends:
            self.until(
                partial(_has_drawn, process, here),
                "no dashboard",
            )
        self.live(1)
        for process, here in ends:
            process.kill()
            os.close(here)
        for slot in run_queue.slots(self.store):
            runners = [
                pid
                for pid in _processes("dexter_tui.jobs.runner", self.home)
                if _command(pid).split()[-1] == slot.name
            ]
            self.until(
                partial(_at_most_one, runners),
                "two runners on a slot",
            )

    def delete_journal(self) -> None:
        self.spoil_journal(lambda path: path.unlink())

    def replace_journal(self) -> None:
        def replace(path: Path) -> None:
            other = path.with_suffix(".other")
            shutil.copy(path, other)
            other.replace(path)

        self.spoil_journal(replace)

    def cut_journal(self) -> None:
        def cut(path: Path) -> None:
            os.truncate(path, self.rng.randrange(path.stat().st_size))

        self.spoil_journal(cut)

    def tear_journal(self) -> None:
        """Overwrite some bytes in the middle, and keep the length."""

        def tear(path: Path) -> None:
            with path.open("r+b") as file:
                file.seek(self.rng.randrange(path.stat().st_size))
                file.write(b"\0" * 20)

        self.spoil_journal(tear)

    def spoil_journal(self, spoil: Callable[[Path], None]) -> None:
        """Spoil the journal of a run at work, which writes it again or is killed before it can."""
        run = self.a_run()
        path = self.home / "runs" / run.id / NAME
        with contextlib.suppress(FileNotFoundError, ValueError):
            spoil(path)
        if self.rng.random() < 0.3:
            _kill(run.pid)
        self.repaired(run.id)

    def repaired(self, run_id: str) -> None:
        """Wait until the doctor finds nothing to repair: the worker, or it, has repaired all."""

        def sound() -> bool:
            with contextlib.suppress(StoreError):
                alive = run_queue.is_alive(self.store, run_id)
                found = journals.examine_run(self.store, run_id, alive, repair=True)
                return all(trouble.repaired for trouble in found)
            return False

        self.until(sound, f"the doctor cannot repair {run_id}")

    def delete_lock(self) -> None:
        work = self.at_work()
        self.lose_locks(work, lambda: run_queue.lock_path(self.store, work.id).unlink())

    def delete_locks(self) -> None:
        self.lose_locks(self.at_work(), lambda: shutil.rmtree(self.home / "locks"))

    def lose_locks(self, work: Work, lose: Callable[[], None]) -> None:
        """Delete locks: their holders count as alive all the time, and nobody else begins."""
        with contextlib.suppress(OSError):
            lose()
        path = run_queue.lock_path(self.store, work.id)

        def again() -> bool:
            now = run_queue.find(self.store, work.id)
            if now.attempt != work.attempt or now.state not in ACTIVE:
                gone = f"attempt {work.attempt}: its process was killed"
                if gone in (now.error_line or "") and _command(work.pid or 0):
                    raise Broken(f"{work.id} was taken for dead: {now.error_line}")
                return True
            return path.exists() and holder(path) == work.pid

        self.until(again, f"{path} was not taken again", TRUTH_LOOKS)

    def delete_home(self) -> None:
        """Delete the home: its processes end, and none makes it again. Then it is put back."""
        kept = self.home.with_name("kept")
        own = [*_ours(self.home)]
        holders = {holder(path) for path in (self.home / "locks").iterdir()}
        for pid in own:  # nothing is written between the copy and the deletion
            _signal(pid, signal.SIGSTOP)
        subprocess.run(["cp", "-al", str(self.home), str(kept)], check=True)
        shutil.rmtree(self.home)
        for pid in own:
            _signal(pid, signal.SIGCONT)
        looks = TRUTH_LOOKS
        # A process that was only being started ends when it has come so far.
        while left := [pid for pid in own if _command(pid)]:
            looks -= bool(holders & {*left})
            if looks <= 0 or self.out_of_time():
                kept.rename(self.home)
                raise Broken(f"processes of a deleted home live on: {left}")
            time.sleep(0.1)
        remade = self.home.exists()
        if remade:
            shutil.rmtree(self.home)
        self.store.close()
        kept.rename(self.home)
        self.reopen()
        if remade:
            raise Broken("a deleted home was made again")

    def fail_backup(self) -> None:
        self.back_up("")

    def kill_backup(self) -> None:
        self.back_up("signal.signal(signal.SIGXFSZ, signal.SIG_DFL);")

    def back_up(self, first: str) -> None:
        """Copy the database in a process that fails, or is killed, in the middle of the file."""
        target = self.home / f"store.{self.rng.randrange(10**9)}.backup.sqlite"
        limit = self.rng.randrange(self.store.path.stat().st_size)

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        code = (
            "import signal, sys; from pathlib import Path; from store.database import backup;"
            f"{first} backup(Path(sys.argv[1]), Path(sys.argv[2]))"
        )
        subprocess.run(
            [sys.executable, "-c", code, str(self.store.path), str(target)],
            preexec_fn=limited, stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if target.exists() and not is_complete(target):
            raise Broken(f"{target} is incomplete")
        target.unlink(missing_ok=True)
        for left in self.home.glob(".new-*"):  # of a process that was killed
            left.unlink()

    def stop_for_long(self) -> None:
        """Stop a worker and its runner, so that nobody wakes them; others work on."""
        work = self.at_work(State.RUNNING)
        seconds = 90.0 if self.long_stops > 0 else 8.0
        self.long_stops -= 1
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            runner = holder(run_queue.runner_lock(self.store, work.slot or ""))
            for pid in (runner, work.pid):
                _signal(pid, signal.SIGSTOP)
            with contextlib.suppress(StoreError):
                run_queue.reconcile(self.store)  # but no dashboard, which continues the runner
            now = run_queue.find(self.store, work.id)
            if now.state in ENDED:
                break
            if now.attempt != work.attempt:
                if control.is_stopped(work.pid or 0):
                    raise Broken(f"{work.id} has two workers")
                break
            time.sleep(0.1)
        for pid in (runner, work.pid):
            _signal(pid, signal.SIGCONT)

    def set_clock_by_an_hour(self) -> None:
        self.skew.write_text(str(self.rng.choice([-HOUR, HOUR])))
        self.live(self.rng.uniform(0.5, 3))
        if self.rng.random() < 0.5:
            self.skew.write_text("0")

    def make_read_only(self) -> None:
        """Have the kernel find an error of the disk: it becomes read-only until it is repaired."""
        assert self.disk is not None
        self.at_work(State.RUNNING)
        self.disk.break_down()
        self.live(self.rng.uniform(1, 5))
        self.store.runs()  # it can still be read
        listed = subprocess.run(
            [sys.executable, "-m", "dexter_tui", "runs", "--json"],
            env=launch.worker_environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if listed.returncode not in (0, 2) or "Traceback" in listed.stderr:
            raise Broken(f"`runs` on a read-only disk: {listed.stderr[-300:]}")
        self.kill_all()
        self.store.close()
        self.disk.repair()
        self.reopen()

    def reopen(self) -> None:
        self.store = Store.open(self.home)
        if self.jobs is not None:
            self.jobs.store = self.store

    # What must hold

    def live(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.operate()
            time.sleep(0.1)

    def check(self) -> None:
        """Assert that the store is sound and true, and that all its pictures exist."""
        try:
            self.until(self._true, "", TRUTH_LOOKS)
        except Broken:
            raise Broken(f"not true: {self._untrue()}") from None
        assert self._read("PRAGMA integrity_check") == [("ok",)]
        assert self._read("PRAGMA foreign_key_check") == []
        for (sha256,) in self._read("SELECT sha256 FROM artifact"):
            if not self.store.artifact_path(sha256).exists():
                raise Broken(f"artifact {sha256} has a row and no file")

    def _untrue(self) -> list[str]:
        return [
            f"{run.id} is {run.state}, alive: {run_queue.is_alive(self.store, run.id)}"
            for run in self.work()
            if (run.state in ACTIVE) != run_queue.is_alive(self.store, run.id)
        ]

    def _true(self) -> bool:
        return not self._untrue()

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.store.path, isolation_level=None, timeout=30)

    def _read(self, query: str) -> list[Any]:
        with contextlib.closing(self.connect()) as connection:
            return connection.execute(query).fetchall()

    def numbers(self, run: Run) -> dict[str, Any]:
        """Return everything that a run found, without times."""
        return {
            "steps": [
                step.model_dump(mode="json", exclude={"run_id", "seconds"})
                for step in self.store.steps(run.id)
            ],
            "words": run.words,
            "score": (run.score_value, run.score_n, run.score_hits),
            "frames": [
                (frame.kind, frame.step, frame.seed, frame.target_probability, frame.sha256)
                for frame in sorted(
                    self.store.frames(run.id),
                    key=lambda frame: (frame.kind, frame.step, frame.seed),
                )
            ],
            "prompts": [(prompt.words, prompt.mean_loss) for prompt in self.store.prompts(run.id)],
        }

    def all_ended(self) -> bool:
        return all(work.state in ENDED - {State.LOST} for work in self.work())

    def known(self) -> Iterator[str]:
        """Return whatever may explain why runs do not end."""
        for run in self.work(*set(State) - (ENDED - {State.LOST})):
            yield (
                f"{run.id} is {run.state}, attempt {run.attempt}, step {run.steps_done}, "
                f"{run.fruitless} fruitless, on {run.slot}, process {run.pid}, not before "
                f"{run.not_before}, sign {run.heartbeat_at}, promise {run.promise}: "
                f"{run.error_line}"
            )
            yield from _last_lines(log_file(self.store, run.id))
        for slot in run_queue.slots(self.store):
            yield f"{slot.name}: runner {slot.pid}, broken: {slot.broken}: {slot.note}"
            yield from _last_lines(slot_log(self.store, slot.name))
        for lock in sorted((self.home / "locks").iterdir()):
            if is_locked(lock):
                yield f"{lock.name} is held by {holder(lock)}"
        for pid in _ours(self.home):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                yield f"process {pid} of {fields[1]} ({fields[0]}): {_command(pid)}"
        skew = self.skew.read_text() if self.skew.exists() else "none"
        yield f"{len(run_queue.queue(self.store))} runs in line; clock skew: {skew}"

    # The story

    def play(self, faults: int, at_least: int, report: Callable[[str], None]) -> None:
        """Undisturbed runs, then faults, then the reckoning."""
        references = submit.enqueue(self.store, self.configs)
        self.until(self.all_ended, "the undisturbed runs did not end")
        truth = {}
        for run_id in references:
            run = self.store.run(run_id)
            assert run.state is State.SUCCEEDED, run.error
            truth[run.seed] = self.numbers(run)
        report(f"{len(references)} undisturbed runs ended")
        found = {}
        for kind in JOBS if self.jobs is not None else ():
            assert self.jobs is not None
            job = self.jobs.finish(self.jobs.ask(kind))
            assert job.state is State.SUCCEEDED, self.jobs.describe(job)
            found[kind] = self.jobs.found(job)
            report(f"an undisturbed {kind.value} ended")
        for name in self.skipped:
            self.faults.pop(name, None)
        plan = [name for name in self.faults for _ in range(at_least)]
        plan += self.rng.choices(list(self.faults), k=max(faults - len(plan), 0))
        self.rng.shuffle(plan)
        for number, name in enumerate(plan, 1):
            if self.out_of_time():
                raise Broken("out of time")
            if len(run_queue.queue(self.store)) < self.slots:
                self.enqueue(self.slots)
            if number % JOB_EVERY == 1:
                self.ask_for_a_job()
            begun = time.monotonic()
            self.tried[name] += 1
            try:
                self.faults[name]()
                self.check()
            except Broken as broken:
                report(f"{number} of {len(plan)}: {name}: BROKEN: {broken}")
                for line in self.known():
                    report(f"  {line}")
            else:
                self.harmless[name] += 1
                report(f"{number} of {len(plan)}: {name} ({time.monotonic() - begun:.1f} s)")
            self.live(self.rng.uniform(0, self.rest))
        self.skew.unlink(missing_ok=True)
        self.until(self.all_ended, "runs that do not end")
        self.check()
        if left := [t.what for t in health.examine(self.store, repair=True) if not t.repaired]:
            raise Broken(f"the doctor cannot repair {left}")
        # It restores runs whose rows a power cut tore off; a person resumes them.
        self.until(self.all_ended, "runs that the doctor restored do not end")
        self.reckon(truth, found, report)

    def reckon(
        self, truth: dict[int, Any], found: dict[Kind, Any], report: Callable[[str], None]
    ) -> None:
        """Compare all work with undisturbed work, and show the table of faults."""
        wrong = []
        for job in self.work_of_jobs():
            assert self.jobs is not None
            if job.id in self.cancelled:
                continue
            if job.state is not State.SUCCEEDED:
                wrong.append(f"{job.kind.value} {job.id} {job.state}: {job.error_line}")
            elif self.jobs.found(job) != found[job.kind]:
                wrong.append(f"{job.kind.value} {job.id} differs from an undisturbed one")
        reduced = 0
        study = self.jobs.study if self.jobs is not None else None
        runs = [run for run in self.store.runs() if run.study_id != study]
        for run in runs:
            if run.id in self.cancelled:
                continue
            reduced += run.reduced
            if run.state is not State.SUCCEEDED:
                wrong.append(f"{run.id} {run.state}: {run.error}")
            elif not run.reduced and self.numbers(run) != truth[run.seed]:
                different = [
                    name
                    for name, value in self.numbers(run).items()
                    if value != truth[run.seed][name]
                ]
                wrong.append(f"{run.id} (seed {run.seed}) differs in {', '.join(different)}")
        for name in self.faults:
            report(f"{name:16} tried {self.tried[name]:4}  survived {self.harmless[name]:4}")
        for name, reason in self.skipped.items():
            report(f"{name:16} skipped: {reason}")
        tried, survived = sum(self.tried.values()), sum(self.harmless.values())
        report(
            f"{tried} faults tried, {survived} survived, {tried - survived} not; {len(runs)} runs, "
            f"{len(self.work_of_jobs())} jobs, "
            f"{len(self.cancelled)} cancelled on purpose, {len(self.by_hand)} retried by hand, "
            f"{reduced} with half the pictures at a time, {len(wrong)} lost or wrong; "
            f"{sum(run.attempt for run in runs)} attempts"
        )
        for line in wrong:
            report(line)
        assert not wrong
        assert survived == tried

    def close(self) -> None:
        """End every process of this home, and only these."""
        for pid in _ours(self.home):
            _kill(pid)
        for child in self.children:
            child.kill()
            child.wait()
        self.store.close()
        if self.disk is not None:
            self.until_dead()
            self.disk.close()


class Disk:
    """An ext4 file system of its own, which can break down and be repaired."""

    def __init__(self, folder: Path) -> None:
        """Make and mount it; raise OSError or CalledProcessError where that is not permitted."""
        self.path = folder / "disk"
        self._image = folder / "disk.img"
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(2**31)
        _run("mkfs.ext4", "-q", str(self._image))
        self._mount()
        try:
            self._trigger()
        except OSError:
            self.close()
            raise

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.path))

    def _trigger(self) -> Path:
        """Return the file of the kernel that an error of this disk is written to."""
        device = self.path.stat().st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve(strict=True)
        return Path("/sys/fs/ext4", name.name, "trigger_fs_error").resolve(strict=True)

    def break_down(self) -> None:
        """Have the kernel find an error."""
        self._trigger().write_text("chaos")

    def repair(self) -> None:
        """Check and mount it again; no file may be open, but for processes that are dying."""
        until(self._unmounts)
        code = subprocess.run(
            ["e2fsck", "-fy", str(self._image)], stdout=subprocess.DEVNULL, check=False
        ).returncode
        assert code in (0, 1), f"e2fsck ended with {code}"
        self._mount()

    def _unmounts(self) -> bool:
        command = ["umount", str(self.path)]
        return not subprocess.run(command, capture_output=True, check=False).returncode

    def close(self) -> None:
        """Unmount it, at once or when the last process has left it."""
        _run("umount", "--lazy", str(self.path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _flags(config: RunConfig) -> list[str]:
    values = config.model_dump(mode="json", exclude={"preset"}, exclude_defaults=True)
    flags = ["run", "--preset", config.preset]
    for name, value in values.items():
        flags += [f"--{'class' if name == 'class_name' else name.replace('_', '-')}", str(value)]
    return flags


def _has_drawn(process: "subprocess.Popen[bytes]", terminal: int) -> bool:
    """Return True if a dashboard has drawn something, or has ended."""
    return bool(_drain(terminal)) or process.poll() is not None


def _at_most_one(pids: Sequence[int]) -> bool:
    return sum(bool(_command(pid)) for pid in pids) <= 1


def _drain(descriptor: int) -> bytes:
    with contextlib.suppress(OSError):
        return os.read(descriptor, 2**16)
    return b""


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def _processes(module: str, home: Path) -> Iterator[int]:
    """The processes of a module of ours that work in this home."""
    mark = f"DEXTER_HOME={home}\0".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        if f"-m {module} " in _command(int(folder.name)) + " ":
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes():
                    yield int(folder.name)


def _ours(home: Path) -> Iterator[int]:
    for module in ("dexter_tui.jobs.runner", *set(launch.WORKERS.values())):
        yield from _processes(module, home)


def _limit_files(pid: int, size: int) -> None:
    """Limit the size of files that a process writes, in bytes."""
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _last_lines(path: Path) -> Iterator[str]:
    if path.exists():
        for line in path.read_text(errors="replace").splitlines()[-6:]:
            yield f"    {line}"


def _kill(pid: int | None) -> None:
    _signal(pid, signal.SIGKILL)


def _signal(pid: int | None, number: signal.Signals) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _tear(path: Path, count: int) -> None:
    size = path.stat().st_size
    os.truncate(path, max(size - count, 0))


def lab_configs() -> list[RunConfig]:
    """Small runs of the embedded lab."""
    return [
        RunConfig.from_preset(
            "quick", classifier="lab:birds-biased", class_name="waterbird", seed=seed, device="cpu",
            steps=12, batch=2, stop="none", frames=2, frame_tries=4, score_images=4,
        )
        for seed in range(SEEDS)
    ]  # fmt: skip


def tiny_configs(folder: Path) -> list[RunConfig]:
    """Runs with models of random weights, to be quick."""
    import tiny

    models = {}
    for name, make in {
        "classifier": tiny.classifier_folder,
        "generator": tiny.generator_folder,
        "masked_lm": tiny.masked_lm_folder,
    }.items():
        models[name] = shutil.copytree(make(), folder / name)
    return [
        RunConfig.from_preset(
            "quick", classifier=f"hf:{models['classifier']}", generator=str(models["generator"]),
            masked_lm=str(models["masked_lm"]), class_name="waterbird", seed=seed, device="cpu",
            steps=12, batch=2, diffusion_steps=1, stop="none", frames=2, frame_tries=4,
            score_images=4,
        )
        for seed in range(2)
    ]  # fmt: skip


def make_disk(folder: Path) -> tuple[Disk | None, str]:
    """Return a disk that can break down; None and the reason where none can be made."""
    try:
        return Disk(folder), ""
    except subprocess.CalledProcessError as error:
        return None, f"{error.cmd[0]}: {error.stderr.decode().strip()}"
    except OSError as error:
        return None, str(error)


def main() -> None:
    """The whole of it; exit code 1 if a fault did harm."""
    parser = argparse.ArgumentParser(description="Random faults over real runs")
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--at-least", type=int, help="of each kind  [default: half its share]")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--long-locks", type=int, default=2, help="of the database, 30 s each")
    parser.add_argument("--limit", type=float, default=3 * HOUR, help="seconds, then it gives up")
    parser.add_argument("--long-stops", type=int, default=3, help="of a worker, 90 s each")
    parser.add_argument("--of", choices=GROUPS, help="only these faults")
    parser.add_argument("--runs-only", action="store_true", help="no jobs but runs")
    parser.add_argument("--tiny", action="store_true", help="models of random weights")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    begun = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - begun:7.1f}  {line}", flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and its processes with it
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        os.environ["XDG_STATE_HOME"] = f"{folder}/state"
        configs = tiny_configs(Path(folder)) if arguments.tiny else lab_configs()
        left = arguments.limit - (time.monotonic() - begun)
        disk, reason = None, ""
        if arguments.of is None:
            disk, reason = make_disk(Path(folder))
        home = (disk.path if disk else Path(folder)) / "home"
        chaos = Chaos(home, configs, arguments.slots, arguments.seed, left)
        chaos.disk = disk
        if arguments.of is not None:
            chaos.faults = {name: chaos.faults[name] for name in GROUPS[arguments.of]}
        elif disk is None:
            chaos.skipped[READ_ONLY] = reason
        if not arguments.runs_only:
            chaos.jobs = Jobs(home, left)
            chaos.jobs.store.close()
            chaos.jobs.store = chaos.store
        chaos.long_locks, chaos.long_stops = arguments.long_locks, arguments.long_stops
        if arguments.tiny:
            chaos.rest = 0.3
        least = arguments.at_least
        if least is None:
            least = arguments.faults // (2 * len(chaos.faults))
        try:
            chaos.play(arguments.faults, least, report)
        except AssertionError as broken:
            for line in chaos.known():
                report(f"  {line}")
            sys.exit(f"broken: {broken}")
        finally:
            chaos.close()


if __name__ == "__main__":
    main()
