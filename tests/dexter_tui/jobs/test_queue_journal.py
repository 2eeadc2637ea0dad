"""The results of a run survive damage to the store, which can be repaired and rebuilt."""

import json
import os
import shutil
import sqlite3
from contextlib import closing, suppress

import pytest
import recorded
import sqlalchemy as sa
from small_pictures import noise
from sqlalchemy.engine.interfaces import CacheStats

from dexter_tui.jobs import launch
from dexter_tui.jobs import recorder as recording
from dexter_tui.jobs.recorder import Recorder
from store import State, Store, StoreError, run_queue, run_records, study_records
from store.journal import replay
from store.journal.run_journal import Journal
from store.json_numbers import finite
from store.states import Kind
from store.upkeep import health, home_files, rebuilding, retention


def new_run(store, seed=0):
    classifier = store.ensure_classifier("lab:birds", None, ["a", "b"], 64)
    study = store.ensure_study(classifier, "a", 0, {"template": "a [MASK]"})
    return recorded.add_run(store, study, seed, {"steps": 20, "device": "cpu"}, priority=3)


def step(number):
    return {"step": number, "losses": {"total": float("nan")}, "words": ["sea", "owl"]}


def frame(recorder, seed, kind="preview"):
    recorder.frame(
        noise(seed),
        kind=kind,
        step=seed if kind == "preview" else 0,
        seed=seed,
        prompt="a sea",
        predicted_class=0,
        target_probability=0.5,
        hit=True,
    )


SCORE = {"score_value": 0.5, "score_low": 0.2, "score_high": 0.8, "score_n": 8, "score_hits": 4}


def record(store, run, upto=20, *, end=True):
    """Record a run as a worker does."""
    recorder = Recorder(store, run)
    recorder.start(run)
    recorder.state(State.RUNNING)
    recorder.fields(device="cpu", steps_total=20, seed_ranges={"score": [1, 5]})
    for number in range(1, upto + 1):
        recorder.step(step(number))
        if number % 5 == 0:
            frame(recorder, number)
            assert recorder.flush(30.0)
    if end:
        recorder.prompts([{"words": ["sea"], "text": "a sea", "mean_loss": 0.5, "pictures": 16}])
        recorder.fields(words=("sea",), prompt="a sea", **SCORE)
        frame(recorder, 99, kind="frame")
        recorder.state(State.SUCCEEDED, seconds=1.5)
        recorder.settle(lambda: False)
        run_queue.release(store, run.id)
    return recorder


def rows(home):
    """Return all rows about runs, except heartbeats and row numbers."""
    signs = {"heartbeat_at", "promise", "journal_entries"}
    with closing(sqlite3.connect(home / "store.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        return {
            table: sorted(
                tuple(
                    (name, value)
                    for name, value in dict(row).items()
                    if name not in signs
                    # A picture that two runs have was first made by the one that came first.
                    and (table, name) not in {("frame", "id"), ("artifact", "created_at")}
                )
                for row in connection.execute(f"SELECT * FROM {table}")
            )
            for table in ("classifier", "study", "run", "step", "prompt", "frame", "artifact")
        }


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(recording, "RETRY_SECONDS", 0.0)


def test_a_torn_journal_is_read_up_to_the_tear_and_written_on(tmp_path):
    journal = Journal(tmp_path)
    entries = [{"kind": "steps", "rows": [step(n)], "word": "æ\n\u2028"} for n in range(3)]
    written = journal.append(entries)
    data = journal.path.read_bytes()
    ends = [n + 1 for n, byte in enumerate(data) if byte == 10]
    for cut in sorted({*range(0, len(data), 9), *ends, *(end - 1 for end in ends)}):
        journal.path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends)
        torn = Journal(tmp_path)
        assert [entry["n"] for entry in torn.read()] == [0, 1, 2][:whole]
        assert torn.inspect().last == whole - 1
        torn.append(entries[whole:])
        assert [entry["n"] for entry in Journal(tmp_path).read()] == [0, 1, 2]
    journal.path.write_bytes(data[: ends[0]] + b"\0" * 100 + data[ends[1] :])
    assert [entry["n"] for entry in Journal(tmp_path).read()] == [0]
    assert [entry["word"] for entry in written] == ["æ\n\u2028"] * 3


