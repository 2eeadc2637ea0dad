"""The jobs of what-ifs and bias explanations, killed, paused and cancelled: the same numbers."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from held_net import HeldNet, numbers, undisturbed
from PIL import Image
from waiting import until

from dexter.lab.scenes import SceneDataset
from dexter_tui.machine import devices
from store import State, Store

pytestmark = pytest.mark.long


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HeldNet:
    monkeypatch.setenv(devices.CPU_SLOTS, "1")
    return HeldNet(tmp_path)


@pytest.fixture
def calm(tmp_path: Path) -> Path:
    """The home of undisturbed jobs."""
    return tmp_path / "calm"


def reaches(home: Path, job: str, state: State) -> None:
    """Wait for the state of a job."""
    with Store.open(home) as store:
        until(lambda: store.job(job).state is state)


def test_a_killed_and_paused_what_if_gives_the_same_numbers(
    cli: Callable[..., Any], home: Path, calm: Path, net: HeldNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["whatif", *net.options]
    monkeypatch.setenv("DEXTER_HOME", str(calm))
    truth = undisturbed(calm, cli, *command)
    monkeypatch.setenv("DEXTER_HOME", str(home))
    net.hold(2)
    asked = cli(*command, "--detach", "--json").json
    first = net.held(2)
    shown = cli("whatif", asked["id"], "--json").json
    assert (shown["state"], shown["result"]) == ("running", None)
    net.kill(first)
    net.held(2, but=first)
    assert cli("pause", asked["id"]).code == 0
    net.slow()
    reaches(home, asked["job"], State.PAUSED)
    assert cli("whatif", asked["id"], "--json").json["state"] == "waiting"
    net.open()
    assert cli("resume", asked["id"]).code == 0
    assert numbers(home, asked["id"]) == truth


def test_a_killed_and_cancelled_bias_explanation_gives_the_same_numbers(
    cli: Callable[..., Any],
    home: Path,
    calm: Path,
    net: HeldNet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = ["file_name,label,age"]
    for index, one in enumerate(SceneDataset("faces", "test", 24)):
        Image.fromarray(one.picture).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,{('cat', 'dog')[index % 2]},{('old', 'young')[one.label]}")
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    command = ["explain-bias", *net.options, "--pictures", "60", "--no-confirm", "--sts", "none",
               "--data", tmp_path]  # fmt: skip
    monkeypatch.setenv("DEXTER_HOME", str(calm))
    truth = undisturbed(calm, cli, *command)
    monkeypatch.setenv("DEXTER_HOME", str(home))
    net.hold(1)
    asked = cli(*command, "--detach", "--json").json
    with Store.open(home) as store:
        for calls in itertools.count(1):  # as far as the labelled pictures
            net.hold(calls)
            first = net.held(calls)
            if store.job(asked["job"]).stage == "labelled pictures":
                break
        net.hold(0)
        net.kill(first)
        net.held(0, but=first)
        assert store.job(asked["job"]).stage == "labelled pictures"  # it was screened before
        assert cli("cancel", asked["id"]).code == 0
        net.slow()
        reaches(home, asked["job"], State.CANCELLED)
        assert cli("explain-bias", asked["id"], "--json").json["state"] == "cancelled"
        net.open()
        assert cli("retry", asked["id"]).code == 0
        reaches(home, asked["job"], State.SUCCEEDED)
    assert numbers(home, asked["id"]) == truth
    assert not list((home / "data_reports").iterdir())  # nothing is left of its work
