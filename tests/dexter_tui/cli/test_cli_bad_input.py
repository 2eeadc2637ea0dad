"""Refused input: one clear line, exit code 2, no traceback, and a store as before."""

import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny

from dexter_tui.machine import doctor
from store import Store

CLASSIFIER = ["--classifier", f"hf:{tiny.classifier_folder()}"]
MODELS = [
    *("--generator", str(tiny.generator_folder()), "--masked-lm", str(tiny.masked_lm_folder())),
    *("--device", "cpu", "--steps", "2", "--batch", "2", "--diffusion-steps", "1"),
    *("--frames", "1", "--frame-tries", "2", "--score-images", "2"),
]
GOOD = ["run", *CLASSIFIER, "--class", "waterbird", *MODELS]


def assert_refused(outcome: Any, *names: str) -> None:
    """Assert one line on standard error that names the trouble; with --json, its parts as well."""
    assert outcome.code == 2, outcome.err
    assert outcome.out == "" or list(outcome.json) == ["error"]
    lines = outcome.err.strip().splitlines()
    assert "Traceback" not in outcome.err
    assert len(lines) == 1, outcome.err
    for name in names:
        assert name in lines[0], lines[0]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["run"], ["classifier is required: pass --classifier"]),
        (["run", *CLASSIFIER], ["class_name is required: pass --class"]),
        (["run", *CLASSIFIER, "--class", "9"], ["9", "out of range", "0 to 2"]),
        (["run", *CLASSIFIER, "--class", "-1"], ["-1"]),
        (["run", *CLASSIFIER, "--class", "waterbrid"], ["waterbrid", "nearest", "waterbird"]),
        (["run", "--classifier", "resnet", "--class", "x"], ["resnet", "lab:NAME"]),
        (["run", "--classifier", "lab:nothing", "--class", "x"], ["lab:nothing"]),
        (["run", "--classifier", "hf:./nothing", "--class", "x"], ["nothing"]),
        ([*GOOD, "--template", "a picture"], ["--template", "a picture", "[MASK]"]),
        ([*GOOD, "--template", "[MASK] " * 9], ["--template", "9"]),
        ([*GOOD, "--steps", "0"], ["--steps", "0"]),
        ([*GOOD, "--steps", "many"], ["--steps", "many"]),
        (
            [*GOOD, "--learning-rate", "20"],
            ["--learning-rate: 20 is out of range: must be at most 10"],
        ),
        ([*GOOD, "--class-loss", "hinge"], ["--class-loss: 'hinge'", "bounded"]),
        ([*GOOD, "--gradient-checkpointing", "some"], ["--gradient-checkpointing", "unet"]),
        ([*GOOD, "--straight-through", "0", "--score-function", "0"], ["no gradient"]),
        ([*GOOD, "--preset", "fast"], ["preset", "fast", "quick"]),
        ([*GOOD, "--seed", "1000"], ["--seed"]),
        (
            ["export", "r1", "--output", "~nobody-here/x.md"],
            ["--output: ~nobody-here/x.md: no such user"],
        ),
        (["import", "~nobody-here/x.zip"], ["~nobody-here/x.zip: no such user"]),
        (["run", "--classifier", "hf:~nobody-here/x", "--class", "a"], ["hf:~nobody-here/x: no"]),
        (
            ["screen", *CLASSIFIER, "--class", "waterbird", "--concepts", "~nobody-here/x.yaml"],
            ["~nobody-here/x.yaml: no such user"],
        ),
        ([*GOOD, "--seeds", "0"], ["--seeds"]),
        ([*GOOD, "--seeds", "2", "--seed", "1"], ["--seeds", "--seed"]),
        ([*GOOD, "--report", "--detach"], ["--detach: excludes --report"]),
        (["cancel", "--all", "r1"], ["--all and ids exclude each other"]),
        (["audit", "lab:birds-biased", "-o", __file__], [f"--output: {__file__} is no folder"]),
        (["audit", "lab:birds-biased", "-o", "one.md"], ["--output: one.md", "name a folder"]),
        ([*GOOD, "--stepz", "2"], ["--stepz", "--steps"]),
        ([*GOOD, "--words", "@nothing"], ["--words", "nothing"]),
        ([*GOOD, "--labels", "nothing"], ["nothing"]),
        ([*GOOD, "--device", "cuda"], ["cuda"]),
        ([*GOOD, "--device", "tpu"], ["--device", "tpu"]),
        ([*GOOD, "--generator", "./nothing"], ["--generator", "./nothing"]),
        ([*GOOD, "--masked-lm", "/no/such/folder"], ["--masked-lm", "/no/such/folder"]),
        (["show", "rnothing"], ["store"]),
        (["runs", "--state", "done"], ["--state", "done", "succeeded"]),
        (["export", "snothing"], ["--output"]),
        (["shwo"], ["shwo"]),
        # Beside the id of something stored, other options than those of showing it do nothing.
        (["slices", "d1", "--classifier", "x"], ["--classifier: has no effect beside d1", "omit"]),
        (["slices", "d1", "--all", "--concepts", "sea"], ["--concepts: has no effect"]),
        (["debias", "d1", "-o", "x.safetensors", "--detach"], ["--detach: has no effect"]),
        (["debias", "d1", "--map", "a=b", "--json"], ["--map: has no effect beside d1"]),
        (["whatif", "d1", "--class", "x"], ["--class: has no effect"]),
        (["explain-bias", "d1", "--sts", "none"], ["--sts: has no effect"]),
        (["screen", "x1", "--csv", "--pictures", "60"], ["--pictures: has no effect beside x1"]),
        (["screen", "lab:objects", "--class", "cat"], ["lab:objects is no id; pass --classifier"]),
        (["compare", "c1", "--baseline", "a", "--seeds", "3"], ["--seeds: has no effect"]),
        (["compare", "--class", "x"], ["no classifier or study is named"]),
        (
            ["compare", "lab:objects", "--class", "cat", "--jobs", "2"],
            ["without --run-missing"],
        ),
        (["slices", "--all"], ["classifier is required: pass --classifier"]),
        (["slices", *CLASSIFIER], ["data is required: pass --data"]),
    ],
)
def test_it_is_refused_before_anything_is_written(
    cli: Any, home: Path, arguments: list[str], names: list[str]
) -> None:
    assert_refused(cli(*arguments), *names)
    assert not home.exists()


