"""The screens of comparisons: the list, and one comparison."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.console import Group
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import ContentSwitcher

from dexter_tui.dashboard import operations
from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.screens.base import entitle
from dexter_tui.dashboard.screens.list_screen import Line, ListScreen
from dexter_tui.dashboard.screens.tabbed_screen import JobScreen, Work, progress_line
from dexter_tui.dashboard.widgets.claim_matrix import ClaimMatrix, Page, progress_text
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.tabs import Details, TabBar, TextPage, rendered
from dexter_tui.formatting import clean, short_spec, state_line
from dexter_tui.presentation import comparison_tables, verdicts
from store.reading import comparisons
from store.reading.reasons import in_words

_SHOWN = ("all", "differ", "agree")

_NOTHING = {
    "differences-page": "no differences were tested",
    "compared-words": "no searches: the concepts were given",
    "cross-page": "no prompts of searches were compared",
    "reports-page": "no reports",
    "compared-settings": "no settings differ",
}


class CompareScreen(JobScreen):
    """The screen of a comparison."""

    BINDINGS = bindings("search", "compare", "pages")
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
                matrix = ClaimMatrix(id="matrix", classes="panel")
                matrix.border_title = "Claims"
                yield matrix
                details = Details(id="cell-details", classes="panel")
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
        if data == self._page and not self._stale:
            return
        self._stale = False
        self._page = data
        palette, signs = self.host.palette, self.host.signs
        title = Text(no_wrap=True, overflow="ellipsis")
        title.append(f"Comparison {clean(data['id'])}", f"bold {palette.primary}")
        title.append(f"  {', '.join(short_spec(n) for n in data['classifiers'])} ", palette.dim)
        title.append(f"{signs.arrow} {clean(', '.join(data['classes']))}", palette.accent)
        title.append(f"  {clean(data['origin'])}", palette.dim)
        self.query_one("#title", TextLines).put(title)
        self.query_one(ClaimMatrix).show(data)
        self._show_cell()
        self._written.clear()
        self.page_changed()
        self.draw_tabs()

    def page_changed(self) -> None:
        """Write a page of text when it is first shown: a large one takes a while."""
        name = self.PAGES[self.page][0]
        if self._page is not None and self.page > 0 and name not in self._written:
            self._written.add(name)
            self.query_one(f"#{name}", TextPage).put(self._text(self._page, name))

    @property
    def work(self) -> Work | None:
        page = self._page
        if page is None:
            return None
        line = progress_line({**page["progress"], "state": page["state"], "error": page["error"]})
        return Work(page["job"], page["state"], line)

    @on(ClaimMatrix.Moved)
    def _show_cell(self) -> None:
        matrix = self.query_one(ClaimMatrix)
        entitle(matrix, f"Claims: {matrix.shown}")
        claim, page = matrix.selected, self._page
        text = Text()
        if claim is None and page is not None:
            text.append("\n".join(comparison_tables.pictures_lines(page)), self.host.palette.dim)
        elif claim is not None and page is not None:
            text = _details(claim, page, self.host.palette)
        self.query_one("#cell-details", Details).put(text)

    @on(ClaimMatrix.Opened)
    def _open_pairs(self) -> None:
        claim = self.query_one(ClaimMatrix).selected
        if claim is not None:
            self.host.open_pairs(
                claim["id"], claim["concept"], claim["classifier"], claim["class_name"]
            )

    def pointless(self, action: str) -> bool:
        empty = not (self._page and self._page["claims"])
        return (
            super().pointless(action)
            or (action in ("shown", "baseline") and (self.page > 0 or empty))
            or (action == "open" and empty)
        )

    def action_shown(self) -> None:
        matrix = self.query_one(ClaimMatrix)
        matrix.filter(_SHOWN[(_SHOWN.index(matrix.shown) + 1) % len(_SHOWN)])
        self._show_cell()

    def action_baseline(self) -> None:
        matrix, page = self.query_one(ClaimMatrix), self._page
        if page is None or not matrix.names:
            return
        name = matrix.names[matrix.column]
        chosen = None if page["baseline"] == name else name

        def pin() -> str:
            line = operations.set_baseline(self.host.home, self.comparison_id, chosen)
            self.app.call_from_thread(self.reload)
            return line

        self.do(pin)

    def action_export(self) -> None:
        self.export([self.comparison_id])

    def _text(self, page: Page, name: str) -> Text:
        """Return a page of text, as the command line prints it."""
        names = list(page["classifiers"])
        short = comparison_tables.short_names(names)
        palette = self.host.palette
        parts: list[Any] = []
        if page["state"] != "done" and name != "compared-settings":
            return Text(progress_text(page), palette.dim)
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
            shown: list[Any] = []
            if name == "differences-page" and own["differences"]:
                shown.append(comparison_tables.differences_table(own["differences"], short))
            elif name == "compared-words" and any(one["runs"] for one in own["members"]):
                shown.append(comparison_tables.words_table(own["members"], short))
            elif name == "cross-page":
                if own["cross_activation"]:
                    shown.append(comparison_tables.cross_matrix(own["cross_activation"], short))
                if own["disagreements"]:
                    shown += ["", *comparison_tables.disagreement_lines(own["disagreements"])]
            elif name == "reports-page":
                shown += comparison_tables.report_parts(own["reports"])
            elif name == "compared-settings":
                shown += comparison_tables.setting_lines(own["configuration"])
            parts += shown or [Text(_NOTHING[name], palette.dim)]
        return rendered(Group(*parts), max(self.size.width - 5, 40))


def _details(claim: Mapping[str, Any], page: Page, palette: Any) -> Text:
    text = Text()
    verb = "raises" if claim["direction"] > 0 else "lowers"
    text.append(clean(claim["concept"]), f"bold {palette.accent}")
    text.append(f" {verb} p({clean(claim['class_name'])}) of {clean(claim['classifier'])}: ")
    text.append(clean(claim["verdict"]), "bold")
    if claim["reason"]:
        reason = in_words(claim["reason"], claim["effect"], claim["direction"])
        text.append(f", {clean(reason)}", "bold")
    text.append("\n")
    if claim["pairs"]:
        text.append(
            f"{claim['effect']:+z.3f} [{claim['low']:+z.3f}, {claim['high']:+z.3f}], "
            f"p-value {claim['p_corrected']:.2g}"
        )
        placebo = claim["placebo_threshold"]
        text.append("" if placebo is None else f", placebo level {placebo:.2f}")
        text.append(f"\nprediction flipped in {claim['flips']} of {claim['pairs']} pairs")
    for one in page["differences"]:
        if (one["concept"], one["class_name"]) == (claim["concept"], claim["class_name"]) and (
            claim["classifier"] in (one["a"], one["b"])
        ):
            text.append(
                f"\n{one['effect']:+z.2f} [{one['low']:+z.2f}, {one['high']:+z.2f}]  ", palette.dim
            )
            text.append(f"{short_spec(one['a'])} − {short_spec(one['b'])}: ")
            text.append(verdicts.DIFFERENCES.get(one["verdict"], clean(one["verdict"])))
    return text


class ComparisonsScreen(ListScreen[dict[str, Any]]):
    """The list of comparisons."""

    BINDINGS = bindings("search", "comparisons")
    TITLE = "Comparisons"
    NONE = "No comparisons yet. Press n to start one."

    def load(self, wish: object) -> list[dict[str, Any]]:
        return comparisons.listed(self.host.browse)

    def item_line(self, item: dict[str, Any]) -> Line:
        names = ", ".join(short_spec(name) for name in item["classifiers"])
        count = item["differ"]
        differing = "1 concept differs" if count == 1 else f"{count} concepts differ"
        outcome = differing if item["state"] == "done" else state_line(item["state"], item["error"])
        return Line(item["id"], item["created_at"], names, ", ".join(item["classes"]), outcome)

    def open_item(self, name: str) -> None:
        self.host.open_comparison(name)

    def action_new(self) -> None:
        self.host.open_new_comparison([])
