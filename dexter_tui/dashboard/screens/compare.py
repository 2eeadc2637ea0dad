"""Comparisons: the claims in a matrix, with the pictures behind each cell, and all the rest."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import ContentSwitcher, OptionList
from textual.widgets.option_list import Option

from dexter_tui.dashboard import operations
from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import Lines, Pictures, TextLines, fit, strip_of
from dexter_tui.dashboard.host import host_of
from dexter_tui.dashboard.screens.base import DataScreen, entitle
from dexter_tui.dashboard.screens.tabbed_screen import PagesScreen
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.picture import Picture
from dexter_tui.dashboard.widgets.tabs import TabBar, TextPage
from dexter_tui.formatting import clean, short_spec
from dexter_tui.presentation import comparison_tables
from store.reading import comparisons

_CONCEPT, _CELL = 18, 24  # cells of the terminal
_SHOWN = ("all", "differ", "agree")
Page = Mapping[str, Any]


class Matrix(ScrollView, Lines, can_focus=True):
    """Concepts by classifiers; the columns scroll together, the concepts stay in sight."""

    BINDINGS = bindings("matrix")

    class Moved(Message):
        """The cursor is on another cell."""

    class Opened(Message):
        """The pictures of a cell are wanted."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.page: Page | None = None
        self.rows: list[tuple[str, str]] = []
        self.row = self.column = 0
        self.shown = "all"
        self._at: tuple[str, str] | None = None  # the row under the cursor, also while it is hidden
        self._cells: dict[tuple[str, str, str], Mapping[str, Any]] = {}

    @property
    def names(self) -> list[str]:
        """The classifiers."""
        return list(self.page["classifiers"]) if self.page else []

    @property
    def selected(self) -> Mapping[str, Any] | None:
        """The claim under the cursor."""
        if not self.rows or not self.names:
            return None
        return self._cells.get((*self.rows[self.row], self.names[self.column]))

    def show(self, page: Page) -> None:
        """Another comparison, or more of it."""
        self.page = page
        self._cells = {(c["class_name"], c["concept"], c["classifier"]): c for c in page["claims"]}
        self.filter(self.shown)

    def filter(self, shown: str) -> None:
        """All concepts, those in which the classifiers differ, or those in which they agree."""
        self.shown = shown
        every = list(dict.fromkeys((c, k) for c, k, _ in self._cells))
        apart = {row for row in every if self._differ(row)}
        self.rows = [
            row for row in every if shown == "all" or (row in apart) is (shown == "differ")
        ]
        self.row = self.rows.index(self._at) if self._at in self.rows else 0
        self._lay_out()

    def _differ(self, row: tuple[str, str]) -> bool:
        told = {
            (claim["verdict"], claim["direction"] if claim["verdict"] == "confirmed" else 0)
            for name in self.names
            if (claim := self._cells.get((*row, name)))
        }
        differences = self.page["differences"] if self.page else ()
        return len(told) > 1 or any(
            d["verdict"] == "differ" and (d["class_name"], d["concept"]) == row for d in differences
        )

    def _lay_out(self) -> None:
        width = _CONCEPT + _CELL * len(self.names)
        self.virtual_size = Size(width, len(self.rows) + 1)
        self.refresh()

    def action_move(self, right: int, down: int) -> None:
        if not self.rows:
            return
        self.row = max(0, min(self.row + down, len(self.rows) - 1))
        self.column = max(0, min(self.column + right, len(self.names) - 1))
        self._at = self.rows[self.row]
        height, top = self.size.height - 1, self.scroll_offset.y
        y = min(top, self.row) if self.row < top + height else self.row - height + 1
        width, left = self.size.width - _CONCEPT, self.scroll_offset.x
        at = self.column * _CELL
        x = min(left, at) if at + _CELL <= left + width else at + _CELL - width
        self.scroll_to(x=max(x, 0), y=max(y, 0), animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved())

    def action_open(self) -> None:
        self.post_message(self.Opened())

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and offset.y > 0 and offset.x >= _CONCEPT:
            row = self.scroll_offset.y + offset.y - 1
            column = (self.scroll_offset.x + offset.x - _CONCEPT) // _CELL
            if row < len(self.rows) and column < len(self.names):
                self.action_move(column - self.column, row - self.row)

    def line(self, y: int) -> Strip:
        app = host_of(self)
        palette, width = app.palette, self.size.width
        if self.page is None or not self.rows:
            lines = [] if self.page is None else self._nothing(self.page).split("\n")
            return strip_of(Text(lines[y] if y < len(lines) else "", style=palette.dim), width)
        if y == 0:
            head, cells = Text("concept"), Text()
            baseline = self.page["baseline"]
            for name in self.names:
                mark = "*" if name == baseline else ""
                cells.append(f"{fit(short_spec(name) + mark, _CELL - 2):<{_CELL}}", palette.dim)
            return self._joined(head, cells, width, palette.dim)
        number = self.scroll_offset.y + y - 1
        if number >= len(self.rows):
            return Strip.blank(width)
        class_name, concept = self.rows[number]
        many = len(self.page["classes"]) > 1
        shown = clean(f"{class_name}: {concept}" if many else concept)
        cells = Text()
        for column, name in enumerate(self.names):
            cells.append_text(self._cell((class_name, concept, name), number, column))
        return self._joined(Text(fit(shown, _CONCEPT - 1), "bold"), cells, width, "")

    def _nothing(self, page: Page) -> str:
        """Why there is no row."""
        if page["state"] != "done":
            return under_way(page)
        if not self._cells:
            return "no claims: nothing was proposed that can be tested"
        return f"no concept on which the classifiers {self.shown}; f shows others"

    def _joined(self, head: Text, cells: Text, width: int, style: str) -> Strip:
        head.stylize(style)
        left = strip_of(head, _CONCEPT)
        whole = strip_of(cells, _CELL * len(self.names))
        x = self.scroll_offset.x
        right = whole.crop(x, x + max(width - _CONCEPT, 0))
        return Strip.join([left, right]).adjust_cell_length(width)

    def _cell(self, key: tuple[str, str, str], row: int, column: int) -> Text:
        app = host_of(self)
        palette, signs = app.palette, app.signs
        claim = self._cells.get(key)
        text = Text(no_wrap=True)
        if claim is None:
            text.append(" " * _CELL)
        else:
            style, sign = {
                "confirmed": (palette.good, signs.states["succeeded"]),
                "refuted": (palette.bad, signs.states["failed"]),
            }.get(claim["verdict"], (palette.warn, "?"))
            text.append(f"{sign} ", style)
            if claim["pairs"]:
                text.append(f"{claim['effect']:+.2f}", f"bold {style}")
                interval = f" {claim['low']:+.2f}{signs.dash}{claim['high']:+.2f}"
                text.append(fit(interval, _CELL - 7), palette.dim)
            else:
                text.append("no room", palette.dim)
            text.pad_right(max(_CELL - len(text), 0))
        if (row, column) == (self.row, self.column):
            text.stylize(palette.cursor)
        return text


