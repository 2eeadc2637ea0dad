"""Reports, probes and comparisons as jobs of the queue: with real processes, killed for real."""

import errno
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import recorded
import tiny
from disturbed_jobs import Jobs
from PIL import Image
from report_study import add_study, config

from dexter.data.settings import SlicesSettings
from dexter.reasoning.settings import ReportSettings
from dexter_tui.analysis.data import request as data_request
from dexter_tui.analysis.data.request import DataRequest
from dexter_tui.analysis.study_request import request_report
from dexter_tui.analysis.worker import AnalysisWorker
from dexter_tui.jobs import control, trust
from dexter_tui.jobs.worker import Worker
from dexter_tui.machine import devices, doctor
from store import State, Store, StoreError, run_queue
from store.reading.browse import Browse
from store.states import Kind


@pytest.mark.long
def test_killed_and_cancelled_jobs_continue_on_one_slot_and_leave_nothing_twice(
    home: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEXTER_DEMO_DEVICES", "1")
    jobs = Jobs(home, limit=1200, report_device="cuda")
    try:
        small = {"device": "auto", "steps": 4, "score_images": 4, "frames": 1, "frame_tries": 2}
        config_of_run = config(seed=7).model_copy(update=small)
        run = recorded.add_run(jobs.store, jobs.study, 7, config_of_run.model_dump(mode="json"))
        report, comparison, probe = map(jobs.ask, (Kind.REPORT, Kind.COMPARISON, Kind.PROBE))
        drawing = jobs.reach(probe, lambda job: job.stage == "pictures" and job.done > 0)
        assert cli("cancel", probe).code == 0
        assert jobs.finish(probe).state is State.CANCELLED
        assert Browse(home).rows("SELECT id FROM probe") == []
        assert drawing.slot == "GPU-demo-0"
        assert cli("retry", probe).code == 0
        jobs.kill_each([probe, report, comparison])
        for name in (report, comparison, probe):
            assert jobs.finish(name).attempt > 1
        jobs.until(lambda: jobs.store.run(run).state is State.SUCCEEDED, "the run does not end")
        jobs.check()
        assert jobs.most_at_once == 1
    finally:
        jobs.close()


def test_work_that_waits_for_a_run_is_not_said_to_have_crashed(
    queued: dict[str, str], home: Path, cli: Callable[..., Any]
) -> None:
    with Store.open(home) as store:
        run_queue.add_job(store, Kind.REPORT, {}, depends_on=[queued["run"]])
    assert "5 queued (1 waits for runs or after a crash), 0 paused" in cli("status").out


@pytest.fixture
def queued(home: Path) -> dict[str, str]:
    """A job of each kind in the queue of a home without runners, by kind."""
    study = add_study(home)
    with Store.open(home) as store:
        values = config(seed=7).model_dump(mode="json")
        found = {"run": recorded.add_run(store, study, 7, values)}
        found["report"] = run_queue.add_job(
            store, Kind.REPORT, {}, config=values, device="cpu", study_id=study
        )
        found["probe"] = run_queue.add_job(store, Kind.PROBE, {}, config=values, priority=1)
        found["comparison"] = run_queue.add_job(store, Kind.COMPARISON, {})
    return found


def test_all_kinds_are_listed_and_obey_the_same_commands(
    queued: dict[str, str], home: Path, cli: Callable[..., Any]
) -> None:
    kinds = {name: kind for kind, name in queued.items()}
    listed = {work["id"]: work for work in cli("status", "--json").json["jobs"]}
    assert {name: work["kind"] for name, work in listed.items()} == kinds
    shown = cli("status").out
    assert all(name in shown and kind in shown for name, kind in kinds.items())
    order = [work["id"] for work in cli("queue", "list", "--json").json]
    assert order == [queued[kind] for kind in ("probe", "run", "report", "comparison")]
    assert all(name in cli("queue", "list").out for name in kinds)
    assert cli("queue", "reorder", queued["comparison"], "--first").code == 0
    assert cli("queue", "list", "--json").json[0]["id"] == queued["comparison"]
    for given in (["--priority", "9" * 30], ["--priority", "-1000000001"]):
        refused = cli("queue", "reorder", queued["comparison"], *given)
        assert (refused.code, "out of range" in refused.err) == (2, True)
    assert cli("queue", "reorder", queued["report"], "--priority", "1000000000").code == 0
    assert cli("queue", "reorder", queued["comparison"], "--first").code == 2
    assert cli("queue", "list", "--json").json[0]["id"] == queued["report"]
    assert cli("pause", queued["report"]).code == 0
    assert cli("pause", queued["report"]).code == 2
    assert cli("cancel", queued["report"], queued["probe"][:6]).code == 0
    assert cli("queue", "clear").code == 0
    with Store.open(home) as store:
        states = {run_queue.find(store, name).state for name in kinds}
        assert states == {State.CANCELLED}
        control.retry(store, queued["report"])
        assert [work.id for work in run_queue.queue(store)] == [queued["report"]]


def test_only_one_report_of_a_study_is_in_the_queue(queued: dict[str, str], home: Path) -> None:
    from store import StoreError

    with Store.open(home) as store:
        study = store.job(queued["report"]).study_id
        with pytest.raises(StoreError, match=queued["report"]):
            run_queue.add_job(store, Kind.REPORT, {}, study_id=study)
        control.cancel(store, queued["report"])
        other = run_queue.add_job(store, Kind.REPORT, {}, study_id=study)
        with pytest.raises(StoreError, match=other):
            control.retry(store, queued["report"])
        assert store.job(queued["report"]).state is State.CANCELLED


def test_a_job_that_begins_again_does_not_show_where_it_was(
    queued: dict[str, str], home: Path
) -> None:
    job = queued["report"]

    def shown() -> tuple[str | None, int, int]:
        found = Browse(home).job_of(job)
        assert found is not None
        return found.stage, found.done, found.total

    with Store.open(home) as store:
        run_queue.claim(store, ids=[job])
        run_queue.set_state(store, job, State.RUNNING)
        run_queue.update_job(store, job, stage="claims", done=3, total=9, steps_done=3)
        assert shown() == ("claims", 3, 9)
        run_queue.set_state(store, job, State.FAILED)
        control.retry(store, job)
        assert shown() == (None, 0, 0)
        run_queue.claim(store, ids=[job])
        assert shown() == (None, 0, 0)


def test_a_job_waits_for_its_runs_and_fails_with_them(queued: dict[str, str], home: Path) -> None:
    with Store.open(home) as store:
        run = queued["run"]
        waiting = run_queue.add_job(store, Kind.COMPARISON, {}, depends_on=[run], priority=9)

        def due() -> list[str]:
            return [work.id for work in run_queue.queue(store, due=True)]

        assert waiting not in due()
        assert run_queue.queue(store)[0].id == waiting
        assert run_queue.claim(store, ids=[waiting]) is None
        assert run_queue.reconcile(store) == []
        control.cancel(store, run)
        assert run_queue.reconcile(store) == [waiting]
        failed = store.job(waiting)
        assert failed.state is State.FAILED
        assert run in (failed.error_line or "") and "cancelled" in (failed.error_line or "")
        control.retry(store, run)
        control.retry(store, waiting)
        assert run_queue.reconcile(store) == []
        claimed = run_queue.claim(store, ids=[run])
        assert claimed is not None and claimed.id == run
        run_queue.set_state(store, run, State.RUNNING)
        run_queue.finish_run(store, run, State.SUCCEEDED)
        assert due()[0] == waiting


LARGE = """\
import torch
from torch import nn

class Net(nn.Module):
    labels, image_size = ["duck", "owl"], 32
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 5, 4), nn.Linear(8, 2)
    def forward(self, x):
        if len(x) > 8:  # more than in the trial before it is queued
            torch.empty(1 << 50)
        return self.head(self.body(x).relu().mean((2, 3)))

def make():
    torch.manual_seed(4)
    return Net()
"""


def test_a_job_out_of_memory_says_so_and_what_to_do(home: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(LARGE)
    for label in ("duck", "owl"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for n in range(6):
            Image.new("RGB", (40, 30), (20 * n, 90, 90)).save(tmp_path / f"data/{label}/{n}.png")
    settings = SlicesSettings(image_text=str(tiny.image_text_folder()))
    request = DataRequest(
        Kind.SLICES, f"python:{tmp_path}/net.py:make", str(tmp_path / "data"), settings,
        concepts="sea", agreed=trust.CODE,
    )  # fmt: skip
    with Store.open(home) as store:
        queued = data_request.request_report(store, data_request.prepare(request, home))
        worker = AnalysisWorker(store, devices.slot("cpu-0", {}))
        work = worker.claim()
        assert work is not None and worker.do(work) == 1
        error = store.job(queued.job_id).error
    assert error is not None
    said = "out of memory: DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    assert error["problem"].startswith(said)
    assert f"dexter-tui retry {queued.job_id}" in error["remedy"] and "--device" in error["remedy"]


def test_a_stage_out_of_memory_says_what_to_do(home: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import torch\n\ndef make():\n    torch.empty(1 << 50)\n")
    code = {"classifier": f"python:{tmp_path}/net.py:make"}
    trust.require([code], trust.CODE)
    study = add_study(home, **code)
    with Store.open(home) as store:
        request = {"captions": 0, "image_text": "none"}
        job = run_queue.add_job(store, Kind.REPORT, request, device="cpu", study_id=study)
        worker = AnalysisWorker(store, devices.slot("cpu-0", {}))
        work = worker.claim()
        assert work is not None and worker.do(work) == 1
        error = store.job(job).error
    assert error is not None
    assert error["problem"].startswith("claims: out of memory: ")
    assert f"dexter-tui retry {job}" in error["remedy"] and "--device" in error["remedy"]
    assert "--dtype" not in error["remedy"]  # a report has that of its runs


def test_a_report_asked_for_again_is_the_one_that_is_queued(home: Path) -> None:
    study = add_study(home)
    with Store.open(home) as store:
        settings = ReportSettings(image_text="none")
        first = request_report(store, study, settings)
        run_queue.claim(store, ids=[first])
        run_queue.release(store, first)  # as the kernel does of a process that was killed
        run_queue.reconcile(store)
        assert request_report(store, study, settings) == first
        already = f"already .job {first}.; wait for its end .`dexter-tui status` shows whether"
        with pytest.raises(StoreError, match=already):
            request_report(store, study, ReportSettings(image_text="none", candidates=1))


@pytest.mark.parametrize("kind", [Kind.COMPARISON, Kind.SCREENING])
def test_what_is_asked_for_again_is_what_is_under_way(kind: Kind, home: Path) -> None:
    jobs = Jobs(home, limit=60)
    try:
        first = jobs.ask(kind)
        run_queue.claim(jobs.store, ids=[first])
        assert jobs.ask(kind) == first
        run_queue.release(jobs.store, first)  # as the kernel does of a process that was killed
        run_queue.reconcile(jobs.store)
        assert jobs.ask(kind) == first
        control.cancel(jobs.store, first)
        assert jobs.ask(kind) != first
    finally:
        jobs.close()


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond one page, as on a disk without room."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_does_not_keep_anything_from_being_shown(
    queued: dict[str, str],
    home: Path,
    cli: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python would leave a part of it
    with Store.open(home) as store:
        for name in (queued["run"], queued["report"]):
            run_queue.claim(store, ids=[name], slot="cpu-0")
            run_queue.release(store, name)  # as the kernel does of one that died
        with full_disk():
            shown = [
                cli(*command)
                for command in (["status"], ["queue", "list"], ["runs"], ["show", queued["run"]])
            ]
    assert [one.code for one in shown] == [0] * 4
    assert f"run {queued['run']} lost" in " ".join(shown[0].out.split())
    assert queued["probe"] in shown[0].out and queued["probe"] in shown[1].out
    assert queued["run"] in shown[2].out and queued["run"] in shown[3].out
    for one in shown:
        assert "states may be out of date" in one.err and "disk is full" in one.err
    assert "free at" not in shown[0].err
    monkeypatch.setattr(doctor, "MIN_HOME_BYTES", 1 << 60)
    assert f"free at {home}; free some space" in cli("status").err


class FullDisk(Worker):
    """A worker whose disk has no room."""

    KINDS = frozenset(Kind)

    def fits(self, config: Mapping[str, Any] | None) -> bool:
        return True

    def do(self, work: run_queue.Work) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_a_full_disk_stops_is_queued_again_and_says_so(
    queued: dict[str, str], home: Path, cli: Callable[..., Any]
) -> None:
    with Store.open(home) as store:
        worker = FullDisk(store, devices.slot("cpu-0", {}))
        for _ in queued:
            work = worker.claim()
            assert work is not None and worker.work(work) == 1
            assert not run_queue.is_alive(store, work.id)
    shown = cli("status").out
    assert shown.count("No space left on device") == len(queued)
    assert "killed" not in shown


def test_a_worker_waits_for_room_no_longer_than_until_sigterm(
    queued: dict[str, str], home: Path
) -> None:
    with Store.open(home) as store:
        worker = FullDisk(store, devices.slot("cpu-0", {}))
        work = worker.claim()
        assert work is not None
        worker.terminate()
        with full_disk():
            assert worker.work(work) == 1
        assert not run_queue.is_alive(store, work.id)
        assert run_queue.reconcile(store) == [work.id]


def test_a_job_that_dies_without_progress_is_lost_at_last(
    queued: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.run_queue.BACKOFF", 0.0)
    name = queued["probe"]

    def die(store: Store, steps: int) -> State:
        claimed = run_queue.claim(store, ids=[name])
        assert claimed is not None and claimed.id == name
        run_queue.update_job(store, name, steps_done=steps)
        run_queue.release(store, name)  # as the kernel does
        assert run_queue.reconcile(store) == [name]
        return store.job(name).state

    with Store.open(home) as store:
        for _ in range(run_queue.MAX_FRUITLESS - 1):
            assert die(store, 64) is State.QUEUED
        assert die(store, 128) is State.QUEUED  # further than before
        for _ in range(run_queue.MAX_FRUITLESS - 1):
            assert die(store, 64) is State.QUEUED
        assert die(store, 128) is State.LOST
        assert f"dexter-tui retry {name}" in (store.job(name).error_line or "")
