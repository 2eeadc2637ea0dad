"""The tables of comparisons and notes, full-text search, and the stable views of queries."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TABLES = ("document", "note", "disagreement", "activation", "difference", "member", "comparison")


def upgrade() -> None:
    _create_tables()
    # In SQL, because SQLite cannot add a constraint to an existing table.
    op.execute(
        "ALTER TABLE claim ADD COLUMN member_id INTEGER "
        "CONSTRAINT fk_claim_member_id_member REFERENCES member (id)"
    )
    op.create_index(op.f("ix_claim_member_id"), "claim", ["member_id"])
    op.create_index(op.f("ix_frame_sha256"), "frame", ["sha256"])
    for statement in _SEARCH:
        op.execute(statement)
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
    for name in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name}")
    op.execute("DROP TABLE search")
    op.drop_index(op.f("ix_frame_sha256"), "frame")
    op.drop_index(op.f("ix_claim_member_id"), "claim")
    op.execute("DELETE FROM evidence WHERE claim_id IN (SELECT id FROM claim WHERE member_id > 0)")
    op.execute("DELETE FROM claim WHERE member_id > 0")
    op.execute("ALTER TABLE claim DROP COLUMN member_id")
    for table in _TABLES:
        op.drop_table(table)


def _create_tables() -> None:
    op.create_table(
        "comparison",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("baseline", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=True),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("generator", sa.String(), nullable=True),
        sa.Column("detector", sa.String(), nullable=True),
        sa.Column("pictures", sa.Integer(), nullable=True),
        sa.Column("cross_pictures", sa.Integer(), nullable=True),
        sa.Column("drawn", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("ended_at", sa.String(27), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparison")),
    )
    op.create_table(
        "member",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("comparison_id", sa.String(), nullable=False),
        sa.Column("class_name", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("classifier_id", sa.Integer(), nullable=False),
        sa.Column("class_index", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.String(), nullable=True),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("pictures", sa.Integer(), nullable=True),
        sa.Column("report", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_member_comparison_id_comparison")
        ),
        sa.ForeignKeyConstraint(
            ["classifier_id"], ["classifier.id"], name=op.f("fk_member_classifier_id_classifier")
        ),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_member_study_id_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_member")),
        sa.UniqueConstraint(
            "comparison_id",
            "class_name",
            "position",
            name=op.f("uq_member_comparison_id_class_name_position"),
        ),
    )
    op.create_index(op.f("ix_member_study_id"), "member", ["study_id"])
    op.create_table(
        "difference",
        sa.Column("a_id", sa.Integer(), nullable=False),
        sa.Column("b_id", sa.Integer(), nullable=False),
        sa.Column("concept", sa.String(), nullable=False),
        sa.Column("effect", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.Column("p", sa.Float(), nullable=False),
        sa.Column("p_corrected", sa.Float(), nullable=False),
        sa.Column("pairs", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        *_two_members("difference"),
        sa.PrimaryKeyConstraint("a_id", "b_id", "concept", name=op.f("pk_difference")),
    )
    op.create_table(
        "activation",
        sa.Column("member_id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("hits", sa.Integer(), nullable=False),
        sa.Column("mean", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id"], ["member.id"], name=op.f("fk_activation_member_id_member")
        ),
        sa.ForeignKeyConstraint(
            ["source_id"], ["member.id"], name=op.f("fk_activation_source_id_member")
        ),
        sa.PrimaryKeyConstraint("member_id", "source_id", name=op.f("pk_activation")),
    )
    op.create_table(
        "disagreement",
        sa.Column("a_id", sa.Integer(), nullable=False),
        sa.Column("b_id", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("a", sa.Float(), nullable=False),
        sa.Column("b", sa.Float(), nullable=False),
        *_two_members("disagreement"),
        sa.PrimaryKeyConstraint("a_id", "b_id", "rank", name=op.f("pk_disagreement")),
    )
    op.create_table(
        "note",
        sa.Column("of", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("updated_at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("of", name=op.f("pk_note")),
    )
    op.create_table(
        "document",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("ref", sa.String(), nullable=False),
        sa.Column("study_id", sa.String(), nullable=True),
        sa.Column("text", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_document")),
        sa.UniqueConstraint("kind", "ref", name=op.f("uq_document_kind_ref")),
    )


def _two_members(table: str) -> list[sa.ForeignKeyConstraint]:
    return [
        sa.ForeignKeyConstraint([name], ["member.id"], name=op.f(f"fk_{table}_{name}_member"))
        for name in ("a_id", "b_id")
    ]


# Full-text search: `document` holds the texts, `search` (FTS5) indexes them, and triggers update
# both. Several captions of one picture, by different models, form one document.

_SOURCES = {
    # kind: table, columns that update the text, then ref, study and text of a row named r
    "words": (
        "run",
        "words, prompt",
        "r.id",
        "r.study_id",
        "(SELECT group_concat(value, ' ') FROM json_each(r.words)) || "
        "coalesce(char(10) || r.prompt, '')",
    ),
    "caption": (
        "caption",
        "text",
        "r.sha256",
        "NULL",
        "(SELECT group_concat(text, char(10)) FROM caption WHERE sha256 = r.sha256)",
    ),
    "claim": (
        "claim",
        "concept",
        "CAST(r.id AS TEXT)",
        "r.study_id",
        "r.concept",
    ),
    "report": ("report", "markdown", "CAST(r.id AS TEXT)", "r.study_id", "r.markdown"),
    "note": ("note", "text", "r.of", "NULL", "r.text"),
}


def _put(kind: str, row: str, *, every: bool = False) -> str:
    """Return the statement that copies a row, or every row, of a source to `document`."""
    table, _, ref, study, text = (part.replace("r.", f"{row}.") for part in _SOURCES[kind])
    source = f" FROM {table} AS {row}" if every else ""
    return (
        f"INSERT INTO document (kind, ref, study_id, text) SELECT '{kind}', {ref}, {study}, {text}"
        f"{source} WHERE {text} IS NOT NULL "
        "ON CONFLICT (kind, ref) DO UPDATE SET text = excluded.text"
    )


def _source_triggers(kind: str) -> list[tuple[str, str]]:
    table, columns, ref, _, text = _SOURCES[kind]
    old_ref = ref.replace("r.", "old.")
    gone = f"DELETE FROM document WHERE kind = '{kind}' AND ref = {old_ref}"
    if kind == "caption":  # captions by other models may remain
        rest = text.replace("r.", "old.")
        gone += (
            f" AND {rest} IS NULL; UPDATE document SET text = {rest} "
            f"WHERE kind = '{kind}' AND ref = {old_ref}"
        )
    put = _put(kind, "new")
    return [
        (f"{kind}_added", f"AFTER INSERT ON {table} BEGIN {put}; END"),
        (f"{kind}_changed", f"AFTER UPDATE OF {columns} ON {table} BEGIN {put}; END"),
        (f"{kind}_gone", f"AFTER DELETE ON {table} BEGIN {gone}; END"),
    ]


_FORGET = (
    "INSERT INTO search (search, rowid, kind, ref, study_id, text) "
    "VALUES ('delete', old.id, old.kind, old.ref, old.study_id, old.text)"
)
_INDEX = (
    "INSERT INTO search (rowid, kind, ref, study_id, text) "
    "VALUES (new.id, new.kind, new.ref, new.study_id, new.text)"
)
_TRIGGERS = dict(
    [
        *(trigger for kind in _SOURCES for trigger in _source_triggers(kind)),
        ("document_added", f"AFTER INSERT ON document BEGIN {_INDEX}; END"),
        ("document_changed", f"AFTER UPDATE ON document BEGIN {_FORGET}; {_INDEX}; END"),
        ("document_gone", f"AFTER DELETE ON document BEGIN {_FORGET}; END"),
    ]
)
_SEARCH = [
    "CREATE VIRTUAL TABLE search USING fts5(kind UNINDEXED, ref UNINDEXED, study_id UNINDEXED, "
    "text, content='document', content_rowid='id', tokenize='porter unicode61')",
    *(f"CREATE TRIGGER {name} {body}" for name, body in _TRIGGERS.items()),
    *(_put(kind, "r", every=True) for kind in _SOURCES),
]

VIEWS = {
    "studies_summary": """
        SELECT study.id AS study_id, classifier.spec AS classifier, classifier.weights_hash,
            study.class_name, study.class_index,
            (SELECT count(*) FROM run WHERE study_id = study.id) AS runs,
            (SELECT count(*) FROM run WHERE study_id = study.id AND state = 'succeeded')
                AS succeeded,
            (SELECT avg(score_value) FROM run WHERE study_id = study.id) AS mean_score,
            (SELECT max(score_value) FROM run WHERE study_id = study.id) AS best_score,
            (SELECT group_concat(value, ', ') FROM json_each((SELECT words FROM run
                WHERE study_id = study.id AND score_value IS NOT NULL
                ORDER BY score_value DESC LIMIT 1))) AS best_words,
            (SELECT count(*) FROM claim WHERE study_id = study.id) AS claims,
            (SELECT count(*) FROM claim WHERE study_id = study.id AND verdict = 'confirmed')
                AS confirmed,
            (SELECT count(*) FROM claim WHERE study_id = study.id AND verdict = 'confirmed'
                AND NOT core) AS biases,
            (SELECT count(*) FROM report WHERE study_id = study.id) AS reports,
            (SELECT text FROM note WHERE of = study.id) AS note,
            study.created_at
        FROM study JOIN classifier ON classifier.id = study.classifier_id""",
    "runs_summary": """
        SELECT run.id AS run_id, run.study_id, classifier.spec AS classifier,
            classifier.weights_hash, study.class_name, run.seed, run.state,
            json_extract(run.config, '$.preset') AS preset,
            (SELECT group_concat(value, ', ') FROM json_each(run.words)) AS words, run.prompt,
            run.score_value AS score, run.score_low, run.score_high, run.score_n,
            run.steps_done AS steps, run.steps_total, run.frames_hit, run.frames_tried,
            run.stop_reason, run.error, run.device, run.seconds, run.peak_memory_bytes,
            (SELECT group_concat(name, ', ') FROM tag WHERE run_id = run.id) AS tags,
            (SELECT text FROM note WHERE of = run.id) AS note,
            run.created_at, run.started_at, run.ended_at
        FROM run JOIN study ON study.id = run.study_id
            JOIN classifier ON classifier.id = study.classifier_id""",
    "best_prompts": """
        SELECT study.class_name, classifier.spec AS classifier,
            row_number() OVER (PARTITION BY study.class_name
                ORDER BY run.score_value DESC, run.score_low DESC, run.id) AS place,
            row_number() OVER (PARTITION BY study.class_name, classifier.id
                ORDER BY run.score_value DESC, run.score_low DESC, run.id) AS place_of_classifier,
            run.score_value AS score, run.score_low, run.score_high, run.prompt,
            run.id AS run_id, run.study_id, run.seed
        FROM run JOIN study ON study.id = run.study_id
            JOIN classifier ON classifier.id = study.classifier_id
        WHERE run.score_value IS NOT NULL""",
    "steps_wide": """
        SELECT step.run_id, run.study_id, classifier.spec AS classifier, study.class_name,
            run.seed, step.step, json_extract(step.losses, '$.total') AS loss,
            json_extract(step.losses, '$.class') AS class_loss,
            json_extract(step.losses, '$.masked_lm') AS masked_lm_loss, step.losses,
            step.target_probability, step.predicted_class, step.hits,
            (SELECT group_concat(value, ', ') FROM json_each(step.words)) AS words,
            (SELECT group_concat(value, ', ') FROM json_each(step.best_words)) AS best_words,
            step.best_loss, step.entropy, step.temperature, step.seconds
        FROM step JOIN run ON run.id = step.run_id JOIN study ON study.id = run.study_id
            JOIN classifier ON classifier.id = study.classifier_id""",
    "frames_all": """
        SELECT frame.id AS frame_id, frame.run_id, run.study_id, classifier.spec AS classifier,
            study.class_name, run.seed AS run_seed, frame.kind, frame.step, frame.seed,
            frame.prompt,
            json_extract(classifier.labels, '$[' || frame.predicted_class || ']') AS taken_for,
            frame.target_probability, frame.hit, frame.sha256
        FROM frame JOIN run ON run.id = frame.run_id JOIN study ON study.id = run.study_id
            JOIN classifier ON classifier.id = study.classifier_id""",
    "claims_all": """
        SELECT claim.id AS claim_id,
            CASE WHEN claim.study_id IS NOT NULL THEN 'study'
                WHEN claim.member_id IS NOT NULL THEN 'comparison' ELSE 'probe' END AS source,
            coalesce(claim.study_id, member.comparison_id, CAST(probe.id AS TEXT)) AS source_id,
            classifier.spec AS classifier, classifier.weights_hash,
            coalesce(study.class_name, member.class_name, probe.class_name) AS class_name,
            claim.number, claim.concept, claim.slot, claim.direction, claim.effect, claim.low,
            claim.high, claim.p_corrected, claim.pairs,
            CASE WHEN claim.pairs THEN 1.0 * claim.flips / claim.pairs END AS flip_rate,
            claim.placebo_threshold, claim.detected, claim.prior, claim.over_represented,
            claim.core, claim.verdict = 'confirmed' AND NOT claim.core AS bias, claim.verdict,
            claim.reason, claim.created_at
        FROM claim LEFT JOIN study ON study.id = claim.study_id
            LEFT JOIN member ON member.id = claim.member_id
            LEFT JOIN probe ON probe.id = claim.probe_id
            JOIN classifier ON classifier.id = coalesce(study.classifier_id,
                member.classifier_id, probe.classifier_id)""",
    "comparisons_all": """
        SELECT comparison.id AS comparison_id, a.class_name, difference.concept, a.name AS a,
            b.name AS b, difference.effect, difference.low, difference.high,
            difference.p_corrected, difference.pairs, difference.verdict, difference.reason,
            a.study_id AS a_study_id, b.study_id AS b_study_id, comparison.baseline,
            comparison.created_at
        FROM difference JOIN member AS a ON a.id = difference.a_id
            JOIN member AS b ON b.id = difference.b_id
            JOIN comparison ON comparison.id = a.comparison_id""",
}
