"""The command `ask`: questions in free words, answered without drawing."""

from pathlib import Path
from typing import Annotated

import typer

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.reasoning.settings import ScreenSettings
from dexter_tui import field_flags, paths
from dexter_tui.cli.output import (
    Json,
    TrustCode,
    TrustPickle,
    open_store,
    print_json,
    print_text,
    print_view,
    say,
)
from dexter_tui.cli.screening.request import MODEL_FIELDS, Concepts, request_of

_SETTINGS = ("image_text",)
_SUFFIXES = (".md", ".html", ".json")


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    app.command()(field_flags.accepts(ask, (ScreenSettings, _SETTINGS), (RunConfig, MODEL_FIELDS)))


def ask(
    questions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help='what to ask about, such as "a duck at night"'),
    ] = None,
    *,
    classifier: Annotated[str, typer.Option("--classifier", metavar="TEXT", help="as for `run`")],
    class_name: Annotated[str, typer.Option("--class", metavar="TEXT", help="a label or index")],
    unit: Annotated[
        list[int] | None,
        typer.Option("--unit", metavar="N", help="name this unit of the features; can be repeated"),
    ] = None,
    concepts: Concepts = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="write the answers as .md, .html or .json"
        ),
    ] = None,
    as_json: Json = False,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = False,
    **values: object,
) -> None:
    """Guess a classifier's answer to words of your own, without drawing.

    A map from texts to the classifier's answers is learned on the pictures of the newest screening
    of the classifier and the class. `dexter-tui probe` tests a question on pictures.
    """
    from dexter_tui.analysis import screening_request
    from dexter_tui.analysis.explaining.ask import Asking, page_of
    from dexter_tui.cli.explaining import ask_view
    from dexter_tui.exchange import strip
    from dexter_tui.jobs import trust

    if not questions and not unit:
        raise InputError(
            "nothing is asked", field="questions", remedy="name a text, or a unit with --unit"
        )
    if output is not None:
        strip.check_target(output, _SUFFIXES)
    typed = {**values, "classifier": classifier}
    agreed = trust.agreed_by(typed, code=trust_code, pickle=trust_pickle)
    request = request_of(
        [classifier], class_name, concepts, values, _SETTINGS, agreed, pickle=trust_pickle
    )
    prepared = screening_request.prepare(request, paths.home(), say)
    with open_store() as store:
        asking = Asking(store, prepared, page_of(store, prepared), say=say)
        found = asking.answers(questions or [], unit or [])
    if output is not None:
        ask_view.write(found, output)
    if as_json:
        print_json(found.to_json())
    else:
        print_view(ask_view.view(found))
        if output is not None:
            print_text(output)
