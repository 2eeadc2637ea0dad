"""`fetch` brings every file of a run into the cache, for a machine without network."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tiny

COMMIT = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """A hub with two repositories: the files of folders."""

    protocol_version = "HTTP/1.1"
    folders: dict[str, Path] = {}  # noqa: RUF012

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path = self.path.partition("?")[0].removeprefix("/")
        headers = {"X-Repo-Commit": COMMIT}
        name = "/".join(path.removeprefix("api/models/").split("/")[:2])
        folder = self.folders.get(name)
        if folder is None:
            return self.reply(404, b"", {"X-Error-Code": "RepoNotFound"}, body)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        if path.startswith("api/"):
            siblings = [
                {"rfilename": file.relative_to(folder).as_posix(), "size": file.stat().st_size}
                for file in files
            ]
            found = {"id": name, "sha": COMMIT, "gated": False, "siblings": siblings}
            listed = [
                {"type": "file", "path": one["rfilename"], "size": one["size"], "oid": "0" * 40}
                for one in siblings
            ]
            answer = listed if "/tree/" in path else found
            headers["Content-Type"] = "application/json"
            return self.reply(200, json.dumps(answer).encode(), headers, body)
        data = (folder / path.split("/", 4)[4]).read_bytes()
        headers["ETag"] = f'"{hashlib.sha1(data).hexdigest()}"'
        return self.reply(200, data, headers, body)

    def reply(self, status, data, headers, body):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    Hub.folders = {"some/lm": tiny.masked_lm_folder(), "some/pipeline": tiny.generator_folder()}
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def command(tmp_path, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "dexter_tui", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(tmp_path),
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "DEXTER_HOME": str(tmp_path / "home"),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


MODELS = ("--generator", "some/pipeline", "--masked-lm", "some/lm", "--image-text", "none")


def test_it_fetches_what_an_offline_run_needs(hub, tmp_path):
    fetched = command(tmp_path, "fetch", *MODELS, "--json", HF_ENDPOINT=hub)
    assert fetched.returncode == 0, fetched.stderr
    found = {one["hub_id"]: one for one in json.loads(fetched.stdout)}
    assert found.keys() == {"some/pipeline", "some/lm"}
    unet = "unet/diffusion_pytorch_model.safetensors"
    for name, file in (("some/pipeline", unet), ("some/lm", "model.safetensors")):
        there = Path(found[name]["folder"]) / file
        assert there.read_bytes() == (Hub.folders[name] / file).read_bytes()
    check = (
        "from dexter.config import RunConfig; from dexter.planning.preflight import check_models;"
        "print(check_models(RunConfig.from_preset('quick', classifier='lab:any', class_name='0',"
        "generator='some/pipeline', masked_lm='some/lm')))"
    )
    offline = subprocess.run(
        [sys.executable, "-c", check],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert offline.stdout.strip() == "[]"


def test_it_fetches_the_models_of_a_sweep_and_lists_their_files(hub, tmp_path):
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        "- classifier: [lab:birds-biased, lab:birds-balanced]\n  class: [waterbird, landbird]\n"
        "  seeds: 3\n  generator: some/pipeline\n"
        "- classifier: lab:birds-biased\n  class: waterbird\n  masked-lm: some/lm\n"
    )
    given = ("fetch", "--file", str(sweep), "--image-text", "none")
    fetched = command(tmp_path, *given, "--json", HF_ENDPOINT=hub)
    assert fetched.returncode == 0, fetched.stderr
    found = {one["hub_id"]: one for one in json.loads(fetched.stdout)}
    assert found.keys() == {"some/pipeline", "some/lm"}
    for one in found.values():
        assert Path(one["folder"]).name == COMMIT
        assert len(one["names"]) == one["files"] > 2
        assert all((Path(one["folder"]) / name).is_file() for name in one["names"])
    lines = command(tmp_path, *given, HF_ENDPOINT=hub).stdout.splitlines()
    assert len(lines) == 2 and all(one in " ".join(lines) for one in found)
    sweep.write_text("classifier: lab:birds-biased\nclass: waterbird\nmasked-ml: some/lm\n")
    refused = command(tmp_path, *given, HF_ENDPOINT=hub)
    assert refused.returncode == 2 and "did you mean" in refused.stderr


def test_what_is_not_there_is_refused_in_a_line(hub, tmp_path):
    refused = command(tmp_path, "fetch", "--masked-lm", "other/none", HF_ENDPOINT=hub)
    assert refused.returncode == 2 and len(refused.stderr.strip().splitlines()) == 1
    assert "no such repository" in refused.stderr
    local = command(tmp_path, "fetch", "--image-text", "none", HF_ENDPOINT=hub)
    assert local.returncode == 0 and "nothing to fetch" in local.stderr
