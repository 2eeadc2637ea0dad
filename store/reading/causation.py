"""Necessity, sufficiency and spread of a concept, from the recorded pairs of a claim.

The two pictures of a pair differ in the concept alone and share their noise, so that each is the
counterfactual of the other. Let y be the decision that the claim is about: p(class) of at least 1/2
where the concept raises it, less than 1/2 where the concept lowers it. Y1 is the decision with the
concept, Y0 the decision without it. The counts over the pairs estimate

    CaCE = E[p | do(concept)] - E[p | do(no concept)]    Goyal et al. 2019, arXiv 1907.07165
    PN   = P(Y0 = not y | Y1 = y)                        Pearl 1999
    PS   = P(Y1 = y | Y0 = not y)
    PNS  = P(Y1 = y, Y0 = not y)

GIFT (arXiv 2411.15605) reports CaCE and an estimate of PNS. CaCE is the effect of the claim.
Without pairs, the rates of y on either side bound PNS (Tian and Pearl 2000):

    max(0, P(Y1 = y) - P(Y0 = y)) <= PNS <= min(P(Y1 = y), P(Y0 = not y)).

The decision is taken at 1/2, because the pairs record p(class) and no other class: with many
classes it can differ from the largest probability.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

DECIDED = 0.5
_Z = 1.959964


class Pairs(Protocol):
    """The pairs of a claim in one context: p(class) on both sides, and the control prompts."""

    @property
    def control(self) -> Sequence[float]: ...
    @property
    def treated(self) -> Sequence[float]: ...
    @property
    def control_prompts(self) -> Sequence[str]: ...


class Share(NamedTuple):
    """A share of pairs, ``hits`` of ``n``, with Wilson's 95% interval (1927)."""

    hits: int
    n: int
    low: float
    high: float

    @property
    def text(self) -> str:
        """Return it as text: "0.73 [0.61, 0.82]", or "no such pair"."""
        if not self.n:
            return "no such pair"
        return f"{self.hits / self.n:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Causation(NamedTuple):
    """The counts over the pairs of a claim.

    pn, ps, pns: probabilities of necessity, of sufficiency and of both. bounds: of PNS from the
    rates on either side. lowest, highest: the mean effects of the prompts with the smallest and the
    largest one. spread: the standard deviation of the effect between prompts, beyond what the noise
    of the pictures explains; None with fewer than 2 prompts, or 2 pairs of each on average.
    """

    pairs: int
    pn: Share
    ps: Share
    pns: Share
    bounds: tuple[float, float]
    prompts: int
    lowest: float
    highest: float
    spread: float | None

    def json(self) -> dict[str, Any]:
        """Return it as programs receive it."""
        shares = {
            name: {"value": one.hits / one.n if one.n else None, **one._asdict()}
            for name, one in (("pn", self.pn), ("ps", self.ps), ("pns", self.pns))
        }
        return {**self._asdict(), **shares, "bounds": list(self.bounds)}


def causation(contexts: Sequence[Pairs], direction: int) -> Causation | None:
    """Count necessity and sufficiency over all pairs of a claim; None without a pair.

    Args:
        contexts: The claim's pairs, by context; a saturated context holds none.
        direction: 1 for a concept that raises p(class), -1 for one that lowers it.
    """
    # A row of a foreign store can hold lists of unequal lengths.
    contexts = [
        one for one in contexts if len(one.control) == len(one.treated) == len(one.control_prompts)
    ]
    control = [p for one in contexts for p in one.control]
    treated = [p for one in contexts for p in one.treated]
    prompts = [text for one in contexts for text in one.control_prompts]
    if not control:
        return None
    before = [(p >= DECIDED) == (direction > 0) for p in control]
    after = [(p >= DECIDED) == (direction > 0) for p in treated]
    gained = sum(b and not a for a, b in zip(before, after, strict=True))
    pairs, with_it, without = len(control), sum(after), sum(before)
    changes = [b - a for a, b in zip(control, treated, strict=True)]
    by_prompt: dict[str, list[float]] = {}
    for text, change in zip(prompts, changes, strict=True):
        by_prompt.setdefault(text, []).append(change)
    means = [math.fsum(own) / len(own) for own in by_prompt.values()]
    return Causation(
        pairs,
        _share(gained, with_it),
        _share(gained, pairs - without),
        _share(gained, pairs),
        (max(0.0, (with_it - without) / pairs), min(with_it, pairs - without) / pairs),
        len(means),
        min(means),
        max(means),
        _between(list(by_prompt.values())),
    )


def _share(hits: int, n: int) -> Share:
    if not n:
        return Share(0, 0, 0.0, 1.0)
    p = hits / n
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return Share(hits, n, max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p)))


def _between(groups: Sequence[Sequence[float]]) -> float | None:
    """Return the standard deviation between group means (one-way random effects, by moments)."""
    n, k = sum(map(len, groups)), len(groups)
    if k < 2 or n < 2 * k:  # too few repeat to tell prompts from noise
        return None
    means = [math.fsum(own) / len(own) for own in groups]
    mean = math.fsum(map(math.fsum, groups)) / n
    within = math.fsum(
        (value - own) ** 2 for group, own in zip(groups, means, strict=True) for value in group
    ) / (n - k)
    across = math.fsum(
        len(group) * (own - mean) ** 2 for group, own in zip(groups, means, strict=True)
    ) / (k - 1)
    size = (n - math.fsum(len(group) ** 2 for group in groups) / n) / (k - 1)
    return math.sqrt(max(0.0, (across - within) / size))


def short_lines(found: Causation) -> list[tuple[str, str]]:
    """Return it as named values, the three shares in one."""
    shares = f"{found.pn.text}; sufficiency {found.ps.text}; both {found.pns.text}"
    return [("necessity", shares), *lines(found)[3:]]


def lines(found: Causation) -> list[tuple[str, str]]:
    """Return it as named values, for tables of one claim."""
    rows = [
        ("necessity (PN)", found.pn.text),
        ("sufficiency (PS)", found.ps.text),
        (
            "both (PNS)",
            f"{found.pns.text}; {found.bounds[0]:.2f} to {found.bounds[1]:.2f} by rates alone",
        ),
    ]
    if found.spread is not None:
        rows.append(
            (
                "over prompts",
                f"{found.lowest:+z.2f} to {found.highest:+z.2f} on {found.prompts} prompts, "
                f"spread {found.spread:.2f} beyond noise",
            )
        )
    return rows
