"""The list of runs: up to 100,000 rows, of which only the visible ones are read."""

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import Reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from dexter.config import TEMPLATES
from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import Lines, fit, strip_of
from dexter_tui.dashboard.host import Host, host_of
from dexter_tui.dashboard.run_columns import FIRST, Column, Layout, Sheet, placed, title
from dexter_tui.formatting import clean, short_spec, stage_line
from dexter_tui.presentation.run_tables import searched
from store.reading.browse import RunRow, StudyRow
from store.states import State

_MARGIN = 40  # rows read above and below the visible ones


class RunList(ScrollView, Lines, can_focus=True):
    """The runs, grouped under their studies unless sorted otherwise.

    `keys` come from `store.reading.browse.Browse.keys`. The message `Wanted` requests rows that are
    not loaded yet.
    """

    BINDINGS = bindings("list")
    # Without a layout of the whole screen, which each letter of the filter would cause.
    virtual_size = Reactive(Size(0, 0), layout=False)
    marked: Reactive[frozenset[int]] = Reactive(frozenset(), layout=False, init=True)

    class Wanted(Message):
        """The request to load rows that became visible."""

    class Moved(Message):
        """The cursor moved to another row."""

    class Opened(Message):
        """The user double-clicked a row."""

    class Sorted(Message):
        """The user clicked the title of a column."""

        def __init__(self, order: str) -> None:
            super().__init__()
            self.order = order

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.keys: array[int] = array("q")
        self.index = 0
        self.order = "study"
        self.reverse = False
        self.columns = Layout()
        self.losses: dict[int, tuple[int, list[float]]] = {}
        self.rows: dict[int, RunRow] = {}
        self.studies: dict[int, StudyRow] = {}
        self.tags: dict[str, list[str]] = {}

    # Data

    @property
    def grouped(self) -> bool:
        """True if the runs follow their study."""
        return self.order == "study"

    @property
    def shows_losses(self) -> bool:
        """True if the column of losses is shown."""
        return any(column.name == "loss" for column, _ in self._columns())

    @property
    def selected(self) -> int | None:
        """The key at the cursor."""
        return self.keys[self.index] if self.index < len(self.keys) else None

    @property
    def row_at_cursor(self) -> RunRow | StudyRow | None:
        """The run or study at the cursor, if it is loaded."""
        key = self.selected or 0
        return self.rows.get(key) if key > 0 else self.studies.get(-key)

    def visible_keys(self) -> list[int]:
        """Return the visible keys and some around them."""
        top = self.scroll_offset.y
        return around(self.keys, top, top + self.size.height)

    def show_keys(self, keys: "array[int]", order: str, *, reverse: bool) -> None:
        """Show a list; the cursor stays on its run if the list has it."""
        before, top, index = self.keys, self.scroll_offset.y, self.index
        self.index = place(self.selected, keys, index)
        same = (order, reverse, self.index) == (self.order, self.reverse, index)
        self.keys, self.order, self.reverse = keys, order, reverse
        self.virtual_size = Size(self.size.width, len(keys) + 1)
        self._scroll_update(self.virtual_size)
        self._follow()
        if not same or self.scroll_offset.y != top:
            self.refresh()
            return
        for row in range(top, top + self.size.height):  # only changed rows are redrawn
            if before[row : row + 1] != keys[row : row + 1]:
                self._refresh_row(row)

    def show_rows(
        self,
        rows: Mapping[int, RunRow],
        studies: Mapping[int, StudyRow],
        tags: Mapping[str, list[str]],
        losses: Mapping[int, tuple[int, list[float]]] = {},
    ) -> None:
        """Show the data of visible rows; only changed rows are redrawn.

        losses: of a run by its key, with the number of steps for which they were read.
        """
        if len(self.rows) > 20 * _MARGIN:
            self.rows.clear()
            self.studies.clear()
            self.losses.clear()
        top = self.scroll_offset.y
        for y, key in enumerate(self.keys[top : top + self.size.height]):
            run, study = rows.get(key), studies.get(-key)
            if (
                (
                    run is not None
                    and run._replace(heartbeat_at=None) != _without_heartbeat(self.rows.get(key))
                )
                or (study is not None and study != self.studies.get(-key))
                or (run is not None and tags.get(run.id) != self.tags.get(run.id))
                or losses.get(key, (0, ()))[1] != self.losses.get(key, (0, ()))[1]
            ):
                self._refresh_row(top + y)
        self.rows.update(rows)
        self.studies.update(studies)
        self.tags = dict(tags)
        self.losses.update(losses)

    def _refresh_row(self, row: int) -> None:
        self.refresh(Region(0, row - self.scroll_offset.y + 1, self.size.width, 1))

    def search_lines(self) -> list[str]:
        """Return the lines of the rows; those that were not read yet are empty."""
        width = self.columns_shown
        return [
            (self._study(-key, width) if key < 0 else self._run(key, width)).plain
            for key in self.keys
        ]

    def go_to_line(self, number: int) -> None:
        """Move the cursor to a row."""
        self.move(number)

    def chosen(self) -> list[int]:
        """Return the keys of the marked runs, or the key at the cursor."""
        if self.marked:
            return sorted(self.marked)
        key = self.selected
        return [] if key is None else [key]

    # Moving

    def action_cursor(self, by: int) -> None:
        self.move(self.index + by)

    def action_page(self, by: int) -> None:
        self.move(self.index + by * max(self.size.height - 2, 1))

    def action_ends(self, end: int) -> None:
        self.move(len(self.keys) - 1 if end else 0)

    def action_mark(self) -> None:
        key = self.selected
        if key is None:
            return
        keys = {key} if key > 0 else set(self._runs_below(self.index))
        self.marked = self.marked - keys if keys <= self.marked else self.marked | keys
        if key > 0:
            self.action_cursor(1)

    def watch_marked(self) -> None:
        """Show the number of marks: a filter hides marked runs, on which actions still act."""
        self.border_title = f"Runs, {len(self.marked):,} marked" if self.marked else "Runs"

    def _runs_below(self, index: int) -> Iterable[int]:
        for key in self.keys[index + 1 :]:
            if key < 0:
                return
            yield key

    def move(self, index: int) -> None:
        """Move the cursor to a row."""
        index = max(0, min(index, len(self.keys) - 1))
        if index != self.index:
            self._refresh_row(self.index)
            self.index = index
            self._follow()
            self._refresh_row(index)
            self.post_message(self.Moved())

    def _follow(self) -> None:
        """Scroll to the cursor; the heading takes the first line."""
        top, height = self.scroll_offset.y, max(self.size.height - 1, 1)
        if self.index < top:
            self.scroll_to(y=self.index, animate=False, force=True)
        elif self.index >= top + height:
            self.scroll_to(y=self.index - height + 1, animate=False, force=True)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and offset.y > 0:
            row = self.scroll_offset.y + offset.y - 1
            if row < len(self.keys):
                self.move(row)
                if event.chain == 2:
                    self.post_message(self.Opened())
        elif offset is not None:
            start = FIRST
            for column, width in self._columns():
                if start <= offset.x <= start + width and column.order is not None:
                    self.post_message(self.Sorted(column.order))
                start += width + 1

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.keys) + 1)
        self._follow()

    def watch_scroll_y(self, old: float, new: float) -> None:
        super().watch_scroll_y(old, new)
        if any(
            (key not in self.rows if key > 0 else -key not in self.studies)
            for key in self.keys[int(new) : int(new) + self.size.height]
        ):
            self.post_message(self.Wanted())

    # Drawing

    @property
    def _host(self) -> Host:
        return host_of(self)

    def line(self, y: int) -> Strip:
        width = self.columns_shown
        if y == 0:
            return strip_of(self._heading(), width, self._host.palette.dim)
        row = self.scroll_offset.y + y - 1
        if row >= len(self.keys):
            return Strip.blank(width)
        key = self.keys[row]
        at_cursor = row == self.index
        text = self._study(-key, width) if key < 0 else self._run(key, width)
        style = self._host.palette.cursor if at_cursor else ""
        if at_cursor and not self.has_focus:
            style = f"{style} dim" if "reverse" in style else style
        return strip_of(text, width, style)

    def _columns(self) -> list[tuple[Column, int]]:
        width = self.columns_shown
        return placed(self.columns, width, grouped=self.grouped, order=self.order)

    def _heading(self) -> Text:
        text = Text(" " * FIRST)
        for column, width in self._columns():
            shown = title(column, width, self.order, reverse=self.reverse)
            text.append(f"{shown:<{width}} ")
        return text

    def _study(self, key: int, width: int) -> Text:
        palette, signs = self._host.palette, self._host.signs
        study = self.studies.get(key)
        if study is None:
            return Text(f" {signs.dot}", style=palette.dim)
        text = Text(" ")
        text.append(clean(study.id), palette.dim)
        text.append("  ")
        text.append(fit(short_spec(study.classifier), 28), "bold")
        text.append(f" {signs.arrow} ", palette.dim)
        text.append(fit(clean(study.class_name), 24), f"bold {palette.accent}")
        text.append("  ")
        for state in State:
            if count := study.states.get(state):
                text.append(f"{signs.states[state]}{count} ", palette.state(state))
        if study.stage is not None:
            stage = study.stage
            text.append(
                f" report: {stage_line(stage.name, stage.done, stage.total)} ", palette.active
            )
        elif study.claims:
            if study.finding is not None and study.effect is not None:
                text.append(f" {fit(clean(study.finding), 16)} {study.effect:+z.2f} ", palette.bad)
            text.append(f" {study.confirmed} of {study.claims} claims confirmed ", palette.good)
        if text.cell_len < width - 12:
            template = clean(template_text(study.settings))
            text.append(f" {fit(template, width - text.cell_len - 2, signs.ellipsis)}", palette.dim)
        return text

    def _run(self, key: int, width: int) -> Text:
        palette, signs = self._host.palette, self._host.signs
        run = self.rows.get(key)
        text = Text().append(signs.mark if key in self.marked else " ", palette.accent)
        if run is None:
            return text.append(f"   {signs.dot}", palette.dim)
        text.append(" ").append(signs.states[run.state], palette.state(run.state)).append(" ")
        tags = clean(" ".join(f"#{tag}" for tag in self.tags.get(run.id, ())))
        sheet = Sheet(palette, signs, {key: self.losses.get(key, (0, ()))[1]})
        end = FIRST
        for column, columns in self._columns():
            room = columns
            if column.name == "words" and tags:
                tags = fit(tags, max(columns // 2, 0), signs.ellipsis)
                room = max(columns - cell_len(tags) - 1, 0)
            column.cell(text, run, room, sheet)
            end += columns + 1
            if column.name != "words":
                text.pad_right(max(end - text.cell_len, 0))
        if tags:
            text.append(f" {tags}", palette.primary)
        return text


def place(selected: int | None, keys: "array[int]", index: int) -> int:
    """Return the index of the selected run in another list, or the old index."""
    try:
        return keys.index(selected or 0)
    except ValueError:
        return min(index, max(len(keys) - 1, 0))


def around(keys: "array[int]", first: int, end: int, *, margin: int = 0) -> list[int]:
    """Return the keys of these rows and some around them."""
    margin += _MARGIN
    return list(keys[max(first - margin, 0) : end + margin])


def _without_heartbeat(run: RunRow | None) -> RunRow | None:
    """Return a run without its heartbeat, which changes often and is not shown."""
    return None if run is None else run._replace(heartbeat_at=None)


def template_text(settings: Mapping[str, Any]) -> str:
    """Return the template of a run or study as text."""
    name = str(settings.get("template", ""))
    return searched({**settings, "template": TEMPLATES.get(name, name)})
