"""The evidence for claims: interventions on pairs of pictures that differ only in a concept.

Both sides of a pair have the same seed, so start noise and scheduler noise are identical. The seeds
are from a range that no search has seen. Pairs alternate between two contexts, subjects of the
class and subjects of its rivals. What the pictures of a pair show is a matter of its `Layout`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from dexter import stats
from dexter.generation.bank import Images, Request
from dexter.generation.pictures import Pictures
from dexter.reasoning.claims import (
    DRAWN,
    MIN_EFFECT,
    OWN,
    RIVALS,
    Candidate,
    Claim,
    ContextEvidence,
    Proportion,
    is_saturated,
    judge,
)
from dexter.reasoning.detection import Detector, Embeddings
from dexter.reasoning.topic import Slot, Topic
from dexter.seeds import picture_seeds

if TYPE_CHECKING:
    from dexter.classifiers import Classifier

PLACEBOS = 20
PLACEBO_PAIRS = 64


@dataclass(frozen=True)
class Pair:
    """A control picture and a treated picture."""

    context: str
    control: Request
    treated: Request


Place = tuple[Slot, str]
"""A slot and a concept of it."""


class Layout(Protocol):
    """A source of pairs for concepts."""

    def pairs(self, concept: str, slot: Slot, count: int) -> list[Pair]:
        """Return the first ``count`` pairs; a larger count extends a smaller one."""

    def swaps(self, concept: str, slot: Slot, count: int) -> list[list[Place]]:
        """Return what takes the concept's place in the control pictures, at most ``count`` a slot.

        The other concepts of its exclusive slot come first, those of other exclusive slots follow
        if the first are few. By default none: a concept is added and takes no other's place.
        """
        return []

    def placebos(self, concept: str, slot: Slot) -> list[Place]:
        """Return concepts that can be added to a picture, as unlikely to matter as any."""
        return []


class PromptLayout(Layout):
    """A layout of two given prompts; both sides have the same seeds by default."""

    def __init__(
        self,
        control: str,
        treated: str,
        *,
        first_seed: int = 0,
        treated_first_seed: int | None = None,
    ) -> None:
        other = first_seed if treated_first_seed is None else treated_first_seed
        count = stats.LOOKS[-1]
        self._pairs = [
            Pair("as asked", (control, a), (treated, b))
            for a, b in zip(
                picture_seeds("evidence", first_seed, count),
                picture_seeds("evidence", other, count),
                strict=True,
            )
        ]

    def pairs(self, concept: str, slot: Slot, count: int) -> list[Pair]:
        return self._pairs[:count]


class PlaceboCache(Protocol):
    """A cache of measured placebo effects, or levels of a slot's concepts, by word and context."""

    def read(self, key: str) -> dict[str, dict[str, float]]:
        """Return the effects under this key: word -> context -> mean effect."""

    def keep(self, key: str, word: str, effects: Mapping[str, float], pairs: int) -> None:
        """Store a word's effects."""


class MemoryCache:
    """A placebo cache that lasts as long as the process."""

    def __init__(self) -> None:
        self._effects: dict[str, dict[str, dict[str, float]]] = {}

    def read(self, key: str) -> dict[str, dict[str, float]]:
        return self._effects.get(key, {})

    def keep(self, key: str, word: str, effects: Mapping[str, float], pairs: int) -> None:
        self._effects.setdefault(key, {})[word] = dict(effects)


