"""The command `compare`: who is compared, what is missing, and the process that compares.

Nothing here loads torch: `dexter_tui.analysis.comparison_worker` does the work, in its own process.
"""

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dexter.config import PRESETS, RunConfig
from dexter.errors import InputError
from dexter.reasoning.settings import CompareSettings
from dexter_tui import EXIT_FAILED, EXIT_REFUSED, field_flags, paths

if TYPE_CHECKING:
    from dexter_tui.jobs.control import Checked
    from store import Store
    from store.tables import Study

FIELDS = ("concepts", "candidates", "pairs", "core", "min_effect", "placebos", "image_text")
MOST = 8
POLL_SECONDS = 0.5
LINE_SECONDS = 5.0
_OF_CLASSIFIER = ("classifier", "class_name", "labels", "arch", "normalization",
                  "classifier_input", "trust_pickle")  # fmt: skip


@dataclass
class Side:
    """A classifier, asked about one class: its study, or what to search or load it by."""

    name: str
    checked: "Checked | None"
    study: "Study | None"
    config: RunConfig | None = None


@dataclass(frozen=True)
class Request:
    """A comparison that is started and not waited for; as the options of the command."""

    names: Sequence[str]
    settings: CompareSettings
    classes: Sequence[str] = ()
    baseline: str | None = None
    run_missing: bool = False
    seeds: int = 3
    preset: str | None = None


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    own = inspect.signature(compare)
    compare.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[
            *(p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD),
            *field_flags.parameters(CompareSettings, FIELDS),
            *(
                p
                for p in field_flags.run_parameters()
                if p.name not in ("classifier", "class_name")
            ),
        ]
    )
    app.command()(compare)


def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="two to eight classifiers, as for `run --classifier`, or studies; or the id of "
            "a stored comparison; none: the stored comparisons",
        ),
    ] = None,
    *,
    class_name: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="TEXT", help="a label or index; may be repeated"),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="NAME", help="hold the others against this one")
    ] = None,
    run_missing: Annotated[
        bool, typer.Option("--run-missing", help="first search where there is no finished study")
    ] = False,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="seeds of such searches")
    ] = 3,
    jobs: Annotated[int | None, typer.Option(min=1, help="runs at the same time")] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"settings of such searches: {', '.join(PRESETS)}"),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="start it, and do not wait")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="one JSON value on standard output")
    ] = False,
    **values: object,
) -> int:
    """Test the same claims on several classifiers, on the same pictures; show where they differ.

    Without --concepts, each classifier's newest finished study of the class proposes them. Further
    options are the settings that a study must have, and those of searches with --run-missing.
    Ctrl-C ends it; the pictures drawn so far stay.
    """
    from store import Store

    given = list(dict.fromkeys(names or ()))
    if len(given) == 1 and _is_comparison(given[0]):
        return _show_stored(given[0], baseline, as_json=as_json)
    if not given:
        return _list_stored(as_json=as_json)
    asked = {name: values[name] for name in FIELDS if name in values}
    settings = field_flags.given({**asked, **_both(values)}, CompareSettings)
    checked_settings = CompareSettings.from_values(settings)
    run_values = {k: v for k, v in values.items() if k in RunConfig.model_fields}
    with Store.open(paths.home()) as store:
        store.reconcile()
        sides = _sides(store, given, class_name or [], preset, run_values, _say)
        _check_baseline(baseline, sides)
        code = _search(
            store, sides, run_values, preset, seeds, jobs,
            missing=run_missing, needed=not checked_settings.concepts,
        )  # fmt: skip
        if code:
            return code
        comparison_id = _add(store, sides, checked_settings, baseline)
        process = start(store, comparison_id)
        if detach:
            print(json.dumps({"id": comparison_id}) if as_json else comparison_id)
            return 0
        code = follow(store, comparison_id, process)
    if code:
        return code
    return _show_stored(comparison_id, None, as_json=as_json)


def _both(values: Mapping[str, object]) -> dict[str, object]:
    """Flags that a search and a comparison share."""
    return {name: values.get(name) for name in ("score_images", "device")}


def _is_comparison(name: str) -> bool:
    return name.startswith("c") and ":" not in name


def _sides(
    store: "Store",
    names: Sequence[str],
    classes: Sequence[str],
    preset: str | None,
    values: Mapping[str, object],
    warn: Callable[[str], None],
) -> list[list[Side]]:
    """For each class, its sides in the order of the names."""
    if not 2 <= len(names) <= MOST:
        raise InputError(f"{len(names)} given; compare two to {MOST} classifiers or studies")
    studies = {name: store.study(name) for name in names if ":" not in name}
    specs = [name for name in names if ":" in name]
    wanted = list(classes) or list(dict.fromkeys(s.class_name for s in studies.values()))
    if not wanted:
        raise InputError("say which class to compare them on, with --class")
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
                sides.append(_side(store, name, class_name, preset, values, warn))
        label = _label(sides[0])
        if label not in found:
            found[label] = sides
    for sides in found.values():
        _give_names(sides)
    return list(found.values())


