"""The command `screen`: it queues a screening, follows it, and shows what was found."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dexter.config import RunConfig
from dexter.errors import InputError, MissingInput
from dexter.reasoning.settings import SCREEN_FIELDS, ScreenSettings
from dexter_tui import field_flags, paths
from dexter_tui.analysis import screening_request
from dexter_tui.cli.listing import completion, typed
from dexter_tui.cli.output import (
    Detach,
    Json,
    TrustCode,
    TrustPickle,
    open_browse,
    print_json,
    print_text,
    print_view,
    say,
)
from dexter_tui.cli.screening.request import MODEL_FIELDS, ClassName, Concepts, request_of


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    flags = (ScreenSettings, SCREEN_FIELDS), (RunConfig, MODEL_FIELDS)
    app.command()(field_flags.accepts(screen, *flags))


def screen(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="a stored screening to show",
            autocompletion=completion.screenings,
        ),
    ] = None,
    *,
    classifier: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="as for `run`; may be repeated"),
    ] = None,
    class_name: ClassName = None,
    concepts: Concepts = None,
    pool: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="shipped concepts: lab or photographs  [default: lab for the lab's generator, "
            "else photographs]",
        ),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="screen each checkpoint that appears in this folder, with --arch; Ctrl-C ends it",
        ),
    ] = None,
    detach: Detach = False,
    every: Annotated[
        bool, typer.Option("--all", help="show the numbers of concepts without effect too")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="the findings as CSV")] = False,
    as_json: Json = False,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = False,
    **values: object,
) -> int:
    """Find concepts that raise or lower a class.

    All classifiers look at the same pictures, whose prompts vary many concepts at once. They are
    kept: a further classifier draws nothing. The strongest findings are then tested on pairs of
    pictures with fresh noise. Without options, lists the stored screenings. Ctrl-C cancels it; the
    pictures drawn so far stay.
    """
    from dexter_tui.cli.live_progress import follow
    from dexter_tui.cli.screening.watching import watch_folder
    from dexter_tui.jobs import trust
    from store import Store, run_queue

    if as_csv and as_json:
        raise InputError("--csv and --json exclude each other", remedy="give one")
    if name is not None:
        typed.refuse_others(name, "every", "as_csv", "as_json")
        return show(name, every=every, as_csv=as_csv, as_json=as_json)
    if not classifier and watch is None:
        if typed.any_but("as_json"):
            raise MissingInput("classifier")
        return _list(as_json=as_json)
    if classifier and watch is not None:
        raise InputError(
            "--watch takes the classifiers from its folder", remedy="omit --classifier"
        )
    if concepts is not None and pool is not None:
        raise InputError("--concepts and --pool exclude each other", remedy="give one")
    if pool not in (None, "lab", "photographs"):
        raise InputError(
            f"no pool is called {pool!r}",
            field="pool",
            value=pool,
            remedy="choose from lab, photographs, or pass a file with --concepts",
        )
    typed_values = {**values, "classifier": classifier or (watch and str(watch))}
    agreed = trust.agreed_by(typed_values, code=trust_code, pickle=trust_pickle)
    request = request_of(
        classifier or [], class_name, concepts, values, SCREEN_FIELDS, agreed,
        pickle=trust_pickle, pool=pool,
    )  # fmt: skip
    if watch is not None:
        return watch_folder(watch, request, detach=detach, as_json=as_json)
    prepared = screening_request.prepare(request, paths.home(), say)
    with Store.open(paths.home()) as store:
        run_queue.reconcile(store)
        say(screening_request.outlook(store, prepared).line())
        queued = screening_request.request_screening(store, prepared)
        code = follow(store, queued.job_id, detach=detach)
    if detach:
        if as_json:
            print_json({"id": queued.screening_id, "job": queued.job_id})
        else:
            print_text(queued.screening_id)
        return code
    return code or show(queued.screening_id, every=every, as_csv=as_csv, as_json=as_json)


def show(name: str, *, every: bool = False, as_csv: bool = False, as_json: bool = False) -> int:
    """Show a stored screening, the verdict cards first."""
    from dexter_tui.presentation.answers import csv_text
    from dexter_tui.presentation.card_view import card_view
    from dexter_tui.presentation.screening_tables import csv_rows, screening_view
    from store.reading import card, screenings
    from store.reading.queries import Answer

    browse = open_browse()
    page = screenings.page(browse, name)
    if as_json:
        print_json(page)
    elif as_csv:
        columns, rows = csv_rows(page)
        print_text(csv_text(Answer(columns, [tuple(row) for row in rows], None, 0.0)), end="")
    else:
        if page["state"] == "done" and not page["watch"]:
            for one in card.of_screening(browse, page["id"]):
                print_view(card_view(one, browse if sys.stdout.isatty() else None))
                print_text("")
        print_view(screening_view(page, every=every))
    return 0


def _list(*, as_json: bool) -> int:
    from dexter_tui.presentation.screening_tables import screenings_view
    from store.reading import screenings

    found = screenings.listed(open_browse(may_lack=True))
    if as_json:
        print_json(found)
    elif found:
        print_view(screenings_view(found))
    else:
        say("no screenings; dexter-tui screen --classifier lab:birds-biased --class waterbird")
    return 0
