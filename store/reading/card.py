"""The verdict card: the answer about one classifier and one class, before any method.

`of_study`, `of_comparison` and `of_screening` read the cards from the store. `VerdictCard.lines`
words them once, so that the terminal, the dashboard, Markdown and HTML show the same sentences.
"""

import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from store.checking.decoding import decoded, decoded_cell
from store.reading import comparisons, screenings
from store.reading.browse import Browse
from store.reading.origin import is_of_lab, is_toy, origin
from store.reading.reasons import concept_names, in_words
from store.reading.sensitivity import LOOKS, detectable, detectable_by_screening

Kind = Literal[
    "bias", "clean", "untested", "toy", "pair", "core", "lowers", "unused", "undrawn", "open",
    "next",
]  # fmt: skip

_NAMED = 6  # concepts listed in a line
_PROPOSED = ("raises", "lowers")  # verdicts of a screening
_SAME = 1e-6  # effects on p below which all answers are the same
LOADING = (
    "labels", "arch", "input_size", "normalization", "mean", "std", "multi_label",
    "positive_class", "threshold", "classifier_input",
)  # fmt: skip
"""The settings, by their names in a config, that a classifier is loaded by. Not the consent to run
a file's code: a store may be another's, and who pastes a command would give it unasked."""
_AUDIT = {"min_effect": 0.1, "core": [], "design_seed": 0, "image_text": "auto"}
_POOLS = ("lab", "photographs")  # the shipped ones; of any other, only its file can be named
_MOST_PICTURES = 65536  # as the setting
_USUAL = {"classifier_input": "trained"}
_FAINT = 0.05  # a mean p(class) of a screening, half of whose pictures show the class
_RARE = 1e-4  # a probability that says nothing about the other classes
Style = Literal["plain", "concept", "command"]


class Line(NamedTuple):
    """A line of a card: its kind, and its text in parts, each with its style."""

    kind: Kind
    parts: tuple[tuple[str, Style], ...]

    @property
    def text(self) -> str:
        """The text without emphasis."""
        return "".join(part for part, _ in self.parts)


@dataclass(frozen=True)
class Finding:
    """A tested concept on a card. Effects are changes of the class probability, -1 to 1."""

    claim: int | None
    """The row of the claim, see `comparisons.pairs`; None without pairs"""
    number: int
    concept: str
    """With its slot in brackets where several slots have it"""
    slot: str
    effect: float
    low: float
    high: float
    pairs: int
    """The pairs of pictures, or the pictures of a screening"""
    flip_rate: float | None
    """The share of pairs whose prediction changes with the concept"""
    p_value: float | None
    core: bool
    verdict: str
    reason: str | None
    direction: int = 0
    """The direction that was claimed, +1 or -1; 0 for a finding without a claim"""
    sensitivity: float | None = None
    """The smallest effect that the test would have found with 95% probability"""
    contexts: tuple[tuple[str, float], ...] = ()
    """The effect in each context: pictures of the class ("class") and of its rivals ("rivals")"""
    explained_by: tuple[str, ...] = ()
    """The concepts that carry the effect"""

    @property
    def why(self) -> str:
        """The reason in words; empty without one."""
        if self.explained_by:
            return f"explained by {', '.join(self.explained_by)}"
        return in_words(self.reason, self.effect, self.direction) if self.reason else ""

    @property
    def interval(self) -> str:
        """The effect with its interval."""
        return f"{self.effect:+z.2f} [{self.low:+z.2f}, {self.high:+z.2f}]"


