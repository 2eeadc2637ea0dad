"""The reports on labelled pictures: slices and debiasing."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "data_report",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("classifier_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("data", sa.String(), nullable=False),
        sa.Column("data_hash", sa.String(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("ended_at", sa.String(27), nullable=True),
        sa.ForeignKeyConstraint(
            ["classifier_id"],
            ["classifier.id"],
            name=op.f("fk_data_report_classifier_id_classifier"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_report")),
    )
    op.create_index(op.f("ix_data_report_classifier_id"), "data_report", ["classifier_id"])


def downgrade() -> None:
    op.drop_table("data_report")
