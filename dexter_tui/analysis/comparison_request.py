"""The request of a comparison: its members, what they lack, and its record."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dexter.classifiers import require_one_class
from dexter.config import RunConfig, fields_of
from dexter.errors import InputError
from dexter.reasoning.settings import CompareSettings
from dexter_tui import field_flags
from dexter_tui.analysis.study_request import reachable

if TYPE_CHECKING:
    from dexter_tui.jobs.submit import Checked
    from store import Store
    from store.tables import Study

MOST = 8


@dataclass
class Side:
    """A classifier, asked about one class: its study, or what to search or load it by."""

    name: str
    checked: "Checked | None"
    study: "Study | None"
    config: RunConfig | None = None


@dataclass(frozen=True)
class Request:
    """A comparison as a user asks for it."""

    names: Sequence[str]
    settings: CompareSettings
    classes: Sequence[str] = ()
    baseline: str | None = None
    run_missing: bool = False
    seeds: int = 3
    preset: str | None = None
    values: Mapping[str, object] = field(default_factory=dict)
    """The settings that its studies must have, and those of the runs that are missing."""
    typed: frozenset[str] = frozenset()
    """The fields to whose code a user agreed by typing the names; see `trust.agreed_by`."""
    agreed: frozenset[str] = frozenset()
    """The same for all members, stored studies included."""


class Requested(NamedTuple):
    """A queued comparison, and the runs that it waits for."""

    comparison_id: str
    job_id: str
    run_ids: list[str]


def _sides(
    store: "Store",
    names: Sequence[str],
    classes: Sequence[str],
    preset: str | None,
    values: Mapping[str, object],
    warn: Callable[[str], None],
    agreed: Collection[str],
) -> list[list[Side]]:
    """Return the sides of each class, in the order of the names."""
    if not 2 <= len(names) <= MOST:
        raise InputError(f"{len(names)} given", remedy=f"name 2 to {MOST} classifiers or studies")
    stored = {study.id for study in store.studies()}
    specs = [name for name in names if name not in stored and _is_classifier(name)]
    studies = {name: store.study(name) for name in names if name not in specs}
    wanted = list(classes) or list(dict.fromkeys(s.class_name for s in studies.values()))
    if not wanted:
        raise InputError("say which class to compare them on", field="class_name")
    if studies and not specs and not classes and len(wanted) > 1:
        raise InputError(f"these studies are of different classes: {', '.join(wanted)}")
    found: dict[str, list[Side]] = {}
    for class_name in wanted:
        sides = []
        for name in names:
            if name in studies:
                study = studies[name]
                if study.class_name.lower() != class_name.lower():
                    raise InputError(
                        f"study {study.id} is of {study.class_name}, not of {class_name}"
                    )
                sides.append(Side("", None, study, _config_of(store, study)))
            else:
                sides.append(_side(store, name, class_name, preset, values, warn, agreed))
        require_one_class({name: _label(side) for name, side in zip(names, sides, strict=True)})
        label = _label(sides[0])
        if label not in found:
            found[label] = sides
    for sides in found.values():
        _give_names(sides)
    return list(found.values())


def _is_classifier(name: str) -> bool:
    """Return whether a name is of a classifier, also a path or hub id alone, and not of a study."""
    return ":" in name or "/" in name or Path(name).exists()


def _side(
    store: "Store",
    spec: str,
    class_name: str,
    preset: str | None,
    values: Mapping[str, object],
    warn: Callable[[str], None],
    agreed: Collection[str],
) -> Side:
    """Return a classifier's side, with its newest finished study that has the settings given."""
    from dexter_tui.jobs import submit
    from store import State

    own = {**values, "classifier": spec, "class_name": class_name}
    [config] = field_flags.configs(preset, [0], own)
    [checked] = submit.described([config], store.home, agreed=agreed)
    submit.check_machine_for([checked.config], store.home, warn=warn)
    overrides = _settings_given(preset, values, checked.config)
    runs = store.runs(
        classifier=checked.info.spec,
        class_name=checked.info.labels[checked.class_index],
        states=[State.SUCCEEDED],
    )
    for run in runs:
        settings = run.study.settings
        fits = (
            run.study.classifier.weights_hash == checked.info.weights_hash
            and settings.get("direction", "raise") == checked.config.direction
            and settings.get("search", "words") == checked.config.search
            and all(settings.get(k) == v for k, v in overrides.items())
        )
        if fits:
            searched = RunConfig.model_validate(run.config)
            # Where it was searched does not matter to a user who says where to compare.
            device = searched.device if values.get("device") is None else checked.config.device
            return Side(spec, checked, run.study, searched.model_copy(update={"device": device}))
    return Side(spec, checked, None)


