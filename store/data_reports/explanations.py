"""The content of a what-if and of a bias explanation, as it is stored, checked and shown."""

from typing import Annotated

from pydantic import Field

from store.data_reports.parts import Count, Part, Text, Unit

Long = Annotated[str, Field(max_length=20_000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]

Probability = Annotated[float, Field(ge=-1e-6, le=1 + 1e-6)]
"""With room for rounding."""

_MOST = 1000  # items of a list

# What-if


class Share(Part):
    """A number of pictures out of ``n``, with the Wilson interval of its share."""

    hits: Count
    n: Count
    low: Unit
    high: Unit
    value: Unit

    def __str__(self) -> str:
        return f"{self.hits} of {self.n}"


class WordChange(Part):
    """A change of one concept. word: its wording; None takes the concept away."""

    concept: Text
    slot: Text
    word: Text | None

    @property
    def name(self) -> str:
        """Return the change as a label: "forest" or "without ball"."""
        return f"without {self.concept}" if self.word is None else self.word


class StripStep(Part):
    """A picture of the strip. change: from the picture before, None of the first.

    p: of the class, on the noise that is shown. decision: a label. flips: of the fresh noises on
    which the start has its decision, those on which this one has another. mean: of p over the fresh
    noises. seen: pictures on fresh noise in which the image-text model sees the change.
    """

    prompt: Text
    change: WordChange | None
    p: Probability
    hit: bool
    decision: Text
    flips: Share | None = None
    mean: Probability
    seen: Share | None = None

    @property
    def name(self) -> str:
        """Return the change as a label; "start" for the first picture."""
        return "start" if self.change is None else self.change.name


class Strength(Part):
    """An edit strength that was tried on a user's picture.

    kept: the picture as redrawn unchanged kept its decision, on ``held`` of ``noises`` if not.
    """

    strength: Unit
    kept: bool
    held: Count | None = None
    noises: Count | None = None
    flipped: bool | None = None
    drawn: bool | None = None


class Measured(Part):
    """The measurements of a user's own picture; all unset for a picture that was drawn."""

    p: Probability | None = None
    decision: Text = ""
    described: Text = ""
    strengths: list[Strength] = Field(default_factory=list, max_length=100)


class WhatIfResult(Part):
    """The smallest change of words that flips a decision, with a strip of pictures.

    bank: the generator of the strip's pictures in the bank, of noise ``seed``. own: that of a
    user's picture there. noises: fresh ones of the check; kept: those on which the start has its
    decision.
    """

    class_name: Text
    generator: Text
    image: Text | None
    measured: Measured
    concepts: Text
    flipped: bool
    changes: list[WordChange] = Field(max_length=_MOST)
    steps: list[StripStep] = Field(min_length=1, max_length=_MOST)
    seed: Seed
    noises: Count
    kept: Count
    bank: Text
    own: Text | None = None

    @property
    def verdict(self) -> str:
        """Return the answer as a sentence."""
        names = [one.name for one in self.changes]
        words = ", ".join(names)
        if not self.flipped:
            tried = " and ".join(names) or "no change"
            none = "No change of up to 4 concepts flips the decision about this picture"
            return f"{none}; nearest: {tried}."
        if not self.is_drawn:
            return f"The decision flips, but the generator does not draw the change ({words})."
        before, after = self.steps[0].decision, self.steps[-1].decision
        count = "1 change flips" if len(names) == 1 else f"{len(names)} changes flip"
        return f"{count} {before} to {after}: {words}."

    @property
    def outcome(self) -> str:
        """Return the answer in a few words."""
        words = ", ".join(one.name for one in self.changes)
        if not self.flipped:
            return f"no flip; nearest: {words}" if words else "no flip"
        flip = f"{self.steps[0].decision} to {self.steps[-1].decision} by {words}"
        return flip if self.is_drawn else f"{flip}, which is not drawn"

    @property
    def is_drawn(self) -> bool:
        """Return True unless some change is not seen in most of the pictures."""
        seen = [step.seen for step in self.steps if step.seen is not None]
        return all(2 * one.hits > one.n for one in seen)

    @property
    def check(self) -> str:
        """Return the check on fresh noises as a sentence."""
        last = self.steps[-1].flips
        if last is None:
            return f"The start has its decision on none of {self.noises} fresh noises."
        return (
            f"On {self.noises} fresh noises the start keeps its decision on {self.kept}; of these "
            f"the change flips {last.hits} ({last.low:.0%} to {last.high:.0%})."
        )

    @property
    def of_picture(self) -> str:
        """Return what was measured of a user's own picture; empty for one that was drawn."""
        if self.image is None or self.measured.p is None or not self.measured.strengths:
            return ""
        return (
            f"{self.image} has p {self.measured.p:.2f}; redrawn at strength "
            f"{self.measured.strengths[-1].strength:.2f} as {self.measured.described!r}"
        )

    @property
    def requests(self) -> list[tuple[str, str, int]]:
        """Return the pictures of the strip in the bank: generator, prompt and seed."""
        own = [] if self.own is None else [own_picture(self.own)]
        return own + [(self.bank, step.prompt, self.seed) for step in self.steps]

    @property
    def captions(self) -> list[tuple[str, str]]:
        """Return two lines for each picture of the strip."""
        found = []
        if self.own is not None:
            p = self.measured.p or 0.0
            found.append(("your picture", f"p {p:.2f}: {self.measured.decision}"))
        first = "as drawn" if self.own is None else "as redrawn"
        for step in self.steps:
            name = first if step.change is None else step.change.name
            found.append((name, f"p {step.p:.2f}: {step.decision}"))
        return found


def own_picture(digest: str) -> tuple[str, str, int]:
    """Return where the bank keeps a user's picture: under its hash, as if that had drawn it."""
    return digest, "your picture", 0


# Bias


class BiasFact(Part):
    """The effect of one concept of an attribute on p(class).

    core: it belongs to the class. confirmation: the verdict of its test on fresh pairs.
    """

    attribute: Text
    concept: Text
    verdict: Text
    effect: float
    low: float
    high: float
    core: bool
    explained_by: list[Text] = Field(default_factory=list, max_length=_MOST)
    confirmation: Text | None = None

    @property
    def said(self) -> str:
        """Return the verdict in words."""
        words = self.verdict.replace("_", " ")
        return f"{words} by {' and '.join(self.explained_by)}" if self.explained_by else words

    @property
    def interval(self) -> str:
        """Return the effect with its interval."""
        return f"{self.effect:+z.2f} [{self.low:+z.2f}, {self.high:+z.2f}]"


class BiasSide(Part):
    """A report on people's attributes. source: of its pictures. attributes: what is known of
    each."""

    source: Text
    biased: bool
    score: float
    attributes: dict[Text, Text]
    facts: list[BiasFact] = Field(max_length=_MOST)
    text: Long
    sentences: list[Long] = Field(min_length=1, max_length=_MOST)


class ClaimsInCommon(Part):
    """Claims of the report without data that the one on labelled pictures makes, too."""

    both: Count
    claims: Count
    reference: Count
    precision: Unit | None
    recall: Unit | None


class Similarity(Part):
    """The cosine of sentence embeddings of both texts, and its floor: that of unrelated ones."""

    model: Text
    similarity: float
    floor: float | None


class Rating(Part):
    """The mean rating of the consistency of both texts by a language model, 1 to 5, or why
    there is none."""

    model: Text
    consistency: float | None
    ratings: Count
    error: Long | None


class BiasRow(Part):
    """A concept in the reports. labelled: effect on labelled pictures. truth: of the lab."""

    fact: BiasFact
    labelled: BiasFact | None
    truth: float | None


class BiasResult(Part):
    """The effects of people's attributes on a classifier, and how far two reports on them agree.

    planted: the measured effects of a classifier of the lab's fleet. skipped: labelled pictures
    left out, by reason.
    """

    class_name: Text
    generator: Text
    screening: Text
    data_free: BiasSide
    data_driven: BiasSide | None = None
    skipped: dict[Text, Count] = Field(default_factory=dict)
    planted: dict[Text, float] | None = None
    claims: ClaimsInCommon | None = None
    sts: Similarity | None = None
    judge: Rating | None = None

    @property
    def verdict(self) -> str:
        """Return the first sentence of the report."""
        return self.data_free.sentences[0]

    @property
    def outcome(self) -> str:
        """Return the answer in a few words."""
        found = [name for name, state in self.data_free.attributes.items() if state == "depends"]
        return f"depends on {', '.join(found)}" if found else "no dependence found"

    @property
    def rows(self) -> list[BiasRow]:
        """Return the concepts that do not belong to the class."""
        driven = {} if self.data_driven is None else {
            (one.attribute, one.concept): one for one in self.data_driven.facts
        }  # fmt: skip
        planted = self.planted or {}
        return [
            BiasRow(
                fact=one,
                labelled=driven.get((one.attribute, one.concept)),
                truth=planted.get(one.concept),
            )
            for one in self.data_free.facts
            if not one.core
        ]

    @property
    def agreement(self) -> list[str]:
        """Return how far the two reports agree, a sentence each."""
        lines = []
        if (claims := self.claims) is not None:
            lines.append(
                f"Claims in common: {claims.both} of {claims.claims} without data and of "
                f"{claims.reference} on labelled pictures."
            )
        if (sts := self.sts) is not None:
            floor = "" if sts.floor is None else f"; floor of unrelated reports {sts.floor:.2f}"
            lines.append(f"Similarity of the texts ({sts.model}): {sts.similarity:.2f}{floor}.")
        if (judge := self.judge) is not None and judge.consistency is not None:
            lines.append(
                f"Consistency by {judge.model}: {judge.consistency:.2f} of 5, mean of "
                f"{judge.ratings} ratings."
            )
        if self.judge is not None and self.judge.error is not None:
            lines.append(f"No rating: {self.judge.error}")
        if self.skipped:
            counts = ", ".join(f"{count} {why}" for why, count in self.skipped.items())
            lines.append(f"Skipped: {counts}.")
        return lines

    @property
    def limits(self) -> str:
        """Return for what the findings hold."""
        return (
            f"These findings hold for pictures by {self.generator}. A concept that it does not "
            "draw was not tested. Labels of data were not assigned at random: an effect on them "
            "can come from what goes along with a label."
        )