class Witness:
    """A classifier, with a detector if there is one, that sees each picture once."""

    def __init__(
        self,
        pictures: Pictures,
        classifier: Classifier,
        class_index: int,
        detector: Detector | None = None,
        *,
        beside: Witness | None = None,
    ) -> None:
        """Share the embeddings of ``beside``, a witness of the same pictures, if given."""
        self.pictures = pictures
        self.classifier = classifier
        self.class_index = class_index
        self.detector = detector
        self._probability: dict[Request, float] = {}
        self._hit: dict[Request, bool] = {}
        self._embedding: dict[Request, NDArray[np.float32]] = (
            {} if beside is None else beside._embedding
        )

    def new(self, requests: Sequence[Request]) -> list[Request]:
        """Return the pictures not seen before, each once."""
        return [r for r in dict.fromkeys(requests) if r not in self._probability]

    def look(self, requests: Sequence[Request]) -> None:
        """Draw and classify the pictures not seen before."""
        for chunk, images in self.pictures.stream(self.new(requests)):
            p, predicted = self.classify(images)
            for row, request in enumerate(chunk):
                self._probability[request] = float(p[row])
                self._hit[request] = bool(predicted[row] == self.class_index)
            rows = [row for row, request in enumerate(chunk) if request not in self._embedding]
            if self.detector is not None and rows:
                embeddings = self.detector.embed(images[rows])
                self._embedding.update(zip((chunk[r] for r in rows), embeddings, strict=True))

    def classify(self, images: Images) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the target's probability and the predicted class of pictures (B, H, W, 3)."""
        import torch

        ps, classes = [], []
        with torch.inference_mode():
            for at in range(0, len(images), 16):
                chunk = torch.from_numpy(images[at : at + 16]).permute(0, 3, 1, 2).float() / 255
                output = self.classifier.answer(chunk)
                ps.append(output.probability(self.class_index).double().cpu().numpy())
                classes.append(output.predicted(self.class_index).cpu().numpy())
        return np.concatenate(ps), np.concatenate(classes)

    def probabilities(self, requests: Sequence[Request]) -> NDArray[np.float64]:
        """Return the target's probability for pictures seen before."""
        return np.array([self._probability[r] for r in requests], dtype=np.float64)

    def hits(self, requests: Sequence[Request]) -> NDArray[np.bool_]:
        """Return True for each picture classified as the target."""
        return np.array([self._hit[r] for r in requests], dtype=np.bool_)

    def embeddings(self, requests: Sequence[Request]) -> Embeddings:
        """Return the detector's embeddings of pictures seen before."""
        return np.stack([self._embedding[r] for r in requests])

    def sees(self, concept: str, requests: Sequence[Request]) -> NDArray[np.bool_] | None:
        """Return True for each picture that shows the concept; None if nothing can be detected."""
        if self.detector is None or not requests:
            return None
        return self.detector.sees(concept, self.embeddings(requests))


