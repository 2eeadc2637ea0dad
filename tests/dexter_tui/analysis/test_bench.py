"""The key of a generator in the bank of pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dexter.config import RunConfig
from dexter_tui.analysis.bench import generator_key

STORED_RUN = Path(__file__).parents[2] / "data" / "stored_run.json"


def key(**overrides: object) -> str:
    config = RunConfig.from_preset("default", classifier="lab:x", class_name="y", **overrides)
    return generator_key(config, "0" * 64)


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float16"},
        {"padding": "repeat"},
        {"guidance": 2},
        {"scheduler": "DDIM"},
        {"image_size": 128},
        {"diffusion_steps": 1},
    ],
)
def test_it_depends_on_what_changes_a_picture(change: dict[str, object]) -> None:
    assert key(**change) != key()


def test_it_does_not_depend_on_the_search() -> None:
    """The bank's pictures are drawn with the generator's own decoder."""
    assert key(decoder="tiny", steps=3, seed=4, batch=2) == key()


def test_pictures_of_a_stored_run_are_found_again() -> None:
    """The record and its key were written before fields had groups."""
    stored = json.loads(STORED_RUN.read_text())
    config = RunConfig.model_validate(stored["config"])
    assert generator_key(config, "0" * 64) == stored["generator_key"]
