"""The key under which a screened classifier's answers are kept, with its preprocessing in it."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("screened", sa.Column("answers_key", sa.String(), nullable=True))


def downgrade() -> None:
    op.execute("ALTER TABLE screened DROP COLUMN answers_key")
