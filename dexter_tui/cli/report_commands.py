"""Starts the reasoning about studies and asks questions; the commands `report` and `probe`.

Nothing here loads torch: `dexter_tui.analysis.study_worker` does the work, in its own process.
"""

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.reasoning.settings import ReportSettings
from dexter_tui import EXIT_REFUSED, field_flags, paths

if TYPE_CHECKING:
    from store import Store

STAGES = ("captions", "claims", "attribution", "scores", "report")
POLL_SECONDS = 0.7
LINE_SECONDS = 5.0


def study_lock(store: "Store", study_id: str) -> Path:
    """Held by the process that reasons about a study, for as long as it lives."""
    return store.home / "locks" / f"study-{study_id}.lock"


def study_log(store: "Store", study_id: str) -> Path:
    """What that process has to say."""
    folder = store.home / "logs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"study-{study_id}.log"


def is_reporting(store: "Store", study_id: str) -> bool:
    """Whether a process reasons about the study now."""
    from store.locks import is_locked

    return is_locked(study_lock(store, study_id))


def start_report(
    store: "Store", study_id: str, settings: "ReportSettings"
) -> subprocess.Popen[bytes]:
    """Start the reasoning about a study, in a session of its own.

    StoreError where it has no finished run, or is being reasoned about already; InputError for a
    key file that is not safe.
    """
    from dexter_tui.jobs.launch import worker_environment
    from store import State, StoreError

    if not store.runs(study_id=study_id, states=[State.SUCCEEDED], limit=1):
        raise StoreError(f"study {study_id} has no finished run yet; nothing to report on")
    if is_reporting(store, study_id):
        raise StoreError(f"study {study_id}: a report is being made already")
    if settings.key_file is not None:
        from dexter.reasoning.chat import read_key

        read_key(Path(settings.key_file).expanduser())
    with study_log(store, study_id).open("ab") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "dexter_tui.analysis.study_worker"),
                *(study_id, settings.model_dump_json()),
            ],
            env=worker_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def follow(
    store: "Store",
    study_id: str,
    process: subprocess.Popen[bytes],
    tell: Callable[[str], None],
) -> int:
    """Tell how far the reasoning is until its process ends; its exit code. Ctrl-C ends it."""
    from store import study_records

    began = time.monotonic()
    told: dict[str, tuple[str, float]] = {}
    begun_at: dict[str, float] = {}
    while True:
        try:
            ended = process.poll() is not None
            for stage in study_records.stages(store, study_id):
                before = told.get(stage.name, ("waiting", 0.0))
                now = time.monotonic()
                begun_at.setdefault(stage.name, now) if stage.state == "running" else None
                changed = stage.state != before[0]
                if stage.state == "waiting" or not (
                    changed or (stage.state == "running" and now - before[1] >= LINE_SECONDS)
                ):
                    continue
                told[stage.name] = (stage.state, now)
                spent = now - begun_at.get(stage.name, began)
                tell(_stage_line(stage, spent))
            if ended:
                return process.returncode
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            tell("ending")
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def _stage_line(stage: Any, spent: float) -> str:
    """ "claims: running, 640 of 1800, 0:25 left"."""
    from dexter_tui.presentation.run_tables import duration

    line = f"{stage.name}: {stage.state}"
    if stage.total and stage.state == "running":
        line += f", {stage.done} of {stage.total}"
        if stage.done:
            line += f", {duration(spent * (stage.total - stage.done) / stage.done)} left at most"
    return f"{line}: {stage.error}" if stage.error else line


@dataclass(frozen=True)
class Question:
    """What a user asks of a classifier. config: of a run that would search this class."""

    text: str
    against: str | None
    config: dict[str, Any]
    class_index: int
    settings: dict[str, Any] = field(default_factory=dict)


def ask(question: Question) -> dict[str, Any]:
    """The answer, as `findings.probe_json` gives it; progress goes to standard error.

    InputError for what is refused, RuntimeError where the process failed.
    """
    from dexter_tui.jobs.launch import worker_environment

    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "dexter_tui.analysis.study_worker"),
            *("--probe", json.dumps(asdict(question))),
        ],
        env=worker_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None and process.stdout is not None
    last = ""
    for line in process.stderr:
        last = line.strip() or last
        if " pictures" in line or line.startswith("against: "):
            print(f"dexter-tui: {last}", file=sys.stderr, flush=True)
    out = process.stdout.read()
    code = process.wait()
    if code == EXIT_REFUSED:
        raise InputError(last)
    if code:
        raise RuntimeError(last or f"the process ended with {code}")
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer


