"""Starts the reasoning about studies and asks questions; the commands `report` and `probe`.

Nothing here loads torch: `dexter_tui.analysis.study_worker` does the work, in its own process.
"""

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dexter.config import RunConfig, fields_of
from dexter.errors import InputError
from dexter.reasoning.settings import ReportSettings
from dexter_tui import EXIT_REFUSED, field_flags, paths
from dexter_tui.analysis.study_process import Question, ask, follow, start_report, study_log
from dexter_tui.cli.output import say

if TYPE_CHECKING:
    from store import Store


# Commands

# Fields of RunConfig that say which models a question is asked of.
_MODEL_FIELDS = fields_of("classifier", "class", "masked LM", "generator", "machine")
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
        code = follow(store, study_id, process, say)
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

    from dexter_tui.jobs import submit
    from dexter_tui.presentation import study_tables

    if not text.strip() or (against is not None and not against.strip()):
        raise InputError("say what to draw, such as 'a duck at night'")
    of_run = {name: value for name, value in values.items() if name in _MODEL_FIELDS}
    [config] = field_flags.configs(preset, [0], of_run)
    settings = settings_of(values, _PROBE_FIELDS)
    [checked] = submit.check([config], paths.home(), warn=say)
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
