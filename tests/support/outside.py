"""Things from outside, as hypothesis changes them, and all views, which must then still work."""

import atexit
import copy
import io
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import shown_store
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from rich.console import Console

from dexter.errors import InputError
from dexter_tui.dashboard.themes import THEMES, UNICODE, palette
from dexter_tui.dashboard.widgets import summaries
from dexter_tui.exchange.write import write
from dexter_tui.presentation import (
    comparison_tables,
    data_tables,
    run_tables,
    screening_tables,
    study_tables,
)
from dexter_tui.presentation.run_tables import presets
from store import Store, StoreError
from store.data_reports import page as data_pages
from store.json_numbers import finite
from store.markdown.report import render
from store.reading import card, comparisons, queries, screenings
from store.reading.browse import Browse
from store.upkeep.transfer import Chosen, gather

# Homes of examples: in memory where that is possible, for each writes durably.
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None

fuzzed = settings(
    deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
)

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 7, 2**31, 2**53 + 1, 2**63, -(2**70), 0.5, -0.5, 1e308, -1e-320,
    math.nan, math.inf, -math.inf, "", "x", "sea", "0", "-", "=1+1", "x" * 30_000, "\ud800",
    "a\0b",
    "\x1b[31m", "\u202e", "[bold]", "](x)", "|", "`", "../../evil", "/dev/zero",
    "python:/x.py:make",
    "2026-13-45", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-01-01", "a" * 64, "0" * 64,
    [], [[]], [None], ["a", 1], {}, {"a": 1}, {"": None}, {"total": "x"}, {"template": 5},
]  # fmt: skip


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


anything = st.one_of(
    st.sampled_from(VALUES),
    st.just(nested(40)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                     max_size=3),
        max_leaves=6,
    ),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all parts of a JSON value, except itself."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, (dict, list)) and len(path) < 4:
            yield from places(item, (*path, key))


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with some of its parts replaced, removed, doubled or renamed."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(value))
        if not found:
            break
        *path, last = draw(st.sampled_from(found))
        parent = value
        for key in path:
            parent = parent[key]
        match draw(st.sampled_from("rrrrdmn")):
            case "r":
                parent[last] = copy.deepcopy(draw(anything))
            case "d":
                del parent[last]
            case "m" if isinstance(parent, list):
                parent.insert(last, copy.deepcopy(parent[last]))
            case "n" if isinstance(parent, dict):
                parent[draw(st.sampled_from(["x", "id", "record", ""]))] = parent.pop(last)
            case _:
                parent[last] = copy.deepcopy(draw(anything))
    return value


@st.composite
def changed_records(draw: st.DrawFn, records: list[dict[str, Any]]) -> list[Any]:
    """Records of which one is changed, missing or there twice."""
    at = draw(st.integers(0, len(records) - 1))
    match draw(st.sampled_from("ccccccdt")):
        case "c":
            return [*records[:at], draw(changed(records[at])), *records[at + 1 :]]
        case "d":
            return [*records[:at], *records[at + 1 :]]
        case _:
            return [*records, records[at]]


@st.composite
def changed_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with some of them replaced, removed or added."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        piece = draw(st.binary(max_size=6))
        data = data[:at] + piece + data[at + draw(st.integers(0, 40)) :]
    return data


@cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="outside-", dir=MEMORY))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Store.open(folder / "empty").close()
    return folder


class Homes:
    """New homes in a folder that is removed at the end."""

    def __enter__(self) -> "Homes":
        self.folder = Path(tempfile.mkdtemp(prefix="outside-", dir=MEMORY))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def empty(self) -> Path:
        return shutil.copytree(_template() / "empty", self.folder / "home")


@cache
def records() -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """The records of a small store with all that a bundle holds, and its pictures by file name."""
    with Homes() as homes:
        home = shown_store.copy(homes.folder / "shown")
        found = [shown_store.compare(home), shown_store.SLICES, shown_store.DEBIASED,
                 shown_store.WHATIF, shown_store.BIAS]  # fmt: skip
        shown_store.screen(home)
        shown_store.report_on_pictures(home)
        with Store.open(home) as store:
            found += [one["id"] for one in screenings.listed(Browse(home))]
            some, pictures = gather(store, Chosen(store, found))
    kept = [r for r in some if not (r["record"] == "step" and r["step"] > 2)]
    kept = [r for r in kept if not (r["record"] == "frame" and r["seed"] > 1)]
    shown = {r["sha256"] for r in kept if r["record"] in ("frame", "picture")}
    kept = [r for r in kept if r["record"] not in ("artifact", "caption") or r["sha256"] in shown]
    return kept, {name: data for name, data in pictures.items() if name[:64] in shown}


