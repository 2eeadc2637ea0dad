"""The commands for the store and the machine: fetch, config, doctor, gc, backup."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from dexter.config import RunConfig, fields_of
from dexter.errors import InputError
from dexter.reasoning.settings import ReportSettings
from dexter_tui import EXIT_FAILED, field_flags, paths
from dexter_tui.cli.output import (
    Json,
    TrustCode,
    open_store,
    print_json,
    print_lines,
    print_text,
    print_view,
    say,
    show_progress,
)
from dexter_tui.formatting import plain, size

if TYPE_CHECKING:
    from dexter_tui.machine.doctor import Finding


config_app = typer.Typer(
    rich_markup_mode=None, help="Write editable copies of settings and prompts."
)


def register(app: typer.Typer) -> None:
    """Add the commands to the application's."""
    app.add_typer(config_app, name="config")
    config_app.command("init")(config_init)
    field_flags.accepts(fetch, (RunConfig, _LOADED), (ReportSettings, _REPORTERS))
    for command in (fetch, doctor, gc, backup):
        app.command()(command)


def findings_view(findings: Sequence["Finding"]) -> Table:
    """Return a table of the doctor's findings with their remedies."""
    styles = {"ok": "green", "note": "dim", "warning": "yellow", "error": "bold red"}
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for finding in findings:
        status = Text(finding.status, style=styles[finding.status])
        detail = plain(finding.detail)
        if finding.remedy:
            detail.append("\n").append_text(plain(finding.remedy, "cyan"))
        table.add_row(status, finding.check, detail)
    return table


# The fields that say which models are loaded.
_LOADED = fields_of("classifier", "masked LM", "generator")
_REPORTERS = ("vlm", "llm", "image_text")


def fetch(
    *,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="the models of a sweep, as for `queue add`"),
    ] = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    **values: object,
) -> None:
    """Download the models of a run, for a machine without network.

    They go to the cache of the Hugging Face hub (HF_HOME), which can be copied to another machine.
    Takes the settings of `run`, or a file of `queue add`, and the models of a report. Prints the
    list of models; --json names their files.
    """
    from dexter.planning.preflight import Fetched, fetch_models
    from dexter_tui.jobs import trust
    from dexter_tui.jobs.describe import describe

    of_run = field_flags.given({name: value for name, value in values.items() if name in _LOADED})
    of_report = {name: values[name] for name in _REPORTERS if values.get(name) is not None}
    fetched: dict[tuple[str, str, tuple[str, ...]], Fetched] = {}
    for config in _configs(file, of_run):
        reporters = ReportSettings.from_values(of_report).for_generator(config.generator)
        found = fetch_models(config, reporters.own_models.items())
        fetched |= {(one.field, one.hub_id, one.names): one for one in found}
        if config.classifier.startswith(("torchvision:", "timm:")):  # which download as they load
            trust.require([config], trust.agreed_by(of_run, code=trust_code))
            describe(config)
    if as_json:
        print_json([asdict(one) | {"folder": str(one.folder)} for one in fetched.values()])
    elif fetched:
        print_lines([one.line() for one in fetched.values()])
    else:
        say("nothing to fetch from the hub: all models are local")


def _configs(file: Path | None, of_run: Mapping[str, object]) -> list[RunConfig]:
    """Return a configuration for each set of models."""
    from dexter_tui.jobs.sweeps import checked_sweeps, sweep_configs

    if file is None:
        # Only files are fetched, so that neither a class nor a classifier must be given.
        required = {"classifier": "lab:birds-biased", "class_name": "0"}
        given = {**required, **paths.settings(), **of_run}
        return [RunConfig.from_preset(str(given.pop("preset", "default")), **given)]
    known = {*RunConfig.model_fields, "preset", "seeds"}
    sweeps = [{**sweep, **of_run} for sweep in checked_sweeps(file, known)]
    configs = [config for sweep in sweeps for config in sweep_configs(sweep)]
    return list({config.model_dump_json(include={*_LOADED}): config for config in configs}.values())


def config_init(
    force: Annotated[bool, typer.Option("--force", help="replace existing files")] = False,
    as_json: Json = False,
) -> None:
    """Write config.toml and editable copies of the system prompts into DEXTER_HOME."""
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
        print_json({"written": written, "kept": kept})
        return
    print_lines(written)
    for name in kept:
        say(f"{name} exists; --force replaces it")


def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="repair the store where possible")
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="rebuild the store from the journals of all runs; a damaged store is moved aside",
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """Check this machine and the store, with remedies."""
    from dexter_tui.machine.doctor import check_store, diagnose, rebuild_store

    findings = []
    if rebuild:
        findings += rebuild_store(paths.home(), progress=show_progress)
    findings += diagnose(paths.home())
    findings += _check_settings()
    findings += check_store(paths.home(), repair=repair, progress=show_progress)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_view(findings_view(findings))
    return EXIT_FAILED if any(finding.status == "error" for finding in findings) else 0


def _check_settings() -> "list[Finding]":
    """Return findings on config.toml, if there is one."""
    from dexter_tui.dashboard.options import misspelt
    from dexter_tui.jobs.placement import places
    from dexter_tui.machine.doctor import Finding

    try:
        settings = paths.all_settings()
    except InputError as error:
        return [Finding("config.toml", "error", error.problem, error.remedy or "")]
    found = [line.removeprefix("config.toml").lstrip(",: ") for line in misspelt(settings)]
    if found:
        return [Finding("config.toml", "warning", line, "correct the name") for line in found]
    try:
        places.places()
    except InputError as error:
        return [Finding("config.toml", "error", error.problem, error.remedy or "")]
    path = paths.home() / paths.SETTINGS_FILE
    return [Finding("config.toml", "ok", str(path))] if settings else []


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="list what would be removed")] = False,
    as_json: Json = False,
) -> None:
    """Remove files that nothing needs.

    Examples are checkpoints of succeeded runs and pictures that no run refers to.
    """
    from store.upkeep.health import collect

    with open_store() as store:
        collected = collect(store, dry_run=dry_run)
    if as_json:
        print_json({"files": [str(path) for path in collected.files], "bytes": collected.bytes})
    else:
        verb = "would be removed" if dry_run else "removed"
        print_text(f"{len(collected.files)} files, {size(collected.bytes)}, {verb}")


def backup(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="target file  [default: in DEXTER_HOME]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy the database while runs are going."""
    from store.upkeep.health import back_up

    with open_store() as store:
        path = back_up(store, output.expanduser().absolute() if output else None)
    if as_json:
        print_json({"path": str(path)})
    else:
        print_text(path)
