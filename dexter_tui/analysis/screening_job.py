"""A screening of classifiers on a bank of prompts, then paired tests of its strongest findings.

The rounds of the bank, the pictures and all answers lie in the store, so a further attempt, or a
further classifier, draws nothing twice. The generator is loaded when a picture is missing.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.reasoning.claims import Candidate, Claim
from dexter.reasoning.settings import ScreenSettings
from dexter_tui.analysis import claim_rows, screening_request
from dexter_tui.analysis.bench import generator_key
from dexter_tui.analysis.desk import Desk
from dexter_tui.analysis.screening_watch import is_unchanged
from dexter_tui.formatting import clean
from dexter_tui.jobs import trust
from dexter_tui.jobs.recorder import log
from store import screening_records
from store.clock import now
from store.states import NoteKind
from store.tables import Screened

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.generation.generator import Generator
    from dexter.reasoning.detection import Detector
    from dexter.screening.concepts import Concept
    from dexter.screening.design import Round
    from dexter.screening.screen import Member, Result


def work(desk: Desk) -> None:
    """Screen the classifiers that were not screened yet, then confirm what was found."""
    job = ScreeningJob(desk)
    try:
        job.screen()
        job.confirm()
    finally:
        job.close()


class LazyGenerator:
    """A generator that is loaded for the first picture; `generation.generator.Generator` as far as
    `Pictures` needs it."""

    def __init__(self, config: RunConfig, device: str, loading: Callable[[str], None]) -> None:
        self._config = config
        self._device = device
        self._loading = loading

    @cached_property
    def loaded(self) -> "Generator":
        """The generator."""
        from dexter.generation.generator import generator_of

        self._loading("generator")
        return generator_of(self._config, self._device)

    @property
    def image_size(self) -> int:
        """The side of a picture in pixels."""
        return self.loaded.image_size

    def pictures(self, texts: Sequence[str], seeds: Sequence[int], batch: int) -> Iterator[Any]:
        """Draw pictures."""
        return self.loaded.pictures(texts, seeds, batch)


class ScreeningJob:
    """A screening at work."""

    def __init__(self, desk: Desk) -> None:
        import torch

        from dexter.device import select_device
        from dexter.generation.drawing_process import Helper, helps
        from dexter.generation.pictures import Pictures
        from dexter.planning.estimate import estimate
        from dexter_tui.analysis.store_bank import StoreAnswers, StoreBank

        torch.set_num_threads(1)
        assert desk.job.screening_id is not None
        self.desk = desk
        self.store = store = desk.store
        self.row = screening_records.screening(store, desk.job.screening_id)
        bank = screening_records.bank_of(store, self.row.id)
        self.members = screening_records.screened(store, self.row.id)
        self.configs = {
            member.id: RunConfig.model_validate(member.config) for member in self.members
        }
        if self.row.watch is None:  # else each passes the gate when it is loaded
            trust.require(self.configs.values())
        config = RunConfig.model_validate(desk.job.config).model_copy(
            update={"device": desk.device}
        )
        asked = ScreenSettings.from_values(self.row.settings)
        self.settings = asked.for_generator(config.generator)
        self.concepts = screening_request.stored_concepts(bank)
        self.topic = screening_request.topic_of(
            [
                (member.classifier.labels, member.class_index, self.configs[member.id])
                for member in self.members
            ],
            self.settings,
        )
        desk.begin("models")
        key = screening_request.bank_key(
            config, self.concepts, self.topic, self.settings.design_seed, store.home
        )
        if key != self.row.bank_key:
            raise InputError(
                "the classifiers' labels, or the generator, are not those the bank was made for",
                remedy="start another screening",
            )
        self.config = config
        self.device = select_device(config.device)
        self.generator = LazyGenerator(config, self.device, desk.loading)
        if bank.generator is None:
            found = generator_key(config, self.generator.loaded.weights_hash)
            screening_records.set_generator(store, bank.key, found)
            bank.generator = found
        self.detector = self._detector(may_lack=asked.image_text == "auto")
        self.pictures = Pictures(
            self.generator,  # type: ignore[arg-type]
            bank.generator,
            StoreBank(store, desk.job.id),
            batch=estimate(config, device=self.device).picture_batch,
            helper=Helper(config) if helps(config, self.device) else None,
        )
        self.answers = StoreAnswers(store)
        self._loaded: dict[int, Classifier] = {}
        self._looked: dict[int, tuple[float, int]] = {}
        self._drawn = 0  # that are recorded
        self._words: list[Concept] = []  # of searches, that the pool lacks

    def close(self) -> None:
        """Let go of the memory, here and in the helper."""
        if self.pictures.helper is not None:
            self.pictures.helper.close()

    def _detector(self, *, may_lack: bool) -> "Detector | None":
        from dexter.reasoning.denoising import detector_of

        if self.settings.image_text == "none":
            return None
        self.desk.loading("image-text model")
        try:
            return detector_of(
                self.settings.image_text, lambda: self.generator.loaded, device=self.device
            )
        except InputError as error:
            if not may_lack:
                raise
            self.desk.note(NoteKind.NO_DETECTOR, error=clean(error))
            log(f"{error}; without an image-text model nothing is known about what was drawn")
            return None

    def _classifier(self, member: Screened) -> "Classifier":
        """Load a classifier once."""
        if member.id not in self._loaded:
            self.desk.loading("classifier")
            loaded = trust.load_classifier(self.configs[member.id], self.device)
            loaded.adopt_identity(member.classifier.weights_hash)
            self._loaded[member.id] = loaded
        return self._loaded[member.id]

    # Screening

    def screen(self) -> None:
        """Screen all members without a result."""
        from dexter.screening.screen import Judged, Looked, Planned, Screening

        new = [m for m in self.members if m.pictures is None and m.error is None and self._fits(m)]
        if not new:
            return
        settings = screening_request.engine_settings(self.settings)
        screening = Screening(
            self.concepts.pool,
            self.topic,
            self.pictures,
            self.detector,
            settings,
            self.answers,
            agree=self._agree,
        )
        bank = screening_records.bank_of(self.store, self.row.id)
        screening.rounds = screening_request.within(bank.rounds, settings.pictures)
        members = [self._member(member) for member in new]
        for event in screening.run(members):
            if isinstance(event, Planned):
                progress = self.desk.begin(f"round {event.index + 1}")
                progress.plan(event.missing)
                self.pictures.on_picture = progress.add
                log(f"round {event.index + 1}: {event.missing} of {event.pictures} pictures")
            elif isinstance(event, Looked):
                self._count()
            elif isinstance(event, Judged):
                log(f"{event.pictures} pictures: {len(event.open)} concepts undecided")
                if event.finished:
                    self._keep(new, event.results)

    def _fits(self, member: Screened) -> bool:
        """Load a classifier; one of a watched folder that cannot be loaded is left out."""
        try:
            if member.file_hash and not is_unchanged(member.config, member.file_hash):
                raise InputError("the file was changed or removed before it was screened")
            labels = self._classifier(member).labels
            if list(labels) != list(member.classifier.labels):
                raise InputError("its labels are not those of the first checkpoint")
        except InputError as error:
            if self.row.watch is None:
                raise
            log(f"{member.name}: {error}")
            screening_records.set_problem(self.store, member.id, clean(error))
            return False
        return True

    def _agree(self, index: int, part: "Round") -> "Round":
        """Return the bank's next round, planned by whichever screening came first."""
        kept = screening_records.agree_round(self.store, self.row.bank_key, index, asdict(part))
        budget = screening_request.engine_settings(self.settings).pictures
        [agreed] = screening_request.within([kept], budget)
        return agreed

    def _member(self, row: Screened) -> "Member":
        """Return the engine's member, which is timed."""
        from dataclasses import replace

        from dexter.screening.screen import member

        found = member(row.name, self._classifier(row), row.class_index)

        def classify(images: Any) -> Any:
            begun = time.monotonic()
            odds = found.classify(images)
            seconds, count = self._looked.get(row.id, (0.0, 0))
            self._looked[row.id] = seconds + time.monotonic() - begun, count + len(images)
            return odds

        return replace(found, classify=classify)

    def _keep(self, rows: Sequence[Screened], results: "Mapping[str, Result]") -> None:
        found = {}
        for row in rows:
            result = results[row.name]
            seconds, count = self._looked.get(row.id, (0.0, 0))
            columns = {
                "pictures": result.pictures,
                "level": result.level,
                "mean": result.mean,
                "answers_key": self._classifier(row).answers_key,
                "pace": seconds / count if count else None,
            }
            found[row.id] = columns, [_finding(effect) for effect in result.effects]
            for name, value in columns.items():
                setattr(row, name, value)
        confirming = bool(self._candidates(found))
        screening_records.record_findings(
            self.store,
            self.row.id,
            found,
            detector=None if self.detector is None else self.detector.name,
            state="waiting" if confirming else "done",
            ended_at=None if confirming else now(),
        )
        self.row.state = "waiting" if confirming else "done"
        if self.pictures.pace is not None:
            screening_records.set_pace(self.store, self.row.bank_key, self.pictures.pace)

    def _count(self) -> None:
        """Record the pictures drawn since the last call."""
        new = self.pictures.drawn - self._drawn
        if new:
            screening_records.add_drawn(self.store, self.row.id, new)
        self._drawn = self.pictures.drawn

    # Confirmation

    def _candidates(
        self, found: Mapping[int, tuple[Any, Sequence[Mapping[str, Any]]]]
    ) -> dict[int, list[Candidate]]:
        """Return what to test on pairs: strongest findings and words of searches, by member."""
        if not self.settings.confirm or self.row.watch is not None:
            return {}
        members = {member.id: member for member in self.members}
        chosen = {}
        for member_id, (_, findings) in found.items():
            strongest = screening_records.strongest(findings, self.settings.candidates)
            own = [
                Candidate(f["concept"], f["slot"], 1 if f["effect"] > 0 else -1) for f in strongest
            ]
            own += self._searched(members[member_id], own)
            if own:
                chosen[member_id] = own
        return chosen

    def _searched(self, member: Screened, findings: Sequence[Candidate]) -> list[Candidate]:
        """Return the words that searches found for a member, without those of its findings."""
        from dexter.reasoning.candidates import propose, sayable_by
        from dexter.screening.pairs import worded

        runs = [self.store.run(name) for name in self.desk.job.depends_on]
        words = {
            run.id: run.words_worth_testing
            for run in runs
            if (run.study.classifier_id, run.study.class_index)
            == (member.classifier_id, member.class_index)
        }
        if not words:
            return []
        known = sayable_by(self.generator.loaded.tokenizer, self.topic.world)
        found = propose(words, [], self.topic, count=self.settings.candidates, known=known)
        pool = self.concepts.pool
        taken = {
            word
            for one in findings
            for concept in [pool.by_name[one.slot, one.concept]]
            for word in (concept.name, *concept.words, *concept.looks)
        }
        found = [one for one in found if not self.topic.is_core(one.concept)]
        own, searched = worded(pool, [one for one in found if one.concept not in taken])
        self._words += own
        return searched

    def confirm(self) -> None:
        """Test the strongest findings of all members as one family, on noise of their own."""
        from dexter.reasoning.evidence import corrected

        if self.row.state == "done":
            return
        findings = screening_records.findings(self.store, self.row.id)
        chosen = self._candidates(findings)
        family = sum(map(len, chosen.values()))
        claims: dict[int, list[Claim]] = {}
        begin: Callable[[str], Any] = self.desk.begin
        for member in self.members:
            if member.id in chosen:
                progress = begin(f"confirmation of {member.name}")
                self.pictures.on_picture = progress.add
                claims[member.id] = self._test(member, chosen[member.id], family, progress.plan)
                self._count()
        flat = corrected([claim for own in claims.values() for claim in own])
        for member_id, own in claims.items():
            claims[member_id], flat = flat[: len(own)], flat[len(own) :]
        shares = self._predictiveness(claims)
        rows = {
            member_id: [
                claim_rows.claim_row(claim, self.pictures.key, self.detector)
                | {"predictiveness": shares.get((member_id, claim.slot, claim.concept))}
                for claim in own
            ]
            for member_id, own in claims.items()
        }
        screening_records.record_claims(self.store, self.row.id, rows)

    def _predictiveness(
        self, claims: "Mapping[int, Sequence[Claim]]"
    ) -> dict[tuple[int, str, str], dict[str, Any]]:
        """Return how often each confirmed claim about a concept of the pool is right about fresh
        prompts, by member, slot and concept."""
        from dexter.reasoning.evidence import Witness
        from dexter.screening.design import Design
        from dexter.screening.predictiveness import fresh_cells, predictiveness

        pool = self.concepts.pool
        # Fresh prompts do not name words that the pool lacks.
        confirmed = {
            member_id: kept
            for member_id, own in claims.items()
            if (kept := [one for one in own if one.verdict == "confirmed"
                         and (one.slot, one.concept) in pool.by_name])
        }  # fmt: skip
        if not confirmed:
            return {}
        progress = self.desk.begin("fresh prompts")
        self.pictures.on_picture = progress.add
        names = {claim.concept for own in confirmed.values() for claim in own}
        design = Design(pool, self.topic, seed=self.settings.design_seed)
        cells = fresh_cells(design, names)
        requests = [cell.request for cell in cells]
        inclusive = {slot.name for slot in pool.slots if not slot.exclusive}
        found = {}
        for member in self.members:
            if member.id not in confirmed:
                continue
            progress.plan(len(requests))
            witness = Witness(self.pictures, self._classifier(member), member.class_index)
            witness.look(requests)
            p = dict(zip(requests, witness.probabilities(requests), strict=True))
            for claim in confirmed[member.id]:
                share = predictiveness(
                    cells,
                    p,
                    pool.by_name[claim.slot, claim.concept],
                    claim.direction,
                    exclusive=claim.slot not in inclusive,
                )
                if share is not None:
                    found[member.id, claim.slot, claim.concept] = asdict(share)
            self._count()
        return found

    def _test(
        self,
        member: Screened,
        candidates: Sequence[Candidate],
        family: int,
        on_plan: Callable[[int], None],
    ) -> list[Claim]:
        from dexter.reasoning.candidates import sayable_by
        from dexter.reasoning.evidence import Experiment, Witness
        from dexter.screening.pairs import ConceptDetector, PoolLayout
        from dexter_tui.analysis.store_bank import StoreCache

        pool = self.concepts.pool
        known = sayable_by(self.generator.loaded.tokenizer, self.topic.world)
        detector = None if self.detector is None else ConceptDetector(self.detector, pool)
        witness = Witness(self.pictures, self._classifier(member), member.class_index, detector)
        experiment = Experiment(
            witness,
            self.topic,
            PoolLayout(self.topic, pool, self._words, known=known),
            min_effect=self.settings.min_effect,
            placebo_cache=StoreCache(self.store),
            placebos=self.settings.placebos,
            on_plan=on_plan,
        )
        found: list[Claim] = experiment.test(candidates, family=family)
        return found


def _finding(effect: Any) -> dict[str, Any]:
    """Return an effect as the columns of its row."""
    row = asdict(effect)
    log_odds, drawn = row.pop("log_odds"), row.pop("drawn")
    del row["settled"]
    names = ("log_odds", "log_odds_low", "log_odds_high")
    row |= dict(zip(names, log_odds, strict=True))
    if drawn is not None:
        row |= {name: _number(drawn[name]) for name in ("asked", "otherwise")}
    return row


def _number(value: float) -> float | None:
    return None if value != value else value  # a share of no picture
