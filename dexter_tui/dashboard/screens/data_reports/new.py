"""The form for slices or a debiasing, with the settings of `dexter-tui slices` and `debias`."""

from collections.abc import Mapping
from functools import partial

from rich.text import Text

from dexter.data.read_once import ReadOnce
from dexter.errors import InputError
from dexter_tui import field_flags
from dexter_tui.analysis.data.request import SETTINGS, DataRequest, outlook, prepare
from dexter_tui.dashboard import operations
from dexter_tui.dashboard.screens.form_screen import (
    Checked,
    FormScreen,
    as_text,
    paths_from,
    setting_row,
)
from dexter_tui.dashboard.widgets.form import Form, Row
from store.states import Kind

_OWN = {
    "classifier": "as for a new run",
    "data": "labelled pictures: a folder, a CSV file or lab:SETTING (docs/slices.md); they stay on "
    "this machine",
    "concepts": "words with commas, or a screening; if empty, the newest screening of the "
    "classifier",
    "map": "DATA=LABEL, several with commas, where a label of the data is not the classifier's",
}
_TITLES = {Kind.SLICES: "New slices", Kind.DEBIAS: "New debiasing"}


class NewDataReportScreen(FormScreen):
    """The form for a report on labelled pictures."""

    FIRST = ("classifier", "data")
    REQUIRED = ("classifier", "data")

    @property
    def heading(self) -> str:
        return _TITLES[self._kind]

    def __init__(self, kind: Kind) -> None:
        """kind: slices or a debiasing."""
        super().__init__()
        self._kind = kind
        self._read = ReadOnce()
        self._fields = SETTINGS[kind].model_fields

    def rows(self) -> list[Row]:
        return [
            Row("classifier", "classifier"),
            Row("data", "data"),
            Row("concepts", "concepts"),
            Row("", ""),
            Row("", "Settings"),
            Row("map", "map"),
            *(
                setting_row(name, field, default=as_text(field.default))
                for name, field in self._fields.items()
            ),
        ]

    def help_of(self, row: Row) -> Text:
        if row.name in _OWN:
            return Text(f"{_OWN[row.name]}\n")
        return self.field_help(row.name, self._fields[row.name])

    def offers(self, row: Row) -> list[str]:
        if row.name == "data" and row.value.startswith(("/", ".", "~")):
            return paths_from(row.value, (".csv",))
        return super().offers(row)

    def load(self, wish: dict[str, str]) -> Checked:
        from dexter.classifiers import list_classifiers
        from dexter.lab.scenes import PLANTED, SETTINGS
        from dexter.model_folders import roots
        from dexter_tui.jobs.trust import ConsentNeeded
        from store import StoreError
        from store.reading import screenings

        offers = dict(self._offers)
        if "classifier" not in offers:
            offers["classifier"] = [info.spec for info in list_classifiers(roots())]
            offers["data"] = [f"lab:{name}" for name in (*SETTINGS, *PLANTED)]
            offers["concepts"] = [str(one["id"]) for one in screenings.listed(self.host.browse)]
        try:
            prepared = prepare(self._request(wish), self.host.home, read=self._read)
            offers["group"] = list(prepared.data.columns)
        except ConsentNeeded as error:
            return Checked(f"after a question: {error.needs[0].line}", offers)
        except (InputError, StoreError) as error:
            return Checked("", offers, error)
        return Checked(f"({outlook(prepared)})", offers)

    def _request(self, values: Mapping[str, str]) -> DataRequest:
        """Return the request of the form. Raise InputError with the refused row."""
        given = {name: values[name] for name in self._fields if values[name]}
        for name in self.REQUIRED:
            if not values[name]:
                raise InputError("is required", field=name, remedy="fill it in")
        return DataRequest(
            self._kind,
            values["classifier"],
            values["data"],
            SETTINGS[self._kind].from_values(field_flags.given(given, SETTINGS[self._kind])),
            values["concepts"] or None,
            [part.strip() for part in values["map"].split(",") if part.strip()],
        )

    def action_start(self) -> None:
        try:
            request = self._request(self.query_one(Form).values())
        except InputError as error:
            self.refuse(error, str(error))
            return

        add = partial(operations.report_on_pictures, self.host.home, request)
        self.queue(add, self.host.open_data_report, self.heading[4:].capitalize())
