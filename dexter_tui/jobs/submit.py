"""The one way into the queue: checks configurations without torch and queues their runs."""

import json
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from dexter.classifiers import ClassifierInfo, class_index, full_spec
from dexter.classifiers.options import ANSWERS, same_weights
from dexter.config import RunConfig, fields_of
from dexter.errors import InputError
from dexter.generator_presets import GENERATORS
from dexter.planning.estimate import estimate
from dexter.planning.identity import identities
from dexter.planning.preflight import check_models
from dexter_tui import paths
from dexter_tui.formatting import duration, size
from dexter_tui.jobs import trust
from dexter_tui.jobs.describe import describe, with_subject
from dexter_tui.machine import devices, doctor
from store import State, Store, StoreError, screening_records

_ESTIMATE_ERROR = 1.1  # of the memory that a run needs, by formula


def check_home(home: Path) -> None:
    """Raise InputError for a home that cannot be written or has no room for results."""
    for finding in (doctor.check_home(home), doctor.check_space(home)):
        if finding.status == "error":
            raise InputError(finding.detail, remedy=finding.remedy or None)


def check_machine(config: RunConfig, home: Path) -> list[doctor.Finding]:
    """Make the doctor's checks that the run needs; return the findings worth a warning.

    Raises InputError for what would make the run fail.
    """
    check_home(home)
    downloads = check_models(config)
    estimate(config)  # it reads the models' descriptions, and refuses folders without any
    warnings = [doctor.Finding("download", "note", download.line(), "") for download in downloads]
    if config.device != "cpu":
        driver = doctor.read_driver()
        finding = doctor.check_driver(driver, doctor.torch_cuda())
        if config.device.startswith("cuda") and finding.status != "ok":
            raise InputError(
                finding.detail, field="device", value=config.device, remedy=finding.remedy or None
            )
        if finding.status in ("warning", "error"):
            warnings.append(finding)
        if driver is not None:
            warnings += [f for f in [doctor.check_gpus(driver, os.environ)] if f.remedy]
    return warnings


def with_full_paths(config: RunConfig) -> RunConfig:
    """Return files by their full path, so that workers, and `resume` from elsewhere, find them."""
    found: dict[str, str] = {}
    for name in (*fields_of(model=True), "labels"):
        value = getattr(config, name)
        if value is not None and value != "lab":
            found[name] = paths.full(value, name)
    found["classifier"] = full_spec(config.classifier)
    return config.model_copy(update=found)


def with_names(config: RunConfig, info: ClassifierInfo, index: int) -> RunConfig:
    """Return the classifier by its full path, and the class ``index`` by its label.

    One study then has one name, whether a user wrote Waterbird, waterbird or 0. Without gradients
    of the classifier it is a search by scores alone. Labels that were found not to exclude each
    other are stated.
    """
    if not info.gradients:
        config = config.by_scores()
    label = info.labels[index]
    names: dict[str, object] = {
        "classifier": info.spec,
        # Of two classes with one name, the index says which is meant.
        "class_name": label if info.labels.count(label) == 1 else str(index),
    }
    if info.multi_label:
        names["multi_label"] = True
    return with_subject(config.model_copy(update=names), info.labels, index)


def expectation(store: Store, config: RunConfig, study_id: str) -> str:
    """Return in a line what a run will take: as an earlier run of the study took, or by formula."""
    earlier = store.runs(study_id=study_id, states=[State.SUCCEEDED], limit=1)
    if earlier:
        paces = [step.seconds for step in store.steps(earlier[0].id) if step.seconds is not None]
        expected = estimate(
            config,
            measured_peak=earlier[0].peak_memory_bytes,
            measured_seconds=sum(paces) / len(paces) if paces else None,
        )
    else:
        expected = estimate(config)
    return (
        f"a run takes up to {duration(expected.total_seconds)} and {size(expected.peak_bytes)} "
        f"({f'as {earlier[0].id} took' if earlier else 'by formula'})"
    )


class Checked(NamedTuple):
    """A configuration that can be run, with full paths and names, and its classifier."""

    config: RunConfig
    info: ClassifierInfo
    class_index: int

    @property
    def study(self) -> str:
        """The same for all seeds of one study."""
        return json.dumps([self.config.study_settings(), self.config.device], sort_keys=True)


def require_generator(configs: Iterable[RunConfig]) -> None:
    """Raise InputError for a classifier of the user's whose generator is not named.

    The default generator is the lab's toy. It draws 64-pixel flat art, on which a result for a
    classifier of photographs means little.
    """
    for config in configs:
        if not config.classifier.startswith("lab:") and not config.names_generator:
            raise InputError(
                f"{config.classifier} needs a named generator",
                field="generator",
                remedy="pass --generator sd14-lcm (a search also needs --masked-lm "
                "google-bert/bert-base-uncased), or --generator lab for a try with the lab's "
                "64-pixel toy",
            )


