"""The commands `audit` and `check`, and the refusal of a silent toy."""

import sqlite3
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import onnx_files
import pytest
import shown_store
import tiny
from waiting import until

from dexter_tui.cli.audit.audit_command import cards_of, write_reports
from dexter_tui.jobs import control
from store import Store, run_queue


@pytest.fixture
def shown(home: Path) -> str:
    """A store with a comparison of a biased and a balanced classifier; its id."""
    shown_store.copy(home)
    return shown_store.compare(home)


def test_a_new_dependence_fails_and_is_named(
    cli: Callable[..., Any], shown: str, tmp_path: Path
) -> None:
    report = tmp_path / "report.xml"
    outcome = cli("check", "--baseline", "lab:birds-balanced", "--junit", report, "--github")
    assert outcome.code == 3
    assert "new: lab:birds-biased relies on water for waterbird: +0.42" in outcome.out
    assert "1 new or grown dependence above 0.2" in outcome.err
    assert "::error title=new dependence on water::lab:birds-biased" in outcome.err
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("4", "1")
    [failed] = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == "water"
    found = cli("check", shown, "--baseline", "lab:birds-balanced", "--json")
    assert (found.code, found.json["ok"]) == (3, False)
    assert [one["problem"] for one in found.json["dependences"]] == ["new"]


def test_the_same_dependence_and_a_small_one_are_accepted(
    cli: Callable[..., Any], shown: str, tmp_path: Path
) -> None:
    assert cli("check", "--baseline", shown).code == 0
    assert cli("check", "--baseline", "lab:birds-balanced", "--max-effect", 0.5).code == 0
    bundle = tmp_path / "baseline.zip"
    assert cli("export", shown, "-o", bundle).code == 0
    outcome = cli("check", "--baseline", bundle)
    assert (outcome.code, "accepted" in outcome.out) == (0, True)


