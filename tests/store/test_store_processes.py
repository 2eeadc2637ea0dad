"""The store of several processes, and of processes and disks that fail."""

import multiprocessing
import os
import resource
import signal
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import recorded
from small_pictures import noise

from store import State, Store, StoreError, run_queue
from store.reading.browse import Browse
from store.upkeep import health

spawn = multiprocessing.get_context("spawn")
# Children of a process that has imported the store and opened none: as clean, and sooner there.
forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(["store", "alembic.command", "pytest"])
NOBODY = 65534


class Children:
    """Processes that a test starts; their reports come one after another, none outlives it."""

    def __init__(self):
        self.started = []

    def start(self, target, *arguments, context=forkserver):
        """Start `target(send, *arguments)` in a process: it and the end to receive from."""
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=target, args=(send.send, *arguments), daemon=True)
        process.start()
        send.close()
        self.started.append(process)
        return process, receive

    def join(self):
        for process in self.started:
            process.join(300)
            assert process.exitcode == 0


@pytest.fixture
def children():
    children = Children()
    yield children
    for process in children.started:
        process.kill()
        process.join()


def new_run(store, seed=0):
    classifier = store.ensure_classifier("lab:birds", None, ["a", "b"], 64)
    return recorded.add_run(store, store.ensure_study(classifier, "a", 0, {}), seed, {})


def steps(first, count):
    return [
        {"step": number, "losses": {"total": 1.0}, "words": ["sea"] * 6}
        for number in range(first, first + count)
    ]