def check(
    configs: Sequence[RunConfig],
    home: Path,
    *,
    warn: Callable[[str], None] = lambda line: None,
    agreed: Collection[str] = (),
    search: bool = True,
    elsewhere: bool = False,
) -> list[Checked]:
    """Check the configurations without torch. InputError for one that cannot be run.

    Warnings go to `warn`, a line each. `agreed`: the fields to whose code the user agrees, see
    `trust.agreed_by`. `search`: whether the work is a search, which tries the prompt and refuses a
    constant classifier; other work only draws and looks. `elsewhere`: whether it will run at
    another place, whose devices and memory are not checked.
    """
    full = [with_full_paths(config) for config in configs]
    trust.require(full, agreed)
    check_machine_for(full, home, warn=warn, elsewhere=elsewhere)
    checked = described(full, home, agreed=agreed, warn=warn, prompt=search, constant=not search)
    require_generator(one.config for one in checked)
    checked = [
        one._replace(config=with_effects(one.config, one.info, one.class_index, home))
        for one in checked
    ]
    memory = {} if elsewhere else {_key(one.config, _STUDY): one.config for one in checked}
    for config in memory.values():
        check_memory(config if search else config.by_scores())
    if search:
        for spec in dict.fromkeys(
            one.config.classifier for one in checked if not one.info.gradients
        ):
            warn(f"{spec} has no gradient: the search uses its scores alone")
    return checked


def with_effects(config: RunConfig, info: ClassifierInfo, index: int, home: Path) -> RunConfig:
    """Return the settings with the effects of words by their screening, if they name one.

    The run then needs the store no more, wherever it is done. Raises InputError for a screening
    that does not exist, has not ended, or is of another classifier, class or version of its pool.
    """
    from dexter.screening.concepts import stored_pool
    from dexter.screening.word_effects import word_effects

    name = config.screening
    if name is None:
        return config

    def refuse(problem: str) -> InputError:
        remedy = "pass a screening of this classifier and class that has ended"
        return InputError(problem, field="screening", value=name, remedy=remedy)

    if not (home / "store.sqlite").exists():
        raise refuse(f"{home} has no store, so no screening {name!r}")
    with Store.open(home) as store:
        try:
            screening = screening_records.screening(store, name)
            bank = screening_records.bank_of(store, screening.id)
        except StoreError as error:
            raise refuse(str(error)) from error
        own = [
            member
            for member in screening_records.screened(store, screening.id)
            if member.classifier.weights_hash == info.weights_hash and member.class_index == index
        ]
        if not own:
            raise refuse(f"{screening.id} is not of {info.spec} and {info.labels[index]}")
        found = screening_records.findings(store, screening.id).get(own[-1].id)
    if found is None:
        raise refuse(f"{screening.id} has not ended")
    member, rows = found
    try:
        pool = stored_pool(bank.pool, bank.pool_text, bank.pool_hash)
    except InputError as error:
        raise refuse(f"{screening.id}: {error.problem}") from error
    columns = ("slot", "concept", "log_odds", "log_odds_low", "log_odds_high")
    intervals = [tuple(row[column] for column in columns) for row in rows]
    effects = word_effects(pool, intervals, member.level or 0.95)
    return config.model_copy(update={"screening": screening.id, "word_effects": effects})


def described(
    configs: Sequence[RunConfig],
    home: Path,
    *,
    agreed: Collection[str] = (),
    warn: Callable[[str], None] = lambda line: None,
    prompt: bool = False,
    constant: bool = False,
) -> list[Checked]:
    """Return the configurations with their classifiers. InputError for an unusable classifier.

    `home`: of the store, which may know a server. `prompt`: whether the prompt and the masked LM
    are tried, too. `constant`: whether a classifier that answers all pictures alike can be used.
    """
    full = [with_full_paths(config) for config in configs]
    trust.require(full, agreed)
    infos: dict[str, ClassifierInfo] = {}
    lines: dict[str, None] = {}
    checked = []
    for config in full:
        tried = _key(config, _TRIED)
        if tried not in infos:
            info = describe(config, prompt=prompt, constant=constant)
            info = infos[tried] = _as_known(info, home)
            if info.recognised and not info.spec.startswith("lab:"):  # the lab's are known
                lines[f"{info.spec}: {info.recognised}"] = None
        info = infos[tried]
        index = class_index(info.labels, config.class_name)
        if info.constant:
            lines[f"{info.spec} answers all pictures of a trial alike; check its weights"] = None
        checked.append(Checked(with_names(config, info, index), info, index))
    for line in lines:
        warn(line)
    return checked


def _as_known(info: ClassifierInfo, home: Path) -> ClassifierInfo:
    """Return the description of a server with the hash by which the store knows its answers."""
    if not str(info.weights_hash).startswith(ANSWERS) or not (home / "store.sqlite").exists():
        return info
    with Store.open(home, read_only=True) as store:
        hashes = store.weights_hashes(info.spec)
    known = next((one for one in hashes if same_weights(one, info.weights_hash)), None)
    return info if known is None else info.known_as(known)


