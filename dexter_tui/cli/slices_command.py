"""The command `slices`: the classifier's errors on labelled pictures, by the concepts they show."""

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from dexter.config import RunConfig, fields_of
from dexter.errors import InputError
from dexter_tui import field_flags, paths
from dexter_tui.cli.output import Json, TrustCode, print_json, print_view, show_progress
from dexter_tui.formatting import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dexter.data.folder import DataSet
    from dexter.data.slices import Concept, Looked, Slice

_FIELDS = [name for name in fields_of("classifier") if name != "classifier"] + ["device", "dtype"]
_SHOWN = 12  # slices in the table; --all lists the others


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    own = inspect.signature(slices)
    slices.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[
            *(p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD),
            *field_flags.parameters(RunConfig, _FIELDS),
        ]
    )
    app.command()(slices)


def slices(
    classifier: Annotated[str, typer.Option(metavar="TEXT", help="as for `run`")],
    data: Annotated[
        str,
        typer.Option(metavar="PATH", help="labelled pictures: a folder, a CSV file or lab:SETTING"),
    ],
    *,
    concepts: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS|ID",
            help="what to slice by: words with commas, or a screening  [default: the newest "
            "screening of the classifier]",
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="only this split of the data")] = None,
    label_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="the column of the labels in a CSV file")
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="DATA=LABEL", help="the classifier's label for one of the data's"
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="a column of true groups, which only judges the slices"),
    ] = None,
    image_text: Annotated[
        str, typer.Option(metavar="SPEC", help="image-text model that sees concepts: lab or CLIP")
    ] = "lab",
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
    from dexter.data.folder import class_indices, read_data
    from dexter.data.slices import as_records, find_slices, look
    from dexter.device import select_device
    from dexter.reasoning.detection import load_detector
    from dexter_tui.jobs import submit, trust

    given = {name: value for name, value in values.items() if value is not None}
    overrides = {**paths.settings(), **field_flags.given(given)}
    known = {name: overrides[name] for name in _FIELDS if name in overrides}
    config = RunConfig.from_preset("quick", classifier=classifier, class_name="0", **known)
    config = submit.with_full_paths(config)
    trust.require([config], trust.agreed_by({**given, "classifier": classifier}, code=trust_code))
    found = read_data(data, label=label_column).of_split(split)
    if group is not None and group not in found.columns:
        raise InputError(
            f"{group!r} is not a column of groups",
            field="group",
            value=group,
            remedy=f"choose from {', '.join(found.columns)}" if found.columns else "omit it",
        )
    device = select_device(config.device)
    network = trust.load_classifier(config, device)
    classes = class_indices(found.labels, network.labels, _mapping(mapping or []))
    asked, source = _concepts(concepts, classifier)
    detector = load_detector(image_text, device=device)
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
                "concepts": source,
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
        print_view(_view(found, looked, classes, network.labels, source, answers, most))


def _mapping(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        value, equals, label = pair.partition("=")
        if not equals or not value or not label:
            raise InputError(
                f"{pair!r} maps nothing", field="map", value=pair, remedy="write DATA=LABEL"
            )
        found[value.strip()] = label.strip()
    return found


def _concepts(asked: str | None, classifier: str) -> "tuple[list[Concept], str]":
    """Return the concepts to slice by, and a line that says where they are from."""
    from dexter.data.slices import Concept
    from store.reading.browse import Browse

    browse = Browse(paths.home())
    if asked is None:
        screening = _newest(browse, classifier)
        if screening is None:
            raise InputError(
                "there is no screening of this classifier yet",
                field="concepts",
                remedy=f"run `dexter-tui screen --classifier {classifier} --class LABEL` first, or "
                "name words",
            )
        return _of_screening(browse, screening, classifier)
    words = [word.strip() for word in asked.split(",") if word.strip()]
    if len(words) == 1 and browse.state_of_schema() == "current":
        from store.errors import StoreError
        from store.reading import screenings

        try:
            return _of_screening(browse, screenings.find(browse, words[0]), classifier)
        except StoreError:
            pass  # then it is a word
    if not words:
        raise InputError("names no words", field="concepts", value=asked, remedy="list words")
    return [Concept(word, (word,)) for word in words], "words of the command"


def _names(classifier: str) -> set[str]:
    """Return the names under which a screening may list a classifier."""
    from dexter.classifiers import full_spec

    return {classifier, full_spec(classifier)}


def _newest(browse: Any, classifier: str) -> str | None:
    from store.reading import screenings

    if browse.state_of_schema() != "current":
        return None
    for one in screenings.listed(browse):
        if one["state"] == "done" and _names(classifier) & set(one["classifiers"]):
            return str(one["id"])
    return None


def _of_screening(browse: Any, screening_id: str, classifier: str) -> "tuple[list[Concept], str]":
    """Return the concepts that raise or lower the class of a screening.

    Those of a slot in which a picture shows one, such as its place, are held against the others
    there, and those that work in the same direction make a slice together as well.
    """
    from dexter.data.slices import Concept
    from dexter.screening.concepts import load_pool
    from store.reading import screenings

    page = screenings.page(browse, screening_id)
    names = _names(classifier)
    members = [member for member in page["members"] if member["name"] in names]
    if not members:
        raise InputError(
            f"screening {screening_id} has no {classifier}",
            field="concepts",
            value=screening_id,
            remedy=f"its classifiers: {', '.join(page['classifiers'])}",
        )
    pool = load_pool(page["pool"])
    looks = {(one.slot, one.name): one.looks for one in pool.concepts}
    exclusive = {slot.name for slot in pool.slots if slot.exclusive}
    families: dict[tuple[str, str], list[str]] = {}
    for finding in members[0]["findings"]:
        place = finding["slot"], finding["concept"]
        if finding["verdict"] in ("raises", "lowers") and not finding["core"] and place in looks:
            families.setdefault((finding["slot"], finding["verdict"]), []).append(place[1])
    found: dict[tuple[str, tuple[str, ...]], None] = {}
    for (slot, _), family in families.items():
        for name in family:
            found[slot, (name,)] = None
        found[slot, tuple(family)] = None
    concepts = []
    for slot, chosen in found:
        others = [name for of, name in looks if of == slot and name not in chosen]
        against = [look for name in others for look in looks[slot, name]]
        own = tuple(look for name in chosen for look in looks[slot, name])
        concepts.append(
            Concept(", ".join(chosen), own, tuple(against) if slot in exclusive else ())
        )
    if not concepts:
        raise InputError(
            f"screening {screening_id} found nothing that {classifier} depends on",
            field="concepts",
            value=screening_id,
            remedy="name words to slice by: --concepts water,snow",
        )
    return concepts, f"screening {screening_id}, class {page['class_name']}"


def _view(
    data: "DataSet",
    looked: "Looked",
    classes: dict[str, int],
    labels: list[str],
    source: str,
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
        ("concepts", source),
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