def test_a_store_is_rebuilt_from_journals(tmp_path):
    with Store.open(tmp_path) as store:
        runs = [new_run(store, seed) for seed in range(4)]
        record(store, recorded.claim(store))
        record(store, recorded.claim(store), upto=10, end=False)
        run_queue.release(store, runs[1])
        run_queue.reconcile(store)
        record(store, recorded.claim(store))  # again, and to the end
        run_queue.claim(store)
        run_queue.release(store, runs[2])
        before = rows(tmp_path)
        assert [store.run(run).state for run in runs[:2]] == [State.SUCCEEDED] * 2
    (tmp_path / "store.sqlite").unlink()
    rebuilt = rebuilding.rebuild(tmp_path)
    assert sorted(rebuilt.runs) == sorted(runs)
    assert sorted(rebuilt.paused) == sorted(runs[2:])
    assert rebuilt.moved is None
    after = rows(tmp_path)
    for table in ("classifier", "study", "step", "prompt", "frame", "artifact"):
        assert after[table] == before[table], table
    # How often a run died, and when it was claimed, only the store knew.
    lost = {"fruitless", "progress", "started_at", "ended_at", "error"}

    def ended(found):
        of_run = [dict(row) for row in found["run"]]
        return [
            {name: value for name, value in row.items() if name not in lost}
            for row in of_run
            if row["id"] in runs[:2]
        ]

    assert ended(after) == ended(before)
    assert rebuilding.rebuild(tmp_path).runs == []
    assert rows(tmp_path) == after


def test_a_run_that_was_resumed_is_rebuilt_without_its_earlier_end(tmp_path):
    with Store.open(tmp_path) as store:
        run = new_run(store)
        failure = {"error": "out of memory", "stop_reason": "refused"}
        for state, fields in ((State.FAILED, failure), (State.PAUSED, dict[str, str]())):
            recorder = record(store, recorded.claim(store), upto=5, end=False)
            recorder.state(state, **fields)
            recorder.settle(lambda: False)
            run_queue.release(store, run)
            if state is State.FAILED:
                run_queue.set_state(store, run, State.QUEUED)
        before = store.run(run)
        assert (before.state, before.ended_at, before.error) == (State.PAUSED, None, None)
    (tmp_path / "store.sqlite").unlink()
    rebuilding.rebuild(tmp_path)
    with Store.open(tmp_path) as store:
        after = store.run(run)
    for name in ("state", "ended_at", "error", "stop_reason", "steps_done", "attempt"):
        assert getattr(after, name) == getattr(before, name), name


