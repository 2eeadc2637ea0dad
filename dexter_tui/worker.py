"""Works on queued runs, one after another: ``python -m dexter_tui.worker RUN…``

The models are loaded once for all runs that use the same. A run's lock is held for as long as this
process works on it; what it finds goes to the store, so that whoever watches needs only that.
Exit code: 0, 1 if a run failed, 2 if all that failed were refused input.
"""

import io
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dexter.classifiers import Classifier, load_classifier
from dexter.config import RunConfig
from dexter.device import select_device
from dexter.errors import InputError
from dexter.estimate import estimate
from dexter.generator import Generator, load_generator
from dexter.optimize import Optimization, Step, optimize
from dexter.prompt import MaskedLM, load_masked_lm, template_pieces
from dexter.score import activation_score, draw_frames
from dexter.seeds import picture_seeds, seed_range
from dexter_tui import EXIT_FAILED, EXIT_REFUSED
from dexter_tui.launch import log_file
from dexter_tui.paths import home
from dexter_tui.views import clean
from store import State, Store, StoreError
from store.artifacts import write_atomic
from store.errors import explained
from store.tables import Run

RECORD_SECONDS = 1.0
CHECKPOINT_SECONDS = 5.0
CHECKPOINT_STEPS = 10


class Cancelled(Exception):
    """The user asked for an end."""


class Models(NamedTuple):
    """What a run needs, on its device."""

    classifier: Classifier
    generator: Generator
    masked_lm: MaskedLM
    device: str


def main(run_ids: Sequence[str]) -> int:
    """Work until none of the runs is queued any more."""
    torch.set_num_threads(1)
    codes = set()
    with Store.open(home()) as store:
        worker = Worker(store)
        signal.signal(signal.SIGTERM, worker.terminate)
        while not worker.stopping and (run := store.claim_run(run_ids=run_ids)) is not None:
            redirect_output(log_file(store, run.id))
            log(f"run {run.id}, attempt {run.attempt}, process {os.getpid()}: loading the models")
            codes.add(worker.work(run))
    return EXIT_FAILED if EXIT_FAILED in codes else max(codes, default=0)


def log(line: str) -> None:
    """One line, with the time, to the run's log."""
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z  {clean(line)}", flush=True)


def redirect_output(path: Path) -> None:
    """Send this process's output, also that of native code, to a run's log."""
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


class Worker:
    """Keeps the models of its last run."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.stopping = False
        self._models: Models | None = None
        self._models_of: dict[str, Any] | None = None

    def terminate(self, *_: object) -> None:
        """On SIGTERM: end the run at its next step, and take no other."""
        self.stopping = True

    def work(self, run: Run) -> int:
        """Do one run, whatever comes of it; its exit code."""
        try:
            self._run(run)
        except Cancelled:
            self.store.finish_run(run.id, State.CANCELLED)
            log("cancelled")
            return 0
        except (InputError, StoreError) as error:
            log(f"refused: {error}")
            self._fail(run, str(error))
            return EXIT_REFUSED
        except torch.OutOfMemoryError as error:
            traceback.print_exc()
            self._fail(run, _memory_advice(error))
            return EXIT_FAILED
        except Exception as error:  # a defect ends this run, not those that wait behind it
            traceback.print_exc()
            first = (str(error).strip().splitlines() or [""])[0]
            self._fail(run, f"{type(error).__name__}: {first} (see {log_file(self.store, run.id)})")
            return EXIT_FAILED
        log("succeeded")
        return 0

    def check_cancelled(self, run_id: str) -> None:
        """Raises Cancelled if the user asked for an end, in the store or by a signal."""
        if self.stopping or self.store.run(run_id).state is State.CANCELLING:
            raise Cancelled

    def _fail(self, run: Run, line: str) -> None:
        self.store.finish_run(run.id, State.FAILED, error=line)

    def _run(self, run: Run) -> None:
        config = RunConfig.model_validate(run.config)
        models = self._load(config)
        checkpoint = Checkpoint(self.store.run_folder(run.id) / "checkpoint.pt")
        resumed = checkpoint.load()
        search = optimize(
            config,
            classifier=models.classifier,
            generator=models.generator,
            masked_lm=models.masked_lm,
            state=resumed,
        )
        try:
            self.store.set_state(run.id, State.RUNNING, from_={State.STARTING})
        except StoreError:
            self.check_cancelled(run.id)  # while the models were loaded
            raise
        self.store.update_run(
            run.id,
            device=models.device,
            steps_total=config.steps,
            frames_wanted=config.frames,
            seed_ranges={
                purpose: list(seed_range(purpose, config.seed))
                for purpose in ("search", "score", "frames")
            },
        )
        started = time.monotonic()
        log(f"{'searching' if resumed is None else 'going on'} on {models.device}")
        recorder = Recorder(self.store, run.id, config, search, checkpoint)
        try:
            for step in search:
                if recorder.add(step):
                    self.check_cancelled(run.id)
        except Cancelled:
            recorder.save()
            raise
        # The last checkpoint: what follows is done again as a whole if it is interrupted.
        recorder.save()
        self._conclude(run.id, config, models, search)
        self.store.finish_run(
            run.id, State.SUCCEEDED, seconds=(run.seconds or 0) + time.monotonic() - started
        )

    def _conclude(
        self, run_id: str, config: RunConfig, models: Models, search: Optimization
    ) -> None:
        """Score the best prompt and draw its frames, on noise that no search has seen."""
        result = search.result
        log(f"ended ({result.stop_reason}) at step {result.steps} with: {result.prompt}")
        self.store.update_run(
            run_id,
            words=result.words,
            prompt=result.prompt,
            stop_reason=result.stop_reason,
            peak_memory_bytes=result.peak_memory_bytes,
        )
        self.store.record_prompts(
            run_id,
            [
                {
                    "words": list(prompt.words),
                    "text": prompt.text,
                    "mean_loss": prompt.mean_loss,
                    "pictures": prompt.n,
                }
                for prompt in result.prompts
            ],
        )
        batch = estimate(config, device=models.device).picture_batch
        subject = (models.generator, models.classifier, search.class_index, result.prompt)
        score = activation_score(*subject, n=config.score_images, batch=batch)
        self.store.update_run(
            run_id,
            score_value=score.value,
            score_low=score.low,
            score_high=score.high,
            score_n=score.n,
            score_hits=score.hits,
        )
        hits = tried = 0
        told_at = 0.0
        for frame in draw_frames(
            *subject, wanted=config.frames, tries=config.frame_tries, batch=batch
        ):
            tried += 1
            hits += frame.hit
            self.store.record_frame(
                run_id,
                kind="frame",
                seed=frame.seed,
                prompt=result.prompt,
                predicted_class=frame.predicted_class,
                target_probability=frame.target_probability,
                hit=frame.hit,
                sha256=self.store.put_artifact(png(frame.image), "image/png"),
            )
            if time.monotonic() - told_at >= RECORD_SECONDS:
                self.store.update_run(run_id, frames_hit=hits, frames_tried=tried)
                self.check_cancelled(run_id)
                told_at = time.monotonic()
        self.store.update_run(run_id, frames_hit=hits, frames_tried=tried)

    def _load(self, config: RunConfig) -> Models:
        """The models of ``config``; those of the last run if they are the same."""
        wanted = config.model_dump(
            include={
                "classifier", "labels", "trust_pickle", "masked_lm", "generator", "lora",
                "scheduler", "diffusion_steps", "guidance", "image_size", "device", "dtype",
            }
        )  # fmt: skip
        if self._models is None or self._models_of != wanted:
            self._models = None
            device = select_device(config.device)
            self._models = Models(
                load_classifier(
                    config.classifier,
                    labels=config.labels,
                    device=device,
                    dtype=config.dtype,
                    trust_pickle=config.trust_pickle,
                ),
                load_generator(
                    config.generator,
                    lora=config.lora,
                    scheduler=config.scheduler,
                    device=device,
                    dtype=config.dtype,
                    image_size=config.image_size,
                    diffusion_steps=config.diffusion_steps,
                    guidance=config.guidance,
                ),
                load_masked_lm(config.masked_lm, device=device),
                device,
            )
            self._models_of = wanted
        return self._models


class Checkpoint:
    """A file from which a run goes on as if nothing had happened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[str, Any] | None:
        """The state saved last, or None at the beginning of a run."""
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
            raise InputError(
                f"{self.path}: cannot be read ({type(error).__name__}); remove it to start this "
                "run again from its first step"
            ) from error
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file, at once or not at all."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        with explained(self.path):
            write_atomic(self.path, buffer.getvalue())


