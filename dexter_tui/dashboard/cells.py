"""Text and pictures as lines of terminal cells (strips)."""

import re
import sys
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.color import Color, ColorType
from rich.color_triplet import ColorTriplet
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.color import Color as TextualColor
from textual.filter import LineFilter
from textual.geometry import Offset, Region, Size
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

# Wide enough for any terminal: strips are cropped later.
_CONSOLE = Console(
    width=10_000, color_system="truecolor", force_terminal=True, legacy_windows=False
)

_SGR = re.compile(r"\x1b\[([0-9;]*)m")
CACHED_CELLS = 3_000  # 0.8 MB: nearly every cell of a picture has a style of its own
_ASCII_LEVELS = " .:-=+*#%@"


class _Pixels(Style):
    """The colours of a half block, upper and lower pixel, in 6 bytes.

    Rich's objects for them, and for the sequence that the terminal gets, take 500 bytes a cell, of
    which a large window shows 10,000.
    """

    __slots__ = ("_rgb",)

    def __init__(self, rgb: bytes) -> None:
        self._rgb = rgb
        self._attributes = self._set_attributes = 0
        self._link = self._meta = self._hash = self._style_definition = None
        self._link_id = ""
        self._null = False

    @property
    def _color(self) -> Color:  # type: ignore[override]
        return _rich_colour(self._rgb[:3])

    @property
    def _bgcolor(self) -> Color:  # type: ignore[override]
        return _rich_colour(self._rgb[3:])

    @property
    def _ansi(self) -> str:  # type: ignore[override]
        red, green, blue, *below = self._rgb
        return f"38;2;{red};{green};{blue};48;2;{below[0]};{below[1]};{below[2]}"


def _rich_colour(rgb: bytes) -> Color:
    return Color("", ColorType.TRUECOLOR, triplet=ColorTriplet(*rgb))


class _TextFilter(LineFilter):
    """A filter of text: cells of pictures have the colours of the terminal already."""

    def __init__(self, inner: LineFilter) -> None:
        super().__init__()
        self._inner = inner

    def apply(self, segments: list[Segment], background: TextualColor) -> list[Segment]:
        text = [part for part in segments if not isinstance(part.style, _Pixels)]
        if len(text) == len(segments):
            return self._inner.apply(segments, background)
        done = iter(self._inner.apply(text, background)) if text else iter(())
        return [part if isinstance(part.style, _Pixels) else next(done) for part in segments]


_text_filter = lru_cache(8)(_TextFilter)  # strips are cached by the identity of a filter