def under_way(page: Page) -> str:
    """What is going on where nothing was found yet."""
    if page["state"] == "failed":
        told = f"The comparison came to no end: {clean(page['error'] or 'no reason is known')}"
        return f"{told}\nStarted again, it takes the pictures that were drawn."
    told, stage = page["progress"], clean(page["progress"]["stage"] or "waiting")
    far = f": {told['done']:,} of {told['total']:,} pictures" if told["total"] else ""
    return f"{stage}{far}\nIt goes on without this window; what it finds is shown at the end."


class CompareScreen(PagesScreen):
    """One comparison."""

    BINDINGS = bindings("compare", "pages")
    PAGES: ClassVar = (
        ("matrix-page", "Claims"),
        ("differences-page", "Differences"),
        ("compared-words", "Words"),
        ("cross-page", "Prompts"),
        ("reports-page", "Reports"),
        ("compared-settings", "Settings"),
    )

    def __init__(self, comparison_id: str) -> None:
        super().__init__()
        self.comparison_id = comparison_id
        self._page: Page | None = None
        self._written: set[str] = set()

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        yield TabBar(id="tabs")
        with ContentSwitcher(id="pages", initial="matrix-page"):
            with Vertical(id="matrix-page"):
                matrix = Matrix(id="matrix", classes="panel")
                matrix.border_title = "Claims"
                yield matrix
                details = TextLines(id="cell-details", classes="panel")
                details.border_title = "Evidence"
                yield details
            for name in [name for name, _ in self.PAGES[1:]]:
                yield TextPage(id=name, text_id=f"{name}-text")
        yield KeyBar()

    def on_mount(self) -> None:
        self.draw_tabs()
        self.focus_page()

    def load(self, wish: object) -> Page:
        return comparisons.page(self.host.browse, self.comparison_id)

    def show(self, data: Page) -> None:
        if data == self._page:
            return
        self._page = data
        palette, signs = self.host.palette, self.host.signs
        title = Text(no_wrap=True, overflow="ellipsis")
        title.append(f"Comparison {clean(data['id'])}", f"bold {palette.primary}")
        title.append(f"  {', '.join(short_spec(n) for n in data['classifiers'])} ", palette.dim)
        title.append(f"{signs.arrow} {clean(', '.join(data['classes']))}", palette.accent)
        self.query_one("#title", TextLines).put(title)
        self.query_one(Matrix).show(data)
        self._show_cell()
        self._written.clear()
        self.page_changed()
        self.draw_tabs()

    def page_changed(self) -> None:
        """Pages of text are written when they are first looked at: a large one takes a while."""
        name = self.PAGES[self.page][0]
        if self._page is not None and self.page > 0 and name not in self._written:
            self._written.add(name)
            self.query_one(f"#{name}", TextPage).put(self._text(self._page, name))

    def tabs_right(self) -> Text:
        palette = self.host.palette
        if self._page is None or self._page["state"] == "done":
            return Text()
        if self._page["state"] == "failed":
            return Text(f"{fit(clean(self._page['error']), 50)} ", style=palette.bad)
        told = self._page["progress"]
        stage = clean(told["stage"] or "waiting")
        return Text(f"{stage} {told['done']}/{told['total']} ", style=palette.active)

    @on(Matrix.Moved)
    def _show_cell(self) -> None:
        matrix = self.query_one(Matrix)
        entitle(matrix, f"Claims: {matrix.shown}")
        claim, page = matrix.selected, self._page
        text = Text()
        if claim is None and page is not None:
            text.append("\n".join(comparison_tables.pictures_lines(page)), self.host.palette.dim)
        elif claim is not None and page is not None:
            text = _details(claim, page, self.host.palette)
        self.query_one("#cell-details", TextLines).put(text)

    @on(Matrix.Opened)
    def _open_pairs(self) -> None:
        claim = self.query_one(Matrix).selected
        if claim is not None:
            self.app.push_screen(PairsScreen(claim))

    def pointless(self, action: str) -> bool:
        return action in ("shown", "baseline") and self.page > 0

    def action_shown(self) -> None:
        matrix = self.query_one(Matrix)
        matrix.filter(_SHOWN[(_SHOWN.index(matrix.shown) + 1) % len(_SHOWN)])
        self._show_cell()

    def action_baseline(self) -> None:
        matrix, page = self.query_one(Matrix), self._page
        if page is None or not matrix.names:
            return
        name = matrix.names[matrix.column]
        chosen = None if page["baseline"] == name else name

        def pin() -> str:
            told = operations.set_baseline(self.host.home, self.comparison_id, chosen)
            self.app.call_from_thread(self.reload)
            return told

        self.do(pin)

    def action_export(self) -> None:
        self.export([self.comparison_id])

    def _text(self, page: Page, name: str) -> Text:
        """A page that is text, as the command line has it."""
        names = list(page["classifiers"])
        short = comparison_tables.short_names(names)
        palette = self.host.palette
        parts: list[Any] = []
        if page["state"] != "done" and name != "compared-settings":
            return Text(under_way(page), palette.dim)
        if name == "compared-settings":
            parts.append(Text("\n".join(comparison_tables.pictures_lines(page))))
        elif name != "reports-page":
            legend = [f"{short[n]}  {n}" for n in names if short[n] != n]
            parts += [Text("\n".join(map(clean, legend)), palette.dim)] if legend else []
        for class_name in page["classes"]:
            parts += ["", Text(clean(class_name), f"bold {palette.primary}")]
            own = {
                part: [one for one in page[part] if one["class_name"] == class_name]
                for part in ("differences", "members", "cross_activation", "disagreements",
                             "reports", "configuration")
            }  # fmt: skip
            if name == "differences-page":
                parts.append(comparison_tables.differences_table(own["differences"], short))
            elif name == "compared-words":
                parts.append(comparison_tables.words_table(own["members"], short))
            elif name == "cross-page":
                if own["cross_activation"]:
                    parts.append(comparison_tables.cross_matrix(own["cross_activation"], short))
                parts += ["", *comparison_tables.disagreement_lines(own["disagreements"])]
            elif name == "reports-page":
                parts += comparison_tables.report_parts(own["reports"])
            else:
                parts += comparison_tables.setting_lines(own["configuration"])
        return _as_text(parts, max(self.size.width - 6, 40))


