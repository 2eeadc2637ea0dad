"""The command `whatif`: the smallest change of words that flips a classifier's decision."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dexter.config import RunConfig
from dexter.reasoning.settings import ScreenSettings
from dexter_tui import field_flags, paths
from dexter_tui.cli.explaining.request import MODEL_FIELDS, prepared_of, request_of
from dexter_tui.cli.output import (
    Json,
    TrustCode,
    TrustPickle,
    print_json,
    print_text,
    print_view,
    say,
    show_progress,
)

_SETTINGS = ("image_text",)


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    app.command()(
        field_flags.accepts(whatif, (ScreenSettings, _SETTINGS), (RunConfig, MODEL_FIELDS))
    )


def whatif(
    classifier: Annotated[str, typer.Option("--classifier", metavar="TEXT", help="as for `run`")],
    class_name: Annotated[str, typer.Option("--class", metavar="TEXT", help="a label or index")],
    *,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="a picture of yours to change, instead of one drawn for the class"
        ),
    ] = None,
    concepts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="concepts of your own, in YAML (docs/screening.md)"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="write the strip as .png, .md or .html"
        ),
    ] = None,
    as_json: Json = False,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = False,
    **values: object,
) -> None:
    """Find the smallest change of words that flips a classifier's decision.

    The words come from the newest screening of the classifier and the class, else from the concept
    pool. All pictures of the strip share their noise; the change is then checked on 32 fresh
    noises. With --image, the generator redraws your picture under the changed words, if the picture
    as it redraws it unchanged keeps the decision.
    """
    from dexter_tui.analysis.explaining.whatif import WhatIf, opened
    from dexter_tui.cli.explaining import whatif_view
    from dexter_tui.exchange import strip
    from dexter_tui.jobs import trust
    from store import Store

    if output is not None:
        strip.check_target(output)
    typed = {**values, "classifier": classifier}
    agreed = trust.agreed_by(typed, code=trust_code, pickle=trust_pickle)
    request = request_of(
        classifier, class_name, concepts, values, _SETTINGS, agreed, pickle=trust_pickle
    )
    source = None if image is None else opened(image)
    prepared = prepared_of(request)
    with Store.open(paths.home()) as store:
        progress = partial(show_progress, "pictures", every=16)
        work = WhatIf(store, prepared, say=say, on_progress=progress)
        found = work.of_words() if source is None else work.of_picture(source, str(image))
    if output is not None:
        whatif_view.write(found, output)
    if as_json:
        print_json(found.to_json())
    else:
        print_view(whatif_view.view(found))
        if output is not None:
            print_text(output)
