"""The first screen: all studies and runs, with details of the selected one."""

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import Static

from dexter_tui.dashboard import operations
from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.host import Copied
from dexter_tui.dashboard.run_columns import Layout
from dexter_tui.dashboard.screens.home import view
from dexter_tui.dashboard.screens.home.choosers import ColumnsDialog
from dexter_tui.dashboard.screens.home.detail import Detail
from dexter_tui.dashboard.screens.home.filtering import Filtering, FilterInput
from dexter_tui.dashboard.screens.home.reading import Asked, Found, Listed, Wish, read
from dexter_tui.dashboard.screens.home.welcome import welcome
from dexter_tui.dashboard.widgets.device_strip import DeviceStrip
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.run_list import RunList
from dexter_tui.formatting import clean, short_path
from store.reading.browse import ORDERS, RunRow
from store.states import AGAIN, ENDED, State

REST_SECONDS = 0.3  # pause in typing after which the rest of the list is read
_LOWEST = 20  # lines of a narrow terminal that has room for the list and the details
# Actions that need a run.
_NEED_RUNS = {
    "open", "filter", "sort", "reverse", "pause", "cancel", "retry", "prioritise", "tag", "note",
    "archive", "delete", "export", "filters", "columns",
}  # fmt: skip


class HomeScreen(Filtering):
    """The list of runs, with details, devices and keys."""

    BINDINGS = bindings("search", "home")
    AUTO_FOCUS = "#runs"

    def __init__(self) -> None:
        super().__init__()
        self._order = "study"
        self._reverse = False
        self._listed: Listed | None = None
        self._rest_due: Timer | None = None
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
                yield RunList(id="runs", classes="panel")
            yield Detail()
        with Container(id="welcome"):
            yield Static(id="welcome-text")
        yield DeviceStrip(id="devices")
        yield KeyBar()

    def on_mount(self) -> None:
        self.runs.columns = view.layout(self.host.remembered)
        self._order, self._reverse = view.order(self.host.remembered)

    def on_resize(self) -> None:
        # A few lines are the list's: without one, there is nothing to preview.
        self.query_one(Detail).set_class(self.size.height < _LOWEST, "-no-room")

    # Reading

    def wish(self) -> Wish:
        runs = self.runs
        return Wish(
            self._asked(),
            runs.visible_keys(),
            runs.index,
            runs.selected,
            runs.size.height,
            self._listed,
            runs.losses if runs.shows_losses else None,
            self.query_one(Detail).tiles,
            runs.marked,
        )

    @property
    def is_asking(self) -> bool:
        shown = self._found is not None and self._found.listed.asked == self._asked()
        return self._loading and not shown

    def _asked(self) -> Asked:
        return self.filter, self._order, self._reverse

    def load(self, wish: Wish) -> Found:
        return read(self.host.browse, wish, lambda: wish.asked == self._asked())

    def show(self, data: Found) -> None:
        if data.listed.asked != self._asked():
            return  # a newer request is under way
        self._found = data
        runs = self.runs
        runs.marked -= data.gone
        total = sum(data.counts.values())
        self.set_class(total == 0, "-empty")
        if total and self.focused is None:  # the list was hidden until now
            self.call_after_refresh(runs.focus)
        if total == 0:
            shown = welcome(self.host, data.newest, self.size.width)
            self.query_one("#welcome-text", Static).update(shown)
        if data.listed is not self._listed:
            self._listed = data.listed
            if self._rest_due is not None:
                self._rest_due.stop()
                self._rest_due = None
            text, order, reverse = data.listed.asked
            found = data.listed.found
            runs.show_keys(found.keys, order, reverse=reverse)
            if found.whole and self.stepping and found.runs:
                self.show_match()
            elif found.whole:
                runs.border_subtitle = _count_text(
                    found.runs, total if text or found.runs < total else None, order, reverse
                )
            else:
                self._rest_due = self.set_timer(REST_SECONDS, self._rest)
        runs.show_rows(data.rows, data.studies, data.tags, data.losses)
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
        self.query_one("#title", TextLines).put(text)

    def _show_detail(self, data: Found) -> None:
        runs, detail, key = self.runs, self.query_one(Detail), self.runs.selected
        if key is None:
            hint = "All runs are archived; the filter tag:archived shows them."
            if self.filter:
                hint = f"no match for {clean(self.filter)}; press esc to clear the filter"
            detail.show_nothing(hint if data.listed.found.whole else "searching ...")
        elif data.item is None:
            return  # it follows with the rest of the list
        elif key != data.item.key:
            self.reload()  # the cursor has moved
        elif key < 0 and (study := runs.studies.get(-key)) is not None:
            detail.show_study(study, data.item)
        elif key > 0 and (run := runs.rows.get(key)) is not None:
            detail.show_run(run, data.item, self._answers_here())

    def _answers_here(self) -> list[str]:
        runs = self.runs
        for key in reversed(runs.keys[: runs.index + 1]):
            if key < 0 and -key in runs.studies:
                return runs.studies[-key].answers
        return []

    def action_preview(self) -> None:
        self.query_one(Detail).show_next()

    # Moving

    @on(RunList.Moved)
    @on(RunList.Wanted)
    def _moved(self) -> None:
        self.reload()

    @on(RunList.Opened)
    def action_open(self) -> None:
        key = self.runs.selected
        if key is None:
            return
        runs = self.runs
        if key > 0 and key in runs.rows:
            self.host.open_run(runs.rows[key].id)
        elif key < 0 and -key in runs.studies:
            self.host.open_study(runs.studies[-key].id)

    def action_sort(self) -> None:
        orders = list(ORDERS)
        self._sort(orders[(orders.index(self._order) + 1) % len(orders)], self._reverse)

    def action_reverse(self) -> None:
        self._sort(self._order, not self._reverse)

    def _sort(self, order: str, reverse: bool) -> None:
        self._order, self._reverse = order, reverse
        view.put_order(self.host.remembered, order, reverse=reverse)
        self.reload()

    def _sort_by(self, order: str) -> None:
        """Sort by a column; reverse the list if it is sorted by it."""
        self._sort(order, order == self._order and not self._reverse)

    @on(RunList.Sorted)
    def _title_clicked(self, message: RunList.Sorted) -> None:
        self._sort_by(message.order)

    def action_columns(self) -> None:
        def change(chosen: Layout) -> None:
            self.runs.columns = chosen
            self.runs.refresh()
            view.put_layout(self.host.remembered, chosen)
            self.reload()

        self.app.push_screen(ColumnsDialog(self.runs.columns, change, self._sort_by))

    def action_new(self) -> None:
        self.host.open_start()

    def action_demo(self) -> None:
        def start() -> str:
            screening_id = operations.demo(self.host.home)
            self.app.call_from_thread(self.host.open_screening, screening_id)
            return "Two classifiers look at one bank of pictures; the verdicts follow"

        self.host.inform("starting the demo")
        self.do(start)

    def list_again(self) -> None:
        self._listed = None
        self.runs.marked = frozenset()
        self.reload()

    # Other screens

    def action_screenings(self) -> None:
        self.host.open_screenings()

    def action_data_reports(self) -> None:
        self.host.open_data_reports()

    def action_devices(self) -> None:
        self.host.open_devices()

    def action_query(self) -> None:
        self.host.open_query()

    def copied(self) -> Copied | None:
        row = self.runs.row_at_cursor
        return None if row is None else Copied(row.id, row.id)

    def action_leave(self) -> None:
        self.app.exit()

    def pointless(self, action: str) -> bool:
        runs = self.runs
        if action in ("compare", "query"):  # comparisons may exist although their runs were deleted
            return self.has_class("-empty")
        if action == "preview":
            return not (self.query_one(Detail).has_next and self.host.options.low_bandwidth)
        count = 0 if self._listed is None else self._listed.found.runs
        if action in ("sort", "reverse"):
            return count < 2
        if action in ("next_match", "previous_match"):  # of the filter
            return count == 0
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
        if action in ("next_match", "previous_match"):
            return bool(self.filter)
        if action in ("search", "end_search"):  # the filter serves instead
            return False
        if self.has_class("-empty") and action in _NEED_RUNS:
            return False
        return super().check_action(action, parameters)


def _count_text(shown: int, total: int | None, order: str, reverse: bool) -> str:
    some = f" of {total:,}" if total is not None else ""
    runs = "run" if shown == 1 and total is None else "runs"
    by = "grouped by study" if order == "study" else f"sorted by {order}"
    return f"{shown:,}{some} {runs}, {by}{', reversed' if reverse else ''}"
