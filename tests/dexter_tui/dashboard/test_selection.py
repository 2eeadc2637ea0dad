"""Text under the mouse is selected as it stands, and y copies it, or what the cursor is on."""

from functools import partial
from pathlib import Path

import pytest
import shown_store
from piloting import dashboard, driven, press, settle, text, until
from shown_store import DONE
from textual.pilot import Pilot

from dexter_tui.dashboard.widgets.log_view import localised

# The kind of text: the keys that show it, and a part of it.
KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "title": ((), "1 succeeded"),
    "list of runs": ((), "rdone0001    0 "),
    "facts": (("G", "up"), "pictures by lab; preset quick"),
    "keys": ((), "Palette"),
    "prompts": (("G", "up", "enter", "4"), "loss reduction (95% CI)"),
    "configuration": (("G", "up", "enter", "5"), "lab:birds-biased"),
    "log": (("G", "up", "enter", "6"), "step 39: loss 0.1250"),
    "claims": (("G", "up", "enter", "s", "2"), "feather"),
    "report": (("G", "up", "enter", "s", "5"), "for a waterbird"),
    "query result": (("colon", "f3", "f5"), "birds-biased"),
    "help": (("question_mark",), "Open the selected run or study."),
    "dialog": (("G", "x"), "Cancel this run?"),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return shown_store.copy(tmp_path / "home")


async def drag(pilot: Pilot[None], part: str) -> None:
    """Select a part of what the screen shows, as the mouse does."""
    lines = text(pilot).splitlines()
    y = max(at for at, line in enumerate(lines) if part in line)
    x = lines[y].index(part)
    await pilot.mouse_down(offset=(x, y))
    await pilot.hover(offset=(x + len(part) - 1, y))
    await pilot.mouse_up(offset=(x + len(part) - 1, y))
    await settle(pilot)


def _shows(pilot: Pilot[None], part: str) -> bool:
    return part in text(pilot)


@pytest.mark.long
@driven
async def test_twelve_kinds_of_text_are_selected_and_copied(home: Path) -> None:
    async with dashboard(home).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        for kind, (keys, part) in KINDS.items():
            await press(pilot, *keys)
            await until(pilot, partial(_shows, pilot, part))
            await settle(pilot)  # what is loaded later may move it by a line
            await drag(pilot, part)
            pilot.app.copy_to_clipboard("")
            if kind == "dialog":  # where y is the answer
                await press(pilot, "ctrl+c")
            else:
                await press(pilot, "y")
            assert pilot.app.clipboard.strip() == part.strip(), kind
            while len(pilot.app.screen_stack) > 1:
                await press(pilot, "escape")


@driven
async def test_y_copies_what_the_cursor_is_on(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=(120, 40)) as pilot:
        await settle(pilot)
        await press(pilot, "G", "up", "y")
        assert pilot.app.clipboard == DONE
        await press(pilot, "enter", "4", "y")
        assert pilot.app.clipboard == "a picture of a bird with water and sea"
        await press(pilot, "3", "y")
        assert Path(pilot.app.clipboard).is_file()
        await press(pilot, "6", "y")
        assert pilot.app.clipboard.count("\n") == 40 and "step 39: loss" in pilot.app.clipboard
        await press(pilot, "s", "2", "y")
        assert pilot.app.clipboard == (
            "**water** raises the probability of the class: confirmed, "
            "+0.41 (+0.28 to +0.53) on 64 pairs"
        )
        await press(pilot, "5", "y")
        assert "It takes **water** for a waterbird" in pilot.app.clipboard
        await press(pilot, "escape", "escape", "colon", "f3", "f5")
        await until(pilot, lambda: "row, " in text(pilot))
        await press(pilot, "tab")
        pilot.app.screen.query_one("#answer").focus()
        await press(pilot, "y")
        assert pilot.app.clipboard.startswith("SELECT ")


def test_times_of_a_log_are_local_with_their_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert localised("2026-03-01 12:00:05Z  step 5") == "2026-03-01 21:00:05 JST  step 5"
        assert localised("2026-13-01 12:00:05Z  x") == "2026-13-01 12:00:05Z  x"
        assert localised("Traceback (most recent call last):").startswith("Traceback")
    finally:
        monkeypatch.undo()
        time.tzset()


@driven
async def test_a_long_value_goes_on_below_itself_as_soon_as_it_is_shown(tmp_path: Path) -> None:
    room = 46  # columns for a value of this page, one of which its scroll bar takes
    ends = len(str(tmp_path / "home" / "runs" / DONE))
    home = shown_store.copy(tmp_path / ("x" * ((-ends - 1) % room + 2 * room - 1)) / "home")
    async with dashboard(home).run_test(size=(120, 40)) as pilot:
        await press(pilot, "G", "up", "enter", "5")
        labels = [line[4:28].strip() for line in text(pilot).splitlines()]
        at = labels.index("files")
        assert set(labels[at + 1 : labels.index("preset")]) == {""}, text(pilot)
