"""The sources of the commands on labelled pictures: classifier, data, and concepts to look for."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import typer

from dexter.classifiers import Classifier, full_spec
from dexter.config import RunConfig, fields_of
from dexter.data.concepts import concepts_of
from dexter.data.folder import DataSet, class_indices, read_data
from dexter.data.slices import Concept
from dexter.device import select_device
from dexter.errors import InputError
from dexter.reasoning.detection import ImageText, load_detector
from dexter.screening.concepts import load_pool
from dexter_tui import field_flags, paths
from dexter_tui.jobs import submit, trust
from store.errors import StoreError
from store.reading import screenings
from store.reading.browse import Browse

FIELDS = [name for name in fields_of("classifier") if name != "classifier"] + ["device", "dtype"]

ClassifierSpec = Annotated[str, typer.Option("--classifier", metavar="TEXT", help="as for `run`")]
Data = Annotated[
    str,
    typer.Option(metavar="PATH", help="labelled pictures: a folder, a CSV file or lab:SETTING"),
]
Concepts = Annotated[
    str | None,
    typer.Option(
        metavar="WORDS|ID",
        help="what to look for: words with commas, or a screening  [default: the newest screening "
        "of the classifier]",
    ),
]
LabelColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="the column of the labels in a CSV file")
]
Mapped = Annotated[
    list[str] | None,
    typer.Option(
        "--map", metavar="DATA=LABEL", help="the classifier's label for one of the data's"
    ),
]
ImageTextSpec = Annotated[
    str,
    typer.Option(
        "--image-text", metavar="SPEC", help="image-text model that sees concepts: lab or CLIP"
    ),
]


class Sources(NamedTuple):
    """The material of a command on labelled pictures.

    classes: index of the classifier's label by the data's label. origin: a line that says where the
    concepts are from.
    """

    classifier: Classifier
    data: DataSet
    classes: dict[str, int]
    concepts: list[Concept]
    origin: str
    detector: ImageText


def open_sources(
    classifier: str,
    data: str,
    concepts: str | None,
    *,
    label_column: str | None,
    mapping: Sequence[str] | None,
    group: str | None,
    image_text: str,
    trust_code: bool,
    values: Mapping[str, object],
) -> Sources:
    """Load a classifier, find the data and the concepts; raise InputError for what is wrong."""
    given = {name: value for name, value in values.items() if value is not None}
    overrides = {**paths.settings(), **field_flags.given(given)}
    known = {name: overrides[name] for name in FIELDS if name in overrides}
    config = RunConfig.from_preset("quick", classifier=classifier, class_name="0", **known)
    config = submit.with_full_paths(config)
    trust.require([config], trust.agreed_by({**given, "classifier": classifier}, code=trust_code))
    found = read_data(data, label=label_column)
    if group is not None and group not in found.columns:
        raise InputError(
            f"{group!r} is not a column of groups",
            field="group",
            value=group,
            remedy=f"choose from {', '.join(found.columns)}" if found.columns else "omit it",
        )
    chosen, origin = _concepts(concepts, classifier)
    device = select_device(config.device)
    network = trust.load_classifier(config, device)
    classes = class_indices(found.labels, network.labels, _mapping(mapping or ()))
    return Sources(
        network, found, classes, chosen, origin, load_detector(image_text, device=device)
    )


def _mapping(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        value, equals, label = pair.partition("=")
        if not equals or not value or not label:
            raise InputError(
                f"{pair!r} maps nothing", field="map", value=pair, remedy="write DATA=LABEL"
            )
        found[value.strip()] = label.strip()
    return found


def _concepts(asked: str | None, classifier: str) -> tuple[list[Concept], str]:
    """Return the concepts to slice by, and a line that says where they are from."""
    browse = Browse(paths.home())
    if asked is None:
        screening = _newest(browse, classifier)
        if screening is None:
            raise InputError(
                "there is no screening of this classifier yet",
                field="concepts",
                remedy="name words, or screen it first: dexter-tui screen --classifier "
                f"{shlex.quote(classifier)} --class LABEL",
            )
        return _of_screening(browse, screening, classifier)
    words = [word.strip() for word in asked.split(",") if word.strip()]
    if len(words) == 1 and browse.state_of_schema() == "current":
        try:
            return _of_screening(browse, screenings.find(browse, words[0]), classifier)
        except StoreError:
            pass  # then it is a word
    if not words:
        raise InputError("names no words", field="concepts", value=asked, remedy="list words")
    return [Concept(word, (word,)) for word in words], "words of the command"


def _names(classifier: str) -> set[str]:
    """Return the names under which a screening may list a classifier."""
    return {classifier, full_spec(classifier)}


def _newest(browse: Any, classifier: str) -> str | None:
    if browse.state_of_schema() != "current":
        return None
    for one in screenings.listed(browse):
        if one["state"] == "done" and _names(classifier) & set(one["classifiers"]):
            return str(one["id"])
    return None


def _of_screening(browse: Any, screening_id: str, classifier: str) -> tuple[list[Concept], str]:
    """Return the concepts that raise or lower the class of a screening, strongest first."""
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
    concepts = concepts_of(members[0]["findings"], load_pool(page["pool"]))
    if not concepts:
        raise InputError(
            f"screening {screening_id} found nothing that {classifier} depends on",
            field="concepts",
            value=screening_id,
            remedy="name words to slice by: --concepts water,snow",
        )
    return concepts, f"screening {screening_id}, class {page['class_name']}"