def _settings_given(
    preset: str | None, values: Mapping[str, object], config: RunConfig
) -> dict[str, object]:
    """Return the settings that a study must have because the user said so."""
    settings = config.study_settings()
    if preset is not None:
        return settings
    return {k: settings[k] for k, v in values.items() if v is not None and k in settings}


def _config_of(store: "Store", study: "Study") -> RunConfig:
    from store import State

    runs = store.runs(study_id=study.id, states=[State.SUCCEEDED], limit=1)
    if not runs:
        raise InputError(f"study {study.id} has no finished run yet; nothing to compare")
    return RunConfig.model_validate(runs[0].config)


def _label(side: Side) -> str:
    if side.study is not None:
        return side.study.class_name
    assert side.checked is not None
    return side.checked.info.labels[side.checked.class_index]


def _give_names(sides: Sequence[Side]) -> None:
    """Name each by its classifier; where that is not enough, with its study."""
    specs = [s.study.classifier.spec if s.study else s.name for s in sides]
    for side, spec in zip(sides, specs, strict=True):
        side.name = spec
        if specs.count(spec) > 1 and side.study is not None:
            side.name = f"{spec} ({side.study.id})"
    if len({side.name for side in sides}) < len(sides):
        raise InputError(
            "the same classifier is given twice", remedy="name two of its studies instead"
        )


def _check_baseline(baseline: str | None, classes: Sequence[Sequence[Side]]) -> None:
    names = [side.name for side in classes[0]]
    if baseline is not None and baseline not in names:
        raise InputError(
            f"{baseline!r} is none of {', '.join(names)}", field="baseline", value=baseline
        )


def _lacking(classes: Sequence[Sequence[Side]]) -> list[tuple[Side, Sequence[Side]]]:
    """Return the sides without a study, each with those beside it."""
    return [(side, sides) for sides in classes for side in sides if side.study is None]


def _refuse_lacking(lacking: Sequence[tuple[Side, Sequence[Side]]]) -> None:
    for side, _ in lacking:
        raise InputError(
            f"{side.name} has no finished study of {_label(side)}",
            remedy="--run-missing searches first, or --concepts names what to test",
        )


def _config_to_search(
    side: Side, sides: Sequence[Side], preset: str | None, values: Mapping[str, object]
) -> RunConfig:
    """As the user says; else as another side was searched, so that they can be compared."""
    assert side.checked is not None
    own = side.checked.config
    other = next((s.config for s in sides if s.study is not None and s.config is not None), None)
    if preset is not None or other is None or any(v is not None for v in values.values()):
        return own
    names = fields_of("classifier", "class")
    return other.model_copy(update={name: getattr(own, name) for name in names})


def _add(
    store: "Store",
    classes: Sequence[Sequence[Side]],
    settings: CompareSettings,
    baseline: str | None,
    depends_on: Sequence[str],
    asked: Mapping[str, Any],
) -> "Requested":
    """Record a comparison and queue its job."""
    from store import comparison_records, run_queue
    from store.states import Kind

    members: list[dict[str, Any]] = []
    for sides in classes:
        label = _label(sides[0])
        for position, side in enumerate(sides):
            if side.study is not None:
                classifier_id, index = side.study.classifier_id, side.study.class_index
            else:
                assert side.checked is not None
                info, index = side.checked.info, side.checked.class_index
                classifier_id = store.ensure_classifier(
                    info.spec, info.weights_hash, info.labels, info.image_size
                )
            config = side.config if side.study is not None else None
            if config is None:
                assert side.checked is not None
                config = side.checked.config
            members.append(
                {
                    "class_name": label,
                    "position": position,
                    "name": side.name,
                    "classifier_id": classifier_id,
                    "class_index": index,
                    "study_id": side.study.id if side.study is not None else None,
                    "config": config.model_dump(mode="json"),
                }
            )
    first: dict[str, Any] = members[0]["config"]
    comparison_id = comparison_records.add_comparison(
        store, settings.model_dump(mode="json"), members, baseline=baseline
    )
    job_id = run_queue.add_job(
        store,
        Kind.COMPARISON,
        asked,
        config=first,
        device=_device(classes, settings),
        comparison_id=comparison_id,
        depends_on=depends_on,
    )
    return Requested(comparison_id, job_id, list(depends_on))


