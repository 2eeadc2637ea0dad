"""The base of the pages along the steps of a run."""

from textual.containers import VerticalScroll
from textual.message import Message

from dexter_tui.dashboard.actions import bindings


class StepsPage(VerticalScroll, can_focus=True, inherit_bindings=False):
    """A page along the steps: left, right, home and end move the cursor."""

    BINDINGS = bindings("steps")

    class Zoom(Message):
        """The request to show fewer (2) or more (-2) steps, or all (0)."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def action_zoom(self, by: int) -> None:
        self.post_message(self.Zoom(by))
