"""The help of `run`: what matters first, then the settings by group."""

from typer._click import Context, HelpFormatter  # typer's own copy of click
from typer.core import TyperCommand

from dexter.config import RunConfig, group_of
from dexter.reasoning.settings import ReportSettings
from dexter_tui.field_flags import RUN_FLAGS

_FIRST = ("classifier", "class_name", "generator", "preset", "seeds")
_REQUIRED = ("classifier", "class_name")


class RunCommand(TyperCommand):
    """The command, with its options in groups."""

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {"Most used": [], "Command": []}
        parameters = {str(one.name): one for one in self.get_params(ctx)}
        rest = [name for name in parameters if name not in _FIRST]
        fields = RunConfig.model_fields
        for name in (*_FIRST, *rest):
            record = parameters[name].get_help_record(ctx)
            if record is None:
                continue
            option, line = record
            if name in _FIRST:
                group = "Most used"
            elif name in fields and name in RUN_FLAGS:
                group = group_of(name)
                group = group[0].upper() + group[1:]
            elif name in ReportSettings.model_fields:
                group = "Report"
            else:
                group = "Command"
            required = "  [required]" if name in _REQUIRED else ""
            groups.setdefault(group, []).append((option, line + required))
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)
