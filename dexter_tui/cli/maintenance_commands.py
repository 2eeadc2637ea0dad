"""The commands that look after the store and the machine: config, doctor, gc, backup."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from dexter_tui import EXIT_FAILED, field_flags, paths
from dexter_tui.cli.output import Json, open_store, print_json, print_view, say, show_progress
from dexter_tui.formatting import plain

if TYPE_CHECKING:
    from dexter_tui.machine.doctor import Finding


config_app = typer.Typer(rich_markup_mode=None, help="Your own settings and system prompts.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application's."""
    app.add_typer(config_app, name="config")
    config_app.command("init")(config_init)
    for command in (doctor, gc, backup):
        app.command()(command)


def findings_view(findings: Sequence["Finding"]) -> Table:
    """The doctor's findings with their remedies."""
    styles = {"ok": "green", "note": "dim", "warning": "yellow", "error": "bold red"}
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for finding in findings:
        status = Text(finding.status, style=styles[finding.status])
        told = plain(finding.detail)
        if finding.remedy:
            told.append("\n").append_text(plain(finding.remedy, "cyan"))
        table.add_row(status, finding.check, told)
    return table


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
        print_json({"written": written, "kept": kept})
        return
    for name in written:
        print(name)
    for name in kept:
        say(f"{name} is there already; --force replaces it")


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

    findings = []
    if rebuild:
        findings += rebuild_store(paths.home(), progress=show_progress)
    findings += diagnose(paths.home())
    findings += check_store(paths.home(), repair=mend, progress=show_progress)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_view(findings_view(findings))
    return EXIT_FAILED if any(finding.status == "error" for finding in findings) else 0


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="tell, and remove nothing")] = False,
    as_json: Json = False,
) -> None:
    """Remove files that nothing needs, such as checkpoints of runs that succeeded."""
    from dexter_tui.formatting import size
    from store.upkeep.health import collect

    with open_store() as store:
        collected = collect(store, dry_run=dry_run)
    if as_json:
        print_json({"files": [str(path) for path in collected.files], "bytes": collected.bytes})
    else:
        verb = "would be removed" if dry_run else "removed"
        print(f"{len(collected.files)} files, {size(collected.bytes)}, {verb}")


def backup(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="the file  [default: in DEXTER_HOME]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy the database, while runs go on."""
    from store.upkeep.health import back_up

    with open_store() as store:
        path = back_up(store, output.expanduser().absolute() if output else None)
    if as_json:
        print_json({"path": str(path)})
    else:
        print(path)
