"""The paths of the application: DEXTER_HOME, then the packaged files."""

import os
import tempfile
import tomllib
from pathlib import Path

import platformdirs

from dexter.errors import InputError
from dexter.loading import read_text

PACKAGED = Path(__file__).resolve().parent.parent
SETTINGS_FILE = "config.toml"


def home() -> Path:
    """Return ``DEXTER_HOME``, or the platform's data directory."""
    named = os.environ.get("DEXTER_HOME")
    if not named:
        return platformdirs.user_data_path("dexter-tui").absolute()
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError:  # ~NAME of no user
        raise _no_home(named, "no such user") from None


def checked_home() -> Path:
    """Return `home`; raise InputError if it is no folder, or cannot become one."""
    path = home()
    if path.is_dir():
        return path
    if os.path.lexists(path):
        raise _no_home(path, "not a folder")
    parent = path.parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir():
        raise _no_home(path, f"{parent} is not a folder")
    try:
        with tempfile.TemporaryDirectory(prefix=".dexter-tui-", dir=parent):
            return path
    except OSError as error:
        raise _no_home(path, f"cannot be created: {error.strerror or error}") from None


def _no_home(path: Path | str, problem: str) -> InputError:
    return InputError(
        problem, field=str(path), value=str(path), remedy="set DEXTER_HOME to another folder"
    )


def expanded(path: Path | str, field: str | None = None) -> Path:
    """Return a path with the home folder for ~; raise InputError for the ~NAME of no user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(
            f"{path}: no such user", field=field, value=str(path), remedy="write the whole path"
        ) from None


def full(spec: str, field: str | None = None) -> str:
    """Return a file or folder by its full path, which workers elsewhere find; other names stay."""
    path = expanded(spec, field)
    return str(path.absolute()) if path.exists() else spec


def trusted() -> Path:
    """Return the folder of the user's consents, in no store, so that no copy of one carries any."""
    return platformdirs.user_state_path("dexter-tui") / "trusted"


def system_prompt(name: str) -> Path:
    """Return the file ``sp_config/NAME``: the user's own, or the packaged one."""
    places = [root / "sp_config" / name for root in (home(), PACKAGED)]
    for place in places:
        if place.is_file():
            return place
    raise InputError(
        f"system prompt {name} not found at {' or '.join(map(str, places))}",
        remedy="reinstall dexter-tui, or put it there",
    )


def packaged_prompts() -> list[Path]:
    """Return the system prompts that `config init` copies."""
    return sorted((PACKAGED / "sp_config").glob("*.txt"))


def settings(table: str = "run") -> dict[str, object]:
    """Return a table of the user's config.toml; ``[run]`` holds defaults of flags."""
    values = all_settings().get(table, {})
    if not isinstance(values, dict):
        path = home() / SETTINGS_FILE
        raise InputError(f"{path}: {table!r} is not a table", remedy=f"write [{table}]")
    return values


def all_settings() -> dict[str, object]:
    """Return the user's config.toml; raise InputError for one that cannot be read."""
    path = home() / SETTINGS_FILE
    if not path.exists():
        return {}
    try:
        return tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read: {error}", remedy="correct or remove the file"
        ) from None
