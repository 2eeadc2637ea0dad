"""Reports on pictures: those of many classes can be read, and a user's picture is deleted."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from store import Store, run_queue, study_records
from store.data_reports import page, records
from store.data_reports.explanations import own_picture
from store.errors import StoreError
from store.markdown.report import render
from store.reading.browse import Browse
from store.states import Kind
from store.upkeep import retention

ASKED: dict[str, Any] = {
    "mapping": {}, "settings": {}, "concepts": [], "data": "", "screening": None, "origin": "",
}  # fmt: skip
SLICE = {
    "name": "crane with sea", "label": "crane", "concept": "sea", "shows": True, "size": 5,
    "accuracy": 0.2, "accuracy_low": 0.1, "accuracy_high": 0.6, "rest": 45, "rest_accuracy": 0.9,
    "gap": -0.7, "gap_low": -0.9, "gap_high": -0.2,
}  # fmt: skip
SLICES = {
    "labels": {f"n{at}": "crane" for at in range(1001)}, "image_text": "lab", "pixels": "",
    "concepts": "searches of crane: sea; " * 100,
    "split": "fold 2", "pictures": 50_000, "accuracy": 0.8, "slices": [SLICE] * 10_001,
}  # fmt: skip
OUTCOME = {
    "method": "original", "worst": 0.2, "low": 0.1, "high": 0.3, "least": 0.2, "most": 0.2,
    "average": 0.8, "worst_class": 0.7, "by_group": [0.2] * 2000, "seeds": 1,
}  # fmt: skip
DEBIASED = {
    "labels": ["crane"] * 1000, "groups": ["crane with sea"] * 2000, "measured_by": "", "concept":
    "sea", "concepts": "words", "image_text": "lab", "weights": "last", "fitted": 1, "tested": 1,
    "outcomes": [OUTCOME],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "result"), [("slices", SLICES), ("debias", DEBIASED)])
def test_a_report_on_a_thousand_classes_is_read(
    kind: str, result: dict[str, Any], tmp_path: Path
) -> None:
    with Store.open(tmp_path) as store:
        classifier = store.ensure_classifier("lab:birds", "h", ["crane"], 64)
        made = records.add(
            store, kind, classifier_id=classifier, data="", data_hash="", request=ASKED
        )
        records.finish(store, made, result)
        text, _ = render(store, [made], "")
    found = page.page(Browse(tmp_path), made)
    assert found.result is not None and found.json()["result"]["concepts"] == result["concepts"]
    assert ("- Split: fold 2\n" if kind == "slices" else "| crane with sea | 0.20 |\n") in text


def test_a_report_shows_what_its_worker_does_before_the_first_stage(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        classifier = store.ensure_classifier("lab:birds", "h", ["crane"], 64)
        made = records.add(
            store, "slices", classifier_id=classifier, data="", data_hash="", request=ASKED
        )
        job = run_queue.add_job(store, Kind.SLICES, {"data_report": made})
        records.set_job(store, made, job)
        assert run_queue.claim(store, slot="cpu-0")
        run_queue.set_activity(store, "cpu-0", job, "loading classifier", device="cpu")
        found = page.page(Browse(tmp_path), made[:4], "slices")
        assert (found.id, found.state, found.stage) == (made, "running", "loading classifier")
        with pytest.raises(StoreError, match=r"no report on .* among the 0 "):
            page.page(Browse(tmp_path), made, "debias")
        with pytest.raises(StoreError, match=f"{made}: its slices {job} is starting"):
            retention.doomed(store, [made])


def test_a_picture_of_the_user_goes_with_the_last_what_if_that_shows_it(tmp_path: Path) -> None:
    png, own = io.BytesIO(), "0" * 64
    asked: dict[str, Any] = {"class_name": "crane", "pool": "lab", "models": {}, "settings": {}}
    Image.new("RGB", (64, 64)).save(png, "PNG")
    with Store.open(tmp_path) as store:
        classifier = store.ensure_classifier("lab:birds", "h", ["crane"], 64)
        made = [
            records.add(
                store, "whatif", classifier_id=classifier, data="", data_hash=own, request=asked
            )
            for _ in range(2)
        ]
        sha256 = store.put_artifact(png.getvalue(), "image/png")
        generator, prompt, seed = own_picture(own)
        study_records.add_pictures(store, generator, [(prompt, seed)], sha256=sha256, side=64)
        for report, pictures in zip(made, (0, 1), strict=True):
            assert store.artifact_path(sha256).exists()
            found = retention.doomed(store, [report])
            assert found.pictures == pictures
            retention.delete(store, found)
    assert not list(tmp_path.rglob(f"{sha256}*"))
