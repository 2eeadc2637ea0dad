"""The form for a new screening, with the settings of `dexter-tui screen`."""

from collections.abc import Mapping
from functools import partial

from rich.text import Text

from dexter.errors import InputError
from dexter.reasoning.settings import SCREEN_FIELDS, ScreenSettings
from dexter_tui import field_flags
from dexter_tui.analysis.screening_request import ScreenRequest, outlook, prepare
from dexter_tui.dashboard import operations
from dexter_tui.dashboard.screens.form_screen import (
    Checked,
    FormScreen,
    as_text,
    fuzzy,
    setting_row,
)
from dexter_tui.dashboard.widgets.form import Form, Row

_OWN = {
    "classifier": "one or more classifiers, separated by commas",
    "class_name": "a label or index",
    "concepts": "lab, photographs, or a YAML file of your own (docs/screening.md); if empty, the "
    "pool that fits the generator",
}


class NewScreeningScreen(FormScreen):
    """The form for a new screening: classifiers, class, concepts and settings."""

    TITLE = "New screening"
    FIRST = ("classifier", "class_name", "concepts")
    REQUIRED = ("classifier", "class_name")

    def rows(self) -> list[Row]:
        fields = ScreenSettings.model_fields
        return [
            Row("classifier", "classifiers"),
            Row("class_name", "class"),
            Row("concepts", "concepts"),
            Row("", ""),
            Row("", "Evidence"),
            *(
                setting_row(name, fields[name], default=as_text(fields[name].default))
                for name in SCREEN_FIELDS
            ),
        ]

    def help_of(self, row: Row) -> Text:
        if row.name in _OWN:
            return Text(f"{_OWN[row.name]}\n")
        return self.field_help(row.name, ScreenSettings.model_fields[row.name])

    def offers(self, row: Row) -> list[str]:
        if row.name != "classifier":
            return super().offers(row)
        *before, last = [part.strip() for part in row.value.split(",")]
        known = [one for one in self._offers.get(row.name, []) if one not in before]
        if last in known:
            return []
        return [", ".join([*before, one]) for one in fuzzy(last, known)]

    def load(self, wish: dict[str, str]) -> Checked:
        from dexter.classifiers import list_classifiers
        from dexter.model_folders import roots
        from dexter_tui.jobs.trust import ConsentNeeded
        from store import Store, StoreError

        offers = dict(self._offers)
        if "classifier" not in offers:
            offers["classifier"] = [info.spec for info in list_classifiers(roots())]
            offers["concepts"] = ["lab", "photographs"]
        try:
            prepared = prepare(_request(wish), self.host.home)
            offers["class_name"] = list(prepared.members[0].info.labels)
            with Store.open(self.host.home, make=False) as store:
                line = outlook(store, prepared).line()
        except ConsentNeeded as error:
            return Checked(f"after a question: {error.needs[0].line}", offers)
        except (InputError, StoreError) as error:
            return Checked("", offers, error)
        return Checked(f"({line})", offers)

    def action_start(self) -> None:
        try:
            request = _request(self.query_one(Form).values())
        except InputError as error:
            self.refuse(error, str(error))
            return

        add = partial(operations.screen, self.host.home, request)
        self.queue(add, self.host.open_screening, "Screening")


def _request(values: Mapping[str, str]) -> ScreenRequest:
    """Return the request of the form. Raise InputError with the refused row."""
    given = {name: values[name] for name in SCREEN_FIELDS if values[name]}
    settings = ScreenSettings.from_values(field_flags.given(given, ScreenSettings))
    return ScreenRequest(
        classifiers=[part.strip() for part in values["classifier"].split(",") if part.strip()],
        class_name=values["class_name"],
        settings=settings,
        pool=values["concepts"] or None,
    )
