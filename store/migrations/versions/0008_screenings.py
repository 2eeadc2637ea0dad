"""Screenings: banks of prompts, the answers of models to their pictures, and findings."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_TABLES = ("finding", "screened", "screening", "bank", "answer", "drawing")

_VIEW = """
    CREATE VIEW screenings_all AS
    SELECT screening.id AS screening_id, screened.name AS classifier, classifier.weights_hash,
        screening.class_name, screened.position, finding.concept, finding.slot, finding.verdict,
        finding.effect, finding.low, finding.high, finding.log_odds, finding.log_odds_low,
        finding.log_odds_high, finding.asked AS drawn, finding.otherwise AS drawn_otherwise,
        finding.direct, finding.explained_by, finding.core, finding.pictures,
        claim.verdict AS confirmation, claim.effect AS paired_effect, claim.low AS paired_low,
        claim.high AS paired_high, claim.p_corrected, claim.reason, screening.created_at
    FROM finding
    JOIN screened ON screened.id = finding.screened_id
    JOIN screening ON screening.id = screened.screening_id
    JOIN classifier ON classifier.id = screened.classifier_id
    LEFT JOIN claim ON claim.screened_id = finding.screened_id
        AND claim.concept = finding.concept AND claim.slot = finding.slot
"""


def _claims(source: str, tables: str, of: str) -> str:
    """Return the view of all claims; source, tables, of: what screenings add to it."""
    return f"""
    CREATE VIEW claims_all AS
    SELECT claim.id AS claim_id,
        CASE WHEN claim.study_id IS NOT NULL THEN 'study'
            WHEN claim.member_id IS NOT NULL THEN 'comparison' {source} ELSE 'probe' END AS source,
        coalesce(claim.study_id, member.comparison_id, {of.format("screened.screening_id")}
            CAST(probe.id AS TEXT)) AS source_id,
        classifier.spec AS classifier, classifier.weights_hash,
        coalesce(study.class_name, member.class_name, {of.format("screening.class_name")}
            probe.class_name) AS class_name,
        claim.number, claim.concept, claim.slot, claim.direction, claim.effect, claim.low,
        claim.high, claim.p_corrected, claim.pairs,
        CASE WHEN claim.pairs THEN 1.0 * claim.flips / claim.pairs END AS flip_rate,
        claim.placebo_threshold, claim.detected, claim.prior, claim.over_represented,
        claim.core, claim.verdict = 'confirmed' AND NOT claim.core AS bias, claim.verdict,
        claim.reason, claim.created_at
    FROM claim LEFT JOIN study ON study.id = claim.study_id
        LEFT JOIN member ON member.id = claim.member_id
        LEFT JOIN probe ON probe.id = claim.probe_id
        {tables}
        JOIN classifier ON classifier.id = coalesce(study.classifier_id,
            member.classifier_id, {of.format("screened.classifier_id")} probe.classifier_id)
