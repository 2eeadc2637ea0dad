"""The interactions of findings, and the predictiveness of confirmed claims."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("finding", sa.Column("interactions", sa.JSON(), nullable=True))
    op.add_column("claim", sa.Column("predictiveness", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.execute("ALTER TABLE claim DROP COLUMN predictiveness")
    op.execute("ALTER TABLE finding DROP COLUMN interactions")
