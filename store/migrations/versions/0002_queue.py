"""The queue: priority, attempts, journals and slots of runs; pictures per prompt."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _of_run() -> list[sa.Column[object]]:
    return [
        sa.Column("priority", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("not_before", sa.String(27), nullable=True),
        sa.Column("slot", sa.String(), nullable=True),
        sa.Column("promise", sa.Float(), nullable=True),
        sa.Column("progress", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("fruitless", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("reduced", sa.Boolean(), nullable=False, server_default="0"),
        sa.Column("journal_entries", sa.Integer(), nullable=False, server_default="0"),
    ]


def upgrade() -> None:
    for column in _of_run():
        op.add_column("run", column)
    op.create_index(op.f("ix_run_state"), "run", ["state"])
    op.create_table(
        "slot",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("boot_id", sa.String(), nullable=True),
        sa.Column("updated_at", sa.String(27), nullable=False),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column("broken", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_slot")),
    )
    # It always held the number of fresh pictures that the prompts were compared on.
    op.execute("ALTER TABLE prompt RENAME COLUMN times_sampled TO pictures")


def downgrade() -> None:
    op.execute("ALTER TABLE prompt RENAME COLUMN pictures TO times_sampled")
    op.drop_table("slot")
    op.drop_index(op.f("ix_run_state"), "run")
    for column in _of_run():
        op.drop_column("run", column.name)
