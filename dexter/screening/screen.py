"""The screening: rounds of pictures, every classifier's answers, and what they say of the concepts.

    screening = Screening(pool, topic, pictures, detector=detector, settings=Settings(pictures=800))
    for event in screening.run([member, ...]):
        ...                                  # Planned, Looked, Judged
    screening.results["lab:birds-biased"]    # effects and findings
    screening.state()                        # JSON; Screening(..., state_before=...) continues

Rounds double the pictures. After each, concepts that are settled for every classifier are drawn
less often (successive halving: the pictures go to what is still open), and the screening ends when
all are decided or the budget is spent. The rounds do not depend on the budget, so a screening with
a larger one continues the pictures of a smaller one.

The family-wise error over all concepts, both directions, interactions and all looks is held by
alpha spending (Lan and DeMets 1983, in the power family of Kim and DeMets 1987): look k may err
with probability spent(t_k) - spent(t_(k-1)). A twentieth of it is for interactions of the strongest
few, another for wordings that differ from the others of their concept; the rest is shared evenly
(Bonferroni) by the concepts that are not core to the class. The budget is fixed in advance;
stopping earlier or drawing a concept less often only leaves alpha unspent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dexter.errors import InputError
from dexter.generation.bank import Images, Request
from dexter.generation.pictures import Pictures
from dexter.reasoning.detection import Detector, Embeddings
from dexter.reasoning.topic import Topic
from dexter.reasoning.topic import to_json as topic_json
from dexter.screening.concepts import SUBJECT, Concept, Pool, usable
from dexter.screening.design import MOST_PICTURES, SEEDS, Cell, Design, Round
from dexter.screening.drawn import (
    DRAWN,
    Companion,
    Drawing,
    Mediation,
    drawing,
    presence,
    subjects,
)
from dexter.screening.regression import (
    Estimate,
    Fall,
    Floats,
    Regression,
    by_context,
    log_odds,
    spent,
)

if TYPE_CHECKING:
    from dexter.classifiers import Classifier

Verdict = Literal["raises", "lowers", "explained", "not_drawn", "none", "weak", "open"]
"""raises, lowers: a finding; the effect is at least the smallest that counts, and its interval lies
beyond half of that; the same is true of what is left of it without companions. explained: such an
effect, over all pictures or in one context, that goes through companions or is that of single
wordings. not_drawn: the generator does not draw it, so nothing was tested. none: the interval
lies within the smallest effect that counts, in both directions. weak: a narrow interval that leaves
open such an effect, or too little left without companions. open: too few pictures to decide."""

_SURELY = 0.5
"""Share of the smallest effect that counts, beyond which the interval of a finding lies."""
_EACH = 3
"""Pictures for each wording and subject, below which a regression has too little to go by."""
_INTERACTIONS = _WORDINGS = 0.05
"""Shares of alpha for interactions, and for wordings that differ from others of their concept."""
_ALONE = 2.0
"""The smallest effect of a wording alone, in units of that of a concept: how the generator draws
one place is not averaged over others."""
_STRONGEST, _BESIDE = 3, 4
"""The number of findings whose interactions are estimated, and of concepts that each is paired
with: those with the largest effects, subjects and parts of the class among them."""
_REST = 0.3
"""Relative share of pictures of a concept that is decided."""
_BATCH = 32


@dataclass(frozen=True)
class Settings:
    """The settings of a screening.

    pictures: budget. first: pictures of the first round, at least 3 for each wording; each later
    round doubles the total. alpha:
    family-wise error of each classifier's findings. min_effect: the smallest change of p(class)
    that is a finding. width: half-width of an interval that is narrow enough. seed: of the design.
    """

    pictures: int = 800
    first: int = 200
    alpha: float = 0.05
    min_effect: float = 0.10
    width: float = 0.10
    seed: int = 0


def check(settings: Settings, design: Design) -> None:
    """Raise InputError for settings with which a design cannot be screened."""
    if not 0 <= settings.seed < SEEDS:
        raise InputError(
            f"must be 0 to {SEEDS - 1}, got {settings.seed}",
            field="seed",
            value=settings.seed,
            remedy="choose another seed",
        )
    if not design.wordings:
        raise InputError(
            f"all concepts of {design.pool.name} name a class, or are for other subjects than "
            f"those of {design.topic.class_name}",
            field="concepts",
            value=design.pool.name,
            remedy="name other concepts",
        )
    least = _EACH * design.columns
    if not least <= settings.pictures <= MOST_PICTURES:
        raise InputError(
            f"{settings.pictures} pictures for {design.columns} wordings and subjects: "
            f"a screening of them takes {least} to {MOST_PICTURES}",
            field="pictures",
            value=settings.pictures,
            remedy="change the number of pictures, or name fewer concepts",
        )


class Answers(Protocol):
    """Where numbers about pictures are kept: answers of a classifier, embeddings of a detector."""

    def read(self, key: str, requests: Sequence[Request]) -> dict[Request, NDArray[np.float32]]:
        """Return the rows that are there."""

    def keep(self, key: str, requests: Sequence[Request], rows: NDArray[np.float32]) -> None:
        """Keep rows (n, D)."""


class MemoryAnswers:
    """Answers that last as long as the process."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[Request, NDArray[np.float32]]] = {}

    def read(self, key: str, requests: Sequence[Request]) -> dict[Request, NDArray[np.float32]]:
        there = self._rows.get(key, {})
        return {request: there[request] for request in requests if request in there}

    def keep(self, key: str, requests: Sequence[Request], rows: NDArray[np.float32]) -> None:
        self._rows.setdefault(key, {}).update(zip(requests, rows, strict=True))


