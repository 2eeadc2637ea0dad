"""The commands `whatif` and `explain-bias`, on tiny models."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_screening
from held_net import HeldNet, numbers, undisturbed
from PIL import Image

from dexter.lab.scenes import SceneDataset
from dexter_tui.machine import devices
from store.reading import screenings
from store.reading.browse import Browse


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Options that name a classifier of colours and a tiny generator."""
    monkeypatch.setenv(devices.CPU_SLOTS, "1")
    return HeldNet(tmp_path).options


@pytest.mark.long
def test_a_what_if_is_kept_and_exported(
    cli: Callable[..., Any], home: Path, models: list[object], tmp_path: Path
) -> None:
    first = cli("whatif", *models, "-o", tmp_path / "strip.md", "--json")
    assert first.code == 0, first.err
    answer = first.json
    assert answer["concepts"].endswith("no screening of this class yet")
    start, *changed = answer["steps"]
    assert start["change"] is None and start["decision"] in ("cat", "dog")
    assert len(changed) == len(answer["changes"]) <= 4
    assert all(0 <= step["p"] <= 1 for step in answer["steps"])
    assert answer["noises"] == 32 and answer["flipped"] == (
        changed[-1]["decision"] != start["decision"] if changed else False
    )
    text = (tmp_path / "strip.md").read_text()
    shown = list((tmp_path / "strip_files").iterdir())
    assert shown and all(f"strip_files/{path.name}" in text for path in shown)

    name = answer["id"]
    assert cli("whatif", "--json").json == [answer]
    again = cli("whatif", name, "-o", tmp_path / "strip.png", "--json")
    assert again.json == answer
    sheet = Image.open(io.BytesIO((tmp_path / "strip.png").read_bytes()))
    assert sheet.width > 192 * len(answer["steps"])
    assert cli("export", name, "-o", tmp_path / "again.md").code == 0
    assert (tmp_path / "again.md").read_text().replace("again_files", "strip_files") == text
    # Another one draws nothing more.
    kept = Browse(home).rows("SELECT count(*) FROM picture")
    assert undisturbed(home, cli, "whatif", *models) == numbers(home, name)
    assert Browse(home).rows("SELECT count(*) FROM picture") == kept
    # Labels that do not exclude each other: another label is no decision against the class.
    never = ["--multi-label", "--threshold", "0.999"]
    steps = cli("whatif", *models, *never, "--json").json["steps"]
    assert {step["decision"] for step in steps} == {"not cat"}


def test_a_what_if_refuses_in_a_line(
    cli: Callable[..., Any], home: Path, models: list[object], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG nothing")
    gray = tmp_path / "gray.png"
    Image.fromarray(np.full((40, 40, 3), 99, np.uint8)).save(gray)
    for more, part in (
        (["--image", tmp_path / "no.png"], "is missing"),
        (["--image", broken], "is unreadable"),
        (["-o", "strip.pdf"], "ends in none of .md, .html, .png"),
        (["-o", "nowhere/strip.png"], "nowhere is no folder"),
        (["-o", "strip.png", "--detach"], "omit --detach"),
    ):
        outcome = cli("whatif", *models, *more)
        assert outcome.code == 2, outcome.err
        assert part in outcome.err.splitlines()[-1]
    for command, part in (
        (["whatif", "--class", "cat"], "classifier is required: pass --classifier"),
        (["explain-bias", "--data", "none"], "classifier is required: pass --classifier"),
        (["whatif", *models[:2]], "class_name is required: pass --class"),
    ):
        outcome = cli(*command)
        assert outcome.code == 2 and part in outcome.err
    lab = cli("whatif", "--classifier", "lab:birds-biased", "--class", "waterbird",
              "--image", gray)  # fmt: skip
    assert lab.code == 2
    assert "sees nothing in" in lab.err and "less than no word" in lab.err


@pytest.mark.long
def test_a_bias_report_rests_on_a_screening_and_on_labels(
    cli: Callable[..., Any], home: Path, models: list[object], tmp_path: Path
) -> None:
    rows = ["file_name,label,Age,sex"]
    for index, one in enumerate(SceneDataset("faces", "test", 40)):
        Image.fromarray(one.picture).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,{'cat' if index % 2 else 'dog'},{['old', 'young'][one.label]},"
                    f"{one.attributes['gender']}")  # fmt: skip
    rows.append("gone.png,cat,old,male")
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    command = ["explain-bias", *models, "--pictures", "60", "--no-confirm", "--sts", "none"]
    first = cli(*command, "--data", tmp_path, "-o", tmp_path / "bias.md", "--json")
    assert first.code == 0, first.err
    found = first.json
    free, driven = found["data_free"], found["data_driven"]
    assert {(one["attribute"], one["concept"]) for one in free["facts"]} == {
        ("age", "young"), ("age", "old"), ("hair", "red"), ("hair", "blue")
    }  # fmt: skip
    assert {one["attribute"] for one in driven["facts"]} == {"age", "gender"}
    assert free["attributes"]["gender"] == "untested" and found["skipped"] == {"missing": 1}
    assert found["claims"]["claims"] <= 4 and found["sts"] is None and found["judge"] is None
    text = (tmp_path / "bias.md").read_text()
    assert free["text"].split(".")[0] in text and "## On labelled pictures" in text
    # The screening is there: it is not made again.
    again = cli(*command, "--data", "none")
    assert f"screening {found['screening']} has the answer already" in again.err
    assert free["text"].split(":")[0] in " ".join(again.out.split())
    assert len(screenings.listed(Browse(home))) == 1