def _as_text(parts: Sequence[Any], width: int) -> Text:
    """What Rich makes of these, as styled lines."""
    from rich.console import Console, Group

    console = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    text = Text()
    for segment in console.render(Group(*parts)):
        text.append(segment.text, segment.style)
    return text


def _details(claim: Mapping[str, Any], page: Page, palette: Any) -> Text:
    text = Text()
    way = "raises" if claim["direction"] > 0 else "lowers"
    text.append(clean(claim["concept"]), f"bold {palette.accent}")
    text.append(f" {way} {clean(claim['class_name'])} for {clean(claim['classifier'])}: ")
    reason = f", {claim['reason'].replace('_', ' ')}" if claim["reason"] else ""
    text.append(f"{clean(claim['verdict'])}{clean(reason)}\n", "bold")
    if claim["pairs"]:
        text.append(
            f"{claim['effect']:+.3f} [{claim['low']:+.3f}, {claim['high']:+.3f}], "
            f"{claim['pairs']} pairs, {claim['flips']} answers changed, "
            f"p {claim['p_corrected']:.2g}"
        )
        placebo = claim["placebo_threshold"]
        text.append("" if placebo is None else f", placebos up to {placebo:.2f}")
    for one in page["differences"]:
        if (one["concept"], one["class_name"]) == (claim["concept"], claim["class_name"]) and (
            claim["classifier"] in (one["a"], one["b"])
        ):
            text.append(
                f"\n{one['effect']:+.2f} [{one['low']:+.2f}, {one['high']:+.2f}]  ", palette.dim
            )
            text.append(f"{short_spec(one['a'])} less {short_spec(one['b'])}: {one['verdict']}")
    return text


