"""Reports, probes and comparisons as jobs in the queue, beside the runs."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.String(27), nullable=True),
        sa.Column("wish", sa.String(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=True),
        sa.Column("depends_on", sa.JSON(), nullable=False),
        sa.Column("study_id", sa.String(), nullable=True),
        sa.Column("comparison_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("started_at", sa.String(27), nullable=True),
        sa.Column("ended_at", sa.String(27), nullable=True),
        sa.Column("heartbeat_at", sa.String(27), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("boot_id", sa.String(), nullable=True),
        sa.Column("host", sa.String(), nullable=True),
        sa.Column("slot", sa.String(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("fruitless", sa.Integer(), nullable=False),
        sa.Column("promise", sa.Float(), nullable=True),
        sa.Column("steps_done", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(), nullable=True),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_job_study_id_study")),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_job_comparison_id_comparison")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    for column in ("state", "study_id", "comparison_id"):
        op.create_index(op.f(f"ix_job_{column}"), "job", [column])


def downgrade() -> None:
    op.drop_table("job")
