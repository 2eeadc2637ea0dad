"""The command `slices`: the classifier's errors on labelled pictures, by the concepts they show."""

import inspect
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table

from dexter.config import RunConfig
from dexter_tui import field_flags
from dexter_tui.cli.data.sources import (
    FIELDS,
    ClassifierSpec,
    Concepts,
    Data,
    ImageTextSpec,
    LabelColumn,
    Mapped,
    open_sources,
)
from dexter_tui.cli.output import Json, TrustCode, print_json, print_view, show_progress
from dexter_tui.formatting import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dexter.data.folder import DataSet
    from dexter.data.slices import Looked, Slice

_SHOWN = 12  # slices in the table; --all lists the others


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    own = inspect.signature(slices)
    slices.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[
            *(p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD),
            *field_flags.parameters(RunConfig, FIELDS),
        ]
    )
    app.command()(slices)


def slices(
    classifier: ClassifierSpec,
    data: Data,
    *,
    concepts: Concepts = None,
    split: Annotated[str | None, typer.Option(help="only this split of the data")] = None,
    label_column: LabelColumn = None,
    mapping: Mapped = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="a column of true groups, which only judges the slices"),
    ] = None,
    image_text: ImageTextSpec = "lab",
    every: Annotated[bool, typer.Option("--all", help="list all slices")] = False,
    as_json: Json = False,
    trust_code: TrustCode = False,
    **values: object,
) -> None:
    """Show on which of your pictures a classifier errs, by the concepts in them.

    The words come from a screening or from you, and an image-text model sees which picture shows
    them: no true group is used, unless you name one with --group to judge the slices. The pictures
    stay on this machine.
    """
    from dexter.data.slices import as_records, find_slices, look

    network, found, classes, asked, origin, detector = open_sources(
        classifier,
        data,
        concepts,
        label_column=label_column,
        mapping=mapping,
        group=group,
        image_text=image_text,
        trust_code=trust_code,
        values=values,
    )
    found = found.of_split(split)
    looked = look(
        found, classes, network, detector, report=lambda n, of: show_progress("pictures", n, of)
    )
    answers = find_slices(looked, asked, network.labels, detector, group=group)
    if as_json:
        print_json(
            {
                "classifier": network.spec,
                "recognised": network.recognised,
                "data": {"name": found.name, "hash": found.digest(), "pixels": looked.digest,
                         "pictures": len(looked.items), "split": split},
                "labels": {value: network.labels[index] for value, index in classes.items()},
                "concepts": origin,
                "image_text": detector.name,
                "skipped": dict(found.skipped.counts),
                "skipped_first": [[name, why] for name, why in found.skipped.names],
                "accuracy": float(looked.right.mean()),
                "true_groups": group,
                "slices": list(as_records(answers, looked)),
            }
        )  # fmt: skip
    else:
        most = None if every else _SHOWN
        print_view(_view(found, looked, classes, network.labels, origin, answers, most))


def _view(
    data: "DataSet",
    looked: "Looked",
    classes: dict[str, int],
    labels: list[str],
    origin: str,
    slices: "list[Slice]",
    most: int | None,
) -> "RenderableType":
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    skipped = ", ".join(f"{n} {why.value}" for why, n in data.skipped.counts.items())
    first = "; ".join(name for name, _ in data.skipped.names[:3])
    judged = any(one.judged for one in slices)
    for name, value in (
        ("pictures", f"{len(looked.items):,} of {data.name}"),
        ("skipped", f"{skipped} (first: {first})" if skipped else ""),
        ("labels", ", ".join(f"{value} = {labels[at]}" for value, at in classes.items())),
        ("concepts", origin),
        ("accuracy", f"{looked.right.mean():.3f}"),
        ("groups", "true groups judge the slices below; they chose none" if judged else ""),
    ):
        if value:
            facts.add_row(name, plain(value))
    hard = sum(one.gap_high < 0 for one in slices)
    are, their = ("are", "their") if hard > 1 else ("is", "its")
    verdict = (
        f"{hard or 'none'} of {len(slices)} slices {are} surely harder than the rest of {their} "
        "class"
    )
    shown = slices[:most]
    parts: list[RenderableType] = [facts, "", plain(verdict, "bold"), "", _slices_table(shown)]
    if judged:
        parts += ["", _judged_table(shown)]
    if len(shown) < len(slices):
        parts.append(plain(f"{len(slices) - len(shown)} more with --all", "dim"))
    return Group(*parts)


def _plain_table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for at, column in enumerate(columns):
        right = at != 1
        table.add_column(column, justify="right" if right else "left", no_wrap=right,
                         overflow="fold")  # fmt: skip
    return table


def _slices_table(slices: "list[Slice]") -> Table:
    table = _plain_table("", "slice", "pictures", "accuracy", "gap to the rest of the class")
    for number, one in enumerate(slices, 1):
        table.add_row(
            str(number),
            plain(one.name, "bold" if one.gap_high < 0 else ""),
            str(one.size),
            f"{one.accuracy:.2f}",
            f"{one.gap:+.2f} [{one.gap_low:+.2f}, {one.gap_high:+.2f}]",
        )
    return table


def _judged_table(slices: "list[Slice]") -> Table:
    table = _plain_table("", "true group", "F1", "AUROC", "precision@10")
    for number, one in enumerate(slices, 1):
        if (judged := one.judged) is not None:
            table.add_row(
                str(number),
                plain(judged.group),
                f"{judged.f1:.2f}",
                "" if judged.auroc is None else f"{judged.auroc:.2f}",
                f"{judged.precision_at:.2f}",
            )
    return table