def _device(classes: Sequence[Sequence[Side]], settings: CompareSettings) -> str:
    """Return the device asked for: that of the settings, or of the first side."""
    side = classes[0][0]
    config = side.config if side.study is not None else None
    if config is None and side.checked is not None:
        config = side.checked.config
    return config.device if config is not None and settings.device == "auto" else settings.device


def checked_sides(
    store: "Store", request: Request, warn: Callable[[str], None] = lambda line: None
) -> list[list[Side]]:
    """Return the sides for each class; InputError if they cannot be compared."""
    from dexter_tui.jobs import submit, trust

    sides = _sides(
        store,
        request.names,
        request.classes,
        request.preset,
        request.values,
        warn,
        request.typed | request.agreed,
    )
    members = [side.config for of_class in sides for side in of_class if side.config is not None]
    trust.require(members, request.agreed)
    _check_baseline(request.baseline, sides)
    lacking = _lacking(sides)
    if not request.run_missing and not request.settings.concepts:
        _refuse_lacking(lacking)
    submit.require_generator(_config_of_lacking(request, *one) for one in lacking)
    return sides


def _config_of_lacking(request: Request, side: Side, beside: Sequence[Side]) -> RunConfig:
    """Return the configuration that a side without a study is searched or loaded by."""
    assert side.checked is not None
    if not request.run_missing:
        return side.checked.config
    return _config_to_search(side, beside, request.preset, request.values)


def runs_missing(request: Request, sides: Sequence[Sequence[Side]]) -> int:
    """Return the number of runs that are made first."""
    return len(_lacking(sides)) * request.seeds if request.run_missing else 0


def request_comparison(
    store: "Store", request: Request, warn: Callable[[str], None] = lambda line: None
) -> Requested:
    """Queue a comparison, and before it the runs that it lacks, unless the same is under way."""
    from dexter_tui.jobs import submit
    from store import run_queue
    from store.states import Kind

    sides = checked_sides(store, request, warn)
    settings = reachable(request.settings)
    submit.check_device(_device(sides, settings))
    asked = {"asked": _digest(request, settings, sides)}
    job = run_queue.under_way(store, Kind.COMPARISON, asked)
    if job is not None and job.comparison_id is not None:
        return Requested(job.comparison_id, job.id, job.depends_on)
    lacking = _lacking(sides) if request.run_missing else []
    configs = [
        _config_to_search(side, beside, request.preset, request.values).model_copy(
            update={"seed": seed}
        )
        for side, beside in lacking
        for seed in range(request.seeds)
    ]
    run_ids = submit.enqueue(store, configs, agreed=request.agreed) if configs else []
    for number, (side, _) in enumerate(lacking):
        run = store.run(run_ids[number * request.seeds])
        side.study = run.study
        side.config = RunConfig.model_validate(run.config)
    return _add(store, sides, settings, request.baseline, run_ids, asked)


def _digest(request: Request, settings: CompareSettings, sides: Sequence[Sequence[Side]]) -> str:
    """Return a digest of what a user asked for, and of all that it stands for here and now."""
    from dexter_tui.analysis.bench import digest

    parts: list[Any] = [
        [request.names, request.baseline, request.preset, request.values],
        request.run_missing and request.seeds,
        settings.model_dump(mode="json"),
    ]
    for side in (side for of_class in sides for side in of_class):
        # The first runs of the same request may have ended, and have made its study.
        if side.study is not None and not (request.run_missing and side.checked):
            parts.append(side.study.id)
        if side.checked is not None:
            parts += [side.checked.info.weights_hash, side.checked.config.model_dump(mode="json")]
    return digest(json.dumps(parts, sort_keys=True, default=str))
