"""A view of the reports on pictures: one row each, with the main numbers of its answer.

Each number is read from the whole answer by its path: text in the place of a list's object has no
such path, but would be malformed JSON by itself, and one such answer would end every query.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

_VIEW = """
    CREATE VIEW data_reports_all AS
    WITH report AS (
        SELECT *, CASE WHEN json_valid(result) AND json_type(result) = 'object' THEN result END
            AS answer
        FROM data_report
    ),
    placed AS (
        SELECT *, CASE kind
            WHEN 'slices' THEN (
                SELECT fullkey FROM json_each(report.answer, '$.slices')
                ORDER BY json_extract(json, fullkey || '.gap'), key LIMIT 1)
            WHEN 'debias' THEN (
                SELECT fullkey FROM json_each(report.answer, '$.outcomes')
                WHERE json_extract(json, fullkey || '.method') = coalesce(
                    nullif(json_extract(report.answer, '$.main'), ''),
                    json_extract(report.answer, '$.outcomes[0].method'))
                ORDER BY key LIMIT 1)
            WHEN 'whatif' THEN '$.steps[#-1].flips'
            WHEN 'explain-bias' THEN (
                SELECT fullkey FROM json_each(report.answer, '$.data_free.facts')
                WHERE NOT json_extract(json, fullkey || '.core')
                    AND json_extract(json, fullkey || '.verdict') IN ('raises', 'lowers')
                ORDER BY abs(json_extract(json, fullkey || '.effect')) DESC, key LIMIT 1)
            END AS main
        FROM report
    )
    SELECT placed.id AS report_id, placed.kind, classifier.spec AS classifier,
        classifier.weights_hash,
        coalesce(json_extract(answer, '$.class_name'), json_extract(answer, main || '.label'))
            AS class_name,
        placed.data,
        CASE WHEN answer IS NOT NULL THEN 'done' ELSE coalesce(job.state, 'lost') END AS state,
        CASE placed.kind WHEN 'slices' THEN 'accuracy gap' WHEN 'debias' THEN 'worst group accuracy'
            WHEN 'whatif' THEN 'share of flips' ELSE 'effect' END AS measure,
        CASE placed.kind WHEN 'slices' THEN json_extract(answer, main || '.name')
            WHEN 'debias' THEN json_extract(answer, main || '.method')
            WHEN 'whatif' THEN (
                SELECT group_concat(coalesce(json_extract(json, fullkey || '.word'),
                    'without ' || json_extract(json, fullkey || '.concept')), ', ')
                FROM json_each(placed.answer, '$.changes'))
            ELSE json_extract(answer, main || '.concept') END AS subject,
        json_extract(answer, main || CASE placed.kind WHEN 'slices' THEN '.gap'
            WHEN 'debias' THEN '.worst' WHEN 'whatif' THEN '.value' ELSE '.effect' END) AS value,
        json_extract(answer, main || iif(placed.kind = 'slices', '.gap_low', '.low')) AS low,
        json_extract(answer, main || iif(placed.kind = 'slices', '.gap_high', '.high')) AS high,
        json_extract(answer, CASE placed.kind WHEN 'debias' THEN '$.outcomes[0].worst' END)
            AS value_before,
        CASE iif(answer IS NULL, '', placed.kind) WHEN 'slices' THEN (
                SELECT count(*) FROM json_each(placed.answer, '$.slices')
                WHERE json_extract(json, fullkey || '.gap_high') < 0)
            WHEN 'whatif' THEN iif(json_extract(answer, '$.flipped'),
                json_array_length(answer, '$.changes'), 0)
            WHEN 'explain-bias' THEN (
                SELECT count(*) FROM json_each(placed.answer, '$.data_free.attributes')
                WHERE value = 'depends')
            END AS found,
        CASE placed.kind WHEN 'slices' THEN json_extract(answer, main || '.size')
            WHEN 'debias' THEN json_extract(answer, '$.tested')
            WHEN 'whatif' THEN json_extract(answer, main || '.n') END AS pictures,
        placed.created_at, placed.ended_at
    FROM placed
    JOIN classifier ON classifier.id = placed.classifier_id
    LEFT JOIN job ON job.id = placed.job_id
"""


def upgrade() -> None:
    op.execute(_VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW data_reports_all")
