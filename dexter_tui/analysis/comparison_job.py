"""A comparison of classifiers.

Pictures are drawn once, into the store's bank; the classifiers look at them one after another, so
that one of them is in memory at a time. A further attempt draws nothing twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Any

from dexter.classifiers import ClassifierOptions
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.reasoning.claims import Candidate, Claim
from dexter.reasoning.settings import CompareSettings
from dexter.reasoning.topic import Topic
from dexter_tui.analysis import claim_rows
from dexter_tui.analysis.bench import Bench, require_weights, require_words
from dexter_tui.analysis.desk import Desk, Progress
from dexter_tui.formatting import clean
from dexter_tui.jobs import trust
from dexter_tui.jobs.recorder import log
from store import State, comparison_records, study_records
from store.states import NoteKind
from store.tables import Member

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dexter.generation.bank import Request
    from dexter.reasoning.evidence import Experiment, Witness
    from dexter.screening.pairs import PoolLayout


@dataclass
class Plan:
    """The questions about one class."""

    topic: Topic
    layout: "PoolLayout"
    members: list[Member]
    candidates: list[Candidate]
    own: dict[int, list[Candidate]]
    """Those that each member's own study proposes."""
    requests: "list[Request]" = field(default_factory=list)
    """The pictures of the claims."""
    prompts: dict[int, str] = field(default_factory=dict)
    """Of members whose study found one."""
    of_prompts: "list[Request]" = field(default_factory=list)
    """The pictures of all prompts, each once."""


@dataclass
class Seen:
    """The answers of one member to the pictures."""

    claims: list[Claim]
    changes: "dict[str, NDArray[np.float64]]"
    probabilities: "NDArray[np.float64]"
    """Of the pictures of all prompts; of the claims' where there are no prompts."""
    activations: list[dict[str, Any]]


def work(desk: Desk) -> None:
    """Compare, unless an attempt before has; what is found is written at the end, at once."""
    comparison = ComparisonJob(desk)
    if comparison.made:
        return
    desk.begin("models")
    bench = comparison.bench()
    try:
        comparison.compare(bench)
    finally:
        bench.close()