@dataclass(frozen=True)
class Member:
    """A classifier to screen. key: its weights, options and class; answers are kept under it."""

    name: str
    key: str
    classify: Callable[[Images], Floats]
    """Pictures (B, H, W, 3) to log-odds of the class (B,)."""


def member(name: str, classifier: Classifier, class_index: int) -> Member:
    """Make a member of a loaded classifier and the index of its class."""

    def classify(images: Images) -> Floats:
        import torch

        rows = []
        with torch.inference_mode():
            for at in range(0, len(images), _BATCH):
                chunk = torch.from_numpy(images[at : at + _BATCH]).permute(0, 3, 1, 2).float() / 255
                output = classifier.answer(chunk)
                output = replace(output, logits=output.logits.double())
                rows.append(output.log_odds(class_index).cpu().numpy())
        return np.concatenate(rows)

    return Member(name, f"{classifier.answers_key}/{class_index}", classify)


@dataclass(frozen=True)
class ContextEffect:
    """An effect over the subjects of the class alone, or of its rivals alone."""

    effect: float
    low: float
    high: float


@dataclass(frozen=True)
class Interaction:
    """The difference that another concept in the picture makes to an effect.

    effect, low, high: by how much the effect on p(class) is larger beside it; log_odds: the same on
    log-odds. pictures: the smallest of the pictures with both, and with either alone.
    """

    concept: str
    slot: str
    effect: float
    low: float
    high: float
    log_odds: tuple[float, float, float]
    pictures: int


@dataclass(frozen=True)
class Effect:
    """The effect of a concept on a classifier.

    effect, low, high: on p(class), at the level of the last look. log_odds: the same on log-odds
    (effect, low, high). direct: the effect less what goes through companions. per_drawn: the effect
    per picture that shows the concept. pictures: the smaller side of the contrast. core: it belongs
    to the class, so that a dependence is no finding.
    """

    concept: str
    slot: str
    verdict: Verdict
    effect: float
    low: float
    high: float
    log_odds: tuple[float, float, float]
    contexts: dict[str, ContextEffect]
    pictures: int
    core: bool
    drawn: Drawing | None
    per_drawn: float | None
    direct: float
    companions: list[Companion]
    explained_by: list[str]
    settled: bool
    """Whether the interval that alpha without looks would give is narrow enough, or far from 0."""
    interactions: list[Interaction] = field(default_factory=list)
    """Of the strongest findings, those that are clear on p(class) and on log-odds."""

    @property
    def score(self) -> float:
        """Return how much the screening says that the concept matters: the effect, or what is left
        of it without companions if that is less."""
        return 0.0 if self.verdict == "not_drawn" else min(abs(self.effect), abs(self.direct))


