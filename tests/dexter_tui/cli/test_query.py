"""Questions in SQL: what is answered, what is refused, and that the store stays as it is."""

import csv
import hashlib
import io
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any

import pytest
import recorded
import shown_store
from alembic.script import ScriptDirectory
from markdown_it import MarkdownIt
from piloting import dashboard, driven, press, settle, text, until
from shown_store import DONE, OTHER, STUDY
from textual.widgets import TextArea

from benchmarks.query import make
from dexter_tui.dashboard.screens.query import AnswerView, QueryScreen
from store import Store, study_records
from store.database import migrate, migrations
from store.reading import queries
from store.upkeep import retention

# Documented in docs/queries.md; a later version may add columns behind these, and no more.
COLUMNS = {
    "studies_summary": "study_id classifier weights_hash class_name class_index runs succeeded "
    "mean_score best_score best_words claims confirmed biases reports note created_at",
    "runs_summary": "run_id study_id classifier weights_hash class_name seed state preset words "
    "prompt score score_low score_high score_n steps steps_total frames_hit frames_tried "
    "stop_reason error device seconds peak_memory_bytes tags note created_at started_at ended_at",
    "best_prompts": "class_name classifier place place_of_classifier score score_low score_high "
    "prompt run_id study_id seed direction",
    "word_gains": "run_id study_id classifier class_name seed word gain low high carries pictures",
    "claims_all": "claim_id source source_id classifier weights_hash class_name number concept "
    "slot direction effect low high p_corrected pairs flip_rate placebo_threshold detected prior "
    "over_represented core bias verdict reason created_at",
    "comparisons_all": "comparison_id class_name concept a b effect low high p_corrected pairs "
    "verdict reason a_study_id b_study_id baseline created_at",
    "screenings_all": "screening_id classifier weights_hash class_name position concept slot "
    "verdict effect low high log_odds log_odds_low log_odds_high drawn drawn_otherwise direct "
    "explained_by core pictures confirmation paired_effect paired_low paired_high p_corrected "
    "reason created_at",
    "data_reports_all": "report_id kind classifier weights_hash class_name data state measure "
    "subject value low high value_before found pictures created_at ended_at",
    "steps_wide": "run_id study_id classifier class_name seed step loss class_loss masked_lm_loss "
    "losses target_probability predicted_class hits words best_words best_loss entropy "
    "temperature seconds",
    "frames_all": "frame_id run_id study_id classifier class_name run_seed kind step seed prompt "
    "taken_for target_probability hit sha256",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = shown_store.copy(tmp_path / "home")
    monkeypatch.setenv("DEXTER_HOME", str(path))
    yield path


def digest(home: Path) -> str:
    return hashlib.sha256((home / "store.sqlite").read_bytes()).hexdigest()


def rows(cli: Callable[..., Any], sql: str) -> list[dict[str, Any]]:
    result = cli("query", sql, "--json")
    assert result.code == 0, result.err
    found: list[dict[str, Any]] = result.json
    return found


def test_the_forms_of_an_answer(home: Path, cli: Callable[..., Any]) -> None:
    sql = f"select run_id, words, score from runs_summary where run_id = '{DONE}'"
    expected = {"run_id": DONE, "words": "water, sea", "score": 0.84}
    assert rows(cli, sql) == [expected]
    assert list(csv.DictReader(io.StringIO(cli("query", sql, "--csv").out))) == [
        {name: str(value) for name, value in expected.items()}
    ]
    table = MarkdownIt("gfm-like").parse(cli("query", sql, "--markdown").out)
    cells = [token.content for token in table if token.type == "inline"]
    assert [cell.replace("\\", "") for cell in cells] == [*expected, DONE, "water, sea", "0.84"]
    result = cli("query", sql)
    assert "water, sea" in result.out
    assert "1 row" in result.err
    odd = "select 1 as a, 2 as a, x'ff' as b, 9e999 as c, -9e999 as d, null as e, 'x\ny' as f"
    assert rows(cli, odd) == [
        {"a": 1, "a_2": 2, "b": "ff", "c": inf, "d": -inf, "e": None, "f": "x\ny"}
    ]
    assert '"c": 9e999, "d": -9e999,' in cli("query", odd, "--json").out
    assert cli("query", odd, "--csv").out.splitlines()[1] == '1,2,ff,inf,-inf,,"x'
    assert "| inf | -inf |  | x y |" in cli("query", odd, "--markdown").out
    assert "inf  -inf     x y" in cli("query", odd).out
    assert cli("query", sql, "--csv", "--json").code == 2
    commented = cli("query", "--json", "--", f"-- my_own note\n{sql}")
    assert commented.json == [expected], commented.err


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("delete from run", "refused: delete run"),
        ("DELETE FROM run WHERE 1", "refused"),
        ("update run set words = null", "refused: update run"),
        ("insert into note values ('a', 'b', 'c')", "refused: insert note"),
        ("insert into search (search) values ('rebuild')", "refused"),
        ("replace into note values ('a', 'b', 'c') returning 1", "refused"),
        ("with x as (select 1) delete from run", "refused"),
        ("drop table run", "refused"),
        ("create temp table x (a)", "refused"),
        ("create view x as select 1", "refused"),
        ("attach 'other.sqlite' as other", "refused: attach"),
        ("attach ':memory:' as other", "refused: attach"),
        ("detach main", "refused"),
        ("pragma writable_schema = 1", "refused: pragma writable_schema"),
        ("pragma journal_mode = delete", "refused: pragma"),
        ("pragma query_only = off", "refused: pragma"),
        ("vacuum into 'copy.sqlite'", "refused"),
        ("begin immediate", "refused"),
        ("reindex", "refused"),
        ("analyze", "refused"),
        ("select load_extension('evil')", "refused: function load_extension"),
        ("select 1; delete from run", "one statement at a time"),
        ("select ?", "one statement at a time, with values in place of ?"),
        ("select zeroblob(1000000000)", "more than 5 MB"),
        ("select * from runs_sumary", "did you mean runs_summary"),
        ("select wrds from runs_summary", "did you mean words"),
        ("selec 1", "syntax error"),
        ("select * from search where search match '\"'", "not a valid query"),
        ("", "give one of"),
        (" ; ", "empty query"),
        ("\x00", "null characters"),
    ],
)
def test_what_is_no_question_is_refused_in_a_line(
    home: Path, cli: Callable[..., Any], sql: str, message: str, tmp_path: Path
) -> None:
    before = digest(home)
    result = cli("query", *([sql] if sql else []))
    assert result.code == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert result.out == ""
    assert digest(home) == before
    assert not list(Path.cwd().glob("*.sqlite"))