def test_an_id_is_no_file_of_its_name(
    cli: Callable[..., Any], shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (shown, shown_store.STUDY):
        Path(name).write_text("notes")
    assert cli("check", "--baseline", shown).code == 0
    outcome = cli("compare", shown_store.STUDY, shown_store.OTHER, "--class", "landbird")
    assert f"study {shown_store.STUDY} is of waterbird, not of landbird" in outcome.err


def test_of_several_studies_in_a_bundle_the_newest_is_the_baseline(
    cli: Callable[..., Any], shown: str, home: Path, tmp_path: Path
) -> None:
    study, other = shown_store.STUDY, shown_store.OTHER
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute(
            "UPDATE study SET created_at = '2026-02-01T12:00:00.000000Z', classifier_id = "
            "(SELECT classifier_id FROM study WHERE id = ?) WHERE id = ?",
            (study, other),
        )
        names = [row[1] for row in connection.execute("PRAGMA table_info(claim)")]
        values = {"id": "id + 1000", "study_id": f"'{other}'", "effect": "0.01", "low": "-0.01",
                  "high": "0.03", "verdict": "'refuted'"}  # fmt: skip
        connection.execute(
            f"INSERT INTO claim ({', '.join(names)}) SELECT "
            f"{', '.join(values.get(name, name) for name in names)} FROM claim "
            "WHERE study_id = ?",
            (study,),
        )
    bundle = tmp_path / "accepted.zip"
    assert cli("export", study, other, "-o", bundle).code == 0
    outcome = cli("check", study, "--baseline", bundle)
    assert (outcome.code, "accepted: " in outcome.out) == (0, True)


def test_without_a_baseline_nothing_is_checked(cli: Callable[..., Any], shown: str) -> None:
    for baseline in ("cnothing", "lab:other", "nothing.zip"):
        outcome = cli("check", "--baseline", baseline)
        assert (outcome.code, outcome.out) == (2, "")
        assert baseline == "cnothing" or "choose from lab:birds-b" in outcome.err


@pytest.mark.parametrize(
    ("checked", "baseline", "said"),
    [
        (shown_store.STUDY, "lab:birds-biased", "the only classifier"),
        (shown_store.STUDY, shown_store.OTHER, "nothing was tested"),
    ],
)
def test_where_nothing_is_compared_a_check_does_not_pass(
    cli: Callable[..., Any], shown: str, checked: str, baseline: str, said: str
) -> None:
    outcome = cli("check", checked, "--baseline", baseline)
    assert (outcome.code, outcome.out, said in outcome.err) == (2, "", True)


@pytest.mark.parametrize("command", ["run", "audit"])
def test_a_classifier_of_ones_own_needs_a_named_generator(
    cli: Callable[..., Any], home: Path, command: str
) -> None:
    spec = f"hf:{tiny.classifier_folder()}"
    named = ["--classifier", spec] if command == "run" else [spec]
    outcome = cli(command, *named, "--class", "waterbird", "--device", "cpu")
    assert outcome.code == 2
    for part in ("--generator", "--generator sd14-lcm", "--generator lab"):
        assert part in outcome.err
    assert not (home / "store.sqlite").exists()


def test_an_audit_ends_with_a_card_for_each_model_and_a_report(home: Path, tmp_path: Path) -> None:
    shown_store.copy(home)
    shown_store.screen(home)
    with Store.open(home) as store:
        cards = cards_of(store, [shown_store.SCREENING])
        page, markdown = map(Path, write_reports(store, [shown_store.SCREENING], tmp_path))
    assert [one.headline for one in cards] == ["relies on water", "no bias confirmed"]
    text = markdown.read_text()
    assert text.index("## Verdict") < text.index("relies on water") < text.index("## Appendix")
    assert "<h2>Verdict</h2>" in page.read_text()


def test_an_audit_says_which_classes_it_needs(cli: Callable[..., Any]) -> None:
    both = cli("audit", "lab:birds-biased", "--class", "waterbird", "--all-classes", 2)
    assert (both.code, "exclude" in both.err) == (2, True)
    many = cli("audit", "lab:objects")
    assert (many.code, "60 classes" in many.err, "--all-classes" in many.err) == (2, True, True)


LABELS = """
import torch
from torch import nn
class Net(nn.Module):
    labels = ["sea", "snow", "forest"]
    image_size = 32
    multi_label = True
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)
    def forward(self, pictures):
        return self.head(pictures.mean((2, 3)))
make = Net
"""
POOL = """
picture: a picture of
articles: a
slots:
  place:
    position: beside
    concepts: {}
"""


@pytest.mark.long
def test_two_labels_are_audited_each_with_the_other_among_the_concepts(
    cli: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    net, pool = tmp_path / "net.py", tmp_path / "pool.yaml"
    net.write_text(LABELS)
    pool.write_text(POOL.format("[sea, snow, boat]"))
    outcome = cli(
        "audit", f"python:{net}:make", "--class", "sea", "--class", "snow",
        *("--generator", tiny.generator_folder(), "--diffusion-steps", 1, "--device", "cpu"),
        *("--image-text", tiny.image_text_folder(), "--pool", pool, "--pictures", 30),
        *("--placebos", 1, "--candidates", 1, "-o", tmp_path / "reports", "--json"),
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "multi-label (sigmoid)" in outcome.err
    found = outcome.json
    assert [card["class_name"] for card in found["cards"]] == ["sea", "snow"]
    assert all(Path(file).exists() for file in found["files"])
    for screening, other in zip(found["screenings"], ("snow", "sea"), strict=True):
        [member] = cli("screen", screening, "--json").json["members"]
        assert {f["concept"] for f in member["findings"]} == {other, "boat"}


def cancel_the_last_of(count: int, home: Path) -> None:
    """Cancel the last of `count` jobs as soon as all are queued."""
    until(lambda: (home / "store.sqlite").exists())
    with Store.open(home) as store:
        queued = until(lambda: [*run_queue.queue(store)][count - 1 :])
        control.cancel(store, queued[0].id)


@pytest.mark.long
def test_an_audit_of_models_of_ones_own_asks_nothing_and_has_a_card_for_each_class(
    cli: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    """Also where another class was cancelled."""
    pool, labels = tmp_path / "pool.yaml", tmp_path / "labels.txt"
    pool.write_text(POOL.format("{water: water, night: night}"))
    labels.write_text("house\ncar\ncup\n")
    models = [
        onnx_files.colour_network(tmp_path / "colours.onnx"),
        onnx_files.colour_network(tmp_path / "constant.onnx", weight=onnx_files.WEIGHT * 0),
    ]
    with ThreadPoolExecutor() as beside:
        cancelled = beside.submit(cancel_the_last_of, 3, home)
        outcome = cli(
            "audit", *models, "--labels", labels, "--normalization", "none", "--generator", "lab",
            "--pool", pool, "--pictures", 24, "--placebos", 1, "--candidates", 1,
            "--all-classes", 3, "--json",
        )  # fmt: skip
        cancelled.result()
    assert outcome.code == 1, outcome.err
    assert len(outcome.json["screenings"]) == 2
    assert "constant.onnx answers all pictures of a trial alike" in outcome.err
    cards = outcome.json["cards"]
    assert [(one["class_name"], one["constant"] is None) for one in cards] == [
        (name, own) for name in ("house", "car") for own in (True, False)
    ]
    for one in cards[1::2]:
        assert one["headline"].startswith("no bias confirmed: it answers everything alike, p(")
        assert one["sensitivity"] < 1
    assert all(Path(file).is_file() for file in outcome.json["files"])