def test_what_was_found_about_a_study_is_rebuilt_with_its_runs(tmp_path):
    claim = {
        "concept": "sea", "slot": "background", "direction": 1, "sources": {"words": ["r1"]},
        "effect": 0.4, "low": 0.3, "high": 0.5, "p": 0.001, "p_corrected": 0.01, "pairs": 2,
        "flips": 1, "flip_low": 0.1, "flip_high": 0.9, "over_represented": True, "core": False,
        "min_effect": 0.1, "verdict": "confirmed", "generator": "key",
    }  # fmt: skip
    pairs = {
        "context": "class", "saturated": False, "control_mean": 0.2, "pairs": 2, "effect": 0.4,
        "control_prompts": ["a", "a"], "treated_prompts": ["b", "b"], "control_seeds": [1, 2],
        "seeds": [1, 2], "control": [0.1, 0.3], "treated": [0.6, 0.6],
    }  # fmt: skip
    tables = ("report", "claim", "evidence", "caption", "attribution", "score", "stage", "tag",
              "note")  # fmt: skip

    def found():
        with closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection:
            return {t: sorted(connection.execute(f"SELECT * FROM {t}"), key=repr) for t in tables}

    with Store.open(tmp_path) as store:
        run = new_run(store)
        record(store, recorded.claim(store))
        study = store.run(run).study_id
        study_records.replace_claims(store, study, [{**claim, "contexts": [pairs]}] * 2)
        [picture] = study_records.hit_frames(store, study)
        study_records.add_caption(
            store, picture.sha256, model="eyes", prompt_hash="h", text="a \u2028 duck"
        )
        word = {"position": 0, "word": "sea", "prompt": "a sea", "subsets": 4, "seeds": 2}
        numbers = (
            *("leave_one_out", "leave_one_out_low", "leave_one_out_high", "weight", "low"),
            *("high", "r2", "r2_low", "r2_high"),
        )
        study_records.set_attribution(store, run, [{**word, **dict.fromkeys(numbers, 0.5)}])
        score = {"kind": "prompt", "text": "a sea", "value": 0.5, "low": 0.1, "high": 0.9}
        study_records.replace_scores(store, study, [{**score, "n": 4, "hits": 2}])
        study_records.set_stage(store, study, "claims", "done", done=3, total=3)
        study_records.add_report(
            store,
            study,
            author="evidence",
            markdown="**the sea**",
            body={"title": "æ", "method": [], "sections": []},
        )
        store.keep_study(study)
        # A user's own words are kept at once.
        assert store.toggle_tag([run], "keep")
        retention.set_note(store, run, "look again")
        retention.set_note(store, study, "for colleagues")
        before = found()
        assert all(before.values())
    (tmp_path / "store.sqlite").unlink()
    rebuilt = rebuilding.rebuild(tmp_path)
    assert (rebuilt.studies, rebuilt.refused) == ([study], {})
    assert found() == before
    assert rebuilding.rebuild(tmp_path).studies == []
    assert found() == before
    file = tmp_path / "studies" / f"{study}.json"
    content = file.read_bytes()
    for torn in (False, True):
        file.write_bytes(content[:100]) if torn else file.unlink()
        with Store.open(tmp_path) as store:
            [trouble] = health.examine(store, repair=True)
            assert trouble.repaired and str(file) in trouble.what
            assert health.examine(store) == []
        assert json.loads(file.read_bytes()) == json.loads(content)


def test_a_damaged_store_is_moved_aside_and_rebuilt(tmp_path):
    with Store.open(tmp_path) as store:
        new_run(store)
        record(store, recorded.claim(store))
        before = rows(tmp_path)
    with (tmp_path / "store.sqlite").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(4096 * 20))
    rebuilt = rebuilding.rebuild(tmp_path)
    assert rebuilt.moved is not None and rebuilt.moved.exists()
    assert rows(tmp_path)["step"] == before["step"]
    with Store.open(tmp_path) as store:
        assert health.examine(store) == []


def test_a_locked_store_stops_no_run(tmp_path):
    with Store.open(tmp_path, patience=0.05) as store:
        new_run(store)
        recorder = record(store, recorded.claim(store), upto=5, end=False)
        with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for number in range(6, 11):
                recorder.step(step(number))
                assert recorder.flush(30.0)  # it is in the journal
            run = store.runs()[0]
            assert len(store.steps(run.id)) == 5
            other.execute("ROLLBACK")
        recorder.step(step(11))
        assert recorder.flush(30.0)
        assert [row.step for row in store.steps(run.id)] == list(range(1, 12))


def test_the_first_write_of_a_run_compiles_nothing_while_it_holds_the_lock(tmp_path):
    compiled = []

    def note(connection, cursor, statement, parameters, context, executemany):
        if context.cache_hit is CacheStats.CACHE_MISS:
            compiled.append(statement)

    with Store.open(tmp_path) as store:
        new_run(store)
        recorder = Recorder(store, recorded.claim(store))
        recorder.flush()  # the first sign of life, without anything found
        recorder.step(step(1))
        frame(recorder, 1)
        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            assert recorder.flush(30.0)
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
        run = store.runs()[0]
        assert len(store.steps(run.id)) == len(store.frames(run.id)) == 1
    assert compiled == []