@pytest.mark.parametrize("command", ["slices", "debias", "whatif", "explain-bias", "screen"])
def test_a_disk_without_room_is_refused_before_anything_else_is_looked_at(
    cli: Any, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(doctor, "MIN_HOME_BYTES", 1 << 60)
    data = ["--data", "/no/such/data"] if command in ("slices", "debias") else []
    classes = [] if data else ["--class", "waterbird"]
    assert_refused(cli(command, *CLASSIFIER, *data, *classes), "free at", "free some space")


def test_a_hub_id_out_of_reach(cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert_refused(cli(*GOOD, "--generator", "someone/something"), "someone/something", "hub")
    assert not home.exists()


ANY_COMMAND: tuple[Sequence[str], ...] = (
    [],
    GOOD,
    ["runs"],
    ["runs", "--json"],
    ["status"],
    ["show", "r"],
    ["query", "select 1"],
    ["compare"],
    ["config", "init"],
    ["backup"],
    ["queue", "list"],
    ["classifiers"],
)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("HOME", "not a folder"),
        ("HOME/below", "is not a folder"),
        ("LINK", "not a folder"),
        ("/proc/home", "cannot be created"),  # read-only for root as well
        ("~nobody-of-this-name/x", "no such user"),
    ],
)
def test_a_home_that_cannot_be_one(
    cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch, name: str, problem: str
) -> None:
    home.write_text("precious")
    link = home.with_name("link")
    link.symlink_to(home.with_name("nothing"))
    named = name.replace("HOME", str(home)).replace("LINK", str(link))
    monkeypatch.setenv("DEXTER_HOME", named)
    for arguments in ANY_COMMAND:
        assert_refused(cli(*arguments), f"{named}: ", problem, "DEXTER_HOME")
    assert home.read_text() == "precious"
    assert sorted(home.parent.iterdir()) == [home, link]


