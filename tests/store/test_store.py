"""The store of one process: studies, runs, what a worker records, refusals."""

import io
import math
import os
import sqlite3
import stat

import pytest
import recorded
from PIL import Image
from small_pictures import plain

from store import ACTIVE, State, Store, StoreError, run_queue, study_records
from store.artifacts import MAX_PIXELS, open_picture
from store.errors import explained
from store.states import TRANSITIONS, sources


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "home") as store:
        yield store


def add_run(store, seed=0, **settings):
    classifier = store.ensure_classifier("lab:birds", "ab12", ["waterbird", "landbird"], 64)
    study = store.ensure_study(classifier, "waterbird", 0, settings)
    return recorded.add_run(store, study, seed, {"seed": seed})


def step(number, **values):
    return {"step": number, "losses": {"total": 1 / number}, "words": ["sea"], **values}


def record_frame(store, run, data=None, **values):
    values = {"kind": "frame", "seed": 2**62, "prompt": "a sea", **values}
    sha256 = store.put_artifact(data or plain(), "image/png")
    recorded.record_frame(
        store,
        run,
        sha256=sha256,
        **{"predicted_class": 0, "target_probability": 0.9, "hit": True, **values},
    )
    return sha256


def test_home_is_for_its_owner_alone(tmp_path):
    previous = os.umask(0)
    try:
        with Store.open(tmp_path / "a" / "home") as store:
            record_frame(store, add_run(store))
    finally:
        os.umask(previous)
    home = tmp_path / "a" / "home"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for path in home.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_equal_settings_are_one_study(store):
    classifier = store.ensure_classifier("lab:birds", None, ["a", "b"], 64)
    assert store.ensure_classifier("lab:birds", None, ["a", "b"], 64) == classifier
    assert store.ensure_classifier("lab:birds", None, ["b", "a"], 64) != classifier
    assert store.ensure_classifier("lab:birds", "other weights", ["a", "b"], 64) != classifier
    study = store.ensure_study(classifier, "a", 0, {"words": ("x",), "steps": 3})
    assert store.ensure_study(classifier, "a", 0, {"steps": 3, "words": ["x"]}) == study
    assert store.ensure_study(classifier, "b", 1, {"steps": 3, "words": ["x"]}) != study
    assert store.ensure_study(classifier, "a", 0, {"steps": 4, "words": ["x"]}) != study
    assert len(store.studies()) == 3


def test_a_run_from_queue_to_result(store):
    run_id = add_run(store, seed=3, steps=10)
    run = recorded.claim(store)
    assert (run.id, run.state, run.attempt, run.pid) == (run_id, State.STARTING, 1, os.getpid())
    assert run_queue.claim(store) is None
    recorded.update_run(
        store, run_id, device="cpu", steps_total=10, seed_ranges={"search": [0, 100]}
    )
    run_queue.set_state(store, run_id, State.RUNNING)
    recorded.record_steps(store, run_id, [step(1), step(2)])
    recorded.record_prompts(
        store, run_id, [{"words": ["sea"], "text": "a sea", "mean_loss": 0.1, "pictures": 4}]
    )
    run_queue.finish_run(
        store,
        run_id,
        State.SUCCEEDED,
        words=["sea"],
        prompt="a sea",
        score_value=0.9,
        stop_reason="hits",
    )
    with Store.open(store.home, read_only=True) as reader:
        run = reader.run(run_id)
        assert run.study.classifier.labels == ["waterbird", "landbird"]
        assert (run.seed, run.state, run.words, run.steps_done) == (3, "succeeded", ["sea"], 2)
        assert run.seed_ranges == {"search": [0, 100]}
        assert run.started_at and run.heartbeat_at and run.ended_at
        assert run.started_at < run.heartbeat_at <= run.ended_at
        assert run.ended_at.tzinfo is not None
        assert [row.text for row in reader.prompts(run_id)] == ["a sea"]
        with pytest.raises(StoreError, match="reading only"):
            recorded.add_run(reader, run.study_id, 1, {})


def test_what_carries_is_tested_before_the_rest_of_the_best_prompt(store):
    run_id = add_run(store, seed=0, steps=1)
    gains = [("sea", 0.9), ("lake", 0.1), ("frog", -0.2), ("tree", -0.5)]
    recorded.update_run(
        store,
        run_id,
        words=["tree", "sea"],
        word_gains=[
            {"word": word, "gain": 1.0, "low": low, "high": 2.0, "pictures": 8}
            for word, low in gains
        ],
    )
    run = store.run(run_id)
    assert run.words_that_carry == ["sea", "lake"]
    assert run.words_worth_testing == ["sea", "lake", "tree"]
    old = store.run(add_run(store, seed=1, steps=1))
    assert old.words_worth_testing == []