def test_a_run_that_ended_while_the_store_was_locked_is_seen_to_have_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "END_PATIENCE", 0.0)
    with Store.open(tmp_path, patience=0.05) as store:
        new_run(store)
        recorder = record(store, recorded.claim(store), upto=5, end=False)
        run = store.runs()[0]
        with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            recorder.state(State.SUCCEEDED, seconds=2.0)
            recorder.settle(lambda: False)
            run_queue.release(store, run.id)
            other.execute("ROLLBACK")
        assert store.run(run.id).state is State.RUNNING
        assert run_queue.reconcile(store) == []
        assert (store.run(run.id).state, store.run(run.id).seconds) == (State.SUCCEEDED, 2.0)


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "steps", "rows": [{"step": 10**30}]},
        {"kind": "fields", "fields": {"of_a_later_version": 1}},
        {"kind": "fields", "fields": {"reduced": "perhaps"}},
        {"kind": "fields", "fields": {"steps_total": "many"}},
        {"kind": "fields", "fields": {"words": "sea"}},
        {"kind": "fields", "fields": {"score_value": True}},
        {"kind": "state", "to": "paused", "fields": {"seconds": "2 s"}},
        {"kind": "steps", "rows": [{"step": 1, "losses": {}, "words": "sea"}]},
        {"kind": "prompts", "rows": [{"words": ["sea"], "text": 3, "pictures": 1}]},
        {"kind": "fields", "fields": {"id": "rother"}},
        {"kind": "fields", "fields": {"state": "succeeded"}},
        {"kind": "state", "to": "paused", "fields": {"state": "succeeded"}},
        {"kind": "state", "to": "banana"},
    ],
)
def test_a_dead_run_is_settled_whatever_its_journal_holds(tmp_path, entry):
    with Store.open(tmp_path) as store:
        run = new_run(store)
        recorded.claim(store)
        run_queue.release(store, run)
        Journal(store.run_folder(run)).append([entry])
        assert run_queue.reconcile(store) == [run]
        found = store.run(run)
        assert found.state is State.QUEUED
        assert (found.steps_total, found.words, found.score_value, found.seconds) == (None,) * 4
        assert not store.steps(run) and not store.prompts(run)


def test_a_store_that_was_moved_away_stops_no_run(tmp_path):
    with Store.open(tmp_path) as store:
        new_run(store)
        recorder = record(store, recorded.claim(store), upto=5, end=False)
        run = store.runs()[0].id
        away = tmp_path / "elsewhere.sqlite"
        for suffix in ("", "-wal", "-shm"):
            (tmp_path / f"store.sqlite{suffix}").rename(f"{away}{suffix}")
        recorder.step(step(6))
        assert recorder.flush(30.0)
        with pytest.raises(StoreError, match="moved or removed"):
            store.run(run)
        # Somebody starts the program meanwhile: a new store, which learns of the run.
        with Store.open(tmp_path) as fresh:
            assert fresh.runs() == []
            recorder.step(step(7))
            assert recorder.flush(30.0)
            assert [row.step for row in fresh.steps(run)] == list(range(1, 8))
            assert fresh.run(run).state is State.RUNNING
            assert run_queue.reconcile(fresh) == []
            recorder.state(State.SUCCEEDED)
            recorder.settle(lambda: False)
            assert fresh.run(run).state is State.SUCCEEDED


