"""The whole way with a real server: its captions, and a report by a real language model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shared_home
import tiny
from report_study import add_study, options

from dexter import model_folders

home = shared_home.fixture  # pictures are drawn once


@pytest.fixture(scope="module")
def study(home: Path) -> str:
    return add_study(home)


def captioner() -> Path:
    """The lab's, where it is there."""
    places = [root / "lab" / "captioner" for root in model_folders.roots()]
    return next((place for place in places if place.is_dir()), tiny.captioner_folder())


def test_a_server_captions_and_writes(
    study: str,
    cli: Callable[..., Any],
    serve: Callable[[], str],
    writer: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    result = cli(
        "report",
        study,
        *options(base_url=serve(), vlm=captioner(), llm=writer, timeout=900, concurrency=1),
        "--json",
    )
    assert result.code == 0, result.err
    found = result.json
    assert len([c for c in found["captions"] if c["model"] == str(captioner())]) == 6
    report = found["reports"][0]
    assert report["author"] == str(writer)
    sentences = [s for section in report["body"]["sections"][:-1] for s in section["sentences"]]
    assert sentences
    for sentence in sentences:
        assert (sentence["mark"] == "unverified") == (not sentence["claims"])
    assert "unverified" in cli("show", study).out or all(s["claims"] for s in sentences)


def test_a_local_writer_needs_no_server(
    study: str,
    cli: Callable[..., Any],
    writer: Path,
) -> None:
    result = cli("report", study, *options(vlm="none", llm=writer), "--json")
    assert result.code == 0, result.err
    assert result.json["reports"][0]["author"] == str(writer)
