"""The common part of the commands on labelled pictures: options, queue, list and export."""

from collections.abc import Sequence
from typing import Annotated

import typer

from dexter.data.settings import DataSettings
from dexter.errors import InputError
from dexter_tui import field_flags, paths
from dexter_tui.analysis.data import request as data_request
from dexter_tui.analysis.data.request import FIELDS, SETTINGS, DataRequest
from dexter_tui.cli.listing import completion
from dexter_tui.cli.live_progress import follow
from dexter_tui.cli.output import has_store, open_store, print_json, print_text, print_view, say
from store.states import Kind

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
        raise InputError("is required", field="data", remedy="name a folder or a CSV file")
    own = SETTINGS[kind].model_fields
    typed = {name: value for name, value in values.items() if name in own}
    models = {name: values[name] for name in FIELDS if name in values}
    settings: DataSettings = SETTINGS[kind].from_values(field_flags.given(typed, SETTINGS[kind]))
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
        code = follow(store, queued.job_id, detach=detach)
    if detach:
        if as_json:
            print_json({"id": queued.report_id, "job": queued.job_id})
        else:
            print_text(queued.report_id)
    return queued.report_id, code


def show(name: str, kind: Kind, *, every: bool = False, as_json: bool = False) -> int:
    """Show a stored report."""
    from dexter_tui.presentation.data_tables import report_view
    from store.data_reports import page as pages
    from store.reading.browse import Browse

    open_store().close()
    page = pages.page(Browse(paths.home()), name, kind.value)
    if as_json:
        print_json(page.json())
    else:
        print_view(report_view(page, every=every))
    return 0


def show_list(kind: Kind, data: str | None, *, as_json: bool) -> int:
    """List the stored reports of a kind; raise InputError for ``data`` without a classifier."""
    if data is not None:
        raise InputError("is required", field="classifier", remedy="name one")
    from dexter_tui.presentation.data_tables import reports_view
    from store.data_reports import page as pages
    from store.reading.browse import Browse

    if has_store():
        open_store().close()  # upgrades an older one
    found = pages.listed(Browse(paths.home()), kind.value)
    if as_json:
        print_json([page.json() for page in found])
    elif found:
        print_view(reports_view(found))
    else:
        say(f"no reports; dexter-tui {kind.value} --classifier lab:birds-biased --data lab:birds")
    return 0