def test_a_journal_that_lacks_rows_of_the_store_is_replaced(tmp_path):
    with Store.open(tmp_path) as store:
        run = new_run(store)
        record(store, recorded.claim(store), upto=10, end=False)
        path = run_records.journal(store, run).path
        path.write_bytes(path.read_bytes()[:-2000])
        run_queue.release(store, run)
        run_queue.reconcile(store)
        record(store, recorded.claim(store))
        before = rows(tmp_path)
    (tmp_path / "store.sqlite").unlink()
    rebuilding.rebuild(tmp_path)
    for table in ("step", "prompt", "frame", "artifact"):
        assert rows(tmp_path)[table] == before[table], table


def test_doctor_finds_and_repairs(tmp_path, monkeypatch):
    with Store.open(tmp_path) as store:
        runs = [new_run(store, seed) for seed in range(3)]
        record(store, recorded.claim(store))
        record(store, recorded.claim(store), upto=10, end=False)
        assert [t.kind for t in health.examine(store)] == []
        run_queue.release(store, runs[1])
        frames = store.frames(runs[0])
        store.artifact_path(frames[0].sha256).unlink()
        store.artifact_path(frames[-1].sha256).write_bytes(b"not what it was")
        (tmp_path / "locks" / "run-rnowhere.lock").touch()
        leftover = tmp_path / "artifacts" / "sha256" / ".new-abc"
        leftover.touch()
        os.utime(leftover, (0, 0))
        with closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("DELETE FROM run WHERE id = ?", (runs[2],))
        found = health.examine(store)
        kinds = ["missing run", "dead run", "artifact", "artifact", "leftover", "leftover"]
        assert [trouble.kind for trouble in found] == kinds
        assert not any(trouble.repaired for trouble in found)
        assert len(store.frames(runs[0])) == len(frames)
        repaired = health.examine(store, repair=True)
        assert [trouble.kind for trouble in repaired] == kinds
        assert all(trouble.repaired for trouble in repaired)
        assert health.examine(store) == []
        assert store.run(runs[1]).state is State.QUEUED
        assert store.run(runs[2]).state is State.PAUSED
        # Two pictures are gone; preview 5 and 10 of the second run are those of the first.
        assert len(store.frames(runs[0])) == len(frames) - 2
        assert list((tmp_path / "damaged").iterdir())


DAMAGES = [
    (lambda lines: None, "is missing"),
    (lambda lines: [], "lacks its beginning"),
    (lambda lines: lines[1:], "lacks its beginning"),
    (lambda lines: lines[:-2], "was cut behind entry"),
    (lambda lines: [*lines[:3], *lines[4:]], "lacks entries within"),
    (lambda lines: [*lines[:3], b"\0" * 99 + b"\n", *lines[4:]], "unreadable lines within"),
]


def test_doctor_writes_a_damaged_journal_again(tmp_path):
    with Store.open(tmp_path) as store:
        run = new_run(store)
        record(store, recorded.claim(store))
        before = rows(tmp_path)
        own = run_records.journal(store, run)
        path, whole = own.path, own.path.read_bytes().splitlines(keepends=True)
        for damage, named in DAMAGES:
            left = damage(whole)
            path.unlink() if left is None else path.write_bytes(b"".join(left))
            for repair in (False, True):
                [trouble] = health.examine(store, repair=repair)
                assert (trouble.kind, trouble.repaired) == ("journal", repair)
                assert named in trouble.what and "lost" not in trouble.what
            assert health.examine(store) == []
            assert rows(tmp_path) == before
        assert [file.name for file in (tmp_path / "damaged").iterdir()] == [f"{run}.{path.name}"]
    (tmp_path / "store.sqlite").unlink()
    assert rebuilding.rebuild(tmp_path).runs == [run]
    assert rows(tmp_path) == before


def test_doctor_counts_entries_that_neither_the_store_nor_the_journal_has(tmp_path):
    with Store.open(tmp_path, patience=0.05) as store:
        new_run(store)
        recorder = record(store, recorded.claim(store), upto=5, end=False)
        run = store.runs()[0].id
        with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for number in (6, 7, 8):
                recorder.step(step(number))
                assert recorder.flush(30.0)
        run_queue.release(store, run)
        path = run_records.journal(store, run).path
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:-2], b"torn\n", lines[-1]]))
        [trouble, dead] = health.examine(store, repair=True)
        assert "unreadable lines within; 1 of its last entries are lost" in trouble.what
        assert dead.kind == "dead run"
        assert [row.step for row in store.steps(run)] == [*range(1, 7)]
        assert health.examine(store) == []