class Recorder:
    """Writes steps to the store about once a second, and a checkpoint behind them now and then."""

    def __init__(
        self,
        store: Store,
        run_id: str,
        config: RunConfig,
        search: Optimization,
        checkpoint: Checkpoint,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._config = config
        self._search = search
        self._checkpoint = checkpoint
        self._waiting: list[Step] = []
        self._recorded_at = self._saved_at = time.monotonic()

    def add(self, step: Step) -> bool:
        """Take in a step; whether the steps so far were written."""
        self._waiting.append(step)
        if step.step == 1 or step.step % self._config.preview_every == 0:
            self._record_preview(step)
        now = time.monotonic()
        if step.step % CHECKPOINT_STEPS == 0 or now - self._saved_at >= CHECKPOINT_SECONDS:
            self.save()
        elif now - self._recorded_at >= RECORD_SECONDS:
            self._flush()
        return not self._waiting

    def save(self) -> None:
        """Write the steps that wait, then a checkpoint.

        In this order, because a resumed run goes on behind its checkpoint: no step before that
        may be missing.
        """
        self._flush()
        self._checkpoint.save(self._search.state_dict())
        self._saved_at = time.monotonic()

    def _flush(self) -> None:
        if self._waiting:
            last = self._waiting[-1]
            log(
                f"step {last.step}: loss {last.losses['total']:.4f}, "
                f"p {last.target_probability:.3f}, best {', '.join(last.best_words)}"
            )
        self._store.record_steps(self._run_id, [_step_row(step) for step in self._waiting])
        self._waiting.clear()
        self._recorded_at = time.monotonic()

    def _record_preview(self, step: Step) -> None:
        config = self._config
        pieces = template_pieces(config.template_text, config.suffix)
        text = "".join(a + b for a, b in zip(pieces, (*step.words, ""), strict=True))
        # The search takes `batch` new pictures a step; this is the first of them.
        [seed] = picture_seeds("search", (step.step - 1) * config.batch, 1, config.seed)
        self._store.record_frame(
            self._run_id,
            kind="preview",
            step=step.step,
            seed=seed,
            prompt=text,
            predicted_class=step.predicted_class,
            target_probability=step.target_probability,
            hit=step.predicted_class == self._search.class_index,
            sha256=self._store.put_artifact(png(step.image), "image/png"),
        )


def png(image: NDArray[np.uint8]) -> bytes:
    """A picture (H, W, 3) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _step_row(step: Step) -> dict[str, Any]:
    row = asdict(step)
    del row["image"]
    return row


def _memory_advice(error: torch.OutOfMemoryError) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return (
        f"out of GPU memory: {first} Try --micro-batch 1, --gradient-checkpointing, "
        "--dtype bfloat16 or another --device"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
