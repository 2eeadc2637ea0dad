"""The filter language: the runs that match, and the errors of invalid filters."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import shown_store
from shown_store import DONE, FAILED, LIVE, QUEUED

from store import Store, StoreError
from store.reading.browse import ORDERS, Browse
from store.reading.filters import compile_filter

ALL = {DONE, FAILED, LIVE, QUEUED}


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Browse:
    home = shown_store.fill(tmp_path_factory.mktemp("filter") / "home")
    with Store.open(home) as store:
        store.toggle_tag([DONE, QUEUED], "keep")
    return Browse(home)


def ids(browse: Browse, text: str, order: str = "created", reverse: bool = False) -> list[str]:
    keys = browse.keys(text, order, reverse=reverse).keys
    rows = browse.runs(key for key in keys if key > 0)
    return [rows[key].id for key in keys if key > 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ALL),
        ("   ", ALL),
        ("state:failed", {FAILED}),
        ("state:failed,queued", {FAILED, QUEUED}),
        ("-state:failed", ALL - {FAILED}),
        ("!state:failed", ALL - {FAILED}),
        ("state!=failed", ALL - {FAILED}),
        ("classifier:birds-bi*", {DONE, FAILED}),
        ("classifier:lab:birds-bal*", {LIVE, QUEUED}),
        ("class:water?ird", ALL),
        ("score>0.8", {DONE}),
        ("score>=84%", {DONE}),
        ("score<0.8", set()),
        ("-score>0.8", ALL - {DONE}),  # a run without a score is not above 0.8 either
        ("words~sea", {DONE}),
        ("sea", {DONE}),
        ("SEA", {DONE}),
        ('"out of memory"', {FAILED}),
        ("error~memory state:failed", {FAILED}),
        ("state:queued or score>0.8", {QUEUED, DONE}),
        ("seed:0 state:failed or seed:1 state:queued", {QUEUED}),
        ("steps>=25 steps<40", {LIVE}),
        ("tag:keep", {DONE, QUEUED}),
        ("tag:k* -state:queued", {DONE}),
        ("config.steps=60 config.preset:quick", ALL),
        ("config.template~bird", ALL),
        ("config.steps>60", set()),
        ("created:2026-03-01", ALL),
        ("created>2026-03-01", ALL),
        ("created<=2026-03", ALL),
        ("created<2026-03-01", set()),
        ("created>2026-03-02", set()),
        ("preset:quick", ALL),
        ("100%", set()),  # a percent sign is a letter like others
        ("a'; DROP TABLE run; --", set()),
    ],
)
def test_a_filter_selects_runs(browse: Browse, text: str, expected: set[str]) -> None:
    assert set(ids(browse, text)) == expected


def test_ages_count_from_now() -> None:
    condition = compile_filter("created>2d", lambda: datetime(2026, 3, 3, 12, tzinfo=UTC))
    assert condition.parameters == ("2026-03-01T12:00:00",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clas:x", "did you mean class?"),
        ("nonsense:x", "use one of id, study,"),
        ("state:runing", "did you mean running?"),
        ("score>high", "score: 'high' is not a number"),
        ("score~1", "score is a number; use score=1"),
        ("words>3", "words is a text; use words:3"),
        ("created:soon", "'soon' is not a time; write a day like 2026-11-01"),
        ("state:", "no value after state:"),
        ("or", "a condition on each side"),
        ("sea or", "a condition on each side"),
        ("or sea", "a condition on each side"),
        ("sea or or lake", "a condition on each side"),
    ],
)
def test_mistakes_are_reported_in_one_line(text: str, message: str) -> None:
    with pytest.raises(StoreError) as error:
        compile_filter(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_holds_all_runs_and_can_be_turned_round(browse: Browse, order: str) -> None:
    forward, back = ids(browse, "", order), ids(browse, "", order, reverse=True)
    assert set(forward) == set(back) == ALL
    if order == "steps":
        assert forward == [DONE, LIVE, FAILED, QUEUED]
        assert back[0] == QUEUED


def test_runs_follow_their_study(browse: Browse) -> None:
    keys = browse.keys().keys
    studies = browse.studies(-key for key in keys if key < 0)
    runs = browse.runs(key for key in keys if key > 0)
    names = [studies[-key].id if key < 0 else runs[key].id for key in keys]
    assert names == [shown_store.OTHER, LIVE, QUEUED, shown_store.STUDY, DONE, FAILED]


def test_an_active_run_whose_process_is_gone_is_lost(browse: Browse) -> None:
    key = browse.find(LIVE)
    assert key is not None
    assert browse.runs([key])[key].state == "lost"
    counts = {"queued": 1, "lost": 1, "succeeded": 1, "failed": 1}
    assert browse.counts() == counts
    studies = browse.studies(-key for key in browse.keys().keys if key < 0)
    assert {"lost": 1, "queued": 1} in [study.states for study in studies.values()]
    assert ids(browse, "state:lost") == ids(browse, "lost") == [LIVE]
    assert ids(browse, "state:running") == []
    assert ids(browse, "", "state") == [FAILED, LIVE, QUEUED, DONE]  # by the state that is shown


def test_a_home_without_a_store_is_empty(tmp_path: Path) -> None:
    empty = Browse(tmp_path)
    assert (empty.keys().runs, empty.counts(), empty.find("r1")) == (0, {}, None)
    assert empty.state_of_schema() == "none"
    assert not empty.has_unfinished()


def test_changes_of_other_processes_are_seen(tmp_path: Path) -> None:
    home = shown_store.fill(tmp_path / "home")
    browse = Browse(home)
    assert browse.changed()
    assert not browse.changed()
    with Store.open(home) as store:
        store.toggle_tag([DONE], "new")
    assert browse.changed()
    assert browse.tags([DONE]) == {DONE: ["new"]}
