"""The slices of a classifier on labelled pictures."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dexter.data.baselines import Conjunction, conjunctions, frequent_slices, mixture_slices
from dexter.data.settings import SlicesSettings
from dexter.data.slices import Looked, Slice, as_records, find_slices
from dexter.screening.concepts import LAB, load_pool
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
    baselines: dict[str, list[Slice]] = {}
    if settings.baselines:
        desk.begin("baselines")
        baselines["mixture over embeddings and errors"] = mixture_slices(
            looked, network.labels, group=settings.group
        )
        baselines["frequent words"] = frequent_slices(
            looked, _words(network.labels), network.labels, sources.detector, group=settings.group
        )
    patterns: list[Conjunction] = []
    if settings.patterns:
        desk.begin("conjunctions")
        patterns = conjunctions(looked, sources.concepts, network.labels, sources.detector)
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
        "baselines": {name: _rows(own, looked) for name, own in baselines.items()},
        "patterns": [asdict(one) for one in patterns],
    }
    records.finish(desk.store, sources.row.id, result)
    sources.files.clear()


def _words(labels: Sequence[str]) -> list[str]:
    """Return the concepts that a baseline counts: those of the lab's pool, without the labels."""
    names = [look for one in load_pool(LAB).concepts for look in one.looks]
    return [name for name in dict.fromkeys(names) if name not in labels]


def _rows(slices: Sequence[Slice], looked: Looked) -> list[dict[str, Any]]:
    return list(as_records(slices, looked))