def taken(work: Callable[[], object]) -> bool:
    """Return True if something from outside was taken; if not, the refusal is one line."""
    try:
        work()
    except (InputError, StoreError) as error:
        line = error.sentence()
        assert line.strip() and len(line.splitlines()) == 1, line
        return False
    return True


def show_everything(home: Path, *, exports: bool) -> None:
    """Render all views of everything in a store, and with `exports` all forms of export."""
    console = Console(file=io.StringIO(), width=100)
    colours = palette(THEMES[0])
    browse = Browse(home)
    answers: list[Any] = []
    with Store.open(home) as store:
        for study in store.studies():
            runs = store.runs(study_id=study.id)
            answers.append(run_tables.study_json(study, runs))
            answers.append(study_tables.study_json(store, study))
            view = study_tables.study_view(store, study)
            console.print(run_tables.study_view(study, runs, view))
            for run in runs:
                answers.append(run_tables.run_details_json(store, run))
                console.print(run_tables.run_view(store, run, pictures=False))
            _dashboard(browse, study.id, colours)
        console.print(run_tables.studies_view(store.runs()))
        for one in comparisons.listed(browse):
            page = comparisons.page(browse, one["id"])
            answers.append(page)
            console.print(comparison_tables.comparison_view(page))
            for claim in page["claims"]:
                comparisons.pairs(browse, int(claim["id"]))
        console.print(comparison_tables.comparisons_view(comparisons.listed(browse)))
        for one in screenings.listed(browse):
            page = screenings.page(browse, one["id"])
            answers.append(page)
            console.print(screening_tables.screening_view(page))
        console.print(screening_tables.screenings_view(screenings.listed(browse)))
        for report in data_pages.listed(browse):
            answers.append(report.json())
            console.print(data_tables.report_view(report, every=True))
        console.print(data_tables.reports_view(data_pages.listed(browse)))
        for name in queries.VIEWS:
            queries.ask(home / "store.sqlite", f"SELECT * FROM {name}")
        text = json.dumps(finite(answers), allow_nan=False)
        text.encode()
        names = [study.id for study in store.studies()]
        names += [one["id"] for one in comparisons.listed(browse)]
        names += [one["id"] for one in screenings.listed(browse) if one["state"] == "done"]
        names += [report.id for report in data_pages.listed(browse)]
        if not names:
            return
        render(store, names, "frames", presets=presets())
        gather(store, Chosen(store, names))
        if exports:
            for form, target in (
                ("markdown", "a.md"), ("html", "a.html"), ("bundle", "a.zip"),
                ("bundle", "bundle"), ("reference", "reference"),
            ):  # fmt: skip
                assert taken(partial(write, store, names, home / target, form)) or (
                    form == "reference" and not store.runs()
                )


def _dashboard(browse: Browse, study_id: str, colours: Any) -> None:
    """Read and render a study as the dashboard does."""
    browse.keys()
    key = browse.find(study_id)
    assert key is not None
    study = browse.studies([-key])[-key]
    runs = browse.study_runs(study_id)
    browse.claims(study_id)
    browse.tags([run.id for run in runs])
    browse.captions(study_id), browse.attribution(study_id), browse.scores(study_id)
    browse.report(study_id), browse.note(study_id)
    verdict = card.of_study(browse, study_id)
    summaries.study_facts(study, runs, verdict, 100, colours, UNICODE)
    summaries.stages_text(browse.stages(study_id), {}, colours, UNICODE)
    summaries.settings_text(study.settings, {}, colours, {})
    for run in runs:
        steps = browse.steps(run.id)
        summaries.trends(steps)
        summaries.words_table(run, steps[-1] if steps else None, 80, colours)
        for frame in browse.frames(run.id):
            summaries.frame_caption(frame, study.answers, colours)
        browse.prompts(run.id), browse.word_gains(run.id)
        summaries.settings_text(run.config, {}, colours, {})
