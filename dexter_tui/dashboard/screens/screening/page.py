"""The screen of a screening: effects of each classifier, course over checkpoints, facts."""

from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import ContentSwitcher

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.host import Copied
from dexter_tui.dashboard.screens.base import entitle
from dexter_tui.dashboard.screens.form_screen import as_text
from dexter_tui.dashboard.screens.tabbed_screen import (
    JobScreen,
    Work,
    course_text,
    progress_line,
)
from dexter_tui.dashboard.widgets.effect_list import EffectList, effect_details
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.summaries import card_text
from dexter_tui.dashboard.widgets.tabs import Details, TabBar, TextPage
from dexter_tui.formatting import clean, short_spec
from dexter_tui.presentation.screening_tables import course, facts
from store.reading import card, screenings
from store.reading.card import VerdictCard

Page = dict[str, Any]
_EFFECTS = ("raises", "lowers", "explained")
_WIDTH = 100  # columns of a verdict


class _Verdict(TextLines):
    """A verdict card; it shows where the rest is that the panel has no room for."""

    def put(self, text: Text) -> None:
        super().put(text)
        self.on_resize()

    def on_resize(self) -> None:
        cut = 0 < self.size.height < self.get_content_height(self.size, self.size, self.size.width)
        self.border_subtitle = "3 shows all of it" if cut else ""


