"""The steps of runs, kept between two readings of the store."""

from typing import NamedTuple

from store.reading.browse import RunRow, StepRow


class Known(NamedTuple):
    """The steps that a screen already has: up to `step` of an attempt."""

    attempt: int = 0
    step: int = 0


class Part(NamedTuple):
    """The steps of a run after step `after`."""

    run: RunRow
    after: int
    steps: list[StepRow]


class History:
    """The steps of a run so far."""

    def __init__(self) -> None:
        self.run: RunRow | None = None
        self.steps: list[StepRow] = []

    @property
    def known(self) -> Known:
        """The part that need not be read again."""
        if self.run is None or not self.steps:
            return Known()
        return Known(self.run.attempt, self.steps[-1].step)

    def add(self, part: Part) -> None:
        """Add what was read; a part from the first step replaces all."""
        self.run = part.run
        if part.after == 0:
            self.steps = part.steps
        else:
            last = self.steps[-1].step
            self.steps += [step for step in part.steps if step.step > last]
