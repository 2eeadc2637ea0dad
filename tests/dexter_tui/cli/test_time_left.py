"""The time left of an audit, by the pace of its drawing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dexter_tui.analysis.audit_estimate import Outlook
from dexter_tui.cli.audit import time_left
from store import State, Store, screening_records
from store.states import Kind
from store.tables import Job


def test_the_start_of_another_worker_is_not_counted_into_the_pace(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time_left, "time", SimpleNamespace(monotonic=lambda: clock.now))
    prepared: Any = None  # not needed before the screening is over
    outlook = Outlook("waterbird", 400, 0, 1, 60.0, prepared)
    with Store.open(home) as store:
        classifier = store.ensure_classifier("lab:birds-biased", None, ["waterbird"], 64)
        screening_records.ensure_bank(
            store, "bank", pool="lab", pool_text=None, pool_hash="h", seed=0,
            topic={"class_name": "waterbird", "subjects": [], "rivals": [], "core": []},
        )  # fmt: skip
        member = {"name": "lab:birds-biased", "classifier_id": classifier, "class_index": 0,
                  "config": {}, "file_hash": None}  # fmt: skip
        made = screening_records.add_screening(store, "bank", "waterbird", {}, [member], watch=None)
        left = time_left.TimeLeft(store, {"j": outlook}, {})

        def line(at: float, attempt: int, pictures: int) -> str:
            clock.now = at
            job = Job(id="j", kind=Kind.SCREENING, request={}, depends_on=[], screening_id=made,
                      state=State.RUNNING, attempt=attempt, done=pictures,
                      steps_done=pictures)  # fmt: skip
            return left.line([job])

        for at, pictures in ((0, 0), (1, 10)):
            assert line(at, 1, pictures) == ""
        ten_a_second = line(11, 1, 110)
        assert ten_a_second.startswith("audit: 110 of about 400 pictures")
        assert line(300, 2, 0) == line(301, 2, 110) == ten_a_second
        assert line(302, 2, 120).startswith("audit: 120 of about 400 pictures")
