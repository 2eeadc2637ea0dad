"""The problems of a store and its files, as the checks of `store.upkeep` report them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, of: int) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Trouble:
    """A problem of a store."""

    kind: str
    what: str
    repaired: bool
    remedy: str = "`dexter-tui doctor --repair`"


def set_aside(home: Path, path: Path, name: str) -> None:
    """Move a damaged file to the folder "damaged"."""
    folder = home / "damaged"
    folder.mkdir(mode=0o700, exist_ok=True)
    path.replace(folder / name)
