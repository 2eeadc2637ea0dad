"""Times of the ten queries, the search and the compare screen on a store of years.

    python -m benchmarks.query [--runs 10000]

The store is made in bulk by SQL, below build/bench-query: 200 steps and 20 frames a run, a caption
for each frame, four claims a study, a report for each, and a comparison of eight classifiers on
forty concepts. Times are the median of five, in milliseconds of this process's CPU, which the
machine's other work does not change; the first, with nothing cached, stands behind it.
"""

import argparse
import asyncio
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import big_store

from store.reading import queries
from store.reading.browse import Browse

Result = TypeVar("Result")

STEPS, FRAMES = 200, 20  # of a run
QUERY_MS, SEARCH_MS, SCREEN_MS = 200, 100, 1000
CLASSIFIERS, CONCEPTS = 8, 40


def make(home: Path, runs: int, *, steps: int = STEPS, frames: int = FRAMES) -> None:
    """Make a store with this number of runs and everything that belongs to them."""
    big_store.make(home, runs, steps=steps)
    with closing(sqlite3.connect(home / "store.sqlite")) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.create_function("word", 1, big_store._word, deterministic=True)
        values = {"frames": frames, "members": CLASSIFIERS, "concepts": CONCEPTS}
        for statement in _STATEMENTS:
            names = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(statement, names)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("ANALYZE")


_SERIES = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
_TIME = "'2026-01-01T00:00:00.000000Z'"
_CLAIM_COLUMNS = (
    "number, concept, slot, direction, sources, effect, low, high, p, p_corrected, pairs, flips, "
    "flip_low, flip_high, placebo_threshold, over_represented, core, min_effect, verdict, reason, "
    "generator, created_at"
)
_CLAIM_VALUES = (
    "i, {concept}, 'background', 1, '{{}}', ({seed} % 100) / 120.0, ({seed} % 100) / 120.0 - 0.1, "
    "({seed} % 100) / 120.0 + 0.1, 0.001, 0.01, 128, 40, 0.2, 0.5, 0.08, 0, 0, 0.1, "
    "CASE {seed} % 3 WHEN 0 THEN 'confirmed' WHEN 1 THEN 'refuted' ELSE 'inconclusive' END, "
    "CASE {seed} % 3 WHEN 2 THEN 'not_drawn' END, 'g', " + _TIME
)
_STATEMENTS = (
    f"""INSERT INTO artifact (sha256, mime, size, created_at)
    {_SERIES.format(":frames")}
    SELECT printf('%064x', run.rowid * 100 + i), 'image/png', 1000, {_TIME} FROM run, n""",
    f"""INSERT INTO frame (run_id, kind, step, seed, prompt, predicted_class, target_probability,
        hit, sha256, created_at)
    {_SERIES.format(":frames")}
    SELECT id, 'frame', 0, i, prompt, 0, (i % 10) / 10.0, i % 5 > 0,
        printf('%064x', run.rowid * 100 + i), {_TIME} FROM run, n""",
    f"""INSERT INTO caption (sha256, model, prompt_hash, text, created_at)
    SELECT sha256, 'lab', 'h', 'a ' || word(rowid) || ' bird with ' || word(rowid / 3) || ' and '
        || word(rowid / 7), {_TIME} FROM artifact""",
    f"""INSERT INTO claim (study_id, {_CLAIM_COLUMNS})
    {_SERIES.format(4)}
    SELECT study.id, {
        _CLAIM_VALUES.format(concept="word(study.rowid + i)", seed="(study.rowid + i)")
    }
    FROM study, n""",
    f"""INSERT INTO report (study_id, author, markdown, created_at)
    SELECT id, 'evidence', 'It takes ' || word(rowid) || ' for the class; the ' || word(rowid / 5)
        || ' in its pictures does nothing. ' || printf('%.*c', 2000, 'x y '), {_TIME} FROM study""",
    f"""INSERT INTO comparison (id, settings, state, done, total, generator, pictures,
        cross_pictures, drawn, created_at)
    {_SERIES.format(200)}
    SELECT printf('c%07d', i), '{{}}', 'done', 9, 9, 'g', 9000, 400, 9400, {_TIME} FROM n""",
    f"""INSERT INTO member (comparison_id, class_name, position, name, classifier_id, class_index,
        study_id, config, pictures)
    {_SERIES.format(":members")}
    SELECT comparison.id, 'waterbird', i - 1, 'lab:classifier-' || i, i, 0,
        (SELECT id FROM study WHERE classifier_id = i AND class_name = 'waterbird' LIMIT 1), '{{}}',
        9000 FROM comparison, n WHERE i <= CASE comparison.id WHEN 'c0000001' THEN 8 ELSE 2 END""",
    f"""INSERT INTO claim (member_id, {_CLAIM_COLUMNS})
    {_SERIES.format(":concepts")}
    SELECT member.id, {_CLAIM_VALUES.format(concept="'concept ' || i", seed="(member.id * 7 + i)")}
    FROM member, n""",
    f"""INSERT INTO difference (a_id, b_id, concept, effect, low, high, p, p_corrected, pairs,
        verdict)
    {_SERIES.format(":concepts")}
    SELECT a.id, b.id, 'concept ' || i, 0.3, 0.1, 0.5, 0.001, 0.01, 128,
        CASE i % 3 WHEN 0 THEN 'differ' WHEN 1 THEN 'alike' ELSE 'open' END
    FROM member AS a JOIN member AS b ON b.comparison_id = a.comparison_id AND b.id > a.id, n""",
    """INSERT INTO activation (member_id, source_id, prompt, value, low, high, n, hits, mean)
    SELECT a.id, b.id, 'a picture of a bird with sea', 0.5, 0.4, 0.6, 50, 25, 0.5
    FROM member AS a JOIN member AS b ON b.comparison_id = a.comparison_id""",
)


