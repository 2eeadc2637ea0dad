"""The request of a screening: classifiers, concepts, bank and an estimate; checked, then queued."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dexter.classifiers import require_one_class
from dexter.config import RunConfig, fields_of
from dexter.errors import InputError, MissingInput
from dexter.reasoning.settings import ScreenSettings
from dexter_tui import field_flags
from dexter_tui.analysis.study_request import reachable
from dexter_tui.formatting import duration

if TYPE_CHECKING:
    from dexter.reasoning.topic import Topic
    from dexter.screening.concepts import Pool
    from dexter.screening.design import Round
    from dexter.screening.screen import Settings
    from dexter_tui.jobs.submit import Checked
    from store import Store
    from store.tables import Bank

MOST = 64
"""Classifiers of one request, which are in memory together."""
PICTURES = 800
PER_WORDING = 4
"""Pictures for each wording of a large pool, unless a user says how many."""
START_SECONDS = 4.0
"""The start of a worker and the loading of small models."""


@dataclass(frozen=True)
class ScreenRequest:
    """A screening as a user asks for it."""

    classifiers: Sequence[str]
    class_name: str
    settings: ScreenSettings
    pool: str | None = None
    """The name of a pool or a file; None for the pool that fits the generator."""
    values: Mapping[str, object] = field(default_factory=dict)
    """Settings of the models, as of a run."""
    agreed: frozenset[str] = frozenset()
    """The fields to whose code the user agrees; see `trust.agreed_by`."""


class Concepts(NamedTuple):
    """A pool, and the text that it was read from if it is a user's."""

    pool: "Pool"
    text: str | None

    @property
    def digest(self) -> str:
        """SHA-256 of concepts and grammar, whatever the pool is called."""
        return self.pool.content_hash


@dataclass(frozen=True)
class Prepared:
    """A checked screening, about to be queued."""

    members: "Sequence[Checked]"
    names: Sequence[str]
    topic: "Topic"
    concepts: Concepts
    settings: ScreenSettings
    """With the number of pictures."""
    bank_key: str

    @property
    def config(self) -> RunConfig:
        """The configuration that the generator is loaded by."""
        return self.members[0].config


class Queued(NamedTuple):
    """A queued screening."""

    screening_id: str
    job_id: str
    run_ids: Sequence[str]
    """The searches that it waits for"""


class Outlook(NamedTuple):
    """The expected work of a screening."""

    planned: int
    """Pictures of the rounds that the bank has, within the budget."""
    missing: int
    """Those of them that are still to be drawn."""
    budget: int
    looking: int
    """Classifiers that lack answers."""
    seconds: float
    """If every picture of the budget is drawn."""

    def line(self) -> str:
        """Return it as a sentence."""
        more = self.budget - self.planned
        if not self.planned:
            drawing = f"up to {self.budget} pictures to draw"
        else:
            drawing = f"{self.missing} of {self.planned} pictures to draw"
            drawing += f" (up to {more} more while concepts stay open)" if more else ""
        who = "1 classifier" if self.looking == 1 else f"{self.looking} classifiers"
        return f"{drawing}; {who} to look: about {_time(self.seconds)}"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else duration(seconds)


def load_concepts(source: str | None, generator: str) -> Concepts:
    """Read a pool by name or file; by default the one that fits the generator."""
    from dexter.loading import read_text
    from dexter.screening.concepts import LAB, SHIPPED, load_pool, parse_pool

    if source is None:
        source = LAB if generator == "lab" else SHIPPED
    if source in (LAB, SHIPPED):
        return Concepts(load_pool(source), None)
    path = Path(source).expanduser()
    try:
        text = read_text(path, field="concepts")
    except InputError as error:
        error.remedy = f"pass a YAML file, or --pool {LAB} or {SHIPPED}"
        raise
    return Concepts(parse_pool(text, path.name), text)


def stored_concepts(bank: "Bank") -> Concepts:
    """Return the pool of a bank; InputError if this version ships another of its name."""
    from dexter.screening.concepts import stored_pool

    pool = stored_pool(bank.pool, bank.pool_text, bank.pool_hash)
    return Concepts(pool, bank.pool_text)


def topic_of(
    members: "Sequence[tuple[Sequence[str], int, RunConfig]]", settings: ScreenSettings
) -> "Topic":
    """Return the topic of members, each with the classifier's labels and the index of its class."""
    from dexter.reasoning.differences import shared_topic
    from dexter.reasoning.topic import world_of

    configs = [config for _, _, config in members]
    return shared_topic(
        [(labels, index) for labels, index, _ in members],
        world=world_of(configs[0].generator),
        core=settings.core,
        multi_label=all(config.multi_label for config in configs),
    )


