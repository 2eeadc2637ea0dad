"""A tab bar and pages of text."""

import re
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Span, Text
from textual import events, on
from textual.app import RenderResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.host import host_of

_LABEL = re.compile(r" *\S.*? {2,}(?=\S)")


class WrappedText(Static):
    """A text with line breaks; redrawn only when it changes."""

    _shown: tuple[Text, list[Span]] | None = None

    def put(self, text: Text) -> None:
        """Show a text, unless it is the same."""
        if self._shown != (text, text.spans):
            self._shown = (text, list(text.spans))
            self.update(text)


class _LabelledText(WrappedText):
    """A text whose lines with a label are broken to its width, and indented to their value."""

    class LaidOut(Message):
        """The lines were broken again."""

    _text = Text()

    def put(self, text: Text) -> None:
        """Show a text, unless it is the same."""
        self._text = text
        wraps = self.styles.text_wrap != "nowrap"
        super().put(_hanging(text, self.content_size.width) if wraps else text)

    def on_resize(self) -> None:  # the page's width is not yet ours: its scrollbar comes later
        self.put(self._text)
        self.post_message(self.LaidOut())


class _Found(NamedTuple):
    """A line of a page: its widget, and its number in it."""

    widget: Static
    number: int


class SearchedPage(VerticalScroll, can_focus=True):
    """A scrollable page of texts, such as Markdown, that can be searched."""

    def __init__(self, *children: Widget, **options: Any) -> None:
        super().__init__(*children, **options)
        self._pattern: re.Pattern[str] | None = None
        self._places: list[_Found] = []
        self._marked: dict[Static, tuple[Content, Content]] = {}
        """The contents without and with marks"""

    def search_lines(self) -> list[str]:
        """Return the lines of the texts."""
        self._places, lines = [], []
        for widget in self._texts():
            for number, line in enumerate(_content(widget).plain.split("\n")):
                self._places.append(_Found(widget, number))
                lines.append(line)
        return lines

    def go_to_line(self, number: int) -> None:
        """Scroll to a line."""
        widget, inner = self._places[number]
        before = _content(widget).split("\n", allow_blank=True)[:inner]
        width = max(widget.content_size.width, 1)
        wraps = widget.styles.text_wrap != "nowrap"
        rows = sum(line.get_height({}, width) if wraps else 1 for line in before)
        y = widget.virtual_region.y + rows
        for node in widget.ancestors:
            if node is self:
                break
            y += node.virtual_region.y if isinstance(node, Widget) else 0
        if not self.scroll_offset.y <= y < self.scroll_offset.y + self.size.height:
            self.scroll_to(y=max(y - self.size.height // 3, 0), animate=False, force=True)

    def search_for(self, pattern: re.Pattern[str] | None) -> None:
        """Mark the matches of a pattern; None ends it."""
        self._pattern = pattern
        for widget, (plain, marked) in self._marked.items():
            if widget.content is marked:
                widget.update(plain)
        self._marked = {}
        for widget in self._texts() if pattern is not None else ():
            plain = _content(widget)
            if pattern is not None and pattern.search(plain.plain):
                marked = plain.highlight_regex(pattern, style="reverse")
                self._marked[widget] = (plain, marked)
                widget.update(marked)

    def mark_again(self) -> None:
        """Mark the matches in a text that has changed."""
        if self._pattern is not None:
            self.search_for(self._pattern)

    def _texts(self) -> list[Static]:
        return [one for one in self.walk_children(Static) if isinstance(one.visual, Content)]


def _content(widget: Static) -> Content:
    content = widget.visual
    return content if isinstance(content, Content) else Content()


class TextPage(SearchedPage):
    """A scrollable text; what does not fit beside a label continues below its value."""

    def __init__(self, *, id: str, text_id: str) -> None:
        self._shown = _LabelledText(id=text_id)
        super().__init__(self._shown, id=id, classes="panel page")

    def put(self, text: Text) -> None:
        """Show a text, unless it is the same."""
        self._shown.put(text)
        self.mark_again()

    @on(_LabelledText.LaidOut)
    def _mark(self) -> None:
        self.mark_again()


class Details(ScrollView, TextLines, can_focus=True):
    """A scrollable text on the row of the cursor, broken to the width as in a TextPage."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._whole = Text()

    def put(self, text: Text) -> None:
        """Show this text from its beginning, unless it is the same."""
        if (text, text.spans) != (self._whole, self._whole.spans):
            self._whole = text
            self.scroll_to(y=0, animate=False, force=True)
            self._break()

    def on_resize(self) -> None:
        self._break()

    def _break(self) -> None:
        width, height = self.size
        lines = _broken(self._whole, width)
        if len(lines) > height:
            width -= self.scrollbar_size_vertical
            lines = _broken(self._whole, width)
        # A text that fits needs no new layout, which would draw the whole screen again.
        self.virtual_size = Size(width, max(len(lines), height))
        super().put(Text("\n").join(lines))

    def line(self, y: int) -> Strip:
        return super().line(self.scroll_offset.y + y)


def _broken(text: Text, width: int) -> list[Text]:
    width = max(width, 1)
    lines = _hanging(text, width).split("\n")
    return [part for line in lines for part in line.wrap(Console(width=width), width) or [line]]


def _hanging(text: Text, width: int) -> Text:
    """Break the lines with a label that are too long, and indent the rest to their value."""
    lines = []
    for line in text.split("\n", allow_blank=True):
        label = _LABEL.match(line.plain)
        indent = cell_len(label[0]) if label else 0
        if label is None or indent > width // 2 or line.cell_len <= width:
            lines.append(line)
            continue
        console = Console(width=width - indent)
        first, *rest = line[label.end() :].wrap(console, width - indent)
        lines.append(line[: label.end()].append_text(first))
        lines += [Text(" " * indent).append_text(one) for one in rest]
    joined = Text("\n").join(lines)
    joined.style = text.style
    return joined


def rendered(view: RenderableType, width: int) -> Text:
    """Return tables as styled text of a width."""
    console = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    text = Text()
    for segment in console.render(view):
        text.append(segment.text, segment.style)
    return text


class TabBar(Widget):
    """The numbered titles of the pages, and a text at the right end."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._shown: tuple[list[str], int, Text, list[Any]] = ([], 0, Text(), [])
        self._places: list[range] = []

    def show(self, titles: list[str], page: int, right: Text) -> None:
        """Show these titles and this text."""
        shown = (titles, page, right, list(right.spans))
        if shown != self._shown:
            self._shown = shown
            self.refresh()

    def render(self) -> RenderResult:
        palette = host_of(self).palette
        titles, page, right, _ = self._shown
        text, self._places = Text(no_wrap=True, overflow="ellipsis"), []
        for number, title in enumerate(titles, 1):
            here, start = number - 1 == page, len(text)
            text.append(f" {number} ", palette.accent if here else palette.dim)
            text.append(title, f"bold {palette.primary} underline" if here else "")
            text.append(" ")
            self._places.append(range(start, len(text)))
        room = self.size.width - len(text)
        right = right.copy()
        right.truncate(max(room, 0), overflow="ellipsis")
        text.append(" " * (room - len(right))).append_text(right)
        return text

    async def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        for number, place in enumerate(self._places, 1):
            if offset is not None and offset.x in place:
                await self.run_action(f"screen.tab({number})")