class PairsScreen(DataScreen):
    """The pairs of pictures behind a claim, those that changed most first."""

    BINDINGS = bindings("pairs")

    def __init__(self, claim: Mapping[str, Any]) -> None:
        super().__init__()
        self._claim = claim
        self._pairs: list[dict[str, Any]] = []
        self._index = 0
        self._tiles: Pictures | None = None

    def compose(self) -> ComposeResult:
        browse = self.host.browse
        self._tiles = Pictures(
            lambda tile, _: comparisons.tile_bytes(browse, tile),
            self.host.pictures.mode,
            self.host.note_defect,
        )
        yield TextLines(id="title")
        with Horizontal(id="pair"):
            for side in ("control", "treated"):
                with Vertical(classes="panel side"):
                    yield Picture(self._tiles, id=f"{side}-picture")
                    yield TextLines(id=f"{side}-caption")
        yield KeyBar()

    def load(self, wish: object) -> list[dict[str, Any]]:
        return comparisons.pairs(self.host.browse, int(self._claim["id"]))

    def show(self, data: list[dict[str, Any]]) -> None:
        self._pairs = data
        self._draw()

    def action_turn(self, by: int) -> None:
        if self._pairs:
            self._index = (self._index + by) % len(self._pairs)
            self._draw()

    def action_back(self) -> None:
        self.app.pop_screen()

    def on_unmount(self) -> None:
        if self._tiles is not None:
            self._tiles.close()

    def _draw(self) -> None:
        palette = self.host.palette
        claim = self._claim
        title = Text(no_wrap=True, overflow="ellipsis")
        title.append(f"{clean(claim['concept'])} ", f"bold {palette.accent}")
        title.append(f"for {clean(claim['classifier'])}, {clean(claim['class_name'])}")
        if not self._pairs:
            title.append("   no pairs: left out, or not there any more", palette.dim)
            self.query_one("#title", TextLines).put(title)
            return
        pair = self._pairs[self._index]
        title.append(f"   pair {self._index + 1} of {len(self._pairs)}, ", palette.dim)
        title.append(f"{clean(pair['context'])}", palette.dim)
        self.query_one("#title", TextLines).put(title)
        for side in ("control", "treated"):
            told = pair[side]
            self.query_one(f"#{side}-picture", Picture).sha256 = told["tile"]
            caption = Text(clean(told["prompt"]))
            caption.append(f"\np = {told['p']:.3f}", "bold")
            caption.append(f"\nnoise {told['seed']}", palette.dim)
            if told["tile"] is None:
                caption.append("\nthe picture is not in the bank any more", palette.warn)
            self.query_one(f"#{side}-caption", TextLines).put(caption)


