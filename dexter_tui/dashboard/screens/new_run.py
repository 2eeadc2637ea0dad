"""The form for new runs, made from the fields of `RunConfig`."""

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from dexter.config import PRESETS, RunConfig, fields_of, group_of
from dexter.errors import InputError
from dexter_tui import field_flags
from dexter_tui.dashboard import operations
from dexter_tui.dashboard.screens.form_screen import (
    Checked,
    FormScreen,
    as_text,
    setting_row,
)
from dexter_tui.dashboard.widgets.form import Form, Row
from dexter_tui.formatting import duration, size
from dexter_tui.jobs import trust

_SEEDS_NOTE = "number of runs"

_FIRST = ("classifier", "class_name")


class NewRunScreen(FormScreen):
    """The form for new runs: classifier and class first, then all settings."""

    TITLE = "New runs"
    FIRST = (*_FIRST, "seeds", "preset")
    REQUIRED = _FIRST

    def __init__(self, start: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._start = dict(start or {})
        preset = str(self._start.get("preset", "default" if start else "quick"))
        self._preset = preset if preset in PRESETS else "default"

    def rows(self) -> list[Row]:
        fields = RunConfig.model_fields
        rows = [setting_row(name, fields[name], as_text(self._start.get(name))) for name in _FIRST]
        rows.append(Row("seeds", "seeds", self._seeds(), note=_SEEDS_NOTE))
        rows.append(Row("preset", "preset", self._preset, values=list(PRESETS)))
        for group in dict.fromkeys(map(group_of, fields)):
            names = (set(fields_of(group)) & field_flags.RUN_FLAGS) - set(_FIRST)
            if names:
                rows += [Row("", ""), Row("", group[0].upper() + group[1:])]
            rows += [
                setting_row(name, fields[name], as_text(self._start.get(name)), self._default(name))
                for name in fields_of(group)
                if name in names
            ]
        # A classifier of the user's needs a named generator, also where it names the default.
        named = next(row for row in rows if row.name == "generator")
        named.value = as_text(self._start.get("generator"))
        return rows

    def _seeds(self) -> str:
        return "3" if "seed" not in self._start else f"{int(self._start['seed']) + 1}"

    def _default(self, name: str) -> str:
        field = RunConfig.model_fields[name]
        preset = PRESETS[self._preset]
        return as_text(preset.get(name, None if field.is_required() else field.default))

    # Checking

    def changed(self, form: Form) -> None:
        if form["preset"].value != self._preset:
            self._preset = form["preset"].value
            for row in form.rows:
                if row.name in RunConfig.model_fields and row.name not in self.FIRST:
                    row.placeholder = self._default(row.name)
            form.update_rows()

    def configs(self, values: Mapping[str, str]) -> list[RunConfig]:
        """Return the configurations of the form. Raise InputError with the refused field."""
        given: dict[str, object] = {}
        for name, value in values.items():
            if value and name not in ("seeds", "preset"):
                given[name] = {"yes": True, "no": False}.get(value, value)
        count = values["seeds"] or "1"
        if not count.isdecimal() or len(count) > 9 or not 1 <= int(count) <= 1000:
            raise InputError(
                f"{count} is out of range: must be 1 to 1000", field="seeds", value=count
            )
        return field_flags.configs(values["preset"], range(int(count)), given)

    def load(self, wish: dict[str, str]) -> Checked:
        from dexter.classifiers import class_index, list_classifiers
        from dexter.model_folders import roots
        from dexter.planning.estimate import estimate
        from dexter_tui.jobs import submit
        from dexter_tui.jobs.describe import describe

        classifiers = self._offers.get("classifier") or [
            info.spec for info in list_classifiers(roots())
        ]
        offers: dict[str, list[str]] = {"classifier": classifiers}
        try:
            if wish["classifier"]:
                probe = RunConfig.from_preset(
                    "default",
                    **{
                        name: {"yes": True, "no": False}.get(wish[name], wish[name])
                        for name in fields_of("classifier")
                        if wish.get(name)
                    },
                    class_name="0",
                )
                probe = submit.with_full_paths(probe)
                if not probe.classifier.startswith("python:") and not trust.lacking([probe]):
                    info = describe(probe)
                    offers["class_name"] = info.labels
                    if wish["class_name"]:
                        class_index(info.labels, wish["class_name"])
            configs = self.configs(wish)
            submit.require_generator(configs)
            expected = estimate(configs[0])
        except InputError as error:
            return Checked("", offers, error)
        count = len(configs)
        line = (
            f"{count} run{'s' if count > 1 else ''}, up to {duration(expected.total_seconds)} and "
            f"{size(expected.peak_bytes)} each (estimate)"
        )
        return Checked(line, offers)

    # Help

    def note(self, row: Row) -> str:
        if row.name == "seeds":
            return _SEEDS_NOTE
        if row.placeholder and row.value:
            return f"preset: {row.placeholder}" if row.value != row.placeholder else ""
        return ""

    def help_of(self, row: Row) -> Text:
        if row.name in RunConfig.model_fields and row.name != "preset":
            return self.field_help(row.name, RunConfig.model_fields[row.name])
        if row.name == "seeds":
            return Text(
                "number of runs, one per seed; words found by several seeds are more reliable\n"
            )
        return Text("the settings to start from; values that you fill in override them\n")

    def action_start(self) -> None:
        try:
            configs = self.configs(self.wish())
        except InputError as error:
            self.refuse(error, str(error))
            return
        home = self.host.home

        def start() -> str:
            ids = operations.enqueue(home, configs)
            self.app.call_from_thread(self.leave_form)
            return f"{len(ids)} run{'s' if len(ids) > 1 else ''} queued"

        self.start(start)