# Commands

# Fields of RunConfig that say which models a question is asked of.
_MODEL_FIELDS = {
    "classifier", "class_name", "labels", "trust_pickle", "arch", "normalization",
    "classifier_input", "generator", "lora", "scheduler", "diffusion_steps", "guidance",
    "image_size", "padding", "masked_lm", "device", "dtype",
}  # fmt: skip
_PROBE_FIELDS = {"image_text", "core", "min_effect", "placebos"}
# What `run --report` can be told; `report` takes all.
RUN_FIELDS = {"vlm", "llm", "base_url", "key_file", "core", "concepts"}


def register(app: typer.Typer) -> None:
    """Add the commands to the application's."""
    _add_parameters(
        report, field_flags.parameters(ReportSettings, set(ReportSettings.model_fields))
    )
    _add_parameters(
        probe,
        [
            *field_flags.parameters(RunConfig, _MODEL_FIELDS),
            *field_flags.parameters(ReportSettings, _PROBE_FIELDS),
        ],
    )
    app.command()(report)
    app.command()(probe)


def _add_parameters(command: Callable[..., Any], more: list[inspect.Parameter]) -> None:
    own = inspect.signature(command)
    command.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[*(p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD), *more]
    )


def settings_of(values: Mapping[str, object], names: Collection[str]) -> ReportSettings:
    """The report settings among a command's values. InputError, naming the flag, for a bad one."""
    own = {name: value for name, value in values.items() if name in names}
    return ReportSettings.from_values(field_flags.given(own, ReportSettings))


def report(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="its id, or a beginning of it")],
    *,
    detach: Annotated[
        bool, typer.Option("--detach", help="start it, and do not wait for it")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="one JSON value on standard output")
    ] = False,
    **values: object,
) -> int:
    """Caption the frames of a study, test what they and the words suggest, and write it up.

    Ctrl-C ends it; what it found so far stays, and the next report goes on from there.
    """
    from store import Store

    settings = settings_of(values, ReportSettings.model_fields)
    with Store.open(paths.home()) as store:
        store.reconcile()
        return make_report(store, store.study(study).id, settings, as_json=as_json, detach=detach)


def make_report(
    store: "Store",
    study_id: str,
    settings: ReportSettings,
    *,
    as_json: bool,
    detach: bool = False,
) -> int:
    """Have the report made, and print it; the exit code."""
    from rich.console import Console

    from dexter_tui.presentation import run_tables, study_tables

    process = start_report(store, study_id, settings)
    code = 0
    if not detach:
        code = follow(store, study_id, process, _say)
        if code == EXIT_REFUSED:
            lines = study_log(store, study_id).read_text(errors="replace").splitlines()
            raise InputError(lines[-1] if lines else "the report was refused")
    study = store.study(study_id)
    if as_json:
        runs = store.runs(study_id=study_id)[::-1]
        value = run_tables.study_json(study, runs) | study_tables.study_json(store, study)
        print(json.dumps(value, ensure_ascii=False, indent=2))
    elif detach:
        print(study_id)
    else:
        view = study_tables.study_view(store, study)
        if view is not None:
            Console(highlight=False).print(view)
    return code


def probe(
    text: Annotated[str, typer.Argument(help='what to draw, such as "a duck at night"')],
    *,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="what to compare it with  [default: the part that names a subject, else the "
            "class's base prompt]",
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="settings to start from")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="one JSON value on standard output")
    ] = False,
    **values: object,
) -> None:
    """Ask a question of your own: what does it do to the probability of the class?"""
    from rich.console import Console

    from dexter_tui.jobs import control
    from dexter_tui.presentation import study_tables

    if not text.strip() or (against is not None and not against.strip()):
        raise InputError("say what to draw, such as 'a duck at night'")
    of_run = {name: value for name, value in values.items() if name in _MODEL_FIELDS}
    [config] = field_flags.configs(preset, [0], of_run)
    settings = settings_of(values, _PROBE_FIELDS)
    [checked] = control.check([config], paths.home(), warn=_say)
    answer = ask(
        Question(
            text=" ".join(text.split()),
            against=None if against is None else " ".join(against.split()),
            config=checked.config.model_dump(mode="json"),
            class_index=checked.class_index,
            settings=settings.model_dump(mode="json"),
        )
    )
    if as_json:
        print(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        Console(highlight=False).print(study_tables.probe_view(answer))


def _say(line: str) -> None:
    from dexter_tui.presentation.run_tables import clean

    print(clean(f"dexter-tui: {line}"), file=sys.stderr, flush=True)
