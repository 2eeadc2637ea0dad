"""The text of a store without runs."""

from rich.text import Text

from dexter_tui.dashboard.host import Host
from dexter_tui.dashboard.screens.home.reading import NewestScreening
from dexter_tui.dashboard.themes import Palette
from dexter_tui.dashboard.widgets.summaries import verdict_lines
from dexter_tui.formatting import clean, short_spec

_WIDTH = 100  # columns
_CARDS = 3


def welcome(host: Host, newest: NewestScreening | None, columns: int) -> Text:
    """Return what a user can do first, and the newest screening."""
    palette = host.palette
    text = Text()
    text.append("dexter-tui\n", f"bold {palette.primary}")
    text.append("finds out what an image classifier looks for, and describes it in words\n\n")
    if newest is None:
        text.append("This store has no runs yet.\n\n", palette.dim)
    else:
        for line in _screening_lines(newest, min(max(columns - 8, 40), _WIDTH), palette):
            text.append_text(line).append("\n")
        text.append("\n")
    keys = [("?", "show all keys")]
    if host.options.read_only:
        text.append("Read-only: start a run from another terminal.\n\n", palette.warn)
    else:
        keys = [
            ("d", "run the demo: which of two classifiers uses the sea for a waterbird?"),
            ("n", "audit a model of your own: three questions"),
            *keys,
        ]
    if newest is not None:
        keys = [("i", "open the audits and screenings"), *keys]
    for key, label in keys:
        text.append(f" {key} ", f"bold {palette.accent}")
        text.append(f" {label}\n")
    return text


def _screening_lines(newest: NewestScreening, width: int, palette: Palette) -> list[Text]:
    """Return the state of a screening, and the verdict on each of its first classifiers."""
    lines = [Text(clean(newest.line), palette.primary)]
    for one in newest.cards[:_CARDS]:
        lines.append(Text(clean(f"{short_spec(one.classifier)} · {one.class_name}"), "bold"))
        lines += verdict_lines(one, width, palette)
    more = len(newest.cards) - _CARDS
    if more > 0:
        lines.append(Text(f"and {more} more", palette.dim))
    return lines