class ComparisonsScreen(DataScreen):
    """All comparisons, newest first."""

    BINDINGS = bindings("comparisons")

    def __init__(self) -> None:
        super().__init__()
        self._listed: list[dict[str, Any]] | None = None

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        listed = OptionList(id="comparison-list", classes="panel", markup=False)
        listed.border_title, listed.border_subtitle = "Comparisons", "enter: open"
        yield listed
        yield KeyBar()

    def load(self, wish: object) -> list[dict[str, Any]]:
        return comparisons.listed(self.host.browse)

    def show(self, data: list[dict[str, Any]]) -> None:
        palette = self.host.palette
        told = Text("Comparisons", f"bold {palette.primary}")
        if not data:
            told.append(
                "   none yet: n makes one; so does c at home, with studies marked", palette.dim
            )
        self.query_one("#title", TextLines).put(told)
        if data == self._listed:
            return
        self._listed = data
        options = self.query_one(OptionList)
        at = options.highlighted
        options.clear_options()
        for one in data:
            text = Text(no_wrap=True, overflow="ellipsis")
            text.append(f"{clean(one['id'])}  ", palette.dim)
            text.append(", ".join(short_spec(name) for name in one["classifiers"]), "bold")
            text.append(f"  {clean(', '.join(one['classes']))}", palette.accent)
            state = f"{one['differ']} differ" if one["state"] == "done" else one["state"]
            text.append(f"  {clean(state)}", palette.dim)
            options.add_option(Option(text, id=one["id"]))
        options.highlighted = at if at is not None and at < len(data) else (0 if data else None)
        options.focus()

    def _selected(self) -> str | None:
        options = self.query_one(OptionList)
        at = options.highlighted
        return None if at is None else options.get_option_at_index(at).id

    def action_new(self) -> None:

        self.host.open_new_comparison([])

    def action_note(self) -> None:
        if (name := self._selected()) is not None:
            self.edit_note(name)

    def action_delete(self) -> None:
        if (name := self._selected()) is not None:
            self.confirm_delete([name])

    @on(OptionList.OptionSelected)
    def _open(self, event: OptionList.OptionSelected) -> None:
        if event.option.id:
            self.host.open_comparison(event.option.id)

    def action_back(self) -> None:
        self.app.pop_screen()
