"""Dashboards as processes on terminals of their own: two at once on a home; a closed window."""

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import shown_store
from fake_terminal import FakeTerminal
from waiting import until

from dexter_tui.jobs import control
from store import Store, run_queue
from store.upkeep import health, retention


class Terminal:
    """A dashboard in a tmux server of its own."""

    def __init__(self, folder: Path, home: Path, name: str) -> None:
        self._tmux = ["tmux", "-S", str(folder / name), "-f", "/dev/null"]
        env = {**os.environ, "DEXTER_HOME": str(home), "TERM": "xterm-256color"}
        command = [sys.executable, "-m", "dexter_tui", "--images", "off"]
        self._run("new-session", "-d", "-x", "120", "-y", "40", *command, env=env)

    def _run(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments], env=env, capture_output=True, text=True, check=True
        )
        return done.stdout

    def shows(self, text: str) -> bool:
        return text in self._run("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_two_dashboards_on_one_home_show_each_other_s_changes(tmp_path: Path) -> None:
    home = shown_store.copy(tmp_path / "home")
    with Store.open(home) as store:
        run_queue.reconcile(store)
        for work in run_queue.left(store):  # nothing to start a runner for
            control.cancel(store, work.id)
    terminals = [Terminal(tmp_path, home, name) for name in ("one", "two")]
    try:
        for terminal in terminals:
            until(partial(terminal.shows, "4 runs, grouped by study"))
        terminals[0].press("a")  # archives what the cursor is on
        for terminal in terminals:
            until(partial(terminal.shows, " of 4 runs, grouped by study"))
        with Store.open(home) as store:
            assert retention.archived(store)
            kinds = [trouble.kind for trouble in health.examine(store)]
            assert not {"damaged", "dead run", "lock"} & {*kinds}
    finally:
        for terminal in terminals:
            terminal.close()


@pytest.mark.parametrize("deaf", [False, True])
def test_it_ends_with_its_window_even_if_it_ignores_the_hang_up(tmp_path: Path, deaf: bool) -> None:
    ignore = "trap '' HUP; " if deaf else ""
    command = f"{ignore}exec {sys.executable} -m dexter_tui"
    home = {"DEXTER_HOME": str(tmp_path / "home")}
    terminal = FakeTerminal(["sh", "-c", command], env=home)
    terminal.wait_for(b"Palette")
    assert terminal.hang_up() == -signal.SIGHUP
