"""The effects of concepts on a classifier in a screening, as a forest plot."""

from collections.abc import Mapping
from typing import Any

from rich.text import Text
from textual.message import Message

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import padded
from dexter_tui.dashboard.host import host_of
from dexter_tui.dashboard.themes import Palette, Signs
from dexter_tui.dashboard.widgets.claim_list import RowList, interval_bar, mark
from dexter_tui.formatting import clean
from dexter_tui.presentation.screening_tables import WORDS, confirmation_text, order_text

Finding = Mapping[str, Any]


class EffectList(RowList[Finding]):
    """A list with a line per concept."""

    BINDINGS = bindings("effects")

    class Turned(Message):
        """Another classifier is wanted."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def action_turn(self, by: int) -> None:
        self.post_message(self.Turned(by))

    def identity(self, row: Finding) -> tuple[str, str]:
        return str(row["concept"]), str(row["slot"])

    def header(self, width: int) -> Text:
        scale = f"-1{'0':^{_bar_width(width) - 4}}+1"
        titles = f" {'concept':<16} {scale} effect verdict       drawn  on fresh pairs"
        return Text(titles, style=host_of(self).palette.dim)

    def row(self, row: Finding, width: int) -> Text:
        app = host_of(self)
        palette, signs = app.palette, app.signs
        text = Text(no_wrap=True)
        text.append(f" {padded(clean(row['concept']), 16)} ", "bold")
        interval = row["low"], row["effect"], row["high"]
        colour = _colour(row, palette)
        interval_bar(text, interval, (-1, 1), _bar_width(width), colour, palette, signs)
        text.append(f" {row['effect']:+z.2f}  ")
        text.append(f"{WORDS.get(row['verdict'], clean(row['verdict'])):<13} ", colour)
        drawn = row["drawn"]
        share = "" if drawn is None or drawn["asked"] is None else f"{drawn['asked']:.0%}"
        text.append(f"{share:>5}  ", palette.dim)
        if claim := row["confirmation"]:
            sign, colour = mark(claim["verdict"], palette, signs)
            text.append(f"{sign} {confirmation_text(row).plain}", colour)
        elif row["core"]:
            text.append("part of the class", palette.dim)
        return text


def _bar_width(width: int) -> int:
    return max(min(width - 64, 61), 11)


def _colour(finding: Finding, palette: Palette) -> str:
    if finding["core"]:
        return palette.dim
    return {
        "raises": palette.bad,
        "lowers": palette.accent,
        "explained": palette.warn,
    }.get(finding["verdict"], palette.dim)


def effect_details(finding: Finding, palette: Palette, signs: Signs) -> Text:
    """Return all numbers of a finding."""
    text = Text()
    text.append(f"{clean(finding['concept'])} ", f"bold {palette.accent}")
    text.append(f"({clean(finding['slot'])}): {WORDS.get(finding['verdict'], '')}")
    if finding["explained_by"]:
        text.append(f" by {clean(', '.join(finding['explained_by']))}")
    text.append("\n\n")

    def fact(name: str, value: str) -> None:
        text.append(f"{name:<20}", palette.dim).append(f"{value}\n")

    def interval(one: Mapping[str, Any]) -> str:
        return f"{one['effect']:+z.3f} [{one['low']:+z.3f}, {one['high']:+z.3f}]"

    fact("effect on p(class)", f"{interval(finding)}, {finding['pictures']} pictures")
    fact("on log-odds", interval(finding["log_odds"]))
    for name, one in finding["contexts"].items():
        fact(f"context: {clean(name)}", interval(one))
    for beside in finding["interactions"]:
        fact(f"beside {clean(beside['concept'])}", f"{interval(beside)} more")
    drawn = finding["drawn"]
    if drawn is not None and drawn["asked"] is not None:
        otherwise = "" if drawn["otherwise"] is None else f", else in {drawn['otherwise']:.0%}"
        fact("drawn", f"in {drawn['asked']:.0%} of the pictures that ask for it{otherwise}")
    if finding["companions"]:
        fact("without companions", f"{finding['direct']:+z.3f}")
        along = [
            f"{clean(one['concept'])} ({one['shift']:+.0%}, {one['through']:+z.2f} of the effect)"
            for one in finding["companions"][:4]
        ]
        fact("drawn along", ", ".join(along))
    claim = finding["confirmation"]
    if claim is not None:
        fact("on fresh pairs", f"{confirmation_text(finding).plain}, {claim['pairs']} pairs")
        if claim["pairs"]:
            fact("", f"{interval(claim)}, p-value {claim['p_corrected']:.2g}")
        if share := claim["predictiveness"]:
            rates = f"[{share['low']:.0%}, {share['high']:.0%}]"
            fact("on fresh prompts", f"{order_text(share)} pairs {rates}")
    return text
