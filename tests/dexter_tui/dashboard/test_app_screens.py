"""Every screen at three sizes, as it stood when someone last looked at it and found it good.

`make screens` writes the text of each screen to tests/screens, for `git diff`.
"""

import asyncio
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import pytest
import shown_store
from piloting import SIZES, dashboard, driven, press, settle, text
from textual.pilot import Pilot

from dexter_tui.dashboard.app import DexterApp
from store.locks import FileLock

REPOSITORY = Path(__file__).parents[3]
KEPT = REPOSITORY / "tests" / "screens"

# Keys from one screen to the next, beginning at home; each is looked at behind its keys.
WALK: dict[str, tuple[str, ...]] = {
    "home": ("down",),
    "help": ("question_mark",),
    "filter": ("escape", "slash", "s", "e", "a"),
    "run-charts": ("escape", "home", "down", "down", "down", "down", "enter", "left", "left"),
    "run-words": ("2",),
    "run-frames": ("3",),
    "run-prompts": ("4",),
    "run-config": ("5",),
    "run-log": ("6",),
    "enlarged": ("1", "z"),
    "study-runs": ("escape", "s"),
    "study-claims": ("2",),
    "study-captions": ("3",),
    "study-words": ("4",),
    "study-report": ("5",),
    "start": ("escape", "escape", "n", *"birds"),
    "start-class": ("down", "enter", "down"),
    "start-generator": ("enter",),
    "new-run": ("escape", "escape", "escape", "y", "n", "f4", "down", "down"),
    "comparisons": ("escape", "c"),
    "compare-claims": ("enter",),
    "compare-pairs": ("enter",),
    "compare-differences": ("escape", "2"),
    "compare-prompts": ("4",),
    "compare-settings": ("6",),
    "new-comparison": ("escape", "n", "down"),
    "screenings": ("escape", "escape", "i"),
    "screening-effects": ("enter",),
    "screening-facts": ("3",),
    "screening-checkpoints": ("escape", "down", "enter", "2"),
    "new-screening": ("escape", "n", "down"),
    "query": ("escape", "escape", "colon", "f3", "f5"),
    "note": ("escape", "G", "N"),
    "tag": ("escape", "t"),
    "jump": ("escape", "ctrl+o"),
    "palette": ("escape", "ctrl+p"),
    "delete": ("escape", "D"),
}


async def walk(pilot: Pilot[None]) -> dict[str, str]:
    """The text of each screen."""
    seen = {}
    await settle(pilot)
    for name, keys in WALK.items():
        await press(pilot, *keys)
        # The machine's processors are busy as they are, and an answer takes its time.
        shown = re.sub(r"^ CPU,.*$", "", text(pilot), flags=re.MULTILINE)
        seen[name] = re.sub(r"─ Result: .*$", "─ Result", shown, flags=re.MULTILINE) + "\n"
    return seen


def file(name: str, size: tuple[int, int]) -> Path:
    return KEPT / f"{name}.{size[0]}x{size[1]}.txt"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DexterApp:
    monkeypatch.setenv("HOME", str(tmp_path))  # so that its path is ~/home
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    home = shown_store.copy(tmp_path / "home")
    shown_store.compare(home)
    shown_store.screen(home)
    return dashboard(home)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@driven
async def test_every_screen_looks_as_it_did(app: DexterApp, size: tuple[int, int]) -> None:
    lock = app.home / "locks" / f"run-{shown_store.LIVE}.lock"
    with FileLock(lock, wait=False):
        async with app.run_test(size=size) as pilot:
            seen = await walk(pilot)
    for name, shown in seen.items():
        assert shown == file(name, size).read_text(), f"{file(name, size)} is another"


async def _write(home: Path) -> None:
    KEPT.mkdir(exist_ok=True)
    for size in SIZES:
        async with dashboard(home).run_test(size=size) as pilot:
            for name, shown in (await walk(pilot)).items():
                file(name, size).write_text(shown)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HOME": folder, "COLORTERM": "truecolor", "TZ": "UTC"}
        time.tzset()
        made = shown_store.fill(Path(folder) / "home")
        shown_store.compare(made)
        shown_store.screen(made)
        with FileLock(made / "locks" / f"run-{shown_store.LIVE}.lock", wait=False):
            asyncio.run(_write(made))
    sys.exit()
