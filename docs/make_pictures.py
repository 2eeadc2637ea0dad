"""Saves the pictures of the documents from the dashboard on a real store; see `make pictures`.

    DEXTER_HOME=FOLDER python docs/make_pictures.py

The store holds the demo's two studies with their reports, and a comparison. Keys lead from screen
to screen, as a user would press them.
"""

import asyncio
import os
import re
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests" / "support")]

from piloting import dashboard, press, settle  # noqa: E402

from dexter_tui import paths  # noqa: E402

PICTURES = REPOSITORY / "docs" / "pictures"
SIZE = (120, 32)
QUERY = "SELECT classifier, concept, effect, verdict FROM claims_all WHERE source = 'study'"

# The keys from the screen before; the first picture begins at home.
WALK: dict[str, tuple[str, ...]] = {
    "run-drivers": ("slash", *"biased", "enter", "home", "down", "enter", "4"),
    "study-claims": ("s", "2"),
    "comparison": ("escape", "escape", "escape", "c", "enter"),
    "pairs": ("enter",),
    "query": ("escape", "escape", "escape", "colon", *QUERY, "f5"),
}


def picture(svg: str) -> str:
    """An SVG that stands alone: it fetches no font, and its ids do not change."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"terminal-\d+-", "terminal-", svg).replace("Fira Code", "monospace")


async def save() -> None:
    app = dashboard(paths.home())
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        for name, keys in WALK.items():
            await press(pilot, *keys)
            svg = app.export_screenshot(title="dexter-tui")
            (PICTURES / f"{name}.svg").write_text(picture(svg))


if __name__ == "__main__":
    # The path of the store is shown as ~/home.
    os.environ |= {"HOME": str(paths.home().parent), "COLORTERM": "truecolor", "TZ": "UTC"}
    time.tzset()
    PICTURES.mkdir(exist_ok=True)
    asyncio.run(save())