def places(value, at=()):
    """Yield where each part of a JSON value is."""
    yield at
    for key, item in (
        value.items() if isinstance(value, dict) else enumerate(value)
        if isinstance(value, list) else ()
    ):  # fmt: skip
        yield from places(item, (*at, key))


def changed(value, at, to):
    """Return a copy of a JSON value with another part."""
    if not at:
        return to
    copy = value.copy()
    copy[at[0]] = changed(value[at[0]], at[1:], to)
    return copy


def test_an_entry_of_a_foreign_journal_is_checked_before_it_is_written(tmp_path):
    with Store.open(tmp_path / "own") as store:
        run = new_run(store)
        record(store, recorded.claim(store), upto=5)
        entries = run_records.journal(store, run).inspect().whole()
    assert home_files.run_entries(entries, run)[1:] == json_finite(entries[1:])
    refused = written = 0
    wrong: list[object] = [None, "x", -1, 2**70, [{}], {"x": 1}]
    with Store.open(tmp_path / "other") as store:
        for number, entry in enumerate(entries):
            for at in places(entry):
                for to in wrong:
                    mutated = [*entries[: min(number, 1)], changed(entry, at, to)]
                    try:
                        believed = home_files.run_entries(mutated, run)
                    except StoreError as error:
                        assert "\n" not in str(error)
                        refused += 1
                        continue
                    write_and_undo(store, run, believed)
                    written += 1
    assert refused > written > 0


def json_finite(entries):
    return [finite(entry) for entry in entries]


def write_and_undo(store, run, entries):
    with suppress(ZeroDivisionError), store._write() as session:
        replay.restore(session, entries[0])
        replay.apply(session, run, entries[1:], rebuilding=True)
        raise ZeroDivisionError


FOREIGN = [
    ("run", ("run", "id"), "rother", "another run"),
    ("run", ("classifier", "spec"), "python:evil.py:make", "wrong key"),
    ("run", ("study", "class_index"), 7, "class"),
    ("fields", ("fields",), {"study_id": "sother"}, "study_id"),
    ("fields", ("fields",), {"steps_total": "many"}, "steps_total"),
    ("steps", ("rows", 0, "losses"), {"total": "x"}, "losses"),
]


def test_a_store_is_not_rebuilt_from_foreign_journals_that_cannot_be_believed(tmp_path):
    with Store.open(tmp_path) as store:
        named = {}
        for kind, at, to, reason in FOREIGN:
            run = new_run(store)
            record(store, recorded.claim(store), upto=5)
            own = run_records.journal(store, run)
            entries = own.inspect().whole()
            number = [entry["kind"] for entry in entries].index(kind)
            entries[number] = changed(entries[number], at, to)
            own.replace(entries)
            named[run] = reason
        classifier = store.ensure_classifier("lab:birds", None, ["a", "b"], 64)
        study = store.ensure_study(classifier, "a", 0, {})
        consented = recorded.add_run(store, study, 0, {"device": "cpu", "trust_pickle": True})
    (tmp_path / "store.sqlite").unlink()
    rebuilt = rebuilding.rebuild(tmp_path)
    assert rebuilt.runs == [consented]
    assert rebuilt.refused.keys() == named.keys()
    for run, reason in named.items():
        assert reason in rebuilt.refused[run]
    with Store.open(tmp_path) as store:
        assert store.run(consented).config["trust_pickle"] is False
        repaired = [t.repaired for t in health.examine(store, repair=True) if t.kind == "journal"]
        assert repaired == [False] * len(FOREIGN)


