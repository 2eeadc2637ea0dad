"""The actions of the home screen on the marked runs, or on the run or study at the cursor."""

from dexter_tui.dashboard import operations
from dexter_tui.dashboard.screens.base import DataScreen
from dexter_tui.dashboard.widgets.run_list import RunList
from store.reading.browse import RunRow


class RunActions(DataScreen):
    """A screen with a list of runs that can be acted on."""

    @property
    def runs(self) -> RunList:
        """The list."""
        return self.query_one(RunList)

    def list_again(self) -> None:
        """Read the list again, without marks."""
        raise NotImplementedError

    def _chosen(self) -> list[RunRow]:
        keys = self.runs.chosen()
        browse = self.host.browse
        runs = list(browse.runs(key for key in keys if key > 0).values())
        for study in browse.studies(-key for key in keys if key < 0).values():
            runs += browse.study_runs(study.id)
        return runs

    def _names(self) -> list[str]:
        """Return the ids of the marked or selected runs and studies."""
        keys = self.runs.chosen()
        browse = self.host.browse
        names = [run.id for run in browse.runs(key for key in keys if key > 0).values()]
        names += [study.id for study in browse.studies(-key for key in keys if key < 0).values()]
        return names

    def action_pause(self) -> None:
        if runs := self._chosen():
            self.do(lambda: operations.pause(self.host.home, runs))

    def action_cancel(self) -> None:
        if runs := self._chosen():
            self.confirm_cancel(runs)

    def action_retry(self) -> None:
        if runs := self._chosen():
            self.do(lambda: operations.retry(self.host.home, runs))

    def action_prioritise(self, by: int) -> None:
        if runs := self._chosen():
            self.do(lambda: operations.prioritise(self.host.home, runs, by))

    def action_export(self) -> None:
        if names := self._names():
            self.export(names)

    def action_tag(self) -> None:
        if runs := self._chosen():
            self.ask_tag(runs)

    def action_note(self) -> None:
        if (row := self.runs.row_at_cursor) is not None:
            self.edit_note(row.id)

    def action_archive(self) -> None:
        names = self._names()

        def archive() -> str:
            line = operations.archive(self.host.home, names)
            self.app.call_from_thread(self.list_again)
            return line

        if names:
            self.do(archive)

    def action_delete(self) -> None:
        if names := self._names():
            self.confirm_delete(names)

    def action_compare(self) -> None:
        keys = self.runs.marked
        studies = {run.study_id for run in self.host.browse.runs(k for k in keys if k > 0).values()}
        if not studies or self.host.options.read_only:
            self.host.open_comparisons()
        elif len(studies) == 1:
            self.host.complain(
                f"the marked runs belong to one study, {studies.pop()}: "
                "mark runs of another study, too"
            )
        else:
            self.host.open_new_comparison(sorted(studies), self.list_again)