@dataclass
class Experiment:
    """A test of claims about one class, corrected as one family.

    layout: of the class; placebos are added to its pictures. frames: the detector's embeddings of
    frames that hit the class. placebos: number of placebos; 0 sets the threshold to 0. on_plan:
    called with the maximum number of pictures of the next part. assume_drawn: skip the detection of
    the concept, for calibration on pairs without one.
    """

    witness: Witness
    topic: Topic
    layout: Layout
    frames: Embeddings | None = None
    min_effect: float = MIN_EFFECT
    placebo_cache: PlaceboCache | None = None
    placebos: int = PLACEBOS
    placebo_pairs: int = PLACEBO_PAIRS
    on_plan: Callable[[int], None] = lambda pictures: None
    assume_drawn: bool = False
    looks: Sequence[int] = stats.LOOKS

    def test(
        self,
        candidates: Sequence[Candidate],
        layout: Layout | None = None,
        *,
        family: int | None = None,
    ) -> list[Claim]:
        """Return a claim per candidate, in order, corrected for their number.

        Each claim is tested after 32, 64 and 128 pairs until it is decided. An early decision uses
        Bonferroni's correction, which is never less strict than the final correction by Holm.
        layout: of the pairs, where it is not that of the class. family: the number of all claims
        that are corrected together in the end, where these are some of them.
        """
        layout = layout or self.layout
        family = len(candidates) if family is None else family
        trials = [_Trial(self, layout, candidate) for candidate in candidates]
        thresholds = self._thresholds(candidates, layout)
        for look in self.looks:
            undecided = [trial for trial in trials if not trial.decided]
            controls = self.witness.new([r for trial in undecided for r in trial.controls])
            self.on_plan(len(controls) + sum(trial.most_left(look) for trial in undecided))
            if undecided:
                self.witness.look(controls)
                self.witness.look([r for trial in undecided for r in trial.requests(look)])
            for trial in undecided:
                trial.look(look, thresholds[trial.candidate.slot, trial.candidate.concept], family)
        return corrected([trial.claim for trial in trials])

    def requests(self, candidates: Sequence[Candidate]) -> list[Request]:
        """Return the pictures that `test` needs if no claim is decided early, each once."""
        return needed_pictures(
            candidates,
            self.topic,
            self.layout,
            pairs=self.looks[-1],
            placebos=self.placebos,
            placebo_pairs=self.placebo_pairs,
        )

    def changes(self, candidate: Candidate) -> NDArray[np.float64]:
        """Return the change of the target's probability in every pair of the last look."""
        pairs = self.layout.pairs(candidate.concept, candidate.slot, self.looks[-1])
        return _differences(self.witness, pairs)

    def _thresholds(
        self, candidates: Sequence[Candidate], layout: Layout
    ) -> dict[Place, Callable[[Sequence[str]], float | None]]:
        """Return each candidate's placebo threshold as a function of the contexts that count.

        A placebo changes a prompt as the candidate's pairs do: a concept that takes the place of
        another is compared with other swaps, one that is added with other words that are.
        """
        if not self.placebos:
            return {(c.slot, c.concept): lambda contexts: 0.0 for c in candidates}
        swapped = _swaps(candidates, self.topic, layout, self.placebos)
        added = _added(candidates, swapped, self.topic, self.layout, self.placebos)
        levels = self._levels(_swapped(swapped), layout)
        effects = self._placebo_effects(_each_once(added))

        def of_swaps(key: Place, contexts: Sequence[str]) -> float | None:
            own, *elsewhere = ([_mean(levels[other], contexts) for other in slot if levels[other]]
                               for slot in swapped[key])  # fmt: skip
            tested = _mean(levels[key], contexts) if levels[key] else 0.0
            return stats.swap_threshold(tested, own, elsewhere)

        def of_added(key: Place, contexts: Sequence[str]) -> float | None:
            found = [
                _mean(effects[placebo], contexts) for placebo in added[key] if effects[placebo]
            ]
            return stats.placebo_threshold(found)

        return {key: partial(of_swaps if swapped[key] else of_added, key) for key in swapped}

    def _levels(self, concepts: Iterable[Place], layout: Layout) -> dict[Place, dict[str, float]]:
        """Return the mean probability of each concept's treated pictures, by context."""
        pairs = {own: layout.pairs(own[1], own[0], self.placebo_pairs) for own in concepts}

        def pictures(own: list[Pair]) -> list[Request]:
            return [pair.treated for pair in own]

        def key(own: Place) -> str:
            return self._key("levels", *(f"{text} {seed}" for text, seed in pictures(pairs[own])))

        return self._measured(
            pairs, key, pictures, lambda own: self.witness.probabilities(pictures(own))
        )

    def _placebo_effects(self, places: Sequence[Place]) -> dict[Place, dict[str, float]]:
        """Return each placebo's mean effect by context, over the first pairs of the class."""
        pairs = {own: self.layout.pairs(own[1], own[0], self.placebo_pairs) for own in places}

        def pictures(own: list[Pair]) -> list[Request]:
            return [request for pair in own for request in (pair.control, pair.treated)]

        def key(own: Place) -> str:
            return self._key("effects", *(f"{text} {seed}" for text, seed in pictures(pairs[own])))

        return self._measured(pairs, key, pictures, lambda own: _differences(self.witness, own))

    def _measured(
        self,
        pairs: Mapping[Place, list[Pair]],
        key: Callable[[Place], str],
        requests: Callable[[list[Pair]], list[Request]],
        values: Callable[[list[Pair]], NDArray[np.float64]],
    ) -> dict[Place, dict[str, float]]:
        """Return the mean of values by context for each slot and word, from the cache if there."""
        cache = self.placebo_cache or MemoryCache()
        found: dict[Place, dict[str, float]] = {}
        new: list[Place] = []
        for own in pairs:
            known = cache.read(key(own)).get(own[1])
            if known is None:
                new.append(own)
            else:
                found[own] = known
        self.on_plan(len(self.witness.new([r for own in new for r in requests(pairs[own])])))
        # Several words at once, so that pictures are drawn in full batches.
        for at in range(0, len(new), 4):
            some = new[at : at + 4]
            self.witness.look([r for own in some for r in requests(pairs[own])])
            for own in some:
                means = {}
                for context in (OWN, RIVALS):
                    kept = [pair for pair in pairs[own] if pair.context == context]
                    if kept:
                        means[context] = float(values(kept).mean())
                cache.keep(key(own), own[1], means, len(pairs[own]))
                found[own] = means
        return found

    def _key(self, *parts: str) -> str:
        """Return a digest of generator, classifier, class and these parts."""
        every = [
            self.witness.pictures.key,
            self.witness.classifier.answers_key,
            self.witness.classifier.spec,
            str(self.witness.class_index),
            *parts,
        ]
        return hashlib.sha256("\0".join(every).encode()).hexdigest()

    def prior(self, concept: str) -> Proportion | None:
        """Return the concept's detection rate in pictures of the class's base prompts."""
        requests = _base_pictures(self.topic)
        if self.witness.detector is None:
            return None
        self.witness.look(requests)
        seen = self.witness.sees(concept, requests)
        return None if seen is None else _proportion(int(seen.sum()), len(seen))

    def in_frames(self, concept: str) -> Proportion | None:
        """Return the concept's detection rate in frames that hit the class."""
        if self.frames is None or not len(self.frames) or self.witness.detector is None:
            return None
        seen = self.witness.detector.sees(concept, self.frames)
        return _proportion(int(seen.sum()), len(seen))


