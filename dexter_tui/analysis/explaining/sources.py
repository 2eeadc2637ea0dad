"""The material of an explanation, as it was when it was asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.reasoning.settings import ScreenSettings
from dexter.screening.concepts import stored_pool
from dexter_tui.analysis import screening_request
from dexter_tui.analysis.desk import Desk
from dexter_tui.jobs import trust
from store import StoreError
from store.data_reports import records
from store.reading import screenings
from store.reading.browse import Browse

if TYPE_CHECKING:
    from dexter.classifiers import Classifier


class Explained:
    """The classifier, class and concepts that an explanation is about."""

    def __init__(self, desk: Desk) -> None:
        """Read them from the store; raise InputError for a pool that has changed since."""
        import torch

        from dexter.device import select_device

        torch.set_num_threads(1)
        self.desk = desk
        self.row = records.data_report(desk.store, str(desk.job.request.get("data_report")))
        asked = self.asked = self.row.request
        self.config = RunConfig.model_validate(desk.job.config).model_copy(
            update={"device": desk.device}
        )
        self.device = select_device(self.config.device)
        try:
            self.class_index = int(asked["class_index"])
            self.settings = ScreenSettings.from_values(dict(asked["settings"]))
            self.pool = stored_pool(str(asked["pool"]), asked["pool_text"], str(asked["pool_hash"]))
            self.labels = list(self.row.classifier.labels)
            self.labels[self.class_index]
        except (KeyError, TypeError, ValueError, IndexError):
            raise StoreError(
                "the request of this report is damaged", remedy="start it again"
            ) from None
        self.topic = screening_request.topic_of(
            [(self.labels, self.class_index, self.config)], self.settings
        )

    @property
    def image(self) -> Path | None:
        """Return a user's own picture; None for one that is drawn."""
        return None if self.asked.get("image") is None else Path(str(self.asked["image"]))

    def classifier(self) -> "Classifier":
        """Load the classifier; raise InputError for other labels, or without consent."""
        self.desk.loading("classifier")
        found = trust.load_classifier(self.config, self.device)
        if list(found.labels) != self.labels:
            raise InputError(
                "its labels have changed since this was asked for",
                field="classifier",
                value=self.row.classifier.spec,
                remedy="start it again",
            )
        return found

    def screened(self) -> dict[str, Any] | None:
        """Return the page of the screening, and the classifier in it as "member"; None without
        one. Raise StoreError for one that is gone."""
        if self.asked.get("screening") is None:
            return None
        page = screenings.page(Browse(self.desk.store.home), str(self.asked["screening"]))
        for member in page["members"]:
            if member["name"] == self.asked.get("member"):
                return page | {"member": member}
        raise StoreError(
            f"screening {page['id']} no longer has this classifier", remedy="start again"
        )

    def facts(self) -> dict[str, Any]:
        """Return what all results of explanations say."""
        return {"class_name": self.topic.class_name, "generator": self.config.generator}
