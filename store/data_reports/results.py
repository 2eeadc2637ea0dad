"""The content of a report on pictures, as it is stored, checked and shown."""

from pydantic import Field

from store.data_reports.explanations import BiasResult, Long, WhatIfResult
from store.data_reports.parts import Change, Count, Fall, Part, Text, Unit

_MOST = 10_000  # items of a list
_SLICES = 100_000  # of a thousand classes by a hundred concepts
_CHOICES = 4  # concepts that a line names


class Judged(Part):
    """The agreement of a slice with a true group."""

    group: Text
    precision: Unit
    recall: Unit
    f1: Unit
    auroc: Unit | None
    precision_at: Unit


class SliceRow(Part):
    """A slice of a class; gap: its accuracy minus that of the rest of the class."""

    name: Text
    label: Text
    concept: Text
    shows: bool
    size: Count
    accuracy: Unit
    accuracy_low: Unit
    accuracy_high: Unit
    rest: Count
    rest_accuracy: Unit
    gap: Change
    gap_low: Change
    gap_high: Change
    examples: list[Text] = Field(default_factory=list, max_length=100)
    judged: Judged | None = None


class Pattern(Part):
    """A conjunction of attributes with many errors.

    support: share of the pictures. errors: share of them that are wrong. left_out, reweighted:
    share of the gap between average and worst group that goes when the last layer is fitted again
    without them, or with more of them; None where it was not measured.
    """

    attributes: list[Text] = Field(max_length=10)
    pictures: Count
    support: Unit
    errors: Unit
    left_out: float | None = None
    reweighted: float | None = None


class SlicesResult(Part):
    """The slices of a classifier; baselines: those of other methods, by name."""

    recognised: Text = ""
    labels: dict[Text, Text]
    concepts: Long
    image_text: Text
    pixels: Text
    pictures: Count
    split: Text | None = None
    skipped: dict[Text, Count] = Field(default_factory=dict)
    skipped_first: list[tuple[Text, Text]] = Field(default_factory=list, max_length=200)
    accuracy: Unit
    true_groups: Text | None = None
    slices: list[SliceRow] = Field(max_length=_SLICES)
    baselines: dict[Text, list[SliceRow]] = Field(default_factory=dict)
    patterns: list[Pattern] = Field(default_factory=list, max_length=100)

    @property
    def verdict(self) -> str:
        """Return the answer as a sentence."""
        if not self.slices:
            return "No concept divides the pictures of a class into two sides of 5 or more"
        hard = sum(one.gap_high < 0 for one in self.slices)
        are, their = ("are", "their") if hard > 1 else ("is", "its")
        return (
            f"{hard or 'None'} of {len(self.slices)} slices {are} surely harder than the rest of "
            f"{their} class"
        )


class Outcome(Part):
    """The accuracy of a method on the test pictures, over its seeds.

    chosen_by: what chose its weights among those of one training. true_groups: they were used to
    fit or choose, so that it is no result without them.
    """

    method: Text
    chosen_by: Text = ""
    true_groups: bool = False
    worst: Unit
    low: Unit
    high: Unit
    least: Unit
    most: Unit
    average: Unit
    worst_class: Unit
    by_group: list[Unit] = Field(max_length=_MOST)
    seeds: Count


class CoursePoint(Part):
    """The accuracy of the worst group of the validation pictures during a training."""

    method: Text
    seed: Count
    step: Count
    worst: Unit


class Effect(Part):
    """The effect of a concept on p(class) in a screening, before and after debiasing.

    falls: share of its size by which it fell, with a 95% interval of the pictures that answered
    before and after; None in old reports, and where the effect before may be 0.
    """

    concept: Text
    slot: Text
    before: Change
    before_low: Change
    before_high: Change
    after: Change
    after_low: Change
    after_high: Change
    falls: Fall | None = None
    falls_low: Fall | None = None
    falls_high: Fall | None = None

    @property
    def fall(self) -> str:
        """Return by how much the effect fell, as text; empty if it is not known."""
        if self.falls is None or self.falls_low is None or self.falls_high is None:
            return ""
        return f"{self.falls:.0%} [{self.falls_low:.0%}, {self.falls_high:.0%}]"


class Considered(Part):
    """A concept that the pictures could be balanced by; worst: accuracy of its worst group."""

    concept: Text
    worst: Unit
    pictures: Count


class DebiasResult(Part):
    """The outcomes of debiasing, best known method named in ``main``.

    concept: the one that the pictures were balanced by, the first of ``considered``.
    """

    labels: list[Text] = Field(max_length=_MOST)
    groups: list[Text] = Field(max_length=_MOST)
    measured_by: Text
    concept: Text
    concepts: Long
    considered: list[Considered] = Field(default_factory=list, max_length=1000)
    image_text: Text
    weights: Text
    fitted: Count
    tested: Count
    skipped: dict[Text, Count] = Field(default_factory=dict)
    outcomes: list[Outcome] = Field(min_length=1, max_length=1000)
    main: Text = ""
    course: list[CoursePoint] = Field(default_factory=list, max_length=100_000)
    screened: Text = ""
    effects: list[Effect] = Field(default_factory=list, max_length=1000)

    @property
    def main_outcome(self) -> Outcome | None:
        """Return the outcome of the method that is recommended."""
        return next((one for one in self.outcomes if one.method == self.main), None)

    @property
    def chosen_from(self) -> str:
        """Return the concepts that were considered in a line; empty if there was no choice."""
        if len(self.considered) < 2:
            return ""
        shown = self.considered[:_CHOICES]
        names = [f"{one.concept} {one.worst:.2f} of {one.pictures:,}" for one in shown]
        more = len(self.considered) - len(shown)
        names += [f"{more} more"] if more else []
        return f"{'; '.join(names)} (accuracy before, of the worst group's pictures)"


Result = SlicesResult | DebiasResult | WhatIfResult | BiasResult
RESULTS: dict[str, type[Result]] = {
    "slices": SlicesResult,
    "debias": DebiasResult,
    "whatif": WhatIfResult,
    "explain-bias": BiasResult,
}
TITLES = {
    "slices": "Slices",
    "debias": "Debiasing",
    "whatif": "What-if",
    "explain-bias": "Bias explanation",
}
"""The names of the kinds, as headings."""
