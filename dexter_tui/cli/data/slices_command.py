"""The command `slices`: the classifier's errors on labelled pictures, by the concepts they show."""

from typing import Annotated

import typer

from dexter.config import RunConfig
from dexter.data.settings import SlicesSettings
from dexter_tui import field_flags
from dexter_tui.analysis.data.request import FIELDS
from dexter_tui.cli.data import reports
from dexter_tui.cli.data.reports import ClassifierSpec, Concepts, Data, Id, Mapped
from dexter_tui.cli.listing import typed
from dexter_tui.cli.output import Detach, Json, TrustCode, TrustPickle
from store.states import Kind


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    fields = list(SlicesSettings.model_fields)
    app.command()(field_flags.accepts(slices, (SlicesSettings, fields), (RunConfig, FIELDS)))


def slices(
    name: Id = None,
    *,
    classifier: ClassifierSpec = None,
    data: Data = None,
    concepts: Concepts = None,
    mapping: Mapped = None,
    every: Annotated[bool, typer.Option("--all", help="list all slices")] = False,
    detach: Detach = False,
    as_json: Json = False,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = False,
    **values: object,
) -> int:
    """Show on which of your pictures a classifier errs, by the concepts in them.

    The words come from a screening or from you, and an image-text model sees which picture shows
    them: no true group is used, unless you name one with --group to judge the slices. The pictures
    stay on this machine, unless the classifier is an address. Without options, lists the stored
    reports.
    """
    if name is not None:
        typed.refuse_others(name, "every", "as_json")
        return reports.show(name, Kind.SLICES, every=every, as_json=as_json)
    if classifier is None:
        return reports.show_list(Kind.SLICES, as_json=as_json)
    request = reports.read_request(
        Kind.SLICES, classifier, data, concepts, mapping, values,
        trust_code=trust_code, trust_pickle=trust_pickle,
    )  # fmt: skip
    made, code = reports.make(request, detach=detach, as_json=as_json)
    if detach or code:
        return code
    return reports.show(made, Kind.SLICES, every=every, as_json=as_json)
