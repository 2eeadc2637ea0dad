"""Pictures in the whole terminal: one enlarged, or the pairs behind a claim."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Center, Horizontal, Vertical
from textual.screen import Screen
from textual.widget import Widget

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines, fit
from dexter_tui.dashboard.host import Copied, Host, host_of
from dexter_tui.dashboard.screens.base import DataScreen
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.dashboard.widgets.picture import Picture
from dexter_tui.dashboard.widgets.summaries import caption_lines, wrapped
from dexter_tui.formatting import clean
from dexter_tui.machine.terminal_images import without_queries
from store.reading import comparisons
from store.reading.browse import FrameRow

_LEAST_NAME = 16  # cells of a claim's name in the title of its pairs


class PictureScreen(Screen[None]):
    """A picture in Kitty graphics or Sixel if the terminal supports them, else in half blocks."""

    BINDINGS = bindings("picture")

    def __init__(
        self,
        frames: Sequence[FrameRow],
        index: int,
        answers: Sequence[str],
        turned: Callable[[FrameRow], None],
    ) -> None:
        super().__init__()
        self._turned = turned
        self._frames = frames
        self._index = index
        self._answers = answers

    @property
    def host(self) -> Host:
        """The application."""
        return host_of(self)

    def compose(self) -> ComposeResult:
        with Vertical(id="large"), Center():
            yield self._widget()
        yield TextLines(id="large-caption")
        yield KeyBar()

    def on_mount(self) -> None:
        self._show()

    def repaint(self) -> None:
        """Show the picture again, in the colours of another theme."""
        self._show()

    def action_back(self) -> None:
        self.app.pop_screen()

    def copied(self) -> Copied | None:
        frame = self._frames[self._index]
        path = self.host.browse.picture(frame.sha256, small=False)
        return Copied("the path of the picture", str(path))

    def pointless(self, action: str) -> bool:
        """Return True for keys that turn to no other picture; the key bar omits them."""
        return action.startswith("turn(") and len(self._frames) < 2

    def action_turn(self, by: int) -> None:
        self._index = (self._index + by) % len(self._frames)
        self._turned(self._frames[self._index])
        self._show()

    def _widget(self) -> Widget:
        made: Widget | None = hires(self.host.options.enlarged)
        if made is not None:
            made.id = "large-picture"
            return made
        return Picture(self.host.pictures, id="large-picture")

    def on_resize(self) -> None:
        self._show()

    def _fit(self) -> None:
        """Fit the picture, a square, into the screen."""
        picture = self.query_one("#large-picture")
        width, height = self.size.width, max(self.size.height - 6, 2)
        columns = max(min(width, height * 2), 2)
        picture.styles.width, picture.styles.height = columns, columns // 2

    def _show(self) -> None:
        frame = self._frames[self._index]
        picture: Any = self.query_one("#large-picture")
        self._fit()
        if isinstance(picture, Picture):
            picture.sha256 = frame.sha256
        else:
            from store.artifacts import open_picture
            from store.errors import StoreError

            try:
                picture.image = open_picture(self.host.browse.picture(frame.sha256, small=False))
            except (StoreError, OSError) as error:
                self.host.complain(str(error))
        source, seed, prompt, predicted, p = caption_lines(frame, self._answers, self.host.palette)
        count = Text(f"{self._index + 1} of {len(self._frames)}", "bold")
        lines = [Text("   ").join([count, source, seed]), Text("   ").join([predicted, p]), prompt]
        width = self.size.width - 4
        for line in lines:
            line.truncate(width, overflow="ellipsis")
            line.pad_left(max((width - len(line)) // 2, 0))
        self.query_one("#large-caption", TextLines).put(Text("\n").join(lines))


class PairsScreen(DataScreen):
    """The picture pairs behind a claim, with the difference as a heat map."""

    BINDINGS = bindings("pairs")
    ORDERS: ClassVar = ("largest change first", "smallest change first", "by seed")

    def __init__(self, claim_id: int, title: str) -> None:
        super().__init__()
        self._claim_id = claim_id
        self._title = title
        self._claim: list[Any] | None = None  # as it was at first
        self._pairs: list[dict[str, Any]] = []
        self._index = self._order = 0
        self._difference: bool | None = None  # None: shown where there is room

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        with Horizontal(id="pair"):
            for side in ("control", "treated", "difference"):
                with Vertical(id=f"{side}-side", classes="panel side"):
                    yield Picture(self.host.pictures, id=f"{side}-picture")
                    yield TextLines(id=f"{side}-caption")
        yield KeyBar()

    def load(self, wish: object) -> tuple[list[Any], list[dict[str, Any]]]:
        browse = self.host.browse
        claim = browse.rows("SELECT concept, created_at FROM claim WHERE id = ?", (self._claim_id,))
        return claim, comparisons.pairs(browse, self._claim_id, limit=1000)

    def show(self, data: tuple[list[Any], list[dict[str, Any]]]) -> None:
        claim, pairs = data
        if self._claim is None:
            self._claim = claim
        if claim != self._claim:  # another claim has its key after a new report
            self.leave("the claim was deleted")
            return
        self._pairs, self._index = pairs, min(self._index, max(len(pairs) - 1, 0))
        self._draw()
        self.refresh_bindings()

    @property
    def pairs(self) -> list[dict[str, Any]]:
        """The pairs in the chosen order."""
        if self._order == 2:
            return sorted(self._pairs, key=lambda pair: pair["treated"]["seed"])
        return self._pairs[::-1] if self._order else self._pairs

    def pointless(self, action: str) -> bool:
        turns = action == "sort" or action.startswith("turn(")
        return (turns and len(self._pairs) < 2) or (action == "difference" and not self._pairs)

    def action_turn(self, by: int) -> None:
        if self._pairs:
            self._index = (self._index + by) % len(self._pairs)
            self._draw()

    def action_sort(self) -> None:
        self._order, self._index = (self._order + 1) % len(self.ORDERS), 0
        self._draw()

    def action_difference(self) -> None:
        self._difference = not self.query_one("#difference-side").display
        self._draw()

    def action_back(self) -> None:
        self.app.pop_screen()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        palette = self.host.palette
        wide = self.size.width >= 100 if self._difference is None else self._difference
        self.query_one("#difference-side").display = wide
        place = "no pairs: saturated, or pictures deleted"
        if self._pairs:
            pair = self.pairs[self._index]
            place = f"pair {self._index + 1} of {len(self._pairs)}, {self.ORDERS[self._order]}; "
            place += clean(pair["context"])
        # The concept begins the name of the claim, whose end is cut to show which pair this is.
        name = fit(clean(self._title), max(self.size.width - cell_len(place) - 5, _LEAST_NAME))
        title = Text(name, f"bold {palette.accent}", no_wrap=True, overflow="ellipsis")
        title.append(f"   {place}", palette.dim)
        self.query_one("#title", TextLines).put(title)
        if not self._pairs:
            return
        for side in ("control", "treated"):
            half = pair[side]
            self.query_one(f"#{side}-picture", Picture).sha256 = half["tile"]
            other = _words(pair["treated" if side == "control" else "control"]["prompt"])
            caption = Text(f"p(class) {half['p']:.3f}", "bold")
            caption = Text("   ").join([caption, Text(f"seed {half['seed']}", palette.dim)])
            if half["tile"] is None:
                caption.append("\npicture deleted from the bank", palette.warn)
            prompt = Text(" ").join(
                Text(clean(word), "" if word.strip(",") in other else f"bold {palette.accent}")
                for word in half["prompt"].split()
            )
            lines = self.query_one(f"#{side}-caption", TextLines)
            lines.put(Text("\n").join([caption, *wrapped(prompt, max(1, lines.size.width))]))
        self._draw_difference(pair)

    def _draw_difference(self, pair: Mapping[str, Any]) -> None:
        before, after = pair["control"], pair["treated"]
        both = before["tile"] is not None and after["tile"] is not None
        picture = self.query_one("#difference-picture", Picture)
        picture.sha256 = f"{before['tile']}-{after['tile']}" if both else None
        caption = Text("difference of the pictures")
        caption.append(f"\nchange {after['p'] - before['p']:+z.3f}", "bold")
        self.query_one("#difference-caption", TextLines).put(caption)


def _words(prompt: str) -> set[str]:
    return {word.strip(",") for word in prompt.split()}


def hires(kind: str) -> Any:
    """Return a widget of textual-image, or None if it is not wanted or does not work."""
    if kind == "blocks":
        return None
    try:
        with without_queries():
            from textual_image.widget import SixelImage, TGPImage
    except Exception:  # any failure: half blocks always work
        return None
    return (TGPImage if kind == "kitty" else SixelImage)()
