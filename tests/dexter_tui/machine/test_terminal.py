"""The questions to the terminal, and that no answer is taken for a key press, however late."""

import json
import re
import sys
from pathlib import Path

import pytest
import shown_store
from fake_terminal import FakeTerminal

from dexter_tui.machine import terminal

# Both scripts take the patience of the probe and what is wanted of it, and end at a tilde.

# As the dashboard does it: first the probe, then Textual; every key that arrives is noted.
_SCRIPT = """
import functools, json, sys
from dexter_tui.machine import terminal
terminal.ask = functools.partial(terminal.ask, limit=float(sys.argv[1]))
kind = terminal.probe(sys.argv[2])
from textual.app import App
from textual.widgets import Label
from dexter_tui.dashboard.screens.enlarged_picture import hires

class Noting(App):
    keys = []
    def on_key(self, event):
        if event.character == "~":
            self.exit()
        else:
            self.keys.append(event.key)
    def compose(self):
        picture = hires(kind)
        self.found = type(picture).__module__ if picture is not None else None
        yield Label("LISTENING")

app = Noting()
app.run()
print("NOTED" + json.dumps({"kind": kind, "keys": app.keys, "widget": app.found}) + "END")
"""


# The probe alone, and what can be read of the terminal behind it: that would be keys.
_PROBE = """
import functools, json, os, sys, tty
from dexter_tui.machine import terminal
terminal.ask = functools.partial(terminal.ask, limit=float(sys.argv[1]))
kind = terminal.probe(sys.argv[2])
tty.setcbreak(0)
print("LISTENING", flush=True)
left = b""
while not left.endswith(b"~"):
    left += os.read(0, 4096)
print("NOTED" + json.dumps({"kind": kind, "left": left[:-1].decode("latin-1")}) + "END")
"""
FOUND = {"silent": "blocks", "plain": "blocks", "sixel": "sixel", "kitty": "kitty"}
QUESTIONS = {"silent": 0, "plain": 1, "sixel": 1, "kitty": 2}  # of those that it answers
DELAYS = (0.0, 0.15, 0.3, 0.9)


def start(script: str, kind: str, delay: float, wanted: str = "auto") -> FakeTerminal:
    """A script in a terminal of this kind, behind a line this slow."""
    # A terminal that answers does so at last, however busy the machine.
    patience = "0.2" if kind == "silent" else "300"
    return FakeTerminal(
        [sys.executable, "-c", script, patience, wanted],
        kind=kind,
        delay=delay,
        env={"CI": "", "TMUX": "", "COLORTERM": "truecolor"},
    )


def noted(fake: FakeTerminal) -> dict[str, object]:
    """The findings of the script; what it read before the tilde are answers."""
    fake.wait_for(b"LISTENING")
    fake.answered()
    fake.type(b"~")
    fake.wait_for(b"NOTED.*END")
    fake.wait()
    found: dict[str, object] = json.loads(
        bytes(fake.output).partition(b"NOTED")[2].partition(b"END")[0]
    )
    return found


def test_every_kind_of_terminal_is_recognised_however_slow_the_line() -> None:
    assert max(DELAYS) < terminal.LIMIT_SECONDS
    fakes = {
        (kind, delay): start(_PROBE, kind, delay)
        for kind in FOUND
        for delay in (DELAYS if QUESTIONS[kind] else DELAYS[:1])
    }
    for (kind, delay), fake in fakes.items():
        assert noted(fake) == {"kind": FOUND[kind], "left": ""}, (kind, delay)
        assert len(fake.asked) == QUESTIONS[kind], (kind, delay)


@pytest.mark.parametrize(
    ("kind", "delay"),
    [
        ("plain", 0.15),
        ("sixel", 0.0),
        ("sixel", 0.3),
        ("kitty", 0.0),
        ("kitty", 0.9),
        ("silent", 0.0),
    ],
)
def test_no_answer_is_taken_for_a_key(kind: str, delay: float) -> None:
    fake = start(_SCRIPT, kind, delay)
    result = noted(fake)
    assert (result["kind"], result["keys"]) == (FOUND[kind], [])
    assert len(fake.asked) == QUESTIONS[kind]


@pytest.mark.parametrize("wanted", ["blocks", "off"])
def test_nothing_is_asked_where_it_would_not_matter(wanted: str) -> None:
    fake = start(_SCRIPT, "kitty", 0.0, wanted)
    assert noted(fake) == {"kind": "blocks", "keys": [], "widget": None}
    assert fake.asked == []


@pytest.mark.parametrize("kind", ["kitty", "sixel"])
def test_no_byte_is_written_by_importing_what_shows_pictures(kind: str) -> None:
    script = (
        "import dexter_tui.dashboard.app, dexter_tui.dashboard.screens.run.screen\n"
        "import dexter_tui.dashboard.screens.compare\n"
        "from dexter_tui.dashboard.screens.enlarged_picture import hires\n"
        "from dexter_tui.machine.terminal_images import _block_image\n"
        f"hires({kind!r}); _block_image(); print('DONE')"
    )
    fake = FakeTerminal([sys.executable, "-c", script], kind=kind, env={"TMUX": "", "CI": ""})
    fake.wait_for(b"DONE")
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
    fake.wait_for(b"This store has no runs yet")
    assert len(fake.asked) == 2
    fake.type(b"n")
    fake.wait_for(b"Which model")
    # The answers hold a question mark, which would have opened the help.
    assert b"All studies, newest first" not in fake.output
    fake.close()


def test_no_colour_is_sent_where_none_is_wanted(tmp_path: Path) -> None:
    shown_store.fill(tmp_path)
    fake = FakeTerminal(
        # What waits in this store would be started else, and change under the keys.
        [sys.executable, "-m", "dexter_tui", "--read-only"],
        env={"DEXTER_HOME": str(tmp_path), "NO_COLOR": "1", "CI": "", "LC_ALL": "C.UTF-8"},
    )
    for keys, shown in (
        (b"", b"Study sbal0"), (b"j", b"classified as"), (b"\r", b"Charts"), (b"3", b"Search sam"),
        (b"\x10", b"earch for"), (b"\x1b", b"Search sam"), (b"?", b"Play the run"),
        (b"\x1b", b"Search sam"),
    ):  # fmt: skip
        since = len(fake.output)
        fake.type(keys)
        fake.wait_for(shown, since=since)
    fake.close()
    codes = {
        code
        for sequence in re.findall(rb"\x1b\[([\d;:]*)m", fake.output)
        for code in re.split(rb"[;:]", sequence)
    }
    colours = {*range(30, 39), *range(40, 49), *range(90, 98), *range(100, 108)}
    assert not {int(code or 0) for code in codes} & colours
    assert b"1" in codes  # what matters is bold instead


def test_half_blocks_ask_the_terminal_nothing(tmp_path: Path) -> None:
    script = (
        "from PIL import Image; from dexter_tui.machine.terminal_images import half_blocks;"
        "text = half_blocks(Image.new('RGB', (8, 8)), 4); print('DONE')"
    )
    fake = FakeTerminal([sys.executable, "-c", script], kind="sixel")
    fake.wait_for(b"DONE")
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
