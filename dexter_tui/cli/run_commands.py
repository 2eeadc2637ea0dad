"""The commands about runs: run, resume, show, classifiers."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dexter.classifiers import ClassifierInfo, list_classifiers
from dexter.config import PRESETS, RunConfig
from dexter.errors import InputError
from dexter.model_folders import roots
from dexter.reasoning.settings import ReportSettings
from dexter_tui import field_flags, paths
from dexter_tui.analysis.study_request import reachable
from dexter_tui.cli import report_commands
from dexter_tui.cli.listing.completion import ids
from dexter_tui.cli.listing.run_help import RunCommand
from dexter_tui.cli.output import (
    Detach,
    Json,
    On,
    TrustCode,
    TrustEndpoint,
    TrustPickle,
    console_on,
    open_store,
    print_json,
    print_lines,
    print_view,
    say,
    settle,
    start_runners,
)
from dexter_tui.cli.queue_commands import IDS_HELP, named
from dexter_tui.formatting import plain, plain_table

if TYPE_CHECKING:
    from store import Store


def register(app: typer.Typer) -> None:
    """Add the commands to the application's."""
    app.command(cls=RunCommand)(run)
    for command in (resume, show, classifiers):
        app.command()(command)


def classifiers_view(found: Sequence["ClassifierInfo"]) -> Table:
    """Return a table with one classifier per line."""
    table = plain_table()
    table.add_column("classifier", no_wrap=True)
    table.add_column("pixels", justify="right")
    table.add_column("labels")
    for info in found:
        table.add_row(plain(info.spec), str(info.image_size), plain(", ".join(info.labels)))
    return table


def run(
    *,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help=f"settings to start from: {', '.join(PRESETS)}  [default: default]"
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, max=1000, metavar="N", help="number of runs, with seeds 0 to N-1"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=999, metavar="K", help="one run with this seed  [default: 0]"),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="runs at the same time  [default: one per CPU core or GPU]",
        ),
    ] = None,
    on: On = None,
    detach: Detach = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="afterwards caption the frames, test the claims and write the report"
        ),
    ] = False,
    trust_code: TrustCode = False,
    trust_endpoint: TrustEndpoint = False,
    as_json: Json = False,
    **values: object,
) -> int:
    """Search for the words that raise a class, one run per seed.

    Prints the study's id. Ctrl-C cancels the runs; a lost connection does not.
    """
    from dexter_tui.jobs import submit, trust
    from dexter_tui.jobs.placement import places
    from store import Store

    if on is not None:
        places.place(on)
    if seeds is not None and seed is not None:
        raise InputError("--seeds and --seed exclude each other", field="seeds", remedy="give one")
    if detach and report:
        raise InputError(
            "excludes --report",
            field="detach",
            remedy="omit one, or run `dexter-tui report` when the runs are finished",
        )
    numbers = [seed or 0] if seeds is None else range(seeds)
    settings = report_commands.settings_of(values, report_commands.RUN_FIELDS)
    agreed = trust.agreed_by(values, code=trust_code, endpoint=trust_endpoint)
    values = {name: value for name, value in values.items() if name in RunConfig.model_fields}
    configs = field_flags.configs(preset, numbers, values)
    if report:
        settings = _reachable(settings, configs[0].generator)
    warnings: list[str] = []
    checked = submit.check(
        configs, paths.home(), warn=warnings.append, agreed=agreed, elsewhere=on is not None
    )
    with Store.open(paths.home()) as store:
        for line in warnings:
            say(line)
        run_ids = submit.add(store, checked, place=on)
        say(submit.expectation(store, checked[0].config, store.run(run_ids[0]).study_id))
        if not report:
            return _work(store, run_ids, jobs, as_json=as_json, detach=detach)
        code = _work(store, run_ids, jobs, as_json=False, detach=False, quiet=as_json)
        if code:
            return code
        study = store.run(run_ids[0]).study_id
        return report_commands.make_report(store, study, settings, as_json=as_json, agreed=agreed)


def _reachable(settings: ReportSettings, generator: str) -> ReportSettings:
    """Return the settings of a report as `reachable` does, with a remedy that `run` accepts."""
    try:
        return reachable(settings, generator)
    except InputError as error:
        if error.field == "image_text":  # `report` alone has this flag
            error.remedy = (
                "omit --report, and pass --image-text FOLDER or none to `dexter-tui report` when "
                "the runs are finished"
            )
        raise


