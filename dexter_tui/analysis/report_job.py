"""A report on a study, stage by stage.

Each stage keeps what it found in the store at once, so that the next attempt continues from there.
A failed stage is recorded; later stages still run.
"""

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexter.config import RunConfig
from dexter.device import is_out_of_memory
from dexter.errors import InputError
from dexter.loading import read_text
from dexter.reasoning import chat
from dexter.reasoning.claims import Candidate, Claim
from dexter.reasoning.report import Facts, Report, checked_report, evidence_report, question
from dexter.reasoning.settings import ReportSettings, remote_name
from dexter_tui import paths
from dexter_tui.analysis import claim_rows
from dexter_tui.analysis.bench import Bench, digest, require_weights, require_words
from dexter_tui.analysis.desk import Desk, Failed, Progress
from dexter_tui.formatting import clean
from dexter_tui.jobs import trust
from dexter_tui.jobs.recorder import log
from dexter_tui.jobs.worker import Stopped, first_line, log_trace
from store import State, Store, StoreError, study_records
from store.reading.bound import bound
from store.reading.browse import Browse
from store.states import NoteKind
from store.tables import Frame, Run

if TYPE_CHECKING:
    from dexter.reasoning.captions import Captioner
    from dexter.reasoning.report import Writer
    from dexter.reasoning.words.sufficiency import Sufficiency

MAX_PROMPT = 100_000  # bytes of a system prompt
BEST_PROMPTS = 3  # scored again, beside the captions


STAGES = ("captions", "claims", "attribution", "scores", "report")


def work(desk: Desk) -> Failed | None:
    """Make the report; return the stages that failed, None if none did."""
    report = StudyReport(desk)
    report.work()
    return Failed("; ".join(report.failed), report.out_of_memory) if report.failed else None


