"""The time that an audit takes: an estimate before it, and the time left while it runs."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dexter_tui.analysis.audit_estimate import Outlook, together
from dexter_tui.analysis.screening_request import START_SECONDS
from dexter_tui.formatting import duration
from store import ENDED, State
from store.tables import Job, Run

if TYPE_CHECKING:
    from store import Store
    from store.run_queue import Work


_SHORT = 5.0  # seconds of drawing in which a pace is not yet measured
_RECENT = 60.0  # seconds of drawing by which the pace is measured
_REPORT = 5.0  # seconds in which the reports are written
_OF_PAIRS = 0.85
"""The time of a picture of a pair, of the time of one of a screening, at which all models look."""


class TimeLeft:
    """The time left of the searches and screenings of an audit.

    The pace is the time per picture of the last minute of drawing. The start of a job is not
    part of it.
    """

    def __init__(
        self, store: "Store", outlooks: Mapping[str, Outlook], searches: Mapping[str, float]
    ) -> None:
        """Begin with the outlook of each job and the seconds of each run, by id."""
        self._store = store
        self._outlooks = outlooks
        self._searches = searches
        self._looked_at: float | None = None
        self._pictures = dict.fromkeys(outlooks, 0)  # of each job at the last look
        self._screened: dict[str, tuple[int, int]] = {}  # then the pictures so far, and of claims
        self._drawing: dict[str, int] = {}  # by job, the attempt that has a first picture
        # Seconds of jobs since the first picture of each, and the pictures in that time.
        self._paces: deque[tuple[float, float]] = deque([(0.0, 0.0)])

    def line(self, works: "Sequence[Work]") -> str:
        """Return the estimate; "" while nothing is known beyond the first one."""
        jobs = [work for work in works if isinstance(work, Job)]
        runs = [work for work in works if isinstance(work, Run)]
        self._look(jobs)
        pace = self._pace()
        if pace is None and not any(run.steps_done for run in runs):
            return ""
        searching = together([self._left_of_search(run) for run in runs])
        testing = together([self._seconds(job, pace) for job in jobs])
        done = sum(self._pictures.values())
        expected = done + sum(sum(self._left(job)) for job in jobs)
        seconds = searching + testing + _REPORT
        return f"audit: {done} of about {expected} pictures, about {duration(seconds)} left"

    def _pace(self) -> float | None:
        """Return the seconds per picture of a screening; None before it can be measured."""
        (first, before), (last, now) = self._paces[0], self._paces[-1]
        return (last - first) / (now - before) if now > before and last >= _SHORT else None

    def _seconds(self, job: Job, pace: float | None) -> float:
        """Return the time that a job still takes by the measured pace, else by its outlook."""
        screening, confirmation = self._left(job)
        if pace is None:
            return self._outlooks[job.id].seconds
        start = START_SECONDS if job.state is State.QUEUED else 0.0
        return start + pace * (screening + _OF_PAIRS * confirmation)

    def _look(self, jobs: Sequence[Job]) -> None:
        """Add the pictures and the time since the last look."""
        now = time.monotonic()
        passed = 0.0 if self._looked_at is None else now - self._looked_at
        self._looked_at = now
        busy, drawn = self._paces[-1]
        for job in jobs:
            before = self._pictures[job.id]
            if self._drawing.get(job.id) == job.attempt and job.state is State.RUNNING:
                busy += passed
                share = _OF_PAIRS if job.id in self._screened else 1.0
                drawn += share * max(job.steps_done - before, 0)
            elif job.steps_done > before:
                self._drawing[job.id] = job.attempt
            self._pictures[job.id] = max(job.steps_done, before)
            if job.id not in self._screened and job.steps_done:
                self._note_claims(job)
        self._paces.append((busy, drawn))
        while busy - self._paces[0][0] > _RECENT:
            self._paces.popleft()

    def _note_claims(self, job: Job) -> None:
        """Note how many pictures test the findings of a screening, once it is over."""
        from store import screening_records

        assert job.screening_id is not None
        members = screening_records.screened(self._store, job.screening_id)
        if all(member.pictures is not None for member in members):
            found = screening_records.findings(self._store, job.screening_id)
            outlook = self._outlooks[job.id]
            strongest = {
                (finding["slot"], finding["concept"])
                for _, own in found.values()
                for finding in screening_records.strongest(own, outlook.candidates)
            }
            words = len(found) * outlook.candidates if job.depends_on else 0
            self._screened[job.id] = job.steps_done, outlook.of_findings(strongest, words)

    def _left(self, job: Job) -> tuple[int, int]:
        """Return the pictures that a job still has to draw for its screening and its pairs."""
        if job.state in ENDED:
            return 0, 0
        outlook, done = self._outlooks[job.id], self._pictures[job.id]
        if job.id not in self._screened:
            return max(outlook.screening - done, 0), outlook.confirmation
        before, pictures = self._screened[job.id]
        # A stage plans for the last look, which few claims need.
        return 0, max(pictures - (done - before), (job.total - job.done) // 4)

    def _left_of_search(self, run: Run) -> float:
        """Return the seconds that a search still takes, about."""
        from dexter_tui.presentation.run_tables import seconds_left

        if run.state in ENDED:
            return 0.0
        whole = self._searches[run.id]
        left = seconds_left(run, self._store.steps(run.id, after=run.steps_done - 20))
        return whole if left is None else min(left, whole)
