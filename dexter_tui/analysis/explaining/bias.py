"""A bias explanation at work: a report without data, one on labelled pictures, their agreement."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dexter.errors import InputError
from dexter.reasoning.settings import ReportSettings
from dexter_tui import paths

if TYPE_CHECKING:
    from dexter.screening.people import Agreement, BiasReport
    from dexter.screening.screen import Result
    from dexter_tui.analysis.screening_request import Prepared

LAB = "lab:people"
"""Scenes of the lab's people, with all labels."""
SCENES = 2000
_COLUMNS = {"sex": "gender", "race": "skin", "skin_tone": "skin", "hair_colour": "hair",
            "hair_color": "hair"}  # fmt: skip
"""Columns of labels, by other names that data sets give them."""


@dataclass(frozen=True)
class Labelled:
    """Labelled pictures. source: as a text. cells: their labels. items: scenes or files."""

    source: str
    cells: list[Any]
    items: list[Any]
    pool: Any
    skipped: Any = None

    @classmethod
    def find(cls, data: str | None, prepared: "Prepared") -> "Labelled | None":
        """Find the pictures; InputError for data without labels of people."""
        from dexter.screening.people import people_scenes

        if data is None:
            data = LAB if prepared.config.generator == "lab" else "none"
        if data == "none":
            return None
        if data == LAB:
            found = people_scenes(prepared.topic, SCENES)
            return cls(
                f"{len(found):,} scenes of the lab with labels",
                [cell for _, cell in found],
                [scene for scene, _ in found],
                prepared.concepts.pool,
            )
        return _of_data(data, prepared)


def _of_data(data: str, prepared: "Prepared") -> Labelled:
    """Read a user's data: its columns of people's attributes, the label as the context."""
    from dexter.data.folder import read_data
    from dexter.reasoning.claims import OWN, RIVALS
    from dexter.screening.concepts import SUBJECT, Concept, Pool, Slot
    from dexter.screening.design import Cell
    from dexter.screening.people import ATTRIBUTES

    found = read_data(data)
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
        own = item.label.strip().lower() == prepared.topic.class_name.lower()
        cells.append(Cell(item.name, at, OWN if own else RIVALS, said))
    named = {one.name: one for one in prepared.concepts.pool.concepts}
    concepts = tuple(
        Concept(value, slot, (value,), named[value].looks if value in named else (value,))
        for slot, of_slot in values.items()
        for value in of_slot
    )
    pool = Pool(data, tuple(Slot(slot, True, "before") for slot in values), concepts)
    return Labelled(
        f"{len(cells):,} labelled pictures of {found.name}",
        cells,
        list(found.items),
        pool,
        found.skipped,
    )


@dataclass(frozen=True)
class Explanation:
    """The reports about a classifier, and how far they agree."""

    classifier: str
    class_name: str
    generator: str
    screening: str
    free: "BiasReport"
    driven: "BiasReport | None" = None
    skipped: Mapping[str, int] | None = None
    planted: Mapping[str, float] | None = None
    agreement: "Agreement | None" = None
    encoder: str | None = None
    sts: float | None = None
    floor: float | None = None
    judge: str | None = None
    rating: float | None = None
    ratings: int = 0
    trouble: str | None = None

    @property
    def verdict(self) -> str:
        """Return the first sentence of the report."""
        return self.free.sentences[0]

    def to_json(self) -> dict[str, Any]:
        """Return all of it, JSON-able."""
        return {
            "classifier": self.classifier,
            "class_name": self.class_name,
            "generator": self.generator,
            "screening": self.screening,
            "data_free": self.free.to_json(),
            "data_driven": None if self.driven is None else self.driven.to_json(),
            "skipped": dict(self.skipped or {}),
            "planted": None if self.planted is None else dict(self.planted),
            "claims": None if self.agreement is None else self.agreement.to_json(),
            "sts": None if self.sts is None else
            {"model": self.encoder, "similarity": self.sts, "floor": self.floor},
            "judge": None if self.judge is None else
            {"model": self.judge, "consistency": self.rating, "ratings": self.ratings,
             "error": self.trouble},
        }  # fmt: skip


