"""A store as it looks after years of use, made in bulk by SQL; nothing in it was computed."""

import sqlite3
from contextlib import closing
from pathlib import Path

from store import Store

SEEDS = 3  # runs of a study
STEPS = 50  # of a run
WORDS = "sea,lake,river,forest,field,beak,feather,wing,snow,street,hand,grass"


def make(home: Path, runs: int, *, steps: int = STEPS) -> None:
    """Make a store with this number of runs and of steps in each, in thirty classifiers'
    studies."""
    Store.open(home).close()
    with closing(sqlite3.connect(home / "store.sqlite")) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-200000")
        connection.create_function("word", 1, _word, deterministic=True)
        for statement in _STATEMENTS:
            connection.execute(
                statement, {"studies": -(-runs // SEEDS), "seeds": SEEDS, "steps": steps}
            )
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("ANALYZE")


def _word(number: int) -> str:
    words = WORDS.split(",")
    return words[number % len(words)]


_SERIES = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
_STATEMENTS = (
    f"""INSERT INTO classifier (spec, weights_hash, labels, image_size, key, created_at)
    {_SERIES.format(30)}
    SELECT 'lab:classifier-' || i, printf('%02xc1', 60 + i), '["waterbird", "landbird", "other"]',
        64, 'k' || i, '2026-01-01T00:00:00.000000Z' FROM n""",
    f"""INSERT INTO study (id, classifier_id, class_name, class_index, settings, settings_hash,
        created_at)
    {_SERIES.format(":studies")}
    SELECT printf('s%07d', i), 1 + i % 30, CASE i % 2 WHEN 0 THEN 'waterbird' ELSE 'landbird' END,
        i % 2, '{{"template": "a picture of a [MASK] with [MASK]", "steps": 50}}', 'h' || i,
        strftime('%Y-%m-%dT%H:%M:%S.000000Z', 1767225600 + 200 * i, 'unixepoch') FROM n""",
    f"""INSERT INTO run (id, study_id, seed, state, config, config_hash, created_at, started_at,
        ended_at, attempt, steps_total, steps_done, words, prompt, score_value, score_low,
        score_high, score_n, score_hits, frames_wanted, frames_hit, frames_tried, stop_reason,
        error, seconds)
    {_SERIES.format(":seeds")}
    SELECT printf('r%05d%02d', study.rowid, i), study.id, i - 1,
        CASE WHEN (study.rowid + i) % 19 = 0 THEN 'failed' ELSE 'succeeded' END,
        '{{"preset": "quick", "classifier": "lab:birds", "class_name": "waterbird", "seed": ' ||
        (i - 1) || ', "template": "a picture of a [MASK] with [MASK]", "steps": 50, "notes": "' ||
        printf('%.*c', 900, 'x') || '"}}',
        'c', study.created_at, study.created_at, study.created_at, 1, 50, 50,
        '["' || word(study.rowid) || '", "' || word(study.rowid + i) || '"]',
        'a picture of a ' || word(study.rowid) || ' with ' || word(study.rowid + i),
        ((study.rowid * 7 + i) % 101) / 100.0, 0.4, 0.9, 50, 25, 12, 12, 14, 'steps',
        CASE WHEN (study.rowid + i) % 19 = 0 THEN 'out of memory' END, 42.0
    FROM study, n""",
    f"""INSERT INTO step (run_id, step, losses, target_probability, predicted_class, hits, words,
        best_words, best_loss, entropy, temperature, seconds)
    {_SERIES.format(":steps")}
    SELECT run.id, i, '{{"class": 1.2, "masked_lm": 0.4, "total": ' || (5.0 / i) || '}}',
        i / 60.0, 0, 1, '["' || word(i) || '", "' || word(i + 1) || '"]',
        '["' || word(i / 9) || '", "' || word(i / 7) || '"]', 4.0 / i, 3.0 - i / 25.0, 1.0, 0.8
    FROM run, n""",
)
