"""The interface of the application to its screens and widgets.

Screens and widgets know only this protocol; only the application imports screens.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from textual.message_pump import MessagePump

from dexter_tui.dashboard.cells import Pictures
from dexter_tui.dashboard.options import Options
from dexter_tui.dashboard.remembered import Remembered
from dexter_tui.dashboard.themes import Palette, Signs
from store.reading.browse import Browse, FrameRow
from store.states import Kind


class Copied(NamedTuple):
    """The text that the key y copies: screens and widgets return it from a method `copied`."""

    what: str
    """Its name, for the notice"""
    text: str


class Host(Protocol):
    """The part of the application that screens and widgets use."""

    home: Path
    options: Options
    browse: Browse
    pictures: Pictures
    palette: Palette
    signs: Signs
    remembered: Remembered
    query_draft: str
    """The text in the SQL editor when it was last left"""

    def inform(self, line: str) -> None:
        """Show a notice."""

    def complain(self, line: str) -> None:
        """Show an error notice."""

    def note_defect(self, trace: str) -> None:
        """Record a traceback in dashboard.log."""

    def open_run(self, run_id: str) -> None:
        """Open the screen of a run."""

    def open_study(self, study_id: str) -> None:
        """Open the screen of a study."""

    def open_comparison(self, comparison_id: str) -> None:
        """Open the screen of a comparison."""

    def open_comparisons(self) -> None:
        """Open the list of comparisons."""

    def open_start(self) -> None:
        """Open the guided start."""

    def open_new_run(self, settings: Mapping[str, Any] | None = None) -> None:
        """Open the form for new runs, filled in from `settings`."""

    def open_new_comparison(
        self, study_ids: Sequence[str], started: Callable[[], None] = lambda: None
    ) -> None:
        """Open the form for a new comparison of studies; its start calls ``started``."""

    def open_screening(self, screening_id: str) -> None:
        """Open the screen of a screening."""

    def open_screenings(self) -> None:
        """Open the list of screenings."""

    def open_new_screening(self) -> None:
        """Open the form for a new screening."""

    def open_questions(
        self, screening_id: str, member: int, classifier: str, class_name: str
    ) -> None:
        """Open the screen of questions about a classifier of a screening, counted from 0."""

    def open_data_report(self, report_id: str) -> None:
        """Open the screen of a report on pictures."""

    def open_new_data_report(self, kind: Kind) -> None:
        """Open the form for slices or a debiasing."""

    def open_data_reports(self) -> None:
        """Open the list of reports on pictures."""

    def open_devices(self) -> None:
        """Open the screen of the devices."""

    def open_query(self) -> None:
        """Open the SQL editor."""

    def open_picture(
        self,
        frames: Sequence[FrameRow],
        at: int,
        answers: Sequence[str],
        turned: Callable[[FrameRow], None],
    ) -> None:
        """Show one of the frames enlarged; call `turned` with each one that is then turned to."""

    def open_pairs(self, claim_id: int, concept: str, classifier: str, class_name: str) -> None:
        """Show the picture pairs behind a claim."""


def host_of(node: MessagePump) -> Host:
    """Return the application that a screen or widget belongs to."""
    return cast(Host, node.app)
