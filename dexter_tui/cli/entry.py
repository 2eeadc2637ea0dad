"""The command line. Answers go to standard output, all else to standard error.

Exit codes: 0, 1 (failed), 2 (refused input). Nothing here loads torch: `dexter-tui runs` is quick.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dexter.errors import InputError
from dexter_tui import EXIT_FAILED, EXIT_REFUSED, field_flags, paths
from dexter_tui.cli import (
    compare_command,
    curation_commands,
    exchange_commands,
    lab_commands,
    maintenance_commands,
    query_command,
    queue_commands,
    reference_arguments,
    report_commands,
    run_commands,
)
from dexter_tui.cli.output import Json, say

if TYPE_CHECKING:
    from store.errors import StoreError


# Plain help: the descriptions of fields contain [MASK], which markup would swallow.
app = typer.Typer(
    name="dexter-tui",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Finds out, without training data, what an image classifier looks for in a class.",
)
run_commands.register(app)
maintenance_commands.register(app)
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
            sys.argv[1:] if arguments is None else arguments, say
        )
        code = app(arguments, standalone_mode=False)
    except typer.TyperException as error:
        say(error.format_message())
        return error.exit_code
    except _refusals() as error:
        say(error.sentence(field_flags.flag))
        return EXIT_REFUSED
    except OSError as error:
        say(f"{error.filename or 'input or output'}: {error.strerror or error}")
        return EXIT_REFUSED
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_FAILED
    return code if isinstance(code, int) else 0


def _refusals() -> "tuple[type[InputError], type[StoreError]]":
    """Return the errors of refused input; imported late, so that `--help` loads no database."""
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
        run_commands.list_runs(as_json=as_json)
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