def test_gc_removes_what_nothing_needs_and_nothing_else(tmp_path, monkeypatch):
    with Store.open(tmp_path) as store:
        runs = [new_run(store, seed) for seed in range(2)]
        record(store, recorded.claim(store))
        kept = store.frames(runs[0])[0].sha256
        idle = store.put_artifact(noise(1000), "image/png")
        for run in runs:
            (store.run_folder(run) / "checkpoint.pt").write_bytes(b"1234")
        half = store.run_folder(runs[0]) / "checkpoint.new"  # of a process that was killed
        half.touch()
        orphan = tmp_path / "artifacts" / "sha256" / "ab" / ("ab" * 32)
        orphan.parent.mkdir(exist_ok=True)
        orphan.touch()
        checkpoint = store.run_folder(runs[0]) / "checkpoint.pt"
        own = [half, checkpoint]
        assert health.collect(store, dry_run=True).files == own  # the others are young
        monkeypatch.setattr(health, "YOUNG_SECONDS", -1.0)
        result = health.collect(store, dry_run=True)
        assert set(result.files) == {*own, orphan, store.artifact_path(idle)}
        assert checkpoint.exists()
        assert health.collect(store).bytes == result.bytes
        assert not any(path.exists() for path in result.files)
        assert (store.run_folder(runs[1]) / "checkpoint.pt").exists()
        assert store.read_artifact(kept)
        assert health.examine(store) == []


def test_gc_keeps_what_a_journal_or_a_backup_can_restore(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "YOUNG_SECONDS", -1.0)
    with Store.open(tmp_path) as store:
        earlier = health.back_up(store)
        of_bank = store.put_artifact(noise(1000), "image/png")
        later = health.back_up(store)
        # A file that is gone when it is looked at, as one that another collection removes.
        gone = tmp_path / "store.gone.backup.sqlite"
        gone.symlink_to("nowhere")
        run = new_run(store)
        record(store, recorded.claim(store))
        before = rows(tmp_path)
    shutil.copy(earlier, tmp_path / "store.sqlite")
    with Store.open(tmp_path) as store:
        assert health.collect(store).files == []
        gone.unlink()
        assert [trouble.repaired for trouble in health.examine(store, repair=True)] == [True]
        assert rows(tmp_path)["frame"] == before["frame"]
        assert store.run(run).state is State.SUCCEEDED
        later.unlink()
        assert store.artifact_path(of_bank) in health.collect(store).files


def test_the_log_of_a_job_is_deleted_with_it(tmp_path):
    with Store.open(tmp_path) as store:
        run = new_run(store)
        record(store, recorded.claim(store))
        study = store.run(run).study_id
        job = run_queue.add_job(store, Kind.REPORT, {}, study_id=study)
        run_queue.claim(store)
        run_queue.finish_job(store, job, State.CANCELLED)
        log, left = (launch.log_file(store, name) for name in (job, "jdeleted"))
        slot = launch.slot_log(store, "cpu-0")
        for path in (log, left, slot):
            path.write_text("a prompt\n")
        assert health.collect(store).files == [left]
        retention.delete(store, retention.doomed(store, [study]))
        assert list(log.parent.iterdir()) == [slot]
        assert not run_queue.lock_path(store, job).exists()


def test_a_backup_is_whole_while_others_write(tmp_path):
    with Store.open(tmp_path / "home") as store:
        new_run(store)
        record(store, recorded.claim(store))
        path = health.back_up(store, tmp_path / "copy.sqlite")
        with pytest.raises(StoreError, match=r"copy\.sqlite: exists already; name another file"):
            health.back_up(store, path)
        with pytest.raises(StoreError, match="nowhere: no such folder; create it"):
            health.back_up(store, tmp_path / "nowhere" / "copy.sqlite")
        (tmp_path / "again").mkdir()
        path.rename(tmp_path / "again" / "store.sqlite")
        assert rows(tmp_path / "again") == rows(tmp_path / "home")
