"""The command `debias`: a classifier that relies less on a concept, measured on your pictures."""

from pathlib import Path
from typing import Annotated

import typer

from dexter.config import RunConfig
from dexter.data.settings import DebiasSettings
from dexter.errors import InputError
from dexter_tui import field_flags, paths
from dexter_tui.analysis.data.request import FIELDS
from dexter_tui.cli.data import reports
from dexter_tui.cli.data.reports import ClassifierSpec, Concepts, Data, Id, Mapped
from dexter_tui.cli.listing import typed
from dexter_tui.cli.output import Detach, Json, TrustCode, TrustPickle, open_store, print_text
from store.states import Kind


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    fields = list(DebiasSettings.model_fields)
    app.command()(field_flags.accepts(debias, (DebiasSettings, fields), (RunConfig, FIELDS)))


def debias(
    name: Id = None,
    *,
    classifier: ClassifierSpec = None,
    data: Data = None,
    concepts: Concepts = None,
    mapping: Mapped = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="write the weights as .safetensors"),
    ] = None,
    detach: Detach = False,
    as_json: Json = False,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = False,
    **values: object,
) -> int:
    """Fit or train a classifier again, so that it relies less on a concept.

    The groups to balance come from a screening or your words, as an image-text model sees them in
    your pictures. Answers are limited to the classes of the data. Compares GroupDRO, deep feature
    reweighting and others with fits without groups, then screens what came out on the same
    pictures. Ctrl-C cancels it; `dexter-tui retry` continues it. Without options, lists the stored
    reports.
    """
    if name is not None:
        typed.refuse_others(name, "output", "as_json")
    if output is not None and output.suffix != ".safetensors":
        raise InputError(
            f"{output} is no .safetensors file", field="output", value=str(output),
            remedy="name one that ends in .safetensors",
        )  # fmt: skip
    if output is not None and not output.parent.is_dir():
        raise InputError(
            f"{output.parent} is no folder", field="output", value=str(output),
            remedy="make it first",
        )  # fmt: skip
    if output is not None and detach:
        raise InputError(
            "is written at the end of the work", field="output", value=str(output),
            remedy="omit --detach, or write it later: dexter-tui debias ID -o FILE",
        )  # fmt: skip
    if name is None and classifier is None:
        return reports.show_list(Kind.DEBIAS, as_json=as_json)
    if name is None:
        assert classifier is not None
        request = reports.read_request(
            Kind.DEBIAS, classifier, data, concepts, mapping, values,
            trust_code=trust_code, trust_pickle=trust_pickle,
        )  # fmt: skip
        name, code = reports.make(request, detach=detach, as_json=as_json)
        if detach or code:
            return code
    if output is not None:
        _write(name, output)
    code = reports.show(name, Kind.DEBIAS, as_json=as_json)
    if output is not None and not as_json:
        print_text(output)
    return code


def _write(name: str, output: Path) -> None:
    """Copy the weights of a report."""
    from store import artifacts
    from store.data_reports import records

    with open_store() as store:
        folder = records.folder(paths.home(), records.data_report(store, name).id)
    try:
        with artifacts.open_to_read(folder / records.WEIGHTS) as file:
            output.write_bytes(file.read())
    except OSError as error:
        raise InputError(
            f"the weights of {name} cannot be copied: {error.strerror}", field="output",
            value=str(output), remedy="name another file, or debias again",
        ) from None  # fmt: skip