"""


_CLAIMS_BEFORE = _claims("", "", "")
_CLAIMS = _claims(
    "WHEN claim.screened_id IS NOT NULL THEN 'screening'",
    "LEFT JOIN screened ON screened.id = claim.screened_id "
    "LEFT JOIN screening ON screening.id = screened.screening_id",
    "{},",
)


def upgrade() -> None:
    op.create_table(
        "drawing",
        sa.Column("generator", sa.String(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("generator", "prompt", "seed", name=op.f("pk_drawing")),
    )
    op.create_table(
        "answer",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("numbers", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("model", "prompt", "seed", name=op.f("pk_answer")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "bank",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("generator", sa.String(), nullable=True),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("pool_text", sa.String(), nullable=True),
        sa.Column("pool_hash", sa.String(), nullable=False),
        sa.Column("topic", sa.JSON(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("rounds", sa.JSON(), nullable=False),
        sa.Column("pace", sa.Float(), nullable=True),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_bank")),
    )
    op.create_table(
        "screening",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("bank_key", sa.String(), nullable=False),
        sa.Column("class_name", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("watch", sa.JSON(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("detector", sa.String(), nullable=True),
        sa.Column("drawn", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("ended_at", sa.String(27), nullable=True),
        sa.ForeignKeyConstraint(
            ["bank_key"], ["bank.key"], name=op.f("fk_screening_bank_key_bank")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_screening")),
    )
    op.create_index(op.f("ix_screening_bank_key"), "screening", ["bank_key"])
    op.create_table(
        "screened",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("screening_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("classifier_id", sa.Integer(), nullable=False),
        sa.Column("class_index", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("file_hash", sa.String(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("pictures", sa.Integer(), nullable=True),
        sa.Column("level", sa.Float(), nullable=True),
        sa.Column("mean", sa.Float(), nullable=True),
        sa.Column("pace", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["screening_id"], ["screening.id"], name=op.f("fk_screened_screening_id_screening")
        ),
        sa.ForeignKeyConstraint(
            ["classifier_id"], ["classifier.id"], name=op.f("fk_screened_classifier_id_classifier")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_screened")),
        sa.UniqueConstraint(
            "screening_id", "position", name=op.f("uq_screened_screening_id_position")
        ),
    )
    op.create_index(op.f("ix_screened_screening_id"), "screened", ["screening_id"])
    op.create_table(
        "finding",
        sa.Column("screened_id", sa.Integer(), nullable=False),
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("concept", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("effect", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.Column("log_odds", sa.Float(), nullable=False),
        sa.Column("log_odds_low", sa.Float(), nullable=False),
        sa.Column("log_odds_high", sa.Float(), nullable=False),
        sa.Column("contexts", sa.JSON(), nullable=False),
        sa.Column("pictures", sa.Integer(), nullable=False),
        sa.Column("core", sa.Boolean(), nullable=False),
        sa.Column("asked", sa.Float(), nullable=True),
        sa.Column("otherwise", sa.Float(), nullable=True),
        sa.Column("per_drawn", sa.Float(), nullable=True),
        sa.Column("direct", sa.Float(), nullable=False),
        sa.Column("companions", sa.JSON(), nullable=False),
        sa.Column("explained_by", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["screened_id"], ["screened.id"], name=op.f("fk_finding_screened_id_screened")
        ),
        sa.PrimaryKeyConstraint("screened_id", "slot", "concept", name=op.f("pk_finding")),
    )
    # In SQL, because SQLite cannot add a constraint to an existing table.
    op.execute(
        "ALTER TABLE job ADD COLUMN screening_id VARCHAR "
        "CONSTRAINT fk_job_screening_id_screening REFERENCES screening (id)"
    )
    op.create_index(op.f("ix_job_screening_id"), "job", ["screening_id"])
    op.execute(
        "ALTER TABLE claim ADD COLUMN screened_id INTEGER "
        "CONSTRAINT fk_claim_screened_id_screened REFERENCES screened (id)"
    )
    op.create_index(op.f("ix_claim_screened_id"), "claim", ["screened_id"])
    op.execute("DROP VIEW claims_all")
    op.execute(_CLAIMS)
    op.execute(_VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW screenings_all")
    op.execute("DROP VIEW claims_all")
    op.drop_index(op.f("ix_claim_screened_id"), "claim")
    op.execute(
        "DELETE FROM evidence WHERE claim_id IN (SELECT id FROM claim WHERE screened_id > 0)"
    )
    op.execute("DELETE FROM claim WHERE screened_id > 0")
    op.execute("ALTER TABLE claim DROP COLUMN screened_id")
    op.drop_index(op.f("ix_job_screening_id"), "job")
    op.execute("DELETE FROM job WHERE screening_id IS NOT NULL")
    op.execute("ALTER TABLE job DROP COLUMN screening_id")
    for table in _TABLES:
        op.drop_table(table)
    op.execute(_CLAIMS_BEFORE)
