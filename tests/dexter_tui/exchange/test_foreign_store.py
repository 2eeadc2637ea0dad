"""A store from elsewhere, with any content in its cells: what is sound is shown, the rest named.

`make fuzz` runs the property with 2,000 examples, the tests with 100.
"""

import contextlib
import io
import json
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import foreign_store
import pytest
import shown_store
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from outside import Homes, fuzzed, show_everything, taken
from piloting import dashboard, driven, press, text, until

from dexter_tui.cli.entry import main
from store import Store, run_queue
from store.checking import decoding
from store.reading import queries
from store.tables import Job

ALWAYS = (["runs"], ["runs", "--json"], ["status"], ["status", "--json"], ["compare"],
          ["compare", "--json"], ["queue", "list"], ["queue", "list", "--json"],
          ["screen"], ["screen", "--json"], ["slices"], ["debias", "--json"], ["whatif"],
          ["explain-bias", "--json"])  # fmt: skip
"""Views that work with any damage."""
OF_ONE = (
    *(["show", name, *more] for name in (shown_store.DONE, shown_store.LIVE, shown_store.STUDY,
                                         shown_store.OTHER) for more in ((), ("--json",))),
    ["compare", shown_store.COMPARISON],
    ["compare", shown_store.COMPARISON, "--json"],
    *(["query", f"SELECT * FROM {name}"] for name in queries.VIEWS),
    ["cancel", shown_store.QUEUED], ["pause", shown_store.LIVE], ["queue", "clear"],
    ["note", shown_store.DONE],
    *(["screen", name, *more] for name in (shown_store.SCREENING, shown_store.WATCHED)
      for more in ((), ("--json",))),
    *([kind, name, *more] for kind, name in (("slices", shown_store.SLICES),
                                             ("debias", shown_store.DEBIASED),
                                             ("whatif", shown_store.WHATIF),
                                             ("explain-bias", shown_store.BIAS))
      for more in ((), ("--json",))),
    ["export", shown_store.STUDY, shown_store.COMPARISON, "-o", "a.md"],
    ["export", shown_store.SCREENING, shown_store.SLICES, shown_store.DEBIASED, "-o", "a.md"],
    ["export", shown_store.WHATIF, shown_store.BIAS, "-o", "a.md"],
)  # fmt: skip
"""Views of an item, which may be damaged itself."""
PARTS = 4
"""The parts of the examples over stores, which are slow: for several processes."""
SLOW = (["export", shown_store.STUDY, shown_store.COMPARISON, "-o", "a.html"],
        ["export", shown_store.STUDY, shown_store.COMPARISON, "-o", "a.zip"])  # fmt: skip
"""Exports with plots."""


