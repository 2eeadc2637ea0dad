"""Labelled pictures that are looked up often, such as at each pause of someone who types."""

from pathlib import Path

from dexter.data.folder import LAB_SCENES, DataSet, read_data

_PATTERNS = ("*.csv", "*/", "*/*.csv", "*/*/")
"""The tables of a data set, and its folders of splits and classes."""


class ReadOnce:
    """Reads as `read_data` does, the same data again only after a table or folder has changed."""

    def __init__(self) -> None:
        self._kept: tuple[object, DataSet] | None = None

    def __call__(self, source: str, *, label: str | None = None, size: int = LAB_SCENES) -> DataSet:
        key = (source, label, size, _changes(source))
        if self._kept is None or self._kept[0] != key:
            self._kept = key, read_data(source, label=label, size=size)
        return self._kept[1]


def _changes(source: str) -> list[tuple[Path, int]]:
    """Return the times of the last changes; none of scenes, or of what cannot be read."""
    try:
        path = Path(source).expanduser()
        found = [path, *(one for pattern in _PATTERNS for one in path.glob(pattern))]
        return [(one, one.stat().st_mtime_ns) for one in found]
    except (OSError, RuntimeError, ValueError):
        return []
