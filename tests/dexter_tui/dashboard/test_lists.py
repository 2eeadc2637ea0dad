"""Lists: their columns, order, saved filters and search."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import shown_store
from piloting import dashboard, driven, noticed, press, settle, text, until
from rich.cells import cell_len
from shown_store import DONE, FAILED, LIVE, QUEUED
from textual.pilot import Pilot

from dexter_tui.dashboard.remembered import FILE
from dexter_tui.dashboard.screens.data_reports.page import DataReportScreen
from dexter_tui.dashboard.screens.data_reports.strip import PictureStrip
from dexter_tui.dashboard.screens.enlarged_picture import PairsScreen
from dexter_tui.dashboard.screens.home.screen import HomeScreen
from dexter_tui.dashboard.screens.list_screen import ItemList
from dexter_tui.dashboard.screens.query import SqlArea
from dexter_tui.dashboard.screens.screening.questions import Asked, QuestionList
from dexter_tui.dashboard.widgets.effect_list import EffectList
from dexter_tui.dashboard.widgets.gallery import Gallery
from dexter_tui.dashboard.widgets.run_list import RunList
from store import Store, run_queue, screening_records
from store.data_reports import records as data_records
from store.locks import FileLock
from store.reading import queries
from store.states import EXPLAINING, Kind
from store.upkeep import retention

TMUX = (80, 24)
WIDE = (120, 40)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = shown_store.copy(tmp_path / "home")
    monkeypatch.setenv("COLORTERM", "truecolor")
    with FileLock(path / "locks" / f"run-{LIVE}.lock", wait=False):
        yield path


def listed(pilot: Pilot[None]) -> list[str]:
    runs = pilot.app.screen.query_one(RunList)
    return [runs.rows[key].id for key in runs.keys if key > 0]


def heading(pilot: Pilot[None]) -> str:
    return pilot.app.screen.query_one(RunList).line(0).text


async def click_title(pilot: Pilot[None], title: str) -> None:
    x = heading(pilot).index(title)
    await pilot.click(RunList, offset=(x + 2, 1))
    await settle(pilot)


@driven
async def test_columns_order_and_filters_are_chosen_and_remembered(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        assert all(name in heading(pilot) for name in ("time", "loss", "created (", "words"))
        assert "water +0.41  2 of 4 claims confirmed" in text(pilot)
        row = next(line for line in text(pilot).splitlines() if DONE in line)
        assert "84% 71–92" in row and "1:33" in row and "2026-03-01" in row and "▁" in row
        await click_title(pilot, "progress or score")
        assert "sorted by score" in text(pilot) and listed(pilot)[0] == DONE
        await click_title(pilot, "progress or score")
        assert "sorted by score, reversed" in text(pilot) and "▴progress" in heading(pilot)
        # Sorted by score, the loss and the seed are hidden, and the id is wider.
        await press(pilot, "C", "right", "right", "down", "down", "down", "space")
        await press(pilot, "down", "down")
        assert "Sort" in text(pilot).splitlines()[-1]
        await press(pilot, "down")
        assert "Sort" not in text(pilot).splitlines()[-1]  # there is no order by the loss
        await press(pilot, "enter", "escape")
        assert "loss" not in heading(pilot) and "seed" not in heading(pilot)
        assert "run         classifier" in heading(pilot)
        await press(pilot, "slash", *"state", "colon", *"failed", "enter", "f", "s", *"bad ones")
        await press(pilot, "enter", "escape", "escape")
        assert len(listed(pilot)) == 4
    assert json.loads((home / FILE).read_text())["filters"] == {"bad ones": "state:failed"}
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        assert "sorted by score, reversed" in text(pilot) and "loss" not in heading(pilot)
        await press(pilot, "f", "enter")
        assert listed(pilot) == [FAILED]
        await press(pilot, "escape", "ctrl+p", *"bad ones")
        await until(pilot, lambda: "Filter: bad ones" in text(pilot))
        await press(pilot, "enter")
        await until(pilot, lambda: listed(pilot) == [FAILED])
        await press(pilot, "f", "D", "escape", "C", "r", "escape")
        assert "loss" in heading(pilot)
    assert json.loads((home / FILE).read_text())["filters"] == {}


@pytest.mark.parametrize("there", ["[", f'{{"theme": "{"x" * 2**20}"}}'], ids=["torn", "large"])
@driven
async def test_what_cannot_be_remembered_is_reported(home: Path, there: str) -> None:
    (home / FILE).write_text(there)
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        assert any("cannot be read" in notice.message for notice in pilot.app._notifications)
        assert "grouped by study" in text(pilot)
        (home / FILE).write_text('{"columns": {"hidden": 7, "widths": {"run": -1}}, "sort": [1]}')
        await press(pilot, "s")
    assert json.loads((home / FILE).read_text())["sort"] == {"by": "created", "reverse": False}


@driven
async def test_a_read_only_dashboard_writes_nothing(home: Path) -> None:
    async with dashboard(home, read_only=True).run_test(size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "s")
        assert "sorted by created" in text(pilot)
        await press(pilot, "f2", "down", "enter")
        await until(pilot, lambda: noticed(pilot, "theme dexter-light until this dashboard ends"))
    assert not (home / FILE).exists()


@driven
async def test_a_theme_that_cannot_be_saved_lasts_until_the_dashboard_ends(home: Path) -> None:
    (home / FILE).mkdir()
    async with dashboard(home).run_test(size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "f2", "down", "enter", "f2", "enter")  # nor at the second choice
        await until(pilot, lambda: noticed(pilot, "until this dashboard ends"))
        assert noticed(pilot, f"{FILE} cannot be written") and not noticed(pilot, "remembered")
        await press(pilot, "s", "s", "s")
        lines = [notice.message for notice in pilot.app._notifications]
        assert sum("cannot be written" in line for line in lines) == 1  # not at every change


@driven
async def test_every_list_and_text_is_searched_with_the_same_keys(home: Path) -> None:
    shown_store.compare(home)
    shown_store.screen(home)
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)

        async def search(found: str, times: int, *words: str) -> None:
            """Search, and go on to the last match."""
            await press(pilot, "slash", *words, "enter", *["n"] * (times - 1))
            assert f"{times} of {times}" in text(pilot) and found in text(pilot)

        await press(pilot, "i")
        await search(shown_store.WATCHED, 2, *"BIRD")
        assert "n Next" in text(pilot)
        await press(pilot, "n", "N", "slash", "ctrl+u", *"xy")
        assert "no match for xy" in text(pilot)
        await press(pilot, "enter")
        assert "no match for xy" in text(pilot) and "n Next" not in text(pilot)
        await press(pilot, "escape")
        assert "no match" not in text(pilot) and "Audits and screenings" in text(pilot)
        await press(pilot, "N")  # the key of the screen, again
        assert "Note on" in text(pilot)
        await press(pilot, "escape", "escape", "c", "enter")
        await search("tree", 1, *"tre")
        await press(pilot, "escape", "escape", "escape", *["down"] * 4, "enter", "5")
        await search("lab:birds-biased", 1, *"biased")
        await press(pilot, "6")
        await search("step 39", 11, *"step 3")
        await press(pilot, "s", "2")
        await search("3. tree lowers", 1, *"tree")
        await press(pilot, "5")
        await search("It takes water", 1, *"takes")


@driven
async def test_the_schema_beside_a_query_scrolls_to_its_end(home: Path) -> None:
    last = list(queries.schema(home / "store.sqlite").values())[-1][-1]
    async with dashboard(home).run_test(size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "colon")
        pilot.app.screen.query_one("#query-schema").focus()
        await press(pilot, "end")
        assert f"  {last} " in text(pilot).splitlines()[-3]
        await press(pilot, "home")
        assert next(iter(queries.schema(home / "store.sqlite"))) in text(pilot).splitlines()[1]


@driven
async def test_a_query_that_was_not_run_comes_back_after_the_history(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await press(pilot, ":", *"SELECT 7", "f3", "f3")
        assert "SELECT 7" not in text(pilot)
        await press(pilot, "f4", "f4")
        assert "SELECT 7" in text(pilot)


@driven
async def test_the_end_of_a_long_query_stays_in_view(home: Path) -> None:
    async with dashboard(home).run_test(size=(200, 50)) as pilot:
        await settle(pilot)
        await press(pilot, ":")
        area = pilot.app.screen.query_one(SqlArea)
        area.text = "SELECT 1\n" * 9 + "AS last"
        area.move_cursor(area.document.end)
        await settle(pilot)
        assert "AS last" in text(pilot)
        await pilot.resize_terminal(*TMUX)
        await settle(pilot)
        assert "AS last" in text(pilot)


@driven
async def test_titles_of_columns_send_no_control_characters(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await press(pilot, ":")
        pilot.app.screen.query_one(SqlArea).text = 'SELECT 7 AS "a\x1b]0;x\ab"'
        await press(pilot, "f5")
        await until(pilot, lambda: "1 row" in text(pilot))
        assert "a�]0;x�b" in text(pilot)


@driven
async def test_pairs_are_left_when_their_claim_is_deleted(home: Path) -> None:
    comparison = shown_store.compare(home)
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "c", "enter", "enter")
        assert isinstance(pilot.app.screen, PairsScreen) and "pair 1 of 2" in text(pilot)
        assert "Previous" in text(pilot) and "Sort" in text(pilot)
        await pilot.resize_terminal(70, 24)
        await settle(pilot)
        assert "  pair 1 of 2, largest change first; class" in text(pilot)
        await press(pilot, "right")
        assert "pair 2 of 2" in text(pilot)
        with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
            lists = ["control", "treated", "control_prompts", "treated_prompts"]
            for column in (*lists, "control_seeds", "seeds"):
                first = f"json_array(json_extract({column}, '$[0]'))"
                connection.execute(f"UPDATE evidence SET {column} = {first} WHERE pairs = 2")
        pilot.app.screen.reload()
        await until(pilot, lambda: "pair 1 of 1" in text(pilot))
        await settle(pilot)
        assert not re.search("Previous|Next|Sort", text(pilot))  # nothing to turn to
        with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
            connection.execute("UPDATE claim SET concept = 'another', created_at = '2026-04-01'")
        await until(pilot, lambda: not isinstance(pilot.app.screen, PairsScreen))
        await until(pilot, lambda: "the claim was deleted" in text(pilot))
        await press(pilot, "enter")
        assert isinstance(pilot.app.screen, PairsScreen)
        with Store.open(home) as store:
            retention.delete(store, retention.doomed(store, [comparison]))
        await until(pilot, lambda: not isinstance(pilot.app.screen, PairsScreen))


@driven
async def test_a_comparison_in_a_narrow_terminal_names_both_classifiers(home: Path) -> None:
    comparison = shown_store.compare(home)
    async with dashboard(home).run_test(notifications=True, size=(60, 24)) as pilot:
        await settle(pilot)
        pilot.app.open_comparison(comparison)  # type: ignore[attr-defined]
        await press(pilot, "2")
        assert "s-biased" in text(pilot) and "s-balanc" in text(pilot)
        await press(pilot, "5")
        assert "no reports" in text(pilot)


@driven
async def test_a_verdict_is_broken_anew_when_the_terminal_gets_narrower(home: Path) -> None:
    shown_store.screen(home)
    async with dashboard(home).run_test(notifications=True, size=(200, 50)) as pilot:
        await settle(pilot)
        pilot.app.open_screening(shown_store.SCREENING)  # type: ignore[attr-defined]
        await settle(pilot)
        assert "predictions flip" in text(pilot)
        await pilot.resize_terminal(60, 24)
        await until(pilot, lambda: re.search(r"predictions[ │\n]+flip", text(pilot)))
        await pilot.resize_terminal(40, 24)
        await until(pilot, lambda: "3 shows all of it" in text(pilot))
        await press(pilot, "3")
        assert "see whether another" in " ".join(text(pilot).replace("│", " ").split())
        await pilot.resize_terminal(60, 24)
        pilot.app.open_screening(shown_store.WATCHED)  # type: ignore[attr-defined]
        await settle(pilot)  # a key before the page is read moves nothing
        await press(pilot, "left")
        assert "(2 of 3)" in text(pilot)
        await pilot.resize_terminal(80, 24)
        await settle(pilot)
        assert "(2 of 3)" in text(pilot)


@driven
async def test_wide_characters_take_no_room_of_other_columns(home: Path) -> None:
    shown_store.screen(home)
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("UPDATE screening SET class_name = '水鳥水鳥水鳥水鳥水鳥水鳥水鳥水鳥'")
        connection.execute("UPDATE claim SET concept = '水面' || concept")
    (home / "runs" / shown_store.DONE / "log").write_text("鳥" * 300)
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        await press(pilot, "i")
        titles, *rows = text(pilot).splitlines()[2:5]
        for row in rows:
            before = re.split(r"1 of 2|4 proposed", row)[0]
            assert cell_len(before) == titles.index("outcome")
        pilot.app.open_study(shown_store.STUDY)  # type: ignore[attr-defined]
        await press(pilot, "2")
        titles, *rows = text(pilot).splitlines()[3:7]
        for row in rows:
            before = re.split(r"[+-]\d\.\d\d ", row)[0]
            assert cell_len(before) == titles.index("effect")
        pilot.app.open_run(shown_store.DONE)  # type: ignore[attr-defined]
        await press(pilot, "6")
        assert text(pilot).count("鳥") == 300
        questions = QuestionList()
        await pilot.app.screen.mount(questions)
        wide, narrow = (
            questions.row(Asked(question, refusal="why"), 80).plain.partition("why")[0]
            for question in ("水鳥", "duck")
        )
        assert cell_len(wide) == cell_len(narrow)


@driven
async def test_the_evidence_on_a_claim_is_read_whole_in_a_small_terminal(home: Path) -> None:
    async with dashboard(home).run_test(size=(60, 20)) as pilot:
        await settle(pilot)
        pilot.app.open_study(shown_store.STUDY)  # type: ignore[attr-defined]
        await press(pilot, "2")
        assert "✓ confirmed (bias)" in text(pilot)
        details = pilot.app.screen.query_one("#claim-details")
        details.focus()
        await press(pilot, "pagedown")
        broken = "context: rivals left out: p(class) is already 0.97 without the word"
        assert broken in " ".join(re.findall(r"[^\s│▁-█]+", text(pilot)))
        await press(pilot, "end")
        assert re.search(f"source: words +{DONE}", text(pilot))
        pilot.app.screen.query_one("#claim-list").focus()
        await press(pilot, "down")
        assert "2. feather raises" in text(pilot)


@driven
async def test_a_double_click_on_a_claim_opens_its_pairs(home: Path) -> None:
    comparison = shown_store.compare(home)
    async with dashboard(home).run_test(size=WIDE) as pilot:
        await settle(pilot)
        pilot.app.open_comparison(comparison)  # type: ignore[attr-defined]
        await settle(pilot)
        await pilot.click("#matrix", offset=(40, 3), times=2)
        await until(pilot, lambda: isinstance(pilot.app.screen, PairsScreen))


@driven
async def test_a_run_is_shown_as_before_after_a_narrow_window(home: Path) -> None:
    async with dashboard(home, read_only=True).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        pilot.app.open_run(LIVE)  # type: ignore[attr-defined]
        await press(pilot, "2")
        before = text(pilot)
        for size in ((60, 20), (120, 40)):
            await pilot.resize_terminal(*size)
            await settle(pilot)
        assert text(pilot) == before


@driven
async def test_a_hint_is_read_whole_in_a_small_terminal(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=TMUX) as pilot:
        await settle(pilot)
        pilot.app.open_study(shown_store.OTHER)  # type: ignore[attr-defined]
        await press(pilot, "2")
        assert "and a report." in text(pilot)


@driven
async def test_a_cursor_stays_on_its_row_when_others_come(home: Path) -> None:
    shown_store.screen(home)
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "i")
        items = pilot.app.screen.query_one(ItemList)
        assert items.selected is not None and items.selected.id == shown_store.SCREENING
        with Store.open(home) as store:
            member = {"name": "lab:new", "classifier_id": 1, "class_index": 0, "config": {}}
            screening_records.add_screening(store, "bank", "waterbird", {}, [member])
        await until(pilot, lambda: len(items.rows) == 3)
        assert items.selected.id == shown_store.SCREENING and items.index == 1
        await press(pilot, "enter")
        effects = pilot.app.screen.query_one(EffectList)
        await press(pilot, "down")
        assert effects.selected is not None and effects.selected["concept"] == "snow"
        await press(pilot, "f")  # with the concepts that have no effect
        assert len(effects.rows) == 6 and effects.selected["concept"] == "snow"


@driven
async def test_a_click_below_the_last_item_does_nothing(home: Path) -> None:
    shown_store.screen(home)
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "i")
        items = pilot.app.screen.query_one(ItemList)
        await pilot.double_click(items, offset=(5, 20))
        await settle(pilot)
        assert items.is_attached and items.index == 0
        pilot.app.open_run(shown_store.LIVE)  # type: ignore[attr-defined]
        await press(pilot, "3", "minus", "minus", "minus", "minus")
        gallery = pilot.app.screen.query_one(Gallery)
        before = gallery.index
        assert gallery.virtual_size.height < 20
        await pilot.click(gallery, offset=(3, 30))
        await settle(pilot)
        assert before > 0 and gallery.index == before


@driven
async def test_at_home_the_filter_is_the_search(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "slash", *"birds", "enter", "n", "n")
        runs = pilot.app.screen.query_one(RunList)
        assert "2 of 4" in text(pilot) and runs.row_at_cursor is not None
        assert runs.row_at_cursor.id == QUEUED
        await press(pilot, "N", "N")
        assert "4 of 4" in text(pilot) and runs.row_at_cursor.id == FAILED
        await press(pilot, "escape", "n")
        assert not isinstance(pilot.app.screen, HomeScreen)  # new, again


@driven
async def test_marked_runs_of_one_study_are_not_compared(home: Path) -> None:
    async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
        await settle(pilot)
        await press(pilot, "end", "space", "up", "space", "c")
        assert isinstance(pilot.app.screen, HomeScreen)
        assert any("belong to one study" in notice.message for notice in pilot.app._notifications)
        await press(pilot, "home", "down", "space", "c")
        assert "sbal00001, sbias0001" in text(pilot)
        screen = pilot.app.screen
        screen._started()  # type: ignore[attr-defined]  # a real start needs models
        await press(pilot, "escape", "y")
        assert not pilot.app.screen.query_one(RunList).marked


@driven
@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
async def test_what_ifs_and_bias_explanations_are_listed_and_shown(
    home: Path, size: tuple[int, int]
) -> None:
    shown_store.report_on_pictures(home)
    async with dashboard(home, images="blocks").run_test(size=size) as pilot:
        await settle(pilot)
        await press(pilot, "b")
        assert "what-if: waterbird to" in text(pilot)
        assert "bias explanation: depends" in text(pilot)
        bar = text(pilot).splitlines()[-1]
        assert all(label in bar for label in ("n Slice", "d Debias", "w What-if", "b Bias"))
        await press(pilot, *["down"] * ROWS[shown_store.WHATIF], "enter")
        strip = pilot.app.screen.query_one(PictureStrip)
        lines = text(pilot).split("\n")[strip.region.y : strip.region.bottom]
        for caption in ("your picture", "as redrawn", "room", "p 0.10: landbird"):
            assert caption in "\n".join(lines[-2:])
        assert len(lines) >= 8 and sum("▀" in line for line in lines) >= 3
        assert "1 change flips waterbird to landbird: room." in text(pilot)
        assert "2 Facts" in text(pilot) and "Course" not in text(pilot)
        await press(pilot, "2")
        assert "redrawn at strength 0.75" in text(pilot)
        await press(pilot, "escape", "home", *["down"] * ROWS[shown_store.BIAS], "enter")
        assert not pilot.app.screen.query_one(PictureStrip).size.height
        assert "It depends on gender." in text(pilot) and "dark skin" in text(pilot)
        assert "Course" not in text(pilot)
        await press(pilot, "escape", "home", *["down"] * ROWS[shown_store.DEBIASED], "enter", "2")
        assert "worst pseudo-group of the validation pictures" in text(pilot)


ROWS = {name: place for place, name in enumerate(sorted(shown_store.REPORTS))}
"""Where the list has reports of one time."""


@driven
async def test_slices_and_a_debiasing_are_started_from_a_form(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEXTER_CPU_SLOTS", "1")
    with FileLock(home / "locks" / "runner-cpu-0.lock", wait=False):  # nothing is worked on
        async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
            await settle(pilot)
            await press(pilot, "b", "n")
            assert "New slices" in text(pilot)
            await until(pilot, lambda: "To start, fill in “classifier”" in text(pilot))
            await pilot.press(*"lab:birds-biased", "down", *"lab:birds")
            await until(pilot, lambda: "there is no screening of this classifier" in text(pilot))
            await pilot.press("down", *"sea,lake")
            await until(pilot, lambda: "start (2,000 pictures of lab:birds)" in text(pilot))
            await press(pilot, "ctrl+s")
            await until(pilot, lambda: isinstance(pilot.app.screen, DataReportScreen))
            await press(pilot, "escape", "d")
            assert "New debiasing" in text(pilot) and "choose split" in text(pilot)
            await pilot.press(*"lab:birds-biased", "down", *"nowhere")
            await until(pilot, lambda: "nowhere is no folder" in text(pilot))
    with Store.open(home, read_only=True) as store:
        [job] = [one for one in run_queue.jobs(store) if one.kind is Kind.SLICES]
        row = data_records.data_report(store, str(job.request["data_report"]))
    assert [one["name"] for one in row.request["concepts"]] == ["sea, lake", "sea", "lake"]


@driven
async def test_a_what_if_and_a_bias_explanation_are_started_from_a_form(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEXTER_CPU_SLOTS", "1")
    with FileLock(home / "locks" / "runner-cpu-0.lock", wait=False):  # nothing is worked on
        async with dashboard(home).run_test(notifications=True, size=WIDE) as pilot:
            await settle(pilot)
            await press(pilot, "b", "w")
            assert "New what-if" in text(pilot) and "image" in text(pilot)
            await until(pilot, lambda: "To start, fill in “classifier”" in text(pilot))
            await pilot.press(*"lab:birds-biased", "down", *"waterbird")
            await until(pilot, lambda: "start (class waterbird)" in text(pilot))
            await pilot.press("down", *"nothing.png")
            await until(pilot, lambda: "nothing.png is missing" in text(pilot))
            await pilot.press("ctrl+u", *"~nobody-here/a.png", "ctrl+s")
            await until(pilot, lambda: "~nobody-here/a.png: no such user" in text(pilot))
            await press(pilot, "ctrl+u", "ctrl+s")
            await until(pilot, lambda: isinstance(pilot.app.screen, DataReportScreen))
            await until(pilot, lambda: "What-if d" in text(pilot))
            await press(pilot, "escape", "b")
            assert "New bias explanation" in text(pilot)
            await pilot.press(*"lab:fleet/old-male-100", "down", *"old", "down", *"nowhere")
            await until(pilot, lambda: "nowhere is no folder" in text(pilot))
            await press(pilot, "ctrl+u", *"none")
            await until(pilot, lambda: "start (" in text(pilot))
            await press(pilot, "ctrl+s")
            await until(pilot, lambda: isinstance(pilot.app.screen, DataReportScreen))
    with Store.open(home, read_only=True) as store:
        asked = {
            job.kind: data_records.data_report(store, str(job.request["data_report"])).request
            for job in run_queue.jobs(store)
            if job.kind in EXPLAINING
        }
    assert asked[Kind.WHATIF]["class_name"] == "waterbird" and not asked[Kind.WHATIF]["image"]
    assert asked[Kind.EXPLAIN_BIAS]["data"] == "none" and asked[Kind.EXPLAIN_BIAS]["screening"]