def needed_pictures(
    candidates: Sequence[Candidate],
    topic: Topic,
    layout: Layout,
    *,
    pairs: int = stats.LOOKS[-1],
    placebos: int = PLACEBOS,
    placebo_pairs: int = PLACEBO_PAIRS,
) -> list[Request]:
    """Return the pictures of a test of claims that are decided at the look of ``pairs`` pairs.

    Each is listed once. A test draws fewer where a context is saturated.
    """
    asked = [p for c in candidates for p in layout.pairs(c.concept, c.slot, pairs)]
    every = [p for c in candidates for p in layout.pairs(c.concept, c.slot, stats.LOOKS[-1])]
    swapped = _swaps(candidates, topic, layout, placebos)
    for slot, concept in _each_once(_added(candidates, swapped, topic, layout, placebos)):
        asked += layout.pairs(concept, slot, placebo_pairs)
    levels = [
        p for slot, word in _swapped(swapped) for p in layout.pairs(word, slot, placebo_pairs)
    ]
    return list(
        dict.fromkeys(
            [
                *(pair.control for pair in every),
                *(request for pair in asked for request in (pair.control, pair.treated)),
                *(pair.treated for pair in levels),
                *(_base_pictures(topic) if candidates else []),
            ]
        )
    )


def _base_pictures(topic: Topic) -> list[Request]:
    """Return pictures of the class's base prompts, which show what the generator adds."""
    prompts = topic.base_prompts()
    seeds = picture_seeds("evidence", 0, stats.LOOKS[-1] // 2)
    return [(prompts[i % len(prompts)], seed) for i, seed in enumerate(seeds)]


def _swaps(
    candidates: Sequence[Candidate], topic: Topic, layout: Layout, count: int
) -> dict[Place, list[list[Place]]]:
    """Return the swaps that each candidate is compared with, without words of the class; none where
    a concept is added."""
    found = {}
    for one in candidates:
        slots = [
            [other for other in slot if not topic.is_core(other[1])]
            for slot in layout.swaps(one.concept, one.slot, count)
        ]
        enough = any(len(slot) >= stats.FEWEST_LEVELS for slot in slots)
        found[one.slot, one.concept] = slots if enough else []
    return found


def _added(
    candidates: Sequence[Candidate],
    swapped: Mapping[Place, list[list[Place]]],
    topic: Topic,
    layout: Layout,
    count: int,
) -> dict[Place, list[Place]]:
    """Return the placebos of each candidate without swaps: up to ``count``, none of them a
    candidate or a word of the class."""
    tested = {word for one in candidates for word in one.concept.split()}
    return {
        (one.slot, one.concept): [
            (slot, name)
            for slot, name in layout.placebos(one.concept, one.slot)
            if not tested & set(name.split()) and not topic.is_core(name)
        ][:count]
        for one in candidates
        if not swapped[one.slot, one.concept]
    }


def _swapped(swaps: Mapping[Place, list[list[Place]]]) -> list[Place]:
    """Return the concepts whose levels are compared, each once: those with swaps, and the swaps."""
    others = [other for slots in swaps.values() for own in slots for other in own]
    return list(dict.fromkeys([*(place for place, slots in swaps.items() if slots), *others]))


def _each_once(words: Mapping[Place, list[Place]]) -> list[Place]:
    return sorted({placebo for found in words.values() for placebo in found})


class _Trial:
    """A candidate on its way to a claim."""

    def __init__(self, experiment: Experiment, layout: Layout, candidate: Candidate) -> None:
        self.experiment = experiment
        self.layout = layout
        self.candidate = candidate
        self.decided = False
        self.claim: Claim
        self._every = layout.pairs(candidate.concept, candidate.slot, stats.LOOKS[-1])

    @property
    def controls(self) -> list[Request]:
        """Return all control pictures, which show if a context is saturated."""
        return [pair.control for pair in self._every]

    def most_left(self, look: int) -> int:
        """Return the maximum number of treated pictures to draw from this look on."""
        return stats.LOOKS[-1] - (look // 2 if look > stats.LOOKS[0] else 0)

    def requests(self, look: int) -> list[Request]:
        """Return the pictures of this look, without those of contexts known to be saturated."""
        out = self._saturated(self.candidate.direction) if self.candidate.direction else set()
        return [r for pair in self._pairs(look) if pair.context not in out
                for r in (pair.control, pair.treated)]  # fmt: skip

    def _pairs(self, look: int) -> list[Pair]:
        return self.layout.pairs(self.candidate.concept, self.candidate.slot, look)

    def _saturated(self, direction: int) -> set[str]:
        """Return the contexts whose control pictures leave no room for an effect."""
        self.experiment.witness.look(self.controls)
        return {context for context, mean in self._control_means().items()
                if is_saturated(mean, direction)}  # fmt: skip

    def _control_means(self) -> dict[str, float]:
        controls: dict[str, list[Request]] = {}
        for pair in self._every:
            controls.setdefault(pair.context, []).append(pair.control)
        return {
            context: float(self.experiment.witness.probabilities(requests).mean())
            for context, requests in controls.items()
        }

    def look(
        self, look: int, threshold: Callable[[Sequence[str]], float | None], family: int
    ) -> None:
        """Update the claim after ``look`` pairs, and decide it if possible."""
        experiment, witness = self.experiment, self.experiment.witness
        pairs = self._pairs(look)
        direction = self.candidate.direction
        if not direction:
            direction = -1 if _differences(witness, pairs).sum() < 0 else 1
        out = self._saturated(direction)
        kept = [pair for pair in pairs if pair.context not in out]
        differences = _differences(witness, kept)
        effect = float(differences.mean()) if kept else 0.0
        low, high = stats.bootstrap_interval(differences)
        p = stats.sign_flip_p(differences, max(stats.PERMUTATIONS, 100 * family))
        before = witness.sees(self.candidate.concept, [pair.control for pair in kept])
        after = witness.sees(self.candidate.concept, [pair.treated for pair in kept])
        rates = (0.0, 1.0) if experiment.assume_drawn and kept else None
        if before is not None and after is not None:
            rates = float(before.mean()), float(after.mean())
        contexts = [
            self._context(name, mean, [pair for pair in pairs if pair.context == name], name in out)
            for name, mean in self._control_means().items()
        ]
        prior = experiment.prior(self.candidate.concept)
        in_frames = experiment.in_frames(self.candidate.concept)
        self.claim = Claim(
            concept=self.candidate.concept,
            slot=self.candidate.slot,
            direction=direction,
            sources=self.candidate.sources,
            effect=effect,
            low=low,
            high=high,
            p=p,
            p_corrected=min(1.0, stats.look_corrected(p) * family),
            pairs=len(kept),
            flips=self._flips(kept, direction),
            placebo_threshold=threshold([c.name for c in contexts if not c.saturated]),
            detected=None if rates is None else rates[1] - rates[0],
            detected_control=None if rates is None else rates[0],
            detected_treated=None if rates is None else rates[1],
            prior=prior,
            in_frames=in_frames,
            over_represented=_exceeds(in_frames, prior),
            core=experiment.topic.is_core(self.candidate.concept),
            min_effect=experiment.min_effect,
            verdict="inconclusive",
            reason=None,
            contexts=contexts,
        )
        self.claim = _final(self.claim, self.claim.p_corrected)
        self.decided = (
            self.claim.verdict == "refuted"
            or (self.claim.verdict == "confirmed" and self._is_clear())
            or self.claim.reason == "saturated"
            or (not experiment.assume_drawn and self._never_drawn(before, after))
        )

    def _is_clear(self) -> bool:
        """Return True if the whole interval counts: more pairs cannot make the effect too small.

        To stop as soon as an effect passes the bar would pick the moment when chance lifts it.
        """
        ends = self.claim.direction * self.claim.low, self.claim.direction * self.claim.high
        return min(ends) >= self.experiment.min_effect

    def _never_drawn(
        self, before: NDArray[np.bool_] | None, after: NDArray[np.bool_] | None
    ) -> bool:
        """Return True if more pairs are unlikely to show that the concept is drawn."""
        if before is None or after is None:
            return True
        _, high = stats.newcombe_interval(
            int(after.sum()), len(after), int(before.sum()), len(before)
        )
        return high < DRAWN

    def _flips(self, pairs: Sequence[Pair], direction: int) -> Proportion:
        before = self.experiment.witness.hits([pair.control for pair in pairs])
        after = self.experiment.witness.hits([pair.treated for pair in pairs])
        flips = int((after & ~before if direction > 0 else before & ~after).sum())
        return Proportion(flips, len(pairs), *stats.clopper_pearson(flips, len(pairs)))

    def _context(
        self, name: str, control_mean: float, pairs: list[Pair], saturated: bool
    ) -> ContextEvidence:
        witness = self.experiment.witness
        differences = _differences(witness, [] if saturated else pairs)
        low, high = stats.bootstrap_interval(differences)
        measured = len(differences) > 0
        kept = pairs if measured else []
        return ContextEvidence(
            name=name,
            saturated=saturated,
            control_mean=control_mean,
            pairs=len(differences),
            effect=float(differences.mean()) if measured else None,
            low=low if measured else None,
            high=high if measured else None,
            control_prompts=[pair.control[0] for pair in kept],
            treated_prompts=[pair.treated[0] for pair in kept],
            control_seeds=[pair.control[1] for pair in kept],
            seeds=[pair.treated[1] for pair in kept],
            control=[round(float(p), 6) for p in witness.probabilities([q.control for q in kept])],
            treated=[round(float(p), 6) for p in witness.probabilities([q.treated for q in kept])],
        )


def corrected(claims: Sequence[Claim]) -> list[Claim]:
    """Return a family of claims with corrected p-values and verdicts, in order."""
    ps = stats.holm([stats.look_corrected(claim.p) for claim in claims])
    return [_final(claim, p) for claim, p in zip(claims, ps, strict=True)]


def _final(claim: Claim, p_corrected: float) -> Claim:
    verdict, reason = judge(
        direction=claim.direction,
        effect=claim.effect,
        low=claim.low,
        high=claim.high,
        p_corrected=p_corrected,
        placebo_threshold=claim.placebo_threshold,
        detected=claim.detected,
        pairs=claim.pairs,
        min_effect=claim.min_effect,
    )
    return replace(claim, p_corrected=p_corrected, verdict=verdict, reason=reason)


def _differences(witness: Witness, pairs: Sequence[Pair]) -> NDArray[np.float64]:
    treated = witness.probabilities([pair.treated for pair in pairs])
    return treated - witness.probabilities([pair.control for pair in pairs])


def _mean(by_context: Mapping[str, float], contexts: Sequence[str]) -> float:
    """Return the mean over these contexts; over all for a context without placebos (a probe's)."""
    return float(np.mean([by_context[c] for c in contexts if c in by_context]
                         or list(by_context.values())))  # fmt: skip


def _proportion(hits: int, n: int) -> Proportion:
    return Proportion(hits, n, *stats.wilson_interval(hits, n))


def _exceeds(rate: Proportion | None, prior: Proportion | None) -> bool:
    """Return True if a rate exceeds the prior and the interval of the difference excludes 0."""
    if rate is None or prior is None:
        return False
    return stats.newcombe_interval(rate.hits, rate.n, prior.hits, prior.n)[0] > 0