@dataclass(frozen=True)
class Result:
    """The findings of a screening about a classifier. level: of the intervals, each."""

    classifier: str
    pictures: int
    level: float
    mean: float
    """Mean p(class) over all pictures."""
    effects: list[Effect]

    @property
    def findings(self) -> list[Effect]:
        """Return what raises and lowers the class, strongest first."""
        found = [e for e in self.effects if e.verdict in ("raises", "lowers") and not e.core]
        return sorted(found, key=lambda e: -abs(e.effect))

    @property
    def open(self) -> list[str]:
        """Return the names of concepts that are not decided."""
        return [e.concept for e in self.effects if e.verdict in ("open", "weak") and not e.core]

    @property
    def unsettled(self) -> list[str]:
        """Return the names of concepts that the next round draws as often as the first."""
        return [e.concept for e in self.effects if not e.settled and not e.core]

    def to_json(self) -> dict[str, Any]:
        """Return all of it, JSON-able."""
        return asdict(self)


@dataclass(frozen=True)
class Planned:
    """A round is about to be drawn. pictures: of the round; missing: not yet in the bank. Keep the
    screening's state now."""

    index: int
    pictures: int
    missing: int


@dataclass(frozen=True)
class Looked:
    """Some pictures of a round were drawn or read, and looked at."""

    index: int
    done: int
    pictures: int


@dataclass(frozen=True)
class Judged:
    """A round is over. open: concepts that are undecided for some classifier."""

    index: int
    pictures: int
    results: dict[str, Result]
    open: list[str]
    finished: bool


Event = Planned | Looked | Judged


