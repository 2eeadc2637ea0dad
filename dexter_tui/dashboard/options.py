"""What the dashboard is told at its start."""

from dataclasses import dataclass, field
from typing import Literal

Images = Literal["auto", "blocks", "kitty", "sixel", "ascii", "off"]
IMAGES: tuple[Images, ...] = ("auto", "blocks", "kitty", "sixel", "ascii", "off")


@dataclass(frozen=True)
class Options:
    """Flags of the dashboard; see its --help."""

    images: Images = "auto"
    """As the user wants them; "auto" is half blocks, and for one enlarged picture what the
    terminal proved to have."""
    enlarged: Literal["blocks", "kitty", "sixel"] = "blocks"
    """How one enlarged picture is shown, by what the terminal proved."""
    low_bandwidth: bool = False
    read_only: bool = False
    demo_devices: int = 0
    ascii: bool = False
    no_colour: bool = False
    theme: str = "dexter"
    keys: dict[str, str] = field(default_factory=dict)
    """Other keys, by the names of `dexter_tui.dashboard.actions`."""
    animate: bool = True
    keep_seconds: float = 10.0
    """Between two looks after the runners; 0 for none."""
