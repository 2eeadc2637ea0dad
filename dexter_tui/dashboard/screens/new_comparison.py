"""The form for a new comparison, with the settings of `dexter-tui compare`."""

from collections.abc import Callable, Mapping, Sequence

from rich.text import Text

from dexter.config import PRESETS
from dexter.errors import InputError
from dexter.reasoning.settings import FIELDS, CompareSettings
from dexter_tui import field_flags
from dexter_tui.analysis.comparison_request import Request, checked_sides, runs_missing
from dexter_tui.dashboard import operations
from dexter_tui.dashboard.screens.form_screen import (
    Checked,
    FormScreen,
    as_text,
    fuzzy,
    setting_row,
)
from dexter_tui.dashboard.widgets.form import Form, Row

# Help of the rows that are not in `CompareSettings`.
_OWN = {
    "classifiers": "2 to 8 classifiers or ids of studies, separated by commas",
    "class_name": "a label or index, or several separated by semicolons; optional for studies",
    "baseline": "compare all others with this classifier, instead of each with each",
    "run_missing": "start searches for classifiers without a finished study, before the comparison",
    "seeds": "number of runs per search",
    "preset": "settings of these searches; if empty, those of the other studies",
}


class NewComparisonScreen(FormScreen):
    """The form for a new comparison: classifiers, class and settings."""

    TITLE = "New comparison"
    FIRST = ("classifiers", "class_name", "run_missing", "concepts")
    REQUIRED = ("classifiers",)

    def __init__(self, names: Sequence[str], started: Callable[[], None] = lambda: None) -> None:
        """names: classifiers or studies; started: called when the comparison is queued."""
        super().__init__()
        self._names = names
        self._started = started

    def rows(self) -> list[Row]:
        fields = CompareSettings.model_fields
        return [
            Row("classifiers", "classifiers", ", ".join(self._names)),
            Row("class_name", "class"),
            setting_row("concepts", fields["concepts"]),
            Row("baseline", "baseline"),
            Row("", ""),
            Row("", "Missing searches"),
            Row("run_missing", "run missing", "", "no", ("", "yes", "no")),
            Row("seeds", "seeds", "", "3"),
            Row("preset", "preset", "", "", ("", *PRESETS)),
            Row("", ""),
            Row("", "Evidence"),
            *(
                setting_row(name, fields[name], default=as_text(fields[name].default))
                for name in FIELDS
                if name != "concepts"
            ),
        ]

    def help_of(self, row: Row) -> Text:
        if row.name in _OWN:
            return Text(f"{_OWN[row.name]}\n")
        return self.field_help(row.name, CompareSettings.model_fields[row.name])

    def offers(self, row: Row) -> list[str]:
        if row.name not in ("classifiers", "class_name"):
            return super().offers(row)
        # Complete the last entry; do not suggest entries that are already in the list.
        mark = "," if row.name == "classifiers" else ";"
        *before, last = [part.strip() for part in row.value.split(mark)]
        known = [one for one in self._offers.get(row.name, []) if one not in before]
        if last in known:
            return []
        return [f"{mark} ".join([*before, one]) for one in fuzzy(last, known)]

    def load(self, wish: dict[str, str]) -> Checked:
        from dexter.classifiers import list_classifiers
        from dexter.model_folders import roots
        from dexter_tui.jobs.trust import ConsentNeeded
        from store import Store, StoreError

        offers = dict(self._offers)
        if "classifiers" not in offers:
            offers["classifiers"] = [info.spec for info in list_classifiers(roots())]
        try:
            request = _request(wish)
            with Store.open(self.host.home, make=False) as store:
                sides = checked_sides(store, request)
                missing = runs_missing(request, sides)
        except ConsentNeeded as error:
            return Checked(f"after a question: {error.needs[0].line}", offers)
        except (InputError, StoreError) as error:
            return Checked("", offers, error)
        offers["baseline"] = [side.name for side in sides[0]]
        line = f"{len(sides[0])} classifiers"
        line += f", {len(sides)} classes" if len(sides) > 1 else ""
        line += f"; {missing} missing runs first" if missing else ""
        return Checked(line, offers)

    def action_start(self) -> None:
        try:
            request = _request(self.query_one(Form).values())
        except InputError as error:
            self.refuse(error, str(error))
            return

        def show(comparison_id: str) -> None:
            self._started()
            self.leave_form()
            self.host.open_comparison(comparison_id)

        def start() -> str:
            found = operations.compare(self.host.home, request)
            self.app.call_from_thread(show, found.comparison_id)
            if found.run_ids:
                return f"{len(found.run_ids)} runs queued; the comparison follows"
            return "Comparison queued; it continues if you close this window"

        self.start(start)


def _request(values: Mapping[str, str]) -> Request:
    """Return the request of the form. Raise InputError with the refused row."""
    seeds = values["seeds"] or "3"
    if not seeds.isdecimal() or len(seeds) > 9 or not 1 <= int(seeds) <= 1000:
        raise InputError(f"{seeds} is out of range: must be 1 to 1000", field="seeds", value=seeds)
    given = {name: values[name] for name in FIELDS if values[name]}
    settings = CompareSettings.from_values(field_flags.given(given, CompareSettings))
    return Request(
        names=list(dict.fromkeys(_parts(values["classifiers"], ","))),
        settings=settings,
        classes=_parts(values["class_name"], ";"),
        baseline=values["baseline"] or None,
        run_missing=values["run_missing"] == "yes",
        seeds=int(seeds),
        preset=values["preset"] or None,
    )


def _parts(text: str, mark: str) -> list[str]:
    return [part.strip() for part in text.split(mark) if part.strip()]
