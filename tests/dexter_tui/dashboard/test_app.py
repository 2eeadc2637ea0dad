"""The dashboard as its user meets it: keys pressed, and what then stands on the screen."""

import json
import re
import shutil
import sqlite3
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import big_store
import pytest
import recorded
import shown_store
from piloting import SIZES, dashboard, driven, noticed, press, settle, text, until
from rich.text import Text
from shown_store import DONE, FAILED, LIVE, OTHER, QUEUED, STUDY
from textual import events
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widgets import TextArea

from dexter_tui.dashboard import actions, finish_watch, themes
from dexter_tui.dashboard.cells import TextLines, strip_of
from dexter_tui.dashboard.options import misspelt
from dexter_tui.dashboard.remembered import Remembered
from dexter_tui.dashboard.screens.compare import ComparisonsScreen
from dexter_tui.dashboard.screens.enlarged_picture import PictureScreen
from dexter_tui.dashboard.screens.form_screen import fuzzy
from dexter_tui.dashboard.screens.help import HelpScreen
from dexter_tui.dashboard.screens.home.reading import FIRST_RUNS
from dexter_tui.dashboard.screens.home.screen import HomeScreen
from dexter_tui.dashboard.screens.list_screen import ListScreen
from dexter_tui.dashboard.screens.new_run import NewRunScreen
from dexter_tui.dashboard.screens.run.screen import RunScreen
from dexter_tui.dashboard.screens.study import StudyScreen
from dexter_tui.dashboard.widgets.chart import Chart
from dexter_tui.dashboard.widgets.form import Form, Row
from dexter_tui.dashboard.widgets.gallery import Gallery
from dexter_tui.dashboard.widgets.log_view import LogView
from dexter_tui.dashboard.widgets.run_list import RunList
from store import State, Store, run_queue
from store.locks import FileLock
from store.reading import screenings
from store.reading.browse import Browse
from store.states import Kind
from store.upkeep import retention