def timed(work: Callable[[], Result], times: int = 5) -> tuple[float, float, Result]:
    """Median and first CPU time in milliseconds, and what came of it."""
    spent = []
    for _ in range(times):
        began = time.process_time()
        result = work()
        spent.append(1000 * (time.process_time() - began))
    return statistics.median(spent), spent[0], result


async def open_screen(home: Path) -> float:
    """CPU milliseconds from the key to the matrix of eight classifiers on the screen."""
    from piloting import dashboard, settle

    from dexter_tui.dashboard.screens.compare import CompareScreen

    app = dashboard(home)
    async with app.run_test(size=(200, 50)) as pilot:
        await settle(pilot)
        began = time.process_time()
        app.push_screen(CompareScreen("c0000001"))
        await settle(pilot)
        return 1000 * (time.process_time() - began)


def main() -> int:
    """0 if all is as quick as wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--home", type=Path, default=Path("build/bench-query"))
    options = parser.parse_args()
    home = options.home.resolve() / str(options.runs)
    if not (home / "store.sqlite").exists():
        print(f"making {home}", flush=True)
        make(home, options.runs)
    path = home / "store.sqlite"
    counts = {
        table: queries.ask(path, f"SELECT count(*) FROM {table}").rows[0][0]
        for table in ("run", "step", "frame", "caption", "document")
    }
    print(", ".join(f"{count:,} {table}s" for table, count in counts.items()))
    wrong = 0

    def say(what: str, median: float, first: float, rows: int, wanted: float) -> None:
        nonlocal wrong
        wrong += median > wanted
        print(f"{median:7.1f} ms ({first:6.1f} first), {rows:5} rows, wanted < {wanted}: {what}",
              flush=True)  # fmt: skip

    for title, sql in queries.EXAMPLES:
        median, first, answer = timed(partial(queries.ask, path, sql))
        say(title, median, first, len(answer.rows), QUERY_MS)
    for words in ("lake", "bird sea", "wing feather"):
        median, first, answer = timed(partial(queries.find, path, words))
        say(f"search for {words!r}", median, first, len(answer.rows), SEARCH_MS)
    from store.reading import comparisons

    browse = Browse(home)
    median, first, page = timed(lambda: comparisons.page(browse, "c0000001"))
    say("reading a comparison of eight", median, first, len(page["claims"]), SCREEN_MS)
    spent = [asyncio.run(open_screen(home)) for _ in range(3)]
    say("the compare screen", statistics.median(spent), spent[0], CONCEPTS, SCREEN_MS)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
