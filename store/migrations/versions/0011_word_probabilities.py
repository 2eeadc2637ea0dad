"""The most probable words of each step."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("step", sa.Column("word_probabilities", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.execute("ALTER TABLE step DROP COLUMN word_probabilities")
