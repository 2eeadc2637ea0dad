"""The common part of the commands that report on pictures: options, queue, list and files."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dexter.data.settings import DataSettings
from dexter.errors import InputError, MissingInput
from dexter_tui import field_flags, paths
from dexter_tui.analysis.data import request as data_request
from dexter_tui.analysis.data.request import FIELDS, SETTINGS, DataRequest, Queued
from dexter_tui.cli.listing import completion, typed
from dexter_tui.cli.live_progress import follow
from dexter_tui.cli.output import open_browse, open_store, print_json, print_text, print_view, say
from store.errors import StoreError
from store.states import Kind

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dexter_tui.analysis.explaining.request import ExplainRequest
    from store import Store
    from store.data_reports.page import DataPage
    from store.reading.browse import Browse

_EXAMPLES = {
    Kind.SLICES: "--classifier lab:birds-biased --data lab:birds",
    Kind.DEBIAS: "--classifier lab:birds-biased --data lab:birds",
    Kind.WHATIF: "--classifier lab:birds-biased --class waterbird",
    Kind.EXPLAIN_BIAS: "--classifier lab:fleet/old-male-100 --class old",
}

Id = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]", help="a stored report to show", autocompletion=completion.data_reports
    ),
]
ClassifierSpec = Annotated[
    str | None, typer.Option("--classifier", metavar="TEXT", help="as for `run`")
]
Data = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="labelled pictures: a folder, a CSV file or lab:SETTING"),
]
Concepts = Annotated[
    str | None,
    typer.Option(
        metavar="WORDS|ID",
        help="what to look for: words with commas, or a screening  [default: the newest screening "
        "of the classifier]",
    ),
]
Mapped = Annotated[
    list[str] | None,
    typer.Option(
        "--map", metavar="DATA=LABEL", help="the classifier's label for one of the data's"
    ),
]


def read_request(
    kind: Kind,
    classifier: str,
    data: str | None,
    concepts: str | None,
    mapping: Sequence[str] | None,
    values: dict[str, object],
    *,
    trust_code: bool,
    trust_pickle: bool,
) -> DataRequest:
    """Return the request of a command line; raise InputError for what is wrong."""
    from dexter_tui.jobs import trust

    if data is None:
        raise MissingInput("data")
    own = SETTINGS[kind].model_fields
    chosen = {name: value for name, value in values.items() if name in own}
    models = {name: values[name] for name in FIELDS if name in values}
    settings: DataSettings = SETTINGS[kind].from_values(field_flags.given(chosen, SETTINGS[kind]))
    return DataRequest(
        kind,
        classifier,
        data,
        settings,
        concepts,
        mapping or (),
        models | ({"trust_pickle": True} if trust_pickle else {}),
        trust.agreed_by({**models, "classifier": classifier}, code=trust_code, pickle=trust_pickle),
    )


def make(request: DataRequest, *, detach: bool, as_json: bool) -> tuple[str, int]:
    """Queue a report and follow its job; return its id and the exit code."""
    from store import Store, run_queue

    prepared = data_request.prepare(request, paths.home(), say)
    with Store.open(paths.home()) as store:
        run_queue.reconcile(store)
        say(data_request.outlook(prepared))
        queued = data_request.request_report(store, prepared)
        code = _followed(store, queued, detach=detach, as_json=as_json)
    return queued.report_id, code


def explain(request: "ExplainRequest", *, detach: bool, as_json: bool) -> tuple[str, int]:
    """Queue an explanation and follow its job; return the report's id and the exit code."""
    from dexter_tui.analysis.explaining import request as explaining
    from store import Store, run_queue

    prepared = explaining.prepare(request, paths.home(), say)
    with Store.open(paths.home()) as store:
        run_queue.reconcile(store)
        if request.kind is Kind.EXPLAIN_BIAS:
            say(explaining.outlook(store, prepared))
        queued = explaining.request_explanation(store, prepared)
        code = _followed(store, queued, detach=detach, as_json=as_json)
    return queued.report_id, code


def _followed(store: "Store", queued: Queued, *, detach: bool, as_json: bool) -> int:
    """Follow the job of a report, or print its id and leave it; return the exit code."""
    code = follow(store, queued.job_id, detach=detach)
    if detach:
        if as_json:
            print_json({"id": queued.report_id, "job": queued.job_id})
        else:
            print_text(queued.report_id)
    return code


def check_output(output: Path | None, suffixes: Sequence[str], *, detach: bool) -> None:
    """Raise InputError for a file that cannot be written, before the work for it begins."""
    from dexter_tui.exchange import strip

    if output is None:
        return
    strip.check_target(output, suffixes)
    if detach:
        raise InputError(
            "is written at the end of the work",
            field="output",
            value=str(output),
            remedy="omit --detach, or export the report later",
        )


def show(
    name: str,
    kind: Kind | None,
    *,
    every: bool = False,
    output: Path | None = None,
    as_json: bool = False,
) -> int:
    """Show a stored report, and write it to a file."""
    from dexter_tui.presentation.data_tables import report_view
    from store.data_reports import page as pages

    browse = open_browse()
    page = pages.page(browse, name, None if kind is None else kind.value)
    if output is not None:
        _write(browse, page, output)
    if as_json:
        print_json(page.json())
        return 0
    print_view(report_view(page, every=every, strip=_strip(browse, page)))
    if output is not None:
        print_text(output)
    return 0


def _strip(browse: "Browse", page: "DataPage") -> "RenderableType | None":
    """Return the pictures of a what-if for a terminal; None for others and for no terminal."""
    from dexter_tui.presentation.explanation_tables import strip_view
    from store.data_reports.explanations import WhatIfResult
    from store.data_reports.pictures import strip

    if not isinstance(page.result, WhatIfResult) or not sys.stdout.isatty():
        return None
    return strip_view(strip(browse, page.result), shutil.get_terminal_size().columns)


def _write(browse: "Browse", page: "DataPage", output: Path) -> None:
    """Write a report by the ending of the file."""
    from dexter_tui.exchange import strip, write
    from dexter_tui.formatting import json_text
    from store.data_reports.explanations import WhatIfResult
    from store.data_reports.pictures import strip as strip_of

    match output.suffix.lower():
        case ".json":
            strip.write_file((json_text(page.json()) + "\n").encode(), output)
        case ".png":
            if not isinstance(page.result, WhatIfResult):
                raise StoreError(f"report {page.id} is not finished", remedy="wait for its end")
            strip.write_file(strip.png(strip_of(browse, page.result)), output)
        case _:
            with open_store() as store:
                write.write(store, [page.id], output, write.form_of(output))


def show_list(kind: Kind, *, as_json: bool) -> int:
    """List the stored reports of a kind; raise InputError for options without a classifier."""
    if typed.any_but("as_json"):
        raise MissingInput("classifier")
    from dexter_tui.presentation.data_tables import reports_view
    from store.data_reports import page as pages

    found = pages.listed(open_browse(may_lack=True), kind.value)
    if as_json:
        print_json([page.json() for page in found])
    elif found:
        print_view(reports_view(found))
    else:
        say(f"no reports; dexter-tui {kind.value} {_EXAMPLES[kind]}")
    return 0