@dataclass(frozen=True)
class VerdictCard:
    """The verdict on one classifier and one class."""

    of: str
    """The id of the study, comparison or screening"""
    classifier: str
    class_name: str
    generator: str
    preset: str | None
    biases: tuple[Finding, ...]
    """Confirmed, raise the class, not part of it; largest effect first"""
    core: tuple[Finding, ...]
    """Confirmed, raise the class, part of it"""
    lowers: tuple[Finding, ...]
    """Confirmed, lower the class"""
    unused: tuple[Finding, ...]
    """Tested, with an effect too small to count"""
    undrawn: tuple[Finding, ...]
    """Not drawn, so not tested"""
    open: tuple[Finding, ...]
    """Inconclusive for another reason"""
    pair: Mapping[str, Any] | None = None
    """The pair of pictures with the largest change, see `comparisons.pairs`"""
    constant: float | None = None
    """The probability of the class, if all pictures of a screening got the same"""
    mean: float | None = None
    """The mean probability of the class in the pictures of a screening"""
    loading: str = ""
    """The flags that the classifier was loaded with, for the command line"""
    more: str = ""
    """The flags with which an audit draws more pictures than this screening; empty without one"""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The concepts of the card, the confirmed ones first."""
        return self.biases + self.core + self.lowers + self.unused + self.open + self.undrawn

    @property
    def verdict(self) -> Literal["bias", "clean", "untested"]:
        """The answer in a word."""
        if any(not one.core for one in self.biases + self.lowers):
            return "bias"
        if self.proposed:
            return "untested"
        measured = [one for one in self.unused + self.open if one.sensitivity is not None]
        found = measured or self.core or self.constant is not None
        return "clean" if found else "untested"

    @property
    def proposed(self) -> tuple[Finding, ...]:
        """The findings of a screening that were not tested on pairs."""
        return tuple(one for one in self.open if one.reason in _PROPOSED)

    @property
    def unconfirmed(self) -> tuple[Finding, ...]:
        """The tests that found nothing: those that excluded an effect, else the undecided ones."""
        indirect = (*_PROPOSED, "explained", "saturated")
        undecided = [one for one in self.open if one.pairs and one.reason not in indirect]
        return self.unused or tuple(undecided)

    @property
    def sensitivity(self) -> float | None:
        """The effect that each of the unconfirmed tests would have found; None if there is none."""
        found = [one.sensitivity for one in self.unconfirmed]
        known = [value for value in found if value is not None]
        return max(known) if known and len(known) == len(found) else None

    @property
    def origin(self) -> str:
        """The line on generator and preset that stands in the header."""
        return origin(self.classifier, self.generator, self.preset)

    @property
    def title(self) -> str:
        """The classifier and the class."""
        return f"{self.classifier} · {self.class_name}"

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON-serialisable values, with its verdict and text."""
        return {
            "verdict": self.verdict,
            "headline": self.headline,
            "sensitivity": self.sensitivity,
            **asdict(self),
            "text": [line.text for line in self.lines()],
        }

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        found = self.biases or self._lowering
        if found:
            concepts = ", ".join(one.concept for one in found[:_NAMED])
            return f"{'relies on' if self.biases else 'loses confidence with'} {concepts}"
        if self.verdict == "clean":
            alike = "" if self.constant is None else f": {self._alike}"
            return f"no bias confirmed{alike}"
        if self.proposed:
            return f"proposed: {', '.join(one.concept for one in self.proposed[:_NAMED])}"
        return "not testable" if self.findings else "not tested yet"

    def lines(self) -> list[Line]:
        """Return the card as lines of text, the verdict first."""
        lines = [*self._verdict_lines()]
        if is_toy(self.classifier, self.generator):
            lines.append(
                _line("toy", "A toy drew these pictures: repeat with a generator of photographs.")
            )
        if self.pair is not None:
            lines.append(self._pair_line(self.pair))
        lines += [
            *_list("core", f"Belongs to {self.class_name}: ", self.core),
            *_list("lowers", f"Lowers p({self.class_name}): ", self._listed_lowers),
            *_list("unused", "Tested and not used: ", self.unused),
            *_undecided(self._listed_open),
            *_list("undrawn", "Could not be tested, not drawn: ", self.undrawn, effects=False),
            self.next_step,
        ]
        return lines

    def _verdict_lines(self) -> list[Line]:
        if self.biases:
            return [self._finding_line("relies on ", one) for one in self.biases]
        if self.verdict == "bias":
            return [self._finding_line("loses confidence with ", one) for one in self._lowering]
        if self.proposed:
            return _list("untested", "proposed by a screening, not tested yet: ", self.proposed)
        if self.verdict == "untested":
            how = "could be" if self.findings else "has been"
            return [_line("untested", f"nothing {how} tested for {self.class_name}")]
        count = len(self.unconfirmed)
        text = f"no bias confirmed for {self.class_name}"
        if self.constant is not None:
            text += f": {self._alike}"
        if self.sensitivity is not None:
            tests = f"each of {count} tests"
            if count == 1:
                tests = f"the test of {self.unconfirmed[0].concept}"
            text += (
                f"; {tests} would have found an "
                f"effect of {self.sensitivity:.2f} with 95% probability"
            )
        elif count:
            text += "; the tests are too small to find any effect reliably"
        lines = [_line("clean", text)]
        if self._is_faint:
            lines.append(
                _line(
                    "untested",
                    f"But it hardly recognises {self.class_name} in these pictures: mean "
                    f"p({self.class_name}) {self.mean:.2f}, though half of them show the class. "
                    "A bias may be hidden.",
                )
            )
        return lines

    @property
    def _is_faint(self) -> bool:
        """Return whether a screening's pictures of the class are hardly recognised."""
        return self.constant is None and self.mean is not None and self.mean < _FAINT

    @property
    def _alike(self) -> str:
        """The words for a class probability that is the same in all pictures."""
        p = self.constant or 0.0
        words = f"p({self.class_name}) = {p:.2f} in all pictures"
        # Near 0 or 1, only the class need be the same; the other answers may differ.
        return f"it answers everything alike, {words}" if _RARE < p < 1 - _RARE else words

    @property
    def _lowering(self) -> tuple[Finding, ...]:
        """The findings that lower the class and are not part of it."""
        return tuple(one for one in self.lowers if not one.core)

    @property
    def _listed_lowers(self) -> tuple[Finding, ...]:
        """The findings that lower the class and are not in the verdict itself."""
        return tuple(one for one in self.lowers if self.biases or one.core)

    @property
    def _listed_open(self) -> tuple[Finding, ...]:
        """The undecided findings that are not in the verdict itself."""
        shown = self.proposed if not self.biases and not self._lowering else ()
        return tuple(one for one in self.open if one not in shown)

    def _finding_line(self, lead: str, one: Finding) -> Line:
        rest = f" (not part of {self.class_name}): {one.interval}"
        if one.flip_rate is not None:
            rest += f"; {one.flip_rate:.0%} of predictions flip"
        return Line("bias", ((lead, "plain"), (one.concept, "concept"), (rest, "plain")))

    def _pair_line(self, pair: Mapping[str, Any]) -> Line:
        before, after = pair["control"], pair["treated"]
        concept = (self.biases or self.core)[0].concept
        change = f"{before['p']:.2f} without, {after['p']:.2f} with "
        return Line("pair", (
            (f"Pair: p({self.class_name}) {change}", "plain"),
            (concept, "concept"),
            (f" ({before['prompt']}, seed {before['seed']})", "plain"),
        ))  # fmt: skip

    @property
    def next_step(self) -> Line:
        """The step that the verdict suggests."""
        spec, class_name = shlex.quote(self.classifier), shlex.quote(self.class_name)
        loading = f" {self.loading}" if self.loading else ""
        options = f"--class {class_name}{loading}"
        if not is_of_lab(self.classifier):
            options += f" --generator {shlex.quote(self.generator)}"
        if not self.findings:
            if not self.of.startswith("s"):  # no study, so a report does not test it
                return _next("see whether it is still being tested", "dexter-tui status")
            return _next("test the concepts", f"dexter-tui report {self.of}")
        if self.biases:
            concept = self.biases[0].concept.removesuffix(f" ({self.biases[0].slot})")
            return _next(
                "see whether another classifier does too",
                f"dexter-tui compare {spec} OTHER {options} --concepts {shlex.quote(concept)}",
            )
        if self.proposed:
            return _next("test it on pairs", f"dexter-tui audit {spec} {options}")
        if self.verdict == "untested":
            return _line("next", "Next: try another generator, or name concepts to test")
        if self.constant is not None:
            return _next("check its weights", f"dexter-tui inspect {spec}{loading}")
        if self._is_faint:
            return _next(
                "check its labels, input size and normalization",
                f"dexter-tui inspect {spec}{loading}",
            )
        undecided = [one for one in self.open if not one.core]
        wide = [one.concept for one in undecided if one.reason in ("weak", "open")]
        if wide and self.more:
            names = ", ".join(wide[:_NAMED]) + (", …" if len(wide) > _NAMED else "")
            return _next(
                f"draw more pictures to decide on {names}",
                f"dexter-tui audit {spec} {options} {self.more}",
            )
        what, concept = "test a suspicion of your own", "..."
        for one in undecided:
            if one.reason == "too_few_pairs":
                what, concept = f"test {one.concept} alone", one.concept
                concept = concept.removesuffix(f" ({one.slot})")
                break
        article = "an" if self.class_name[:1].lower() in "aeiou" else "a"
        question = shlex.quote(f"{article} {self.class_name} with {concept}")
        return _next(what, f"dexter-tui probe {question} --classifier {spec} {options}")


