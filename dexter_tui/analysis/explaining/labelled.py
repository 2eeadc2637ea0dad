"""The labelled pictures that a bias report is compared with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dexter.errors import InputError

if TYPE_CHECKING:
    from dexter.classifiers.reading import Preprocessing
    from dexter.data.folder import DataSet
    from dexter.reasoning.topic import Topic
    from dexter.screening.concepts import Pool

LAB = "lab:people"
"""Scenes of the lab's people, with all labels."""
SCENES = 2000
_COLUMNS = {"sex": "gender", "race": "skin", "skin_tone": "skin", "hair_colour": "hair",
            "hair_color": "hair"}  # fmt: skip
"""Columns of labels, by other names that data sets give them."""


@dataclass(frozen=True)
class Labelled:
    """Labelled pictures. source: as a text. cells: their labels. items: scenes or files.

    digest: of files' names and labels; "" for scenes.
    """

    source: str
    cells: list[Any]
    items: list[Any]
    pool: Any
    skipped: Any = None
    digest: str = ""

    def require(self, count: int) -> None:
        """Raise InputError if this number of pictures is too small for the labels."""
        least = 4 * len(self.pool.concepts)
        if count < least:
            raise InputError(
                f"{count} pictures can be read, and their labels need at least {least}",
                field="data",
                value=self.source,
                remedy="name more, or pass --data none",
            )

    @classmethod
    def find(
        cls,
        data: str,
        topic: "Topic",
        pool: "Pool",
        read: "Callable[..., DataSet] | None" = None,
    ) -> "Labelled | None":
        """Find the pictures; None for "none". InputError for data without labels of people.

        read: reads a user's data, as `read_data` does.
        """
        from dexter.screening.people import people_scenes

        if data == "none":
            return None
        if data == LAB:
            found = people_scenes(topic, SCENES)
            return cls(
                f"{len(found):,} scenes of the lab with labels",
                [cell for _, cell in found],
                [scene for scene, _ in found],
                pool,
            )
        return _of_data(data, topic, pool, read)


def _of_data(
    data: str, topic: "Topic", pool: "Pool", read: "Callable[..., DataSet] | None"
) -> Labelled:
    """Read a user's data: its columns of people's attributes, the label as the context."""
    from dexter.data.folder import read_data
    from dexter.reasoning.claims import OWN, RIVALS
    from dexter.screening.concepts import SUBJECT, Concept, Pool, Slot
    from dexter.screening.design import Cell
    from dexter.screening.people import ATTRIBUTES

    found = (read or read_data)(data)
    columns = {
        name: slot
        for name in found.columns
        if (slot := _COLUMNS.get(name.strip().lower(), name.strip().lower())) in ATTRIBUTES
    }
    if not columns:
        there = f"; it has {', '.join(found.columns)}" if found.columns else ""
        raise InputError(
            f"{data} has no column {', '.join(ATTRIBUTES)}{there}",
            field="data",
            value=data,
            remedy="name the columns so, or pass --data none",
        )
    values: dict[str, dict[str, None]] = {slot: {} for slot in columns.values()}
    cells = []
    for at, item in enumerate(found.items):
        said = {
            slot: (item.groups[name].strip().lower(),)
            for name, slot in columns.items()
            if item.groups.get(name, "").strip()
        }
        for slot, (value,) in said.items():
            values[slot][value] = None
        # Effects are within labels: a class's people may differ in an attribute by themselves.
        said[SUBJECT] = (item.label.strip().lower(),)
        own = item.label.strip().lower() == topic.class_name.lower()
        cells.append(Cell(item.name, at, OWN if own else RIVALS, said))
    named = {one.name: one for one in pool.concepts}
    concepts = tuple(
        Concept(value, slot, (value,), named[value].looks if value in named else (value,))
        for slot, of_slot in values.items()
        for value in of_slot
    )
    labels = Pool(data, tuple(Slot(slot, True, "before") for slot in values), concepts)
    labelled = Labelled(
        f"{len(cells):,} labelled pictures of {found.name}",
        cells,
        list(found.items),
        labels,
        found.skipped,
        found.digest(),
    )
    labelled.require(len(cells))  # before the work; of those that can be read, after it
    return labelled


def batches(labelled: Labelled, step: "Preprocessing") -> Any:
    """Yield places (n,) and pictures (n, H, W, 3) of labelled pictures, read for a network."""
    import numpy as np

    if labelled.skipped is not None:
        from dexter.data import pictures

        yield from pictures.batches(labelled.items, step.resize, labelled.skipped, step=step)
        return
    from dexter.lab.scenes import render

    for at in range(0, len(labelled.items), 32):
        chunk = labelled.items[at : at + 32]
        yield list(range(at, at + len(chunk))), np.stack([render(scene) for scene in chunk])
