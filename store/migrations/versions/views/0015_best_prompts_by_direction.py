"""Rank prompts that raise a class and prompts that lower it apart from each other.

The score of a search that lowers the class is the share of pictures without the class.
"""

from alembic import op

revision = "0015"
down_revision = "0014"

_DIRECTION = "coalesce(json_extract(study.settings, '$.direction'), 'raise')"
_VIEW = """
    CREATE VIEW best_prompts AS
    SELECT study.class_name, classifier.spec AS classifier,
        row_number() OVER (PARTITION BY study.class_name{by}
            ORDER BY run.score_value DESC, run.score_low DESC, run.id) AS place,
        row_number() OVER (PARTITION BY study.class_name{by}, classifier.id
            ORDER BY run.score_value DESC, run.score_low DESC, run.id) AS place_of_classifier,
        run.score_value AS score, run.score_low, run.score_high, run.prompt,
        run.id AS run_id, run.study_id, run.seed{column}
    FROM run JOIN study ON study.id = run.study_id
        JOIN classifier ON classifier.id = study.classifier_id
    WHERE run.score_value IS NOT NULL"""


def upgrade() -> None:
    op.execute("DROP VIEW best_prompts")
    op.execute(_VIEW.format(column=f", {_DIRECTION} AS direction", by=f", {_DIRECTION}"))


def downgrade() -> None:
    op.execute("DROP VIEW best_prompts")
    op.execute(_VIEW.format(column="", by=""))
