"""The stored screening that an explanation rests on."""

from typing import TYPE_CHECKING, Any

from dexter.classifiers import ClassifierInfo
from dexter.config import RunConfig
from dexter.reasoning.settings import ScreenSettings
from store import screening_records
from store.reading import screenings
from store.reading.browse import Browse

if TYPE_CHECKING:
    from dexter_tui.analysis.screening_request import Prepared
    from dexter_tui.jobs.submit import Checked
    from store import Store
    from store.tables import Screened


def newest(store: "Store", prepared: "Prepared", *, same_bank: bool) -> dict[str, Any] | None:
    """Return the page of the newest finished screening of this classifier and class, and its
    member as "member"; None if there is none.

    With `same_bank`, of the same concepts, subjects, generator and design. A classifier whose
    weights or options have changed since is another one.
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
        same = {
            row.name
            for row in screening_records.screened(store, page["id"])
            if row.name in names and _is_of(row, member)
        }
        for found in page["members"]:
            if found["name"] in same and found["findings"]:
                return page | {"member": found}
    return None


def _is_of(row: "Screened", member: "Checked") -> bool:
    """Return whether a member of a screening gives the answers of a checked classifier."""
    own = row.answers_key, row.class_index
    return row.answers_key is not None and own == (member.info.answers_key, member.class_index)


def prepared_of(store: "Store", screening_id: str, number: int) -> "Prepared":
    """Return a stored screening as the request of one of its classifiers, counted from 0.

    Nothing is loaded: the classifier may be gone.
    """
    from dexter_tui.analysis import screening_request
    from dexter_tui.jobs.submit import Checked

    row = screening_records.screening(store, screening_id)
    bank = screening_records.bank_of(store, row.id)
    settings = ScreenSettings.from_values(row.settings)
    members = screening_records.screened(store, row.id)
    configs = [RunConfig.model_validate(member.config) for member in members]
    topic = screening_request.topic_of(
        [
            (member.classifier.labels, member.class_index, config)
            for member, config in zip(members, configs, strict=True)
        ],
        settings,
    )
    member, stored = members[number], members[number].classifier
    info = ClassifierInfo(
        stored.spec,
        stored.labels,
        stored.image_size,
        stored.weights_hash,
        answers_key=member.answers_key,
    )
    return screening_request.Prepared(
        [Checked(configs[number], info, member.class_index)],
        [member.name],
        topic,
        screening_request.stored_concepts(bank),
        settings,
        row.bank_key,
    )