class ScreeningScreen(JobScreen):
    """The screen of a screening."""

    BINDINGS = bindings("search", "screening", "pages")
    PAGES: ClassVar = (
        ("effects-page", "Effects"),
        ("course-page", "Checkpoints"),
        ("screening-facts", "Facts"),
    )

    def __init__(self, screening_id: str) -> None:
        super().__init__()
        self.screening_id = screening_id
        self._page: Page | None = None
        self._member = 0
        self._only_effects = True

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        yield TabBar(id="tabs")
        with ContentSwitcher(id="pages", initial="effects-page"):
            with Vertical(id="effects-page"):
                verdict = _Verdict(id="screening-card", classes="panel")
                verdict.border_title = "Verdict"
                yield verdict
                yield EffectList(id="effect-list", classes="panel")
                details = Details(id="effect-details", classes="panel")
                details.border_title = "Evidence"
                yield details
            yield TextPage(id="course-page", text_id="course-text")
            yield TextPage(id="screening-facts", text_id="screening-facts-text")
        yield KeyBar()

    def on_mount(self) -> None:
        self.draw_tabs()
        self.focus_page()

    def load(self, wish: object) -> Page:
        page = screenings.page(self.host.browse, self.screening_id)
        return page | {"cards": card.of_screening(self.host.browse, self.screening_id)}

    def show(self, data: Page) -> None:
        if data == self._page and not self._stale:
            return
        self._stale = False
        newest = self._page is None or self._member == len(self._page["members"]) - 1
        self._page = data
        if data["watch"] and newest:  # follows the training
            screened = [at for at, member in enumerate(data["members"]) if member["findings"]]
            self._member = screened[-1] if screened else 0
        self._member = min(self._member, max(len(data["members"]) - 1, 0))
        palette, signs = self.host.palette, self.host.signs
        title = Text(no_wrap=True, overflow="ellipsis")
        title.append(f"Screening {clean(data['id'])}", f"bold {palette.primary}")
        names = [short_spec(name) for name in data["classifiers"]]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        title.append(f"  {shown} ", palette.dim)
        title.append(f"{signs.arrow} {clean(data['class_name'])}", palette.accent)
        self.query_one("#title", TextLines).put(title)
        self._show_member()
        self.query_one("#course-page", TextPage).put(self._course(data))
        self.query_one("#screening-facts", TextPage).put(self._facts(data))
        self.draw_tabs()

    @property
    def work(self) -> Work | None:
        page = self._page
        return None if page is None else Work(page["job"], page["state"], progress_line(page))

    def _show_member(self) -> None:
        page, effects = self._page, self.query_one(EffectList)
        if page is None or not page["members"]:
            return
        member, count = page["members"][self._member], len(page["members"])
        which = f" ({self._member + 1} of {count})" if count > 1 else ""
        entitle(effects, f"Effects on {clean(member['name'])}{which}")
        hint = Text("not screened yet", self.host.palette.dim)
        if member["error"]:
            hint = Text(clean(member["error"]), self.host.palette.bad)
        rows = member["findings"]
        if rows and self._only_effects:
            rows = [one for one in rows if one["verdict"] in _EFFECTS and not one["core"]]
            nothing = "found no concept that raises or lowers the class; press f to show all"
            hint = Text(nothing, self.host.palette.dim)
        effects.show(rows, hint)
        self.query_one("#effects-page").set_class(not rows, "-without-effects")
        self._show_card(page["cards"][self._member])
        self._show_details()
        self.refresh_bindings()

    def _show_card(self, verdict: VerdictCard) -> None:
        panel = self.query_one("#screening-card", TextLines)
        panel.display = bool(verdict.findings)
        if panel.display:
            width = max(panel.size.width or self.size.width - 4, 40)
            panel.put(card_text(verdict, width, self.host.palette))

    @on(EffectList.Opened)
    def _open_pairs(self) -> None:
        finding, page = self.query_one(EffectList).selected, self._page
        if finding is None or page is None:
            return
        claim = finding["confirmation"]
        if claim is None:
            self.host.inform("not tested on pairs yet")
            return
        name = page["members"][self._member]["name"]
        self.host.open_pairs(claim["id"], finding["concept"], name, page["class_name"])

    @on(EffectList.Moved)
    def _show_details(self) -> None:
        finding = self.query_one(EffectList).selected
        text = Text()
        if finding is not None:
            text = effect_details(finding, self.host.palette, self.host.signs)
        self.query_one("#effect-details", Details).put(text)

    @on(EffectList.Turned)
    def _turn(self, message: EffectList.Turned) -> None:
        if self._page is not None and self._page["members"]:
            self._member = (self._member + message.by) % len(self._page["members"])
            self._show_member()

    def _course(self, page: Page) -> Text:
        """Draw the effects of the strongest concepts over the checkpoints."""
        palette = self.host.palette
        members = page["members"]
        if not page["watch"] or len(members) < 2:
            return Text("Checkpoints of a watched folder: dexter-tui screen --watch", palette.dim)
        names = [clean(member["name"]) for member in members]
        courses = [
            (
                Text(clean(one["concept"]), "bold").append(f" ({clean(one['slot'])})", "not bold"),
                [point and point["effect"] for point in one["points"]],
            )
            for one in course(page)
        ]
        width = max(min(self.size.width - 20, 100), 20)
        text = course_text(
            courses, range(len(members)), width, palette, ascii_only=self.host.options.ascii
        )
        text.append(f"{names[0]} to {names[-1]}, {len(names)} checkpoints", palette.dim)
        return text

    def _facts(self, page: Page) -> Text:
        palette = self.host.palette
        text = Text()
        width = min(max(self.size.width - 5, 40), _WIDTH)
        for verdict in page["cards"]:
            if verdict.findings:
                text.append(f"{clean(verdict.title)}\n", "bold")
                text.append_text(card_text(verdict, width, palette)).append("\n\n")
        text.append("\n".join(map(clean, facts(page))))
        topic = page["topic"]
        for name in ("subjects", "rivals"):
            text.append(f"\n{name}: ", palette.dim).append(clean(", ".join(topic[name])))
        text.append("\n")
        for member in page["members"]:
            text.append(f"\n{clean(member['name'])}  ", "bold")
            if member["mean"] is not None:
                text.append(f"mean p(class) {member['mean']:.2f}, {member['pictures']} pictures, ")
                text.append(f"each interval at {member['level']:.4%}", palette.dim)
            elif member["error"]:
                text.append(clean(member["error"]), palette.bad)
        text.append("\n")
        for name, value in page["settings"].items():
            if value not in (None, [], ""):
                text.append(f"\n{clean(name)}: ", palette.dim).append(clean(as_text(value)))
        return text

    # Actions

    def copied(self) -> Copied | None:
        finding = self.query_one(EffectList).selected
        if self.page == 0 and finding is not None:
            low, high, effect = finding["low"], finding["high"], finding["effect"]
            line = f"**{finding['concept']}** {finding['verdict']}: {effect:+z.2f} "
            return Copied("the finding", f"{line}({low:+z.2f} to {high:+z.2f})")
        return Copied(self.screening_id, self.screening_id)

    def pointless(self, action: str) -> bool:
        members = self._page["members"] if self._page is not None else []
        found = bool(members and members[self._member]["findings"])
        return (
            super().pointless(action)
            or (action == "shown" and (self.page > 0 or not found))
            or (action == "ask" and not found)
            or (action == "open" and self.query_one(EffectList).selected is None)
            or (action.startswith("turn(") and len(members) < 2)
        )

    def action_shown(self) -> None:
        self._only_effects = not self._only_effects
        self._show_member()

    def action_ask(self) -> None:
        if (page := self._page) is None or not page["members"]:
            return
        member = page["members"][self._member]
        if not member["findings"]:
            self.host.complain(f"{member['name']} has no answers yet: nothing to learn from")
            return
        self.host.open_questions(page["id"], self._member, member["name"], page["class_name"])

    def action_export(self) -> None:
        self.export([self.screening_id])
