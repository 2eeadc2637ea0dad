"""The gains of the words of a run's best prompts, with a view of them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_VIEW = """
    CREATE VIEW word_gains AS
    SELECT run.id AS run_id, run.study_id, classifier.spec AS classifier, study.class_name,
        run.seed, json_extract(value, '$.word') AS word, json_extract(value, '$.gain') AS gain,
        json_extract(value, '$.low') AS low, json_extract(value, '$.high') AS high,
        json_extract(value, '$.low') > 0 AS carries, json_extract(value, '$.pictures') AS pictures
    FROM run JOIN study ON study.id = run.study_id
        JOIN classifier ON classifier.id = study.classifier_id, json_each(run.word_gains)"""


def upgrade() -> None:
    op.add_column("run", sa.Column("word_gains", sa.JSON(), nullable=True))
    op.execute(_VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW word_gains")
    op.execute("ALTER TABLE run DROP COLUMN word_gains")