def command(home: Path, arguments: list[str]) -> tuple[int, str, str]:
    """Run a command line here; return its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    given_ = [str(home / one) if one.startswith("a.") else one for one in arguments]
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setenv("DEXTER_HOME", str(home))
        code = main(given_)
    return code, out.getvalue(), err.getvalue()


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_any_store(part: int) -> None:
    """A share of the examples, each with its own."""
    assert settings.default is not None
    share = settings(fuzzed, max_examples=settings.default.max_examples // PARTS)
    seed(part)(share(given(st.data())(_any_store)))()


def _any_store(data: st.DataObject) -> None:
    with Homes() as homes:
        home = foreign_store.copied(homes.folder / "home")
        wanted = data.draw(st.lists(foreign_store.changes(), min_size=1, max_size=3))
        foreign_store.apply(home, wanted)
        for views in (ALWAYS, OF_ONE):
            arguments = data.draw(st.sampled_from(views))
            code, out, err = command(home, arguments)
            assert code in ((0,) if views is ALWAYS else (0, 2)), err
            assert all(line.startswith("dexter-tui: ") for line in err.splitlines()), err
            if "--json" in arguments and code == 0:
                json.loads(out, parse_constant=pytest.fail)
            out.encode()
            if arguments == ["runs"]:
                hurt = {change.row for change in wanted}
                for run in sound_runs(home, wanted):
                    assert run in out, (run, hurt)
        if data.draw(st.integers(1, 5)) == 1:
            taken(lambda: show_everything(home, exports=False))
        decoding.take_found()


def sound_runs(home: Path, wanted: list[foreign_store.Change]) -> list[str]:
    """The runs of which nothing was changed."""
    if any(change.table in ("study", "classifier", "tag") for change in wanted):
        return []
    with closing(sqlite3.connect(home / "store.sqlite")) as connection:
        rows = connection.execute("SELECT rowid, id FROM run").fetchall()
    hurt = {change.row for change in wanted if change.table == "run"}
    return [name for row, name in rows if row not in hurt]


DAMAGE = (
    f"UPDATE run SET words = '[5]' WHERE id = '{shown_store.DONE}'",
    f"UPDATE run SET config = 'NaN', score_low = 'x' WHERE id = '{shown_store.QUEUED}'",
    "UPDATE step SET losses = '{\"total\": \"\\ud800\"}' WHERE step = 3",
    "UPDATE frame SET predicted_class = 'x', target_probability = 9e999 WHERE step = 5",
    "UPDATE claim SET effect = 'x' WHERE number = 2",
    "UPDATE evidence SET seeds = '5'",
    "UPDATE report SET body = '{}'",
    "UPDATE member SET config = '[]' WHERE position = 1",
    "UPDATE difference SET p = 'x' WHERE concept = 'water'",
    "UPDATE attribution SET word = x'00ff'",
    "UPDATE score SET value = 'x'",
    "UPDATE caption SET text = CAST(x'ff41' AS TEXT)",
    "UPDATE job SET notes = '[5]', error = '[]', depends_on = 'x', request = '5'",
    "UPDATE slot SET note = x'00', pid = 'x'",
)  # fmt: skip


def damaged(home: Path) -> Path:
    foreign_store.copied(home)
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        for statement in DAMAGE:
            connection.execute(statement)
    return home


@pytest.mark.long
def test_damage_is_a_line_each_and_the_rest_is_shown(tmp_path: Path) -> None:
    home = damaged(tmp_path / "home")
    code, out, err = command(home, ["show", shown_store.DONE])
    assert (code, "damaged run rdone0001: run.words: '5' is not a text" in out) == (0, True)
    code, out, err = command(home, ["show", shown_store.STUDY])
    assert code == 0
    assert "water" in out and "tree" in out and "feather" not in out
    assert "damaged claim 2: claim.effect: 'x' is not a number" in err
    assert len([line for line in err.splitlines() if "damaged run rdone0001" in line]) == 1
    code, out, err = command(home, ["show", shown_store.DONE, "--json"])
    steps = [step["step"] for step in json.loads(out)["history"]]
    assert steps == [1, 2, *range(4, 41)]
    for arguments in (*ALWAYS, *OF_ONE, *SLOW):
        code, out, err = command(home, list(arguments))
        assert code in ((0, 2) if arguments[0] == "query" else (0,)), (arguments, err)
        assert all(line.startswith("dexter-tui: ") for line in err.splitlines()), err
    taken(lambda: show_everything(home, exports=False))  # views of SQL may be refused
    decoding.take_found()


@pytest.mark.parametrize("position", [0, 1])
def test_a_comparison_is_shown_without_a_damaged_member(tmp_path: Path, position: int) -> None:
    home = foreign_store.copied(tmp_path / "home")
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute(
            "UPDATE member SET classifier_id = x'5b' WHERE id = "
            "(SELECT id FROM member ORDER BY id LIMIT 1 OFFSET ?)",
            (position,),
        )
        connection.execute("UPDATE comparison SET drawn = CAST('null' AS BLOB)")
    for more in ([], ["--json"]):
        code, out, err = command(home, ["compare", shown_store.COMPARISON, *more])
        assert code == 0, err
        assert shown_store.COMPARISON in out
    for name in ("a.md", "a.html"):
        code, _, err = command(home, ["export", shown_store.COMPARISON, "-o", name])
        assert code == 0, err
        [line] = err.splitlines()
        assert "damaged comparison" in line and "comparison.drawn" in line


def test_a_frame_without_its_picture_s_row_is_named_in_an_export(tmp_path: Path) -> None:
    home = foreign_store.copied(tmp_path / "home")
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("DELETE FROM artifact")
    code, _, err = command(home, ["export", shown_store.STUDY, "-o", "a.zip"])
    assert (code, err.count("\n")) == (2, 1)
    assert "of a run is not in the store" in err
    assert not (home / "a.zip").exists()


def _shows(pilot: Any, name: str) -> bool:
    return name in text(pilot)


@driven
async def test_the_dashboard_shows_a_damaged_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = damaged(tmp_path / "home")
    monkeypatch.setenv("DEXTER_HOME", str(home))
    async with dashboard(home).run_test(notifications=True, size=(140, 40)) as pilot:
        await until(pilot, lambda: shown_store.DONE in text(pilot))
        await until(pilot, lambda: "damaged" in text(pilot))
        for name, opened in (
            (shown_store.DONE, "open_run"),
            (shown_store.QUEUED, "open_run"),
            (shown_store.STUDY, "open_study"),
            (shown_store.COMPARISON, "open_comparison"),
        ):
            getattr(pilot.app, opened)(name)
            await until(pilot, partial(_shows, pilot, name))
            for page in "123456":
                await press(pilot, page)
            await press(pilot, "escape")
        assert not (home / "dashboard.log").exists()
    decoding.take_found()


def test_work_of_a_run_whose_study_is_missing_is_left_alone(tmp_path: Path) -> None:
    home = foreign_store.copied(tmp_path / "home")
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE study SET id = 'no' || id")
    for arguments in ALWAYS:
        assert command(home, arguments)[0] == 0
    with Store.open(home) as store:
        assert run_queue.reconcile(store) == []
        claimed = run_queue.claim(store)
        assert claimed is None or isinstance(claimed, Job)
    assert "rows refer to missing rows" in command(home, ["doctor"])[1]
