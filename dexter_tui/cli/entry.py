"""The command line. Answers go to standard output, all else to standard error.

Exit codes: 0, 1 (failed), 2 (refused input). Nothing here loads torch: `dexter-tui runs` is quick.
"""

import inspect
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dexter.config import PRESETS, RunConfig
from dexter.errors import InputError
from dexter.reasoning.settings import ReportSettings
from dexter_tui import EXIT_FAILED, EXIT_REFUSED, field_flags, paths
from dexter_tui.cli import (
    compare_command,
    curation_commands,
    exchange_commands,
    lab_commands,
    query_command,
    queue_commands,
    reference_arguments,
    report_commands,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from store import Store

Json = Annotated[bool, typer.Option("--json", help="one JSON value on standard output")]
Detach = Annotated[bool, typer.Option("--detach", help="queue and start them, and do not wait")]

# Plain help: the descriptions of fields contain [MASK], which markup would swallow.
app = typer.Typer(
    name="dexter-tui",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Finds out, without training data, what an image classifier looks for in a class.",
)
config_app = typer.Typer(rich_markup_mode=None, help="Your own settings and system prompts.")
app.add_typer(config_app, name="config")
report_commands.register(app)
queue_commands.register(app)
lab_commands.register(app)
compare_command.register(app)
query_command.register(app)
exchange_commands.register(app)
curation_commands.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, with this process's arguments if none are given; its exit code."""
    try:
        arguments = reference_arguments.translated(
            sys.argv[1:] if arguments is None else arguments, _say
        )
        code = app(arguments, standalone_mode=False)
    except typer.TyperException as error:
        # Pydantic's words, which typer passes on.
        _say(error.format_message().replace(": Value error, ", ": "))
        return error.exit_code
    except _refusals() as error:
        _say(str(error))
        return EXIT_REFUSED
    except OSError as error:
        _say(f"{error.filename or 'input or output'}: {error.strerror or error}")
        return EXIT_REFUSED
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_FAILED
    return code if isinstance(code, int) else 0


def _refusals() -> tuple[type[Exception], ...]:
    """Asked only when something was raised, so that `--help` need not load a database."""
    from store.errors import StoreError

    return InputError, StoreError


@app.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    images: Annotated[
        str, typer.Option(metavar="HOW", help="pictures: auto, blocks, kitty, sixel, ascii or off")
    ] = "auto",
    low_bandwidth: Annotated[
        bool, typer.Option("--low-bandwidth", help="previews on a key only, fewer updates")
    ] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="look, and change nothing")
    ] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="no sign beyond ASCII")] = False,
    theme: Annotated[
        str | None, typer.Option(metavar="NAME", help="colours; F2 shows what there is")
    ] = None,
    demo_devices: Annotated[
        int, typer.Option(min=0, max=16, metavar="N", help="show N invented graphics cards")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Without a command: the dashboard in a terminal, else the runs."""
    # The look-up of checkpoints, here and in workers, shall mean the same folder.
    os.environ["DEXTER_HOME"] = str(paths.home())
    if demo_devices:
        os.environ["DEXTER_DEMO_DEVICES"] = str(demo_devices)
    if context.invoked_subcommand is not None:
        return
    if as_json or not all(f.isatty() for f in (sys.stdin, sys.stdout, sys.stderr)):
        list_runs(as_json=as_json)
        return
    from dexter_tui.dashboard import start

    start.start(
        images=images,
        low_bandwidth=low_bandwidth,
        read_only=read_only,
        ascii_only=ascii_only,
        theme=theme,
        demo_devices=demo_devices,
    )


def run(
    *,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help=f"settings to start from: {', '.join(PRESETS)}  [default: default]"
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=1000, metavar="N", help="a run for each seed 0 to N-1")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=999, metavar="K", help="one run, with this seed  [default: 0]"),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="runs at the same time  [default: the cores of a CPU, one on each GPU]",
        ),
    ] = None,
    detach: Detach = False,
    report: Annotated[
        bool,
        typer.Option("--report", help="then caption the frames, test the claims, and report"),
    ] = False,
    as_json: Json = False,
    **values: object,
) -> int:
    """Search the words for a class, with one run for each seed.

    Prints the study's id. Ctrl-C cancels the runs; a lost connection does not.
    """
    from dexter_tui.jobs import control, submit

    if seeds is not None and seed is not None:
        raise InputError("--seeds and --seed: give one of them")
    numbers = [seed or 0] if seeds is None else range(seeds)
    settings = report_commands.settings_of(values, report_commands.RUN_FIELDS)
    values = {name: value for name, value in values.items() if name in RunConfig.model_fields}
    configs = field_flags.configs(preset, numbers, values)
    checked = control.check(configs, paths.home(), warn=_say)
    with _store(create=True) as store:
        run_ids = control.add(store, checked)
        _say(submit.expectation(store, checked[0].config, store.run(run_ids[0]).study_id))
        if not report:
            return _work(store, run_ids, jobs, as_json=as_json, detach=detach)
        if detach:
            raise InputError("--detach and --report: give one of them")
        code = _work(store, run_ids, jobs, as_json=False, detach=False, quiet=as_json)
        if code:
            return code
        study = store.run(run_ids[0]).study_id
        return report_commands.make_report(store, study, settings, as_json=as_json)


# Typer reads the signature: our own flags, and one for each field of RunConfig.
_own = inspect.signature(run)
run.__signature__ = _own.replace(  # type: ignore[attr-defined]
    parameters=[
        *(p for p in _own.parameters.values() if p.kind is not p.VAR_KEYWORD),
        *field_flags.run_parameters(),
        *field_flags.parameters(ReportSettings, report_commands.RUN_FIELDS),
    ]
)
app.command()(run)


@app.command()
def resume(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="ids, or their beginnings")],
    jobs: Annotated[int | None, typer.Option(min=1, help="runs at the same time")] = None,
    detach: Detach = False,
    as_json: Json = False,
) -> int:
    """Go on with runs that were paused or ended early, from their checkpoints."""
    from dexter_tui.jobs import control, submit
    from store import State

    with _store() as store:
        store.reconcile()
        runs = [store.run(name) for name in names]
        for found in runs:
            if found.state not in control.RESUMABLE | {State.QUEUED}:
                raise InputError(f"run {found.id} is {found.state.value}; nothing to resume")
        config = RunConfig.model_validate(runs[0].config)
        for finding in submit.check_machine(config, paths.home()):
            _say(f"{finding.detail}; {finding.remedy}")
        for found in runs:
            if found.state is not State.QUEUED:
                control.resume(store, found.id)
        run_ids = list(dict.fromkeys(found.id for found in runs))
        return _work(store, run_ids, jobs, as_json=as_json, detach=detach)


def _work(
    store: "Store",
    run_ids: Sequence[str],
    jobs: int | None,
    *,
    as_json: bool,
    detach: bool,
    quiet: bool = False,
) -> int:
    """Have runners do the runs, show how they get on, and print what came of them."""
    from dexter_tui.cli.live_progress import watch
    from dexter_tui.jobs import launch
    from dexter_tui.jobs.team import Team
    from dexter_tui.presentation import run_tables

    console = _console(sys.stderr)
    if launch.logout_kills():
        _say(launch.LOGOUT_WARNING)
    team = Team(store, run_ids, jobs)
    team.start()
    if not detach:
        watch(team, console)
    runs = team.runs()
    if not detach:
        console.print(run_tables.studies_view(runs))
    for error in dict.fromkeys(run.error for run in runs if run.error):
        _say(error)
    if as_json:
        _print_json([run_tables.run_json(run) for run in runs])
    elif not quiet:
        for study in dict.fromkeys(run.study_id for run in runs):
            print(study)
    return 0 if detach else team.exit_code()


@app.command("runs")
def list_runs(
    study: Annotated[str | None, typer.Option(metavar="ID", help="of this study")] = None,
    state: Annotated[list[str] | None, typer.Option(help="in this state; may be repeated")] = None,
    classifier: Annotated[str | None, typer.Option(metavar="SPEC", help="of it")] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="of this class")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="the newest so many")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="also those archived")] = False,
    as_json: Json = False,
) -> None:
    """The runs in the store, the newest study first."""
    from dexter_tui.presentation import run_tables
    from store import State
    from store.upkeep import retention

    unknown = set(state or ()) - set(State)
    if unknown:
        raise InputError(f"--state: {unknown.pop()!r} is none of {', '.join(State)}")
    if not _has_store():
        runs = []
    else:
        with _store() as store:
            store.reconcile()
            runs = store.runs(
                study_id=store.study(study).id if study else None,
                states=[State(name) for name in state] if state else None,
                classifier=classifier,
                class_name=class_name,
                limit=limit,
            )
            hidden = set() if archived else retention.archived(store)
            runs = [run for run in runs if run.id not in hidden]
    if as_json:
        _print_json([run_tables.run_json(run) for run in runs])
    elif runs:
        _print(run_tables.studies_view(runs))
    else:
        _say("no runs; start one: dexter-tui run --classifier lab:birds-biased --class waterbird")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="a run or study, or a beginning of it")],
    as_json: Json = False,
) -> None:
    """One run, or a study with its runs."""
    from dexter_tui.presentation import run_tables, study_tables
    from store.tables import Study

    with _store() as store:
        store.reconcile()
        found = store.find(name)
        if isinstance(found, Study):
            runs = store.runs(study_id=found.id)[::-1]
            answer = run_tables.study_json(found, runs) | study_tables.study_json(store, found)
            view = run_tables.study_view(found, runs, study_tables.study_view(store, found))
        else:
            answer = run_tables.run_details_json(store, found)
            view = run_tables.run_view(store, found, pictures=sys.stdout.isatty())
    if as_json:
        _print_json(answer)
    else:
        _print(view)


@app.command()
def classifiers(as_json: Json = False) -> None:
    """The lab's classifiers, and your own beside them."""
    from dexter.classifiers import list_classifiers
    from dexter.model_folders import roots
    from dexter_tui.presentation import run_tables

    found = list_classifiers(roots())
    if as_json:
        _print_json([asdict(info) for info in found])
    elif found:
        _print(run_tables.classifiers_view(found))
    else:
        _say(f"no classifiers under {' or '.join(str(root / 'lab') for root in roots())}")


@config_app.command("init")
def config_init(
    force: Annotated[bool, typer.Option("--force", help="replace files that are there")] = False,
    as_json: Json = False,
) -> None:
    """Write config.toml and copies of the system prompts into DEXTER_HOME, for you to edit."""
    home = paths.home()
    prompts = home / "sp_config"
    if not home.exists():
        home.mkdir(parents=True, mode=0o700)
    prompts.mkdir(exist_ok=True)
    texts = {home / paths.SETTINGS_FILE: field_flags.template()}
    for source in paths.packaged_prompts():
        texts[prompts / source.name] = source.read_text(encoding="utf-8")
    written, kept = [], []
    for path, text in texts.items():
        if path.exists() and not force:
            kept.append(str(path))
        else:
            path.write_text(text, encoding="utf-8")
            written.append(str(path))
    if as_json:
        _print_json({"written": written, "kept": kept})
        return
    for name in written:
        print(name)
    for name in kept:
        _say(f"{name} is there already; --force replaces it")


@app.command()
def doctor(
    mend: Annotated[
        bool, typer.Option("--mend", help="put right what can be in the store")
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="bring all runs into the store from their journals; a damaged store "
            "is moved aside",
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """What is wrong with this machine and the store, and the remedy."""
    from dexter_tui.machine.doctor import check_store, diagnose, rebuild_store
    from dexter_tui.presentation import run_tables

    findings = []
    if rebuild:
        findings += rebuild_store(paths.home(), progress=_progress)
    findings += diagnose(paths.home())
    findings += check_store(paths.home(), mend=mend, progress=_progress)
    if as_json:
        _print_json([asdict(finding) for finding in findings])
    else:
        _print(run_tables.findings_view(findings))
    return EXIT_FAILED if any(finding.status == "error" for finding in findings) else 0


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="tell, and remove nothing")] = False,
    as_json: Json = False,
) -> None:
    """Remove files that nothing needs, such as checkpoints of runs that succeeded."""
    from dexter_tui.presentation.run_tables import size
    from store.upkeep.health import collect

    with _store() as store:
        collected = collect(store, dry_run=dry_run)
    if as_json:
        _print_json({"files": [str(path) for path in collected.files], "bytes": collected.bytes})
    else:
        verb = "would be removed" if dry_run else "removed"
        print(f"{len(collected.files)} files, {size(collected.bytes)}, {verb}")