def bank_key(config: RunConfig, concepts: Concepts, topic: "Topic", seed: int, home: Path) -> str:
    """Return a digest of all that determines the pictures of a bank."""
    from dexter.planning.identity import identities
    from dexter_tui.analysis.bench import digest

    # A home that is not there yet, or was removed, is not made for a cache.
    models = identities(config, cache=home / "hashes.json" if home.is_dir() else None)
    parts = [
        {name: models.get(name) for name in fields_of("generator", model=True)},
        config.model_dump(mode="json", include=set(fields_of(picture=True))),
        concepts.digest,
        [topic.class_name.lower(), topic.subjects, topic.rivals, sorted(topic.names)],
        seed,
    ]
    return digest(json.dumps(parts, sort_keys=True))


def engine_settings(settings: ScreenSettings) -> "Settings":
    """Return the settings of the engine."""
    from dexter.screening.screen import Settings

    return Settings(
        pictures=settings.pictures or PICTURES,
        min_effect=settings.min_effect,
        seed=settings.design_seed,
    )


def prepare(
    request: ScreenRequest, home: Path, warn: Callable[[str], None] = lambda line: None
) -> Prepared:
    """Check a request; InputError, also where consent is missing, for one that cannot be done."""
    [prepared] = prepare_all([request], home, warn)
    return prepared


def prepare_all(
    requests: Sequence[ScreenRequest],
    home: Path,
    warn: Callable[[str], None] = lambda line: None,
) -> list[Prepared]:
    """Check requests with one consent together, so that each classifier is tried once."""
    from dexter_tui.jobs import submit

    configs = [_configs(request) for request in requests]
    concepts = [
        load_concepts(request.pool, own[0].generator)
        for request, own in zip(requests, configs, strict=True)
    ]
    flat = [config for own in configs for config in own]
    checked = submit.check(flat, home, warn=warn, agreed=requests[0].agreed, search=False)
    prepared = []
    for request, pool, own in zip(requests, concepts, configs, strict=True):
        prepared.append(_prepared(request, pool, checked[: len(own)], home))
        if core := prepared[-1].topic.defaults():
            warn(core)
        checked = checked[len(own) :]
    return prepared


def _configs(request: ScreenRequest) -> list[RunConfig]:
    """Return the configuration of each classifier."""
    names = list(request.classifiers)
    if not names:
        raise MissingInput("classifier")
    if len(names) > MOST:
        raise InputError(f"{len(names)} given; screen up to {MOST} at once", field="classifier")
    doubles = [name for name in names if names.count(name) > 1]
    if doubles:
        raise InputError("is given twice", field="classifier", value=doubles[0])
    return [
        field_flags.configs(
            None, [0], {**request.values, "classifier": name, "class_name": request.class_name}
        )[0]
        for name in names
    ]


def _prepared(
    request: ScreenRequest, concepts: Concepts, checked: "Sequence[Checked]", home: Path
) -> Prepared:
    """Return a screening of checked classifiers; InputError for settings that do not fit."""
    from dexter.screening.design import Design
    from dexter.screening.screen import check

    require_one_class({one.info.spec: one.info.labels[one.class_index] for one in checked})
    first = checked[0].config
    settings = reachable(request.settings)
    topic = topic_of([(one.info.labels, one.class_index, one.config) for one in checked], settings)
    design = Design(concepts.pool, topic, seed=settings.design_seed)
    if settings.pictures is None:
        wanted = max(PICTURES, PER_WORDING * design.columns)
        settings = settings.model_copy(update={"pictures": wanted})
    check(engine_settings(settings), design)
    key = bank_key(first, concepts, topic, settings.design_seed, home)
    return Prepared(checked, list(request.classifiers), topic, concepts, settings, key)


def within(rounds: "Sequence[Mapping[str, Any]]", pictures: int) -> "list[Round]":
    """Return the rounds of a bank as far as a budget reaches; a cut round has the same prompts."""
    from dexter.screening.design import Round

    return [
        Round(part["start"], min(part["count"], pictures - part["start"]), part["weights"])
        for part in rounds
        if part["start"] < pictures
    ]


