"""The first screen: all studies and runs, with details of the selected one."""

import time
from typing import NamedTuple

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, Static

from dexter_tui.dashboard import operations
from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.host import Copied
from dexter_tui.dashboard.screens.base import DataScreen, entitle
from dexter_tui.dashboard.themes import Palette
from dexter_tui.dashboard.widgets.device_strip import DeviceStrip
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.log_view import Tail, tail
from dexter_tui.dashboard.widgets.picture import Picture
from dexter_tui.dashboard.widgets.run_list import RunList, around, place
from dexter_tui.dashboard.widgets.summaries import (
    frame_caption,
    run_facts,
    study_facts,
    verdict_lines,
)
from dexter_tui.formatting import clean, short_path, short_spec
from store.reading import card, screenings
from store.reading.browse import ORDERS, Browse, FrameRow, Keys, RunRow, StepRow, StudyRow
from store.reading.card import VerdictCard
from store.reading.filters import FilterError, compile_filter
from store.states import AGAIN, ENDED, State

PREVIEW_SECONDS = 2.0  # between two pictures: 24 by 12 cells are 10 kB over the line
TREND_STEPS = 400
TAIL_LINES = 40
LIST_SECONDS = 2.0  # between two reads of a list that changes while runs are active
FIRST_RUNS = 300  # shown at once after a change of the filter
REST_SECONDS = 0.3  # pause in typing after which the rest of the list is read
_WELCOME_WIDTH = 100  # columns
_WELCOME_CARDS = 3
_LOWEST = 20  # lines of a narrow terminal that has room for the list and the details
# Actions that need a run.
_NEED_RUNS = {
    "open", "filter", "sort", "reverse", "pause", "cancel", "retry", "prioritise", "tag", "note",
    "archive", "delete", "export",
}  # fmt: skip


class Wish(NamedTuple):
    """The state of the screen that `load` needs."""

    asked: tuple[str, str, bool]
    """Filter, order, and True for the reverse order"""
    visible: list[int]
    cursor: int
    """The row of the cursor"""
    selected: int | None
    height: int
    """The number of rows that fit"""
    listed: "Listed | None"
    """The list as it was last read"""


class Listed(NamedTuple):
    """A list of runs, with the state of the store that it was read from."""

    asked: tuple[str, str, bool]
    """As in `Wish`"""
    source: tuple[tuple[int, int], int, dict[str, int]]
    """The newest rows and the number of runs by state; most lists change only with these"""
    at: float
    found: Keys


class Preview(NamedTuple):
    """The pictures beside the facts: a frame, or the two sides of a pair."""

    pictures: tuple[str, ...]
    caption: Text


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
    selected: int | None
    steps: list[StepRow]
    preview: FrameRow | None
    log: list[str]
    members: list[RunRow]
    card: VerdictCard | None
    newest: NewestScreening | None
    """Only of a store without runs"""


class FilterInput(Input):
    """The filter; errors appear below as you type."""

    BINDINGS = bindings("filter")

    class Left(Message):
        """The request to focus the list."""

    def action_accept(self) -> None:
        self.post_message(self.Left())

    def action_drop(self) -> None:
        self.value = ""
        self.post_message(self.Left())