class Lines(Widget):
    """A widget that draws itself line by line, over the background of its style sheet.

    The mouse selects text in its visible lines; a selection ends when the widget scrolls.
    """

    _ground = Style.null()
    _drawing = False
    _pattern: re.Pattern[str] | None = None  # what is searched for
    _selected_at: Offset | None = None  # the scroll offset of the selection

    def line(self, y: int) -> Strip:
        """Return the visible line ``y``."""
        raise NotImplementedError

    @property
    def columns_shown(self) -> int:
        """The width of a line, which a scroll bar does not cover."""
        return self.scrollable_content_region.width

    def render_lines(self, crop: Region) -> list[Strip]:
        self._ground = self.rich_style  # the same for all lines, and slow to compute
        self._drawing = True
        try:
            return super().render_lines(crop)
        finally:
            self._drawing = False

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [_text_filter(one) for one in super().get_line_filters()]

    def render_line(self, y: int) -> Strip:
        # Not `Strip.apply_style`, which would cache a styled copy of every picture.
        line, ground = self.line(y), self._ground
        over = [part if _covers(part.style) else _over(part, ground) for part in line]
        strip = Strip(over, line.cell_length)
        if self._pattern is not None:
            for match in self._pattern.finditer(strip.text):
                strip = self._marked(strip, *match.span())
        if not self._drawing:  # asked for the text at a position
            return strip.apply_offsets(0, y)
        selection = self.text_selection
        if selection is not None and self._selected_at == self.scroll_offset:
            span = selection.get_span(y)
            if span is not None:
                strip = self._marked(strip, *span)
        return strip

    def search_for(self, pattern: re.Pattern[str] | None) -> None:
        """Mark the matches of a pattern in every line; None ends it."""
        if pattern != self._pattern:
            self._pattern = pattern
            self.refresh()

    def _marked(self, strip: Strip, start: int, end: int) -> Strip:
        """Return a line with its characters ``start`` to ``end`` shown in reverse."""
        text = strip.text
        first = cell_len(text[:start])
        last = strip.cell_length if end == -1 else cell_len(text[:end])
        before, chosen, after = strip.divide([first, max(first, last), strip.cell_length])
        style = Style(reverse=True)
        parts = (before, Segment.apply_style(chosen, None, style), after)
        return Strip([segment for part in parts for segment in part], strip.cell_length)

    def selection_updated(self, selection: Selection | None) -> None:
        if self._selected_at is None or selection is None:
            self._selected_at = None if selection is None else self.scroll_offset
        self.refresh()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Return the selected text of the visible lines; None after the widget has scrolled."""
        if self._selected_at != self.scroll_offset:
            return None
        lines = [self.line(y).text.rstrip() for y in range(self.size.height)]
        while lines and not lines[-1]:
            lines.pop()
        return (selection.extract("\n".join(lines)), "\n") if lines else None


def _covers(style: Style | None) -> bool:
    """Return whether nothing of a style below this one is seen, as in a cell of a picture."""
    if isinstance(style, _Pixels):
        return True
    return style is not None and style.color is not None and style.bgcolor is not None


def _over(part: Segment, ground: Style) -> Segment:
    return Segment(part.text, ground if part.style is None else ground + part.style)


def search_pattern(*words: str) -> re.Pattern[str] | None:
    """Return a pattern that finds the words in any case; None without words."""
    some = [re.escape(word) for word in words if word]
    return re.compile("|".join(some), re.IGNORECASE) if some else None


def ascii_strip(strip: Strip) -> Strip:
    """Replace characters beyond ASCII, each by an equally wide one."""
    if all(segment.text.isascii() for segment in strip):
        return strip
    plain = [
        Segment(
            "".join(c if c.isascii() else _PLAIN.get(c, "?") * cell_len(c) for c in segment.text),
            segment.style,
        )
        for segment in strip
    ]
    return Strip(plain, strip.cell_length)


_PLAIN = {
    **dict.fromkeys("─━═╌╍┄┅╸╺▔–—", "-"),
    **dict.fromkeys("│┃║▏▎▍▌▋▊▉▐▕╎╏", "|"),
    **dict.fromkeys("╭╮╯╰┌┐└┘├┤┬┴┼╔╗╚╝✓", "+"),
    **dict.fromkeys("▁▂", "_"),
    **dict.fromkeys("▃▄▅▆▇█▀⣿", "#"),
    **dict.fromkeys("•●◍", "*"),
    **{"…": "~", "·": ".", "’": "'", "“": '"', "”": '"', "°": "'", "→": ">", "←": "<"},
    **{
        "↑": "^",
        "↓": "v",
        "⇧": "^",
        "▶": ">",
        "▼": "v",
        "▾": "v",
        "▴": "^",
        "✗": "x",
        "×": "x",
        "≤": "<",
        "≥": ">",
    },
    **{"−": "-", "±": "~", "🔎": " ", "⭘": "o", "○": "o", "◌": ".", "\N{NO-BREAK SPACE}": " "},
}


class AsciiFilter(LineFilter):
    """Draws everything in ASCII, also the widgets and borders of Textual."""

    def apply(self, segments: list[Segment], background: TextualColor) -> list[Segment]:
        return list(ascii_strip(Strip(segments)))


class TextLines(Lines):
    """Lines of text without wrapping; only changed lines are sent to the terminal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._text: list[Text] = []

    def put(self, text: Text) -> None:
        """Show this text; redraw only the changed lines."""
        before, self._text = self._text, list(text.split("\n"))
        if len(before) != len(self._text):
            self.refresh(layout=self.styles.is_auto_height)  # a layout redraws the whole screen
            return
        width = self.size.width
        for y, (old, new) in enumerate(zip(before, self._text, strict=True)):
            if (old.plain, old.spans, old.style) != (new.plain, new.spans, new.style):
                self.refresh(Region(0, y, width, 1))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return max(len(self._text), 1)

    def line(self, y: int) -> Strip:
        width = self.columns_shown
        if y >= len(self._text):
            return Strip.blank(width)
        text = self._text[y].copy()
        text.truncate(width, overflow="ellipsis")
        return strip_of(text, width)


