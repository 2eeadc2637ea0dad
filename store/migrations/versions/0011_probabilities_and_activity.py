"""The most probable words of each step, and what a slot does now."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("step", sa.Column("word_probabilities", sa.JSON(), nullable=True))
    op.add_column("slot", sa.Column("work_id", sa.String(), nullable=True))
    op.add_column("slot", sa.Column("activity", sa.String(), nullable=True))


def downgrade() -> None:
    op.execute("ALTER TABLE slot DROP COLUMN activity")
    op.execute("ALTER TABLE slot DROP COLUMN work_id")
    op.execute("ALTER TABLE step DROP COLUMN word_probabilities")
