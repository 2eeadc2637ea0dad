"""Colours and signs: the themes, and the style of each meaning in any theme."""

from dataclasses import dataclass

from rich.terminal_theme import TerminalTheme
from textual.theme import Theme

from store.states import State

THEMES = (
    Theme(
        name="dexter",
        primary="#7aa2d6",
        secondary="#8f9bb3",
        accent="#e0af68",
        success="#7fb77e",
        warning="#e0af68",
        error="#e06c75",
        foreground="#d3d7de",
        background="#14161a",
        surface="#1a1d23",
        panel="#23272f",
        dark=True,
    ),
    Theme(
        name="dexter-light",
        primary="#2f5f9e",
        secondary="#5c6675",
        accent="#9a6700",
        success="#2e7d32",
        warning="#9a6700",
        error="#b3261e",
        foreground="#1f2328",
        background="#fbfbfa",
        surface="#f3f3f1",
        panel="#e6e6e3",
        dark=False,
    ),
    # The colours of Okabe and Ito, which stay distinct in the common forms of colour blindness.
    Theme(
        name="colour-blind",
        primary="#56b4e9",
        secondary="#999999",
        accent="#f0e442",
        success="#009e73",
        warning="#e69f00",
        error="#d55e00",
        foreground="#e6e6e6",
        background="#111111",
        surface="#181818",
        panel="#262626",
        dark=True,
    ),
)  # fmt: skip
# Textual's two themes for terminals with 16 colours come last.
ORDER = ("dexter", "dexter-light", "colour-blind", "ansi-dark", "ansi-light")

_SERIES = {
    "colour-blind": ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"),
    "dexter-light": ("#2f5f9e", "#9a6700", "#2e7d32", "#8a3ffc", "#00695c", "#b3261e", "#6d4c41"),
}
_SERIES_ANSI = ("cyan", "yellow", "green", "magenta", "blue", "red", "white")
_SERIES_DARK = ("#7aa2d6", "#e0af68", "#7fb77e", "#c099e0", "#6cc5c1", "#e38a8a", "#b8c06c")


@dataclass(frozen=True)
class Palette:
    """The Rich styles by meaning."""

    text: str
    dim: str
    accent: str
    primary: str
    good: str
    warn: str
    bad: str
    active: str
    series: tuple[str, ...]
    cursor: str
    """Background of the selected line"""
    faint: str
    """Style of lines and empty bars"""
    ground: str = ""
    """The background, as a colour to blend with; empty where colours cannot be blended"""

    def state(self, state: str) -> str:
        """Return the style of a run's state."""
        return {
            State.SUCCEEDED: self.good,
            State.FAILED: self.bad,
            State.LOST: self.bad,
            State.RUNNING: self.active,
            State.STARTING: self.active,
            State.PAUSING: self.warn,
            State.PAUSED: self.warn,
            State.CANCELLING: self.warn,
        }.get(State(state), self.dim)


def palette(theme: Theme, *, no_colour: bool = False) -> Palette:
    """Return the style of each meaning in a theme."""
    if no_colour:
        return Palette(
            "", "dim", "bold", "bold", "", "bold", "bold", "bold", ("",) * 7, "reverse", "dim"
        )
    if theme.ansi:
        return Palette(
            text="", dim="bright_black", accent="yellow", primary="blue", good="green",
            warn="yellow", bad="red", active="cyan", series=_SERIES_ANSI, cursor="reverse",
            faint="bright_black",
        )  # fmt: skip
    foreground = theme.foreground or ("#e0e0e0" if theme.dark else "#202020")
    background = theme.background or ("#121212" if theme.dark else "#fafafa")
    return Palette(
        text=foreground,
        dim=_mix(foreground, background, 0.45),
        accent=theme.accent or theme.primary,
        primary=theme.primary,
        good=theme.success or "green",
        warn=theme.warning or "yellow",
        bad=theme.error or "red",
        active=theme.primary,
        series=_SERIES.get(theme.name, _SERIES_DARK),
        cursor=f"on {_mix(theme.primary, background, 0.7)}",
        faint=_mix(foreground, background, 0.75),
        ground=background,
    )


def terminal(theme: Theme) -> TerminalTheme:
    """Return what the names of colours mean in a theme, for tables that the commands print too."""
    from textual.color import Color

    own = palette(theme)
    others = own.series[3], own.series[4]
    names = own.faint, own.bad, own.good, own.warn, own.primary, *others, own.text
    colours = [Color.parse(colour).rgb for colour in names]
    return TerminalTheme(Color.parse(own.ground).rgb, Color.parse(own.text).rgb, colours, colours)


def _mix(one: str, other: str, share: float) -> str:
    from textual.color import Color

    return Color.parse(one).blend(Color.parse(other), share).hex6


@dataclass(frozen=True)
class Signs:
    """The characters that stand for states, bars and lines."""

    states: dict[str, str]
    bar: tuple[str, str, str]
    """Full, half, empty"""
    levels: str
    """Characters of a sparkline, from low to high"""
    dot: str
    arrow: str
    mark: str
    ellipsis: str
    vertical: str
    dash: str
    shades: str
    """Characters of increasing density"""
    tried: str
    best: str


UNICODE = Signs(
    states={
        "queued": "◌", "starting": "◍", "running": "●", "pausing": "◍", "paused": "‖",
        "cancelling": "◍", "cancelled": "○", "succeeded": "✓", "failed": "✗", "lost": "?",
    },
    bar=("━", "╸", "─"),
    levels="▁▂▃▄▅▆▇█",
    dot="·",
    arrow="→",
    mark="▌",
    ellipsis="…",
    vertical="│",
    dash="–",
    shades=" ░▒▓█",
    tried="•",
    best="━",
)  # fmt: skip
ASCII = Signs(
    states={
        "queued": ".", "starting": "o", "running": "*", "pausing": "o", "paused": "=",
        "cancelling": "o", "cancelled": "-", "succeeded": "+", "failed": "x", "lost": "?",
    },
    bar=("#", "#", "."),
    levels="_.-=+*#@",
    dot="|",
    arrow="->",
    mark=">",
    ellipsis="~",
    vertical="|",
    dash="-",
    shades=" .:%#",
    tried="o",
    best="=",
)  # fmt: skip
