"""The results of a run, to compare with those of another: all but names, times and places."""

import sqlite3
from contextlib import closing

from store import Store

_OWN = {"run_id", "id", "created_at", "seconds"}
_OF_RUN = ("state", "steps_total", "steps_done", "words", "prompt", "word_gains", "score_value",
           "score_low", "score_high", "score_n", "score_hits", "frames_wanted", "frames_hit",
           "frames_tried", "stop_reason", "seed_ranges")  # fmt: skip


def results(store: Store, run_id: str) -> dict[str, object]:
    """Return the rows of a run, bit for bit."""
    with closing(sqlite3.connect(store.path)) as connection:
        connection.row_factory = sqlite3.Row
        found: dict[str, object] = {
            table: sorted(
                [(key, value) for key, value in dict(row).items() if key not in _OWN]
                for row in connection.execute(f"SELECT * FROM {table} WHERE run_id = ?", (run_id,))
            )
            for table in ("step", "prompt", "frame")
        }
        row = connection.execute("SELECT * FROM run WHERE id = ?", (run_id,)).fetchone()
    return found | {name: row[name] for name in _OF_RUN}