def test_a_home_that_can_be_made_is_not_made_by_a_look(cli: Any, home: Path) -> None:
    result = cli("runs")
    assert (result.code, "no runs" in result.err) == (0, True)
    assert not list(home.parent.iterdir())


def test_a_store_of_a_newer_version_is_left_alone(cli: Any, home: Path) -> None:
    home.mkdir()
    with sqlite3.connect(home / "store.sqlite") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    connection.close()
    before = (home / "store.sqlite").read_bytes()
    for command in (GOOD, ["runs"], ["show", "r"]):
        assert_refused(cli(*command), "store.sqlite", "newer")
    assert (home / "store.sqlite").read_bytes() == before


def test_a_file_that_is_no_store(cli: Any, home: Path) -> None:
    home.mkdir()
    (home / "store.sqlite").write_text("something else entirely\n" * 100)
    assert_refused(cli("runs"), "store.sqlite")


@pytest.mark.long
@pytest.mark.parametrize("limit", [0, 8192, 40960])
def test_a_full_disk(home: Path, limit: int) -> None:
    """No file may grow beyond the limit, for root neither: what a full disk looks like."""
    assert_full(GOOD, limit)


def test_a_store_on_a_full_disk_is_not_taken_for_a_damaged_one(cli: Any, home: Path) -> None:
    Store.open(home).close()
    before = {path.name for path in home.iterdir()}
    data = (home / "store.sqlite").read_bytes()
    assert_full(["doctor", "--rebuild"], 0)
    assert {
        path.name.removesuffix("-shm").removesuffix("-wal") for path in home.iterdir()
    } == before
    assert (home / "store.sqlite").read_bytes() == data
    assert cli("runs").code == 0


def assert_full(command: Sequence[str], limit: int) -> None:
    """Assert that a command is refused where no file may grow beyond a size."""
    process = subprocess.run(
        [sys.executable, "-m", "dexter_tui", *command],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout) == (2, ""), process.stderr
    assert "full" in process.stderr
    assert "Traceback" not in process.stderr


def pickled_classifier(folder: Path) -> list[str]:
    import torch
    from safetensors.torch import load_file

    shutil.copytree(tiny.classifier_folder(), folder)
    weights = folder / "model.safetensors"
    # Weights alone would be read without running code; a path among them would not.
    torch.save({**load_file(weights), "made in": folder}, folder / "pytorch_model.bin")
    weights.unlink()
    return ["--classifier", f"hf:{folder}"]


def unreadable_classifier(folder: Path) -> list[str]:
    shutil.copytree(tiny.classifier_folder(), folder)
    (folder / "model.safetensors").write_bytes(b"not weights")
    return ["--classifier", f"hf:{folder}"]


def failing_factory(folder: Path) -> list[str]:
    folder.mkdir()
    (folder / "net.py").write_text("def make():\n    raise KeyError('weights')\n")
    return ["--classifier", f"python:{folder / 'net.py'}:make"]


def endless_factory(folder: Path) -> list[str]:
    folder.mkdir()
    (folder / "net.py").write_text("import torch\n\n\ndef make():\n    torch.empty(1 << 50)\n")
    return ["--classifier", f"python:{folder / 'net.py'}:make"]


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (unreadable_classifier, ["model"]),
        (pickled_classifier, ["--trust-pickle"]),
        (failing_factory, ["net.py", "KeyError"]),
        (endless_factory, ["net.py", "needs more memory than there is"]),
    ],
)
def test_a_classifier_that_cannot_be_used(
    cli: Any, home: Path, tmp_path: Path, make: Any, names: list[str]
) -> None:
    assert_refused(cli(*GOOD, *make(tmp_path / "model")), *names)
    assert not home.exists()