class StudyReport:
    """The stages of one study."""

    def __init__(self, desk: Desk) -> None:
        store, job = desk.store, desk.job
        assert job.study_id is not None
        study = store.study(job.study_id)
        self.desk = desk
        self.store = store
        self.study = study
        runs = store.runs(study_id=study.id, states=[State.SUCCEEDED])
        self.runs = sorted(runs, key=lambda run: -(run.score_value or 0.0))
        if not self.runs:
            raise StoreError(f"study {study.id} has no finished run yet; nothing to report on")
        self.config = RunConfig.model_validate(self.runs[0].config)
        settings = ReportSettings.from_values(job.request).for_generator(self.config.generator)
        self.settings = settings.model_copy(update={"device": desk.device})
        self.failed: list[str] = []
        """A line for each stage that failed."""
        self.out_of_memory = False
        """Whether one of them ran out of memory."""
        self.captioner: str | None = None
        # Paid questions are not asked with a key that cannot be read at the end.
        remote = any(remote_name(spec) for spec in (self.settings.vlm, self.settings.llm))
        self.endpoint = endpoint(self.settings) if remote else None

    def work(self) -> None:
        """Go through all stages."""
        if self.settings.concepts:
            self._require_concepts()
        for name in STAGES:
            study_records.set_stage(self.store, self.study.id, name, "waiting")
        frames = study_records.hit_frames(self.store, self.study.id)
        captions: list[tuple[str, str]] = []
        with self._stage("captions") as progress:
            captions = self._captions(frames, progress)
        bench: Bench | None = None
        claims: list[Claim] = []
        attribution, scores = self._attribution_pictures(), self._score_pictures()
        with self._stage("claims", later=attribution + scores) as progress:
            bench = Bench(
                self.store,
                self.config,
                self.study.class_index,
                self.settings,
                job_id=self.desk.job.id,
                loading=self.desk.loading,
            )
            searched = self.study.classifier
            require_weights(bench.witness.classifier, searched.spec, searched.weights_hash)
            claims = self._claims(bench, captions, frames, progress)
        words: Sufficiency | None = None
        with self._stage("attribution", later=scores) as progress:
            if bench is not None:
                words = self._attribution(bench, progress)
        with self._stage("scores") as progress:
            if bench is not None:
                self._scores(bench, claims, captions, words, progress)
        tested = bench is not None and not self._has_failed("claims")
        generator = self.config.generator
        detector = None if bench is None or bench.detector is None else bench.detector.name
        core = ""
        if bench is not None:
            core = bench.topic(self.settings.core).defaults()
            bench.close()
        bench = None  # a writer may need the memory; an endpoint must not hold the GPU
        _free_memory()
        with self._stage("report") as progress:
            if tested:
                notes = self._notes()
                bounded = bound(Browse(self.store.home), self.study.id)
                facts = Facts(
                    classifier=self.study.classifier.spec,
                    class_name=self.study.class_name,
                    generator=generator,
                    detector=detector,
                    seeds=len(self.runs),
                    captions=len(captions),
                    captioner=self.captioner,
                    notes=tuple(notes),
                    direction=self.config.direction,
                    words=words,
                    core=core,
                    embeddings=self.config.search == "continuous",
                    bound=() if bounded is None else tuple(bounded.lines()),
                )
                self._report(facts, claims, captions, progress)

    def _require_concepts(self) -> None:
        """Raise InputError for a concept without a word, before captions cost time or money."""
        from dexter.generation.generator import tokenizer_of
        from dexter.reasoning.candidates import sayable_by
        from dexter.reasoning.topic import world_of

        sayable = sayable_by(tokenizer_of(self.config), world_of(self.config.generator))
        require_words(self.settings.concepts, sayable)

    def _has_failed(self, name: str) -> bool:
        return any(
            stage.name == name and stage.state == "failed"
            for stage in study_records.stages(self.store, self.study.id)
        )

    def _notes(self) -> list[str]:
        """Return what failed before, for the report's limits."""
        return [
            f"The stage “{stage.name}” failed: {stage.error}"
            for stage in study_records.stages(self.store, self.study.id)
            if stage.state == "failed" and stage.name != "report"
        ]

    def _attribution_pictures(self) -> int:
        """The most pictures that the attribution draws."""
        from dexter.reasoning.words.sufficiency import MOST_PICTURES

        if not self.runs[0].words:
            return 0
        lowers = self.config.direction == "lower"
        count = self.settings.attribution_subsets * self.settings.attribution_seeds
        return count + (0 if lowers else MOST_PICTURES)

    def _score_pictures(self) -> int:
        """The most pictures that the scores need: the name, alone and with concepts, and texts."""
        return (2 + BEST_PROMPTS + self.settings.score_captions) * self.settings.score_images

    @contextmanager
    def _stage(self, name: str, later: int = 0) -> Iterator[Progress]:
        def write(state: str, done: int, total: int, error: str | None = None) -> None:
            study_records.set_stage(
                self.store, self.study.id, name, state, done=done, total=total, error=error
            )

        write("running", 0, 0)
        log(f"{name}: begins")
        progress = self.desk.begin(
            name, also=lambda done, total: write("running", done, total), later=later
        )

        def fail(line: str) -> None:
            self.failed.append(f"{name}: {line}")
            write("failed", progress.done, progress.total, line)
            self.desk.note(NoteKind.STAGE_FAILED, stage=name, error=line)
            log(f"{name}: {line}")

        try:
            yield progress
        except Stopped as stopped:
            if stopped.state is State.CANCELLED:
                write("failed", progress.done, progress.total, "cancelled")
            else:
                write("waiting", progress.done, progress.total)
            raise
        except (InputError, StoreError, chat.ChatError) as error:
            if isinstance(error, StoreError) and error.__cause__ is not None:
                raise  # the store cannot be used now: the job is queued again
            fail(clean(error))
        except Exception as error:  # a defect ends this stage; the others are still worth having
            self.out_of_memory = self.out_of_memory or is_out_of_memory(error)
            log_trace()
            fail(clean(first_line(error)))
        else:
            write("done", progress.done, progress.total)
            self.desk.note(NoteKind.STAGE_DONE, stage=name)
            log(f"{name}: done")
        finally:
            try:
                self.store.keep_study(self.study.id)
            except StoreError as error:  # of no use as long as the store itself is there
                log(f"not kept for a lost store: {error}")

    # Captions

    def _captions(self, frames: Sequence[Frame], progress: Progress) -> list[tuple[str, str]]:
        """(picture, caption) of hits."""
        spec = self.settings.vlm
        if spec == "none" or not self.settings.captions:
            return []
        prompt = read_text(paths.system_prompt("captions_sp.txt"), limit=MAX_PROMPT)
        prompt_hash = digest(prompt)
        name = remote_name(spec) or spec
        self.captioner = name
        wanted = [frame.sha256 for frame in _by_turns(frames)[: self.settings.captions]]
        known = study_records.known_captions(self.store, name, prompt_hash)
        texts = {sha256: known[sha256] for sha256 in wanted if sha256 in known}
        missing = [sha256 for sha256 in wanted if sha256 not in texts]
        progress.plan(len(missing))
        if missing:
            captioner = self._load_captioner(spec, prompt)
            pictures = [self.store.read_artifact(sha256) for sha256 in missing]
            for caption in captioner.caption(pictures):
                sha256 = missing[caption.index]
                study_records.add_caption(
                    self.store,
                    sha256,
                    model=name,
                    prompt_hash=prompt_hash,
                    text=caption.text,
                    input_tokens=caption.input_tokens,
                    output_tokens=caption.output_tokens,
                )
                texts[sha256] = caption.text
                progress.add(1)
            if captioner.failure is not None:
                raise chat.ChatError(
                    f"{len(missing) - progress.done} of {len(wanted)} captions are missing: "
                    f"{captioner.failure}; a retry continues from there"
                )
        return [(sha256, texts[sha256]) for sha256 in wanted if sha256 in texts]

    def _load_captioner(self, spec: str, prompt: str) -> "Captioner":
        from dexter.reasoning.captions import LocalCaptioner, RemoteCaptioner

        remote = remote_name(spec)
        if remote is not None:
            assert self.endpoint is not None
            return RemoteCaptioner(
                remote, prompt, self.endpoint, concurrency=self.settings.concurrency
            )
        return LocalCaptioner(spec, prompt, device=self._device())

    def _device(self) -> str:
        from dexter.device import select_device

        return select_device(self.settings.device)

    # Claims

    def _claims(
        self,
        bench: "Bench",
        captions: Sequence[tuple[str, str]],
        frames: Sequence[Frame],
        progress: Progress,
    ) -> list[Claim]:
        from dexter.reasoning.candidates import propose
        from dexter.screening.pairs import worded

        topic = bench.topic(self.settings.core, _confused(self.store, self.runs))
        direction = -1 if self.config.direction == "lower" else 1
        asked = [
            Candidate(concept, direction=direction, sources={"user": []})
            for concept in self.settings.concepts
        ]
        words = {run.id: run.words_worth_testing for run in self.runs}
        proposed = propose(
            words,
            captions,
            topic,
            count=self.settings.candidates,
            direction=direction,
            known=bench.sayable,
        )
        names = {candidate.concept for candidate in asked}
        candidates = (asked + [c for c in proposed if c.concept not in names])[
            : max(self.settings.candidates, len(asked))
        ]
        log(f"candidates: {', '.join(candidate.concept for candidate in candidates)}")
        own, candidates = worded(bench.pool, candidates)
        experiment = bench.experiment(topic, bench.layout(topic, own), self.settings, progress)
        if bench.detector is not None and frames:
            shown = [frame.sha256 for frame in _by_turns(frames)[:200]]
            experiment.frames = bench.detector.embed(_decoded(self.store, shown))
        claims: list[Claim] = experiment.test(candidates)
        study_records.replace_claims(
            self.store,
            self.study.id,
            [claim_rows.claim_row(claim, bench.key, bench.detector) for claim in claims],
        )
        return claims

    # Attribution and scores

    def _attribution(self, bench: "Bench", progress: Progress) -> "Sufficiency | None":
        """Keep the effects of the best prompt's words; return those that are enough for it.

        None without words or for embeddings, and for a search that lowers the class: a score
        measures the class.
        """
        from dexter.reasoning.words.attribution import attribute
        from dexter.reasoning.words.sufficiency import control_pool, sufficiency
        from dexter.search.prompt import template_pieces

        best = self.runs[0]
        if not best.words or best.text_prompt is None:
            return None
        controls = self.config.direction != "lower"
        progress.plan(self._attribution_pictures())
        bench.pictures.on_picture = progress.add
        pieces = template_pieces(self.config.template_text, self.config.suffix)
        seeds, subsets = self.settings.attribution_seeds, self.settings.attribution_subsets
        found = attribute(bench.witness, pieces, best.words, seeds=seeds, subsets=subsets)
        shared = {
            "prompt": found.prompt,
            "r2": found.r2,
            "r2_low": found.r2_low,
            "r2_high": found.r2_high,
            "subsets": found.subsets,
            "seeds": len(found.seeds),
        }
        study_records.set_attribution(
            self.store, best.id, [{**asdict(word), **shared} for word in found.words]
        )
        if not controls:
            return None
        pool = control_pool(best.words, bench.topic(self.settings.core), bench.sayable)
        return sufficiency(bench.witness, pieces, best.words, pool, seeds=seeds, subsets=subsets)

    def _scores(
        self,
        bench: "Bench",
        claims: Sequence[Claim],
        captions: Sequence[tuple[str, str]],
        words: "Sufficiency | None",
        progress: Progress,
    ) -> None:
        from dexter.reasoning.topic import ARTICLE, first_name
        from dexter.seeds import picture_seeds
        from dexter.stats import wilson_interval

        name = f"{ARTICLE} {first_name(self.study.class_name)}"
        confirmed = [c.concept for c in claims if c.verdict == "confirmed" and c.direction > 0]
        texts = [("class name", name)]
        if confirmed:
            texts.append(("class name + concepts", f"{name} with {' and '.join(confirmed)}"))
        texts += [
            ("prompt", run.text_prompt) for run in self.runs[:BEST_PROMPTS] if run.text_prompt
        ]
        distinct = dict.fromkeys(text for _, text in captions)
        texts += [("caption", text) for text in list(distinct)[: self.settings.score_captions]]
        texts = list(dict.fromkeys(texts))
        seeds = picture_seeds("score", 0, self.settings.score_images)
        progress.plan(len(texts) * len(seeds))
        bench.pictures.on_picture = progress.add
        rows = []
        for kind, text in texts:
            requests = [(text, seed) for seed in seeds]
            bench.witness.look(requests)
            hits = int(bench.witness.hits(requests).sum())
            low, high = wilson_interval(hits, len(seeds))
            rows.append(
                {
                    "kind": kind,
                    "text": text,
                    "value": hits / len(seeds),
                    "low": low,
                    "high": high,
                    "n": len(seeds),
                    "hits": hits,
                }
            )
        for kind, text, score in [] if words is None else words.rows():
            rows.append(
                {
                    "kind": kind,
                    "text": text,
                    "value": score.value,
                    "low": score.low,
                    "high": score.high,
                    "n": score.n,
                    "hits": score.hits,
                }
            )
        study_records.replace_scores(self.store, self.study.id, rows)

    # Report

    def _report(
        self,
        facts: Facts,
        claims: Sequence[Claim],
        captions: Sequence[tuple[str, str]],
        progress: Progress,
    ) -> None:
        progress.plan(1)
        self._keep("evidence", evidence_report(facts, claims))
        if self.settings.llm != "none":
            prompt = read_text(paths.system_prompt("report_sp.txt"), limit=MAX_PROMPT)
            writer = self._load_writer()
            answer = writer.write(prompt, question(facts, claims, [text for _, text in captions]))
            self._keep(
                writer.name,
                checked_report(facts, claims, answer.text),
                prompt_hash=digest(prompt),
                input_tokens=answer.input_tokens,
                output_tokens=answer.output_tokens,
            )
        progress.add(1)

    def _keep(self, author: str, report: Report, **fields: Any) -> None:
        body = report.to_dict()
        study_records.add_report(
            self.store,
            self.study.id,
            job_id=self.desk.job.id,
            author=author,
            markdown=claim_rows.report_text(body),
            body=body,
            **fields,
        )

    def _load_writer(self) -> "Writer":
        from dexter.reasoning.report import LocalWriter, RemoteWriter

        remote = remote_name(self.settings.llm)
        if remote is not None:
            assert self.endpoint is not None
            return RemoteWriter(remote, self.endpoint)
        return LocalWriter(self.settings.llm, device=self._device())