def outlook(store: "Store", prepared: Prepared) -> Outlook:
    """Estimate the work of a screening from what its bank holds."""
    from dexter.planning.estimate import estimate
    from dexter.screening.design import Design
    from store import screening_records, study_records

    budget = prepared.settings.pictures or PICTURES
    bank = screening_records.bank(store, prepared.bank_key)
    rounds = within(bank.rounds if bank is not None else [], budget)
    planned = sum(part.count for part in rounds)
    requests: set[tuple[str, int]] = set()
    there: set[tuple[str, int]] = set()
    looking = len(prepared.members)
    if bank is not None and bank.generator is not None and rounds:
        design: Design = Design(
            prepared.concepts.pool, prepared.topic, seed=prepared.settings.design_seed
        )
        requests = {cell.request for part in rounds for cell in design.cells(part)}
        prompts = {prompt for prompt, _ in requests}
        there = requests & set(study_records.known_pictures(store, bank.generator, prompts))
        keys = [
            f"{bank.generator}/{one.info.answers_key}/{one.class_index}" for one in prepared.members
        ]
        looking = sum(
            bool(requests - set(screening_records.answers(store, key, prompts))) for key in keys
        )
    missing = len(requests) - len(there)
    to_draw = missing + budget - planned
    pace = bank.pace if bank is not None else None
    formula = estimate(prepared.config).seconds_per_picture
    look_pace = screening_records.look_pace(store, prepared.bank_key)
    seconds = START_SECONDS + to_draw * (formula if pace is None else pace)
    seconds += looking * budget * (look_pace if look_pace is not None else formula / 20)
    return Outlook(planned, missing, budget, looking, seconds)


def request_screening(
    store: "Store",
    prepared: Prepared,
    *,
    searches: "Sequence[Checked]" = (),
) -> Queued:
    """Queue a checked screening, unless the same one is under way.

    ``searches`` are queued before it, and the words that they find are tested on pairs, too.
    """
    from dexter_tui.analysis.bench import digest
    from dexter_tui.jobs import submit
    from store import run_queue
    from store.states import Kind

    parts = [
        prepared.bank_key,
        prepared.settings.model_dump(mode="json"),
        _members(store, prepared),
        [one.config.model_dump(mode="json") for one in searches],
    ]
    asked = {"asked": digest(json.dumps(parts, sort_keys=True))}
    job = run_queue.under_way(store, Kind.SCREENING, asked)
    if job is not None and job.screening_id is not None:
        return Queued(job.screening_id, job.id, job.depends_on)
    run_ids = submit.add(store, searches)
    screening_id = add(store, prepared)
    job_id = queue(store, screening_id, prepared.config, prepared.settings, run_ids, asked)
    return Queued(screening_id, job_id, run_ids)


def add(store: "Store", prepared: Prepared, *, watch: Mapping[str, Any] | None = None) -> str:
    """Record a screening without a job; return its id."""
    from store import screening_records

    ensure_bank(store, prepared)
    return screening_records.add_screening(
        store,
        prepared.bank_key,
        prepared.topic.class_name,
        prepared.settings.model_dump(mode="json"),
        _members(store, prepared),
        watch=watch,
    )


def _members(store: "Store", prepared: Prepared) -> list[dict[str, Any]]:
    """Return the columns of the classifiers of a screening."""
    return [
        member_row(store, name, one)
        for name, one in zip(prepared.names, prepared.members, strict=True)
    ]


def ensure_bank(store: "Store", prepared: Prepared) -> None:
    """Record the bank unless it is there."""
    from dexter.reasoning.topic import to_json
    from store import screening_records

    screening_records.ensure_bank(
        store,
        prepared.bank_key,
        pool=prepared.concepts.pool.name,
        pool_text=prepared.concepts.text,
        pool_hash=prepared.concepts.digest,
        topic=to_json(prepared.topic),
        seed=prepared.settings.design_seed,
    )


def member_row(store: "Store", name: str, checked: "Checked") -> dict[str, Any]:
    """Return the columns of a classifier in a screening."""
    info = checked.info
    return {
        "name": name,
        "classifier_id": store.ensure_classifier(
            info.spec, info.weights_hash, info.labels, info.image_size
        ),
        "class_index": checked.class_index,
        "config": checked.config.model_dump(mode="json"),
    }


def queue(
    store: "Store",
    screening_id: str,
    config: RunConfig,
    settings: ScreenSettings,
    searches: Sequence[str] = (),
    asked: Mapping[str, Any] | None = None,
) -> str:
    """Queue the job of a screening; return its id. `asked`: as for `run_queue.under_way`."""
    from dexter_tui.jobs import submit
    from store import run_queue
    from store.states import Kind

    device = config.device if settings.device == "auto" else settings.device
    submit.check_device(device)
    return run_queue.add_job(
        store,
        Kind.SCREENING,
        asked or {},
        config=config.model_dump(mode="json"),
        device=device,
        screening_id=screening_id,
        depends_on=searches,
    )
