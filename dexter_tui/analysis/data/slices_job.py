"""The slices of a classifier on labelled pictures."""

from collections.abc import Sequence
from typing import Any

from dexter.data.settings import SlicesSettings
from dexter.data.slices import Looked, Slice, as_records, find_slices
from dexter_tui.analysis.data.sources import Sources
from dexter_tui.analysis.desk import Desk
from store.data_reports import records


def work(desk: Desk) -> None:
    """Look at the pictures, and write what was found."""
    sources = Sources(desk)
    settings = sources.settings
    assert isinstance(settings, SlicesSettings)
    network = sources.classifier
    part = sources.data.of_split(settings.split)
    looked = sources.looked(part, settings.split or "all splits")
    desk.begin("slices")
    found = find_slices(
        looked, sources.concepts, network.labels, sources.detector, group=settings.group
    )
    result: dict[str, Any] = {
        "recognised": network.recognised,
        "labels": {value: network.labels[index] for value, index in sources.classes.items()},
        "concepts": sources.origin,
        "image_text": sources.detector.name,
        "pixels": looked.digest,
        "pictures": len(looked.items),
        "split": settings.split,
        "skipped": sources.skipped(),
        "skipped_first": [[name, why.value] for name, why in part.skipped.names],
        "accuracy": float(looked.right.mean()),
        "true_groups": settings.group,
        "slices": _rows(found, looked),
    }
    records.finish(desk.store, sources.row.id, result)
    sources.files.clear()


def _rows(slices: Sequence[Slice], looked: Looked) -> list[dict[str, Any]]:
    return list(as_records(slices, looked))
