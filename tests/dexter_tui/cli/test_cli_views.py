"""Views on a terminal: within its size, and nothing in it that the terminal would obey."""

import io
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import recorded
from PIL import Image
from rich.console import Console
from small_pictures import plain

from dexter_tui import formatting
from dexter_tui.cli import live_progress
from dexter_tui.cli.live_progress import Lines, Screen
from dexter_tui.machine import terminal_images
from dexter_tui.presentation import run_tables, study_tables
from store import State, Store, run_queue
from store.states import Kind
from store.tables import Job, Run

HOSTILE = "sea\x1b[2J\x07[bold red]\u202e\n"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "home")


def runs_with_hostile_words(store: Store, count: int) -> list[Run]:
    """Runs at work, as many as asked for, whose models and user wrote what they should not."""
    classifier = store.ensure_classifier(f"hf:/{HOSTILE}", None, ["a", HOSTILE], 64)
    study = store.ensure_study(classifier, HOSTILE, 1, {"template": HOSTILE + "x" * 100})
    picture = store.put_artifact(plain(), "image/png")
    ids = []
    for seed in range(count):
        run_id = recorded.add_run(store, study, seed, {"template": HOSTILE})
        run_queue.claim(store, ids=[run_id])
        run_queue.set_state(store, run_id, State.RUNNING)
        recorded.update_run(store, run_id, steps_total=60, frames_wanted=4)
        words = [HOSTILE] * 6
        step = {"losses": {"total": 1.5}, "words": words, "best_words": words}
        rows = [
            {**step, "step": k, "target_probability": 0.5, "seconds": 2.0} for k in range(1, 31)
        ]
        recorded.record_steps(store, run_id, rows)
        for kind in ("preview", "frame"):
            recorded.record_frame(
                store,
                run_id,
                kind=kind,
                seed=1,
                prompt=HOSTILE,
                predicted_class=1,
                target_probability=0.5,
                hit=True,
                sha256=picture,
            )
        ids.append(run_id)
    return [store.run(run_id) for run_id in ids]


def shown(view: object, width: int = 80, height: int = 24) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(view)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def assert_harmless(text: str) -> None:
    assert "\x1b" not in COLOUR.sub("", text)
    assert "\x07" not in text and "\u202e" not in text


@pytest.mark.parametrize(
    ("count", "width", "height"),
    [(1, 80, 24), (3, 80, 24), (25, 80, 24), (3, 60, 16), (3, 200, 50)],
)
def test_the_live_view_fits_the_terminal(store: Store, count: int, width: int, height: int) -> None:
    runs = runs_with_hostile_words(store, count)
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    text = shown(Screen(store, console).render(runs), width, height)
    assert_harmless(text)
    lines = COLOUR.sub("", text).splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert "30/60" in text
    assert "2:20" in text  # left: 30 steps of 2 s, and the pictures after the search
    assert "[bold red]" in text  # shown, not obeyed
    if height >= 24:
        assert "▀" in text or "\x1b[48;" in text


def test_lines_without_a_terminal_tell_each_change_once(store: Store) -> None:
    [run] = runs_with_hostile_words(store, 1)
    file = io.StringIO()
    lines = Lines(Console(file=file, width=80))
    lines.show([run])
    lines.show([run])
    run_queue.finish_run(store, run.id, State.FAILED, error=HOSTILE)
    lines.show([store.run(run.id)])
    result = file.getvalue().splitlines()
    assert [("running" in line, "failed" in line) for line in result] == [
        (True, False),
        (False, True),
    ]
    assert_harmless(file.getvalue())


def test_lines_name_a_job_by_what_it_makes(store: Store) -> None:
    [run] = runs_with_hostile_words(store, 1)
    report = run_queue.add_job(store, Kind.REPORT, {}, study_id=run.study_id)
    slices = run_queue.add_job(store, Kind.SLICES, {})
    file = io.StringIO()
    Lines(Console(file=file, width=80)).show([store.job(report), store.job(slices)])
    assert file.getvalue() == f"report {run.study_id}: queued\nslices {slices}: queued\n"


def test_a_wait_does_not_lengthen_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    stand_in = SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr(live_progress, "time", stand_in)
    file = io.StringIO()
    lines = Lines(Console(file=file, width=120))
    wait = [(at, 20) for at in range(200, 4_000, 100)]
    for at, done in [(100, 10), (110, 20), *wait, *((4_000 + n, 20 + n) for n in range(1, 30))]:
        clock.now = at
        job = Job(id="j", kind=Kind.SLICES, request={}, depends_on=[], state=State.RUNNING,
                  stage="drawing", done=done, total=100, notes=[])  # fmt: skip
        lines.show([job])
    shown = [line.split("  ")[-1] for line in file.getvalue().splitlines()]
    assert shown[:2] == ["10 of 100", "1:20 left at most"]
    assert shown[-1] == "0:59 left at most"  # 59 to do, as fast as before the wait


def test_runs_and_studies_are_data(store: Store) -> None:
    [run] = runs_with_hostile_words(store, 1)
    recorded.update_run(
        store, run.id, words=[HOSTILE], prompt=HOSTILE, score_value=0.5, score_low=0.25
    )
    gain = {"word": HOSTILE, "gain": 1.0, "low": 0.5, "high": 1.5, "pictures": 9}
    recorded.update_run(store, run.id, score_high=0.75, score_n=8, error=HOSTILE, word_gains=[gain])
    run = store.run(run.id)
    for view in (
        run_tables.studies_view([run]),
        run_tables.run_view(store, run, pictures=True),
        run_tables.study_view(run.study, [run], study_tables.study_view(store, run.study)),
    ):
        assert_harmless(shown(view))
    assert "50% [25%–75%]" in shown(run_tables.studies_view([run]))
    assert "+1.00 (+0.50 to +1.50)" in shown(run_tables.run_view(store, run, pictures=False))


@pytest.mark.parametrize(("announced", "code"), [("truecolor", "38;2;"), ("", "38;5;")])
def test_half_blocks_suit_the_terminals_colours(
    monkeypatch: pytest.MonkeyPatch, announced: str, code: str
) -> None:
    monkeypatch.setenv("COLORTERM", announced)
    blocks = terminal_images.half_blocks(Image.linear_gradient("L"), 24)
    assert len(blocks.splitlines()) == 12
    assert code in blocks


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")]
)
def test_durations(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1_500_000, "2 MB"), (12.04e9, "12.0 GB")]
)
def test_sizes(count: float, text: str) -> None:
    assert formatting.size(count) == text
