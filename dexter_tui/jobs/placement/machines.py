"""The machines of places, for display: a file in the folder of each place, and no table.

It is written by the keeper while there is anything to keep, and read by dashboards.
"""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from store.artifacts import NotPlain, open_to_read, write_atomic

_NAME = "machine.json"
_MAX_BYTES = 2**20


class Machine(BaseModel):
    """A machine as it was seen."""

    place: str
    at: datetime
    """When its GPUs were read, by this machine's clock"""
    host: str
    gpus: str | None
    """The output of `dexter_tui.machine.nvidia_smi.COMMAND`; None without it"""
    work: dict[str, str]
    """The runs on GPUs by their numbers or UUIDs, as config.toml names them; "" is the CPU"""
    history: dict[str, list[float | None]] = Field(default_factory=dict)
    """The utilisations of each GPU by UUID, from 0 to 1, oldest first"""


def folder(home: Path, place: str) -> Path:
    """Return the folder of a place in the home."""
    return home / "places" / place


def write(folder: Path, machine: Machine) -> None:
    """Replace what is known of a machine; raise OSError if that fails."""
    write_atomic(folder / _NAME, machine.model_dump_json().encode())


def read(home: Path) -> list[Machine]:
    """Return the machines that keepers have seen, by place."""
    found = []
    for path in sorted((home / "places").glob(f"*/{_NAME}")):
        try:
            with open_to_read(path) as file:
                found.append(Machine.model_validate_json(file.read(_MAX_BYTES)))
        except (FileNotFoundError, NotPlain, ValidationError):
            continue
    return found