TMUX = (80, 24)
WIDE = (120, 40)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store with something for every screen; one run is at work in this process."""
    path = shown_store.copy(tmp_path / "home")
    monkeypatch.setenv("DEXTER_HOME", str(path))
    monkeypatch.setenv("COLORTERM", "truecolor")
    with FileLock(path / "locks" / f"run-{LIVE}.lock", wait=False):
        yield path


def state(home: Path, run_id: str) -> State:
    with Store.open(home, read_only=True) as store:
        return store.run(run_id).state


async def go_to(pilot: Pilot[None], run_id: str) -> None:
    """Put the cursor of the list on a run."""
    runs = pilot.app.screen.query_one(RunList)
    key = pilot.app.browse.find(run_id)  # type: ignore[attr-defined]
    runs.move(runs.keys.index(key))
    await settle(pilot)


def listed(pilot: Pilot[None]) -> list[str]:
    """The runs in the list, in their order."""
    runs = pilot.app.screen.query_one(RunList)
    return [runs.rows[key].id for key in runs.keys if key > 0]


# Home


@driven
async def test_an_empty_store_offers_the_demo_with_one_key(tmp_path: Path) -> None:
    async with dashboard(tmp_path).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        shown = text(pilot)
        assert "d  run the demo" in shown
        assert "d Demo" in shown.splitlines()[-1]
        assert not (tmp_path / "store.sqlite").exists()  # looking makes nothing


@driven
async def test_a_store_with_a_screening_alone_begins_with_its_verdicts(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for spec in ("lab:birds-biased", "lab:birds-balanced"):
            store.ensure_classifier(spec, None, ["waterbird", "landbird"], 64)
    shown_store.screen(tmp_path)
    async with dashboard(tmp_path).run_test(notifications=True, size=(80, 24)) as pilot:
        await settle(pilot)
        shown = text(pilot)
        assert "relies on water (not part of waterbird): +0.42" in shown
        assert shown.index("birds-biased") < shown.index("relies on") < shown.index("birds-bal")
        await press(pilot, "i")
        assert shown_store.SCREENING in text(pilot)


@driven
async def test_keys_without_an_effect_are_not_in_the_key_bar(tmp_path: Path) -> None:
    async with dashboard(tmp_path).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        for key in "ci":
            await press(pilot, key)
            keys = text(pilot).splitlines()[-1]
            assert "n New" in keys and "esc Back" in keys
            assert not any(name in keys for name in ("Open", "Note", "Delete", "Search"))
            await press(pilot, "escape")
        with Store.open(tmp_path) as store:
            for spec in ("lab:birds-biased", "lab:birds-balanced"):
                store.ensure_classifier(spec, None, ["waterbird", "landbird"], 64)
        shown_store.screen(tmp_path)
        with closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection, connection:
            connection.execute("DELETE FROM finding")
        await press(pilot, "i")
        assert "1 of 2 relies on water" in text(pilot) and "nothing found" in text(pilot)
        await press(pilot, "escape")
        pilot.app.open_screening(shown_store.SCREENING)  # type: ignore[attr-defined]
        await settle(pilot)
        keys = text(pilot).splitlines()[-1]
        assert "Previous" in keys and "Next" in keys  # of two classifiers
        assert not any(name in keys for name in ("Pictures", "All", "Ask"))


@driven
async def test_a_running_screening_is_shown_before_waiting_and_cancelled_ones(
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path) as store:
        for spec in ("lab:birds-biased", "lab:birds-balanced"):
            store.ensure_classifier(spec, None, ["waterbird", "landbird"], 64)
    shown_store.screen(tmp_path)
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE screening SET state = 'waiting'")
    with Store.open(tmp_path) as store:
        newest, older = (one["id"] for one in screenings.listed(dashboard(tmp_path).browse))
        for one in (newest, older):
            job = run_queue.add_job(store, Kind.SCREENING, {}, screening_id=one)
            if one == newest:
                run_queue.set_state(store, job, State.CANCELLED)
            else:
                run_queue.claim(store, ids=[job])
        async with dashboard(tmp_path).run_test(notifications=True, size=WIDE) as pilot:
            await settle(pilot)
            assert f"screening {older}: " in text(pilot)
            await press(pilot, "i")
            assert " cancelled" in text(pilot) and "failed" not in text(pilot)
            await press(pilot, "enter")
            assert " cancelled" in text(pilot).splitlines()[1]
        states = [one["state"] for one in screenings.listed(dashboard(tmp_path).browse)]
        assert states == ["cancelled", "running"]


@driven
async def test_a_report_and_a_comparison_are_cancelled_from_their_pages(home: Path) -> None:
    compared = shown_store.compare(home)
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE comparison SET state = 'waiting'")
    with Store.open(home) as store:
        jobs = [
            run_queue.add_job(store, Kind.REPORT, {}, study_id=STUDY),
            run_queue.add_job(store, Kind.COMPARISON, {}, comparison_id=compared),
        ]

        def is_cancelled(job: str) -> bool:
            return store.job(job).state is State.CANCELLED

        async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
            await settle(pilot)
            for job, opened in zip(jobs, ("open_study", "open_comparison"), strict=True):
                getattr(pilot.app, opened)(STUDY if opened == "open_study" else compared)
                await until(pilot, lambda: "x Cancel" in text(pilot))
                await press(pilot, "x")
                await until(pilot, partial(is_cancelled, job))
                await until(pilot, lambda: "x Cancel" not in text(pilot))


@driven
async def test_effects_are_drawn_over_checkpoints_and_not_over_classifiers(home: Path) -> None:
    shown_store.screen(home)
    for screening, drawn in ((shown_store.WATCHED, True), (shown_store.SCREENING, False)):
        app = dashboard(home)
        async with app.run_test(notifications=True, size=WIDE) as pilot:
            app.open_screening(screening)
            await press(pilot, "2")
            shown = text(pilot)
            assert ("step-200.safetensors to step-600.safetensors" in shown) == drawn
            assert ("Checkpoints of a watched folder" in shown) != drawn


@driven
async def test_undecided_concepts_are_not_said_to_have_no_effect(home: Path) -> None:
    shown_store.screen(home)
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE finding SET verdict = 'open'")
    app = dashboard(home)
    async with app.run_test(notifications=True, size=TMUX) as pilot:
        app.open_screening(shown_store.SCREENING)
        await settle(pilot)
        assert "found no concept that raises or lowers the class; press f" in text(pilot)


@driven
async def test_the_first_runs_can_be_moved_among_at_once(tmp_path: Path) -> None:
    async with dashboard(tmp_path / "home").run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        shown_store.fill(tmp_path / "home")  # as another process does
        await until(pilot, lambda: DONE in text(pilot))
        await press(pilot, "down")
        assert pilot.app.screen.query_one(RunList).index == 1


@driven
async def test_home_shows_studies_runs_and_the_selected_run_as_it_stands(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, LIVE)
        await until(pilot, lambda: "classified as" in text(pilot))
        shown = text(pilot)
        for part in (
            "1 running", "1 queued", "1 failed",  # the counts
            "birds-balanced → waterbird",  # a study
            "25/60", "1:18",  # 35 steps of 2 s, and the pictures that follow
            "● running", "loss", "p(class)", "entropy",  # the selected run
            "best so far", "tried", "target", "search sample of", "step 25", "landbird",
            "84%", "71–92", "water, sea",  # a finished one in the list
            "out of memory: try",  # a failed one
        ):  # fmt: skip
            assert part in shown, part
        assert "▀" in shown


@driven
async def test_new_steps_appear_without_a_key(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, LIVE)
        with Store.open(home) as store:
            step = {"step": 26, "losses": {"total": 0.125}, "words": ["zebra", "sea"]}
            recorded.record_steps(store, LIVE, [step])
        await until(pilot, lambda: "26/60" in text(pilot) and "zebra" in text(pilot))
        assert "0.125" in text(pilot)


@driven
async def test_a_long_list_is_filtered_at_once_and_counted_when_one_stops_typing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big_store.make(tmp_path, 1200, steps=1)
    sizes = []
    show_keys = RunList.show_keys

    def watched(self: RunList, keys: "array[int]", order: str, *, reverse: bool) -> None:
        sizes.append(len(keys))
        show_keys(self, keys, order, reverse=reverse)

    monkeypatch.setattr(RunList, "show_keys", watched)
    app = dashboard(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await press(pilot, "/")
        await pilot.press(*"state:succeeded")
        await until(pilot, lambda: "1,137 of 1,200" in text(pilot))
        assert any(FIRST_RUNS < size < 2 * FIRST_RUNS for size in sizes)  # runs and studies
        await press(pilot, "enter", "G")
        assert "r0000102" in text(pilot)


@driven
async def test_a_filter_is_applied_as_one_types_and_its_mistakes_are_shown(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await press(pilot, "slash", *"score", "greater_than_sign", *"0.8")
        await until(pilot, lambda: "1 of 4" in text(pilot))
        assert DONE in text(pilot) and QUEUED not in text(pilot)
        assert not re.search(r"\bs Sort", text(pilot))  # one run
        await press(pilot, *"x")
        await until(pilot, lambda: "is not a number" in text(pilot))
        assert DONE in text(pilot)  # the last filter that made sense stays
        await press(pilot, "escape")
        await until(pilot, lambda: QUEUED in text(pilot))


@driven
async def test_the_list_can_be_sorted_and_turned_round(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, *["s"] * 6)
        assert "sorted by steps" in text(pilot)
        assert listed(pilot) == [DONE, LIVE, FAILED, QUEUED]
        await press(pilot, "S")
        assert "sorted by steps, reversed" in text(pilot)
        assert listed(pilot)[0] == QUEUED


@driven
async def test_long_lists_are_read_where_they_are_looked_at(tmp_path: Path) -> None:
    big_store.make(tmp_path, 600, steps=1)
    async with dashboard(tmp_path).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        assert "600 runs, grouped by study" in text(pilot)
        await press(pilot, "end")
        runs = pilot.app.screen.query_one(RunList)
        assert runs.index == 799  # 600 runs, 200 studies
        assert len(runs.rows) < 300
        assert "r0000103" in text(pilot) and "Run r0000103" in text(pilot)
        await press(pilot, "pageup", "home")
        assert "s0000200" in text(pilot)


# Run


@driven
async def test_all_pages_of_a_run_follow_one_cursor(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "enter")
        run = pilot.app.screen
        assert isinstance(run, RunScreen)
        assert "step 40 of 1–40" in text(pilot)
        await press(pilot, "shift+left", "left", "left")
        shown = text(pilot)
        assert "step 28 of 1–40" in shown
        assert "search sample of step 25" in shown  # the last one before
        assert "0.66" in shown  # p(class) there
        await press(pilot, "2")
        shown = text(pilot)
        assert "tried" in shown and "step 28" in shown
        assert re.search(r"^│ water .* 0\.70 ", shown, re.M)  # 28 / 40
        assert re.search(r"^│ sea .* 0\.90 ", shown, re.M)
        await press(pilot, "3")
        tile = run.query_one(Gallery).selected
        assert tile is not None and tile.step == 25
        await press(pilot, "left")  # another tile moves the cursor
        assert run.cursor.at == 20
        await press(pilot, "1", "plus")
        assert "of 11–30" in text(pilot)
        await press(pilot, "0", "end")
        assert "step 40 of 1–40" in text(pilot)
        legend = pilot.app.screen.query_one("#legend", TextLines)
        assert not legend.display
        await press(pilot, "o", "m")
        await until(pilot, lambda: "seed 1" in text(pilot).splitlines()[2])
        assert "smoothing 0.6" in text(pilot)
        assert legend.display


@driven
async def test_a_run_at_work_is_followed_until_the_cursor_is_moved(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, LIVE)
        await press(pilot, "enter")
        run = pilot.app.screen
        assert isinstance(run, RunScreen)
        assert "live" in text(pilot) and run.cursor.at == 25
        step = {"losses": {"total": 0.1}, "words": ["a", "b"], "target_probability": 0.5}
        with Store.open(home) as store:
            recorded.record_steps(store, LIVE, [{**step, "step": 26}])
            await until(pilot, lambda: run.cursor.at == 26)
            await press(pilot, "left")
            recorded.record_steps(store, LIVE, [{**step, "step": 27}])
            await until(pilot, lambda: run.cursor.numbers[-1] == 27)
            assert run.cursor.at == 25
            # With what its slot does, where that says more than its steps.
            run_queue.set_activity(store, "cpu-1", LIVE, "starting worker", device="cpu")
            run_queue.set_activity(store, "cpu-0", LIVE, "scoring the best prompt", device="cpu")
            await until(pilot, lambda: "scoring the best prompt" in text(pilot).splitlines()[0])
            run_queue.set_activity(store, "cpu-0", LIVE, None)
            await until(pilot, lambda: "best prompt" not in text(pilot).splitlines()[0])
            assert "starting" not in text(pilot).splitlines()[0]
            # An enlarged part of the charts moves with the cursor that follows.
            await press(pilot, "end", *["plus"] * 3)
            assert run.cursor.axis == (24, 31, 27)
            more = [{**step, "step": number} for number in range(28, 41)]
            recorded.record_steps(store, LIVE, more)
            await until(pilot, lambda: run.cursor.at == 40)
            assert run.cursor.axis == (33, 40, 40)


@driven
async def test_a_logarithmic_scale_leaves_losses_below_0_to_be_seen(home: Path) -> None:
    with Store.open(home) as store:
        step = {"words": ["a", "b"], "best_words": ["a", "b"]}
        rows = [
            {
                **step,
                "step": k,
                "losses": {"total": 100.0 / k},
                "best_loss": 3.0 - k,
                "entropy": 3 / k,
            }
            for k in range(1, 26)
        ]
        recorded.record_steps(store, LIVE, rows)
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, LIVE)
        await press(pilot, "enter")

        def curves() -> dict[str, list[str]]:
            return {
                re.sub(r"\[.*?\]", "", str(chart.border_title)): [
                    chart.line(y).text for y in range(chart.size.height)
                ]
                for chart in pilot.app.screen.query(Chart)
            }

        before = curves()
        assert [title.split()[0] for title in before] == ["p(class)", "loss", "entropy"]
        await press(pilot, "g")
        after = curves()
        assert after["entropy"] != before["entropy"]
        [loss] = [title for title in before if title.startswith("loss")]
        assert after[loss] == before[loss]  # the best loss is below 0, and shares the chart


@driven
async def test_a_finished_run_can_be_replayed(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "enter", "home", "less_than_sign", "less_than_sign", "space")
        run = pilot.app.screen
        assert isinstance(run, RunScreen)
        assert "replay 1/s" in text(pilot)
        assert run.cursor.at < 40
        await press(pilot, *["greater_than_sign"] * 6)
        await until(pilot, lambda: run.cursor.at == 40)
        assert "replay" not in text(pilot).splitlines()[1]


@driven
async def test_prompts_settings_and_log_of_a_run(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "enter", "4")
        assert re.search(r"1 +0.100 +16 +water, sea   a picture of a bird with", text(pilot))
        assert re.search(r"✓ water .*●.* \+2.40 \(\+1.90 to \+2.90\) +40", text(pilot))
        assert re.search(r"  frog .*●.* \+0.20 \(-0.40 to \+0.80\) +40", text(pilot))
        await press(pilot, "5")
        assert re.search(r"\* template +a picture of a bird", text(pilot))  # it differs
        await press(pilot, "6")
        assert "step 39: loss 0.1250" in text(pilot)
        await press(pilot, "f")
        assert "Warnings and errors, 1 of 41 lines" in text(pilot)
        assert "[warning] the checkpoint belongs" in text(pilot)
        await press(pilot, "f", "f")
        log = pilot.app.screen.query_one(LogView)
        assert log.search_lines()[1].endswith("step 0: loss 5.0000")
        log.go_to_line(1)
        await until(pilot, lambda: "step 0: loss 5.0000" in text(pilot))


@driven
async def test_words_that_tell_nothing_are_shown_as_such(home: Path) -> None:
    nothing = {"gain": 0.0, "low": 0.0, "high": 0.0, "pictures": 16}
    with Store.open(home) as store:
        recorded.update_run(store, DONE, word_gains=[{"word": "sea", **nothing}])
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "enter", "4")
        assert re.search(r"  sea .*\+0.00 \(\+0.00 to \+0.00\) +16", text(pilot))


@driven
async def test_answers_are_worded_as_what_they_are(home: Path) -> None:
    """Labels may be present together, and a search may lower the class."""
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE study SET settings = json_set(settings, '$.multi_label', 1)")
        connection.execute("UPDATE run SET config = json_set(config, '$.direction', 'lower')")
        connection.execute("UPDATE frame SET predicted_class = 1, hit = 1")
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await until(pilot, lambda: "classified as not" in text(pilot))
        await press(pilot, "enter", "3")
        assert "Results of seed 0: 8 of 8 not classified as the class" in text(pilot)
        run = pilot.app.screen
        assert isinstance(run, RunScreen)
        results = [frame.target_probability for frame in run.frames if frame.kind == "frame"]
        assert results[0] == min(results)


@driven
async def test_one_picture_can_be_enlarged_and_turned(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "enter", "3")
        run = pilot.app.screen
        shown = text(pilot)
        assert "Results of seed 0: 8 of 8 classified as the class" in shown
        assert "Result ─" in shown and "mean p(class)" not in shown  # one p(class) at a time
        await press(pilot, "enter")
        assert isinstance(pilot.app.screen, PictureScreen)
        assert "1 of 16" in text(pilot)
        assert text(pilot).count("▀") > 20
        await press(pilot, "right")
        assert "2 of 16" in text(pilot) and "Previous" in text(pilot)
        await press(pilot, "escape")
        assert run.query_one(Gallery).index == 1
        await press(pilot, *["down"] * 3)
        assert "mean p(class)" in text(pilot)  # of the step of a search sample
        [frame, *_] = run.query_one(Gallery).frames
        pilot.app.push_screen(PictureScreen([frame], 0, (), lambda frame: None))
        await until(pilot, lambda: "1 of 1" in text(pilot))
        assert not re.search("Previous|Next", text(pilot))  # nothing to turn to
        await press(pilot, "escape")
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, HomeScreen)


# Study


@driven
async def test_a_study_shows_its_claims_with_their_evidence(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "enter", "s", "2")
        assert isinstance(pilot.app.screen, StudyScreen)
        shown = text(pilot)
        assert re.search(r"1 water .*\+0\.41 +<0\.001 +✓ confirmed \(bias\)", shown)
        assert re.search(r"2 feather .*confirmed \(core\)", shown)
        assert re.search(r"3 tree .*✗ refuted", shown)
        assert "inconclusive, not drawn" in shown
        assert (
            "left out: p(class) is already 0.97 without the word" in shown
        )  # the evidence of the first
        await press(pilot, "down", "down")
        assert "3. tree lowers the probability of the class" in text(pilot)
        await press(pilot, "down")
        assert "inconclusive, not drawn" in text(pilot)
        await press(pilot, "3")
        assert re.search(r"2 +a duck on water", text(pilot))
        await press(pilot, "4")
        assert "+0.32 [+0.21, +0.43]" in text(pilot)
        await press(pilot, "5")
        assert "It takes water for a waterbird (claim 1)." in text(pilot)


@driven
async def test_a_report_under_way_is_shown_where_there_is_no_report_yet(home: Path) -> None:
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.executemany(
            "INSERT INTO stage (study_id, name, done, total, state, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [
                (OTHER, "captions", 12, 12, "done", shown_store.TIME),
                (OTHER, "claims", 1681, 1792, "running", shown_store.TIME),
                (OTHER, "report", 0, 0, "waiting", shown_store.TIME),
            ],
        )
        connection.execute(
            "INSERT INTO job (id, kind, state, study_id, priority, wish, request, depends_on, "
            "created_at, attempt, progress, fruitless, steps_done, done, total, notes) "
            "VALUES ('jreport2', 'report', 'running', ?, 0, 'auto', '{}', '[]', "
            "?, 1, 0, 0, 0, 0, 0, '[]')",
            (OTHER, shown_store.TIME),
        )
    lock = FileLock(home / "locks" / "job-jreport2.lock", wait=False)
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        assert "report: claims 1681/1792" in text(pilot)  # in the list
        await go_to(pilot, LIVE)
        await press(pilot, "enter", "s")
        for page in "245":
            await press(pilot, page)
            shown = text(pilot)
            assert "The report is running; it continues if you close this window." in shown, shown
            assert shown.count("1681/1792") == 2, page  # in the line of pages, too
            assert "No claims have been tested yet" not in shown
        # The time left is that of the job, whose total includes what later stages have to do.
        with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
            connection.execute("UPDATE stage SET done = 1691 WHERE state = 'running'")
            connection.execute("UPDATE job SET done = 1691, total = 10000000 WHERE id = 'jreport2'")
        hours = r"claims\s+1691/1792, about \d+:\d\d:\d\d left in all"
        await until(pilot, lambda: re.search(hours, text(pilot)) is not None)
        lock.release()  # as when its process is killed
        await until(pilot, lambda: "The report did not finish." in text(pilot))
        assert "its process ended unexpectedly" in text(pilot)


# Doing


@driven
async def test_cancelling_asks_first(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, QUEUED)
        await press(pilot, "x")
        assert "Cancel this run?" in text(pilot)
        await press(pilot, "n")
        assert state(home, QUEUED) is State.QUEUED
        await press(pilot, "x", "y")
        await until(pilot, lambda: state(home, QUEUED) is State.CANCELLED)


@driven
async def test_runs_are_paused_and_cancelled_by_marks(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, LIVE)
        await press(pilot, "space", "space", "p")
        await until(pilot, lambda: state(home, LIVE) is State.PAUSING)
        await until(pilot, lambda: state(home, QUEUED) is State.PAUSED)
        await press(pilot, "x", "y")
        await until(pilot, lambda: state(home, LIVE) is State.CANCELLING)
        await until(pilot, lambda: state(home, QUEUED) is State.CANCELLED)


@driven
async def test_what_cannot_be_done_is_explained(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "R")
        await until(pilot, lambda: "no selected run is in" in text(pilot))


@driven
async def test_tags_are_given_shown_and_taken_away(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "t", *"keep", "enter")
        await until(pilot, lambda: "#keep" in text(pilot))
        await press(pilot, "t", *"keep", "enter")
        await until(pilot, lambda: "#keep" not in text(pilot))


@driven
async def test_marks_are_counted_where_a_filter_hides_them(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "space", "slash", *"state:queued", "enter")
        assert listed(pilot) == [QUEUED] and "Runs, 1 marked" in text(pilot)
        await press(pilot, "escape")
        assert "Runs ─" in text(pilot) and listed(pilot) == [QUEUED]


@driven
async def test_the_details_show_a_whole_error(home: Path) -> None:
    error = "the device ran out of memory at step 12: 23.1 of 24.0 GB are in use; pass --batch 2"
    with closing(sqlite3.connect(home / "store.sqlite")) as store, store:
        store.execute("UPDATE run SET error = ? WHERE id = ?", (error, FAILED))
    async with dashboard(home).run_test(size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, FAILED)
        assert "pass --batch 2" in text(pilot)


@driven
async def test_a_note_is_written_shown_and_taken_away(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "N", *"ask", "enter", *"Bo", "ctrl+s")
        await until(pilot, lambda: pilot.app.browse.note(DONE) == "ask\nBo")  # type: ignore[attr-defined]
        await press(pilot, "enter", "5")
        await until(pilot, lambda: "ask; Bo" in text(pilot))
        await press(pilot, "N", "ctrl+a", "x", "escape")
        assert "esc again discards" in text(pilot)
        await press(pilot, "escape")  # which keeps it as it was
        assert pilot.app.browse.note(DONE) == "ask\nBo"  # type: ignore[attr-defined]
        await press(pilot, "s", "N", *"on the study", "ctrl+s")
        await until(pilot, lambda: pilot.app.browse.note(STUDY))  # type: ignore[attr-defined]
        await press(pilot, "N")
        long = "ab" * 50_001
        pilot.app.screen.query_one(TextArea).text = long
        await press(pilot, "ctrl+s")
        await until(pilot, lambda: noticed(pilot, "the note has 100,002 characters"))
        await until(pilot, lambda: bool(pilot.app.screen.query(TextArea)))
        assert pilot.app.screen.query_one(TextArea).text == long  # which is not lost
        await press(pilot, "escape")
        assert "esc again discards" in text(pilot)


@driven
async def test_a_note_that_was_changed_elsewhere_is_not_lost(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "N", *"mine")
        with Store.open(home) as store:  # as another dashboard would
            retention.set_note(store, DONE, "theirs 👨‍👩‍👧")
        await press(pilot, "ctrl+s")
        await until(pilot, lambda: noticed(pilot, f"the note on {DONE} was changed elsewhere"))
        await until(pilot, lambda: bool(pilot.app.screen.query(TextArea)))
        assert pilot.app.browse.note(DONE) == "theirs 👨‍👩‍👧"  # type: ignore[attr-defined]
        await press(pilot, "ctrl+s")
        both = "mine\n\ntheirs 👨‍👩‍👧"
        await until(pilot, lambda: pilot.app.browse.note(DONE) == both)  # type: ignore[attr-defined]


@driven
async def test_archived_runs_leave_the_list_and_come_back(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "a")
        await until(pilot, lambda: "3 of 4 runs, grouped by study" in text(pilot))
        assert DONE not in listed(pilot)
        await press(pilot, "slash", *"tag", "colon", *"archived", "enter")
        await until(pilot, lambda: listed(pilot) == [DONE])
        await press(pilot, "down", "a", "escape")
        await until(pilot, lambda: DONE in listed(pilot) and len(listed(pilot)) == 4)


@driven
async def test_deleting_asks_twice_and_leaves_what_is_at_work(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, LIVE)
        await press(pilot, "D")
        await until(pilot, lambda: noticed(pilot, f"run {LIVE} is running; cancel it first"))
        await go_to(pilot, DONE)
        await press(pilot, "space", "space", "D")  # it and the failed one below: the whole study
        await until(pilot, lambda: f"{DONE}, {FAILED}: 2 runs, 1 study" in text(pilot))
        await press(pilot, "y", *"3", "enter")
        await until(pilot, lambda: noticed(pilot, "nothing was deleted"))
        await press(pilot, "D")
        await until(pilot, lambda: "Delete?" in text(pilot))
        await press(pilot, "y", *"2", "enter")
        await until(pilot, lambda: listed(pilot) == [LIVE, QUEUED])
    with Store.open(home, read_only=True) as store:
        assert [study.id for study in store.studies()] == [OTHER]


@driven
async def test_a_mark_ends_with_its_run(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, FAILED)
        await press(pilot, "space", "D")
        await until(pilot, lambda: "Delete?" in text(pilot))
        await press(pilot, "y", "1", "enter")
        await until(pilot, lambda: FAILED not in listed(pilot))
        await go_to(pilot, QUEUED)
        await press(pilot, "t")
        assert "Tag for the run" in text(pilot)  # the one at the cursor


@driven
async def test_a_new_run_is_not_taken_for_a_deleted_one(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, QUEUED)
        await press(pilot, "space", "i")  # the list is not read while another screen is shown
        with Store.open(home) as store:  # as another dashboard would
            config = store.run(DONE).config
            retention.delete(store, retention.doomed(store, [QUEUED]))
            [new] = store.add_runs(STUDY, [(7, config)])
        await press(pilot, "escape")
        assert listed(pilot)[-1] == new  # below its own study
        assert "marked" not in text(pilot)


@driven
async def test_a_report_is_exported_to_the_current_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "e")
        assert "Export" in text(pilot) and "FILE.zip" in text(pilot)
        await press(pilot, "enter")
        await until(pilot, lambda: "written:" in text(pilot))
        await press(pilot, "e", "ctrl+u", *"x.pdf", "enter")
        await until(pilot, lambda: noticed(pilot, "cannot export as .pdf"))
        await press(pilot, "e", "ctrl+u", *"~nobody-here/x.md", "enter")
        await until(pilot, lambda: noticed(pilot, "~nobody-here/x.md: no such user"))
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        await press(pilot, "e")
        assert f"{Path.home()}/report-{DONE}.md" in text(pilot)
        await press(pilot, "escape", "n")
        assert "your files" in text(pilot) and "this folder" not in text(pilot)
    assert "waterbird" in (tmp_path / f"report-{DONE}.md").read_text()
    assert not (tmp_path / "x.pdf").exists()


@driven
async def test_read_only_offers_nothing_that_changes(home: Path) -> None:
    async with dashboard(home, read_only=True).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        bar = text(pilot).splitlines()[-1]
        assert "Cancel" not in bar and "New" not in bar and "Filter" in bar
        assert "read-only" in text(pilot)
        await go_to(pilot, QUEUED)
        await press(pilot, "x", "n", "p", "t")
        assert isinstance(pilot.app.screen, HomeScreen)
        assert state(home, QUEUED) is State.QUEUED


def test_a_line_in_one_style_has_it() -> None:
    [segment, *_] = strip_of(Text("Evidence", style="bold"), 20)
    assert segment.style is not None and segment.style.bold


# The form


@driven
async def test_the_form_checks_completes_and_estimates(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "n", "f4")
        form = pilot.app.screen.query_one(Form)
        assert "classifier *" in text(pilot)
        await press(pilot, *"bias")
        await until(pilot, lambda: "lab:birds-biased" in text(pilot))
        await press(pilot, "tab")  # completes
        assert form["classifier"].value == "lab:birds-biased" and form.here.name == "classifier"
        await press(pilot, "tab")  # goes to the next
        assert form["classifier"].value == "lab:birds-biased"
        await until(pilot, lambda: "waterbird" in text(pilot))
        await press(pilot, *"landb")
        await until(pilot, lambda: "tab landbird" in text(pilot))
        await press(pilot, "tab", "tab")
        assert form["class_name"].value == "landbird"
        await until(pilot, lambda: "start 3 runs, up to" in text(pilot))
        await press(pilot, "backspace", "9")
        await until(pilot, lambda: "9 runs" in text(pilot))
        form.go_to("steps")
        await press(pilot, *"many")
        await until(pilot, lambda: form["steps"].error)
        assert "'many' is not a whole number" in text(pilot)
        assert "To start, correct “steps”" in text(pilot)
        await press(pilot, "ctrl+u", *"7")
        await until(pilot, lambda: "preset: 24" in text(pilot))
        form.go_to("stop")
        await press(pilot, "right", "right")
        assert form["stop"].value == "hits"
        await press(pilot, "f3")  # only what differs
        assert "temperature" not in text(pilot) and "stop" in text(pilot)
        await press(pilot, "escape")
        assert "Discard what you wrote?" in text(pilot)
        await press(pilot, "n")
        assert form["stop"].value == "hits" and form.is_on_screen
        await press(pilot, "escape", "y")
        assert isinstance(pilot.app.screen, HomeScreen)


@driven
async def test_a_number_of_thousands_of_digits_is_refused(home: Path) -> None:
    def says(row: Row, line: str) -> bool:
        return line in row.error

    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        for opened in ("open_new_run", "open_new_comparison"):
            getattr(pilot.app, opened)(*[()] * (opened == "open_new_comparison"))
            await settle(pilot)
            form = pilot.app.screen.query_one(Form)
            form.go_to("seeds")
            form.put("9" * 5000)
            await press(pilot, "ctrl+s")
            await until(pilot, partial(says, form["seeds"], "must be 1 to 1000"))
            assert text(pilot).count("9" * 40) < 10  # the other settings stay in view


@driven
async def test_a_refused_start_is_shown_at_its_setting_and_not_over_it(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await press(pilot, "n", "f4", "ctrl+s")
        form = pilot.app.screen.query_one(Form)
        await until(pilot, lambda: form["classifier"].error == "is required")
        assert "To start, fill in “classifier”" in text(pilot)
        await press(pilot, *"lab:birds-biased", "down", *"goose", "down", "down", "ctrl+s")
        await until(pilot, lambda: "none of the 3 classes" in form["class_name"].error)
        assert form.here.name == "class_name" and "To start, correct “class name”" in text(pilot)
        assert not noticed(pilot, "goose") and not noticed(pilot, "is required")


@driven
async def test_a_run_starts_again_from_its_settings(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "enter", "n")
        assert isinstance(pilot.app.screen, NewRunScreen)
        form = pilot.app.screen.query_one(Form)
        assert form["classifier"].value == "lab:birds-biased"
        assert form["steps"].value == "60"
        assert form["batch"].value == ""  # as the preset has it


@driven
async def test_a_setting_is_edited_like_any_text_field(home: Path) -> None:
    async with dashboard(home).run_test(size=TMUX) as pilot:
        await settle(pilot)
        await press(pilot, "n", "f4")
        form = pilot.app.screen.query_one(Form)
        form.go_to("suffix")
        await press(pilot, *"abc", "shift+left", "shift+left", "x")  # replaces the selection
        assert form["suffix"].value == "ax"
        await press(pilot, "ctrl+z")
        assert form["suffix"].value == "abc"
        await press(pilot, "ctrl+u")
        pilot.app.post_message(events.Paste("日本\n海 \x1b[1m"))
        await until(pilot, lambda: form["suffix"].value == "日本 海 �[1m")
        await press(pilot, "home", "right", "delete", "!")
        assert form["suffix"].value == "日! 海 �[1m"
        assert "日! 海 �[1m" in text(pilot)
        form.go_to("stop")
        await press(pilot, "h", "right", "backspace")
        assert form["stop"].value == ""  # the value of the preset
        form.go_to("suffix")
        assert "日! 海" in text(pilot)


@driven
async def test_keys_of_a_form_act_in_the_order_typed(home: Path) -> None:
    async with dashboard(home).run_test(size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "n", "f4")
        form = pilot.app.screen.query_one(Form)
        form.go_to("seeds")
        await settle(pilot)
        for key in ("5", "down", "d", "up", "up", *"duck", "up", *"bias", "tab", "tab", "9"):
            pilot.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await until(pilot, lambda: form["class_name"].value == "duck9")
        assert form["seeds"].value == "35"
        assert form["preset"].value == "default"
        assert form["classifier"].value == "lab:birds-biased"


@driven
async def test_an_error_is_shown_whole_below_its_setting(home: Path) -> None:
    async with dashboard(home).run_test(size=TMUX) as pilot:
        await settle(pilot)
        await press(pilot, "n", "f4", *"lab:birds-biased", "down", *"0")
        form = pilot.app.screen.query_one(Form)
        form.go_to("pseudo_target")
        form.put("none")
        await until(pilot, lambda: form["pseudo_target"].error)
        shown = [line.strip("│ ▁▂▃▄▅▆▇") for line in text(pilot).splitlines()]
        assert form["pseudo_target"].error in " ".join(shown)
        for length in range(70, 78):  # where a line ends, and the scroll bar stands
            form.here.error = f"{'e' * length};"
            form.update_rows()
            await settle(pilot)
            assert text(pilot).count(";") == 1


def test_fuzzy_search_ranks_the_nearest_first() -> None:
    known = ["lab:birds-balanced", "lab:birds-biased", "lab:objects"]
    assert fuzzy("bias", known)[0] == "lab:birds-biased"
    assert fuzzy("lbbi", known)[:2] == ["lab:birds-biased", "lab:birds-balanced"]
    assert fuzzy("objcts", known)[0] == "lab:objects"
    assert fuzzy("", known) == known
    assert fuzzy("zzz", known) == []


# Keys


def test_the_reference_of_keys_is_the_registrys() -> None:
    path = Path(__file__).parents[3] / "docs" / "keys.md"
    assert path.read_text() == actions.reference(), (
        "python -m dexter_tui.dashboard.actions > docs/keys.md"
    )


@pytest.mark.parametrize("place", actions.PLACES)
def test_a_place_has_each_key_once(place: str) -> None:
    keys = [key for action in actions.of(place) for key in action.keys.split(",")]
    assert keys
    assert len(keys) == len(set(keys))


@driven
async def test_help_shows_the_keys_of_the_screen_and_the_focused_widget(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "question_mark")
        assert isinstance(pilot.app.screen, HelpScreen)
        assert "Open the selected run or study." in text(pilot)
        await press(pilot, "pagedown")
        assert "List of runs" in text(pilot)
        await press(pilot, "escape")
        await go_to(pilot, DONE)
        await press(pilot, "enter", "question_mark")
        assert "Play the run from the cursor" in text(pilot)


@driven
async def test_the_palette_finds_actions(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "ctrl+p", *"revers")
        await until(pilot, lambda: "Reverse the order." in text(pilot))
        await press(pilot, "enter")
        await until(pilot, lambda: "grouped by study, reversed" in text(pilot))
        await press(pilot, "ctrl+p")
        await until(pilot, lambda: re.search(r"Reverse +S\n", text(pilot)))
        lines = [line.strip() for line in text(pilot).splitlines()]
        assert lines.index("Reverse   S") < lines.index("Open   enter")  # the latest first
        pilot.app.push_screen(StudyScreen(STUDY))  # as work does that ends meanwhile
        await settle(pilot)
        await press(pilot, "ctrl+p")
        assert isinstance(pilot.app.screen, CommandPalette)


@driven
async def test_jump_mode_goes_to_a_panel(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "slash", "ctrl+o")
        assert " s " in text(pilot)
        await press(pilot, "s")
        assert isinstance(pilot.app.screen.focused, RunList)


@driven
async def test_other_keys_can_be_given(home: Path) -> None:
    async with dashboard(home, keys={"home.cancel": "f9"}).run_test(
        notifications=True, size=WIDE
    ) as pilot:
        await settle(pilot)
        await go_to(pilot, QUEUED)
        await press(pilot, "x")
        assert isinstance(pilot.app.screen, HomeScreen)
        await press(pilot, "f9")
        assert "Cancel this run?" in text(pilot)


@driven
async def test_a_click_selects_and_the_key_bar_can_be_clicked(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await pilot.click(RunList, offset=(10, 6))
        await settle(pilot)
        runs = pilot.app.screen.query_one(RunList)
        assert runs.index == 4
        await pilot.click("KeyBar", offset=(3, 0))
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))


@driven
async def test_a_double_click_opens_a_run_of_a_study(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        pilot.app.open_study(STUDY)  # type: ignore[attr-defined]
        await settle(pilot)
        await pilot.click("#study-runs", offset=(10, 3), times=2)
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        assert FAILED in text(pilot)


# Looks


@pytest.mark.parametrize("theme", themes.ORDER)
@driven
async def test_every_theme_draws_every_screen(home: Path, theme: str) -> None:
    async with dashboard(home, theme=theme).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "enter", "2", "s", "2")
        assert "confirmed" in text(pilot)
        await press(pilot, "f2", "down" if theme != themes.ORDER[-1] else "up")
        chosen = pilot.app.theme
        assert chosen != theme  # shown before it is taken
        await press(pilot, "escape")
        assert pilot.app.theme == theme


@driven
async def test_ascii_shows_nothing_else(home: Path) -> None:
    async with dashboard(home, ascii=True).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        screens = (
            (), ("enter",), ("2",), ("3",), ("s",), ("2",), ("question_mark",),
            ("escape", "ctrl+p"), ("escape", "f2"), ("escape", "escape", "escape", "n"),
            ("f4",), ("escape", "colon"),
        )  # fmt: skip
        for keys in screens:
            await press(pilot, *keys)
            assert text(pilot).isascii(), re.findall(r"[^\x00-\x7f]", text(pilot))


@driven
async def test_pictures_can_be_turned_off(home: Path) -> None:
    async with dashboard(home, images="off").run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        assert "▀" not in text(pilot)
        await press(pilot, "enter", "3")
        assert "▀" not in text(pilot)


@driven
async def test_with_low_bandwidth_previews_come_on_a_key_alone(home: Path) -> None:
    async with dashboard(home, low_bandwidth=True).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        assert "▀" not in text(pilot)
        assert "press v to load" in text(pilot)
        await press(pilot, "v")
        assert "▀" in text(pilot)


@driven
async def test_demo_devices_say_that_they_are_invented(home: Path) -> None:
    async with dashboard(home, demo_devices=2).run_test(notifications=True, size=WIDE) as pilot:
        await until(pilot, lambda: "demo GPU1" in text(pilot))


# What goes wrong


HOSTILE = "sea\x1b[2J\x07[bold red]x[/] \u202eevil\u202c " + "w" * 10_000


@pytest.mark.parametrize(
    "size", [SIZES[0], *(pytest.param(size, marks=pytest.mark.long) for size in SIZES[1:])]
)
@driven
async def test_hostile_strings_are_shown_as_they_are(home: Path, size: tuple[int, int]) -> None:
    words = json.dumps([HOSTILE, "שלום", "<script>"])
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE classifier SET spec = ?, labels = ?", (HOSTILE, words))
        connection.execute("UPDATE study SET class_name = ?", (HOSTILE,))
        connection.execute("UPDATE run SET words = ?, prompt = ?", (words, HOSTILE))
        connection.execute("UPDATE run SET error = ? WHERE state = 'failed'", (HOSTILE,))
        connection.execute("UPDATE run SET config = '{}'")
        connection.execute("UPDATE step SET words = ?, best_words = ?", (words, words))
        connection.execute("UPDATE prompt SET words = ?, text = ?", (words, HOSTILE))
        connection.execute("UPDATE frame SET prompt = ?, predicted_class = 99", (HOSTILE,))
        connection.execute("UPDATE claim SET concept = ?", (HOSTILE,))
        connection.execute("UPDATE caption SET text = ?", (HOSTILE,))
        connection.execute("UPDATE report SET markdown = ?", (HOSTILE,))
        connection.execute("INSERT INTO tag (run_id, name) VALUES (?, ?)", (DONE, HOSTILE))
        connection.execute(
            "INSERT INTO note (of, text, updated_at) VALUES (?, ?, ?)",
            (DONE, f"{HOSTILE}\n{HOSTILE}", shown_store.TIME),
        )
    (home / "runs" / DONE / "log").write_bytes(HOSTILE.encode() + b"\xff\xfe\n" * 50)
    async with dashboard(home).run_test(notifications=True, size=size) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        pages = [("enter",), *((key,) for key in "23456"), ("s",), *((key,) for key in "23456")]
        for keys in ((), *pages):
            await press(pilot, *keys)
            shown = text(pilot)
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown), keys
            assert len(shown.splitlines()) == size[1]
        await press(pilot, "question_mark", "escape", "escape", "escape")
        assert "[bold red]" in text(pilot)
        await press(pilot, "N")
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text(pilot))
        assert len(text(pilot).splitlines()) == size[1]
    assert not (home / "dashboard.log").exists()  # nothing went wrong on the way


@driven
async def test_any_size_is_survived(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        for keys in ((), ("end", "up", "enter"), ("2",), ("3",), ("s",), ("2",)):
            await press(pilot, *keys)
            for size in ((1, 1), (20, 3), (300, 100), WIDE):
                await pilot.resize_terminal(*size)
                await settle(pilot)
        assert "confirmed" in text(pilot)


@driven
async def test_a_picture_is_made_once_however_many_lines_wait_for_it(home: Path) -> None:
    app = dashboard(home)
    made: list[tuple[str, int]] = []
    render = app.pictures.render

    def counted(sha256: str, columns: int) -> list[Strip]:
        made.append((sha256, columns))
        return render(sha256, columns)

    app.pictures.render = counted  # type: ignore[method-assign]
    async with app.run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await press(pilot, "enter", "3", "right", "left")
    assert len(made) > 6
    assert len(made) == len(set(made))


@driven
async def test_missing_and_damaged_pictures_are_reported_in_their_place(home: Path) -> None:
    for number, path in enumerate(sorted((home / "artifacts" / "sha256").glob("*/*"))):
        if number % 2:
            path.write_bytes(b"no picture")
        else:
            path.unlink()
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE frame SET prompt = ''")
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, DONE)
        await until(pilot, lambda: "no picture:" in text(pilot))
        await press(pilot, "enter", "3", "enter")
        assert isinstance(pilot.app.screen, PictureScreen)


@driven
async def test_a_damaged_store_is_reported_and_does_not_end_the_dashboard(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        for path in home.glob("store.sqlite*"):
            path.unlink()
        (home / "store.sqlite").write_bytes(b"not a database, " * 1000)
        await until(
            pilot,
            lambda: noticed(pilot, "damaged or not a store"),
        )
        assert isinstance(pilot.app.screen, HomeScreen)
        await press(pilot, *"NxptaDec")
        assert isinstance(pilot.app.screen, ComparisonsScreen)


@driven
async def test_a_lost_run_is_shown_as_lost(tmp_path: Path) -> None:
    home = shown_store.fill(tmp_path / "home")  # nobody holds the lock of the run at work
    async with dashboard(home, read_only=True).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await go_to(pilot, LIVE)
        assert "its process ended unexpectedly" in text(pilot)
    assert state(home, LIVE) is State.RUNNING  # looking changes nothing


@driven
async def test_a_study_that_was_removed_is_left(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        pilot.app.push_screen(StudyScreen("sgone0001"))
        await until(pilot, lambda: "was deleted" in text(pilot))
        assert isinstance(pilot.app.screen, HomeScreen)
        assert STUDY in text(pilot)


@pytest.mark.parametrize("make", [shown_store.compare, shown_store.screen])
@driven
async def test_what_another_dashboard_deletes_is_left(
    home: Path, make: Callable[[Path], object]
) -> None:
    make(home)
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "c" if make is shown_store.compare else "i", "enter")
        names = [shown_store.COMPARISON, shown_store.SCREENING, shown_store.WATCHED]
        name = next(name for name in names if name in text(pilot))
        file = home / "store.sqlite"
        file.rename(home / "moved")
        await until(pilot, lambda: noticed(pilot, "was moved or removed: put it back"))
        await settle(pilot)
        (home / "moved").rename(file)
        assert name in text(pilot) and not isinstance(pilot.app.screen, ListScreen)
        with Store.open(home) as store:
            retention.delete(store, retention.doomed(store, [name]))
        await until(pilot, lambda: noticed(pilot, f"{name} was deleted"))
        await until(pilot, lambda: isinstance(pilot.app.screen, ListScreen))


@driven
async def test_a_home_that_is_deleted_is_reported_and_not_made_again(home: Path) -> None:
    app = dashboard(home, keep_seconds=0.1)
    async with app.run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        shutil.rmtree(home)
        await until(pilot, lambda: noticed(pilot, "was moved or removed"))
        await until(pilot, lambda: not listed(pilot))
        await press(pilot, "d")
        await until(pilot, lambda: noticed(pilot, "store.sqlite: was moved or removed"))
        await press(pilot, "f12")
        await until(pilot, lambda: noticed(pilot, "the screenshot cannot be saved"))
    assert not home.exists()


# Devices and notices


@driven
async def test_eight_devices_have_a_line_each_at_80_columns(home: Path) -> None:
    async with dashboard(home, demo_devices=8).run_test(size=TMUX) as pilot:
        await settle(pilot)
        await press(pilot, "m")
        await until(pilot, lambda: "GPU7" in text(pilot))
        lines = [line for line in text(pilot).splitlines() if "GPU" in line and "°C" in line]
        assert len(lines) == 8 and all(" W " in line and "%" in line for line in lines)
        assert "simulated" in text(pilot)
        await press(pilot, "m")
        assert isinstance(pilot.app.screen, HomeScreen)


@driven
async def test_the_end_of_a_run_is_told_and_starts_the_users_command(
    home: Path, tmp_path: Path
) -> None:
    hook = f"""sh -c 'echo $DEXTER_ID $DEXTER_STATE >> "{tmp_path}/ended"'"""
    app = dashboard(home, on_finish=hook, notify=("bell", "osc9"))
    async with app.run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await until(pilot, lambda: app._finish_watch._unfinished is not None)
        await go_to(pilot, QUEUED)
        await press(pilot, "x", "y")
        await until(pilot, lambda: noticed(pilot, f"{QUEUED} cancelled"))
        await until(pilot, (tmp_path / "ended").exists)
        await until(pilot, (tmp_path / "ended").read_text)
    assert (tmp_path / "ended").read_text() == f"{QUEUED} cancelled\n"


def test_among_very_many_runs_only_those_that_ended_are_reported(tmp_path: Path) -> None:
    big_store.make(tmp_path, finish_watch._MOST + 10, steps=1)

    def put(state: str, which: str = "") -> None:
        with closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection, connection:
            connection.execute(f"UPDATE run SET state = '{state}' {which}")

    first = "WHERE id = 'r0000101'"
    put("queued")
    put("failed", first)
    watch = finish_watch.FinishWatch(Browse(tmp_path))
    assert watch.ended() == []
    put("queued", first)  # pushes another one out of the watched ones
    assert watch.ended() == []
    put("succeeded", first)
    assert watch.ended() == [("r0000101", "succeeded")]


def test_the_users_command_runs_a_few_times_at_once(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = f"""until [ -e '{gate}' ]; do sleep 0.05; done; touch '{tmp_path}/'$DEXTER_ID"""
    hooks = finish_watch.Hooks(f'sh -c "{waits}"')
    hooks.add([(f"r{k}", "succeeded") for k in range(10)])
    hooks.start()
    hooks.start()
    assert len(hooks._running) == finish_watch.MOST_HOOKS
    gate.touch()
    while len(list(tmp_path.glob("r*"))) < 10:
        hooks.start()
        hooks._running[0].wait()
    hooks = finish_watch.Hooks("no-such-command")
    hooks.add([("r0", "failed")])
    with pytest.raises(OSError, match="no-such-command"):
        hooks.start()


def test_notices_are_short_and_harmless() -> None:
    ended = [(f"r{k}", "succeeded" if k else "failed") for k in range(5)]
    assert finish_watch.sentence(ended) == "5 runs and jobs ended: 1 failed, 4 succeeded"
    assert finish_watch.signals(["bell"], "x") == "\a"
    assert finish_watch.signals(["osc9"], "a\x1b;b") == "\x1b]9;dexter-tui: a�,b\x1b\\"


@driven
async def test_a_misspelt_key_name_is_told(home: Path) -> None:
    keys = {"home.cancle": "ctrl+x"}
    settings = {"arch": "vit", "keys": keys, "dashbord": {}, "run": {"sedes": 1}}
    lines = misspelt({**settings, "dashboard": {"colour": "red", "theme": "dexter"}})
    assert lines == [
        "config.toml: arch belongs below the line [run]",
        "config.toml, [keys]: home.cancle is no action; did you mean home.cancel?",
        "config.toml: [dashbord] is no table of dexter-tui; did you mean dashboard?",
        "config.toml, [run]: sedes is no setting; did you mean seed?",
        "config.toml, [dashboard]: colour is no setting; choose from theme, notify, on_finish",
    ]
    async with dashboard(home, misspelt=tuple(lines)).run_test(size=WIDE) as pilot:
        await settle(pilot)
        assert all(noticed(pilot, line) for line in lines)


@driven
async def test_a_small_terminal_shows_the_list_and_another_theme_all_its_colours(
    home: Path,
) -> None:
    async with dashboard(home).run_test(size=(60, 15)) as pilot:
        await settle(pilot)
        shown = text(pilot)
        assert all(run in shown for run in (LIVE, QUEUED, DONE, FAILED))
        await press(pilot, "f2", "down", "enter")
        assert Remembered(home).theme == pilot.app.theme == "dexter-light"
        palette = themes.palette(pilot.app.current_theme)
        strip = pilot.app.screen.query_one("#title", TextLines).line(0)
        assert strip._segments[1].style is not None
        colours = {s.style.color.name for s in strip if s.style and s.style.color}
        assert palette.primary in colours
