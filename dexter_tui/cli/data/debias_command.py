"""The command `debias`: a last layer that relies less on a concept, measured on your pictures."""

import inspect
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Group
from rich.table import Table

from dexter.config import RunConfig
from dexter.errors import InputError
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
from dexter_tui.cli.output import Json, TrustCode, print_json, print_view, say, show_progress
from dexter_tui.formatting import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dexter.classifiers import Classifier
    from dexter.data.last_layer import Accuracy, Layer


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    own = inspect.signature(debias)
    debias.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[
            *(p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD),
            *field_flags.parameters(RunConfig, FIELDS),
        ]
    )
    app.command()(debias)


def debias(
    classifier: ClassifierSpec,
    data: Data,
    *,
    concepts: Concepts = None,
    fit_split: Annotated[
        str, typer.Option(metavar="NAME", help="the split that last layers are fitted to")
    ] = "validation",
    test_split: Annotated[
        str, typer.Option(metavar="NAME", help="the split that they are measured on")
    ] = "test",
    seeds: Annotated[int, typer.Option(min=1, max=20, help="fits of each method")] = 3,
    label_column: LabelColumn = None,
    mapping: Mapped = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="a column of true groups: measures by them, and adds the bracket that fits them",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="write the last layers as .safetensors"
        ),
    ] = None,
    image_text: ImageTextSpec = "lab",
    as_json: Json = False,
    trust_code: TrustCode = False,
    **values: object,
) -> None:
    """Fit a classifier's last layer again, so that it relies less on a concept.

    The groups to balance come from a screening or your words, as an image-text model sees them in
    your pictures. Answers are limited to the classes of the data. Compares deep feature
    reweighting, GroupDRO and the removal of the concept's direction with a fit without groups.
    """
    from dexter.data import last_layer
    from dexter.data.slices import Concept, look, scores

    if output is not None and output.suffix != ".safetensors":
        raise InputError(
            f"{output} is no .safetensors file", field="output", value=str(output),
            remedy="name one that ends in .safetensors",
        )  # fmt: skip
    if output is not None and not output.parent.is_dir():
        raise InputError(
            f"{output.parent} is no folder", field="output", value=str(output),
            remedy="make it first",
        )  # fmt: skip
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
    concept = asked[0]
    if origin.startswith("words"):
        concept = Concept(", ".join(one.name for one in asked),
                          tuple(look for one in asked for look in one.looks))  # fmt: skip
    used = sorted(set(classes.values()))
    original = _layer(network, used)
    fit_data, test_data = found.halves(fit_split, test_split)
    parts, seen, truths = [], [], []
    for part in (fit_data, test_data):
        looked = look(
            part, classes, network, detector, report=lambda n, of: show_progress("pictures", n, of)
        )
        shows = scores(concept, looked, detector) > 0
        own = np.array([used.index(target) for target in looked.targets])
        groups = last_layer.pseudo_groups(own, shows)
        parts.append(last_layer.Part(looked.features.astype(np.float64), own, groups))
        seen.append(shows)
        truths.append([item.groups.get(group or "", "") for item in looked.items])
    labels = [network.labels[at] for at in used]
    names = [f"{label} {side} {concept.name}" for label in labels for side in ("without", "with")]
    last_layer.check_groups(parts[0], names, f"the split {fit_split!r}")
    fit, test = parts
    true_fit = None
    if group is not None:
        values_of = sorted({*truths[0], *truths[1]})
        names = [f"{label}, {group} = {value}" for label in labels for value in values_of]
        of_fit, of_test = (
            part.classes * len(values_of) + np.array([values_of.index(one) for one in truth])
            for part, truth in zip(parts, truths, strict=True)
        )
        true_fit = of_fit
        test = last_layer.Part(test.features, test.classes, of_test)
    last_layer.check_groups(test, names, f"the split {test_split!r}")
    results = last_layer.compare(
        original, fit, test, seen[0], seeds=seeds, true_fit=true_fit,
        report=lambda method: say(f"fitting: {method}") if sys.stderr.isatty() else None,
    )  # fmt: skip
    accuracies = [accuracy for accuracy, _ in results.values()]
    if output is not None:
        _write(output, {name: layer for name, (_, layer) in results.items()}, labels, network.spec)
    if as_json:
        print_json(
            {
                "classifier": network.spec,
                "data": {"name": found.name, "hash": found.digest(),
                         "fitted": len(fit.classes), "tested": len(test.classes)},
                "concept": concept.name,
                "concepts": origin,
                "image_text": detector.name,
                "labels": labels,
                "groups": names,
                "measured_by": group or "pseudo-groups",
                "skipped": {why.value: n for why, n in found.skipped.counts.items()},
                "methods": [asdict(one) for one in accuracies],
            }
        )  # fmt: skip
        return
    facts = {
        "concept": f"{concept.name} ({origin})",
        "classes": ", ".join(labels),
        "pictures": f"{len(fit.classes):,} fitted, {len(test.classes):,} measured",
        "skipped": ", ".join(f"{n} {why.value}" for why, n in found.skipped.counts.items()),
        "measured by": f"true groups: {group}"
        if group
        else f"pseudo-groups, as seen by {detector.name}",
        "written": str(output) if output is not None else "",
    }
    print_view(_view(facts, accuracies, names))


def _layer(network: "Classifier", used: list[int]) -> "Layer":
    from dexter.data.last_layer import Layer

    layer = network.last_layer()
    if layer is None or network.answers.multi_label:
        what = (
            "answers labels one by one" if layer is not None else "has no linear layer at its end"
        )
        raise InputError(
            f"{network.spec} {what}, so its last layer cannot be fitted again",
            field="classifier",
            value=network.spec,
            remedy="pass a network that ends in a linear layer over classes",
        )
    weight, bias = layer
    return Layer(weight[used].double().numpy(), bias[used].double().numpy())


def _write(file: Path, layers: "dict[str, Layer]", labels: list[str], spec: str) -> None:
    import json

    from safetensors.numpy import save

    tensors = {
        f"{name}.{part}": np.ascontiguousarray(getattr(layer, part), np.float32)
        for name, layer in layers.items()
        for part in ("weight", "bias")
    }
    file.write_bytes(save(tensors, {"classifier": spec, "labels": json.dumps(labels)}))


def _view(
    facts: dict[str, str], accuracies: "list[Accuracy]", names: list[str]
) -> "RenderableType":
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, value in facts.items():
        if value:
            grid.add_row(name, plain(value))
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("method")
    for column in ("worst group", "seeds", "average", "worst class"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in accuracies:
        seeds = f"{one.least:.2f} to {one.most:.2f}" if one.seeds > 1 else ""
        table.add_row(
            plain(one.method),
            f"{one.worst:.2f} [{one.low:.2f}, {one.high:.2f}]",
            seeds,
            f"{one.average:.2f}",
            f"{one.worst_class:.2f}",
        )
    groups = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    groups.add_column("accuracy by group")
    shown = [one for one in accuracies if one.method in ("original", "DFR")]
    for one in shown:
        groups.add_column(one.method, justify="right", no_wrap=True)
    for at, name in enumerate(names):
        groups.add_row(plain(name), *(f"{one.by_group[at]:.2f}" for one in shown))
    return Group(grid, "", table, "", groups)