def _next(what: str, command: str) -> Line:
    return Line("next", ((f"Next: {what}: ", "plain"), (command, "command")))


def _line(kind: Kind, text: str) -> Line:
    return Line(kind, ((text, "plain"),))


def _list(
    kind: Kind, lead: str, findings: Sequence[Finding], *, effects: bool = True
) -> list[Line]:
    """Return a line that lists concepts with their effects; none without concepts."""
    if not findings:
        return []
    parts: list[tuple[str, Style]] = [(lead, "plain")]
    for number, one in enumerate(findings[:_NAMED]):
        parts.append((", " if number else "", "plain"))
        parts.append((one.concept, "concept"))
        if effects and one.pairs:
            parts.append((f" {one.effect:+z.2f}", "plain"))
    if len(findings) > _NAMED:
        parts.append((f" and {len(findings) - _NAMED} more", "plain"))
    return [Line(kind, tuple(parts))]


def _undecided(findings: Sequence[Finding]) -> list[Line]:
    """Return a line that lists concepts by their reason, each reason once; none without any."""
    if not findings:
        return []
    groups: dict[str, list[str]] = {}
    for one in findings[:_NAMED]:
        groups.setdefault(one.why or "no reason recorded", []).append(one.concept)
    parts: list[tuple[str, Style]] = []
    for why, concepts in groups.items():
        parts.append((f"{'; ' if parts else 'Undecided, '}{why}", "plain"))
        for number, concept in enumerate(concepts):
            parts += [(", " if number else ": ", "plain"), (concept, "concept")]
    if len(findings) > _NAMED:
        parts.append((f"; and {len(findings) - _NAMED} more", "plain"))
    return [Line("open", tuple(parts))]


