"""The memory of the dashboard from one start to the next: ``dashboard.json`` in the home folder.

Settings that a user writes are in config.toml; this file is only written by the dashboard.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from store.artifacts import open_to_read, write_atomic
from store.json_numbers import finite

FILE = "dashboard.json"
MOST_RECENT = 8
MOST_BYTES = 2**20  # of the file, which may come with a home from elsewhere


class Remembered:
    """Values by name, written at once; with --read-only they last until the dashboard ends.

    ``complain`` reports once that the file cannot be read, and once that it cannot be written.
    """

    def __init__(
        self,
        home: Path,
        *,
        read_only: bool = False,
        complain: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._path = home / FILE
        self._read_only = read_only
        self._report = complain
        self._reported: set[str] = set()
        self._values: dict[str, Any] | None = None
        self._unsaved: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """Return a value as it was written, or None; the caller checks what it holds."""
        if self._values is None:
            self._values = self._read()
        return self._values.get(name)

    def put(self, name: str, value: Any) -> bool:
        """Remember a value that JSON can hold; return whether the next start will find it."""
        if self.get(name) == value and not self._unsaved:
            return True
        self._unsaved[name] = value
        # Another dashboard may have written, too.
        before = (self._values or {}) if self._read_only else self._read()
        self._values = {**before, **self._unsaved}
        if self._read_only or not self._path.parent.is_dir():
            return False
        try:
            write_atomic(self._path, json.dumps(finite(self._values), indent=1).encode())
        except OSError as error:
            self._complain(f"{self._path} cannot be written: {error.strerror or error}")
            return False
        self._unsaved = {}
        return True

    def _complain(self, line: str) -> None:
        if line not in self._reported:
            self._reported.add(line)
            self._report(line)

    @property
    def theme(self) -> str | None:
        """The theme that was chosen last."""
        found = self.get("theme")
        return found if isinstance(found, str) else None

    @property
    def recent(self) -> list[str]:
        """The ids of the actions taken from the palette, the latest first."""
        found = self.get("recent")
        return [str(one) for one in found][:MOST_RECENT] if isinstance(found, list) else []

    def add_recent(self, action: str) -> None:
        """Remember an action as the latest."""
        others = [one for one in self.recent if one != action]
        self.put("recent", [action, *others][:MOST_RECENT])

    def _read(self) -> dict[str, Any]:
        try:
            with open_to_read(self._path) as file:
                text = file.read(MOST_BYTES + 1)
            found = json.loads(text) if len(text) <= MOST_BYTES else None
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
        self._complain(f"{self._path} cannot be read; the next change replaces it")
        return {}
