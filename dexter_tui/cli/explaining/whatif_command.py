"""The command `whatif`: the smallest change of words that flips a classifier's decision."""

from pathlib import Path
from typing import Annotated

import typer

from dexter.config import RunConfig
from dexter.reasoning.settings import ScreenSettings
from dexter_tui import field_flags
from dexter_tui.cli.data import reports
from dexter_tui.cli.data.reports import ClassifierSpec, Id
from dexter_tui.cli.listing import typed
from dexter_tui.cli.output import Detach, Json, TrustCode, TrustPickle
from dexter_tui.cli.screening.request import MODEL_FIELDS, ClassName, Concepts, request_of
from store.states import Kind

_SETTINGS = ("image_text",)
_SUFFIXES = (".md", ".html", ".png")


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    app.command()(
        field_flags.accepts(whatif, (ScreenSettings, _SETTINGS), (RunConfig, MODEL_FIELDS))
    )


def whatif(
    name: Id = None,
    *,
    classifier: ClassifierSpec = None,
    class_name: ClassName = None,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="a picture of yours to change, instead of one drawn for the class"
        ),
    ] = None,
    concepts: Concepts = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="write the strip as .png, .md or .html"
        ),
    ] = None,
    detach: Detach = False,
    as_json: Json = False,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = False,
    **values: object,
) -> int:
    """Find the smallest change of words that flips a classifier's decision.

    The words come from the newest screening of the classifier and the class, else from the concept
    pool. All pictures of the strip share their noise; the change is then checked on 32 fresh
    noises. With --image, the generator redraws your picture under the changed words, if the picture
    as it redraws it unchanged keeps the decision. Ctrl-C cancels it; `dexter-tui retry` continues
    it. Without options, lists the stored what-ifs.
    """
    from dexter_tui.analysis.explaining.request import ExplainRequest
    from dexter_tui.jobs import trust

    if name is not None:
        typed.refuse_others(name, "output", "as_json")
    reports.check_output(output, _SUFFIXES, detach=detach)
    if name is None and classifier is None:
        return reports.show_list(Kind.WHATIF, as_json=as_json)
    if name is None:
        assert classifier is not None
        agreed = trust.agreed_by(
            {**values, "classifier": classifier}, code=trust_code, pickle=trust_pickle
        )
        request = request_of(
            [classifier], class_name, concepts, values, _SETTINGS, agreed, pickle=trust_pickle
        )
        asked = ExplainRequest(Kind.WHATIF, request, image)
        name, code = reports.explain(asked, detach=detach, as_json=as_json)
        if detach or code:
            return code
    return reports.show(name, Kind.WHATIF, output=output, as_json=as_json)
