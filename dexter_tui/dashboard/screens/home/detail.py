"""The pane beside the list: facts, pictures and log of the selected run or study."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import Static

from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.host import Host, host_of
from dexter_tui.dashboard.screens.base import entitle
from dexter_tui.dashboard.screens.home.frame_tiles import FrameTiles, Tile
from dexter_tui.dashboard.screens.home.reading import Item
from dexter_tui.dashboard.themes import Palette
from dexter_tui.dashboard.widgets.log_view import Tail
from dexter_tui.dashboard.widgets.picture import Picture
from dexter_tui.dashboard.widgets.summaries import frame_caption, run_facts, study_facts
from dexter_tui.formatting import clean
from store.reading.browse import FrameRow, RunRow, StudyRow
from store.reading.card import VerdictCard

PREVIEW_SECONDS = 2.0  # between two pictures: 24 by 12 cells are 10 kB over the line
_SPACED = 32  # lines of a terminal with room for blank lines among the facts


class Preview(NamedTuple):
    """The pictures beside the facts: a frame, or the two sides of a pair."""

    pictures: tuple[str, ...]
    caption: Text
    tiles: tuple[Tile, ...] = ()
    """Further frames"""


class Detail(Vertical):
    """The facts, pictures and log of a run or study."""

    def __init__(self) -> None:
        super().__init__(id="detail", classes="panel")
        self._preview_due: Timer | None = None
        self._next_preview: Preview | None = None
        self._shown: str | None = None  # the run or study

    def compose(self) -> ComposeResult:
        pictures = self._host.pictures
        yield TextLines(id="facts")
        with Horizontal(id="shown"):
            yield Picture(pictures, id="preview")
            yield Picture(pictures, id="preview-with")
            yield Static(id="caption")
        yield FrameTiles(id="frames")
        yield Tail(id="tail")

    @property
    def _host(self) -> Host:
        return host_of(self)

    @property
    def tiles(self) -> int:
        """The number of frames that fit beside the facts."""
        return self.query_one(FrameTiles).room

    @property
    def has_next(self) -> bool:
        """True while a newer preview waits."""
        return self._next_preview is not None

    def show_nothing(self, hint: str) -> None:
        """Show why there is no run to show."""
        entitle(self, "")
        self._put(Text(hint, style=self._host.palette.dim))
        self._show_preview(None)
        self._show_log([])

    def show_study(self, study: StudyRow, item: Item) -> None:
        """Show a study."""
        palette, signs = self._host.palette, self._host.signs
        entitle(self, f"Study {clean(study.id)}")
        self._put(study_facts(study, item.members, item.card, self._width, palette, signs))
        self._show_item(study.id)
        preview = _of_pair(item.card, item.frames, palette)
        self._offer_preview(preview or _of_frames(item.frames, study.answers, palette))
        self._show_log([])

    def show_run(self, run: RunRow, item: Item, answers: Sequence[str]) -> None:
        """Show a run; ``answers`` are those of its classifier."""
        palette, signs = self._host.palette, self._host.signs
        entitle(self, f"Run {clean(run.id)} {signs.dot} seed {run.seed}")
        spaced = self.screen.has_class("-huge") and self.screen.size.height >= _SPACED
        self._put(run_facts(run, item.steps, self._width, palette, signs, spaced=spaced))
        self._show_item(run.id)
        self._offer_preview(_of_frames(item.frames, answers, palette))
        self._show_log(item.log)

    def _show_log(self, lines: Sequence[str]) -> None:
        self.query_one(Tail).show(list(lines))
        self.set_class(not lines, "-no-log")

    @property
    def _width(self) -> int:
        return max(self.query_one("#facts").size.width, 20)

    def _put(self, text: Text) -> None:
        self.query_one("#facts", TextLines).put(text)

    def _show_item(self, name: str) -> None:
        """Drop the preview of another run or study."""
        if name != self._shown:
            self._shown = name
            self._show_preview(None)
            if self._preview_due is not None:
                self._preview_due.stop()
            self._preview_due = self._next_preview = None

    # The preview: at most one every 2 seconds, or only on a key

    def _offer_preview(self, preview: Preview | None) -> None:
        shown = self.query_one("#preview", Picture).sha256
        if preview is None:
            return
        if preview.pictures[0] == shown:
            if not self._host.options.low_bandwidth:
                self._show_tiles(preview.tiles)  # there may be room for more
            return
        self._next_preview = preview
        self.screen.refresh_bindings()
        if self._host.options.low_bandwidth:
            return
        if shown is None and self._preview_due is None:
            self._due()
        elif self._preview_due is None:
            self._preview_due = self.set_timer(PREVIEW_SECONDS, self._due)

    def _due(self) -> None:
        self._preview_due = None
        if self._next_preview is not None:
            self.show_next()
            self._preview_due = self.set_timer(PREVIEW_SECONDS, self._due)

    def show_next(self) -> None:
        """Show the preview that waits."""
        if self._next_preview is not None:
            self._show_preview(self._next_preview)
            self._next_preview = None

    def _show_preview(self, preview: Preview | None) -> None:
        picture = self.query_one("#preview", Picture)
        if (picture.sha256, preview) == (None, None) and not self._host.options.low_bandwidth:
            return
        other = self.query_one("#preview-with", Picture)
        pictures = preview.pictures if preview is not None else ()
        picture.sha256 = pictures[0] if pictures else None
        other.sha256 = pictures[1] if len(pictures) > 1 else None
        other.display = len(pictures) > 1
        self.query_one("#shown").set_class(len(pictures) > 1, "-pair")
        self._show_tiles(preview.tiles if preview is not None else ())
        if preview is None:
            hint = "press v to load the preview" if self._host.options.low_bandwidth else ""
            self._caption(Text(hint, style=self._host.palette.dim))
        else:
            self._caption(preview.caption)

    def _show_tiles(self, tiles: Sequence[Tile]) -> None:
        self.query_one(FrameTiles).show(tiles)

    def _caption(self, text: Text) -> None:
        self.query_one("#caption", Static).update(text, layout=False)


def _of_frames(
    frames: Sequence[FrameRow], answers: Sequence[str], palette: Palette
) -> Preview | None:
    """Return the first frame, with the others as tiles."""
    if not frames:
        return None
    first, *others = frames
    return Preview((first.sha256,), frame_caption(first, answers, palette), _tiles(others))


def _of_pair(
    card: VerdictCard | None, frames: Sequence[FrameRow], palette: Palette
) -> Preview | None:
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
    return Preview((sides[0]["tile"], sides[1]["tile"]), caption, _tiles(frames))


def _tiles(frames: Sequence[FrameRow]) -> tuple[Tile, ...]:
    return tuple(Tile(frame.sha256, f"p(class) {frame.target_probability:.2f}") for frame in frames)
