"""Standard output and standard error of all commands, and the store they open.

Answers go to standard output, everything else to standard error.
"""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dexter.errors import InputError
from dexter_tui import paths

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from store import Store


Json = Annotated[bool, typer.Option("--json", help="one JSON value on standard output")]


Detach = Annotated[
    bool, typer.Option("--detach", help="queue and start the job without waiting for it")
]

TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code", help="run code of classifiers that a record or file names, on this machine"
    ),
]


TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle", help="load weights stored as a Python pickle, which can run any code"
    ),
]


def show_progress(what: str, done: int, of: int) -> None:
    """Show a counter on a terminal during long work."""
    if sys.stderr.isatty() and of > 100 and done % 50 == 0:
        end = "\r" if done + 50 < of else "\r\033[K"
        print(f"{what}: {done} of {of}", end=end, file=sys.stderr, flush=True)


def has_store() -> bool:
    """Return whether DEXTER_HOME holds a store."""
    return (paths.home() / "store.sqlite").exists()


def open_store(*, create: bool = False) -> "Store":
    """Open the store of DEXTER_HOME; raise InputError if there is none and `create` is false."""
    from store import Store

    home = paths.home()
    if not create and not has_store():
        raise InputError(f"{home}: no store here yet", remedy="start a run, or set DEXTER_HOME")
    return Store.open(home)


def console_on(file: Any) -> "Console":
    """Return a console that writes to `file` and highlights nothing."""
    from rich.console import Console

    return Console(file=file, highlight=False)


def print_view(view: "RenderableType") -> None:
    """Print a renderable on standard output."""
    console_on(sys.stdout).print(view)


def print_json(value: object) -> None:
    """Print one JSON value on standard output."""
    from store.tables import finite

    print(json.dumps(finite(value), ensure_ascii=False, indent=2, allow_nan=False))


def say(line: str) -> None:
    """Print a line on standard error, without characters that a terminal would obey."""
    from dexter_tui.formatting import clean

    print(clean(f"dexter-tui: {line}"), file=sys.stderr)