def _side(
    store: "Store",
    spec: str,
    class_name: str,
    preset: str | None,
    values: Mapping[str, object],
    warn: Callable[[str], None],
) -> Side:
    """A classifier's side, with its newest finished study that has the settings given."""
    from dexter_tui.jobs import control
    from store import State

    own = {**values, "classifier": spec, "class_name": class_name}
    [config] = field_flags.configs(preset, [0], own)
    [checked] = control.check([config], store.home, warn=warn)
    overrides = _settings_given(preset, values, checked.config)
    runs = store.runs(
        classifier=checked.info.spec,
        class_name=checked.info.labels[checked.class_index],
        states=[State.SUCCEEDED],
    )
    for run in runs:
        settings = run.study.settings
        same_weights = run.study.classifier.weights_hash == checked.info.weights_hash
        if same_weights and all(settings.get(k) == v for k, v in overrides.items()):
            return Side(spec, checked, run.study, RunConfig.model_validate(run.config))
    return Side(spec, checked, None)


def _settings_given(
    preset: str | None, values: Mapping[str, object], config: RunConfig
) -> dict[str, object]:
    """The settings that a study must have because the user said so."""
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
    """Each by its classifier; where that is not enough, with its study."""
    specs = [s.study.classifier.spec if s.study else s.name for s in sides]
    for side, spec in zip(sides, specs, strict=True):
        side.name = spec
        if specs.count(spec) > 1 and side.study is not None:
            side.name = f"{spec} ({side.study.id})"
    if len({side.name for side in sides}) < len(sides):
        raise InputError("the same classifier is given twice; name two of its studies instead")


def _check_baseline(baseline: str | None, classes: Sequence[Sequence[Side]]) -> None:
    names = [side.name for side in classes[0]]
    if baseline is not None and baseline not in names:
        raise InputError(f"--baseline: {baseline!r} is none of {', '.join(names)}")


# Searches that are missing


def _search(
    store: "Store",
    classes: Sequence[Sequence[Side]],
    values: Mapping[str, object],
    preset: str | None,
    seeds: int,
    jobs: int | None,
    *,
    missing: bool,
    needed: bool,
) -> int:
    """Have the searches made that are missing; the exit code."""
    from rich.console import Console

    from dexter_tui.cli.live_progress import watch
    from dexter_tui.jobs import control
    from dexter_tui.jobs.team import Team

    lacking = _lacking(classes)
    if not missing and needed:
        _refuse_lacking(lacking)
    if not lacking or not missing:
        return 0
    configs = [
        _config_to_search(side, sides, preset, values).model_copy(update={"seed": seed})
        for side, sides in lacking
        for seed in range(seeds)
    ]
    _say(f"searches first: {len(configs)} runs")
    run_ids = control.enqueue(store, configs)
    team = Team(store, run_ids, jobs)
    team.start()
    watch(team, Console(file=sys.stderr, highlight=False))
    for number, (side, _) in enumerate(lacking):
        run = store.run(run_ids[number * seeds])
        side.study = run.study
        side.config = RunConfig.model_validate(run.config)
    for error in dict.fromkeys(run.error for run in team.runs() if run.error):
        _say(error)
    return team.exit_code()


def _lacking(classes: Sequence[Sequence[Side]]) -> list[tuple[Side, Sequence[Side]]]:
    """The sides without a study, each with those beside it."""
    return [(side, sides) for sides in classes for side in sides if side.study is None]


