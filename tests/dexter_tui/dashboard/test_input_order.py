"""Keys typed faster than the dashboard draws land where they were meant, in order.

Each test sends 200 keys at once: with those that open the place and those that leave it.
"""

import os
import random
from pathlib import Path

import pytest
import shown_store
from piloting import dashboard, driven, settle, text, until
from shown_store import QUEUED
from textual import events
from textual.pilot import Pilot
from textual.widgets import TextArea

from dexter_tui.dashboard.screens.home.screen import HomeScreen
from dexter_tui.dashboard.screens.new_run import NewRunScreen
from dexter_tui.dashboard.widgets.form import Form
from store.reading.browse import Browse

TRIES = 10 if os.environ.get("DEXTER_TRIALS") else 1
KEYS = 200
_NAMES = {" ": "space", "'": "apostrophe", "=": "equals_sign", "*": "asterisk", ":": "colon",
          "/": "slash"}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return shown_store.copy(tmp_path / "home")


def letters(count: int, seed: int) -> str:
    """Words of these many letters, none with a meaning."""
    drawn = random.Random(seed)
    return "".join(drawn.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(count))


def at_once(pilot: Pilot[None], *keys: str) -> None:
    """Send keys as a terminal does that had them all."""
    for key in keys:
        pilot.app.post_message(events.Key(_NAMES.get(key, key), key if len(key) == 1 else None))


@pytest.mark.parametrize("number", range(TRIES))
@driven
async def test_a_form_gets_every_letter_in_its_row(home: Path, number: int) -> None:
    rows = [letters(length, number + k) for k, length in enumerate((60, 60, 73))]
    async with dashboard(home).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        at_once(
            pilot, "n", "f4", *rows[0], "down", *rows[1], "down", "backspace", "down", "down",
            "down", *rows[2], "up",
        )  # fmt: skip
        await settle(pilot)
        assert isinstance(pilot.app.screen, NewRunScreen)
        form = pilot.app.screen.query_one(Form)
        values = form.values()
        assert [values["classifier"], values["class_name"]] == rows[:2]
        assert (values["seeds"], form["arch"].value, form.here.name) == ("", rows[2], "labels")


@pytest.mark.parametrize("number", range(TRIES))
@driven
async def test_a_query_is_run_with_every_letter(home: Path, number: int) -> None:
    sql = f"select '{letters(KEYS - 14, number)}' as x"
    assert len(sql) + 2 > KEYS
    async with dashboard(home).run_test(size=(200, 50)) as pilot:
        await settle(pilot)
        at_once(pilot, ":", *sql, "f5", "f3", "f4")
        await until(pilot, lambda: "1 row," in text(pilot))
        assert pilot.app.screen.query_one("#sql", TextArea).text == sql
        assert sql[8:50] in text(pilot).split("Result")[1]


@pytest.mark.parametrize("number", range(TRIES))
@driven
async def test_a_filter_gets_every_letter_and_the_list_the_keys_after_it(
    home: Path, number: int
) -> None:
    word = letters(KEYS // 2 - 8, number)
    async with dashboard(home).run_test(size=(200, 50)) as pilot:
        await settle(pilot)
        at_once(pilot, "/", *word, *["backspace"] * len(word), *"state:queued", "enter", "G", "y")
        await settle(pilot)
        assert isinstance(pilot.app.screen, HomeScreen)
        assert "1 of 4 runs" in text(pilot)
        assert pilot.app.clipboard == QUEUED


@pytest.mark.parametrize("number", range(TRIES))
@driven
async def test_a_note_is_saved_with_every_letter(home: Path, number: int) -> None:
    note = letters(KEYS - 4, number)
    async with dashboard(home).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        at_once(pilot, "G", "N", *note, "ctrl+s", "j")
        await settle(pilot)
        assert isinstance(pilot.app.screen, HomeScreen)
        run_id = pilot.app.screen._names()[0]
        assert Browse(home).note(run_id) == note
