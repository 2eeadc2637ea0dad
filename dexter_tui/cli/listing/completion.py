"""The completion of the shell: ids of the store and names of classifiers, silent on failures."""

from contextlib import suppress

from dexter_tui import paths
from store.errors import StoreError

_MOST = 200


def ids(incomplete: str) -> list[str]:
    """Return the ids of runs, studies, comparisons, screenings and jobs, newest first."""
    from store.reading.browse import Browse

    found: list[str] = []
    with suppress(StoreError, OSError):
        browse = Browse(paths.home())
        for table in ("study", "run", "comparison", "screening", "job"):
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
