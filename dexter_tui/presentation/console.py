"""The console of the command line, which cleans every text that it prints."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from dexter_tui.formatting import clean_lines


class CleanConsole(Console):
    """A console on which no text controls the terminal, wherever it comes from.

    Views clean their own texts, which also keeps columns aligned; this catches what they miss.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render with clean texts; control sequences of Rich itself stay."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(clean_lines(text), style)
