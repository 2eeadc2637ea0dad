"""The doctor: each trouble with its remedy, and no harm where there is none."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dexter_tui.machine import doctor
from dexter_tui.machine.doctor import Driver, Gpu

GB = 10**9


def test_a_file_as_home(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    assert doctor.check_home(tmp_path / "home").status == "error"
    assert doctor.check_home(tmp_path / "home" / "below").status == "error"


@pytest.mark.parametrize(
    ("env", "status"),
    [
        ({"COLORTERM": "truecolor", "TMUX": "x"}, "ok"),
        ({"TMUX": "/tmp/tmux-0/default,1,0", "TERM": "screen-256color"}, "warning"),
        ({"TERM": "xterm"}, "note"),
    ],
)
def test_colours(env: dict[str, str], status: str) -> None:
    finding = doctor.check_colours(env)
    assert finding.status == status
    if status == "warning":
        assert "set -as terminal-features ',*:RGB'" in finding.remedy
        assert "COLORTERM=truecolor" in finding.remedy


@pytest.mark.parametrize(
    ("env", "status"),
    [
        ({"LANG": "de_DE.UTF-8"}, "ok"),
        ({"LANG": "C", "LC_ALL": "en_US.utf8"}, "ok"),
        ({"LANG": "en_US.ISO-8859-1"}, "warning"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, "warning"),
        ({}, "warning"),
        ({"LC_CTYPE": "C.UTF-8"}, "warning"),  # as Python sets it in the C locale
    ],
)
def test_locale(env: dict[str, str], status: str) -> None:
    assert doctor.check_locale(env).status == status


def driver(*gpus: Gpu, cuda: tuple[int, int] = (13, 0)) -> Driver:
    return Driver("580.1", cuda, list(gpus))


def test_a_driver_too_old_for_torch() -> None:
    finding = doctor.check_driver(driver(cuda=(12, 4)), (13, 0))
    assert finding.status == "error"
    assert "12.4" in finding.detail and "13.0" in finding.detail
    assert doctor.check_driver(driver(cuda=(13, 2)), (13, 0)).status == "ok"
    assert doctor.check_driver(driver(cuda=(12, 4)), (12, 8)).status == "ok"
    assert doctor.check_driver(driver(), None).status == "warning"
    assert doctor.check_driver(None, (13, 0)).status == "note"


def test_gpus_hidden_or_in_use() -> None:
    free, busy = Gpu(0, "A", 0, 24 * GB, 0), Gpu(1, "B", 20 * GB, 24 * GB, 3)
    assert doctor.check_gpus(driver(free, busy), {}).status == "ok"
    assert doctor.check_gpus(driver(busy), {}).status == "warning"
    hidden = doctor.check_gpus(driver(free, busy), {"CUDA_VISIBLE_DEVICES": ""})
    assert (hidden.status, "hides all" in hidden.detail) == ("warning", True)
    some = doctor.check_gpus(driver(free, busy), {"CUDA_VISIBLE_DEVICES": "0"})
    assert (some.status, "hides 1" in some.detail) == ("note", True)
    assert doctor.check_gpus(None, {}).status == "note"


def test_api_key_and_hub_token(tmp_path: Path) -> None:
    assert doctor.check_api_key({}).remedy
    assert doctor.check_api_key({"OPENAI_API_KEY": "secret"}) == doctor.Finding(
        "API key", "ok", "OPENAI_API_KEY is set"
    )
    nowhere = {"HF_TOKEN_PATH": str(tmp_path / "token")}
    assert doctor.check_hub_token(nowhere).status == "note"
    assert doctor.check_hub_token({**nowhere, "HF_TOKEN": "secret"}).status == "ok"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_the_network_is_tried_and_not_waited_for(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    port = listener.getsockname()[1]
    assert doctor.reachable(f"http://127.0.0.1:{port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    assert doctor.reachable("http://hub.invalid")
    monkeypatch.delenv("http_proxy")
    listener.close()
    assert not doctor.reachable(f"http://127.0.0.1:{port}")
    started = time.monotonic()
    assert not doctor.reachable("http://192.0.2.1", timeout=0.2)  # answers nobody (RFC 5737)
    assert time.monotonic() - started < 100  # the system's own patience is over two minutes


def test_unreachable_hub_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    finding = doctor.check_network(f"http://127.0.0.1:{port}")
    assert (finding.status, bool(finding.remedy)) == ("warning", True)


def test_the_command_shows_all_and_ends_well_without_errors(cli: Any, home: Path) -> None:
    outcome = cli("doctor", "--json")
    checks = {finding["check"]: finding for finding in outcome.json}
    assert outcome.code == 0
    assert {"home", "packages", "network", "model cache", "GPU driver", "colours", "locale"} <= set(
        checks
    )
    assert set(checks["home"]) == {"check", "status", "detail", "remedy"}
    assert not home.exists()
