"""`run` and what follows it, with real workers on tiny real models, killed for real."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import shared_home
import short_run
import tiny
from waiting import until

from dexter_tui.jobs import control
from dexter_tui.jobs.launch import log_file
from store import ENDED, State, Store, run_queue
from store.tables import Run

TEMPLATE = "a picture of a bird with [MASK] and [MASK]"


def options(**changes: object) -> list[str]:
    """Return the flags of a short run with tiny models, some of them changed."""
    return short_run.flags(
        {
            **short_run.settings(),
            "class": "waterbird",
            "template": TEMPLATE,
            "steps": 40,
            **changes,
        }
    )


home = shared_home.fixture


@pytest.fixture
def start(home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command in a process of its own; what still works at the end is ended."""
    started: list[subprocess.Popen[str]] = []

    def call(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dexter_tui", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()
    with Store.open(home) as store:
        run_queue.reconcile(store)
        for run in store.runs(states=set(State) - ENDED):
            control.kill(store, run.id)


def newest_runs(store: Store, count: int) -> list[Run]:
    """The newest runs, by seed, if there are more than any test has seen."""
    run_queue.reconcile(store)
    return sorted(store.runs(limit=count), key=lambda run: run.seed)


def numbers(store: Store, run_id: str) -> list[dict[str, object]]:
    """Return the record of each step, without its time."""
    return [step.model_dump(exclude={"run_id", "seconds"}) for step in store.steps(run_id)]


@pytest.fixture(scope="module")
def study(home: Path) -> list[dict[str, Any]]:
    """The output of `run --json` for two seeds that ran to the end."""
    process = subprocess.run(
        # One worker does both: it loads the models once.
        [sys.executable, "-m", "dexter_tui", "run", *options(seeds=2, jobs=1), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    result: list[dict[str, Any]] = json.loads(process.stdout)
    return result


def test_run_reports_each_seed(study: list[dict[str, Any]]) -> None:
    assert [run["seed"] for run in study] == [0, 1]
    assert len({run["study"] for run in study}) == 1
    for run in study:
        assert run["state"] == "succeeded"
        assert run["class_name"] == "waterbird"
        assert run["steps"] == 40
        assert len(run["words"]) == 2
        score = run["activation_score"]
        assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
        assert score["n"] == 4


def test_everything_is_recorded(study: list[dict[str, Any]], home: Path) -> None:
    with Store.open(home) as store:
        for result in study:
            run = store.run(result["id"])
            assert [step.step for step in store.steps(run.id)] == list(range(1, 41))
            assert [frame.step for frame in store.frames(run.id, kind="preview")] == [1, 20, 40]
            frames = store.frames(run.id, kind="frame")
            assert len(frames) == run.frames_tried
            assert sum(frame.hit for frame in frames) == run.frames_hit
            assert store.prompts(run.id)[0].words == result["words"]
            assert run.seed_ranges is not None
            for frame in frames:
                low, high = run.seed_ranges["frames"]
                assert low <= frame.seed < high
            assert run.device == "cpu"
            assert run.stop_reason == "steps"


def test_runs_are_listed_and_shown(study: list[dict[str, Any]], cli: Any) -> None:
    ids = {run["id"] for run in study}
    assert ids <= {run["id"] for run in cli("runs", "--json").json}
    of_study = cli("runs", "--study", study[0]["study"], "--state", "succeeded", "--json").json
    assert [run["id"] for run in of_study if run["id"] in ids]
    assert cli("runs", "--class", "landbird", "--json").json == []
    assert study[0]["id"] in cli().out
    shown = cli("show", study[0]["id"], "--json").json
    assert [step["step"] for step in shown["history"]] == list(range(1, 41))
    assert {**shown, **study[0]} == shown
    assert all(Path(picture["path"]).is_file() for picture in shown["pictures"])
    compared = {word for prompt in shown["prompts"] for word in prompt["words"]}
    assert {gain["word"] for gain in shown["word_gains"]} == compared
    sql = f"SELECT count(*) AS n FROM word_gains WHERE run_id = '{study[0]['id']}'"
    assert cli("query", sql, "--json").json == [{"n": len(compared)}]
    whole = cli("show", study[0]["study"], "--json").json
    assert ids <= {run["id"] for run in whole["runs"]}
    assert cli("show", study[0]["study"][:6]).code == 0
    assert TEMPLATE in " ".join(cli("show", study[0]["id"]).out.split())


def test_export_writes_a_report_with_pictures(
    study: list[dict[str, Any]], cli: Any, tmp_path: Path
) -> None:
    result = cli("export", study[0]["study"], study[1]["id"], "-o", tmp_path / "r.md", "--json")
    assert result.json == {"path": str(tmp_path / "r.md")}
    text = (tmp_path / "r.md").read_text()
    assert study[0]["words"][0] in text
    assert list((tmp_path / "r_files").iterdir())
    assert cli("export", study[0]["id"], "-o", tmp_path / "s.md").out == f"{tmp_path / 's.md'}\n"


@pytest.mark.long
def test_a_killed_run_goes_on_by_itself_bit_for_bit_and_harms_no_other(
    study: list[dict[str, Any]], start: Any, cli: Any, home: Path
) -> None:
    process = start("run", *options(), "--seeds", "2", "--jobs", "1", "--json")
    with Store.open(home) as store:
        first, second = until(
            lambda: (
                runs
                if len(runs := newest_runs(store, 2)) == 2
                and runs[0].id != study[0]["id"]
                and runs[0].state is State.RUNNING
                and runs[0].steps_done >= 10
                and (store.run_folder(runs[0].id) / control.CHECKPOINTS[0]).exists()
                else None
            )
        )
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: store.run(first.id).pid != first.pid or run_queue.reconcile(store))
        result = json.loads(process.communicate(timeout=600)[0])
        assert process.returncode == 0
        assert [run["state"] for run in result] == ["succeeded"] * 2
        assert [run["attempt"] for run in result] == [2, 1]
        assert result[0]["study"] == study[0]["study"]
        assert "going on behind step" in log_file(store, first.id).read_text()
        assert numbers(store, first.id) == numbers(store, study[0]["id"])
        assert result[0]["activation_score"] == study[0]["activation_score"]
        assert result[0]["words"] == study[0]["words"]
        assert numbers(store, second.id) == numbers(store, study[1]["id"])
    refused = cli("resume", first.id)
    assert (refused.code, "succeeded" in refused.err) == (2, True)


@pytest.mark.long
def test_two_commands_share_a_store_and_workers_outlive_their_command(
    start: Any, home: Path
) -> None:
    settings = options(steps=6, batch=3)
    one = start("run", *settings, "--seeds", "2", "--jobs", "1")
    other = start("run", *settings, "--seed", "6", "--json")
    with Store.open(home) as store:

        def of_both() -> list[Run]:
            return [run for run in newest_runs(store, 3) if run.config["batch"] == 3]

        until(lambda: any(run.seed == 0 and run.attempt for run in of_both()))
        one.kill()
        [result] = json.loads(other.communicate(timeout=600)[0])
        assert (other.returncode, result["steps"]) == (0, 6)
        until(lambda: all(run.state is State.SUCCEEDED for run in of_both()))
        assert {run.study_id for run in of_both()} == {result["study"]}
        assert [len(numbers(store, run.id)) for run in of_both()] == [6, 6, 6]


@pytest.mark.long
def test_control_c_cancels_cleanly_and_resume_goes_on(start: Any, cli: Any, home: Path) -> None:
    process = start("run", *options(steps=100_000), "--seeds", "2", "--jobs", "1", "--json")
    with Store.open(home) as store:
        first, _ = until(
            lambda: (
                runs
                if len(runs := newest_runs(store, 2)) == 2
                and runs[0].config["steps"] == 100_000
                and runs[0].steps_done > 0
                else None
            )
        )
        process.send_signal(signal.SIGINT)
        result = json.loads(process.communicate(timeout=600)[0])
        assert process.returncode == 1
        assert [run["state"] for run in result] == ["cancelled", "cancelled"]
        steps = [step.step for step in store.steps(first.id)]
        assert steps == list(range(1, result[0]["steps"] + 1))
        assert (store.run_folder(first.id) / "checkpoint.pt").exists()
        result = cli("resume", first.id[:7], "--detach", "--json").json
        assert [run["id"] for run in result] == [first.id]
        until(lambda: store.run(first.id).steps_done > steps[-1])
        assert store.run(first.id).attempt == 2


@pytest.mark.long
def test_a_second_control_c_kills(start: Any, home: Path) -> None:
    process = start("run", *options(steps=100_000, batch=4), "--seed", "7", "--json")
    with Store.open(home) as store:
        [run] = until(
            lambda: [run for run in newest_runs(store, 1) if run.seed == 7 and run.attempt]
        )
        process.send_signal(signal.SIGINT)
        until(lambda: store.run(run.id).state is not State.STARTING)
        process.send_signal(signal.SIGINT)
        [result] = json.loads(process.communicate(timeout=600)[0])
        assert (process.returncode, result["state"]) == (1, "cancelled")
        assert run_queue.reconcile(store) == []


def test_workers_that_cannot_start_are_reported(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'dexter_tui.jobs.run_worker' in sys.orig_argv: sys.exit('no torch here')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "home"))  # where no runner waits for runs
    outcome = cli("run", *options(), "--seeds", "2", "--json")
    assert outcome.code == 1
    assert [run["state"] for run in outcome.json] == ["cancelled", "cancelled"]
    log = Path(outcome.json[0]["error"].split("see ")[1])
    assert "no torch here" in log.read_text()


@pytest.mark.long
def test_a_classifier_in_python_with_a_lora_goes_all_the_way(cli: Any, tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    net.write_text(tiny.PYTHON_CLASSIFIER)
    settings = options(classifier=f"python:{net}:make", lora=tiny.lora_file(), steps=2)
    settings[settings.index("waterbird")] = "1"
    outcome = cli("run", *settings, "--seed", "3")
    assert outcome.code == 0, outcome.err
    [study] = outcome.out.split()
    shown = cli("show", study, "--json").json
    assert shown["class_name"] == "landbird"
    assert shown["classifier"] == f"python:{net}:make"
    [run] = shown["runs"]
    assert (run["state"], run["seed"]) == ("succeeded", 3)
    assert cli("show", run["id"]).code == 0
    assert cli("export", study, "-o", tmp_path / "report.md").code == 0
    assert "landbird" in (tmp_path / "report.md").read_text()
