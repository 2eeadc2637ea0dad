"""The memory of the dashboard from one start to the next: the theme and the latest actions."""

import json
from contextlib import suppress
from pathlib import Path

from store.artifacts import place_atomic

FILE = "dashboard.json"
MOST_RECENT = 8


class Remembered:
    """The file DEXTER_HOME/dashboard.json; one that is missing or damaged counts as empty."""

    def __init__(self, home: Path, *, writes: bool = True) -> None:
        self._path = home / FILE
        self._writes = writes
        self.theme: str | None = None
        self.recent: list[str] = []
        """The ids of the actions taken from the palette, the latest first"""
        with suppress(OSError, ValueError, AttributeError):
            found = json.loads(self._path.read_text(encoding="utf-8"))
            theme, recent = found.get("theme"), found.get("recent")
            self.theme = theme if isinstance(theme, str) else None
            self.recent = [str(one) for one in recent or ()][:MOST_RECENT]

    def keep_theme(self, name: str) -> None:
        """Remember the theme for the next start."""
        self.theme = name
        self._write()

    def add_recent(self, action: str) -> None:
        """Remember an action as the latest."""
        others = [one for one in self.recent if one != action]
        self.recent = [action, *others][:MOST_RECENT]
        self._write()

    def _write(self) -> None:
        if self._writes and self._path.parent.is_dir():
            text = json.dumps({"theme": self.theme, "recent": self.recent})
            with suppress(OSError):  # a read-only or full disk: no loss
                place_atomic(self._path, lambda path: _write(path, text))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