# Reading


class _Claim(NamedTuple):
    """A claim, without what a card does not show."""

    id: int
    number: int
    concept: str
    slot: str
    effect: float
    low: float
    high: float
    pairs: int
    flips: int
    p_corrected: float
    core: bool
    verdict: str
    reason: str | None
    direction: int
    min_effect: float
    placebo_threshold: float | None


class _Pairs(NamedTuple):
    """The pairs of a claim in one context."""

    context: str
    effect: float | None
    pairs: int
    control: list[float]
    treated: list[float]


class _Tested(NamedTuple):
    """A claim with its pairs."""

    claim: _Claim
    contexts: list[_Pairs]


class _Study(NamedTuple):
    """A study."""

    class_name: str
    settings: dict[str, Any]


class _Screened(NamedTuple):
    """A classifier in a screening."""

    id: int
    name: str
    config: dict[str, Any]


class _Member(NamedTuple):
    """A classifier in a comparison."""

    id: int
    name: str
    class_name: str
    config: dict[str, Any]


def of_study(browse: Browse, study_id: str) -> VerdictCard | None:
    """Return the card of a study; None if there is no such study."""
    rows = browse.rows(
        "SELECT class_name, settings, spec, (SELECT json_extract(config, '$.preset') FROM run "
        "WHERE study_id = study.id AND json_valid(config) ORDER BY seed LIMIT 1) FROM study "
        "JOIN classifier ON classifier.id = classifier_id WHERE study.id = ?",
        (study_id,),
    )
    found = decoded("study", _Study, [row[:2] for row in rows])
    if not found:
        return None
    claims = _claims(browse, "study_id", study_id)
    preset = rows[0][3]
    return _card(
        browse,
        claims,
        LOOKS,
        len(claims),
        of=study_id,
        classifier=decoded_cell("classifier", "spec", str, rows[0][2]),
        class_name=found[0].class_name,
        generator=str(found[0].settings.get("generator", "unknown")),
        preset=preset if isinstance(preset, str) else None,
        loading=loading_flags(found[0].settings),
    )


def of_comparison(browse: Browse, comparison_id: str) -> list[VerdictCard]:
    """Return a card for each class and classifier of a comparison."""
    rows = browse.rows(
        f"SELECT {', '.join(_Member._fields)} FROM member WHERE comparison_id = ? "
        "ORDER BY class_name, position",
        (comparison_id,),
    )
    members = decoded("member", _Member, rows)
    claims = {member.id: _claims(browse, "member_id", member.id) for member in members}
    family = sum(map(len, claims.values()))
    return [
        _card(
            browse,
            claims[member.id],
            None,
            family,
            of=comparison_id,
            classifier=member.name,
            class_name=member.class_name,
            generator=str(member.config.get("generator", "unknown")),
            preset=None if (name := member.config.get("preset")) is None else str(name),
            loading=loading_flags(member.config),
        )
        for member in members
    ]


