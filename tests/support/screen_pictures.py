"""Pictures of the screens of a real store, at four sizes in four styles: `make screen-pictures`.

    DEXTER_HOME=FOLDER python tests/support/screen_pictures.py TARGET [SIZE…]

Writes TARGET/STYLE-SIZE/SCREEN.png, to be looked at. A screen that the store has nothing for is
left out.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import resvg_py
from piloting import dashboard, press, settle

from dexter_tui import paths
from dexter_tui.dashboard.app import DexterApp

SIZES = ((60, 15), (80, 24), (120, 40), (200, 50))
STYLES: dict[str, dict[str, Any]] = {
    "dark": {"theme": "dexter"},
    "light": {"theme": "dexter-light"},
    "ascii": {"theme": "dexter", "ascii": True, "images": "ascii"},
    "no-colour": {"theme": "dexter", "no_colour": True},
}
# Each walk begins at home, on the newest study. What is behind "|" is the name of the picture.
WALKS = (
    ("|home", "?|help"),
    ("ctrl+p|palette",),
    ("down enter|run-charts", "2|run-words", "3|run-frames", "z|enlarged", "escape 4|run-prompts",
     "5|run-config", "6|run-log"),
    ("enter|study-runs", "2|study-claims", "3|study-captions", "4|study-words", "5|study-report"),
    ("c|comparisons", "enter|compare-claims", "2|compare-differences", "4|compare-prompts"),
    ("i|screenings", "enter|screening-effects", "3|screening-facts",
     f"a {' '.join('duck')} enter|screening-questions"),
    ("b|data-reports", "enter|data-report"),
    ("m|devices",),
    ("n|start", "f4|new-run"),
    ("colon f3 f5|query",),
)  # fmt: skip


def _png(app: DexterApp) -> bytes:
    svg = app.export_screenshot().replace("Fira Code", "DejaVu Sans Mono")
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, font_family="DejaVu Sans Mono"))


async def _walk(steps: tuple[str, ...], size: tuple[int, int], style: str, target: Path) -> None:
    options = {"images": "blocks", **STYLES[style]}
    app = dashboard(paths.home(), **options)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        for step in steps:
            keys, name = step.split("|")
            named = {"?": "question_mark"}
            await press(pilot, *(named.get(key, key) for key in keys.split()))
            (target / f"{name}.png").write_bytes(_png(app))


def main(target: Path, sizes: list[str]) -> None:
    """Write all pictures."""
    for size in SIZES:
        shown = f"{size[0]}x{size[1]}"
        for style in STYLES if not sizes or shown in sizes else ():
            folder = target / f"{style}-{shown}"
            folder.mkdir(parents=True, exist_ok=True)
            for steps in WALKS:
                asyncio.run(_walk(steps, size, style, folder))
            print(folder, flush=True)


if __name__ == "__main__":
    # What the dashboard remembers is not the user's.
    with tempfile.TemporaryDirectory() as state:
        os.environ |= {"COLORTERM": "truecolor", "XDG_STATE_HOME": state}
        main(Path(sys.argv[1]), sys.argv[2:])
