"""Reports, probes, comparisons and screenings that are killed at random moments.

    python tests/support/disturbed_jobs.py [--kills 30] [--seed N]

All of them have to end with what undisturbed ones find, and nothing may be lost or doubled.
"""

import argparse
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import tiny
from report_study import add_study, config

from dexter.reasoning.settings import CompareSettings, ReportSettings, ScreenSettings
from dexter_tui.analysis import screening_request
from dexter_tui.analysis.comparison_request import Request, request_comparison
from dexter_tui.analysis.screening_request import ScreenRequest
from dexter_tui.analysis.study_request import request_probe, request_report
from dexter_tui.jobs import control, submit
from dexter_tui.jobs.launch import log_file
from store import ACTIVE, ENDED, State, Store, StoreError, run_queue, study_records
from store.reading import comparisons, screenings
from store.reading.browse import Browse
from store.states import Kind
from store.tables import Job

KINDS = (Kind.REPORT, Kind.PROBE, Kind.COMPARISON, Kind.SCREENING)

# For the lab's generator: tiny models depend on nothing that could be found.
POOL = """
picture: a picture of
articles: a
slots:
  place:
    position: beside
    concepts: {water: [sea, lake], snow: snow, city: city}
  thing:
    exclusive: false
    position: beside
    concepts: {tree: tree, ball: ball}
"""


