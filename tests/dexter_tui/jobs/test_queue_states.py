"""The table of states: no move but those in it, and no run is ever lost sight of."""

import atexit
import functools
import os
import shutil
import signal
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import recorded
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import integers, sampled_from

from dexter_tui.jobs import control
from store import ACTIVE, ENDED, State, Store, StoreError, run_queue, run_records
from store.run_queue import MAX_FRUITLESS
from store.states import TRANSITIONS

# What the store may do by itself when a process is gone.
SETTLED = {
    State.STARTING: {State.QUEUED, State.LOST},
    State.RUNNING: {State.QUEUED, State.LOST},
    State.PAUSING: {State.PAUSED},
    State.CANCELLING: {State.CANCELLED},
}
RUNS = 3


class Clock:
    """The model's own clock: a minute passes between two looks.

    So no two runs are of the same age, and every wait after a crash is over at the next look.
    """

    def __init__(self):
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self, _zone):
        self.moment += timedelta(minutes=1)
        return self.moment


@functools.cache
def empty_home():
    """A home to copy: the migrations take longer than all that follows."""
    folder = tempfile.mkdtemp(prefix="empty-home-")
    atexit.register(shutil.rmtree, folder)
    Store.open(Path(folder)).close()
    return folder


class Queue(RuleBasedStateMachine):
    """Users, workers and deaths in any order, on a real store; the lock stands for the process.

    The ids of runs are random and real time passes as it likes, so no rule depends on either:
    replayed, the same draws do the same.
    """

    def __init__(self):
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        home = Path(self._folder.name, "home")
        shutil.copytree(empty_home(), home)
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr("store.clock.datetime", Clock())
        self.store = Store.open(home)
        self.worker = Store.open(home)
        classifier = self.store.ensure_classifier("lab:birds", None, ["a", "b"], 64)
        study = self.store.ensure_study(classifier, "a", 0, {})
        self.runs = self.store.add_runs(study, [(seed, {}) for seed in range(RUNS)])
        self.states = dict.fromkeys(self.runs, State.QUEUED)
        self.priorities = dict.fromkeys(self.runs, 0)
        self.held = []  # in the order of their claims
        self.attempts = dict.fromkeys(self.runs, 0)
        self.fruitless = dict.fromkeys(self.runs, 0)
        self.reached = dict.fromkeys(self.runs, 0)

    def teardown(self):
        self.worker.close()
        self.store.close()
        self._patch.undo()
        self._folder.cleanup()

    def see(self, run, allowed=None):
        """The run's state, which it could reach."""
        before, after = self.states[run], self.store.run(run).state
        if after is not before:
            reachable = TRANSITIONS[before] if allowed is None else allowed
            assert after in reachable, f"{before} -> {after}"
        self.states[run] = after
        return after

    number = integers(0, RUNS - 1)

    @rule(
        number=number,
        act=sampled_from([control.pause, control.cancel, control.resume, control.retry]),
    )
    def user(self, number, act):
        run = self.runs[number]
        before = self.states[run]
        try:
            act(self.store, run)
        except StoreError as refusal:
            assert before.value in str(refusal)
            assert self.see(run) is before
        else:
            after = self.see(run)
            assert after is not before or before in (State.PAUSING, State.CANCELLING)
            if after is State.QUEUED:
                self.fruitless[run] = 0

    @rule(number=number, priority=integers(-2, 2))
    def prioritise(self, number, priority):
        run = self.runs[number]
        if self.states[run] is State.QUEUED:
            assert control.set_priority(self.store, run, priority).priority == priority
            self.priorities[run] = priority
        else:
            with pytest.raises(StoreError, match=str(self.states[run].value)):
                control.set_priority(self.store, run, priority)

    @rule()
    def claim(self):
        # The highest priority first, then the oldest.
        queued = [run for run in self.runs if self.states[run] is State.QUEUED]
        queued.sort(key=lambda run: -self.priorities[run])
        assert [run.id for run in run_queue.queue(self.store, due=True)] == queued
        claimed = run_queue.claim(self.worker)
        assert (claimed and claimed.id) == (queued[0] if queued else None)
        if claimed is not None:
            self.held.append(claimed.id)
            self.attempts[claimed.id] += 1
            assert self.see(claimed.id) is State.STARTING
            assert claimed.attempt == self.attempts[claimed.id]

    @precondition(lambda self: self.held)
    @rule(to=sampled_from(sorted(State)), number=number, steps=integers(0, 3))
    def work(self, to, number, steps):
        """A worker says through the journal what became of its run."""
        run = self.held[number % len(self.held)]
        journal = run_records.open_journal(self.worker, run)
        entries = [{"kind": "state", "to": to.value}]
        if steps:
            row = {"step": steps, "losses": {"total": 0.0}, "words": []}
            entries.insert(0, {"kind": "steps", "rows": [row]})
        run_records.catch_up(self.worker, run, journal.append(entries))
        before = self.states[run]
        if to not in TRANSITIONS[before]:
            assert self.see(run) is before
        else:
            assert self.see(run) is to
        if self.states[run] not in ACTIVE:
            run_queue.release(self.worker, run)
            self.held.remove(run)

    @precondition(lambda self: self.held)
    @rule(number=number)
    def die(self, number):
        run = self.held[number % len(self.held)]
        before = self.store.run(run)
        run_queue.release(self.worker, run)  # as the kernel does
        self.held.remove(run)
        assert run_queue.reconcile(self.store) == [run]
        after = self.see(run, SETTLED[before.state])
        if before.state in (State.STARTING, State.RUNNING):
            if before.steps_done > before.progress:
                self.fruitless[run] = 0
            else:
                self.fruitless[run] += 1
            assert (after is State.LOST) == (self.fruitless[run] >= MAX_FRUITLESS)

    @invariant()
    def nothing_is_untrue(self):
        assert run_queue.reconcile(self.store) == []
        runs = {run.id: run for run in self.store.runs()}
        assert sorted(runs) == sorted(self.runs)
        for name, run in runs.items():
            assert run.state is self.states[name]
            assert (
                (run.state in ACTIVE) == (name in self.held) == run_queue.is_alive(self.store, name)
            )
            if run.state in ENDED:
                assert run.ended_at is not None


Queue.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
TestQueue = Queue.TestCase


def test_every_state_can_be_left_or_is_an_end():
    for state in State:
        assert TRANSITIONS[state] or state is State.SUCCEEDED
    assert set(SETTLED) == set(ACTIVE)
    for state, targets in SETTLED.items():
        assert targets <= TRANSITIONS[state] | {State.LOST}


def test_a_signal_reaches_only_the_process_that_holds_the_run(tmp_path):
    """A process number in the store may belong to another by now: the lock decides."""
    with Store.open(tmp_path) as store:
        classifier = store.ensure_classifier("lab:birds", None, ["a"], 64)
        run = recorded.add_run(store, store.ensure_study(classifier, "a", 0, {}), 0, {})
        claimed = recorded.claim(store)
        assert claimed.pid == os.getpid()
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True) as other:
            claimed.pid = other.pid  # as that of the holder in another container
            control.end_process(store, claimed, signal.SIGKILL)
            other.communicate()
            assert other.returncode == 0
        claimed.pid = os.getpid()
        run_queue.release(store, run)
        control.end_process(store, claimed, signal.SIGKILL)  # else this test ends here
        assert run_queue.reconcile(store) == [run]