def assert_intact(home):
    """The database is sound and every artifact row has its file."""
    with closing(sqlite3.connect(home / "store.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        rows = connection.execute("SELECT sha256 FROM artifact").fetchall()
    with Store.open(home) as store:
        for (sha256,) in rows:
            store.read_artifact(sha256)


def open_fresh_and_write(send, homes, barrier, seed):
    for home in homes:
        barrier.wait(300)
        with Store.open(home) as store:
            run = new_run(store, seed)
    with Store.open(homes[-1]) as store:
        for number in range(1, 101):
            recorded.record_steps(store, run, steps(number, 1))
            run_queue.reconcile(store)
    send(run)


@pytest.mark.long
def test_processes_open_fresh_homes_at_once_and_lose_nothing(tmp_path, children):
    homes = [tmp_path / str(number) for number in range(4)]
    barrier = spawn.Barrier(4)
    ends = [
        children.start(open_fresh_and_write, homes, barrier, seed, context=spawn)[1]
        for seed in range(4)
    ]
    runs = [end.recv() for end in ends]
    children.join()
    for home in homes:
        with Store.open(home) as store:
            assert sorted(run.seed for run in store.runs()) == [0, 1, 2, 3]
            assert len(store.studies()) == 1
        assert not list(home.glob("*.backup.sqlite"))
        assert_intact(home)
    with Store.open(homes[-1]) as store:
        assert [len(store.steps(run)) for run in runs] == [100] * 4


def work_through(send, home):
    with Store.open(home) as store:
        claimed = []
        while run := run_queue.claim(store):
            run_queue.set_state(store, run.id, State.RUNNING)
            run_queue.finish_run(store, run.id, State.SUCCEEDED)
            claimed.append(run.id)
    send(claimed)


def test_each_run_is_claimed_once_and_none_is_lost_while_its_worker_lives(tmp_path, children):
    with Store.open(tmp_path) as store:
        runs = [new_run(store, seed) for seed in range(30)]
        workers = [children.start(work_through, tmp_path) for _ in range(2)]
        while any(process.is_alive() for process, _ in workers):
            assert run_queue.reconcile(store) == []
            for process, _ in workers:
                process.join(0.001)
        claimed = [run for _, end in workers for run in end.recv()]
        assert sorted(claimed) == sorted(runs)
        assert {run.state for run in store.runs()} == {State.SUCCEEDED}
    children.join()


def claim_and_write_for_ever(send, home, phase):
    with Store.open(home) as store:
        run = recorded.claim(store).id
        if phase == "starting":
            send(run)
            signal.pause()
        run_queue.set_state(store, run, State.RUNNING)
        number = 1
        while True:
            recorded.record_steps(store, run, steps(number, 50))
            sha256 = store.put_artifact(noise(number), "image/png")
            recorded.record_frame(
                store,
                run,
                kind="preview",
                step=number,
                seed=1,
                prompt="a",
                predicted_class=0,
                target_probability=0.5,
                hit=True,
                sha256=sha256,
            )
            number += 50
            send(run)


@pytest.mark.parametrize("phase", ["starting", "running"])
def test_a_killed_run_is_queued_again(tmp_path, children, phase, monkeypatch):
    for name in ("BACKOFF", "MAX_BACKOFF"):  # longer than this test takes on any machine
        monkeypatch.setattr(f"store.run_queue.{name}", 3600.0)
    with Store.open(tmp_path) as store:
        queued, run = new_run(store), None
        process, end = children.start(claim_and_write_for_ever, tmp_path, phase)
        run = end.recv()
        assert run == queued
        assert run_queue.reconcile(store) == []
        waiting = new_run(store, 1)
        process.kill()
        process.join()
        assert run_queue.reconcile(store) == [run]
        assert run_queue.reconcile(store) == []
        again = store.run(run)
        assert (again.state, again.ended_at) == (State.QUEUED, None)
        assert again.error is not None and "killed" in again.error
        assert store.run(waiting).state is State.QUEUED
        if phase == "running":  # it had got further: it goes on at once
            assert recorded.claim(store, ids=[run]).attempt == 2
        else:
            assert again.not_before and again.heartbeat_at
            assert again.not_before > again.heartbeat_at
            assert run_queue.claim(store, ids=[run]) is None
            assert run_queue.queue(store, due=True)[0].id == waiting


def claim_and_die(send, home, step):
    with Store.open(home) as store:
        run = recorded.claim(store).id
        if step:
            recorded.record_steps(store, run, steps(step, 1))
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.long
def test_only_attempts_without_progress_are_counted(tmp_path, children, monkeypatch):
    monkeypatch.setattr("store.run_queue.BACKOFF", -1.0)  # no wait, even if the clock is set back
    with Store.open(tmp_path) as store:
        run = new_run(store)

        def attempt(step):
            process, _ = children.start(claim_and_die, tmp_path, step)
            process.join()
            assert run_queue.reconcile(store) == [run]
            return store.run(run).state

        # Replaying the steps of an earlier attempt is no progress.
        fruitless = [1, 1, 0, 1]
        assert [attempt(step) for step in fruitless] == [State.QUEUED] * 4
        assert store.run(run).fruitless == 3
        assert attempt(2) is State.QUEUED
        assert store.run(run).fruitless == 0
        assert [attempt(step) for step in (2, 1, 0, 2)] == [State.QUEUED] * 4
        assert attempt(0) is State.LOST
        lost = store.run(run)
        assert lost.ended_at == lost.heartbeat_at
        assert lost.error is not None and "dexter-tui retry" in lost.error
        assert run_queue.claim(store) is None
        run_queue.set_state(store, run, State.QUEUED)
        assert recorded.claim(store).fruitless == 0


@pytest.mark.parametrize(
    ("asked", "left"), [(State.PAUSING, State.PAUSED), (State.CANCELLING, State.CANCELLED)]
)
def test_a_killed_run_that_was_to_end_did(tmp_path, children, asked, left):
    with Store.open(tmp_path) as store:
        new_run(store)
        process, end = children.start(claim_and_write_for_ever, tmp_path, "running")
        run = end.recv()
        run_queue.set_state(store, run, asked)
        process.kill()
        process.join()
        assert run_queue.reconcile(store) == [run]
        assert store.run(run).state is left


def test_kill_in_the_middle_of_writing_leaves_whole_transactions(tmp_path, children):
    with Store.open(tmp_path) as store:
        runs = [new_run(store, seed) for seed in range(4)]
    for batches in range(len(runs)):
        process, end = children.start(claim_and_write_for_ever, tmp_path, "running")
        for _ in range(batches + 1):
            run = end.recv()
        process.kill()
        process.join()
        assert_intact(tmp_path)
        with Store.open(tmp_path) as store:
            assert run_queue.reconcile(store) == [run]
            recorded = store.steps(run)
            assert len(recorded) >= 50 * (batches + 1)
            assert len(recorded) % 50 == 0
            assert store.run(run).steps_done == len(recorded)


def write_to_the_limit(send, home, limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with Store.open(home) as store:
        run = new_run(store)
        try:
            for number in range(1, 10**6, 50):
                recorded.record_steps(store, run, steps(number, 50))
        except StoreError as error:
            send(str(error))
        try:
            store.put_artifact(os.urandom(limit + 1), "application/octet-stream")
        except StoreError as error:
            send(str(error))
    send(run)


def test_a_full_disk_is_one_clear_line_and_the_store_stays_intact(tmp_path, children):
    Store.open(tmp_path).close()
    _, end = children.start(write_to_the_limit, tmp_path, 400_000)
    for name in ("store.sqlite", "artifacts"):
        line = end.recv()
        assert name in line
        assert "disk is full" in line
        assert "free some space" in line
        assert "\n" not in line
    run = end.recv()
    children.join()
    assert_intact(tmp_path)
    assert not list(tmp_path.rglob(".new-*"))
    with Store.open(tmp_path) as store:
        written = len(store.steps(run))
        assert written > 0
        assert written % 50 == 0
        recorded.record_steps(store, run, steps(written + 1, 50))


def back_up_to_the_limit(send, home, limit, killed):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Store.open(home) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        if killed:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        try:
            health.back_up(store)
        except StoreError as error:
            send(str(error))


def test_a_backup_that_fails_or_is_killed_leaves_nothing_under_its_name(tmp_path, children):
    limit = 200_000
    with Store.open(tmp_path) as store:
        run = new_run(store)
        recorded.record_steps(store, run, steps(1, 2000))
        assert health.back_up(store, tmp_path / "whole").stat().st_size > limit
        process, end = children.start(back_up_to_the_limit, tmp_path, limit, False)
        line = end.recv()
        assert "backup.sqlite" in line and "disk is full" in line and "\n" not in line
        assert not list(tmp_path.glob(".new-*"))
        process, end = children.start(back_up_to_the_limit, tmp_path, limit, True)
        process.join(300)
        assert process.exitcode == -signal.SIGXFSZ
        children.started.remove(process)
        assert not list(tmp_path.glob("*.backup.sqlite"))
        [left] = [path for path in tmp_path.glob(".new-*") if "-journal" not in path.name]
        assert left.stat().st_size <= limit
        # As programs before this one left them.
        left.rename(tmp_path / "store.20260101T000000.backup.sqlite")
        (tmp_path / "store.20260102T000000.backup.sqlite").touch()
        for repaired in (False, True):
            troubles = health.examine(store, repair=repaired)
            assert [trouble.repaired for trouble in troubles] == [repaired] * 2
            assert all("incomplete backup" in trouble.what for trouble in troubles)
        assert not list(tmp_path.glob("*.backup.sqlite"))
    children.join()


def test_a_reader_of_a_restored_backup_blocks_no_writer(tmp_path):
    with Store.open(tmp_path / "old") as store:
        run = new_run(store)
        copy = health.back_up(store, tmp_path / "copy.sqlite")
    home = tmp_path / "restored"
    home.mkdir()
    copy.rename(home / "store.sqlite")
    with Store.open(home, patience=0.1) as store, closing(sqlite3.connect(store.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM run").fetchall()
        recorded.record_steps(store, run, steps(1, 2))
        assert len(store.steps(run)) == 2


def fill_a_fresh_home(send, home):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        Store.open(home)
    except StoreError as error:
        send(str(error))


def test_a_disk_that_fills_while_the_store_is_made_spoils_nothing(tmp_path, children):
    _, end = children.start(fill_a_fresh_home, tmp_path / "home")
    assert "disk is full" in end.recv()
    children.join()
    with Store.open(tmp_path / "home") as store:
        assert new_run(store)


def become_nobody():
    if os.geteuid() == 0:  # whom permissions do not stop
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def use_a_home_of_another(send, home):
    become_nobody()
    for place in (home, home / "new"):
        try:
            with Store.open(place) as store:
                new_run(store)
            send("no error")
        except StoreError as error:
            send(str(error))


@pytest.mark.parametrize("fresh", [True, False])
def test_a_read_only_home_is_one_clear_line(children, fresh):
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is closed to other users
        Path(folder).chmod(0o755)
        home = Path(folder, "home")
        home.mkdir()
        if not fresh:
            Store.open(home).close()
        for path in (home, *home.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = sorted(home.rglob("*"))
        _, end = children.start(use_a_home_of_another, home)
        lines = [end.recv() for _ in range(2)]
        children.join()
        assert sorted(home.rglob("*")) == before
        for path in (home, *home.rglob("*")):
            path.chmod(0o755)
    for line in lines:
        assert str(home) in line
        assert "make it writable" in line
        assert "DEXTER_HOME" in line
        assert "\n" not in line


def read_a_home_of_another(send, home, copy, owner_ended, owner_began):
    become_nobody()
    browse = Browse(home)
    with Store.open(home) as store:
        browse.changed()
        assert run_queue.reconcile(store) == []  # though the process of the run is gone
        send(([run.id for run in store.runs()], health.back_up(store, copy).exists()))
    for event in (owner_ended, owner_began):
        assert event.wait(300)
        assert browse.changed()
        send(browse.counts()["queued"])


def test_a_read_only_home_can_be_read(children):
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is closed to other users
        Path(folder).chmod(0o777)
        home = Path(folder, "home")
        with Store.open(home) as store:
            run = new_run(store)
            run_queue.claim(store)
        for path in (home, *home.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        owner_ended, owner_began = forkserver.Event(), forkserver.Event()
        copy = Path(folder, "copy")
        _, end = children.start(read_a_home_of_another, home, copy, owner_ended, owner_began)
        assert end.recv() == ([run], True)
        for path in (home, *home.rglob("*")):
            path.chmod(0o755)
        with Store.open(home) as store:
            new_run(store)
        owner_ended.set()
        assert end.recv() == 1
        with Store.open(home) as store:
            new_run(store)
            owner_began.set()
            assert end.recv() == 2
        children.join()


def test_a_store_is_not_carried_over_a_fork(tmp_path):
    with Store.open(tmp_path) as store:
        child = os.fork()
        if child == 0:
            try:
                store.runs()
            except RuntimeError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
