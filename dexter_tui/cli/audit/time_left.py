"""The time that an audit takes: an estimate before it, and the time left while it runs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dexter.reasoning.settings import LOOKS
from dexter_tui.formatting import duration
from store import ENDED, State
from store.tables import Job, Run

if TYPE_CHECKING:
    from dexter_tui.analysis.screening_request import Prepared
    from store import Store
    from store.run_queue import Work


_SHORT = 5.0  # seconds of drawing in which a pace is not yet measured


@dataclass(frozen=True)
class Outlook:
    """The expected work on one class: pictures, and seconds on one device."""

    class_name: str
    screening: int
    shared: int
    """The pictures of placebos and controls, which all models share"""
    claims: int
    """The claims to test, if every model has the most"""
    candidates: int
    """The findings of each model to test, at most"""
    seconds: float

    @property
    def confirmation(self) -> int:
        """The pictures that test the claims."""
        return self.of_claims(self.claims)

    def of_claims(self, claims: int) -> int:
        """Return the pictures that test claims; most are decided at the first look."""
        return self.shared + claims * LOOKS[0] if claims else 0

    def line(self) -> str:
        """Return it as a sentence."""
        return (
            f"{self.class_name}: about {duration(self.seconds)}; {self.screening} pictures to find "
            f"concepts, then about {self.confirmation} to test them"
        )


def outlook(store: "Store", prepared: "Prepared", *, searched: bool = False) -> Outlook:
    """Estimate the pictures of the screening and of the pairs that confirm its findings.

    ``searched``: whether the words of a search are tested as well.
    """
    from dexter.planning.estimate import estimate
    from dexter.reasoning.evidence import PLACEBO_PAIRS
    from dexter_tui.analysis import screening_request
    from store import screening_records

    of_screening = screening_request.outlook(store, prepared)
    settings = prepared.settings
    shared = settings.placebos * PLACEBO_PAIRS + LOOKS[-1]
    claims = len(prepared.members) * settings.candidates * (2 if searched else 1)
    confirmation = shared + claims * LOOKS[0]
    bank = screening_records.bank(store, prepared.bank_key)
    pace = bank.pace if bank is not None and bank.pace is not None else None
    pace = pace or estimate(prepared.config).seconds_per_picture
    drawn = of_screening.missing + of_screening.budget - of_screening.planned
    return Outlook(
        prepared.topic.class_name,
        drawn,
        shared,
        claims,
        settings.candidates,
        of_screening.seconds + confirmation * pace,
    )


def together(seconds: Sequence[float]) -> float:
    """Return the time of works side by side on the slots of this machine."""
    from dexter_tui.machine import devices

    busy = [one for one in seconds if one > 0]
    return max([sum(busy) / min(len(devices.slots()), len(busy)), *busy]) if busy else 0.0


class TimeLeft:
    """The time left of the searches and screenings of an audit.

    The pace of a screening is the time per picture since its first picture, without its start.
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
        self._screened: dict[str, tuple[int, int]] = {}  # then the pictures so far, and the claims
        self._drawing: set[str] = set()  # jobs with a first picture
        self._busy = 0.0  # seconds of jobs since the first picture of each
        self._drawn = 0  # pictures in that time

    def line(self, works: "Sequence[Work]") -> str:
        """Return the estimate; "" while nothing is known beyond the first one."""
        jobs = [work for work in works if isinstance(work, Job)]
        runs = [work for work in works if isinstance(work, Run)]
        self._look(jobs)
        if not self._has_pace and not any(run.steps_done for run in runs):
            return ""
        lefts = {job.id: self._left(job) for job in jobs}
        searching = together([self._left_of_search(run) for run in runs])
        testing = together([self._seconds(name, left) for name, left in lefts.items()])
        done = sum(self._pictures.values())
        return (
            f"audit: {done} of about {done + sum(lefts.values())} pictures, "
            f"about {duration(searching + testing)} left"
        )

    @property
    def _has_pace(self) -> bool:
        """Whether pictures were drawn for long enough to measure a pace."""
        return self._drawn > 0 and self._busy >= _SHORT

    def _seconds(self, job_id: str, pictures: int) -> float:
        """Return the time of pictures by the measured pace, else by the outlook."""
        if self._has_pace:
            return pictures * self._busy / self._drawn
        outlook = self._outlooks[job_id]
        return outlook.seconds * pictures / max(outlook.screening + outlook.confirmation, 1)

    def _look(self, jobs: Sequence[Job]) -> None:
        """Add the pictures and the time since the last look."""
        now = time.monotonic()
        passed = 0.0 if self._looked_at is None else now - self._looked_at
        self._looked_at = now
        for job in jobs:
            before = self._pictures[job.id]
            if job.id in self._drawing and job.state is State.RUNNING:
                self._busy += passed
                self._drawn += max(job.steps_done - before, 0)
            elif job.done:
                self._drawing.add(job.id)
            self._pictures[job.id] = max(job.steps_done, before)
            if job.id not in self._screened and job.steps_done:
                self._note_claims(job)

    def _note_claims(self, job: Job) -> None:
        """Note how many claims a screening left to test, once it is over."""
        from store import screening_records

        assert job.screening_id is not None
        members = screening_records.screened(self._store, job.screening_id)
        if all(member.pictures is not None for member in members):
            found = screening_records.findings(self._store, job.screening_id)
            count = self._outlooks[job.id].candidates
            strongest = [screening_records.strongest(own, count) for _, own in found.values()]
            words = len(found) * count if job.depends_on else 0
            self._screened[job.id] = job.steps_done, sum(map(len, strongest)) + words

    def _left(self, job: Job) -> int:
        """Return the pictures that a job still has to draw, about."""
        if job.state in ENDED:
            return 0
        outlook, done = self._outlooks[job.id], self._pictures[job.id]
        if job.id not in self._screened:
            return max(outlook.screening - done, 0) + outlook.confirmation
        before, claims = self._screened[job.id]
        return max(outlook.of_claims(claims) - (done - before), 0)

    def _left_of_search(self, run: Run) -> float:
        """Return the seconds that a search still takes, about."""
        from dexter_tui.presentation.run_tables import seconds_left

        if run.state in ENDED:
            return 0.0
        whole = self._searches[run.id]
        left = seconds_left(run, self._store.steps(run.id, after=run.steps_done - 20))
        return whole if left is None else min(left, whole)
