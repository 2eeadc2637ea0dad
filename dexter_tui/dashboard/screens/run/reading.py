"""The data of the screen of a run, read in a thread."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from dexter_tui.dashboard.screens.run.history import Known, Part
from dexter_tui.dashboard.widgets.gallery import Group
from dexter_tui.dashboard.widgets.log_view import tail
from dexter_tui.presentation.run_tables import hit_meaning
from store.errors import StoreError
from store.reading.browse import Browse, FrameRow, PromptRow, RunRow, WordGainRow
from store.reading.diverse import diverse, small_file
from store.states import ENDED

_BEST_FRAMES = 8  # that differ, at the front of a finished run's gallery


MOST_SEEDS = 12
"""Other seeds whose results are in the gallery"""
MOST_BESIDE = 6
"""Runs in the charts beside the run itself: more colours look alike"""
Beside = Literal["alone", "seeds", "marked"]
"""The runs in the charts: this one, all seeds of its study, or those marked in the list"""


class Wish(NamedTuple):
    """The data that the screen wants, and the steps that it already has, by run."""

    known: Mapping[str, Known]
    page: str
    beside: Beside
    marked: Sequence[int]


class Found(NamedTuple):
    """The data of the run."""

    own: Part | None
    answers: list[str]
    beside: list[Part]
    left_out: int
    """Runs that are not in the charts, because they are too many"""
    frames: list[FrameRow]
    """The pictures of the run: its results, best first, then its search samples"""
    groups: list[Group]
    """These and the results of other seeds, for the gallery"""
    prompts: list[PromptRow]
    gains: list[WordGainRow]
    log: list[str] | None


def read(browse: Browse, run_id: str, wish: Wish) -> Found:
    """Read what is new of a run, and what its page shows."""
    key = browse.find(run_id)
    run = browse.runs([key]).get(key) if key is not None else None
    if run is None:
        return Found(None, [], [], 0, [], [], [], [], None)
    others = _beside(browse, run, wish)
    frames = _ordered(browse, run, browse.frames(run.id))
    study = browse.find(run.study_id)
    answers = browse.studies([-study])[-study].answers if study is not None else []
    return Found(
        _part(browse, run, wish),
        answers,
        [_part(browse, one, wish) for one in others[:MOST_BESIDE]],
        max(len(others) - MOST_BESIDE, 0),
        frames,
        _groups(browse, run, frames, seeds=wish.page == "frames"),
        browse.prompts(run.id) if wish.page == "prompts" else [],
        browse.word_gains(run.id) if wish.page == "prompts" else [],
        tail(browse.log(run.id)) if wish.page == "log" else None,
    )


def _part(browse: Browse, run: RunRow, wish: Wish) -> Part:
    known = wish.known.get(run.id, Known())
    # A new attempt resumes from a checkpoint and replaces later steps.
    after = known.step if run.attempt == known.attempt else 0
    return Part(run, after, browse.steps(run.id, after=after))


def _beside(browse: Browse, run: RunRow, wish: Wish) -> list[RunRow]:
    """Return the other runs in the charts."""
    if wish.page != "charts" or wish.beside == "alone":
        return []
    if wish.beside == "seeds":
        runs = browse.study_runs(run.study_id)
    else:
        runs = list(browse.runs(wish.marked).values())
    return [one for one in runs if one.id != run.id and one.steps_done]


def _groups(browse: Browse, run: RunRow, frames: list[FrameRow], *, seeds: bool) -> list[Group]:
    """Group pictures: the results of the run and, with `seeds`, of other seeds, then samples."""
    results = [frame for frame in frames if frame.kind == "frame"]
    samples = [frame for frame in frames if frame.kind != "frame"]
    groups = [
        Group(_heading(run, results), results),
        Group(f"Search samples of seed {run.seed}, by step", samples),
    ]
    others = browse.study_runs(run.study_id) if seeds else []
    found = []
    sign = _sign(run)
    for one in [one for one in others if one.id != run.id and one.frames_hit][:MOST_SEEDS]:
        drawn = browse.frames(one.id, "frame")
        drawn.sort(key=lambda frame: (not frame.hit, sign * frame.target_probability))
        found.append(Group(_heading(one, drawn), drawn))
    return [groups[0], *found, groups[1]] if results else [groups[1], *found]


def _heading(run: RunRow, frames: Sequence[FrameRow]) -> str:
    hits = sum(frame.hit for frame in frames)
    return f"Results of seed {run.seed}: {hits} of {len(frames)} {hit_meaning(run.config)}"


def _sign(run: RunRow) -> int:
    """Return the sign that sorts the p(class) of pictures, best first."""
    return 1 if run.config.get("direction") == "lower" else -1


def _ordered(browse: Browse, run: RunRow, frames: list[FrameRow]) -> list[FrameRow]:
    """Return the best frames of a finished run first: those that differ, then by p(class)."""
    drawn = [frame for frame in frames if frame.kind == "frame"]
    if run.state not in ENDED or not drawn:
        return frames
    hits = [frame for frame in drawn if frame.hit]
    sign = _sign(run)
    hits.sort(key=lambda frame: sign * frame.target_probability)
    with suppress(StoreError, OSError):  # the gallery marks a missing file
        best = diverse([hits], lambda frame: small_file(browse.picture(frame.sha256)), _BEST_FRAMES)
        hits = [*best, *(frame for frame in hits if frame not in best)]
    samples = [frame for frame in frames if frame.kind != "frame"]
    return [*hits, *(frame for frame in drawn if not frame.hit), *samples]
