"""The interface for scripts and shells: JSON in any place, refusals as JSON, completion, help."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shown_store
from shown_store import DONE, FAILED, LIVE, OTHER, QUEUED, STUDY

from dexter_tui.cli.lazy_group import COMMANDS, LazyCommands
from dexter_tui.cli.listing import completion
from store import Store, run_queue
from store.locks import FileLock


@pytest.fixture
def filled(home: Path) -> Path:
    return shown_store.copy(home)


def test_runs_lists_as_json_does(filled: Path, cli: Callable[..., Any]) -> None:
    with FileLock(filled / "locks" / f"run-{LIVE}.lock", wait=False):
        shown = cli("runs")
        rows = cli("runs", "--json").json
    assert {row["id"] for row in rows} == {DONE, FAILED, LIVE, QUEUED}
    for row in rows:
        line = next(line for line in shown.out.splitlines() if f" {row['id']} " in line)
        assert row["state"] in line
    assert shown.out.index(STUDY) < shown.out.index(DONE) < shown.out.index(FAILED)
    assert "84% [71%–92%]  water, sea" in shown.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--study", STUDY[:5]], {DONE, FAILED}),
        (["--state", "queued"], {QUEUED}),
        (["--classifier", "lab:birds-biased", "--state", "failed"], {FAILED}),
        (["--class", "landbird"], set()),
        (["--limit", "1"], {QUEUED}),
    ],
)
def test_runs_are_chosen(
    filled: Path, cli: Callable[..., Any], arguments: list[str], expected: set[str]
) -> None:
    with FileLock(filled / "locks" / f"run-{LIVE}.lock", wait=False):
        assert {run["id"] for run in cli("runs", *arguments, "--json").json} == expected


def test_a_slot_is_not_idle_while_its_worker_loads(filled: Path, cli: Callable[..., Any]) -> None:
    with (
        FileLock(filled / "locks" / f"run-{LIVE}.lock", wait=False),
        FileLock(filled / "locks" / "runner-cpu-0.lock", wait=False),
        Store.open(filled) as store,
    ):
        assert re.search(r"cpu-0 .* idle", cli("status").out)
        run_queue.set_activity(store, "cpu-0", QUEUED, "loading torch", device="cpu")
        assert re.search(rf"cpu-0 .* run {QUEUED} +starting +loading torch", cli("status").out)
        slots = {slot["name"]: slot for slot in cli("status", "--json").json["slots"]}
        assert slots["cpu-0"]["starting"]["id"] == QUEUED
        run_queue.set_activity(store, "cpu-0", QUEUED, None)
        assert re.search(r"cpu-0 .* idle", cli("status").out)


def test_a_run_without_its_process_is_settled_before_it_is_listed(
    filled: Path, cli: Callable[..., Any]
) -> None:
    assert "its process was killed" in cli("runs").out
    assert {run["state"] for run in cli("runs", "--study", OTHER, "--json").json} == {"queued"}


def test_listing_runs_loads_no_sqlalchemy(filled: Path) -> None:
    code = "import sys; from dexter_tui.cli.entry import main; main(['runs']); "
    code += "print({'sqlalchemy', 'dexter.config', 'torch'} & set(sys.modules))"
    with FileLock(filled / "locks" / f"run-{LIVE}.lock", wait=False):
        shown = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
    assert DONE in shown.stdout and shown.stdout.splitlines()[-1] == "set()"


def test_json_may_stand_before_the_command(filled: Path, cli: Callable[..., Any]) -> None:
    assert cli("--json", "show", DONE).json == cli("show", DONE, "--json").json
    assert cli("--ascii", "--json", "queue", "list").json == cli("queue", "list", "--json").json
    assert cli("--json", "runs", "--json").json == cli("runs", "--json").json


@pytest.mark.parametrize(
    ("arguments", "field", "remedy"),
    [
        (["show", "nope"], None, None),
        (["runs", "--state", "bad"], "state", "choose from"),
        (["export", DONE, "-o", "x.pdf"], "output", "choose .md"),
        (["runs", "--no-such"], None, None),
    ],
)
def test_a_refusal_is_one_json_value(
    filled: Path, cli: Callable[..., Any], arguments: list[str], field: str | None,
    remedy: str | None, tmp_path: Path,
) -> None:  # fmt: skip
    refused = cli(*arguments, "--json")
    assert refused.code == 2
    error = json.loads(refused.out)["error"]
    assert set(error) == {"field", "message", "remedy"} and error["field"] == field
    assert (remedy or "") in (error["remedy"] or "")
    assert refused.err.startswith("dexter-tui: ") and error["message"] in refused.err
    assert not (tmp_path / "x.pdf").exists()


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_an_answer_on_a_full_disk_fails_in_a_line(home: Path, form: tuple[str, ...]) -> None:
    code = "import sys; from dexter_tui.cli.entry import main; sys.exit(main(sys.argv[1:]))"
    with Path("/dev/full").open("w") as full:
        made = subprocess.run(
            [sys.executable, "-c", code, "classifiers", *form],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert made.returncode == 2
    assert made.stderr == "dexter-tui: input or output: No space left on device\n"


def test_a_query_of_a_home_without_a_store_has_no_rows(cli: Callable[..., Any]) -> None:
    asked = cli("query", "SELECT id FROM run", "--json")
    assert (asked.code, asked.json) == (0, []) and "no store here yet" in asked.err


def test_ids_and_models_are_completed(filled: Path) -> None:
    assert completion.ids("rd") == [DONE]
    assert set(completion.ids("s")) == {STUDY, OTHER}
    assert "lab:birds-biased" in completion.models("lab:birds")
    shutil.rmtree(filled)
    assert completion.ids("r") == []  # no traceback under the cursor


def test_the_help_of_run_begins_with_what_matters(cli: Callable[..., Any]) -> None:
    shown = cli("run", "--help").out
    first, rest = shown.split("Most used:")[1].split("\n\n", 1)
    options = [line.split()[0] for line in first.splitlines() if line.startswith("  --")]
    assert options == ["--classifier", "--class", "--generator", "--preset", "--seeds"]
    assert first.count("[required]") == 2 and "[required]" not in rest
    assert "Classifier:" in rest and "--arch" in rest.split("Classifier:")[1].split("\n\n")[0]
    assert cli("help", "run").out == shown


def test_every_argument_and_option_has_a_help() -> None:
    def without(name: str, command: Any) -> list[str]:
        own = [f"{name} {one.name}" for one in command.params if not (one.help or one.hidden)]
        parts = getattr(command, "commands", {}).items()
        return own + [line for part in parts for line in without(f"{name} {part[0]}", part[1])]

    assert [line for name in COMMANDS for line in without(name, LazyCommands()[name])] == []
