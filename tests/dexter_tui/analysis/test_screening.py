"""Screenings as a user has them: the command, the queue, the store, a watched folder."""

import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shown_store
import tiny
import toy
from disturbed_jobs import Jobs
from report_study import config, searched
from waiting import until

from dexter.generation.pictures import Pictures
from dexter.reasoning.settings import ScreenSettings
from dexter_tui.analysis import screening_request
from dexter_tui.analysis.audit_estimate import outlook
from dexter_tui.analysis.explaining.screened import prepared_of
from dexter_tui.analysis.screening_request import (
    ScreenRequest,
    member_row,
    prepare,
)
from dexter_tui.analysis.screening_watch import Watcher
from dexter_tui.analysis.store_bank import StoreAnswers, StoreBank
from dexter_tui.jobs import trust
from store import State, Store, StoreError, run_queue, screening_records
from store.reading import screenings
from store.reading.browse import Browse
from store.states import Kind

THINGS = """
picture: a picture of
articles: a
slots:
  thing:
    exclusive: false
    position: beside
    concepts: [tree, ball]
"""
BIASED = ("--classifier", "lab:birds-biased", "--class", "waterbird")
WATCH = ("--watch", ".", "--class", "waterbird", "--arch", "resnet18", "--generator", "lab")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--class", "waterbird"], "classifier"),
        (["--classifier", "lab:birds-biased"], "class"),
        (["--classifier", "lab:no-such", "--class", "waterbird"], "no-such"),
        ([*BIASED[:3], "zebra"], "zebra"),
        ([*BIASED, "--classifier", "lab:birds-biased"], "twice"),
        ([*BIASED[:3], "0", "--classifier", "lab:objects"], "'duck' of lab:objects"),
        ([*BIASED, "--pool", "mine"], "mine"),
        ([*BIASED, "--pictures", "20"], "--pictures"),
        ([*BIASED, "--concepts", "absent.yaml"], "absent.yaml"),
        ([*BIASED, "--concepts", "bad.yaml"], "line 2"),
        ([*BIASED, "--concepts", "bad.yaml", "--pool", "lab"], "exclude"),
        ([*BIASED, "--watch", "."], "omit --classifier"),
        (["--class", "waterbird", "--watch", "absent"], "absent"),
        (["--class", "waterbird", "--watch", "."], "--arch"),
        ([*WATCH, "--detach", "--image-text", "no-such/clip"], "no-such/clip"),
        (["xabcdefg"], "no store"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_queued(
    arguments: list[str], problem: str, home: Path, cli: Callable[..., Any],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text("slots:\n  place: 3\n")
    refused = cli("screen", *arguments)
    assert refused.code == 2, refused.out
    assert len(refused.err.splitlines()) == 1 and problem in refused.err
    if (home / "store.sqlite").exists():
        with Store.open(home) as store:
            assert run_queue.jobs(store) == []


def test_without_a_finding_the_smallest_effect_asked_for_is_named(
    home: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    shown_store.copy(home)
    shown_store.screen(home)
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        asked = "json_set(settings, '$.min_effect', 0.3)"
        connection.execute(f"UPDATE screening SET settings = {asked}")
    said = "ound no concept that raises or lowers the class by 0.30 or more"
    assert said in cli("screen", shown_store.SCREENING).out
    shown = cli("show", shown_store.SCREENING).out
    assert shown == cli("screen", shown_store.SCREENING).out
    assert shown.startswith("lab:birds-biased · waterbird\n")  # the verdict, before any table
    assert cli("export", shown_store.SCREENING, "-o", tmp_path / "page.md").code == 0
    assert said in (tmp_path / "page.md").read_text()


def test_all_effects_have_the_same_fields(home: Path, cli: Callable[..., Any]) -> None:
    shown_store.copy(home)
    shown_store.screen(home)
    shown = cli("screen", shown_store.SCREENING, "--json").json
    findings = [one for member in shown["members"] for one in member["findings"]]
    beside = [other for one in findings for other in one["interactions"]]
    assert beside and beside[0]["log_odds"] == {"effect": 1.2, "low": 0.8, "high": 1.6}
    assert all({*one["log_odds"]} == {*beside[0]["log_odds"]} for one in findings)


# The bank


REQUESTS = [(f"a picture of a cat with {word}", seed) for word in "abcd" for seed in range(60)]


def draw(
    home: Path, painters: list[toy.Painter], seen: list[int], start: threading.Barrier
) -> None:
    """Draw as a job does, under its lock."""
    with Store.open(home) as store:
        job = run_queue.claim(store)
        assert job is not None
        pictures = Pictures(toy.Painter(), "toy", StoreBank(store, job.id))  # type: ignore[arg-type]
        painters.append(pictures.generator)  # type: ignore[arg-type]
        start.wait()
        found = {request for chunk, _ in pictures.stream(REQUESTS) for request in chunk}
        seen.append(len(found))


def test_two_jobs_on_one_bank_draw_each_picture_once(home: Path) -> None:
    with Store.open(home) as store:
        for _ in range(2):
            run_queue.add_job(store, Kind.PROBE, {})
    painters: list[toy.Painter] = []
    seen: list[int] = []
    start = threading.Barrier(2)
    threads = [threading.Thread(target=draw, args=(home, painters, seen, start)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [len(REQUESTS)] * 2
    assert sum(painter.count for painter in painters) == len(REQUESTS)


def test_pictures_that_a_dead_job_was_drawing_are_drawn_by_another(home: Path) -> None:
    with Store.open(home) as store:
        first, second = (run_queue.add_job(store, Kind.PROBE, {}) for _ in range(2))
        with Store.open(home) as other:
            assert run_queue.claim(other, ids=[first]) is not None
            assert len(StoreBank(other, first).claim("toy", REQUESTS[:9])) == 9
            assert StoreBank(store, second).claim("toy", REQUESTS[:9]) == []
            assert StoreBank(other, first).claim("toy", REQUESTS[:9]) == REQUESTS[:9]
        # Its process is gone, and with it the lock.
        assert StoreBank(store, second).claim("toy", REQUESTS[:9]) == REQUESTS[:9]


def test_answers_are_kept_as_they_were_given_first(home: Path) -> None:
    with Store.open(home) as store:
        answers = StoreAnswers(store)
        rows = np.arange(8, dtype=np.float32).reshape(4, 2)
        answers.keep("model", REQUESTS[:4], rows)
        answers.keep("model", REQUESTS[:2], rows[:2] + 1)
        found = answers.read("model", REQUESTS[1:6])
        assert sorted(found) == sorted(REQUESTS[1:4])
        assert found[REQUESTS[1]].tolist() == [2.0, 3.0]
        assert answers.read("other", REQUESTS) == {}


def test_the_first_to_plan_a_round_plans_it_for_all(home: Path) -> None:
    with Store.open(home) as store:
        screening_records.ensure_bank(
            store, "key", pool="p", pool_text=None, pool_hash="h", topic={}, seed=0
        )
        one: dict[str, Any] = {"start": 0, "count": 200, "weights": {}}
        two = {**one, "count": 300}
        assert screening_records.agree_round(store, "key", 0, one) == one
        assert screening_records.agree_round(store, "key", 0, two) == one
        screening_records.set_generator(store, "key", "weights")
        with pytest.raises(StoreError, match="weights"):
            screening_records.set_generator(store, "key", "others")


# Whole screenings in real processes


def page(home: Path, job: Any) -> dict[str, Any]:
    return screenings.page(Browse(home), job.screening_id)


@pytest.mark.long
def test_killed_in_each_phase_a_screening_finds_the_same_and_the_next_draws_nothing(
    home: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    jobs = Jobs(home, limit=3600)
    try:
        killed = jobs.screen("lab:birds-biased")
        for reached in (
            lambda job: job.stage == "models",
            lambda job: job.stage == "round 1" and job.done >= 64,
            lambda job: str(job.stage).startswith("confirmation") and job.done > 0,
        ):
            jobs.kill(jobs.reach(killed, reached))
        ended = jobs.finish(killed)
        assert ended.state is State.SUCCEEDED and ended.attempt == 4, jobs.describe(ended)
        with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
            connection.execute("DELETE FROM answer")  # so that all is looked at again
        again = jobs.finish(jobs.screen("lab:birds-biased", "lab:birds-balanced", confirm=False))
        assert again.state is State.SUCCEEDED, jobs.describe(again)
        jobs.check()
    finally:
        jobs.close()
    first, second = page(home, ended), page(home, again)
    assert first["pictures"] == second["pictures"] == 128
    assert second["drawn"] == 0
    with Store.open(home) as store:
        expected = outlook(store, prepared_of(store, first["id"], 0)).of_findings(
            [("place", "water")]
        )
        request = ScreenRequest(
            ["lab:birds-balanced"], "waterbird", ScreenSettings(pictures=128), f"{home}/pool.yaml"
        )
        # What is known before it is loaded finds what it answered.
        assert screening_request.outlook(store, prepare(request, home)).looking == 0
    [(drawn,)] = Browse(home).rows("SELECT count(*) FROM picture")
    assert drawn - 128 == pytest.approx(expected, rel=0.1)
    assert _numbers(first)[0] == _numbers(second)[0]
    water = next(f for f in first["members"][0]["findings"] if f["concept"] == "water")
    assert water["verdict"] == "raises" and water["confirmation"]["verdict"] == "confirmed"
    share = water["confirmation"]["predictiveness"]
    assert share["n"] >= 20 and share["hits"] / share["n"] > 0.8
    others = {f["concept"]: f["verdict"] for f in second["members"][1]["findings"]}
    assert others["water"] not in ("raises", "lowers")
    _check_views(cli, first["id"], first, tmp_path)


@pytest.mark.long
def test_a_word_of_a_search_that_the_pool_lacks_is_tested_and_confirmed(home: Path) -> None:
    jobs = Jobs(home, limit=600)
    try:
        pool = home / "things.yaml"
        pool.write_text(THINGS)
        values = {"pictures": 60, "placebos": 1, "candidates": 1}
        request = ScreenRequest(
            ("lab:birds-biased",), "waterbird", ScreenSettings.from_values(values), str(pool)
        )
        prepared = prepare(request, home)
        [checked] = prepared.members
        row = member_row(jobs.store, "lab:birds-biased", checked)
        found = searched(jobs.store, row["classifier_id"], checked.config, ["sea"])
        made = screening_request.add(jobs.store, prepared)
        ended = jobs.finish(
            screening_request.queue(jobs.store, made, checked.config, prepared.settings, [found])
        )
        assert ended.state is State.SUCCEEDED, jobs.describe(ended)
    finally:
        jobs.close()
    rows = Browse(home).rows("SELECT concept, verdict FROM claim")
    assert list(map(tuple, rows)) == [("sea", "confirmed")]


def _numbers(shown: dict[str, Any]) -> list[Any]:
    names = ["concept", "verdict", "effect", "low", "high", "log_odds", "drawn", "contexts"]
    return [[[f[name] for name in names] for f in m["findings"]] for m in shown["members"]]


def _check_views(cli: Callable[..., Any], name: str, shown: dict[str, Any], tmp_path: Path) -> None:
    """Every form shows the same findings; deleting leaves the bank."""
    assert cli("screen", name, "--json").json == json.loads(json.dumps(shown))
    text = cli("screen", name, "--all").out
    rows = cli("screen", name, "--csv").out.splitlines()
    listed = cli("screen", "--json").json
    query = f"SELECT concept FROM screenings_all WHERE screening_id = '{name}'"
    concepts = {f["concept"] for f in shown["members"][0]["findings"]}
    assert all(concept in text for concept in concepts)
    assert len(rows) == len(concepts) + 1
    assert [one["id"] for one in listed if one["id"] == name] == [name]
    assert {row["concept"] for row in cli("query", query, "--json").json} == concepts
    for suffix in ("md", "html"):
        report = tmp_path / f"report.{suffix}"
        assert cli("export", name, "-o", report).code == 0
        assert all(concept in report.read_text() for concept in concepts)
        assert "order of fresh prompts right in" in report.read_text()
    assert cli("note", name, "worth a look").code == 0
    assert cli("delete", name, "--yes", "--really", "--json").json["screenings"] == [name]
    assert cli("screen", name).code == 2


# A watched folder

# Words that the tiny generator was given.
POOL = """
picture: a picture of
articles: a
slots:
  place:
    position: beside
    concepts: [sea, forest, snow]
"""
CODE = """
from torch import nn

def make(classes=3):
    net = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten(), nn.Linear(64, classes))
    net.image_size = 32
    return net
"""


def save(folder: Path, name: str, seed: int) -> None:
    import torch
    from safetensors.torch import save_file
    from torch import nn

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten(), nn.Linear(64, 3))
    save_file(net.state_dict(), folder / name)


def test_a_folder_without_checkpoints_is_said_to_have_none(
    home: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    monkeypatch.chdir(tmp_path)
    outcome = cli("screen", *WATCH, "--detach")
    assert (outcome.code, outcome.out) == (0, "")
    [line] = outcome.err.splitlines()
    assert f"no checkpoint in {tmp_path} yet" in line


def test_a_folder_is_watched_by_one_screening(home: Path) -> None:
    with Store.open(home) as store:
        bank: dict[str, Any] = {
            "pool": "lab",
            "pool_text": None,
            "pool_hash": "h",
            "topic": {},
            "seed": 0,
        }
        screening_records.ensure_bank(store, "key", **bank)
        made = [
            screening_records.add_screening(store, "key", "waterbird", {}, [], watch={"folder": at})
            for at in ("/a", "/b", "/a")
        ]
    assert made[0] == made[2] != made[1]


@pytest.mark.long
def test_checkpoints_of_a_folder_are_screened_once_each_across_restarts(
    home: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    folder, code = tmp_path / "training", tmp_path / "net.py"
    folder.mkdir()
    code.write_text(CODE)
    labels = tmp_path / "labels.txt"
    labels.write_text("waterbird\nlandbird\nother\n")
    jobs = Jobs(home, limit=1800)
    pool = tmp_path / "pool.yaml"
    pool.write_text(POOL)
    values = {"arch": f"python:{code}:make", "labels": str(labels)}
    models = config().model_dump(include={"generator", "masked_lm", "diffusion_steps"})
    request = ScreenRequest(
        [],
        "waterbird",
        ScreenSettings.from_values({"pictures": 30, "image_text": str(tiny.image_text_folder())}),
        str(pool),
        {**models, **values},
        trust.agreed_by({**values, "classifier": str(folder)}),
    )

    def watcher() -> Watcher:
        return Watcher(jobs.store, folder, request)

    try:
        first, other = watcher(), watcher()
        assert first.look() == [] and first.queue() is None
        save(folder, "step-200.safetensors", 1)
        assert first.look() == []  # it may still be written
        assert first.look() == ["step-200.safetensors"]
        job = first.queue()
        assert job is not None and first.queue() is None
        # One that was started beside it, in a folder that was empty, finds the same.
        assert other.look(settled=True) == ["step-200.safetensors"]
        assert other.screening_id == first.screening_id and other.queue() is None
        # Killed here, another watcher finds all of it in the store.
        save(folder, "step-400.safetensors", 2)
        (folder / "copy.safetensors").write_bytes((folder / "step-200.safetensors").read_bytes())
        second = watcher()
        assert second.screening_id == first.screening_id
        assert second.look(settled=True) == ["step-400.safetensors"]
        assert jobs.finish(job).state is State.SUCCEEDED
        (folder / "step-600.safetensors").write_bytes(b"no weights")
        third = watcher()
        assert third.look(settled=True) == ["step-600.safetensors"]
        last = third.queue()
        if last is not None:  # the first job took the second checkpoint, or not
            assert jobs.finish(last).state is State.SUCCEEDED
        until(lambda: third.queue() is None and third.job() is None)
    finally:
        jobs.close()
    shown = cli("screen", first.screening_id, "--json").json
    assert [m["name"] for m in shown["members"]] == [
        "step-200.safetensors", "step-400.safetensors", "step-600.safetensors"
    ]  # fmt: skip
    assert [bool(m["findings"]) for m in shown["members"]] == [True, True, False]
    assert shown["members"][2]["error"]
    assert shown["drawn"] == shown["pictures"] == 30
    assert "step-200.safetensors to step-600" in cli("screen", first.screening_id).out
