"""The options of the dashboard."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dexter_tui.dashboard.actions import ACTIONS

Images = Literal["auto", "blocks", "kitty", "sixel", "ascii", "off"]
NOTICES = ("bell", "osc9", "osc777")
IMAGES: tuple[Images, ...] = ("auto", "blocks", "kitty", "sixel", "ascii", "off")


@dataclass(frozen=True)
class Options:
    """The flags of the dashboard; see its --help."""

    images: Images = "auto"
    """The kind that the user asked for; "auto" means half blocks, and for an enlarged picture the
    best that the terminal supports"""
    enlarged: Literal["blocks", "kitty", "sixel"] = "blocks"
    """The form of an enlarged picture that the terminal supports"""
    low_bandwidth: bool = False
    read_only: bool = False
    demo_devices: int = 0
    ascii: bool = False
    no_colour: bool = False
    theme: str = "dexter"
    theme_from: str = ""
    """Where the theme is set for every start, --theme or config.toml; else a chosen one stays"""
    misspelt: tuple[str, ...] = ()
    """Lines on names of config.toml that mean nothing"""
    keys: dict[str, str] = field(default_factory=dict)
    """Keys that replace the defaults, by the names of `dexter_tui.dashboard.actions`"""
    notify: tuple[str, ...] = ()
    """The signals of the terminal when a run or job ends: bell, osc9, osc777"""
    on_finish: str = ""
    """The command that is started when a run or job has ended"""
    animate: bool = True
    keep_seconds: float = 10.0
    """Seconds between two checks that runners exist; 0 disables them"""


SETTINGS = ("theme", "notify", "on_finish")
"""The names of the table [dashboard] of config.toml"""


def misspelt(settings: Mapping[str, object]) -> list[str]:
    """Return a line for each name of config.toml that means nothing."""
    from dexter.config import RunConfig

    known = {
        "run": tuple(RunConfig.model_fields),
        "dashboard": SETTINGS,
        "keys": tuple(action.id for action in ACTIONS),
    }
    lines = []
    for table, values in settings.items():
        if table == "places":
            continue  # checked as a whole by `dexter_tui.jobs.placement.places`
        if not isinstance(values, dict):
            owners = [own for own, names in known.items() if table in names]
            where = f"[{owners[0]}]" if owners else "[run], [places], [dashboard] or [keys]"
            lines.append(f"config.toml: {table} belongs below the line {where}")
            continue
        if table not in known:
            tables = (*known, "places")
            hint = _nearest(table, tables, "the tables are [run], [places], [dashboard] and [keys]")
            lines.append(f"config.toml: [{table}] is no table of dexter-tui; {hint}")
            continue
        others = {
            "run": "dexter-tui run --help lists the settings",
            "dashboard": f"choose from {', '.join(SETTINGS)}",
            "keys": "docs/keys.md lists the actions",
        }[table]
        for name in values:
            if name not in known[table]:
                what = "action" if table == "keys" else "setting"
                hint = _nearest(name, known[table], others)
                lines.append(f"config.toml, [{table}]: {name} is no {what}; {hint}")
    return lines


def _nearest(name: str, known: tuple[str, ...], otherwise: str) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else otherwise