def check_machine_for(
    configs: Iterable[RunConfig],
    home: Path,
    *,
    warn: Callable[[str], None] = lambda line: None,
    elsewhere: bool = False,
) -> None:
    """Check that this machine can run each study. InputError if not; `warn` gets warnings.

    `elsewhere`: whether they will run at another place, and on no device of this machine.
    """
    lines: dict[str, None] = {}
    for config in {_key(config, _STUDY): config for config in configs}.values():
        if elsewhere:
            config = config.model_copy(update={"device": "cpu"})
        check_device(config.device)
        for finding in check_machine(config, home):
            lines[f"{finding.detail}; {finding.remedy}"] = None
    for line in lines:
        warn(line)


_STUDY = frozenset({*fields_of(study=True), "device"})
# The fields that a trial before queueing depends on.
_TRIED = frozenset(
    {
        *fields_of("classifier", "prompt", "masked LM"),
        "generator",
        "direction",
        "dtype",
        "features",
        "n_features",
    }
)


def _key(config: RunConfig, names: frozenset[str]) -> str:
    by_class = config.exclude_class_name or config.direction == "lower"
    own = set(names) | ({"class_name"} if by_class else set())
    return json.dumps(config.model_dump(mode="json", include=own), sort_keys=True)


def enqueue(
    store: Store,
    configs: Sequence[RunConfig],
    priority: int = 0,
    *,
    agreed: Collection[str] = (),
) -> list[str]:
    """Check the configurations and queue a run for each, study by study; return their ids.

    Nothing is queued if one is refused. Call `ensure_runners` to have the runs done.
    """
    return add(store, check(configs, store.home, agreed=agreed), priority)


def _add_study(
    store: Store,
    configs: Sequence[RunConfig],
    info: ClassifierInfo,
    index: int,
    *,
    priority: int = 0,
    place: str | None = None,
) -> list[str]:
    """Write the study of class ``index`` and its runs, one a configuration; return their ids."""
    classifier = store.ensure_classifier(info.spec, info.weights_hash, info.labels, info.image_size)
    # A name stays when the weights behind it change; the study must be another then.
    weights = identities(configs[0], cache=store.home / "hashes.json")
    settings = {**configs[0].study_settings(), "weights": weights}
    if info.recognised:
        settings["recognised"] = info.recognised
    study = store.ensure_study(classifier, info.labels[index], index, settings)
    runs = [(config.seed, config.model_dump(mode="json")) for config in configs]
    return store.add_runs(study, runs, priority=priority, place=place)


def add(
    store: Store, checked: Sequence[Checked], priority: int = 0, *, place: str | None = None
) -> list[str]:
    """Queue a run for each checked configuration, study by study; return their ids.

    `place`: a place of config.toml at which they are to run; None for this machine.
    """
    studies: dict[str, list[int]] = {}
    for number, one in enumerate(checked):
        studies.setdefault(one.study, []).append(number)
    run_ids: dict[int, str] = {}
    for numbers in studies.values():
        _, info, index = checked[numbers[0]]
        of_study = [checked[number].config for number in numbers]
        ids = _add_study(store, of_study, info, index, priority=priority, place=place)
        run_ids.update(zip(numbers, ids, strict=True))
    return [run_ids[number] for number in range(len(checked))]


def check_memory(config: RunConfig) -> None:
    """Raise InputError for a run that needs more memory than any device that it asks for has.

    Where the size of the generator is not known, nothing is refused.
    """
    named = {preset.generator for preset in GENERATORS.values()}
    if config.generator not in named and not Path(config.generator).is_dir():
        return
    device = max(
        (slot.device for slot in devices.slots() if config.device in slot.accepts),
        key=lambda device: device.total_bytes,
    )
    kind = "cpu" if device.index is None else "cuda"
    needed = estimate(config, budget=device.total_bytes, device=kind).peak_bytes
    if needed > _ESTIMATE_ERROR * device.total_bytes:
        raise InputError(
            f"{config.generator} needs {size(needed)} of memory by formula, and {device.name} has "
            f"{size(device.total_bytes)}",
            field="generator",
            value=config.generator,
            remedy="pass a smaller --image-size"
            + (", or --dtype bfloat16" if config.dtype == "float32" else ""),
        )


def check_device(device: str) -> None:
    """Raise InputError for a device that no slot of this machine stands for."""
    slots = devices.slots()
    if not any(device in slot.accepts for slot in slots):
        there = sorted(set().union(*(slot.accepts for slot in slots)))
        raise InputError(
            f"this machine has no {device}",
            field="device",
            value=device,
            remedy=f"choose from {', '.join(there)}",
        )