class HomeScreen(DataScreen):
    """The list of runs, with details, devices and keys."""

    BINDINGS = bindings("home")
    AUTO_FOCUS = "#runs"

    def __init__(self) -> None:
        super().__init__()
        self._order = "study"
        self._reverse = False
        self._filter = ""
        self._listed: Listed | None = None
        self._rest_due: Timer | None = None
        self._preview_due: Timer | None = None
        self._next_preview: Preview | None = None
        self._shown: str | None = None  # the run or study beside the list
        self._found: Found | None = None

    def compose(self) -> ComposeResult:
        self.set_class(not self.host.browse.path.exists(), "-empty")
        yield TextLines(id="title")
        with Horizontal(id="home-body"):
            with Vertical(id="left"):
                yield FilterInput(
                    id="filter", placeholder="state:running classifier:birds* words~sea score>0.8"
                )
                yield Static(id="filter-error", markup=False)
                runs = RunList(id="runs", classes="panel")
                runs.border_title = "Runs"
                yield runs
            with Vertical(id="detail", classes="panel"):
                yield TextLines(id="facts")
                with Horizontal(id="shown"):
                    yield Picture(self.host.pictures, id="preview")
                    yield Picture(self.host.pictures, id="preview-with")
                    yield Static(id="caption")
                yield Tail(id="tail")
        with Container(id="welcome"):
            yield Static(id="welcome-text")
        yield DeviceStrip(id="devices")
        yield KeyBar()

    def on_resize(self) -> None:
        # A few lines are the list's: without one, there is nothing to preview.
        self.query_one("#detail").set_class(self.size.height < _LOWEST, "-no-room")

    # Reading

    def wish(self) -> Wish:
        runs = self.query_one(RunList)
        return Wish(
            self._asked(),
            runs.visible_keys(),
            runs.index,
            runs.selected,
            runs.size.height,
            self._listed,
        )

    @property
    def is_asking(self) -> bool:
        shown = self._found is not None and self._found.listed.asked == self._asked()
        return self._loading and not shown

    def _asked(self) -> tuple[str, str, bool]:
        return self._filter, self._order, self._reverse

    def load(self, wish: Wish) -> Found:
        browse = self.host.browse
        counts = browse.counts()
        listed = self._list(wish, counts)
        keys, index, visible = listed.found.keys, wish.cursor, wish.visible
        if listed is not wish.listed:
            index = place(wish.selected, keys, wish.cursor)
            visible = around(keys, index, index + 1, margin=wish.height)
        selected = keys[index] if index < len(keys) else None
        rows = browse.runs(key for key in visible if key > 0)
        studies = browse.studies(-key for key in visible if key < 0)
        steps: list[StepRow] = []
        preview, log, members, found_card = None, [], [], None
        if selected is not None and selected > 0:
            if selected not in rows:
                rows |= browse.runs([selected])
            if run := rows.get(selected):
                steps = browse.steps(run.id, last=TREND_STEPS)
                ended = run.state in ENDED
                preview = (browse.best_frame(run.id) if ended else None) or (
                    browse.newest_preview(run.id)
                )
                log = tail(browse.log(run.id), TAIL_LINES)
        elif selected is not None:
            if -selected not in studies:
                studies |= browse.studies([-selected])
            if study := studies.get(-selected):
                members = browse.study_runs(study.id)
                found_card = card.of_study(browse, study.id)
        tags = browse.tags([run.id for run in rows.values()])
        return Found(
            listed, rows, tags, studies, counts, selected, steps, preview, log, members, found_card,
            None if counts else _newest_screening(browse),
        )  # fmt: skip

    def _list(self, wish: Wish, counts: dict[str, int]) -> Listed:
        """Return the list, read again only if it may have changed: 100,000 runs take a while."""
        browse, before = self.host.browse, wish.listed
        asked, source = wish.asked, (browse.newest(), browse.archived(), counts)
        text, order, reverse = asked
        new_list = before is None or before.asked != asked
        now = time.monotonic()
        if before is not None and not new_list and before.found.whole and before.source == source:
            # Steps and words of active runs change without a change of state.
            moving = text or order not in ("study", "created", "classifier", "class")
            if not moving or now - before.at < LIST_SECONDS:
                return before
        found = browse.keys(
            text,
            order,
            reverse=reverse,
            most=FIRST_RUNS if text and new_list else None,
            wanted=lambda: asked == self._asked(),
        )
        return Listed(asked, source, now, found)

    def show(self, data: Found) -> None:
        if data.listed.asked != self._asked():
            return  # a newer request is under way
        self._found = data
        runs = self.query_one(RunList)
        total = sum(data.counts.values())
        self.set_class(total == 0, "-empty")
        if total and self.focused is None:  # the list was hidden until now
            self.call_after_refresh(runs.focus)
        if total == 0:
            self.query_one("#welcome-text", Static).update(self._welcome(data.newest))
        if data.listed is not self._listed:
            self._listed = data.listed
            if self._rest_due is not None:
                self._rest_due.stop()
                self._rest_due = None
            text, order, reverse = data.listed.asked
            found = data.listed.found
            runs.show_keys(found.keys, grouped=order == "study")
            if found.whole:
                runs.border_subtitle = _count_text(
                    found.runs, total if text or found.runs < total else None, order, reverse
                )
            else:
                self._rest_due = self.set_timer(REST_SECONDS, self._rest)
        runs.show_rows(data.rows, data.studies, data.tags)
        self._show_title(data.counts)
        self._show_detail(data)
        self.refresh_bindings()

    def _rest(self) -> None:
        self._rest_due = None
        self.reload()

    def _show_title(self, counts: dict[str, int]) -> None:
        palette, signs = self.host.palette, self.host.signs
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("dexter-tui", f"bold {palette.primary}")
        if self.host.options.read_only:
            text.append("  read-only", palette.warn)
        for state in State:
            if count := counts.get(state):
                text.append(
                    f"   {signs.states[state]} {count:,} {state.value}", palette.state(state)
                )
        text.append(f"   {short_path(self.host.home)}", palette.dim)
        self._update("#title", text)

    def _show_detail(self, data: Found) -> None:
        runs = self.query_one(RunList)
        panel = self.query_one("#detail")
        width = max(self.query_one("#facts").size.width, 20)
        palette, signs = self.host.palette, self.host.signs
        key = runs.selected
        if key is None:
            entitle(panel, "")
            hint = (
                "No run matches the filter; press esc to clear it."
                if self._filter
                else "All runs are archived; the filter tag:archived shows them."
            )
            self._update("#facts", Text(hint, style=palette.dim))
            self._show_preview(None)
            self.query_one(Tail).show([])
            return
        if key != data.selected:
            self.reload()  # the cursor has moved
            return
        if key < 0:
            study = runs.studies.get(-key)
            if study is not None:
                entitle(panel, f"Study {clean(study.id)}")
                self._update(
                    "#facts", study_facts(study, data.members, data.card, width, palette, signs)
                )
                self._show_item(study.id)
                self._offer_preview(_of_pair(data.card, palette))
            self.query_one(Tail).show([])
            return
        run = runs.rows.get(key)
        if run is None:
            return
        entitle(panel, f"Run {clean(run.id)} {signs.dot} seed {run.seed}")
        spaced = self.size.height >= 32
        facts = run_facts(run, data.steps, width, palette, signs, spaced=spaced)
        self._update("#facts", facts)
        self._show_item(run.id)
        if (frame := data.preview) is not None:
            caption = frame_caption(frame, self._labels_here(), palette)
            self._offer_preview(Preview((frame.sha256,), caption))
        self.query_one(Tail).show(data.log)

    def _show_item(self, name: str) -> None:
        """Drop the preview of another run or study."""
        if name != self._shown:
            self._shown = name
            self._show_preview(None)
            self._cancel_preview()

    def _update(self, selector: str, text: Text) -> None:
        """Set a text; only changed lines are redrawn."""
        self.query_one(selector, TextLines).put(text)

    # The preview: at most one every 2 seconds, or only on a key

    def _offer_preview(self, preview: Preview | None) -> None:
        shown = self.query_one("#preview", Picture).sha256
        if preview is None or preview.pictures[0] == shown:
            return
        self._next_preview = preview
        self.refresh_bindings()
        if self.host.options.low_bandwidth:
            return
        if shown is None and self._preview_due is None:
            self._due()
        elif self._preview_due is None:
            self._preview_due = self.set_timer(PREVIEW_SECONDS, self._due)

    def _due(self) -> None:
        self._preview_due = None
        if self._next_preview is not None:
            self._show_preview(self._next_preview)
            self._next_preview = None
            self._preview_due = self.set_timer(PREVIEW_SECONDS, self._due)

    def _cancel_preview(self) -> None:
        if self._preview_due is not None:
            self._preview_due.stop()
        self._preview_due = self._next_preview = None

    def _show_preview(self, preview: Preview | None) -> None:
        picture = self.query_one("#preview", Picture)
        if (picture.sha256, preview) == (None, None) and not self.host.options.low_bandwidth:
            return
        other = self.query_one("#preview-with", Picture)
        pictures = preview.pictures if preview is not None else ()
        picture.sha256 = pictures[0] if pictures else None
        other.sha256 = pictures[1] if len(pictures) > 1 else None
        other.display = len(pictures) > 1
        if preview is None:
            hint = "press v to load the preview" if self.host.options.low_bandwidth else ""
            self._caption(Text(hint, style=self.host.palette.dim))
        else:
            self._caption(preview.caption)

    def _caption(self, text: Text) -> None:
        self.query_one("#caption", Static).update(text, layout=False)

    def _labels_here(self) -> list[str]:
        runs = self.query_one(RunList)
        for key in reversed(runs.keys[: runs.index + 1]):
            if key < 0 and -key in runs.studies:
                return runs.studies[-key].labels
        return []

    def action_preview(self) -> None:
        if self._next_preview is not None:
            self._show_preview(self._next_preview)
            self._next_preview = None

    # Moving

    @on(RunList.Moved)
    @on(RunList.Wanted)
    def _moved(self) -> None:
        self.reload()

    @on(RunList.Opened)
    def action_open(self) -> None:
        key = self.query_one(RunList).selected
        if key is None:
            return
        runs = self.query_one(RunList)
        if key > 0 and key in runs.rows:
            self.host.open_run(runs.rows[key].id)
        elif key < 0 and -key in runs.studies:
            self.host.open_study(runs.studies[-key].id)

    def action_sort(self) -> None:
        orders = list(ORDERS)
        self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self.reload()

    def action_reverse(self) -> None:
        self._reverse = not self._reverse
        self.reload()

    # Filter

    def action_filter(self) -> None:
        box = self.query_one("#filter", FilterInput)
        box.add_class("-open")
        # The error line stays while the filter is open: a list that moves by a line is redrawn.
        self.query_one("#filter-error").add_class("-open")
        box.focus()

    @on(Input.Changed, "#filter")
    def _typed(self) -> None:
        # Without delay: text typed during a read causes one more read.
        self._apply_filter()

    def _apply_filter(self) -> None:
        text = self.query_one("#filter", FilterInput).value
        error = self.query_one("#filter-error", Static)
        try:
            compile_filter(text)
        except FilterError as refused:
            error.update(clean(refused))
            return
        error.update("")
        if text != self._filter:
            self._filter = text
            self.reload()

    @on(FilterInput.Left)
    def _leave_filter(self) -> None:
        self._apply_filter()
        box = self.query_one("#filter", FilterInput)
        box.set_class(bool(box.value), "-open")
        error = self.query_one("#filter-error", Static)
        error.set_class(bool(box.value and error.content), "-open")
        self.query_one(RunList).focus()

    def action_clear(self) -> None:
        runs = self.query_one(RunList)
        if runs.marked:
            runs.marked = set()
            runs.refresh()
        elif self._filter:
            self.query_one("#filter", FilterInput).value = ""
            self._leave_filter()

    # Runs

    def _chosen(self) -> list[RunRow]:
        keys = self.query_one(RunList).chosen()
        browse = self.host.browse
        runs = list(browse.runs(key for key in keys if key > 0).values())
        for study in browse.studies(-key for key in keys if key < 0).values():
            runs += browse.study_runs(study.id)
        return runs

    def action_new(self) -> None:
        self.host.open_start()

    def action_demo(self) -> None:
        def start() -> str:
            screening_id = operations.demo(self.host.home)
            self.app.call_from_thread(self.host.open_screening, screening_id)
            return "Two classifiers look at one bank of pictures; the verdicts follow"

        self.host.inform("starting the demo")
        self.do(start)

    def action_pause(self) -> None:
        runs = self._chosen()
        if runs:
            self.do(lambda: operations.pause(self.host.home, runs))

    def action_cancel(self) -> None:
        runs = self._chosen()
        if runs:
            self.confirm_cancel(runs)

    def action_retry(self) -> None:
        runs = self._chosen()
        if runs:
            self.do(lambda: operations.retry(self.host.home, runs))

    def action_prioritise(self, by: int) -> None:
        runs = self._chosen()
        if runs:
            self.do(lambda: operations.prioritise(self.host.home, runs, by))

    def _names(self) -> list[str]:
        """Return the ids of the marked or selected runs and studies."""
        keys = self.query_one(RunList).chosen()
        browse = self.host.browse
        names = [run.id for run in browse.runs(key for key in keys if key > 0).values()]
        names += [study.id for study in browse.studies(-key for key in keys if key < 0).values()]
        return names

    def action_export(self) -> None:
        if names := self._names():
            self.export(names)

    def action_tag(self) -> None:
        if runs := self._chosen():
            self.ask_tag(runs)

    def action_note(self) -> None:
        runs = self.query_one(RunList)
        if (row := runs.row_at_cursor) is not None:
            self.edit_note(row.id)

    def action_archive(self) -> None:
        names = self._names()

        def archive() -> str:
            line = operations.archive(self.host.home, names)
            self.app.call_from_thread(self._list_again)
            return line

        if names:
            self.do(archive)

    def _list_again(self) -> None:
        self._listed = None
        self.query_one(RunList).marked.clear()
        self.reload()

    def action_delete(self) -> None:
        if names := self._names():
            self.confirm_delete(names)

    def action_compare(self) -> None:
        keys = self.query_one(RunList).marked
        studies = {run.study_id for run in self.host.browse.runs(k for k in keys if k > 0).values()}
        studies |= {s.id for s in self.host.browse.studies(-k for k in keys if k < 0).values()}
        if len(studies) < 2 or self.host.options.read_only:
            self.host.open_comparisons()
        else:
            self.host.open_new_comparison(sorted(studies))

    def action_screenings(self) -> None:
        self.host.open_screenings()

    def action_data_reports(self) -> None:
        self.host.open_data_reports()

    def action_devices(self) -> None:
        self.host.open_devices()

    def action_query(self) -> None:
        self.host.open_query()

    def copied(self) -> Copied | None:
        row = self.query_one(RunList).row_at_cursor
        return None if row is None else Copied(row.id, row.id)

    def action_leave(self) -> None:
        self.app.exit()

    def pointless(self, action: str) -> bool:
        runs = self.query_one(RunList)
        if action in ("compare", "query"):  # comparisons may exist although their runs were deleted
            return self.has_class("-empty")
        if action == "preview":
            return self._next_preview is None or not self.host.options.low_bandwidth
        if runs.marked or action not in ("pause", "cancel", "retry"):
            return False
        row = runs.row_at_cursor
        if row is None:
            return True
        states = {row.state} if isinstance(row, RunRow) else set(map(State, row.states))
        if action == "retry":
            return not states & AGAIN
        return states <= ENDED

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "demo" and not self.has_class("-empty"):
            return False
        if self.has_class("-empty") and action in _NEED_RUNS:
            return False
        return super().check_action(action, parameters)

    def _welcome(self, newest: NewestScreening | None) -> Text:
        palette = self.host.palette
        text = Text()
        text.append("dexter-tui\n", f"bold {palette.primary}")
        text.append("finds out what an image classifier looks for, and describes it in words\n\n")
        text.append("This store has no runs yet.\n\n", palette.dim)
        if newest is not None:
            width = min(max(self.size.width - 8, 40), _WELCOME_WIDTH)
            for line in _screening_lines(newest, width, palette):
                text.append_text(line).append("\n")
            text.append("\n")
        keys = [("?", "show all keys")]
        if self.host.options.read_only:
            text.append("Read-only: start a run from another terminal.\n\n", palette.warn)
        else:
            keys = [
                ("d", "run the demo: which of two classifiers uses the sea for a waterbird?"),
                ("n", "audit a model of your own: three questions"),
                *keys,
            ]
        if newest is not None:
            keys = [("i", "open the screenings"), *keys]
        for key, label in keys:
            text.append(f" {key} ", f"bold {palette.accent}")
            text.append(f" {label}\n")
        return text