def _refuse_lacking(lacking: Sequence[tuple[Side, Sequence[Side]]]) -> None:
    for side, _ in lacking:
        raise InputError(
            f"{side.name} has no finished study of {_label(side)}; --run-missing searches "
            "first, or --concepts names what to test"
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
    return other.model_copy(update={name: getattr(own, name) for name in _OF_CLASSIFIER})


# The comparison


def _add(
    store: "Store",
    classes: Sequence[Sequence[Side]],
    settings: CompareSettings,
    baseline: str | None,
) -> str:
    from store import comparison_records

    members = []
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
    return comparison_records.add_comparison(
        store, settings.model_dump(mode="json"), members, baseline=baseline
    )


def look(store: "Store", request: Request) -> tuple[list[list[Side]], int]:
    """The sides for each class, and how many runs would be made first. InputError if it cannot be.

    Nothing is started.
    """
    sides = _sides(
        store, request.names, request.classes, request.preset, {}, warn=lambda line: None
    )
    _check_baseline(request.baseline, sides)
    lacking = _lacking(sides)
    if not request.run_missing:
        if not request.settings.concepts:
            _refuse_lacking(lacking)
        return sides, 0
    return sides, len(lacking) * request.seeds


def start_comparison(store: "Store", request: Request) -> str | None:
    """Compare in a process of its own; the comparison's id, None if searches come first."""
    sides, missing = look(store, request)
    if not missing:
        comparison_id = _add(store, sides, request.settings, request.baseline)
        start(store, comparison_id)
        return comparison_id
    # The command itself: it searches, waits for that, and then compares.
    _detached(_command(request), _logs(store) / "compare.log")
    return None


def _command(request: Request) -> list[str]:
    """The command line that does what is asked."""
    argv = ["dexter_tui", "compare", *request.names, "--run-missing", "--seeds", f"{request.seeds}"]
    for label in request.classes:
        argv += ["--class", label]
    for option, value in (("--baseline", request.baseline), ("--preset", request.preset)):
        argv += [option, value] if value is not None else []
    for name, value in request.settings.model_dump(exclude_defaults=True).items():
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        argv += [field_flags.flag(name), text]
    return argv


def _logs(store: "Store") -> Path:
    folder = store.home / "logs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def log_file(store: "Store", comparison_id: str) -> Path:
    """What the process that compares has to say."""
    return _logs(store) / f"comparison-{comparison_id}.log"


def start(store: "Store", comparison_id: str) -> subprocess.Popen[bytes]:
    """Start the process that compares, in a session of its own."""
    return _detached(
        ["dexter_tui.analysis.comparison_worker", comparison_id], log_file(store, comparison_id)
    )


def _detached(module: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """A module with its arguments, in a session of its own."""
    from dexter_tui.jobs.launch import worker_environment

    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", *module],
            env=worker_environment(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def follow(store: "Store", comparison_id: str, process: subprocess.Popen[bytes]) -> int:
    """Tell how far it is until its process ends; its exit code. Ctrl-C ends it."""
    from dexter_tui.presentation.run_tables import duration
    from store import comparison_records

    began = time.monotonic()
    told_at, told = began, ""
    while True:
        try:
            ended = process.poll() is not None
            row = comparison_records.comparison(store, comparison_id)
            stage = row.stage or ""
            now = time.monotonic()
            if row.state == "running" and (stage != told or now - told_at >= LINE_SECONDS):
                if stage != told:
                    began = now
                line = f"{stage}: {row.done} of {row.total} pictures" if row.total else stage
                if row.done and stage == told:
                    left = (now - began) * (row.total - row.done) / row.done
                    line += f", {duration(left)} left"
                told_at, told = now, stage
                _say(line)
            if ended:
                break
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            _say("ending")
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
    lines = log_file(store, comparison_id).read_text(errors="replace").splitlines()
    for line in lines[1:]:
        if "nothing tells whether" in line or (row.state == "done" and line.startswith("note: ")):
            _say(line)
    if process.returncode:
        told = row.error or (lines[-1] if lines else f"ended with {process.returncode}")
        if process.returncode == EXIT_REFUSED:
            raise InputError(told)
        _say(told)
        return EXIT_FAILED
    return 0


# Stored ones


def _show_stored(name: str, baseline: str | None, *, as_json: bool) -> int:
    from rich.console import Console

    from dexter_tui.presentation.comparison_tables import comparison_view
    from store import Store, comparison_records
    from store.reading import comparisons
    from store.reading.browse import Browse

    home = paths.home()
    if not (home / "store.sqlite").exists():
        raise InputError(f"{home}: no store here yet; start a run, or set DEXTER_HOME")
    with Store.open(home) as store:
        comparison_id = comparison_records.comparison(store, name).id
        if baseline is not None:
            comparison_records.set_baseline(store, comparison_id, baseline)
    page = comparisons.page(Browse(home), comparison_id)
    if as_json:
        print(json.dumps(page, ensure_ascii=False, indent=2))
    else:
        Console(highlight=False).print(comparison_view(page))
    return 0


def _list_stored(*, as_json: bool) -> int:
    from rich.console import Console

    from dexter_tui.presentation.comparison_tables import comparisons_view
    from store.reading import comparisons
    from store.reading.browse import Browse

    found = comparisons.listed(Browse(paths.home()))
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    elif found:
        Console(highlight=False).print(comparisons_view(found))
    else:
        _say("no comparisons; dexter-tui compare lab:birds-biased lab:birds-balanced "
             "--class waterbird --run-missing")  # fmt: skip
    return 0


def _say(line: str) -> None:
    from dexter_tui.presentation.run_tables import clean

    print(clean(f"dexter-tui: {line}"), file=sys.stderr, flush=True)