def of_screening(browse: Browse, screening_id: str) -> list[VerdictCard]:
    """Return a card for each classifier of a screening."""
    page = screenings.page(browse, screening_id)
    shown = {member["name"]: member for member in page["members"]}
    rows = browse.rows(
        f"SELECT {', '.join(_Screened._fields)} FROM screened WHERE screening_id = ? "
        "ORDER BY position",
        (page["id"],),
    )
    members = [one for one in decoded("screened", _Screened, rows) if one.name in shown]
    claims = {member.id: _claims(browse, "screened_id", member.id) for member in members}
    family = max(sum(map(len, claims.values())), 1)
    cards = []
    for member in members:
        tested = {(one.claim.concept, one.claim.slot) for one in claims[member.id]}
        others = [
            _proposed(one, shown[member.name], screenings.min_effect(page), family)
            for one in shown[member.name]["findings"]
            if (one["concept"], one["slot"]) not in tested
        ]
        cards.append(
            _card(
                browse,
                claims[member.id],
                LOOKS,
                family,
                others=others,
                constant=_constant(shown[member.name]),
                mean=shown[member.name]["mean"],
                of=page["id"],
                classifier=member.name,
                class_name=page["class_name"],
                generator=str(member.config.get("generator", "unknown")),
                preset=None,
                loading=loading_flags(member.config),
                more=_more(page, member.config, shown[member.name]["pictures"]),
            )
        )
    return cards


def _more(page: Mapping[str, Any], config: Mapping[str, Any], pictures: int | None) -> str:
    """Return the flags with which an audit continues a screening; empty if it cannot."""
    if not pictures or 2 * pictures > _MOST_PICTURES:
        return ""
    flags = [f"--pictures {2 * pictures}"]
    pool = str(page["pool"])
    if pool != ("lab" if config.get("generator") == "lab" else "photographs"):
        flags.append(f"--pool {pool if pool in _POOLS else 'FILE'}")
    for name, value in _AUDIT.items():
        if (own := page["settings"].get(name, value)) != value:
            text = ",".join(map(str, own)) if isinstance(own, list) else str(own)
            flags.append(f"--{name.replace('_', '-')} {shlex.quote(text)}")
    return " ".join(flags)


def loading_flags(config: Mapping[str, Any]) -> str:
    """Return the flags by which a classifier is loaded again as in a config."""
    found = []
    for name in LOADING:
        value, flag = config.get(name), name.replace("_", "-")
        if value is None or value == _USUAL.get(name):
            continue
        if isinstance(value, bool):
            found.append(f"--{flag}" if value else f"--no-{flag}")
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        found.append(f"--{flag} {shlex.quote(text)}")
    return " ".join(found)


def _constant(member: Mapping[str, Any]) -> float | None:
    """Return the probability that a classifier gave to all pictures; None if they differ.

    The mean probability of a screening and the effects of all concepts are known. With differing
    answers, some effect is not 0, if only by chance.
    """
    effects = [abs(one["effect"]) for one in member["findings"]]
    mean: float | None = member["mean"]
    return mean if effects and max(effects) < _SAME else None


def _proposed(
    found: Mapping[str, Any], member: Mapping[str, Any], min_effect: float, family: int
) -> Finding:
    """Return a finding of a screening that was not tested on pairs.

    One on a concept of the class counts as its verdict says; any other is at most a proposal.
    """
    verdict, reason = "inconclusive", str(found["verdict"])
    if found["verdict"] == "none":
        verdict, reason = "refuted", ""
    elif found["core"] and found["verdict"] in ("raises", "lowers"):
        verdict, reason = "confirmed", ""
    sensitivity, level = None, member["level"] or 0.0
    if found["verdict"] in ("none", "weak", "open") and 0 < level < 1:
        sensitivity = detectable_by_screening(
            half_width=(found["high"] - found["low"]) / 2,
            level=level,
            pictures=found["pictures"],
            min_effect=min_effect,
            family=family,
        )
    return Finding(
        claim=None,
        number=0,
        concept=found["concept"],
        slot=found["slot"],
        effect=found["effect"],
        low=found["low"],
        high=found["high"],
        pairs=found["pictures"],
        flip_rate=None,
        p_value=None,
        core=found["core"],
        verdict=verdict,
        reason=reason or None,
        sensitivity=sensitivity,
        explained_by=tuple(found["explained_by"]),
    )


