"""A home from elsewhere, with links to files that are not its own and pipes that nobody serves."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import recorded

from dexter_tui.dashboard.widgets.log_view import tail
from store import Store
from store.artifacts import open_log
from store.journal.run_journal import Fault, Journal
from store.locks import FileLock, holder, is_locked, try_lock

PRECIOUS = "not of this home\n"
ENTRY = {"kind": "step", "step": 1}


def append(path: Path) -> None:
    journal = Journal(path.parent)
    assert journal.path == path
    journal.append([ENTRY])


OPENED: list[tuple[str, Callable[[Path], object]]] = [
    ("run.lock", try_lock),
    ("run.lock", lambda path: FileLock(path, wait=True)),
    ("run.lock", is_locked),
    ("run.lock", holder),
    ("journal.jsonl", append),
    ("log", open_log),
]


@pytest.mark.parametrize(("name", "touch"), OPENED)
@pytest.mark.parametrize("planted", ["link", "pipe"])
def test_what_is_no_file_of_the_home_is_neither_written_nor_waited_for(
    name: str, touch: Callable[[Path], object], planted: str, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text(PRECIOUS)
    path = tmp_path / name
    path.symlink_to(precious) if planted == "link" else os.mkfifo(path)
    with pytest.raises(OSError, match="a link or not a plain file: remove it"):
        touch(path)
    assert precious.read_text() == PRECIOUS
    assert tail(path) == []


def test_the_tail_of_a_log_ends_with_its_last_line_however_long(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("first\n" + "x" * 20_000 + "end\n")
    [line] = tail(log, 40)
    assert line.startswith("x") and len(line) == 4_000
    log.write_text("first\n" + "x" * 20_000 + "\nend\n")
    assert tail(log, 40) == ["end"]


def test_a_command_names_it_and_a_journal_is_written_again(
    home: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text(PRECIOUS)
    with Store.open(home) as store:
        classifier = store.ensure_classifier("lab:birds", None, ["a", "b"], 64)
        run = recorded.add_run(store, store.ensure_study(classifier, "a", 0, {}), 0, {})
        recorded.claim(store)
        recorded.record_steps(store, run, [{"step": 1, "losses": {}, "words": ["sea"]}])
        journal = Journal(store.run_folder(run))
    journal.path.unlink()
    journal.path.symlink_to(precious)
    assert journal.inspect().fault is Fault.MISSING
    assert "journal" in cli("doctor").out
    lock = home / "locks" / f"run-{run}.lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(precious)
    for command in ("runs", "status", "doctor"):
        outcome = cli(command)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert f"{lock}: a link or not a plain file: remove it" in outcome.err
    assert precious.read_text() == PRECIOUS
