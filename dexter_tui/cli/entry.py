"""The command line: the entry point, its exit codes, and the options before a command.

Answers go to standard output, everything else to standard error. Exit codes: 0, 1 (failed),
2 (refused input) and 3 (`check` found something).
"""

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from dexter.errors import InputError
from dexter_tui import EXIT_FAILED, EXIT_REFUSED, paths
from dexter_tui.cli.lazy_group import PLAIN, LazyGroup
from dexter_tui.cli.output import Json, print_json, print_text, say, say_damage
from store.errors import StoreError

app = typer.Typer(
    name="dexter-tui",
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find out, without training data, what an image classifier looks for in a class.",
    **PLAIN,
)


NO_USER = "Could not determine home directory."
"""What pathlib says of a path that begins with the ~NAME of no user."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with `arguments`, by default this process's; return the exit code."""
    if arguments is None and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what reads a pipe waits for each line
    given = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in given
    try:
        for argument in given:
            _refuse_bytes("argument", argument)
        for name in ("DEXTER_HOME", "PWD", "HF_HOME"):
            _refuse_bytes(name, os.environ.get(name, ""))
        code = app(normalised(given), standalone_mode=False)
    except typer.TyperException as error:
        _refuse(error.format_message(), None, None, as_json=as_json)
        return error.exit_code
    except (InputError, StoreError) as error:
        from dexter_tui.field_flags import flag

        _refuse(error.sentence(flag), error.field, error.remedy, error.problem, as_json=as_json)
        return EXIT_REFUSED
    except (Exception, KeyboardInterrupt) as error:
        refusal = _refusal(error, given)
        if refusal is None:
            return EXIT_FAILED
        _refuse(str(refusal), None, refusal.remedy, refusal.problem, as_json=as_json)
        return EXIT_REFUSED
    finally:
        say_damage()
    return code if isinstance(code, int) else 0


def _refuse(
    line: str,
    field: str | None,
    remedy: str | None,
    message: str | None = None,
    *,
    as_json: bool,
) -> None:
    """Print a refusal: a line on standard error and, with --json, its parts on standard output."""
    say(line)
    if as_json:
        parts = {"field": field, "message": message or line, "remedy": remedy}
        try:
            print_json({"error": parts})
            sys.stdout.flush()
        except OSError:  # standard output itself is what failed, and would fail again at the end
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refusal(error: Exception | KeyboardInterrupt, given: Sequence[str]) -> InputError | None:
    """Return what is wrong with this machine, None if the user ended the command.

    Raises the error if it is something else.
    """
    from dexter.device import is_out_of_memory
    from dexter.loading import broken_package

    broken = broken_package(error)
    if broken is not None:
        return broken
    if isinstance(error, KeyboardInterrupt | typer.Abort):  # Abort: also a damaged file of bytecode
        return None
    if isinstance(error, OSError):
        return InputError(f"{error.filename or 'input or output'}: {error.strerror or error}")
    if is_out_of_memory(error):
        from dexter_tui.jobs.worker import first_line

        return InputError(first_line(error), remedy="free memory or pass another --device")
    if str(error) == NO_USER:
        named = next((argument for argument in given if "~" in argument), "~")
        return InputError(f"{named}: no such user; write the whole path")
    raise error


def _refuse_bytes(what: str, text: str) -> None:
    """Raise InputError for a text that is not UTF-8, which no store, log or JSON can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = text.encode("utf-8", "backslashreplace").decode()
        raise InputError(
            f"{what} {os.fsencode(text)!r} is not UTF-8",
            value=shown,
            remedy="rename the file or folder, or write the text in UTF-8",
        ) from None


def normalised(arguments: Sequence[str]) -> list[str]:
    """Return the arguments as the parser takes them.

    Option names get hyphens, --json before a command moves behind it, and `help` and `version`
    become options. What follows -- is no option, so it stays as it is.
    `run` takes the reference's options as well.
    """
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    hyphenated = _json_last([*map(_hyphens, arguments[:end]), *arguments[end:]])
    if hyphenated == ["version"]:
        return ["--version"]
    if hyphenated[:1] == ["help"]:
        hyphenated = [*hyphenated[1:], "--help"]
    if hyphenated[:1] != ["run"]:
        return hyphenated
    from dexter_tui.exchange.reference_arguments import translated

    return translated(hyphenated, say)


_VALUED = ("--images", "--theme", "--demo-devices")


def _json_last(arguments: list[str]) -> list[str]:
    """Move --json from before a command to the end of its arguments."""
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        at += 2 if arguments[at] in _VALUED else 1
    before, command = arguments[:at], arguments[at:]
    if not command or "--json" not in before:
        return arguments
    before = [argument for argument in before if argument != "--json"]
    end = command.index("--") if "--" in command else len(command)
    extra = [] if "--json" in command[:end] else ["--json"]
    return [*before, *command[:end], *extra, *command[end:]]


def _hyphens(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print_text(f"dexter-tui {version('dexter-tui')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    images: Annotated[
        str,
        typer.Option(metavar="HOW", help="pictures: auto, blocks, kitty, sixel, ascii or off"),
    ] = "auto",
    low_bandwidth: Annotated[
        bool, typer.Option("--low-bandwidth", help="previews on a key only, fewer updates")
    ] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="open read-only")] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="draw in ASCII alone")] = False,
    theme: Annotated[
        str | None, typer.Option(metavar="NAME", help="colour theme; F2 shows them all")
    ] = None,
    demo_devices: Annotated[
        int, typer.Option(min=0, max=16, metavar="N", help="show N simulated GPUs")
    ] = 0,
    as_json: Json = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="print the version", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Open the dashboard in a terminal; list the runs elsewhere."""
    # Checkpoints are looked up here and in workers: in the same folder.
    # The doctor reports an unusable home among its findings; every other command refuses it.
    diagnosing = context.invoked_subcommand == "doctor"
    home = paths.home() if diagnosing else paths.checked_home()
    os.environ["DEXTER_HOME"] = str(home)
    if demo_devices:
        os.environ["DEXTER_DEMO_DEVICES"] = str(demo_devices)
    if context.invoked_subcommand is not None:
        return
    in_terminal = all(f.isatty() for f in (sys.stdin, sys.stdout, sys.stderr))
    in_browser = "TEXTUAL_DRIVER" in os.environ  # `serve` carries it
    if as_json or not (in_terminal or in_browser):
        from dexter_tui.cli.listing.runs_command import list_runs

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