def test_a_bias_report_refuses_in_a_line(
    cli: Callable[..., Any], home: Path, models: list[object], tmp_path: Path
) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,label,place\n0.png,cat,sea\n")
    (tmp_path / "few.csv").write_text("file_name,label,age\n0.png,cat,old\n1.png,dog,young\n")
    for more, part in (
        (["--data", tmp_path / "few.csv"], "2 pictures can be read, and their labels need at"),
        (["--data", tmp_path], "has no column age, gender, skin, hair; it has place"),
        (["--llm", "some/folder"], "a judge needs an endpoint"),
        (["--base-url", "http://127.0.0.1:9/v1"], "--base-url: no model of the endpoint is asked"),
        (["-o", "bias.png"], "ends in none of .md, .html, .json"),
    ):
        outcome = cli("explain-bias", *models, *more)
        assert outcome.code == 2, outcome.err
        assert part in outcome.err.splitlines()[-1]


@pytest.mark.long
def test_questions_are_answered_from_a_screening_without_drawing(
    cli: Callable[..., Any],
    home: Path,
    tmp_path: Path,
) -> None:
    options = tiny_screening.options(tmp_path)
    named = [part for pair in options.items() for part in pair]
    command = ["ask", *named, "--image-text", tiny.image_text_folder(), "--device", "cpu"]
    early = cli(*command, "a cat with sea")
    assert early.code == 2 and "no store here yet" in early.err
    tiny_screening.screen(home, options)

    def pictures() -> Any:
        return Browse(home).rows("SELECT count(*) FROM picture")

    before = pictures()
    questions = ["a young cat with sea", "a cat with zebra", "snow"]
    found = cli(*command, *questions, "--unit", 0, "-o", tmp_path / "answers.md", "--json")
    assert found.code == 0, found.err
    assert pictures() == before == [(80,)]
    answer = found.json
    sea, zebra, snow = answer["answers"]
    assert sea["prompt"] == "a picture of a young cat with sea" and sea["control"] == "a young cat"
    assert sea["change"]["low"] < sea["change"]["log_odds"] < sea["change"]["high"]
    assert zebra["unseen"] == ["zebra"] and sea["unseen"] == []
    assert snow["control"] is None and snow["change"] is None
    assert all(one["low"] < one["p"] < one["high"] for one in answer["answers"])
    assert answer["pictures"] == 80 and answer["left_out"]["words"] >= 5
    assert [one["unit"] for one in answer["units"]] == [0]
    text = (tmp_path / "answers.md").read_text()
    assert "a young cat with sea" in text and "- unit 0: " in text
    # What was learned is the same in another process, and shown in a terminal.
    again = cli(*command, *questions, "--unit", 0, "-o", tmp_path / "answers.json")
    assert again.code == 0 and "a cat with zebra" in again.out
    assert "unit 0: " in again.out and "standard deviations over the pictures" in again.out
    shown = json.loads((tmp_path / "answers.json").read_text())
    assert shown["answers"] == answer["answers"]

    for more, part in (
        ([], "nothing is asked"),
        (["with a"], "names nothing that a picture can show"),
        (["snow", "--unit", 10_000], "has units 0 to"),
        (["snow", "-o", "answers.png"], "ends in none of .md, .html, .json"),
        (["snow", "--class", "dog"], "no finished screening of dog"),
        (["snow", "--mean", "0,0,0", "--std", "1,1,1"], "--mean 0.0,0.0,0.0 --std 1.0,1.0,1.0"),
    ):
        outcome = cli(*command, *more)
        assert outcome.code == 2, outcome.err
        assert part in outcome.err
    with (tmp_path / "net.py").open("a") as net:
        net.write("# trained further\n")
    assert "no finished screening of cat" in cli(*command, "snow").err
