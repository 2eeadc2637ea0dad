"""The places of config.toml at which runs can be done: tables ``[places.NAME]``."""

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dexter.errors import InputError
from dexter_tui import paths

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")
_KINDS = ("slurm", "ray", "ssh")


class Place(BaseModel):
    """A place, as the user describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Literal["slurm", "ray"]
    folder: Path
    """The folder for orders and attempts, shared with the nodes"""
    python: str = sys.executable
    """The Python there, with dexter-tui installed"""
    limit: int = Field(default=20, ge=1, le=10_000)
    """The most runs submitted at a time"""
    pack: int = Field(default=1, ge=1, le=1000)
    """The most runs that one job does, one after another"""
    partition: str | None = None
    account: str | None = None
    gres: str | None = None
    time: str | None = None
    flags: tuple[str, ...] = ()
    """Further flags of sbatch"""
    address: str = Field(default="http://127.0.0.1:8265", pattern=r"^https?://")
    """The address of a Ray cluster's dashboard"""
    gpus: float = Field(default=1, ge=0)
    """The GPUs of a job of Ray"""


class Box(BaseModel):
    """A machine that is reached over SSH, as the user describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Literal["ssh"]
    host: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@:%-]*$")
    """A host, user@host or the alias of ~/.ssh/config"""
    folder: Path
    """The folder there for orders and attempts"""
    python: str = "python3"
    """The Python there, with dexter-tui installed"""
    gpus: tuple[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$", coerce_numbers_to_str=True)], ...
    ] = ()
    """The GPUs to use, by number or UUID; none: one run at a time, on the CPU"""
    flags: tuple[str, ...] = ()
    """Further flags of ssh"""

    @property
    def limit(self) -> int:
        """The most runs at a time."""
        return max(len(self.gpus), 1)

    @property
    def pack(self) -> int:
        """The most runs that one process does: each GPU has its own."""
        return 1


def places() -> dict[str, Place | Box]:
    """Return the places of config.toml by name; raise InputError for one that is unusable."""
    return {name: _place(name, values) for name, values in paths.settings("places").items()}


def place(name: str) -> Place | Box:
    """Return the place with this name; raise InputError if there is none."""
    found = paths.settings("places")
    if name not in found:
        raise InputError(
            f"config.toml has no place {name!r}",
            field="on",
            value=name,
            remedy=f"choose from {', '.join(found)}" if found else f"add a table [places.{name}]",
        )
    return _place(name, found[name])


def _place(name: str, values: object) -> Place | Box:
    table = f"config.toml, [places.{name}]"
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{table}: {name!r} cannot be a name",
            remedy="use up to 31 of a-z, 0-9, - and _",
        )
    if not isinstance(values, dict):
        raise InputError(f"{table} is not a table", remedy=f"write [places.{name}]")
    if values.get("kind") not in _KINDS:
        raise InputError(
            f"{table}: kind {str(values.get('kind'))[:40]!r} is unknown",
            remedy=f"choose from {', '.join(_KINDS)}",
        )
    try:
        kind: type[Place | Box] = Box if values.get("kind") == "ssh" else Place
        found = kind.model_validate({**values, "name": name})
    except ValidationError as error:
        fault = error.errors()[0]
        setting = ".".join(map(str, fault["loc"]))
        raise InputError(
            f"{table}: {setting}: {fault['msg']}", remedy="docs/scaling.md lists the settings"
        ) from None
    if not found.folder.is_absolute():
        raise InputError(f"{table}: folder must be a full path", value=str(found.folder))
    return found
