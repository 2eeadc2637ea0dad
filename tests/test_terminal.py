"""What the terminal is asked, and that no answer is taken for a key press, however late."""

import json
import os
import sys
from pathlib import Path

import pytest
from fake_terminal import FakeTerminal

from dexter_tui import terminal

# As the dashboard does it: first the probe, then Textual; every key that arrives is noted.
_SCRIPT = """
import json, sys
from dexter_tui import terminal
kind = terminal.probe(sys.argv[1])
from textual.app import App
from dexter_tui.screens.picture import hires

class Noting(App):
    keys = []
    def on_key(self, event):
        self.keys.append(event.key)
    def on_mount(self):
        picture = hires(kind)
        self.found = type(picture).__module__ if picture is not None else None
        self.set_timer(float(sys.argv[2]), self.exit)

app = Noting()
app.run()
print("NOTED" + json.dumps({"kind": kind, "keys": app.keys, "widget": app.found}) + "END")
"""


def noted(
    kind: str, delay: float, wanted: str = "auto", **env: str
) -> tuple[dict[str, object], FakeTerminal]:
    """What the script found in a terminal of this kind."""
    os.environ.pop("TMUX", None)
    fake = FakeTerminal(
        [sys.executable, "-c", _SCRIPT, wanted, str(delay + 0.5)],
        kind=kind,
        delay=delay,
        env={"CI": "", "TMUX": "", "COLORTERM": "truecolor", **env},
    )
    fake.wait_for(b"NOTED.*END", seconds=90)
    fake.wait()
    text = bytes(fake.output).partition(b"NOTED")[2].partition(b"END")[0]
    return json.loads(text), fake


@pytest.mark.parametrize(
    ("kind", "delay", "found"),
    [
        ("plain", 0.0, "blocks"),
        ("sixel", 0.0, "sixel"),
        ("kitty", 0.0, "kitty"),
        ("kitty", 0.15, "kitty"),
        ("plain", 0.15, "blocks"),
        ("sixel", 0.3, "sixel"),
        ("sixel", 0.9, "sixel"),
        ("kitty", 0.9, "kitty"),
        ("silent", 0.0, "blocks"),
    ],
)
def test_the_probe_finds_what_the_terminal_has_and_leaves_no_key_behind(
    kind: str, delay: float, found: str
) -> None:
    told, fake = noted(kind, delay)
    assert told["kind"] == found
    assert told["keys"] == []
    assert len(fake.asked) == {"plain": 1, "sixel": 1, "kitty": 2, "silent": 0}[kind]


@pytest.mark.parametrize("wanted", ["blocks", "off"])
def test_nothing_is_asked_where_it_would_not_matter(wanted: str) -> None:
    told, fake = noted("kitty", 0.0, wanted)
    assert told == {"kind": "blocks", "keys": [], "widget": None}
    assert fake.asked == []


@pytest.mark.parametrize("kind", ["kitty", "sixel"])
def test_no_byte_is_written_by_importing_what_shows_pictures(kind: str) -> None:
    script = (
        "import dexter_tui.app, dexter_tui.screens.run, dexter_tui.screens.compare;"
        "from dexter_tui.screens.picture import hires; from dexter_tui.images import _block_image;"
        f"hires({kind!r}); _block_image(); print('DONE')"
    )
    fake = FakeTerminal([sys.executable, "-c", script], kind=kind, env={"TMUX": "", "CI": ""})
    fake.wait_for(b"DONE", seconds=60)
    fake.wait()
    assert bytes(fake.output).strip() == b"DONE"
    assert fake.asked == []


def test_late_answers_press_no_key_in_the_dashboard_itself(tmp_path: Path) -> None:
    fake = FakeTerminal(
        [sys.executable, "-m", "dexter_tui"],
        kind="kitty",
        delay=0.9,
        env={"DEXTER_HOME": str(tmp_path), "CI": "", "TMUX": "", "LC_ALL": "C.UTF-8"},
    )
    fake.wait_for(b"no runs here yet", seconds=90)
    assert len(fake.asked) == 2
    fake.type(b"n")
    fake.wait_for(b"New runs", seconds=60)
    # The answers hold a question mark, which would have opened the help.
    assert b"All studies, newest first" not in fake.output
    fake.close()


def test_half_blocks_ask_the_terminal_nothing(tmp_path: Path) -> None:
    script = (
        "from PIL import Image; from dexter_tui.images import half_blocks;"
        "text = half_blocks(Image.new('RGB', (8, 8)), 4); print('DONE')"
    )
    fake = FakeTerminal([sys.executable, "-c", script], kind="sixel")
    fake.wait_for(b"DONE", seconds=60)
    fake.wait()
    assert bytes(fake.output).strip() == b"DONE"


@pytest.mark.parametrize(
    ("env", "utf8"),
    [
        ({"LANG": "C.UTF-8"}, True),
        ({"LANG": "de_DE.utf8"}, True),
        ({"LC_ALL": "C", "LANG": "C.UTF-8"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
    ],
)
def test_signs_beyond_ascii_need_utf8(env: dict[str, str], utf8: bool) -> None:
    assert terminal.speaks_utf8(env) is utf8


@pytest.mark.parametrize(
    ("env", "theme"),
    [
        ({"TERM": "xterm-256color"}, "dexter"),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "dexter"),
        ({"TERM": "linux"}, "ansi-dark"),
    ],
)
def test_a_terminal_with_few_colours_gets_a_theme_for_them(env: dict[str, str], theme: str) -> None:
    assert terminal.theme_for(env) == theme