@dataclass
class Screening:
    """A bank of pictures for one class, and any number of classifiers before it.

    Args:
        pool: The concepts.
        topic: Subjects of the class and of its rivals, and the words that belong to it.
        pictures: Draws what the bank lacks.
        detector: Looks at what was drawn; without one nothing is said of that.
        answers: Where answers and embeddings are kept.
        state_before: What `state` returned before; InputError if it is of another screening.
        agree: Called with the index of a new round and the round; returns the round to draw. Where
            several screenings share a bank, it is the one that the first of them planned.
    """

    pool: Pool
    topic: Topic
    pictures: Pictures
    detector: Detector | None = None
    settings: Settings = field(default_factory=Settings)
    answers: Answers = field(default_factory=MemoryAnswers)
    state_before: Mapping[str, Any] | None = None
    agree: Callable[[int, Round], Round] = lambda index, part: part

    def __post_init__(self) -> None:
        self._design = Design(self.pool, self.topic, seed=self.settings.seed)
        self._least = _EACH * self._design.columns
        check(self.settings, self._design)
        self._concepts = usable(self.pool, self.topic)
        self.rounds: list[Round] = []
        self.results: dict[str, Result] = {}
        self._view: _View | None = None
        if self.state_before is not None:
            if self.state_before.get("identity") != self.identity():
                raise InputError(
                    "the kept state is of another screening",
                    remedy="start a new one, or use the same concepts, class and settings",
                )
            self.rounds = [Round(**part) for part in self.state_before["rounds"]]

    def identity(self) -> dict[str, Any]:
        """Return what the rounds depend on, JSON-able: all but the budget and the classifiers."""
        settings = asdict(self.settings)
        del settings["pictures"]
        return {
            "pool": self.pool.digest,
            "topic": topic_json(self.topic),
            "generator": self.pictures.key,
            "settings": settings,
        }

    def state(self) -> dict[str, Any]:
        """Return what a restart needs besides the bank, JSON-able."""
        return {"identity": self.identity(), "rounds": [asdict(part) for part in self.rounds]}

    def cells(self) -> list[Cell]:
        """Return the cells of all rounds so far."""
        return [cell for part in self.rounds for cell in self._design.cells(part)]

    def run(self, members: Sequence[Member]) -> Iterator[Event]:
        """Screen these classifiers; rounds that exist are looked at before new ones are planned."""
        index = 0
        while True:
            if index == len(self.rounds):
                self.rounds.append(self.agree(index, self._next(members)))
            cells = self._design.cells(self.rounds[index])
            missing = self._missing(cells, members)
            yield Planned(index, len(cells), len(missing))
            for done in self._look(missing, members):
                yield Looked(index, len(cells) - len(missing) + done, len(cells))
            index += 1
            if index < len(self.rounds):
                continue
            self._judge(members)
            open_ = sorted({name for m in members for name in self.results[m.name].open})
            total = sum(part.count for part in self.rounds)
            finished = not open_ or total >= self.settings.pictures
            results = {m.name: self.results[m.name] for m in members}
            yield Judged(index - 1, total, results, open_, finished)
            if finished:
                return

    def falls(self, before: Member, after: Member) -> dict[tuple[str, str], Fall]:
        """Return by how much each effect, by slot and concept, fell from one member to another.

        Both were screened. Effects that may be 0 before are left out.
        """
        assert self._view is not None
        return self._view.falls(*(self._odds(one) for one in (before, after)))

    def _next(self, members: Sequence[Member]) -> Round:
        """Plan a round that doubles the pictures, most of them for what is open."""
        total = sum(part.count for part in self.rounds)
        count = min(total or self.settings.first, self.settings.pictures - total)
        if not total:
            first = max(self.settings.first, self._least)
            return Round(0, min(first, self.settings.pictures))
        wanted = {name for m in members for name in self.results[m.name].unsettled}
        return Round(total, count, {c.name: _REST for c in self._concepts if c.name not in wanted})

    # --- looking ----------------------------------------------------------------------------------

    def key(self, member: Member) -> str:
        """Return the key under which the member's answers are kept."""
        return f"{self.pictures.key}/{member.key}"

    @property
    def detector_key(self) -> str:
        """Return the key under which the pictures' embeddings are kept."""
        return f"{self.pictures.key}/{self.detector.name if self.detector else ''}"

    def _missing(self, cells: Sequence[Cell], members: Sequence[Member]) -> list[Request]:
        """The requests that somebody has not looked at."""
        requests = list(dict.fromkeys(cell.request for cell in cells))
        keys = [self.key(m) for m in members]
        if self.detector is not None:
            keys.append(self.detector_key)
        there = [self.answers.read(key, requests).keys() for key in keys]
        return [r for r in requests if not all(r in known for known in there)]

    def _look(self, requests: Sequence[Request], members: Sequence[Member]) -> Iterator[int]:
        done = 0
        for chunk, images in self.pictures.stream(requests):
            for m in members:
                key = self.key(m)
                rows = _new(self.answers.read(key, chunk), chunk)
                if rows:
                    answers = m.classify(images[rows]).astype(np.float32)[:, None]
                    self.answers.keep(key, [chunk[row] for row in rows], answers)
            if self.detector is not None:
                key = self.detector_key
                rows = _new(self.answers.read(key, chunk), chunk)
                if rows:
                    embedded = self.detector.embed(images[rows])
                    self.answers.keep(key, [chunk[row] for row in rows], embedded)
            done += len(chunk)
            yield done

    # --- judging ----------------------------------------------------------------------------------

    def _judge(self, members: Sequence[Member]) -> None:
        cells = self.cells()
        requests = [cell.request for cell in cells]
        embeddings = None
        if self.detector is not None:
            seen = self.answers.read(self.detector_key, requests)
            embeddings = np.stack([seen[r] for r in requests])
        self._view = _View(
            self.settings,
            self.pool,
            self.topic,
            cells,
            [part.count for part in self.rounds],
            self.detector,
            embeddings,
        )
        for m in members:
            self.results[m.name] = self._view.result(m.name, self._odds(m))

    def _odds(self, member: Member) -> Floats:
        """Return the log-odds of the class in all cells, (n,)."""
        requests = [cell.request for cell in self.cells()]
        known = self.answers.read(self.key(member), requests)
        return np.array([known[r][0] for r in requests], dtype=np.float64)


def judge_labelled(
    name: str, odds: Floats, cells: Sequence[Cell], pool: Pool, topic: Topic, settings: Settings
) -> Result:
    """Judge a classifier by its log-odds (n,) of pictures that came with labels.

    The labels stand in for the words of prompts: ``said`` of each cell holds them by slot. They are
    taken as they are, so nothing is said of what was drawn. Labels were not assigned at random: an
    effect is one beside the other labels, and causal only where they are independent of the rest.
    """
    settings = replace(settings, pictures=len(cells))
    return _View(settings, pool, topic, list(cells), [len(cells)]).result(name, odds)


def _new(known: Mapping[Request, Any], chunk: Sequence[Request]) -> list[int]:
    return [row for row, request in enumerate(chunk) if request not in known]


