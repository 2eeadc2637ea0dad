"""Name no other label for a frame that lacks the label of a multi-label study.

Such labels do not exclude each other; the strongest other one may be below its threshold.
"""

from alembic import op

revision = "0016"
down_revision = "0015"

_LABEL = "json_extract(classifier.labels, '$[' || {} || ']')"
_TAKEN_FOR = _LABEL.format("frame.predicted_class")
_LACKS_IT = """json_extract(study.settings, '$.multi_label')
        AND frame.predicted_class <> study.class_index"""
_ANSWER = f"""
    CASE WHEN {_LACKS_IT}
        THEN 'not ' || {_LABEL.format("study.class_index")} ELSE {_TAKEN_FOR} END"""
_VIEW = """
    CREATE VIEW frames_all AS
    SELECT frame.id AS frame_id, frame.run_id, run.study_id, classifier.spec AS classifier,
        study.class_name, run.seed AS run_seed, frame.kind, frame.step, frame.seed,
        frame.prompt, {} AS taken_for, frame.target_probability, frame.hit, frame.sha256
    FROM frame JOIN run ON run.id = frame.run_id JOIN study ON study.id = run.study_id
        JOIN classifier ON classifier.id = study.classifier_id"""


def upgrade() -> None:
    op.execute("DROP VIEW frames_all")
    op.execute(_VIEW.format(_ANSWER))


def downgrade() -> None:
    op.execute("DROP VIEW frames_all")
    op.execute(_VIEW.format(_TAKEN_FOR))
