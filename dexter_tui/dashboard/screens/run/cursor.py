"""The cursor on the steps of a run, and the steps that are visible around it."""

from collections.abc import Sequence

from dexter_tui.dashboard.widgets.chart import Axis

_LEAST_SPAN = 4  # steps


class Cursor:
    """The step that all pages of a run show. It follows the newest step until it is moved."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        """The steps of the run, in order"""
        self.at = 1
        self.following = True
        self.last_to_come: int | None = None
        """The step limit of a run that continues: the axis leaves room for the steps to come"""
        self._window: tuple[int, int] | None = None

    def show(self, numbers: Sequence[int], last_to_come: int | None, *, follow: bool) -> None:
        """Take these steps; move to the newest one if `follow` and nothing else was chosen."""
        self.numbers, self.last_to_come = list(numbers), last_to_come
        if follow and self.following and self.numbers:
            self.at = self.numbers[-1]
            self._move_window()

    @property
    def axis(self) -> Axis:
        """The range of visible steps and the cursor."""
        last = max(self.numbers[-1] if self.numbers else 1, self.last_to_come or 1, 2)
        first, last = self._window or (1, last)
        return Axis(first, last, self.at)

    def go(self, step: int) -> None:
        """Move to a step, and the visible steps with it."""
        if not self.numbers:
            return
        self.at = max(self.numbers[0], min(step, self.numbers[-1]))
        self.following = self.at == self.numbers[-1]
        self._move_window()

    def _move_window(self) -> None:
        """Move the visible steps until the cursor is among them."""
        if self._window is not None:
            first, last = self._window
            span = last - first
            if self.at < first:
                self._window = (self.at, self.at + span)
            elif self.at > last:
                self._window = (self.at - span, self.at)

    def zoom(self, by: int) -> None:
        """Show half (2) or twice (-2) as many steps around the cursor, or all (0)."""
        axis, self._window = self.axis, None
        whole = self.axis
        if by:
            shown = axis.last - axis.first
            span = max(shown // 2 if by > 0 else shown * 2, _LEAST_SPAN)
            if span < whole.last - whole.first:
                first = max(whole.first, min(self.at - span // 2, whole.last - span))
                self._window = (first, first + span)
