"""The base of the commands that explain: a checked request, and a stored screening of it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexter.config import fields_of
from dexter.reasoning.settings import ScreenSettings
from dexter_tui import field_flags, paths
from dexter_tui.cli.output import say
from store.reading import screenings
from store.reading.browse import Browse

if TYPE_CHECKING:
    from dexter_tui.analysis.screening_request import Prepared, ScreenRequest
    from store import Store

MODEL_FIELDS = [
    name
    for name in fields_of("classifier", "generator", "machine")
    if name not in ("classifier", "trust_pickle")
]


def request_of(
    classifier: str,
    class_name: str,
    concepts: Path | None,
    values: Mapping[str, object],
    settings: Collection[str],
    agreed: frozenset[str],
    *,
    pickle: bool,
) -> "ScreenRequest":
    """Return the screening that a command line asks for. settings: names of those it can set."""
    from dexter_tui.analysis.screening_request import ScreenRequest

    models = {field: values[field] for field in MODEL_FIELDS if field in values}
    given = {field: values.get(field) for field in (*settings, "device")}
    return ScreenRequest(
        classifiers=[classifier],
        class_name=class_name,
        settings=ScreenSettings.from_values(field_flags.given(given, ScreenSettings)),
        pool=None if concepts is None else str(concepts),
        values=models | ({"trust_pickle": True} if pickle else {}),
        agreed=agreed,
    )


def prepared_of(request: "ScreenRequest") -> "Prepared":
    """Return the checked request; raise InputError, also where consent is missing."""
    from dexter_tui.analysis import screening_request

    return screening_request.prepare(request, paths.home(), say)


def newest(store: "Store", prepared: "Prepared", *, same_bank: bool) -> dict[str, Any] | None:
    """Return the page of the newest finished screening of this classifier and class, and its
    member as "member"; None if there is none.

    With `same_bank`, of the same concepts, subjects, generator and design.
    """
    browse = Browse(store.home)
    [member] = prepared.members
    names = {member.info.spec, member.config.classifier, *prepared.names}
    for one in screenings.listed(browse):
        if one["state"] != "done" or one["class_name"] != prepared.topic.class_name:
            continue
        if not names & set(one["classifiers"]):
            continue
        page = screenings.page(browse, one["id"])
        if same_bank and page["bank"] != prepared.bank_key:
            continue
        for found in page["members"]:
            if found["name"] in names and found["findings"]:
                return page | {"member": found}
    return None