class Jobs:
    """A home with a study, and jobs that are asked for and disturbed there.

    `report_device`: the device asked for by reports; by default that of the study's runs, "cpu".
    All others ask for "auto".
    """

    def __init__(self, home: Path, limit: float, report_device: str = "auto") -> None:
        os.environ["DEXTER_HOME"] = str(home)
        self.home = home
        self.report_device = report_device
        self.study = add_study(home)
        self.store = Store.open(home)
        self.deadline = time.monotonic() + limit
        self.most_at_once = 0
        """Processes that were seen to work at the same time."""

    # Requests

    def ask(self, kind: Kind) -> str:
        """Queue a small job; return its id."""
        small = {"image_text": str(tiny.image_text_folder()), "placebos": 1}
        if kind is Kind.REPORT:
            sizes = {"candidates": 1, "score_images": 2}
            sizes |= {"attribution_seeds": 2, "attribution_subsets": 2}
            settings = ReportSettings.from_values({**small, **sizes, "device": self.report_device})
            return request_report(self.store, self.study, settings)
        run = config().model_copy(update={"device": "auto"})
        if kind is Kind.SCREENING:
            return self.screen("lab:birds-biased")
        if kind is Kind.PROBE:
            [checked] = submit.check([run], self.home)
            text, settings = "a duck with snow", ReportSettings.from_values(small)
            return request_probe(self.store, text, against=None, checked=checked, settings=settings)
        names = [f"hf:{tiny.classifier_folder()}", f"hf:{tiny.other_classifier_folder()}"]
        fields = {"generator", "masked_lm", "device", "diffusion_steps"}
        wanted = CompareSettings.from_values({**small, "concepts": "sea", "pairs": 32})
        request = Request(
            names, wanted, classes=["waterbird"], values=run.model_dump(include=fields)
        )
        return request_comparison(self.store, request).job_id

    def screen(self, *classifiers: str, confirm: bool = True) -> str:
        """Queue a small screening of the lab's classifiers; return its job's id."""
        pool = self.home / "pool.yaml"
        pool.write_text(POOL)
        values = {"pictures": 128, "placebos": 1, "candidates": 1, "confirm": confirm}
        request = ScreenRequest(
            classifiers, "waterbird", ScreenSettings.from_values(values), str(pool)
        )
        prepared = screening_request.prepare(request, self.home)
        return screening_request.request_screening(self.store, prepared).job_id

    # Disturbances

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Do what an open dashboard does, until it is so."""
        while not (answer := condition()):
            if time.monotonic() > self.deadline:
                raise AssertionError(
                    f"{what}; {list(map(self.describe, run_queue.jobs(self.store)))}"
                )
            with suppress(StoreError):
                run_queue.reconcile(self.store)
                control.ensure_runners(self.store, again=True)
            at_work = run_queue.active(self.store)
            alive = [work for work in at_work if run_queue.is_alive(self.store, work.id)]
            self.most_at_once = max(self.most_at_once, len(alive))
            time.sleep(0.05)
        return answer

    def describe(self, job: Job) -> str:
        log = log_file(self.store, job.id)
        tail = log.read_text(errors="replace").splitlines()[-4:] if log.exists() else []
        return f"{job.kind.value} {job.id}: {job.state.value}, {job.stage}, {job.error}, {tail}"

    def reach(self, job_id: str, when: Callable[[Job], bool]) -> Job:
        """Wait for a moment of a job that a process works on; return the job as it is then."""

        def reached() -> Job | None:
            job = self.store.job(job_id)
            alive = job.state in ACTIVE and run_queue.is_alive(self.store, job_id)
            return job if alive and when(job) else None

        found: Job = self.until(reached, f"{job_id} never got there")
        return found

    def after(self, job_id: str, seconds: float) -> Job:
        """Wait so long from when a process is at a job; return it at work, or ended."""
        begun: list[float] = []

        def then() -> Job | None:
            job = self.store.job(job_id)
            if job.state in ENDED - {State.LOST}:
                return job
            if job.state not in ACTIVE or not run_queue.is_alive(self.store, job_id):
                if job.state is State.LOST:
                    control.retry(self.store, job_id)
                return None
            begun.append(time.monotonic())
            return job if time.monotonic() - begun[0] >= seconds else None

        found: Job = self.until(then, f"{job_id} is not taken")
        return found

    def kill(self, job: Job) -> None:
        """Kill the process at a job, and see that the job is not taken for alive."""
        assert job.pid is not None
        os.kill(job.pid, signal.SIGKILL)
        self.until(
            lambda: (
                self.store.job(job.id).attempt > job.attempt
                or self.store.job(job.id).state in {State.QUEUED, *ENDED}
            ),
            f"{job.id} was killed and is not queued again",
        )

    def kill_each(self, job_ids: Sequence[str]) -> None:
        """Kill the process of each job once, when it is first seen, in whatever order they run."""
        left = set(job_ids)

        def all_killed() -> bool:
            for job in map(self.store.job, sorted(left)):
                if job.state in ACTIVE and job.pid and run_queue.is_alive(self.store, job.id):
                    os.kill(job.pid, signal.SIGKILL)
                    left.discard(job.id)
            return not left

        self.until(all_killed, "not every job was seen at work")

    def finish(self, job_id: str) -> Job:
        """Wait for the end of a job. One that is lost says how to go on: that is done."""

        def ended() -> Job | None:
            job = self.store.job(job_id)
            if job.state is State.LOST:
                assert f"dexter-tui retry {job_id}" in (job.error_line or "")
                control.retry(self.store, job_id)
            return job if job.state in ENDED else None

        found: Job = self.until(ended, f"{job_id} does not end")
        return found

    def forget_pictures(self) -> None:
        """Empty the bank, so that the next job draws."""
        with closing(sqlite3.connect(self.store.path, timeout=60)) as connection, connection:
            connection.execute("DELETE FROM picture")
            connection.execute("DELETE FROM answer")
            connection.execute("DELETE FROM placebo")

    # What must hold

    def check(self) -> None:
        """Nothing is lost or doubled."""
        made = run_queue.jobs(self.store)
        assert {job.state for job in made} == {State.SUCCEEDED}, list(map(self.describe, made))
        kinds = [job.kind for job in made]
        probes = [number for (number,) in Browse(self.home).rows("SELECT id FROM probe")]
        assert len(probes) == kinds.count(Kind.PROBE)
        assert {job.result["probe"] for job in made if job.kind is Kind.PROBE and job.result} == {
            *probes
        }
        reports = self.store.reports(self.study)
        assert len(reports) == kinds.count(Kind.REPORT)
        listed = comparisons.listed(Browse(self.home))
        assert len(listed) == kinds.count(Kind.COMPARISON)
        assert {one["state"] for one in listed} <= {"done"}
        screened = screenings.listed(Browse(self.home))
        assert len(screened) == kinds.count(Kind.SCREENING)
        assert {one["state"] for one in screened} <= {"done"}
        with closing(sqlite3.connect(self.store.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []

    def found(self, job: Job) -> Any:
        """Return what a job found, without numbers of rows and times."""
        if job.kind is Kind.REPORT:
            claims = study_records.claims(self.store, self.study)
            return [(c.concept, c.effect, c.low, c.high, c.pairs, c.verdict) for c in claims]
        if job.kind is Kind.PROBE:
            assert job.result is not None
            _, claim = study_records.probe(self.store, job.result["probe"])
            return claim.concept, claim.effect, claim.low, claim.high, claim.pairs, claim.verdict
        if job.kind is Kind.SCREENING:
            found = screenings.page(Browse(self.home), job.screening_id or "")
            # A batch of another size may round a pixel the other way.
            return [
                (f["concept"], f["verdict"], round(f["effect"], 2), bool(f["confirmation"]))
                for member in found["members"]
                for f in member["findings"]
            ]
        page = comparisons.page(Browse(self.home), job.comparison_id or "")
        return [(d["concept"], d["effect"], d["low"], d["high"]) for d in page["differences"]]

    def close(self) -> None:
        """End the runners and workers of this home."""
        self.store.close()
        mark = f"DEXTER_HOME={self.home}\0".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (folder / "cmdline").read_bytes()
                if b"dexter_tui." in command and mark in (folder / "environ").read_bytes():
                    os.kill(int(folder.name), signal.SIGKILL)


def main() -> int:
    """Play the long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        calm = Jobs(Path(folder, "calm"), 3600)
        truth, seconds = {}, {}
        for kind in KINDS:
            begun = time.monotonic()
            job = calm.finish(calm.ask(kind))
            assert job.state is State.SUCCEEDED, calm.describe(job)
            truth[kind], seconds[kind] = calm.found(job), time.monotonic() - begun
        calm.close()
        print({kind.value: f"{s:.0f} s undisturbed" for kind, s in seconds.items()}, flush=True)

        jobs = Jobs(Path(folder, "disturbed"), 3 * 3600)
        killed = late = 0
        while killed < options.kills:
            kind = KINDS[killed % len(KINDS)]
            job_id = jobs.ask(kind)
            while killed < options.kills:
                job = jobs.after(job_id, rng.uniform(0, seconds[kind]))
                if job.state in ENDED:
                    late += 1
                    break
                jobs.kill(job)
                killed += 1
                print(
                    f"{killed}: {kind.value}, attempt {job.attempt}, {job.stage} "
                    f"{job.done} of {job.total}",
                    flush=True,
                )
                if rng.random() < 0.4:
                    break
            job = jobs.finish(job_id)
            assert jobs.found(job) == truth[kind], (jobs.found(job), truth[kind])
            jobs.forget_pictures()
        jobs.check()
        count = len(run_queue.jobs(jobs.store))
        jobs.close()
        print(f"{killed} killed, {late} times too late; {count} jobs ended as undisturbed ones")
    return 0


if __name__ == "__main__":
    sys.exit(main())
