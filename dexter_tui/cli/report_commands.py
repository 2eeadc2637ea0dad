"""The commands `report` and `probe`: they queue a job, follow it, and print what it found."""

import sys
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from dexter.config import RunConfig, fields_of
from dexter.reasoning.settings import ReportSettings
from dexter_tui import field_flags, paths
from dexter_tui.analysis.study_request import request_probe, request_report
from dexter_tui.cli.listing import completion
from dexter_tui.cli.output import (
    Detach,
    Json,
    TrustCode,
    TrustEndpoint,
    TrustPickle,
    print_json,
    print_text,
    print_view,
    say,
)

if TYPE_CHECKING:
    from store import Store


# Commands

# Fields of RunConfig that say which models a question is asked of.
_MODEL_FIELDS = fields_of("classifier", "class", "masked LM", "generator", "machine")
_PROBE_FIELDS = {"image_text", "core", "min_effect", "placebos"}
# The settings that `run --report` takes; `report` takes all.
RUN_FIELDS = {"vlm", "llm", "base_url", "key_file", "core", "concepts"}


def register(app: typer.Typer) -> None:
    """Add the commands to the application's."""
    app.command()(field_flags.accepts(report, (ReportSettings, ReportSettings.model_fields)))
    flags = (RunConfig, _MODEL_FIELDS), (ReportSettings, _PROBE_FIELDS)
    app.command()(field_flags.accepts(probe, *flags))


def settings_of(values: Mapping[str, object], names: Collection[str]) -> ReportSettings:
    """Return the report settings among a command's values; InputError for a bad one."""
    own = {name: value for name, value in values.items() if name in names}
    return ReportSettings.from_values(field_flags.given(own, ReportSettings))


def report(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="its id or a unique prefix", autocompletion=completion.studies
        ),
    ],
    *,
    detach: Detach = False,
    as_json: Json = False,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = False,
    trust_endpoint: TrustEndpoint = False,
    **values: object,
) -> int:
    """Caption a study's frames, test the claims, write the report.

    Ctrl-C cancels it; what it found so far stays, and the next report continues from there.
    """
    from dexter_tui.jobs import trust
    from store import Store, run_queue

    settings = settings_of(values, ReportSettings.model_fields)
    agreed = trust.agreed_by(values, code=trust_code, pickle=trust_pickle, endpoint=trust_endpoint)
    with Store.open(paths.home()) as store:
        run_queue.reconcile(store)
        study_id = store.study(study).id
        return make_report(store, study_id, settings, as_json=as_json, detach=detach, agreed=agreed)


def make_report(
    store: "Store",
    study_id: str,
    settings: ReportSettings,
    *,
    as_json: bool,
    detach: bool = False,
    agreed: Collection[str] = (),
) -> int:
    """Have the report made, and print it; return the exit code."""
    from dexter_tui.cli.live_progress import follow
    from dexter_tui.presentation import run_tables, study_tables

    code = follow(store, request_report(store, study_id, settings, agreed=agreed), detach=detach)
    study = store.study(study_id)
    if as_json:
        runs = store.runs(study_id=study_id)[::-1]
        value = run_tables.study_json(study, runs) | study_tables.study_json(store, study)
        print_json(value)
    elif detach:
        print_text(study_id)
    else:
        print_view(study_tables.study_view(store, study, pictures=sys.stdout.isatty()))
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
    as_json: Json = False,
    trust_code: TrustCode = False,
    trust_endpoint: TrustEndpoint = False,
    **values: object,
) -> int:
    """Test one question of your own on a classifier."""
    from dexter_tui.cli.live_progress import follow
    from dexter_tui.jobs import submit, trust
    from dexter_tui.presentation import study_tables
    from store import Store, run_queue, study_records

    of_run = {name: value for name, value in values.items() if name in _MODEL_FIELDS}
    [config] = field_flags.configs(preset, [0], of_run)
    settings = settings_of(values, _PROBE_FIELDS)
    agreed = trust.agreed_by(of_run, code=trust_code, endpoint=trust_endpoint)
    [checked] = submit.check([config], paths.home(), warn=say, agreed=agreed, search=False)
    with Store.open(paths.home()) as store:
        run_queue.reconcile(store)
        job_id = request_probe(store, text, against=against, checked=checked, settings=settings)
        code = follow(store, job_id)
        result = store.job(job_id).result
        if code or result is None:
            return code
        asked, claim = study_records.probe(store, result["probe"])
        pairs = study_records.evidence(store, [claim.id])[claim.id]
        answer = study_tables.probe_json(asked, claim, pairs)
    if as_json:
        print_json(answer)
    else:
        print_view(study_tables.probe_view(answer, pairs))
    return 0
