"""The tags of runs, and an index for long lists that avoids reading large rows."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "tag",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_tag_run_id_run")),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_tag")),
    )
    op.create_index(
        "ix_run_list",
        "run",
        ["study_id", "seed", "state", "created_at", "score_value", "words", "id", "error"],
    )


def downgrade() -> None:
    op.drop_index("ix_run_list", "run")
    op.drop_table("tag")
