"""The options of the dashboard."""

from dataclasses import dataclass, field
from typing import Literal

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
    keys: dict[str, str] = field(default_factory=dict)
    """Keys that replace the defaults, by the names of `dexter_tui.dashboard.actions`"""
    notify: tuple[str, ...] = ()
    """The signals of the terminal when a run or job ends: bell, osc9, osc777"""
    on_finish: str = ""
    """The command that is started when a run or job has ended"""
    animate: bool = True
    keep_seconds: float = 10.0
    """Seconds between two checks that runners exist; 0 disables them"""
