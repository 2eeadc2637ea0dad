"""The findings of studies: captions, claims, evidence, picture bank, attribution, scores."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TABLES = (
    "stage",
    "score",
    "attribution",
    "placebo",
    "picture",
    "evidence",
    "claim",
    "probe",
    "caption",
)


def upgrade() -> None:
    op.create_table(
        "caption",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("prompt_hash", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.ForeignKeyConstraint(
            ["sha256"], ["artifact.sha256"], name=op.f("fk_caption_sha256_artifact")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_caption")),
        sa.UniqueConstraint(
            "sha256", "model", "prompt_hash", name=op.f("uq_caption_sha256_model_prompt_hash")
        ),
    )
    op.create_table(
        "probe",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("classifier_id", sa.Integer(), nullable=False),
        sa.Column("class_name", sa.String(), nullable=False),
        sa.Column("class_index", sa.Integer(), nullable=False),
        sa.Column("question", sa.String(), nullable=False),
        sa.Column("control", sa.String(), nullable=False),
        sa.Column("treated", sa.String(), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.ForeignKeyConstraint(
            ["classifier_id"], ["classifier.id"], name=op.f("fk_probe_classifier_id_classifier")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_probe")),
    )
    op.create_table(
        "claim",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.String(), nullable=True),
        sa.Column("probe_id", sa.Integer(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("concept", sa.String(), nullable=False),
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("direction", sa.Integer(), nullable=False),
        sa.Column("sources", sa.JSON(), nullable=False),
        sa.Column("effect", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.Column("p", sa.Float(), nullable=False),
        sa.Column("p_corrected", sa.Float(), nullable=False),
        sa.Column("pairs", sa.Integer(), nullable=False),
        sa.Column("flips", sa.Integer(), nullable=False),
        sa.Column("flip_low", sa.Float(), nullable=False),
        sa.Column("flip_high", sa.Float(), nullable=False),
        sa.Column("placebo_threshold", sa.Float(), nullable=True),
        sa.Column("detected", sa.Float(), nullable=True),
        sa.Column("detected_control", sa.Float(), nullable=True),
        sa.Column("detected_treated", sa.Float(), nullable=True),
        sa.Column("prior", sa.Float(), nullable=True),
        sa.Column("prior_low", sa.Float(), nullable=True),
        sa.Column("prior_high", sa.Float(), nullable=True),
        sa.Column("prior_n", sa.Integer(), nullable=True),
        sa.Column("in_frames", sa.Float(), nullable=True),
        sa.Column("in_frames_low", sa.Float(), nullable=True),
        sa.Column("in_frames_high", sa.Float(), nullable=True),
        sa.Column("in_frames_n", sa.Integer(), nullable=True),
        sa.Column("over_represented", sa.Boolean(), nullable=False),
        sa.Column("core", sa.Boolean(), nullable=False),
        sa.Column("min_effect", sa.Float(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("generator", sa.String(), nullable=False),
        sa.Column("detector", sa.String(), nullable=True),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_claim_study_id_study")),
        sa.ForeignKeyConstraint(["probe_id"], ["probe.id"], name=op.f("fk_claim_probe_id_probe")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claim")),
        sa.UniqueConstraint("study_id", "number", name=op.f("uq_claim_study_id_number")),
    )
    op.create_index(op.f("ix_claim_probe_id"), "claim", ["probe_id"])
    op.create_table(
        "evidence",
        sa.Column("claim_id", sa.Integer(), nullable=False),
        sa.Column("context", sa.String(), nullable=False),
        sa.Column("saturated", sa.Boolean(), nullable=False),
        sa.Column("control_mean", sa.Float(), nullable=False),
        sa.Column("pairs", sa.Integer(), nullable=False),
        sa.Column("effect", sa.Float(), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("control_prompts", sa.JSON(), nullable=False),
        sa.Column("treated_prompts", sa.JSON(), nullable=False),
        sa.Column("control_seeds", sa.JSON(), nullable=False),
        sa.Column("seeds", sa.JSON(), nullable=False),
        sa.Column("control", sa.JSON(), nullable=False),
        sa.Column("treated", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["claim_id"], ["claim.id"], name=op.f("fk_evidence_claim_id_claim")
        ),
        sa.PrimaryKeyConstraint("claim_id", "context", name=op.f("pk_evidence")),
    )
    op.create_table(
        "picture",
        sa.Column("generator", sa.String(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("side", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sha256"], ["artifact.sha256"], name=op.f("fk_picture_sha256_artifact")
        ),
        sa.PrimaryKeyConstraint("generator", "prompt", "seed", name=op.f("pk_picture")),
    )
    op.create_index(op.f("ix_picture_sha256"), "picture", ["sha256"])
    op.create_table(
        "placebo",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("word", sa.String(), nullable=False),
        sa.Column("effects", sa.JSON(), nullable=False),
        sa.Column("pairs", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("key", "word", name=op.f("pk_placebo")),
    )
    op.create_table(
        "attribution",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("word", sa.String(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("leave_one_out", sa.Float(), nullable=False),
        sa.Column("leave_one_out_low", sa.Float(), nullable=False),
        sa.Column("leave_one_out_high", sa.Float(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.Column("r2", sa.Float(), nullable=False),
        sa.Column("r2_low", sa.Float(), nullable=False),
        sa.Column("r2_high", sa.Float(), nullable=False),
        sa.Column("subsets", sa.Integer(), nullable=False),
        sa.Column("seeds", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_attribution_run_id_run")),
        sa.PrimaryKeyConstraint("run_id", "position", name=op.f("pk_attribution")),
    )
    op.create_table(
        "score",
        sa.Column("study_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("hits", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_score_study_id_study")),
        sa.PrimaryKeyConstraint("study_id", "kind", "text", name=op.f("pk_score")),
    )
    op.create_table(
        "stage",
        sa.Column("study_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("updated_at", sa.String(27), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_stage_study_id_study")),
        sa.PrimaryKeyConstraint("study_id", "name", name=op.f("pk_stage")),
    )
    for column in _of_report():
        op.add_column("report", column)


def _of_report() -> list[sa.Column[object]]:
    return [
        sa.Column("body", sa.JSON(), nullable=True),
        sa.Column("prompt_hash", sa.String(), nullable=True),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
    ]


def downgrade() -> None:
    for column in _of_report():
        op.drop_column("report", column.name)
    for table in _TABLES:
        op.drop_table(table)