def explained(
    prepared: "Prepared",
    page: Mapping[str, Any],
    labelled: Labelled | None,
    encoder: Any,
    judge: ReportSettings,
    *,
    say: Callable[[str], None],
    on_progress: Callable[[int, int], None],
) -> Explanation:
    """Return the reports of a screened classifier and how far they agree.

    Args:
        prepared: The checked request, of one classifier.
        page: Its finished screening, with its member as "member".
        labelled: Labelled pictures to compare with.
        encoder: Compares the texts of both reports.
        judge: The settings of a language model that rates them.
        say: Called with a line for the user.
        on_progress: Called with the labelled pictures seen and their number.
    """
    from dexter.screening.people import agreement, others, report

    [member] = prepared.members
    free = report(
        prepared.topic.class_name,
        f"{page['member']['pictures']} pictures by {member.config.generator}",
        page["member"]["findings"],
    )
    base: dict[str, Any] = {
        "classifier": member.info.spec,
        "class_name": prepared.topic.class_name,
        "generator": member.config.generator,
        "screening": page["id"],
        "free": free,
        "planted": _planted(member.info.spec, member.class_index, free),
    }
    if labelled is None:
        return Explanation(**base)
    result, skipped = _on_data(prepared, labelled, on_progress)
    from dataclasses import asdict

    driven = report(prepared.topic.class_name, labelled.source, map(asdict, result.effects))
    base |= {"driven": driven, "agreement": agreement(free, driven), "skipped": skipped}
    if encoder is not None:
        texts = [driven.text, *(one.text for one in others(driven))]
        own, *unrelated = (float(one) for one in encoder.similarity(free.text, texts))
        base |= {"encoder": encoder.name, "sts": own}
        base["floor"] = sum(unrelated) / len(unrelated) if unrelated else None
    if judge.llm != "none":
        base |= _judged(judge, free, driven, say)
    return Explanation(**base)


def _judged(
    settings: ReportSettings, free: "BiasReport", driven: "BiasReport", say: Callable[[str], None]
) -> dict[str, Any]:
    """Return the rating of a language model; its failure is recorded, not raised."""
    from dexter.loading import read_text
    from dexter.reasoning.agreement import Judge
    from dexter.reasoning.chat import ChatError
    from dexter_tui.analysis.report_job import endpoint

    name = settings.llm.removeprefix("openai:")
    prompt = read_text(paths.system_prompt("judge_sp.txt"), limit=10_000)
    try:
        rating, count = Judge(name, endpoint(settings), prompt).consistency(free.text, driven.text)
    except ChatError as error:
        say(str(error))
        return {"judge": name, "trouble": str(error)}
    return {"judge": name, "rating": rating, "ratings": count}


def _planted(spec: str, class_index: int, free: "BiasReport") -> dict[str, float] | None:
    """Return the measured effects of a classifier of the lab's fleet; None for any other."""
    import json

    from dexter import model_folders

    name = spec.removeprefix("lab:fleet/")
    if name == spec or class_index != 0:
        return None
    from dexter.lab.fleet import MANIFEST

    path = model_folders.find("lab", "classifiers", "fleet") / MANIFEST
    effects = json.loads(path.read_text(encoding="utf-8"))[name]["effects"]
    return {
        one.concept: float(effects[one.concept])
        for one in free.facts
        if not one.core and one.concept in effects
    }


def _on_data(
    prepared: "Prepared", labelled: Labelled, on_progress: Callable[[int, int], None]
) -> "tuple[Result, Mapping[str, int]]":
    """Regress the classifier's answers on the labels; InputError for too few pictures."""
    import numpy as np
    import torch

    from dexter.device import select_device
    from dexter.screening.screen import judge_labelled
    from dexter.screening.screen import member as member_of
    from dexter_tui.analysis import screening_request
    from dexter_tui.jobs import trust

    torch.set_num_threads(1)
    [checked] = prepared.members
    device = select_device(checked.config.device)
    network = trust.load_classifier(checked.config, device)
    one = member_of(checked.info.spec, network, checked.class_index)
    kept, odds = [], []
    for places, images in _batches(labelled, network.image_size):
        kept += places
        odds.append(one.classify(images))
        on_progress(len(kept), len(labelled.cells))
    skipped = {} if labelled.skipped is None else dict(labelled.skipped.counts)
    cells = [labelled.cells[at] for at in kept]
    least = 4 * len(labelled.pool.concepts)
    if len(cells) < least:
        raise InputError(
            f"{len(cells)} pictures can be read, and their labels need at least {least}",
            field="data",
            value=labelled.source,
            remedy="name more, or pass --data none",
        )
    settings = screening_request.engine_settings(prepared.settings)
    result = judge_labelled(
        one.name, np.concatenate(odds), cells, labelled.pool, prepared.topic, settings
    )
    return result, {str(why): count for why, count in skipped.items()}


def _batches(labelled: Labelled, side: int) -> Any:
    """Yield places and pictures of labelled pictures."""
    import numpy as np

    if labelled.skipped is not None:
        from dexter.data.pictures import batches

        yield from batches(labelled.items, side, labelled.skipped)
        return
    from dexter.lab.scenes import render

    for at in range(0, len(labelled.items), 32):
        chunk = labelled.items[at : at + 32]
        yield list(range(at, at + len(chunk))), np.stack([render(scene) for scene in chunk])