def _claims(browse: Browse, column: str, value: object) -> list[_Tested]:
    """Return the claims of a study or member, each with its evidence."""
    rows = browse.rows(
        f"SELECT {', '.join(_Claim._fields)} FROM claim WHERE {column} = ? ORDER BY number",
        (value,),
    )
    sql = f"SELECT {', '.join(_Pairs._fields)} FROM evidence WHERE claim_id = ?"
    return [
        _Tested(claim, decoded("evidence", _Pairs, browse.rows(sql, (claim.id,))))
        for claim in decoded("claim", _Claim, rows)
    ]


def _card(
    browse: Browse,
    claims: Sequence[_Tested],
    looks: Sequence[int] | None,
    family: int,
    *,
    others: Sequence[Finding] = (),
    **facts: Any,
) -> VerdictCard:
    """Sort the claims and other findings; ``looks`` is None where the test had a single look."""
    findings = [*(_finding(claim, looks, family) for claim in claims), *others]
    names = concept_names((one.concept, one.slot) for one in findings)
    findings = [replace(one, concept=names[one.concept, one.slot]) for one in findings]
    by_effect = sorted(findings, key=lambda one: -abs(one.effect))
    confirmed = [one for one in by_effect if one.verdict == "confirmed"]
    raises = [one for one in confirmed if one.effect > 0]
    rest = [one for one in findings if one.verdict == "inconclusive"]
    biases = tuple(one for one in raises if not one.core)
    core = tuple(one for one in raises if one.core)
    shown = next(iter(biases or core), None)
    return VerdictCard(
        biases=biases,
        core=core,
        lowers=tuple(one for one in confirmed if one.effect <= 0),
        unused=tuple(one for one in findings if one.verdict == "refuted"),
        undrawn=tuple(one for one in rest if one.reason == "not_drawn"),
        open=tuple(one for one in rest if one.reason != "not_drawn"),
        pair=None if shown is None or shown.claim is None else best_pair(browse, shown.claim),
        **facts,
    )


def best_pair(browse: Browse, claim_id: int) -> Mapping[str, Any] | None:
    """Return the pair whose class probability rises most; None without a rise."""
    pairs = comparisons.pairs(browse, claim_id, limit=128)
    rises = [pair for pair in pairs if pair["treated"]["p"] > pair["control"]["p"]]
    return max(rises, key=lambda pair: pair["treated"]["p"] - pair["control"]["p"], default=None)


def _finding(tested: _Tested, looks: Sequence[int] | None, family: int) -> Finding:
    claim = tested.claim
    return Finding(
        claim=claim.id,
        number=claim.number,
        concept=claim.concept,
        slot=claim.slot,
        effect=claim.effect,
        low=claim.low,
        high=claim.high,
        pairs=claim.pairs,
        flip_rate=claim.flips / claim.pairs if claim.pairs else None,
        p_value=claim.p_corrected,
        core=claim.core,
        verdict=claim.verdict,
        reason=claim.reason,
        direction=claim.direction,
        sensitivity=_sensitivity(tested, looks, family),
        contexts=tuple(
            (one.context, one.effect) for one in tested.contexts if one.effect is not None
        ),
    )


def _sensitivity(tested: _Tested, looks: Sequence[int] | None, family: int) -> float | None:
    """Return the smallest effect that the test of a claim would have found."""
    claim = tested.claim
    if claim.pairs <= 0 or claim.verdict == "confirmed" or claim.reason == "not_drawn":
        return None
    changes = [
        after - before
        for context in tested.contexts
        for before, after in zip(context.control, context.treated, strict=False)
    ]
    pairs = [claim.pairs]
    if looks is not None:
        # A context has half of a look's pairs; those of a saturated one are left out.
        look = 2 * max((context.pairs for context in tested.contexts), default=0)
        usable = min(1.0, claim.pairs / look) if look > 0 else 1.0
        pairs = [round(usable * look) for look in looks]
    return detectable(
        spread=statistics.pstdev(changes) if changes else 0.0,
        pairs=pairs,
        family=family,
        min_effect=claim.min_effect,
        placebo=claim.placebo_threshold,
    )