class ComparisonJob:
    """A comparison at work."""

    def __init__(self, desk: Desk) -> None:
        assert desk.job.comparison_id is not None
        self.desk = desk
        self.store = desk.store
        self.id = desk.job.comparison_id
        self.members = comparison_records.members(self.store, self.id)
        self.config = RunConfig.model_validate(self.members[0].config)
        row = comparison_records.comparison(self.store, self.id)
        self.made = row.state == "done"
        asked = CompareSettings.from_values(row.settings)
        settings = asked.for_generator(self.config.generator)
        self.settings = settings.model_copy(update={"device": desk.device})
        self.may_lack_detector = asked.image_text == "auto"
        self.progress = Progress(lambda done, total: None)

    def compare(self, bench: Bench) -> None:
        """Plan what is asked of all members, look, and write what was found."""
        plans = [
            self._plan(bench, [m for m in self.members if m.class_name == name])
            for name in dict.fromkeys(member.class_name for member in self.members)
        ]
        self._look(bench, plans)

    def bench(self) -> Bench:
        """Load the models, if need be without an image-text model."""
        bench = Bench(
            self.store,
            self.config,
            self.members[0].class_index,
            self.settings,
            job_id=self.desk.job.id,
            loading=self.desk.loading,
            may_lack_detector=self.may_lack_detector,
        )
        if bench.lacking is not None:
            self.desk.note(NoteKind.NO_DETECTOR, error=clean(bench.lacking))
            log(f"{bench.lacking}; without an image-text model no claim can be confirmed")
        return bench

    # What is asked

    def _plan(self, bench: Bench, members: list[Member]) -> Plan:
        from dexter.reasoning.differences import shared_topic, union
        from dexter.screening.pairs import worded

        topic = shared_topic(
            [(member.classifier.labels, member.class_index) for member in members],
            world=bench.world,
            core=self.settings.core,
            multi_label=all(member.config.get("multi_label") for member in members),
        )
        require_words(self.settings.concepts, bench.sayable)
        asked = [
            Candidate(concept, direction=0, sources={"user": []})
            for concept in dict.fromkeys(self.settings.concepts)
        ]
        own = {member.id: asked or self._proposed(bench, topic, member) for member in members}
        candidates = asked or union(list(own.values()))
        if not candidates:
            raise InputError(
                f"the studies of {topic.class_name} propose no concept; name some with --concepts"
            )
        log(f"{topic.class_name}: {', '.join(candidate.concept for candidate in candidates)}")
        words, candidates = worded(bench.pool, candidates)
        own = {member_id: worded(bench.pool, of_member)[1] for member_id, of_member in own.items()}
        plan = Plan(topic, bench.layout(topic, words), members, candidates, own)
        for member in members:
            best = self._best_prompt(member)
            if best is not None:
                plan.prompts[member.id] = best
        return plan

    def _proposed(self, bench: Bench, topic: Topic, member: Member) -> list[Candidate]:
        from dexter.reasoning.candidates import propose

        if member.study_id is None:
            return []
        runs = self.store.runs(study_id=member.study_id, states=[State.SUCCEEDED])
        captions = [(c.sha256, c.text) for c in study_records.captions(self.store, member.study_id)]
        return propose(
            {run.id: run.words_worth_testing for run in sorted(runs, key=lambda run: run.seed)},
            captions,
            topic,
            count=self.settings.candidates,
            known=bench.sayable,
        )

    def _best_prompt(self, member: Member) -> str | None:
        if member.study_id is None:
            return None
        runs = self.store.runs(study_id=member.study_id, states=[State.SUCCEEDED])
        scored = sorted(runs, key=lambda run: (-(run.score_value or 0.0), run.seed))
        return next((run.text_prompt for run in scored if run.text_prompt), None)

    # What is seen

    def _look(self, bench: Bench, plans: Sequence[Plan]) -> None:
        from dexter.reasoning.evidence import Witness
        from dexter.seeds import picture_seeds

        seeds = picture_seeds("score", 0, self.settings.score_images)
        first = bench.witness
        needs: dict[int, int] = {}
        for plan in plans:
            asker = self._experiment(plan, first)
            plan.requests = asker.requests(plan.candidates)
            prompts = dict.fromkeys(plan.prompts.values())
            plan.of_prompts = [(prompt, seed) for prompt in prompts for seed in seeds]
            for member in plan.members:
                needs[member.id] = len(asker.requests(plan.own[member.id]))
        family = sum(len(plan.candidates) * len(plan.members) for plan in plans)
        seen: dict[int, Seen] = {}
        for name in dict.fromkeys(member.name for member in self.members):
            own = [(plan, m) for plan in plans for m in plan.members if m.name == name]
            self.progress = self.desk.begin(name)
            self.progress.plan(sum(len(p.requests) + len(p.of_prompts) for p, _ in own))
            bench.pictures.on_picture = self.progress.add
            classifier, loaded = first.classifier, _loading(self.config)
            for plan, member in own:
                config = RunConfig.model_validate(member.config)
                if _loading(config) != loaded:
                    classifier = trust.load_classifier(config, str(first.classifier.device))
                    loaded = _loading(config)
                known = member.classifier
                require_weights(classifier, known.spec, known.weights_hash)
                index, detector = member.class_index, bench.detector
                witness = Witness(bench.pictures, classifier, index, detector, beside=first)
                seen[member.id] = self._see(plan, member, witness, seeds, family)
                del witness  # it has the classifier, which leaves the memory before the next
            del classifier
        self._keep(bench, plans, seen, needs)

    def _experiment(self, plan: Plan, witness: "Witness") -> "Experiment":
        from dexter.reasoning.evidence import Experiment
        from dexter_tui.analysis.store_bank import StoreCache

        return Experiment(
            witness,
            plan.topic,
            plan.layout,
            min_effect=self.settings.min_effect,
            placebo_cache=StoreCache(self.store),
            placebos=self.settings.placebos,
            looks=(self.settings.pairs,),
        )

    def _see(
        self, plan: Plan, member: Member, witness: "Witness", seeds: Sequence[int], family: int
    ) -> Seen:
        """Return a member's answers; ``family``: the number of claims judged together."""
        # All at once, so that the pictures are drawn in full batches.
        witness.look(plan.requests)
        witness.look(plan.of_prompts)
        asker = self._experiment(plan, witness)
        return Seen(
            asker.test(plan.candidates, family=family),
            {c.concept: asker.changes(c) for c in plan.candidates},
            witness.probabilities(plan.of_prompts or plan.requests),
            _activations(plan, member, witness, seeds),
        )

    def _keep(
        self,
        bench: Bench,
        plans: Sequence[Plan],
        seen: Mapping[int, Seen],
        needs: Mapping[int, int],
    ) -> None:
        from dexter.reasoning.evidence import corrected

        # One family: all claims of all members, and another of all differences.
        flat = corrected([claim for member in self.members for claim in seen[member.id].claims])
        claims = {}
        for member in self.members:
            count = len(seen[member.id].claims)
            claims[member.id], flat = flat[:count], flat[count:]
        comparison_records.record_findings(
            self.store,
            self.id,
            members={
                member.id: {
                    "pictures": needs[member.id],
                    "report": self._report(bench, member, claims[member.id]),
                }
                for member in self.members
            },
            claims={
                member_id: [claim_rows.claim_row(claim, bench.key, bench.detector) for claim in own]
                for member_id, own in claims.items()
            },
            differences=self._differences(plans, seen, claims),
            activations=[row for one in seen.values() for row in one.activations],
            disagreements=_disagreements(plans, seen),
            done=self.progress.total,
            total=self.progress.total,
            pictures=len({request for plan in plans for request in plan.requests}),
            cross_pictures=len({request for plan in plans for request in plan.of_prompts}),
            drawn=bench.pictures.drawn,
            generator=bench.key,
            detector=None if bench.detector is None else bench.detector.name,
        )

    def _differences(
        self,
        plans: Sequence[Plan],
        seen: Mapping[int, Seen],
        claims: Mapping[int, Sequence[Claim]],
    ) -> list[dict[str, Any]]:
        """Return the differences between members, judged together."""
        from dexter.reasoning.differences import difference, judged

        family = sum(len(plan.candidates) * comb(len(plan.members), 2) for plan in plans)
        between, found = [], []
        for plan in plans:
            for a, b in combinations(plan.members, 2):
                for number, candidate in enumerate(plan.candidates):
                    concept = candidate.concept
                    between.append({"a_id": a.id, "b_id": b.id})
                    found.append(
                        difference(
                            concept,
                            seen[a.id].changes[concept],
                            seen[b.id].changes[concept],
                            detected=_detected(claims[a.id][number], claims[b.id][number]),
                            family=family,
                        )
                    )
        return [
            {**vars(one), **ids}
            for one, ids in zip(judged(found, self.settings.min_effect), between, strict=True)
        ]

    def _report(self, bench: Bench, member: Member, claims: Sequence[Claim]) -> dict[str, Any]:
        from dexter.reasoning.report import Facts, evidence_report

        runs = (
            self.store.runs(study_id=member.study_id, states=[State.SUCCEEDED])
            if member.study_id
            else []
        )
        facts = Facts(
            classifier=member.name,
            class_name=member.class_name,
            generator=self.config.generator,
            detector=None if bench.detector is None else bench.detector.name,
            seeds=len(runs),
        )
        return evidence_report(facts, claims).to_dict()