def test_runs_are_found_by_what_they_are(store):
    first, second = add_run(store, seed=0, steps=1), add_run(store, seed=1, steps=2)
    assert [run.id for run in store.runs()] == [second, first]
    assert [run.id for run in store.runs(limit=1)] == [second]
    assert [run.id for run in store.runs(study_id=store.run(first).study_id)] == [first]
    assert len(store.runs(classifier="lab:birds", class_name="waterbird")) == 2
    assert not store.runs(classifier="lab:objects")
    run_queue.set_state(store, first, State.CANCELLED)
    assert [run.id for run in store.runs(states=[State.QUEUED])] == [second]


def test_a_replayed_step_replaces(store):
    run = add_run(store)
    recorded.record_steps(store, run, [step(number, entropy=1.0) for number in (1, 2, 3)])
    recorded.record_steps(store, run, [step(2, entropy=0.5), step(3)])
    rows = store.steps(run)
    assert [(row.step, row.entropy) for row in rows] == [(1, 1.0), (2, 0.5), (3, None)]
    assert [row.step for row in store.steps(run, after=2)] == [3]


def test_numbers_that_are_not_finite_are_missing(store):
    run = add_run(store)
    recorded.record_steps(store, run, [step(1, losses={"total": math.nan}, best_loss=math.inf)])
    (row,) = store.steps(run)
    assert row.losses == {"total": None}
    assert row.best_loss is None
    with sqlite3.connect(store.path) as connection:  # SQLite itself can read the JSON
        assert connection.execute("SELECT json_extract(losses, '$.total') FROM step").fetchone()


def test_a_picture_recorded_again_replaces(store):
    run = add_run(store)
    record_frame(store, run, kind="preview", step=5, seed=7)
    record_frame(store, run, kind="preview", step=5, seed=7, hit=False)
    sha256 = record_frame(store, run, seed=7)
    assert [(row.kind, row.hit) for row in store.frames(run)] == [
        ("preview", False),
        ("frame", True),
    ]
    (frame,) = store.frames(run, kind="frame")
    assert frame.sha256 == sha256
    assert store.artifact(sha256).width == 64


def test_artifacts_lie_by_their_hash_with_thumbnails(store):
    large, small = plain(size=(600, 300)), plain()
    sha256 = store.put_artifact(large, "image/png")
    assert store.put_artifact(large, "image/png") == sha256
    assert store.artifact_path(sha256).read_bytes() == large == store.read_artifact(sha256)
    assert open_picture(store.thumbnail_path(sha256)).size == (192, 96)
    sha256 = store.put_artifact(small, "image/png")
    assert store.thumbnail_path(sha256) == store.artifact_path(sha256)
    text = store.put_artifact(b"{}", "application/json")
    assert store.artifact(text).width is None
    assert not list(store.home.rglob(".new-*"))
    store.artifact_path(text).write_bytes(b"[]")
    with pytest.raises(StoreError, match="damaged"):
        store.read_artifact(text)


@pytest.mark.parametrize(
    ("data", "mime", "reason"),
    [
        (b"not a picture", "image/png", "not a readable PNG, JPEG or WebP"),
        (plain()[:60], "image/png", "not a readable PNG, JPEG or WebP"),
        (plain(), "image/jpeg", "PNG picture was called image/jpeg"),
        (b"GIF89a" + bytes(50), "image/png", "not a readable PNG, JPEG or WebP"),
    ],
)
def test_what_is_no_picture_is_refused(store, data, mime, reason):
    with pytest.raises(StoreError, match=reason) as refusal:
        store.put_artifact(data, mime)
    assert "\n" not in str(refusal.value)
    assert not list(store.home.glob("artifacts/sha256/*/*"))


