"""Standard output and standard error of all commands, their store, and the start of their work.

Answers go to standard output, everything else to standard error. Commands print with these
functions alone, so that no text of a model, file or user controls the terminal.
"""

import os
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dexter.errors import InputError
from dexter_tui import paths

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from store import Store
    from store.reading.browse import Browse


_DAMAGED = 5  # damaged rows reported one by one
_UNWRAPPED = 100_000  # columns of a pipe or file

Json = Annotated[bool, typer.Option("--json", help="one JSON value on standard output")]


Detach = Annotated[
    bool, typer.Option("--detach", help="queue and start the job without waiting for it")
]

On = Annotated[
    str | None,
    typer.Option(
        "--on", metavar="PLACE", help="a place of config.toml to run at  [default: this machine]"
    ),
]

TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", help="run code that a record or file names as a classifier"),
]


TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle", help="load weights stored as a Python pickle, which can run any code"
    ),
]


TrustEndpoint = Annotated[
    bool,
    typer.Option(
        "--trust-endpoint",
        help="send pictures and your key to the server that a record or file names",
    ),
]


def show_progress(what: str, done: int, of: int, *, every: int = 50) -> None:
    """Show a counter on a terminal during long work."""
    if sys.stderr.isatty() and of > 2 * every and (done % every == 0 or done == of):
        end = "\r" if done + every < of else "\r\033[K"
        print(f"{what}: {done} of {of}", end=end, file=sys.stderr, flush=True)


def has_store() -> bool:
    """Return whether DEXTER_HOME holds a store."""
    return (paths.home() / "store.sqlite").exists()


def open_store() -> "Store":
    """Open the store of DEXTER_HOME; raise InputError if there is none."""
    from store import Store
    from store.checking import file_systems

    home = paths.home()
    if (refusal := file_systems.refusal(home)) is not None:
        raise refusal
    if not has_store():
        raise InputError(
            f"{home}: no store here yet", remedy="start a run or a screening, or set DEXTER_HOME"
        )
    return Store.open(home)


def open_browse(*, may_lack: bool = False) -> "Browse":
    """Open the store of DEXTER_HOME to read it; an older one is upgraded.

    may_lack: without a store it reads as empty, instead of an InputError.
    """
    from store.reading.browse import Browse

    if not may_lack or has_store():
        open_store().close()
    return Browse(paths.home())


def settle(store: "Store") -> None:
    """Settle the work whose process is gone, before it is shown; warn if that cannot be written."""
    from store import StoreError, run_queue

    try:
        run_queue.reconcile(store)
    except StoreError as error:
        say(f"states may be out of date: {error}")


def start_runners(store: "Store", jobs: int | None = None) -> list[str]:
    """Start the runners that the queue calls for; return the slots' names.

    Warns where the system ends at logout what goes on after a command.
    """
    from dexter_tui.jobs import control

    _warn_of_logout()
    return control.ensure_runners(store, jobs=jobs, again=True)


@cache
def _warn_of_logout() -> None:
    """Warn once, however often a command starts runners."""
    from dexter_tui.jobs import launch

    if launch.logout_kills():
        say(launch.LOGOUT_WARNING)


def console_on(file: Any) -> "Console":
    """Return a console that writes to `file`, reads no markup, and cleans every text.

    In a pipe or file no line is wrapped, unless COLUMNS asks for it: `grep` and editors read it.
    """
    from dexter_tui.presentation.console import CleanConsole

    width = None if file.isatty() or "COLUMNS" in os.environ else _UNWRAPPED
    return CleanConsole(file=file, width=width, highlight=False, markup=False, emoji=False)


def print_view(view: "RenderableType") -> None:
    """Print a renderable on standard output."""
    console = console_on(sys.stdout)
    if sys.stdout.isatty():
        console.print(view)
        return
    with console.capture() as taken:
        console.print(view)
    # Rich fills the last column of a table, and the lines of a padded text, with spaces.
    print("\n".join(map(str.rstrip, taken.get().split("\n"))), end="", flush=True)


def print_picture(picture: "RenderableType") -> None:
    """Print a picture of ours on standard output, with its control sequences."""
    from rich.console import Console

    Console(highlight=False).print(picture)


def print_json(value: object) -> None:
    """Print one JSON value on standard output."""
    from dexter_tui.formatting import json_text

    print(json_text(value))


def print_text(text: object, end: str = "\n") -> None:
    """Print lines on standard output, without characters that a terminal would obey."""
    from dexter_tui.formatting import clean_lines

    print(clean_lines(text), end=end)


def print_lines(lines: Iterable[object]) -> None:
    """Print each on a line of standard output."""
    from dexter_tui.formatting import clean

    for line in lines:
        print(clean(line))


def say(line: str) -> None:
    """Print a line on standard error, without characters that a terminal would obey."""
    from dexter_tui.formatting import clean

    print(clean(f"dexter-tui: {line}"), file=sys.stderr)


def say_space(home: Path) -> None:
    """Report on standard error that a disk has too little room for results, if it has.

    Work waits on a full disk, where it cannot record why.
    """
    from dexter_tui.machine import doctor

    finding = doctor.check_space(home)
    if finding.status == "error":
        say(f"{finding.detail}; {finding.remedy}")


def say_damage() -> None:
    """Report the damaged rows that were read, on standard error."""
    from store.checking.decoding import take_found

    lines = take_found()
    for line in lines[:_DAMAGED]:
        say(line)
    if len(lines) > _DAMAGED:
        say(f"and {len(lines) - _DAMAGED} more damaged rows; restore a backup")


def ask(question: str) -> str:
    """Ask on the terminal; return the line that the user typed."""
    from dexter_tui.formatting import clean

    print(clean(f"dexter-tui: {question}"), end=" ", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()