def test_what_never_ends_is_ended(home: Path, cli: Callable[..., Any]) -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select {} from n"
    before = digest(home)
    result = cli("query", endless.format("count(*)"), "--timeout", "0.3")
    assert (result.code, "stopped after 0.3 s" in result.err) == (2, True)
    patient = ("--timeout", "600")  # what ends these is not the time
    result = cli("query", endless.format("i"), "--json", *patient)
    assert (result.code, len(result.json)) == (0, queries.LIMIT)
    assert "cut after 1,000 rows" in result.err
    million = "with recursive n(i) as (select 1 union all select i + 1 from n limit 10000000) "
    result = cli("query", million + "select i from n", "--csv", "--limit", "20", *patient)
    assert len(result.out.splitlines()) == 21
    assert "cut after 20 rows" in result.err
    large = "with recursive n(i) as (select 1 union all select i + 1 from n) "
    result = cli("query", large + "select hex(randomblob(2000000)) from n", "--json", *patient)
    assert "at most 64 MB" in result.err
    assert digest(home) == before
    assert cli("query", "select 1", "--limit", "0").code == 2
    assert cli("query", "select 1", "--timeout", "inf").code == 2


def test_what_one_function_or_a_sort_costs_is_bounded(
    home: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One call that compares for minutes, between two checks of the time limit.
    long = (
        "select instr(replace(hex(zeroblob(2400000)), '0', 'a'), "
        "replace(hex(zeroblob(1200000)), '0', 'a') || 'b')"
    )
    before = digest(home)
    for arguments in ((long,), ("-",)):
        monkeypatch.setattr("sys.stdin", io.StringIO(long))
        result = cli("query", *arguments, "--timeout", "0.2")
        assert (result.code, "stopped after 0.2 s" in result.err) == (2, True)
    numbers = "with recursive n(i) as (select 1 union all select i + 1 from n limit 2000) "
    sort = numbers + "select zeroblob(1000000), i from n order by i desc"
    result = cli("query", sort, "--limit", "1", "--timeout", "600")
    assert (result.code, "512 MB of temporary space" in result.err) == (2, True)
    assert len(result.err.splitlines()) == 1
    assert digest(home) == before


def test_the_help_shows_ten_queries_and_each_is_answered(
    home: Path, cli: Callable[..., Any]
) -> None:
    result = cli("query", "--help").out
    assert len(queries.EXAMPLES) == 10
    for number, (title, sql) in enumerate(queries.EXAMPLES, 1):
        assert f"{number}. {title}" in result
        assert sql in " ".join(result.split()).replace("  ", " ")
        queries.ask(home / "store.sqlite", sql)
    best, only = (rows(cli, sql) for _, sql in queries.EXAMPLES[:2])
    assert best[0]["prompt"] == "a picture of a bird with water and sea"
    assert {row["concept"] for row in only} == {"water", "feather"}
    frames = rows(cli, queries.EXAMPLES[5][1].replace("'sea'", "'water'"))
    assert {row["caption"] for row in frames} == {"a duck on water"}


def test_prompts_that_lower_a_class_are_ranked_apart(home: Path, cli: Callable[..., Any]) -> None:
    lower = "UPDATE study SET settings = json_set(settings, '$.direction', 'lower') WHERE id = ?"
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute(lower, (OTHER,))
        connection.execute("UPDATE run SET score_value = 1 WHERE study_id = ?", (OTHER,))
    places = rows(cli, "select direction, place, score from best_prompts where place = 1")
    assert sorted((one["direction"], one["score"]) for one in places) == [
        ("lower", 1.0), ("raise", 0.84),
    ]  # fmt: skip


def test_full_text_search_follows_what_is_written(home: Path, cli: Callable[..., Any]) -> None:
    def kinds(words: str) -> set[str]:
        return {row["kind"] for row in cli("query", "--search", words, "--json").json}

    assert kinds("waters") == {"words", "caption", "claim", "report"}  # by word stems
    assert kinds('wa"ter* (') == set()
    with Store.open(home) as store:
        retention.set_note(store, DONE, "the zebra run")
        assert kinds("zebra") == {"note"}
        retention.set_note(store, DONE, "")
        assert kinds("zebra") == set()
        recorded.update_run(store, DONE, words=["zebra"], prompt="a picture of a zebra")
        assert kinds("zebra") == {"words"}
        study_records.replace_claims(store, STUDY, [])
        assert "claim" not in kinds("water")
        [sha] = {f.sha256 for f in store.frames(DONE, kind="frame")[:1]}
        study_records.add_caption(store, sha, model="m", prompt_hash="h", text="a giraffe")
        study_records.add_caption(store, sha, model="m", prompt_hash="h", text="an okapi")
    assert kinds("okapi") == {"caption"}
    assert kinds("giraffe") == set()
    with closing(sqlite3.connect(home / "store.sqlite")) as connection:
        connection.execute("INSERT INTO search (search, rank) VALUES ('integrity-check', 1)")
    assert cli("query", "--search", "()").code == 2


def test_a_report_on_pictures_is_a_row_with_the_numbers_of_its_answer(
    home: Path, cli: Callable[..., Any]
) -> None:
    shown_store.report_on_pictures(home)
    columns = ("measure", "subject", "value", "low", "high", "value_before", "found", "pictures")
    sql = f"SELECT kind, state, class_name, {', '.join(columns)} FROM data_reports_all"
    found = {row.pop("kind"): row for row in rows(cli, sql)}
    assert {row["state"] for row in found.values()} == {"done"}
    assert {kind: tuple(row[name] for name in columns) for kind, row in found.items()} == {
        "slices": ("accuracy gap", "landbird with sea", -0.75, -0.9, -0.5, None, 1, 50),
        "debias": ("worst group accuracy", "GroupDRO", 0.8, 0.1, 0.3, 0.2, None, 500),
        "whatif": ("share of flips", "room", 0.9, 0.6, 0.98, None, 1, 10),
        "explain-bias": ("effect", "male", 0.4, 0.3, 0.5, None, 1, None),
    }
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE data_report SET result = '{' WHERE kind = 'slices'")
        connection.execute("UPDATE data_report SET result = 'null' WHERE kind = 'whatif'")
        # Text in the place of an object is no JSON by itself.
        facts = '{"data_free": {"facts": ["fact"], "attributes": ["age"]}}'
        connection.execute(
            "UPDATE data_report SET result = ? WHERE kind = 'explain-bias'", (facts,)
        )
    kept = {row["kind"]: (row["value"], row["found"]) for row in rows(
        cli, "SELECT kind, value, found FROM data_reports_all"
    )}  # fmt: skip
    assert kept["slices"] == kept["whatif"] == (None, None) and kept["debias"] == (0.8, None)
    assert kept["explain-bias"] == (None, 0)
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        for kind, part in (("slices", "slices"), ("debias", "outcomes"), ("whatif", "changes")):
            odd = f'{{"{part}": ["text", 1, null], "main": "text", "steps": ["text"]}}'
            connection.execute("UPDATE data_report SET result = ? WHERE kind = ?", (odd, kind))
    assert {row["value"] for row in rows(cli, "SELECT value FROM data_reports_all")} == {None}


def test_views_are_as_documented_after_each_migration(tmp_path: Path) -> None:
    scripts = ScriptDirectory.from_config(migrations())
    path = tmp_path / "store.sqlite"
    path.touch()
    documented = (Path(__file__).parents[3] / "docs" / "queries.md").read_text()
    for script in reversed(list(scripts.walk_revisions())):
        migrate(path, script.revision)
        if script.revision < "0005":
            continue
        with closing(sqlite3.connect(path)) as connection:
            for view, columns in COLUMNS.items():
                since = {
                    "word_gains": "0006",
                    "screenings_all": "0008",
                    "data_reports_all": "0013",
                }.get(view, "")
                if script.revision < since:
                    continue
                found = [
                    column[0] for column in connection.execute(f"SELECT * FROM {view}").description
                ]
                if script.revision < "0015":
                    columns = columns.removesuffix(" direction")
                assert found[: len(columns.split())] == columns.split(), view
    for view, columns in COLUMNS.items():
        assert f"`{view}`" in documented
        for column in columns.split():
            assert f"`{column}`" in documented, f"{view}.{column}"
    assert set(COLUMNS) == set(queries.VIEWS)


def test_a_larger_store_is_read_by_its_indexes(tmp_path: Path) -> None:
    make(tmp_path, 60, steps=3, frames=2)
    path = tmp_path / "store.sqlite"
    for _, sql in queries.EXAMPLES:
        answer = queries.ask(path, sql.replace("step = 50", "step = 2"))
        assert answer.rows or "count(DISTINCT" in sql, sql  # there, every claim has several holders
    plans = {
        "steps_wide": ("step = 2 AND study_id = 's0000001'", "SEARCH step"),
        "frames_all": ("sha256 = 'a'", "SEARCH frame"),
    }
    for view, (condition, message) in plans.items():
        plan = queries.ask(path, f"EXPLAIN QUERY PLAN SELECT * FROM {view} WHERE {condition}")
        assert any(message in row[3] for row in plan.rows), (view, plan.rows)


def test_without_a_store_there_is_nothing_to_ask(
    tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "none"))
    result = cli("query", "select 1")
    assert (result.code, "no store here yet" in result.err) == (2, True)
    assert not (tmp_path / "none").exists()