def strip_of(text: Text, width: int, style: str = "") -> Strip:
    """Return a line of text, cropped or padded to ``width`` cells, over a background ``style``."""
    base = Style.parse(style) if style else None
    if text.style and not text.spans:  # Rich does not render the style of a text without spans
        text = text.copy()
        text.stylize(text.style)
    segments = [
        Segment(segment.text.replace("\n", " "), segment.style)
        for segment in text.render(_CONSOLE, end="")
    ]
    strip = Strip(segments).adjust_cell_length(width, base)
    if base is None:
        return strip
    # The background first; the styles of the line itself win.
    return Strip(list(Segment.apply_style(strip, base)), width)


def fit(text: str, width: int, ellipsis: str = "…") -> str:
    """Return the text, cut to ``width`` cells if it is wider."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - len(ellipsis), 0)) + ellipsis[: max(width, 0)]


def padded(text: str, width: int, ellipsis: str = "…") -> str:
    """Return the text, cut or padded to ``width`` cells."""
    return set_cell_size(fit(text, width, ellipsis), width)


def bar(share: float, width: int, signs: tuple[str, str, str]) -> tuple[str, str]:
    """Return the full and the empty part of a bar filled to ``share``."""
    full, half, empty = signs
    halves = round(max(0.0, min(share, 1.0)) * width * 2)
    filled = full * (halves // 2) + (half if halves % 2 else "")
    return filled, empty * (width - len(filled))


def sparkline(
    values: Sequence[float | None],
    width: int,
    levels: str,
    limits: tuple[float, float] | None = None,
) -> str:
    """Return the values as a line of ``width`` characters, averaged where there are more values.

    The limits are the values of the lowest and highest level, by default those that occur.
    """
    known = [value for value in values if value is not None]
    if not known or width < 1:
        return " " * width
    buckets = min(width, len(known))
    edges = [round(k * len(known) / buckets) for k in range(buckets + 1)]
    means = [sum(known[a:b]) / (b - a) for a, b in pairwise(edges) if b > a]
    low, high = limits or (min(means), max(means))
    span = (high - low) or 1.0
    shares = [max(0.0, min((mean - low) / span, 1.0)) for mean in means]
    return "".join(levels[round(share * (len(levels) - 1))] for share in shares).ljust(width)


def strips_from_ansi(text: str) -> list[Strip]:
    """Convert lines with sequences for colours alone, as term-image writes them, to strips."""
    return [_ansi_line(line) for line in text.split("\n")]


def _ansi_line(line: str) -> Strip:
    segments: list[Segment] = []
    ink: bytes | Color | None = None
    ground: bytes | Color | None = None
    at = 0

    def add(text: str) -> None:
        # Interned: each cell would have a copy of its own of a character beyond Latin-1.
        if text:
            segments.append(Segment(sys.intern(text), _style(ink, ground)))

    for match in _SGR.finditer(line):
        add(line[at : match.start()])
        at = match.end()
        what, *codes = match[1].split(";")
        if what == "38":
            ink = _colour(codes)
        elif what == "48":
            ground = _colour(codes)
        else:
            ink = ground = None
    add(line[at:])
    return Strip(segments)


def _colour(codes: list[str]) -> bytes | Color:
    """Return a colour of the palette, or red, green and blue."""
    kind, *numbers = codes
    return Color.from_ansi(int(numbers[0])) if kind == "5" else bytes(map(int, numbers))


def _style(ink: bytes | Color | None, ground: bytes | Color | None) -> Style:
    if isinstance(ink, bytes) and isinstance(ground, bytes):
        return _Pixels(ink + ground)
    colours = (_rich_colour(one) if isinstance(one, bytes) else one for one in (ink, ground))
    return Style.from_color(*colours)


def columns_for(width: int, height: int) -> int:
    """Return the width of a square picture in ``width`` x ``height`` cells of aspect 1:2."""
    return max(min(width, height * 2), 1)


class Pictures:
    """The cache of pictures as strips, rendered off the event loop.

    ``mode`` is "blocks", "ascii" or "off".
    """

    def __init__(
        self,
        path: Callable[[str, bool], Path | bytes],
        mode: str,
        defect: Callable[[str], object] = lambda trace: None,
    ) -> None:
        self.mode = mode
        self._room = CACHED_CELLS
        self._defect = defect
        self._path = path
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, int], list[Strip]] = OrderedDict()
        self._cells = 0
        self._wanted: dict[tuple[str, int], list[Callable[[], object]]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def get(
        self, sha256: str, columns: int, ready: Callable[[], object] | None = None
    ) -> list[Strip] | None:
        """Return the picture ``columns`` cells wide if it is cached, else None.

        If it is not, render it in another thread, and call ``ready`` from there when it is done.
        """
        key = (sha256, columns)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            if ready is None or self.mode == "off":
                return None
            if key in self._wanted:  # being rendered
                if ready not in self._wanted[key]:
                    self._wanted[key].append(ready)
                return None
            self._wanted[key] = [ready]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._pool.submit(self._make, key)
        return None

    @property
    def busy(self) -> bool:
        """True while a picture is being rendered."""
        return bool(self._wanted)

    def fit(self, visible: int) -> None:
        """Keep this number of cells at least: fewer than are visible would be rendered for ever."""
        with self._lock:
            self._room = max(CACHED_CELLS, visible)
            self._drop()

    def _drop(self) -> None:
        while self._cells > self._room and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._cells -= sum(strip.cell_length for strip in old)

    def close(self) -> None:
        """Stop rendering."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _make(self, key: tuple[str, int]) -> None:
        try:
            strips = self.render(*key)
        except Exception:  # a thread of a pool would drop it silently
            self._defect(traceback.format_exc())
            strips = _placeholder("cannot be", "drawn", key[1])
        with self._lock:
            self._kept[key] = strips
            self._cells += sum(strip.cell_length for strip in strips)
            self._drop()
            waiting = self._wanted.pop(key, [])
        for ready in waiting:
            ready()

    def render(self, sha256: str, columns: int) -> list[Strip]:
        """Render a picture; return a placeholder for one that cannot be read."""
        # Imported here: Pillow and term-image take 0.25 s to load.
        from dexter_tui.machine.terminal_images import half_blocks
        from store.artifacts import THUMBNAIL, open_picture
        from store.errors import StoreError

        try:
            picture = open_picture(self._path(sha256, columns <= THUMBNAIL))
        except (StoreError, FileNotFoundError):
            return _placeholder("file missing", "or damaged", columns)
        if self.mode == "ascii":
            rows = max(round(columns * picture.height / picture.width / 2), 1)
            grey = list(picture.convert("L").resize((columns, rows)).tobytes())
            top = len(_ASCII_LEVELS) - 1
            return [
                Strip(
                    [Segment("".join(_ASCII_LEVELS[v * top // 255] for v in grey[a : a + columns]))]
                )
                for a in range(0, columns * rows, columns)
            ]
        return strips_from_ansi(half_blocks(picture, columns))


def _placeholder(first: str, second: str, columns: int) -> list[Strip]:
    """Return text in place of a picture."""
    return [
        strip_of(Text(line.center(columns), style="dim italic"), columns)
        for line in ("", "no picture:", first, second, "")
    ]