class _View:
    """The parts that members share when they are judged: the regressions and what was drawn."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        topic: Topic,
        cells: list[Cell],
        rounds: Sequence[int],
        detector: Detector | None = None,
        embeddings: Embeddings | None = None,
    ) -> None:
        """Take the cells of all rounds, of these sizes, and what was seen in their pictures."""
        self._settings = settings
        self._topic = topic
        self._pool = pool
        nouns = subjects(cells)
        alone = {one: concept for concept in pool.concepts for one in concept.alone}
        every = [*pool.concepts, *pool.kinds, *nouns, *alone]
        self._all = Regression(cells, pool, every, alone)
        self._reported = [
            index
            for index, concept in enumerate(self._all.concepts)
            if concept not in alone
            and (concept.slot != SUBJECT or (concept not in nouns and _varies(concept, cells)))
        ]
        self._core = [_is_core(c, topic) for c in self._all.concepts]
        self._parts = {
            context: (at, Regression([cells[i] for i in at], pool, self._all.concepts, alone))
            for context, at in by_context(cells).items()
        }
        family = max(1, sum(not self._core[index] for index in self._reported))
        looks = np.cumsum(rounds)
        done = looks[-1] / settings.pictures
        before = looks[-2] / settings.pictures if len(looks) > 1 else 0.0
        share = spent(done, settings.alpha) - spent(before, settings.alpha)
        places = {concept: index for index, concept in enumerate(self._all.concepts)}
        # The index of a wording alone to that of its concept.
        self._alone = {
            places[one]: places[concept]
            for one, concept in alone.items()
            if one in places and concept in places
        }
        self._alpha = float((1 - _INTERACTIONS - _WORDINGS) * share / family)
        self._alpha_alone = float(_WORDINGS * share / max(1, len(self._alone)))
        self._alpha_together = float(_INTERACTIONS * share / (_STRONGEST * _BESIDE))
        self._plain_alpha = settings.alpha / family
        self._mediation: Mediation | None = None
        self._drawings: list[Drawing | None] = [None] * len(self._all.concepts)
        if detector is not None and embeddings is not None:
            seen = np.stack(
                [
                    np.any([detector.sees(look, embeddings) for look in concept.looks], axis=0)
                    for concept in self._all.concepts
                ],
                axis=1,
            )
            shown = np.stack(
                [presence(detector, c.looks, embeddings) for c in self._all.concepts], axis=1
            )
            self._mediation = Mediation(self._all, shown, pool, alone, self._parts)
            inclusive = {slot.name for slot in pool.slots if not slot.exclusive}
            self._drawings = [
                drawing(
                    cells,
                    concept,
                    seen[:, index],
                    exclusive=concept.slot not in inclusive,
                    parent=alone.get(concept),
                )
                for index, concept in enumerate(self._all.concepts)
            ]

    def result(self, name: str, odds: Floats) -> Result:
        """Judge one classifier by its log-odds of the class (n,)."""
        p = _probabilities(odds)
        odds = log_odds(p)
        on_p, on_odds = self._all.estimate(p), self._all.estimate(odds)
        mediation = self._mediation
        direct = on_p if mediation is None else mediation.direct(p, mediation.whole)
        contexts: list[dict[str, ContextEffect]] = [{} for _ in on_p]
        places = {concept: index for index, concept in enumerate(self._all.concepts)}
        for context, (at, regression) in self._parts.items():
            for concept, estimate in zip(
                regression.concepts, regression.estimate(p[at]), strict=True
            ):
                contexts[places[concept]][context] = ContextEffect(
                    estimate.effect, *estimate.interval(self._alpha)
                )
        effects = np.array([estimate.effect for estimate in on_p])
        found = [
            self._effect(i, on_p[i], on_odds[i], direct[i], contexts[i], effects)
            for i in self._reported
        ]
        if mediation is not None:
            for context, split in mediation.parts.items():
                remains = mediation.direct(p, split)
                found = [
                    self._explained_within(effect, context, i, remains[i], effects)
                    for i, effect in zip(self._reported, found, strict=True)
                ]
        found = self._with_interactions(found, effects, p, odds)
        for place, parent in enumerate(self._reported):
            if found[place].verdict in ("explained", "not_drawn") or self._core[parent]:
                continue
            differing = {
                i: self._effect(i, on_p[i], on_odds[i], direct[i], contexts[i], effects)
                for i in self._wordings(parent)
                if not self._core[i] and self._differs(i, p)
            }
            apart = {i: e for i, e in differing.items() if e.verdict in ("raises", "lowers")}
            found += apart.values()
            if found[place].verdict in ("raises", "lowers") and self._only(parent, apart, p):
                names = [one.concept for one in apart.values()]
                found[place] = replace(found[place], verdict="explained", explained_by=names)
        return Result(name, len(p), 1 - self._alpha, float(p.mean()), found)

    def _wordings(self, parent: int) -> list[int]:
        """Return the wordings of a concept, each alone."""
        return [index for index, of in self._alone.items() if of == parent]

    def _differs(self, index: int, p: Floats) -> bool:
        """Return whether the wording at ``index`` has an effect that others of its concept do not
        have: what it has more than they is large and clear, and of the sign of its own."""
        others = [i for i in self._wordings(self._alone[index]) if i != index]
        if not others:
            return False
        own = float(self._all.means(p)[index])
        more = self._all.difference(p, [index], others)
        return (
            more.effect * own > 0
            and min(abs(more.effect), abs(own)) >= _ALONE * self._settings.min_effect
            and self._is_clear(more.effect, *more.interval(self._alpha_alone))
        )

    def _only(self, parent: int, apart: Collection[int], p: Floats) -> bool:
        """Return whether a concept has no clear effect in the wordings that are not ``apart``."""
        rest = [i for i in self._wordings(parent) if i not in apart]
        if not apart or not rest:
            return False
        slot = self._all.concepts[parent].slot
        exclusive = any(one.exclusive for one in self._pool.slots if one.name == slot)
        outside = [
            i
            for i, concept in enumerate(self._all.concepts)
            if exclusive and concept.slot == slot and i != parent and i not in self._alone
        ]
        left = self._all.difference(p, rest, outside)
        return not self._is_clear(left.effect, *left.interval(self._alpha))

    def falls(self, before: Floats, after: Floats) -> dict[tuple[str, str], Fall]:
        """Return the falls of the effects that are reported, from log-odds (n,) to others (n,)."""
        found = self._all.falls(_probabilities(before), _probabilities(after))
        concepts = self._all.concepts
        return {
            (concepts[i].slot, concepts[i].name): fall
            for i in self._reported
            if (fall := found[i]) is not None
        }

    def _with_interactions(
        self, found: list[Effect], effects: Floats, p: Floats, odds: Floats
    ) -> list[Effect]:
        """Return the effects, the strongest findings with their interactions."""
        concepts = self._all.concepts
        drawn = [d is None or d.shift >= DRAWN for d in self._drawings]
        ranked = [i for i in np.argsort(-np.abs(effects)) if drawn[i] and i not in self._alone]
        places = {index: place for place, index in enumerate(self._reported)}
        said = [
            i
            for i in ranked
            if i in places
            and found[places[i]].verdict in ("raises", "lowers")
            and not found[places[i]].core
        ]
        exclusive = {slot.name for slot in self._pool.slots if slot.exclusive} | {SUBJECT}
        found, pairs = list(found), set()
        for first in said[:_STRONGEST]:
            slot = concepts[first].slot
            apart = [
                i
                for i in ranked
                if i != first and (concepts[i].slot != slot or slot not in exclusive)
            ]
            kept = []
            for second in apart[:_BESIDE]:
                if frozenset((first, second)) not in pairs:
                    pairs.add(frozenset((first, second)))
                    kept += self._interaction(first, second, p, odds)
            place = places[first]
            found[place] = replace(found[place], interactions=kept)
        return found

    def _interaction(self, first: int, second: int, p: Floats, odds: Floats) -> list[Interaction]:
        """Return the interaction if it is clear on both scales: on one alone it can come from
        answers that are near 0 or 1 anyway."""
        on_p = self._all.interaction(p, first, second)
        on_odds = self._all.interaction(odds, first, second)
        if on_p is None or on_odds is None:
            return []
        low, high = on_p.interval(self._alpha_together)
        half = on_odds.half_width(self._alpha_together)
        if (
            not self._is_clear(on_p.effect, low, high)
            or abs(on_odds.effect) <= half
            or on_p.effect * on_odds.effect < 0
        ):
            return []
        concept = self._all.concepts[second]
        on_scale = (on_odds.effect, on_odds.effect - half, on_odds.effect + half)
        return [
            Interaction(concept.name, concept.slot, on_p.effect, low, high, on_scale, on_p.pictures)
        ]

    def _effect(
        self,
        index: int,
        on_p: Estimate,
        on_odds: Estimate,
        direct: Estimate,
        contexts: dict[str, ContextEffect],
        effects: Floats,
    ) -> Effect:
        concept, drawn = self._all.concepts[index], self._drawings[index]
        low, high = on_p.interval(self._alpha)
        half = on_odds.half_width(self._alpha)
        mediation = self._mediation
        companions = (
            [] if mediation is None else mediation.companions(index, effects, mediation.whole)
        )
        verdict = self._verdict(on_p, low, high, drawn)
        explained_by: list[str] = []
        if verdict in ("raises", "lowers"):
            explained_by = self._explained(on_p.effect, direct, companions)
            if explained_by:
                verdict = "explained"
            elif direct.effect * on_p.effect < 0 or not self._is_clear(
                direct.effect, *direct.interval(self._alpha)
            ):
                verdict = "weak"
        shift = None if drawn is None else drawn.shift
        return Effect(
            concept.name,
            concept.slot,
            verdict,
            on_p.effect,
            low,
            high,
            (on_odds.effect, on_odds.effect - half, on_odds.effect + half),
            contexts,
            on_p.pictures,
            self._core[index],
            drawn,
            on_p.effect / shift if shift is not None and shift >= DRAWN else None,
            direct.effect,
            companions,
            explained_by,
            self._is_settled(on_p),
        )

    def _is_settled(self, estimate: Estimate) -> bool:
        width = estimate.half_width(self._plain_alpha)
        return width <= self._settings.width or abs(estimate.effect) - width >= (
            self._settings.min_effect
        )

    def _verdict(
        self, estimate: Estimate, low: float, high: float, drawn: Drawing | None
    ) -> Verdict:
        if drawn is not None and not drawn.shift >= DRAWN:
            return "not_drawn"
        if self._is_clear(estimate.effect, low, high):
            return "raises" if estimate.effect > 0 else "lowers"
        least = self._settings.min_effect
        if -least < low and high < least:
            return "none"
        return "open" if high - low > 2 * self._settings.width else "weak"

    def _is_clear(self, effect: float, low: float, high: float) -> bool:
        least = self._settings.min_effect
        return abs(effect) >= least and max(low, -high) > _SURELY * least

    def _explained_within(
        self, effect: Effect, context: str, index: int, direct: Estimate, effects: Floats
    ) -> Effect:
        """Return the effect as explained if it is one in this context alone, and through
        companions."""
        found = effect.contexts.get(context)
        if (
            found is None
            or effect.verdict not in ("none", "weak", "open")
            or not self._is_clear(found.effect, found.low, found.high)
        ):
            return effect
        assert self._mediation is not None
        split = self._mediation.parts[context]
        companions = self._mediation.companions(index, effects, split)
        names = self._explained(found.effect, direct, companions)
        return replace(effect, verdict="explained", explained_by=names) if names else effect

    def _explained(
        self, effect: float, direct: Estimate, companions: Sequence[Companion]
    ) -> list[str]:
        """The companions that carry an effect, if little is left without them."""
        low, high = direct.interval(self._alpha)
        gone = abs(direct.effect) < self._settings.min_effect or low <= 0 <= high
        carried = 1 - direct.effect / effect
        if not gone or carried < 0.5:
            return []
        sign = np.sign(effect)
        most = max((c.through * sign for c in companions), default=0.0)
        return [c.concept for c in companions if c.through * sign >= 0.5 * most > 0]


def _probabilities(odds: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-odds))
    return found


def _varies(kind: Concept, cells: Sequence[Cell]) -> bool:
    """Return True if subjects of a context differ in the kind; otherwise the kind is the class."""
    found: dict[str, set[bool]] = {}
    for cell in cells:
        found.setdefault(cell.context, set()).add(cell.said[SUBJECT][0].split()[-1] in kind.words)
    return any(len(values) == 2 for values in found.values())


def _is_core(concept: Concept, topic: Topic) -> bool:
    words = concept.looks if concept.slot == SUBJECT else (*concept.looks, *concept.words)
    return any(topic.is_core(word) for word in words)
