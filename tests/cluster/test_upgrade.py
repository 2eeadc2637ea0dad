"""An upgrade of the program and its store while workers of the older version write."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cluster_head import Head
from waiting import until

from dexter_tui.jobs import control
from dexter_tui.jobs.placement.files import VERSION
from store.database import HEAD
from store.locks import holder
from store.run_queue import runner_lock
from store.states import Outcome

REPOSITORY = Path(__file__).parents[2]
NEXT = f"{int(HEAD) + 1:04}"
MIGRATION = f"""
import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"


def upgrade():
    op.create_table("tomorrow", sa.Column("id", sa.Integer(), primary_key=True))
"""


def newer_program(folder: Path, version: int) -> Path:
    """Make a copy of the program with a newer store and journals of a version."""
    for name in ("dexter", "dexter_tui", "store", "sp_config"):
        shutil.copytree(
            REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    (folder / "checkpoints").symlink_to(REPOSITORY / "checkpoints")
    changes = {
        "store/database.py": (f'HEAD = "{HEAD}"', f'HEAD = "{NEXT}"'),
        "dexter_tui/jobs/placement/files.py": (f"VERSION = {VERSION}\n", f"VERSION = {version}\n"),
    }
    for name, (old, new) in changes.items():
        text = (folder / name).read_text()
        assert text.count(old) == 1
        (folder / name).write_text(text.replace(old, new))
    (folder / "store/migrations/versions" / f"{NEXT}_of_tomorrow.py").write_text(MIGRATION)
    return folder


@pytest.fixture
def upgrade(head: Head) -> Iterator[Callable[[int], None]]:
    """Kills the keeper and starts that of a newer program."""
    started = []

    def call(version: int) -> None:
        slot = control.keeper_slot(head.place_name)
        keeper = holder(runner_lock(head.store, slot))
        assert keeper is not None
        os.kill(keeper, 9)
        program = newer_program(head.folder / "newer", version)
        with (head.folder / "newer.log").open("wb") as log:
            command = [sys.executable, "-P", "-m", "dexter_tui.jobs.placement.keeper", slot]
            env = {**os.environ, "PYTHONPATH": str(program)}
            started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))

    yield call
    for process in started:
        process.kill()
        process.wait()


def revision(head: Head) -> str:
    with closing(sqlite3.connect(f"file:{head.store.path}?mode=ro", uri=True)) as connection:
        [found] = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(found)


def test_a_worker_of_the_older_version_continues_where_its_journal_is_the_same(
    head: Head, upgrade: Callable[[int], None]
) -> None:
    run_id = head.hold()
    upgrade(VERSION)
    until(lambda: revision(head) == NEXT)
    head.gate.open()
    until(lambda: head.outcomes(run_id) == [Outcome.FINISHED])
    assert head.is_undisturbed(run_id)


def test_a_worker_of_another_journal_is_refused_and_its_run_continues(
    head: Head, upgrade: Callable[[int], None]
) -> None:
    run_id = head.hold()
    recorded = head.store.run(run_id).steps_done
    upgrade(VERSION + 1)
    until(lambda: head.outcomes(run_id)[0] is Outcome.QUARANTINED)
    assert revision(head) == NEXT
    assert "of another version of dexter-tui" in (head.attempts(run_id)[0].reason or "")
    assert head.store.run(run_id).steps_done >= recorded  # what was taken stays
    head.gate.open()
    until(lambda: len(head.attempts(run_id)) == 2 and head.attempts(run_id)[1].outcome)
    assert head.outcomes(run_id) == [Outcome.QUARANTINED, Outcome.FINISHED]
    assert head.is_undisturbed(run_id)