def test_a_picture_of_too_many_pixels_is_not_decoded():
    buffer = io.BytesIO()
    Image.new("1", (8000, MAX_PIXELS // 8000 + 1)).save(buffer, "PNG")
    with pytest.raises(StoreError, match=f"at most {MAX_PIXELS}"):
        open_picture(buffer.getvalue())


def test_reports_belong_to_a_study(store):
    study = store.run(add_run(store)).study_id
    for text in ("first", "second"):
        study_records.add_report(store, study, author="a model", markdown=text, body=None)
    assert [report.markdown for report in store.reports(study)] == ["second", "first"]
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        study_records.add_report(store, "szz", author="a model", markdown="text", body={})


def test_every_transition_is_in_the_table(store):
    assert set(TRANSITIONS) == set(State)
    assert all(State.LOST in TRANSITIONS[state] for state in ACTIVE)
    assert sources(State.LOST) == ACTIVE
    for origin in State:
        for target in State:
            run = add_run(store)
            with sqlite3.connect(store.path) as connection:
                connection.execute("UPDATE run SET state = ? WHERE id = ?", (origin, run))
            connection.close()
            if target in TRANSITIONS[origin]:
                assert run_queue.set_state(store, run, target).state is target
            else:
                with pytest.raises(StoreError, match=f"{run} is {origin}; it cannot become"):
                    run_queue.set_state(store, run, target)
                assert store.run(run).state is origin


def test_a_state_is_compared_before_it_is_set(store):
    run = add_run(store)
    run_queue.claim(store)
    with pytest.raises(StoreError, match="is starting"):
        run_queue.set_state(store, run, State.FAILED, from_=[State.RUNNING])
    run_queue.set_state(store, run, State.FAILED, from_=[State.STARTING])


def test_a_run_given_back_can_be_claimed_again(store):
    run = add_run(store)
    run_queue.claim(store)
    run_queue.finish_run(store, run, State.FAILED, error="out of memory")
    run_queue.set_state(store, run, State.QUEUED)
    again = recorded.claim(store, ids=[run])
    assert (again.attempt, again.error, again.ended_at) == (2, None, None)
    assert run_queue.reconcile(store) == []


def test_runs_are_claimed_oldest_first_and_only_those_asked_for(store):
    first, second, third = add_run(store, 0), add_run(store, 1), add_run(store, 2, other=True)
    assert recorded.claim(store, ids=[second]).id == second
    assert recorded.claim(store, ids=[third]).id == third
    assert run_queue.claim(store, ids=[third]) is None
    assert recorded.claim(store).id == first


def test_ids_may_be_shortened(store):
    run = add_run(store)
    study = store.run(run).study_id
    assert store.run(run[:8]).id == store.find(run[:3]).id == run
    assert store.study(study[:2]).id == store.find(study).id == study
    ids = [add_run(store, seed) for seed in range(8)]
    with pytest.raises(StoreError, match=r"'r' fits more than one run: r\w{7}, .*\.\.\.$"):
        store.run("r")
    with pytest.raises(StoreError, match=f"no run '{ids[0]}x' among the .*nearest: .*{ids[0]}"):
        store.run(ids[0] + "x")
    for unknown in ("", "%", "r_", "s%", "no such"):
        with pytest.raises(StoreError):
            store.find(unknown)
    with pytest.raises(StoreError, match=r"an id begins with r \(run\), s \(study\), x"):
        store.find("nope")
    with pytest.raises(StoreError, match=r"no study 'xold' .*x \(screening or audit\)"):
        store.study("xold")


def test_a_record_for_an_unknown_run_is_refused(store):
    with pytest.raises(StoreError, match="no run 'rx'"):
        recorded.record_steps(store, "rx", [step(1)])
    with pytest.raises(StoreError, match="no study 'sx'"):
        recorded.add_run(store, "sx", 0, {})
    with pytest.raises(StoreError, match="no run 'rx'"):
        run_queue.set_state(store, "rx", State.CANCELLED)


def test_a_locked_store_says_so(store):
    holder = sqlite3.connect(store.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    other = sqlite3.connect(store.path, isolation_level=None, timeout=0)
    with (
        pytest.raises(StoreError, match=r"store\.sqlite: locked: another process .* try again"),
        explained(store.path),
    ):
        other.execute("BEGIN IMMEDIATE")
    holder.close()
    other.close()


def test_readers_do_not_wait_for_a_writer(store):
    run = add_run(store)
    holder = sqlite3.connect(store.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    holder.execute("UPDATE run SET steps_done = 5")
    assert store.run(run).steps_done == 0
    assert run_queue.reconcile(store) == []
    holder.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is text, not a database" * 100, "damaged or not a store"),
        (None, "not a store of dexter-tui"),
    ],
)
def test_another_file_in_the_stores_place_is_left_alone(tmp_path, content, reason):
    path = tmp_path / "store.sqlite"
    if content is None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE other (id)")
        connection.close()
        content = path.read_bytes()
    else:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=reason) as refusal:
        Store.open(tmp_path)
    assert "\n" not in str(refusal.value)
    assert path.read_bytes() == content


def test_a_home_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "home").write_text("")
    with pytest.raises(StoreError, match="home"):
        Store.open(tmp_path / "home")


def test_reading_a_home_without_a_store_is_refused_and_makes_nothing(tmp_path):
    with pytest.raises(StoreError, match="start a run first"):
        Store.open(tmp_path / "home", read_only=True)
    assert not (tmp_path / "home").exists()
