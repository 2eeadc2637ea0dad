"""The commands `audit` and `check`, and the refusal of a silent toy."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shown_store
import tiny


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


def test_without_a_baseline_nothing_is_checked(cli: Callable[..., Any], shown: str) -> None:
    for baseline in ("cnothing", "lab:other", "nothing.zip"):
        outcome = cli("check", "--baseline", baseline)
        assert (outcome.code, outcome.out) == (2, "")


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


def test_an_audit_ends_with_a_card_for_each_model_and_class(
    cli: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    models = [f"hf:{tiny.classifier_folder()}", f"hf:{tiny.other_classifier_folder()}"]
    outcome = cli(
        *("audit", *models, "--class", "waterbird", "--generator", tiny.generator_folder()),
        *("--pool", "lab", "--pictures", 128, "--diffusion-steps", 1, "--placebos", 1),
        *("--candidates", 1, "--image-text", "none", "--device", "cpu", "-o", tmp_path, "--json"),
    )
    assert outcome.code == 0, outcome.err
    cards = outcome.json["cards"]
    assert [(one["classifier"], one["class_name"]) for one in cards] == [
        (model, "waterbird") for model in models
    ]
    page, markdown = (Path(name) for name in outcome.json["files"])
    assert page.suffix == ".html" and "## Verdict" in markdown.read_text()
    for one in cards:
        assert one["headline"] in markdown.read_text()
    assert "audit" not in outcome.out.splitlines()[0] and "about" in outcome.err