def _loading(config: RunConfig) -> tuple[str, ClassifierOptions]:
    """Return what a classifier is loaded by: two studies of one may differ in its options."""
    return config.classifier, config.options(ClassifierOptions, device="", trust_pickle=False)


def _disagreements(plans: Sequence[Plan], seen: Mapping[int, Seen]) -> list[dict[str, Any]]:
    """Return the pictures on which two members differ most, by pair of members."""
    from dexter.reasoning.differences import most_different

    rows = []
    for plan in plans:
        requests = plan.of_prompts or plan.requests
        for a, b in combinations(plan.members, 2):
            p, q = seen[a.id].probabilities, seen[b.id].probabilities
            for rank, at in enumerate(most_different(p, q), 1):
                prompt, seed = requests[at]
                rows.append(
                    {"a_id": a.id, "b_id": b.id, "rank": rank, "prompt": prompt, "seed": seed}
                    | {"a": float(p[at]), "b": float(q[at])}
                )
    return rows


def _activations(
    plan: Plan, member: Member, witness: Any, seeds: Sequence[int]
) -> list[dict[str, Any]]:
    from dexter.stats import wilson_interval

    rows = []
    for source_id, prompt in plan.prompts.items():
        requests = [(prompt, seed) for seed in seeds]
        hits = int(witness.hits(requests).sum())
        low, high = wilson_interval(hits, len(requests))
        rows.append(
            {
                "member_id": member.id,
                "source_id": source_id,
                "prompt": prompt,
                "value": hits / len(requests),
                "low": low,
                "high": high,
                "n": len(requests),
                "hits": hits,
                "mean": float(witness.probabilities(requests).mean()),
            }
        )
    return rows


def _detected(a: Claim, b: Claim) -> float | None:
    """Return how far a concept was drawn in the pictures of two claims."""
    known = [claim.detected for claim in (a, b) if claim.detected is not None]
    return max(known) if known else None