def endpoint(settings: ReportSettings) -> chat.Endpoint:
    """Return the endpoint of the settings, with its key.

    Raises InputError for an unsafe key file, and ConsentNeeded unless the user agreed to it.
    """
    trust.require([settings.model_dump()])
    key_file = None if settings.key_file is None else Path(settings.key_file).expanduser()
    return chat.Endpoint(
        base_url=settings.base_url or chat.OPENAI,
        key=chat.read_key(key_file),
        timeout=settings.timeout,
        tries=settings.tries,
    )


def _by_turns(frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames of each run by turns, so that the first ones are of all runs."""
    by_run: dict[str, list[Frame]] = {}
    for frame in frames:
        by_run.setdefault(frame.run_id, []).append(frame)
    longest = max(map(len, by_run.values()), default=0)
    return [own[i] for i in range(longest) for own in by_run.values() if i < len(own)]


def _confused(store: Store, runs: Sequence[Run]) -> list[str]:
    """Return the labels that frames of the class were also taken for, most frequent first."""
    counts: dict[int, int] = {}
    for run in runs:
        for frame in store.frames(run.id, kind="frame"):
            if frame.predicted_class != runs[0].study.class_index:
                counts[frame.predicted_class] = counts.get(frame.predicted_class, 0) + 1
    labels = runs[0].study.classifier.labels
    ranked = sorted(counts, key=lambda index: -counts[index])
    return [labels[index] for index in ranked if index < len(labels)]


def _decoded(store: Store, shas: Sequence[str]) -> Any:
    import numpy as np
    from PIL import Image

    return np.stack(
        [
            np.asarray(Image.open(io.BytesIO(store.read_artifact(sha256))).convert("RGB"))
            for sha256 in shas
        ]
    )


def _free_memory() -> None:
    import gc

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
