"""Cells of pictures: what code reads of them, and what the terminal and a screenshot show."""

from pathlib import Path

import pytest
import shown_store
from piloting import dashboard, driven, press, settle
from rich.console import Console
from rich.style import Style
from shown_store import DONE

from dexter_tui.dashboard.cells import strips_from_ansi
from dexter_tui.dashboard.widgets.gallery import Gallery

TRUECOLOR = Console(color_system="truecolor", force_terminal=True)


def test_a_cell_has_the_colours_of_its_two_pixels() -> None:
    [strip] = strips_from_ansi("\x1b[48;2;255;189;105m\x1b[38;2;1;2;3m▀\x1b[0m text")
    style = next(iter(strip)).style
    assert style is not None and style.color is not None and style.bgcolor is not None
    assert style.color.triplet == (1, 2, 3) and style.bgcolor.triplet == (255, 189, 105)
    assert strip.render(TRUECOLOR) == "\x1b[38;2;1;2;3;48;2;255;189;105m▀\x1b[0m text"
    marked = style + Style(reverse=True)
    assert marked.reverse and (marked.color, marked.bgcolor) == (style.color, style.bgcolor)


def test_colours_of_a_palette_and_single_colours_stay() -> None:
    line = "\x1b[38;5;9m\x1b[48;5;17m▀\x1b[0m\x1b[48;2;4;5;6m \x1b[0m"
    both, single = (part.style for part in strips_from_ansi(line)[0])
    assert both is not None and both.color is not None and both.bgcolor is not None
    assert (both.color.number, both.bgcolor.number) == (9, 17)
    assert single is not None and single.color is None and single.bgcolor is not None
    assert single.bgcolor.triplet == (4, 5, 6)


@driven
async def test_a_screenshot_shows_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    app = dashboard(shown_store.copy(tmp_path / "home"))
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.open_run(DONE)
        await settle(pilot)
        await press(pilot, "3")
        gallery = app.screen.query_one(Gallery)
        cells = [part for y in range(12) for part in gallery.line(y) if part.text == "▀"]
        colours = {part.style.color for part in cells if part.style is not None}
        drawn = app.export_screenshot()
        shown = [one for one in colours if one and one.triplet and one.triplet.hex in drawn]
        assert len(colours) > 20 and len(shown) == len(colours)