@driven
async def test_the_screen_completes_asks_and_remembers(home: Path) -> None:
    app = dashboard(home)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await press(pilot, "colon")
        assert isinstance(app.screen, QueryScreen)
        await until(pilot, lambda: "runs_summary" in text(pilot))
        await press(pilot, *"select words from runs_s", "tab")
        assert app.screen.query_one(TextArea).text == "select words from runs_summary"
        await press(pilot, "f5")
        await until(pilot, lambda: "water, sea" in text(pilot))
        await press(pilot, "f6")
        assert "water, sea" in app.clipboard
        app.screen.query_one(TextArea).text = "delete from run"
        await press(pilot, "f5")
        await until(pilot, lambda: "refused: delete run" in text(pilot))
        view = app.screen.query_one(AnswerView)
        assert view.answer is None
        view.show(queries.Answer(["word"], [*[("sea",)] * 600, ("lighthouse",)], None, 0.0))
        view.focus()
        await press(pilot, "end")
        assert "lighthouse" in text(pilot)
        app.screen.query_one(TextArea).focus()
        await press(pilot, "f3")  # past the refused one, which is still there
        assert app.screen.query_one(TextArea).text == "select words from runs_summary"
        await press(pilot, "f5", "question_mark", "escape")
        assert not isinstance(app.screen, QueryScreen)
    kept = (home / "query_history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in kept][:2] == [
        "select words from runs_summary",
        "delete from run",
    ]
