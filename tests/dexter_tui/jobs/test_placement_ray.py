"""The engine for Ray, against the answers that the head of a cluster gives."""

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dexter.errors import InputError
from dexter_tui.jobs.placement import engine, places
from dexter_tui.jobs.placement.engine import Cause, Phase, PlacementError
from dexter_tui.jobs.placement.files import RunFolder
from dexter_tui.jobs.placement.ray import Ray

NAME = "dexter-raaaaaa-1"


class Head(ThreadingHTTPServer):
    """The head of a cluster: what it answers, and what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.jobs: list[dict[str, Any]] = []
        self.raw: bytes | None = None
        self.code = 200
        self.hangs = threading.Event()
        self.hangs.set()  # cleared: it hangs
        self.posts: list[tuple[str, Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def say(self, name: str, status: str) -> None:
        """Have a job in the listing, beside one that was not submitted as such."""
        self.jobs = [{"submission_id": name, "status": status},
                     {"submission_id": None, "status": "RUNNING"}]  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    server: Head

    def do_GET(self) -> None:
        self.answer(200, json.dumps(self.server.jobs).encode())

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, json.loads(data)))
        self.answer(self.server.code, b"{}" if self.server.code == 200 else b"Traceback\nno room\n")

    def answer(self, code: int, data: bytes) -> None:
        self.server.hangs.wait()
        with suppress(ConnectionError):  # it was not waited for
            self.send_response(code)
            self.end_headers()
            self.wfile.write(data if self.server.raw is None else self.server.raw)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def head() -> Iterator[Head]:
    with Head() as head:
        thread = threading.Thread(target=head.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield head
        head.hangs.set()
        head.shutdown()
        thread.join()


@pytest.fixture
def ray(head: Head, tmp_path: Path) -> Ray:
    return Ray(places.Place(name="r", kind="ray", folder=tmp_path, address=head.address, gpus=0.5))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path, "raaaaaa")


def test_jobs_are_listed_by_their_names(ray: Ray, head: Head) -> None:
    for status, phase in (("PENDING", Phase.PENDING), ("RUNNING", Phase.RUNNING)):
        head.say(NAME, status)
        assert ray.jobs() == {NAME: (NAME, phase, f"{status.lower()}, job {NAME}")}
    for status, cause in (("STOPPED", Cause.CANCELLED), ("FAILED", Cause.ENDED)):
        head.say(NAME, status)
        assert ray.jobs() == {}
        assert ray.end_of(NAME) == (cause, f"job {NAME} ended as {status}")
    head.jobs = []  # a head that was started again knows no job
    assert ray.end_of(NAME) is None


def test_a_job_gets_its_name_its_gpus_and_no_keys(
    ray: Ray, head: Head, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", "/models")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert ray.submit(NAME, run, 1) == NAME
    [(path, job)] = head.posts
    assert path == "/api/jobs/"
    assert (job["submission_id"], job["entrypoint_num_gpus"]) == (NAME, 0.5)
    assert job["runtime_env"]["env_vars"]["HF_HOME"] == "/models"
    assert "secret" not in json.dumps(job)
    assert f"dexter_tui.jobs.placement.worker {run.path} 1" in job["entrypoint"]


def test_a_job_that_the_head_has_already_is_no_refusal(
    ray: Ray, head: Head, run: RunFolder
) -> None:
    head.code = 500
    with pytest.raises(PlacementError, match="500: no room"):
        ray.submit(NAME, run, 1)
    head.say(NAME, "FAILED")
    assert ray.submit(NAME, run, 1) == NAME


def test_only_a_pending_job_is_stopped(ray: Ray, head: Head) -> None:
    head.say(NAME, "RUNNING")
    ray.nudge(NAME)
    assert head.posts == []
    head.say(NAME, "PENDING")
    ray.nudge(NAME)
    assert head.posts == [(f"/api/jobs/{NAME}/stop", {})]


@pytest.mark.parametrize("trouble", ["gone", "hanging", "garbage", "other", "columns"])
def test_a_head_without_an_answer_is_an_error_in_a_line(
    trouble: str, ray: Ray, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    match trouble:
        case "gone":
            head.shutdown()
            head.server_close()
        case "hanging":
            monkeypatch.setattr(engine, "COMMAND_SECONDS", 0.2)
            head.hangs.clear()
        case "garbage":
            head.raw = b"<html>"
        case "other":
            head.raw = b'"hello"'
        case "columns":
            head.raw = b'[{"id": 1}]'
    with pytest.raises(PlacementError, match=r"^(http://127|Ray answered)") as caught:
        ray.jobs()
    assert "\n" not in str(caught.value)
    head.hangs.set()


def test_an_address_is_a_url(home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text(
        '[places.r]\nkind = "ray"\nfolder = "/shared"\naddress = "ray://head"\n'
    )
    with pytest.raises(InputError, match=r"\[places.r\]: address: String should match"):
        places.place("r")
