"""The stored screening that an explanation rests on."""

from typing import TYPE_CHECKING, Any

from store.reading import screenings
from store.reading.browse import Browse

if TYPE_CHECKING:
    from dexter_tui.analysis.screening_request import Prepared
    from store import Store


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