@app.command()
def backup(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="the file  [default: in DEXTER_HOME]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy the database, while runs go on."""
    from store.upkeep.health import back_up

    with _store() as store:
        path = back_up(store, output.expanduser().absolute() if output else None)
    if as_json:
        _print_json({"path": str(path)})
    else:
        print(path)


def _progress(what: str, done: int, of: int) -> None:
    """A counter on a terminal, for what may take long."""
    if sys.stderr.isatty() and of > 100 and done % 50 == 0:
        end = "\r" if done + 50 < of else "\r\033[K"
        print(f"{what}: {done} of {of}", end=end, file=sys.stderr, flush=True)


def _has_store() -> bool:
    return (paths.home() / "store.sqlite").exists()


def _store(*, create: bool = False) -> "Store":
    from store import Store

    home = paths.home()
    if not create and not _has_store():
        raise InputError(f"{home}: no store here yet; start a run, or set DEXTER_HOME")
    return Store.open(home)


def _console(file: Any) -> "Console":
    from rich.console import Console

    return Console(file=file, highlight=False)


def _print(view: "RenderableType") -> None:
    _console(sys.stdout).print(view)


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def _say(line: str) -> None:
    """One line to standard error, with nothing in it that a terminal would obey."""
    from dexter_tui.presentation.run_tables import clean

    print(clean(f"dexter-tui: {line}"), file=sys.stderr)
