"""The data of the home screen, read from the store in a thread."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from dexter_tui.dashboard.run_columns import LOSS_POINTS
from dexter_tui.dashboard.widgets.log_view import tail
from dexter_tui.dashboard.widgets.run_list import around, place
from dexter_tui.formatting import stage_line, state_line
from store.reading import card, screenings
from store.reading.browse import Browse, FrameRow, Keys, RunRow, StepRow, StudyRow
from store.reading.card import VerdictCard
from store.states import ENDED

TREND_STEPS = 400
TAIL_LINES = 40
LIST_SECONDS = 2.0  # between two reads of a list that changes while runs are active
FIRST_RUNS = 300  # shown at once after a change of the filter
FIRST_SECONDS = 0.02  # of CPU, after which those are shown that were found
_LATEST = 10  # screenings among which a running one is looked for
# Orders that change only when a run is added, deleted or changes its state.
_STEADY = ("study", "created", "classifier", "class")

Asked = tuple[str, str, bool]
"""Filter, order, and True for the reverse order"""
Losses = dict[int, tuple[int, list[float]]]
"""Losses over the steps by the key of the run, and the number of steps when they were read"""


class Listed(NamedTuple):
    """A list of runs, with the state of the store that it was read from."""

    asked: Asked
    source: tuple[tuple[str | None, str | None], int, dict[str, int]]
    """The ids of the newest rows, the number of archived runs and the number of runs by state; most
    lists change only with these"""
    at: float
    found: Keys


class Wish(NamedTuple):
    """The state of the screen that `read` needs."""

    asked: Asked
    visible: list[int]
    cursor: int
    """The row of the cursor"""
    selected: int | None
    height: int
    """The number of rows that fit"""
    listed: Listed | None
    """The list as it was last read"""
    losses: Losses | None
    """Those that are read already; None if they are not shown"""
    tiles: int
    """The number of frames that fit beside the facts"""
    marked: frozenset[int]
    """The keys of the marked runs"""


class Item(NamedTuple):
    """The details of the run or study at the cursor."""

    key: int
    steps: list[StepRow]
    frames: list[FrameRow]
    """The best frames of an ended run or of the runs of a study, else the newest preview"""
    log: list[str]
    members: list[RunRow]
    """The runs of a study"""
    card: VerdictCard | None
    """The verdict on a study"""


class NewestScreening(NamedTuple):
    """The screening that a store without runs begins with."""

    line: str
    """Its state"""
    cards: list[VerdictCard]


class Found(NamedTuple):
    """The data of the screen."""

    listed: Listed
    rows: dict[int, RunRow]
    tags: dict[str, list[str]]
    studies: dict[int, StudyRow]
    counts: dict[str, int]
    losses: Losses
    item: Item | None
    """None without runs, or while one types"""
    newest: NewestScreening | None
    """Only of a store without runs"""
    gone: frozenset[int]
    """The keys of marked runs that were deleted, or may have been"""


def read(browse: Browse, wish: Wish, wanted: Callable[[], bool]) -> Found:
    """Read the screen; a long list is left incomplete once ``wanted`` returns False."""
    # A letter of the filter is answered at once: with no more than the visible rows, and with the
    # counts as they were. The rest follows when one stops typing.
    before = wish.listed
    typing = before is not None and wish.asked[0] != before.asked[0]
    counts = before.source[2] if before is not None and typing else browse.counts()
    listed = _listed(browse, wish, counts, wanted)
    keys, index, visible = listed.found.keys, wish.cursor, wish.visible
    if listed is not wish.listed:
        index = place(wish.selected, keys, wish.cursor)
        visible = around(keys, index, index + 1, margin=wish.height)
        if typing:
            visible = list(keys[max(index - wish.height, 0) : index + wish.height])
    selected = keys[index] if index < len(keys) else None
    rows = browse.runs(key for key in visible if key > 0)
    studies = browse.studies(-key for key in visible if key < 0)
    item = None
    if typing and not listed.found.whole:
        pass
    elif selected is not None and selected > 0:
        if selected not in rows:
            rows |= browse.runs([selected])
        item = _run_item(browse, selected, rows.get(selected), wish.tiles)
    elif selected is not None:
        if -selected not in studies:
            studies |= browse.studies([-selected])
        item = _study_item(browse, selected, studies.get(-selected), wish.tiles)
    tags = browse.tags([run.id for run in rows.values()])
    newest = None if counts else _newest_screening(browse)
    losses: Losses = {}
    if wish.losses is not None and listed.found.whole:  # not while one types
        losses = _losses(browse, rows, wish.losses)
    gone: frozenset[int] = frozenset()
    if before is not None and listed is not before:
        gone = _gone(browse, wish.marked, before)
    return Found(listed, rows, tags, studies, counts, losses, item, newest, gone)


def _gone(browse: Browse, marked: frozenset[int], before: Listed) -> frozenset[int]:
    """Return the keys of marked runs that were deleted.

    A later run may have the key of a deleted one, but only if the newest run was deleted, too: then
    no mark is certain.
    """
    newest = before.source[0][1]
    if newest is not None and browse.find(newest) is None:
        return marked
    return marked - browse.runs(marked).keys()


def _losses(browse: Browse, rows: Mapping[int, RunRow], known: Losses) -> Losses:
    """Read the losses of runs that have made steps since they were last read."""
    return {
        key: (run.steps_done, browse.losses(run.id, run.steps_done, LOSS_POINTS))
        for key, run in rows.items()
        if run.steps_done and (key not in known or known[key][0] != run.steps_done)
    }


def _run_item(browse: Browse, key: int, run: RunRow | None, tiles: int) -> Item:
    if run is None:
        return Item(key, [], [], [], [], None)
    frames = browse.best_frames(run, 1 + tiles) if run.state in ENDED else []
    if not frames and (preview := browse.newest_preview(run.id)) is not None:
        frames = [preview]
    steps = browse.steps(run.id, last=TREND_STEPS)
    return Item(key, steps, frames, tail(browse.log(run.id), TAIL_LINES), [], None)


def _study_item(browse: Browse, key: int, study: StudyRow | None, tiles: int) -> Item:
    if study is None:
        return Item(key, [], [], [], [], None)
    members = browse.study_runs(study.id)
    share = -(-tiles // max(len(members), 1)) if tiles else 0
    frames = [
        frame
        for run in members[: max(tiles, 1)]
        for frame in (browse.best_frames(run, max(share, 1)) if run.state in ENDED else [])
    ]
    return Item(key, [], frames, [], members, card.of_study(browse, study.id))


def _listed(
    browse: Browse, wish: Wish, counts: dict[str, int], wanted: Callable[[], bool]
) -> Listed:
    """Return the list, read again only if it may have changed: 100,000 runs take a while."""
    asked, before = wish.asked, wish.listed
    source = (browse.newest(), browse.archived(), counts)
    text, order, reverse = asked
    new_list = before is None or before.asked != asked
    now = time.monotonic()
    if before is not None and not new_list and before.found.whole and before.source == source:
        # Steps and words of active runs change without a change of state.
        moving = text or order not in _STEADY
        if not moving or now - before.at < LIST_SECONDS:
            return before
    first = bool(text) and new_list
    found = browse.keys(
        text,
        order,
        reverse=reverse,
        most=FIRST_RUNS if first else None,
        # Other orders yield their first run only at the end.
        seconds=FIRST_SECONDS if first and order == "study" else None,
        wanted=wanted,
    )
    return Listed(asked, source, now, found)


def _newest_screening(browse: Browse) -> NewestScreening | None:
    found = screenings.listed(browse, limit=_LATEST)
    if not found:
        return None
    one = found[0]
    if one["state"] not in ("running", "done"):  # an audit queues several, and ends one by one
        one = next((other for other in found if other["state"] == "running"), one)
    if one["state"] == "running":
        line = f"screening {one['id']}: " + stage_line(
            one["stage"] or "starting", one["done"], one["total"]
        )
    else:
        line = f"screening {one['id']}: {state_line(one['state'], one['error'])}"
    cards = card.of_screening(browse, one["id"]) if one["state"] == "done" else []
    return NewestScreening(line, cards)