def _newest_screening(browse: Browse) -> NewestScreening | None:
    found = screenings.listed(browse, limit=1)
    if not found:
        return None
    [one] = found
    if one["state"] == "running":
        line = f"screening {one['id']}: {one['stage'] or 'begins'} {one['done']}/{one['total']}"
    else:
        line = f"screening {one['id']}: {one['state']}"
    cards = card.of_screening(browse, one["id"]) if one["state"] == "done" else []
    return NewestScreening(line, cards)


def _screening_lines(newest: NewestScreening, width: int, palette: Palette) -> list[Text]:
    """Return the state of a screening, and the verdict on each of its first classifiers."""
    lines = [Text(clean(newest.line), palette.primary)]
    for one in newest.cards[:_WELCOME_CARDS]:
        lines.append(Text(clean(f"{short_spec(one.classifier)} · {one.class_name}"), "bold"))
        lines += verdict_lines(one, width, palette)
    more = len(newest.cards) - _WELCOME_CARDS
    if more > 0:
        lines.append(Text(f"and {more} more", palette.dim))
    return lines


def _of_pair(card: VerdictCard | None, palette: Palette) -> Preview | None:
    """Return the pair of a card; None without one, or where its pictures are gone."""
    if card is None or card.pair is None:
        return None
    sides = [card.pair["control"], card.pair["treated"]]
    if any(side["tile"] is None for side in sides):
        return None
    caption = Text()
    for word, side in zip(("without", "with"), sides, strict=True):
        caption.append(f"{word}\n", palette.dim)
        caption.append(f"p(class) {side['p']:.2f}\n", "bold")
        caption.append(f"{clean(side['prompt'])}\n\n", "italic")
    return Preview((sides[0]["tile"], sides[1]["tile"]), caption)


def _count_text(shown: int, total: int | None, order: str, reverse: bool) -> str:
    some = f" of {total:,}" if total is not None else ""
    runs = "run" if shown == 1 and total is None else "runs"
    by = "grouped by study" if order == "study" else f"sorted by {order}"
    return f"{shown:,}{some} {runs}, {by}{', reversed' if reverse else ''}"
