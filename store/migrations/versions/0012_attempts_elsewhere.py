"""The place of a run, and its attempts away from this machine."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("run", sa.Column("place", sa.String(), nullable=True))
    op.create_table(
        "attempt",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("intended_at", sa.String(27), nullable=False),
        sa.Column("first_entry", sa.Integer(), nullable=True),
        sa.Column("handle", sa.String(), nullable=True),
        sa.Column("submitted_at", sa.String(27), nullable=True),
        sa.Column("seen", sa.String(), nullable=True),
        sa.Column("seen_at", sa.String(27), nullable=True),
        sa.Column("ended_at", sa.String(27), nullable=True),
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("quarantined", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_attempt_run_id_run")),
        sa.PrimaryKeyConstraint("run_id", "attempt", name=op.f("pk_attempt")),
    )


def downgrade() -> None:
    op.drop_table("attempt")
    op.execute("ALTER TABLE run DROP COLUMN place")
