"""Where model folders lie: an explicit root, the user's own checkpoints, or those packaged."""

import os
from pathlib import Path

from dexter.errors import InputError


def roots(root: Path | str | None = None) -> list[Path]:
    """The folders that are looked through, first match wins.

    An explicit ``root`` is the only one. Otherwise ``$DEXTER_HOME/checkpoints`` comes before
    what is packaged: inside the package in a wheel, beside it in a repository.
    """
    if root is not None:
        return [Path(root).expanduser()]
    home = os.environ.get("DEXTER_HOME")
    users = [Path(home).expanduser() / "checkpoints"] if home else []
    package = Path(__file__).resolve().parent
    in_wheel = package / "_data" / "checkpoints"
    return [*users, in_wheel if in_wheel.is_dir() else package.parent / "checkpoints"]


def find(*parts: str, root: Path | str | None = None) -> Path:
    """The first existing file or folder ``parts`` below a root. InputError where there is none."""
    places = [place.joinpath(*parts) for place in roots(root)]
    for place in places:
        if place.exists():
            return place
    raise InputError(
        f"{'/'.join(parts)} is not in {' or '.join(str(place) for place in roots(root))}"
    )