field_flags.accepts(
    run, (RunConfig, field_flags.RUN_FLAGS), (ReportSettings, report_commands.RUN_FIELDS)
)


def resume(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...",
            help=IDS_HELP,
            autocompletion=ids,
        ),
    ],
    jobs: Annotated[int | None, typer.Option(min=1, help="runs at the same time")] = None,
    detach: Detach = False,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = False,
    trust_endpoint: TrustEndpoint = False,
    as_json: Json = False,
) -> int:
    """Resume runs and jobs that were paused or ended early.

    They continue from where they were.
    """
    from dexter_tui.jobs import control, submit, trust
    from store import State, run_queue
    from store.tables import Run

    with open_store() as store:
        run_queue.reconcile(store)
        states = control.RESUMABLE | {State.QUEUED}
        found = [work for name in names for work in named(store, name, states, "resume")]
        works = list({work.id: work for work in found}.values())
        agreed = trust.agreed_by(code=trust_code, pickle=trust_pickle, endpoint=trust_endpoint)
        trust.require([one for work in works for one in control.settings_of(store, work)], agreed)
        if works[0].config is not None:
            config = RunConfig.model_validate(works[0].config)
            if isinstance(works[0], Run) and works[0].place is not None:  # no device of ours
                config = config.model_copy(update={"device": "cpu"})
            for finding in submit.check_machine(config, paths.home()):
                say(f"{finding.detail}; {finding.remedy}")
        for work in works:
            if work.state is not State.QUEUED:
                control.resume(store, work.id, agreed=agreed)
        return _work(store, [work.id for work in works], jobs, as_json=as_json, detach=detach)


def _work(
    store: "Store",
    ids: Sequence[str],
    jobs: int | None,
    *,
    as_json: bool,
    detach: bool,
    quiet: bool = False,
) -> int:
    """Start runners for the runs, follow them, and print the results; return the exit code."""
    from dexter_tui.cli.live_progress import watch
    from dexter_tui.jobs.team import Team
    from dexter_tui.presentation import job_tables, run_tables

    start_runners(store, jobs)
    team = Team(store, ids, jobs)
    if not detach:
        watch(team)
    runs, works = team.runs(), team.work()
    if runs and not detach:
        console_on(sys.stderr).print(run_tables.studies_view(runs))
    for error in dict.fromkeys(work.error_line for work in works if work.error_line):
        say(error)
    if as_json:
        print_json([job_tables.any_json(work) for work in works])
    elif not quiet:
        print_lines(dict.fromkeys(work.study_id or work.id for work in works))
    return 0 if detach else team.exit_code()


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="a run, study, screening, comparison or report on pictures, by id or unique "
            "prefix",
            autocompletion=ids,
        ),
    ],
    as_json: Json = False,
) -> int:
    """Show a run, a study, a screening or any other result in the store by its id."""
    from dexter_tui.cli import compare_command
    from dexter_tui.cli.data import reports
    from dexter_tui.cli.screening import command as screening
    from dexter_tui.presentation import run_tables, study_tables
    from store.tables import Study

    if name.startswith("j"):  # the queue names the job
        with open_store() as store:
            job = store.job(name)
        made = (job.result or {}).get("data_report", name)
        name = job.screening_id or job.comparison_id or job.study_id or made
    match name[:1]:  # the first letter of an id names its kind
        case "c":
            return compare_command.show_stored(name, None, as_json=as_json)
        case "d":
            return reports.show(name, None, as_json=as_json)
        case "x":
            return screening.show(name, as_json=as_json)
    with open_store() as store:
        settle(store)
        found = store.find(name)
        if isinstance(found, Study):
            runs = store.runs(study_id=found.id)[::-1]
            answer = run_tables.study_json(found, runs) | study_tables.study_json(store, found)
            findings = study_tables.study_view(store, found, pictures=sys.stdout.isatty())
            view = run_tables.study_view(found, runs, findings)
        else:
            answer = run_tables.run_details_json(store, found)
            view = run_tables.run_view(store, found, pictures=sys.stdout.isatty())
    if as_json:
        print_json(answer)
    else:
        print_view(view)
    return 0


def classifiers(as_json: Json = False) -> None:
    """List the lab's classifiers and your own."""
    found = list_classifiers(roots())
    if as_json:
        print_json([asdict(info) for info in found])
    elif found:
        print_view(classifiers_view(found))
    else:
        say(f"no classifiers under {' or '.join(str(root / 'lab') for root in roots())}")
