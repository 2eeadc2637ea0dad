"""The search path of model folders: an explicit root, the user's checkpoints, the packaged ones."""

import os
from pathlib import Path

from dexter.errors import InputError


def roots(root: Path | str | None = None) -> list[Path]:
    """Return the folders to search, in order.

    An explicit ``root`` is the only one. Otherwise ``$DEXTER_HOME/checkpoints`` comes before
    the packaged folder: inside the package in a wheel, beside it in a repository.
    """
    if root is not None:
        return [Path(root).expanduser()]
    home = os.environ.get("DEXTER_HOME")
    users = [Path(home).expanduser() / "checkpoints"] if home else []
    package = Path(__file__).resolve().parent
    in_wheel = package / "_data" / "checkpoints"
    return [*users, in_wheel if in_wheel.is_dir() else package.parent / "checkpoints"]


def find(*parts: str, root: Path | str | None = None) -> Path:
    """Return the first file or folder ``parts`` below a root; raise InputError if there is none."""
    places = [place.joinpath(*parts) for place in roots(root)]
    for place in places:
        if place.exists():
            return place
    raise InputError(
        f"{'/'.join(parts)} is not in {' or '.join(str(place) for place in roots(root))}",
        remedy="reinstall dexter-tui, or put it there",
    )
