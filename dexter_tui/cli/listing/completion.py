"""The completion of the shell: ids of the store and names of classifiers, silent on failures."""

from contextlib import suppress

from dexter_tui import paths
from store.errors import StoreError

_MOST = 200


_TABLES = ("study", "run", "comparison", "screening", "data_report", "job")


def ids(incomplete: str) -> list[str]:
    """Return the ids of all kinds, newest first."""
    return _ids(incomplete, *_TABLES)


def studies(incomplete: str) -> list[str]:
    """Return the ids of studies."""
    return _ids(incomplete, "study")


def screenings(incomplete: str) -> list[str]:
    """Return the ids of screenings."""
    return _ids(incomplete, "screening")


def data_reports(incomplete: str) -> list[str]:
    """Return the ids of reports on pictures."""
    return _ids(incomplete, "data_report")


def compared(incomplete: str) -> list[str]:
    """Return the ids of comparisons and studies."""
    return _ids(incomplete, "comparison", "study")


def comparable(incomplete: str) -> list[str]:
    """Return what can be compared: classifiers and studies, and comparisons to show."""
    return [*models(incomplete), *compared(incomplete)]


def _ids(incomplete: str, *tables: str) -> list[str]:
    from store.reading.browse import Browse

    found: list[str] = []
    with suppress(StoreError, OSError):
        browse = Browse(paths.home())
        for table in tables:
            rows = browse.rows(
                f"SELECT id FROM {table} WHERE substr(id, 1, ?) = ? ORDER BY rowid DESC LIMIT ?",
                (len(incomplete), incomplete, _MOST),
            )
            found += [str(name) for (name,) in rows]
    return found


def models(incomplete: str) -> list[str]:
    """Return the lab's classifiers and the user's own."""
    from dexter_tui.field_flags import known_classifiers

    return known_classifiers(incomplete)
