"""The data of the screen of a run, read in a thread."""

from contextlib import suppress
from typing import NamedTuple

from dexter_tui.dashboard.widgets.log_view import tail
from store.errors import StoreError
from store.reading.browse import Browse, FrameRow, PromptRow, RunRow, StepRow, WordGainRow
from store.reading.diverse import diverse, small_file
from store.states import ENDED

_BEST_FRAMES = 8  # that differ, at the front of a finished run's gallery


class Wish(NamedTuple):
    """The data that the screen already has."""

    after: int
    attempt: int
    page: str


class Found(NamedTuple):
    """The data of the run."""

    run: RunRow | None
    labels: list[str]
    steps: list[StepRow]
    after: int
    frames: list[FrameRow]
    prompts: list[PromptRow]
    gains: list[WordGainRow]
    log: list[str] | None


def read(browse: Browse, run_id: str, wish: Wish) -> Found:
    """Read what is new of a run, and what its page shows."""
    key = browse.find(run_id)
    run = browse.runs([key]).get(key) if key is not None else None
    if run is None:
        return Found(None, [], [], 0, [], [], [], None)
    # A new attempt resumes from a checkpoint and replaces later steps.
    after = wish.after if run.attempt == wish.attempt else 0
    study = browse.find(run.study_id)
    labels = browse.studies([-study])[-study].labels if study is not None else []
    return Found(
        run,
        labels,
        browse.steps(run.id, after=after),
        after,
        _ordered(browse, run, browse.frames(run.id)),
        browse.prompts(run.id) if wish.page == "prompts" else [],
        browse.word_gains(run.id) if wish.page == "prompts" else [],
        tail(browse.log(run.id)) if wish.page == "log" else None,
    )


def _ordered(browse: Browse, run: RunRow, frames: list[FrameRow]) -> list[FrameRow]:
    """Return the best frames of a finished run first: those that differ, then by p(class)."""
    drawn = [frame for frame in frames if frame.kind == "frame"]
    if run.state not in ENDED or not drawn:
        return frames
    hits = [frame for frame in drawn if frame.hit]
    hits.sort(key=lambda frame: -frame.target_probability)
    with suppress(StoreError, OSError):  # the gallery marks a missing file
        best = diverse([hits], lambda frame: small_file(browse.picture(frame.sha256)), _BEST_FRAMES)
        hits = [*best, *(frame for frame in hits if frame not in best)]
    samples = [frame for frame in frames if frame.kind != "frame"]
    return [*hits, *(frame for frame in drawn if not frame.hit), *samples]
