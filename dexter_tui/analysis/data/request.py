"""The request of a report on labelled pictures: checked without torch, then queued."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dexter.classifiers import full_spec
from dexter.config import RunConfig, fields_of
from dexter.data.settings import DataSettings, DebiasSettings, SlicesSettings
from dexter.errors import InputError
from dexter_tui import field_flags, paths
from store.errors import StoreError
from store.reading import screenings
from store.reading.browse import Browse
from store.reading.card import loading_flags
from store.states import Kind

if TYPE_CHECKING:
    from dexter.data.folder import DataSet
    from dexter.data.slices import Concept
    from dexter_tui.jobs.submit import Checked
    from store import Store

FIELDS = [
    *(n for n in fields_of("classifier") if n not in ("classifier", "trust_pickle")),
    "generator",
    "masked_lm",
    "device",
    "dtype",
]
"""The settings of a run that say how its classifier, and the models of its searches, are loaded."""
SETTINGS: Mapping[Kind, type[DataSettings]] = {
    Kind.SLICES: SlicesSettings,
    Kind.DEBIAS: DebiasSettings,
}
_LISTED = 12  # labels in an error
WORDS = "words of the command"
SEARCHES = "words of searches"


@dataclass(frozen=True)
class DataRequest:
    """A report on labelled pictures as a user asks for it.

    concepts: words with commas, or a screening; None for the newest screening of the classifier.
    mapping: DATA=LABEL for labels of the data. values: settings of the classifier, as of a run.
    agreed: the fields to whose code the user agrees; see `trust.agreed_by`.
    """

    kind: Kind
    classifier: str
    data: str
    settings: DataSettings
    concepts: str | None = None
    mapping: Sequence[str] = ()
    values: Mapping[str, object] = field(default_factory=dict)
    agreed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Prepared:
    """A checked report, about to be queued. asked: its request as it is stored."""

    kind: Kind
    checked: "Checked"
    data: "DataSet"
    asked: dict[str, Any]


class Queued(NamedTuple):
    """A queued report."""

    report_id: str
    job_id: str


def prepare(
    request: DataRequest,
    home: Path,
    warn: Callable[[str], None] = lambda line: None,
    read: "Callable[..., DataSet] | None" = None,
) -> Prepared:
    """Check a request; raise InputError, also where consent is missing, for what is wrong.

    read: reads the data, as `read_data` does.
    """
    from dexter.data.folder import class_indices, read_data
    from dexter.planning.preflight import check_sources
    from dexter_tui.jobs import submit, trust

    submit.check_home(home)
    overrides = {**paths.settings(), **field_flags.given(request.values)}
    known = {name: overrides[name] for name in (*FIELDS, "trust_pickle") if name in overrides}
    config = RunConfig.from_preset("quick", classifier=request.classifier, class_name="0", **known)
    trust.require([submit.with_full_paths(config)], request.agreed)
    settings = request.settings
    if settings.image_text not in ("lab", "generator"):  # the job refuses the second
        model = paths.full(settings.image_text, "image_text")
        check_sources([("image_text", model)])
        settings = settings.model_copy(update={"image_text": model})
    data = (read or read_data)(request.data, label=settings.label_column, size=settings.size)
    group = getattr(settings, "group", None)
    if group is not None and group not in data.columns:
        raise InputError(
            f"{group!r} is not a column of groups",
            field="group",
            value=group,
            remedy=f"choose from {', '.join(data.columns)}" if data.columns else "omit it",
        )
    if settings.searches and request.concepts:
        raise InputError(
            "the words come from --searches or from --concepts, not from both",
            field="concepts",
            value=request.concepts,
            remedy="omit one",
        )
    concepts: list[Concept] = []  # of searches, the job finds them
    origin: str = SEARCHES
    screening: str | None = None
    if not settings.searches:
        concepts, origin, screening = _concepts(home, request.concepts, config, settings.image_text)
    [checked] = submit.described([config], home, agreed=request.agreed, warn=warn, constant=True)
    mapping = _mapping(request.mapping)
    for value in mapping:
        if value not in data.labels:
            raise InputError(
                f"{value!r} is no label of the data",
                field="map",
                value=value,
                remedy=f"choose from {', '.join(data.labels[:_LISTED])}",
            )
    classes = class_indices(data.labels, checked.info.labels, mapping)
    if request.kind is Kind.DEBIAS and len(set(classes.values())) < 2:
        raise InputError(
            f"{data.name} has pictures of one class alone, among which there is nothing to choose",
            field="data",
            value=request.data,
            remedy="add pictures of another class",
        )
    _check_splits(request.kind, settings, data)
    source = request.data
    if not source.startswith("lab:"):
        source = str(Path(source).expanduser().absolute())
    loaded = checked.config.model_dump(mode="json")
    given = [name for name in FIELDS if request.values.get(name) is not None]
    asked = {
        "data": source,
        "mapping": mapping,
        "models": {name: loaded[name] for name in given},
        "concepts": [asdict(one) for one in concepts],
        "origin": origin,
        "screening": screening,
        "settings": settings.model_dump(mode="json"),
    }
    return Prepared(request.kind, checked, data, asked)


def _check_splits(kind: Kind, settings: DataSettings, data: "DataSet") -> None:
    """Raise InputError for a split or package that is not there."""
    from dexter.data.baselines import require_sliceline

    if isinstance(settings, SlicesSettings):
        data.of_split(settings.split)
        if settings.patterns:
            require_sliceline()
    elif isinstance(settings, DebiasSettings):
        if settings.select == "true-groups" and settings.group is None:
            raise InputError(
                "choosing by true groups needs their column",
                field="select",
                remedy="name it with --group",
            )
        if any(item.split for item in data.items):
            data.of_split(fit_split(settings), "fit_split")
            data.of_split(settings.test_split, "test_split")
            if settings.weights == "all":
                data.of_split(settings.choose_split, "choose_split")
            return
        for name in ("fit_split", "choose_split", "test_split"):
            split = getattr(settings, name)
            if split != DebiasSettings.model_fields[name].default:
                data.of_split(split, name)


def fit_split(settings: DebiasSettings) -> str:
    """Return the split that is fitted."""
    return settings.fit_split or ("train" if settings.weights == "all" else "validation")


def outlook(prepared: Prepared) -> str:
    """Return the expected work in a line."""
    count = len(prepared.data.items)
    line = f"{count:,} {'picture' if count == 1 else 'pictures'} of {prepared.data.name}"
    settings = settings_of(prepared.kind, prepared.asked)
    if settings.searches:
        line += f"; {len(prepared.data.labels) * settings.searches} searches"
    if isinstance(settings, DebiasSettings):
        if settings.weights == "all":
            methods = 3 + (settings.group is not None)
            line += f"; {methods * settings.seeds} trainings of {settings.steps} steps"
        else:
            line += f"; last layers of {settings.seeds} seeds"
    return line


def settings_of(kind: Kind, asked: Mapping[str, Any]) -> DataSettings:
    """Return the settings of a stored request; raise InputError for what is none."""
    return SETTINGS[kind].from_values(dict(asked.get("settings") or {}))


def request_report(store: "Store", prepared: Prepared) -> Queued:
    """Queue a checked report."""
    return queue_report(
        store,
        prepared.kind,
        prepared.checked,
        data=prepared.data.name,
        data_hash=prepared.data.digest(),
        asked=prepared.asked,
    )


def queue_report(
    store: "Store",
    kind: Kind,
    checked: "Checked",
    *,
    data: str,
    data_hash: str,
    asked: Mapping[str, Any],
    judge: Mapping[str, Any] | None = None,
    screening_id: str | None = None,
) -> Queued:
    """Record a report on pictures and queue its job.

    data, data_hash, asked: columns of `store.tables.DataReport`. judge: settings of an endpoint,
    which needs consent when the job is queued again. screening_id: of a screening that the job
    makes first.
    """
    from dexter_tui.jobs import submit
    from store import run_queue
    from store.data_reports import records

    info, config = checked.info, checked.config
    submit.check_device(config.device)
    classifier = store.ensure_classifier(info.spec, info.weights_hash, info.labels, info.image_size)
    report_id = records.add(
        store,
        kind.value,
        classifier_id=classifier,
        data=data,
        data_hash=data_hash,
        request=asked,
    )
    job_id = run_queue.add_job(
        store,
        kind,
        {"data_report": report_id, **(judge or {})},
        config=config.model_dump(mode="json"),
        device=config.device,
        screening_id=screening_id,
    )
    records.set_job(store, report_id, job_id)
    return Queued(report_id, job_id)


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


def _concepts(
    home: Path, asked: str | None, config: RunConfig, image_text: str
) -> "tuple[list[Concept], str, str | None]":
    """Return the concepts, a line that says where they are from, and the screening they are of."""
    from dexter.data.concepts import concepts_of_words
    from dexter.screening.concepts import LAB, SHIPPED, load_pool

    browse, classifier = Browse(home), config.classifier
    if asked is None:
        screening = _newest(browse, classifier)
        if screening is None:
            flags = loading_flags(config.model_dump(mode="json"))
            raise InputError(
                "there is no screening of this classifier yet",
                field="concepts",
                remedy="name words, or screen it first: dexter-tui screen --classifier "
                f"{shlex.quote(classifier)} --class LABEL {flags}".rstrip(),
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
    pool = load_pool(LAB if image_text == LAB else SHIPPED)
    return concepts_of_words(words, pool), WORDS, None


def _names(classifier: str) -> set[str]:
    """Return the names under which a screening may list a classifier."""
    return {classifier, full_spec(classifier)}


def _newest(browse: Browse, classifier: str) -> str | None:
    if browse.state_of_schema() != "current":
        return None
    for one in screenings.listed(browse):
        if one["state"] == "done" and _names(classifier) & set(one["classifiers"]):
            return str(one["id"])
    return None


def _of_screening(
    browse: Browse, screening_id: str, classifier: str
) -> "tuple[list[Concept], str, str | None]":
    """Return the concepts that a screening found to matter to its class, strongest first."""
    from dexter.data.concepts import concepts_of
    from dexter_tui.analysis.screening_request import stored_concepts
    from store import Store, screening_records

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
    with Store.open(browse.home, read_only=True) as store:
        bank = screening_records.bank_of(store, page["id"])
    concepts = concepts_of(members[0]["findings"], stored_concepts(bank).pool)
    if not concepts:
        raise InputError(
            f"screening {screening_id} found nothing that {classifier} depends on",
            field="concepts",
            value=screening_id,
            remedy="name words to slice by: --concepts water,snow",
        )
    return concepts, f"screening {screening_id}, class {page['class_name']}", screening_id
