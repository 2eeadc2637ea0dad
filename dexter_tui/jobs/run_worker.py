"""Works on queued runs, one after another: ``python -m dexter_tui.jobs.run_worker SLOT``

The models are loaded once for all runs that use the same. What a run finds goes to its journal and
from there to the store.
"""

import gc
import io
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    gc.disable()  # imports make no garbage; `start` looks for it again

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dexter.config import RunConfig
from dexter.device import ALL_PIECES, LARGE_PIECE, is_out_of_memory, keep_freed_memory
from dexter.errors import InputError
from dexter.models import Models, model_settings
from dexter.planning.estimate import estimate
from dexter.search.loop import Search, Step, reset_peak_memory
from dexter.search.objective import is_hit
from dexter.search.optimize import optimize
from dexter.search.prompt import template_pieces
from dexter.search.score import activation_score, draw_frames
from dexter.seeds import seed_range
from dexter_tui import EXIT_FAILED, EXIT_REFUSED
from dexter_tui.jobs import trust
from dexter_tui.jobs.launch import log_file
from dexter_tui.jobs.recorder import JournalRecorder, Recorder, log
from dexter_tui.jobs.run_checkpoints import Checkpoints, Saving
from dexter_tui.jobs.worker import (
    FULL,
    LOAD_PROMISE,
    START_PATIENCE,
    Stopped,
    Worker,
    first_line,
    log_trace,
    main,
)
from dexter_tui.machine import devices
from store import State, Store, StoreError
from store.run_queue import Work
from store.states import Kind
from store.tables import REFUSED, Run

STORE_PATIENCE = 0.3  # seconds that a run stands still for other processes that write
# A worker's next sign comes within that many seconds, or that many times what the last step took.
PROMISE_SECONDS = 30.0
PROMISE_STEPS = 20


class RunProcess(ABC):
    """A process that does runs, one at a time, and keeps the models of its last run."""

    on_cuda: bool
    """Whether it computes on a GPU."""
    stopping: bool
    """Whether it takes nothing further."""
    terminated: bool
    """Whether a signal asked for its end."""

    def __init__(self) -> None:
        self._models: Models | None = None
        self._models_of: dict[str, Any] | None = None

    @abstractmethod
    def folder_of(self, run: Run) -> Path:
        """Return the folder of the run's checkpoints."""

    @abstractmethod
    def log_of(self, run: Run) -> Path:
        """Return the file with the output of this process."""

    @abstractmethod
    def tell(self, work: Work, activity: str | None) -> None:
        """Show observers what is done for the run now; None: its progress says enough."""

    @abstractmethod
    def check(self, name: str) -> None:
        """Raise Stopped if a user or a signal asked for an end."""

    def record_stop(self, recorder: JournalRecorder, stopped: Stopped) -> None:
        """Record that the run was left before its end."""
        recorder.state(stopped.state)

    def carry_out(self, run: Run, recorder: JournalRecorder) -> int:
        """Do a run and record its end; return the exit code."""
        code = EXIT_FAILED
        try:
            self._run(run, recorder)
        except Stopped as stopped:
            # Pausing ends the process, so that its memory is free for others.
            self.stopping = self.stopping or stopped.state is not State.CANCELLED
            self.record_stop(recorder, stopped)
            outcome, code = stopped.state.value, 0
        except (InputError, StoreError) as error:
            recorder.state(State.FAILED, error=str(error), stop_reason=REFUSED)
            outcome, code = f"refused: {error}", EXIT_REFUSED
        except Exception as error:  # a defect ends this run, not those that wait behind it
            if isinstance(error, OSError) and error.errno in FULL:
                raise  # a full disk is no fault of the run: it is queued again
            log_trace()
            if is_out_of_memory(error):
                outcome = self._out_of_memory(run, recorder, error)
            else:
                outcome = f"{first_line(error)} (see {self.log_of(run)})"
                recorder.state(State.FAILED, error=outcome)
        else:
            outcome, code = "succeeded", 0
        recorder.settle(lambda: self.terminated)
        log(outcome, "error" if code else "info")
        return code

    def _out_of_memory(self, run: Run, recorder: JournalRecorder, error: Exception) -> str:
        """Once, the run goes on with fewer pictures at a time, in a new process."""
        self.stopping = True
        first = first_line(error)
        if run.reduced:
            line = (
                f"{first}; also with half the pictures at a time: pass --micro-batch 1, "
                "--dtype bfloat16 or another --device"
            )
            recorder.state(State.FAILED, error=line)
        else:
            line = f"{first}; goes on with half the pictures at a time and gradient checkpointing"
            recorder.state(State.QUEUED, error=line, reduced=True)
        return line

    def _run(self, run: Run, recorder: JournalRecorder) -> None:
        recorder.flush(LOAD_PROMISE)
        if not self.on_cuda:
            keep_freed_memory(0)  # returns what a run before has left
        reset_peak_memory()
        log("loading the models")
        config = RunConfig.model_validate(run.config)
        models = self._load(config, lambda what: self.tell(run, f"loading {what}"))
        if not self.on_cuda:
            recomputes = estimate(config, device="cpu").gradient_checkpointing != "none"
            below = LARGE_PIECE if recomputes else ALL_PIECES
            keep_freed_memory(0 if run.reduced else below)  # 0: once ran out of memory
        search = optimize(
            config,
            classifier=models.classifier,
            generator=models.generator,
            masked_lm=models.masked_lm,
        )
        checkpoints = Checkpoints(self.folder_of(run), run)
        checkpoints.load(search, recorder)
        self.tell(run, None)
        recorder.state(State.RUNNING)
        recorder.fields(
            device=models.device,
            steps_total=config.steps,
            frames_wanted=config.frames,
            seed_ranges={
                purpose: list(seed_range(purpose, config.seed))
                for purpose in ("search", "score", "frames")
            },
        )
        recorder.flush(PROMISE_SECONDS)
        self.check(run.id)
        started, began, recorder.seconds = time.monotonic(), time.process_time(), 0.0
        alone = "" if models.classifier.gradients else ", by scores alone: no gradient"
        log(f"searching on {models.device}{alone}")
        saving = Saving(recorder, checkpoints, search)
        for step in search:
            recorder.step(_step_row(step))
            wanted = step.step == 1 or step.step % config.preview_every == 0
            if wanted and not models.generator.unsafe(step.image[None])[0]:
                with recorder.counted():
                    _record_preview(recorder, config, step, search.class_index)
            promise = max(PROMISE_SECONDS, PROMISE_STEPS * step.seconds)
            if saving.due(step) or self.terminated:
                saving.save(promise)
                log(
                    f"step {step.step}: loss {step.losses['total']:.4f}, "
                    f"p {step.target_probability:.3f}, best {', '.join(step.best_words)}"
                )
            elif recorder.due():
                recorder.flush(promise)
            else:
                continue
            try:
                self.check(run.id)
                self._wait_for_room(run.id, recorder)
            except Stopped:
                saving.save(promise)
                raise
        # The last checkpoint: what follows is done again as a whole if it is interrupted.
        saving.save(LOAD_PROMISE)
        self.tell(run, "comparing the best prompts")
        spent = time.process_time() - began
        log(f"the search took {spent:.2f} s of CPU, {recorder.seconds:.3f} s of it to record it")
        self._conclude(run, config, models, search, recorder)
        recorder.state(State.SUCCEEDED, seconds=(run.seconds or 0) + time.monotonic() - started)

    def _conclude(
        self,
        run: Run,
        config: RunConfig,
        models: Models,
        search: Search,
        recorder: JournalRecorder,
    ) -> None:
        """Score the best prompt and draw its frames, on noise that no search has seen."""
        result = search.result
        log(f"ended ({result.stop_reason}) at step {result.steps} with: {result.prompt}")
        recorder.fields(
            words=result.words,
            prompt=result.prompt,
            word_gains=[asdict(gain) for gain in result.gains],
            stop_reason=result.stop_reason,
            peak_memory_bytes=result.peak_memory_bytes,
        )
        recorder.prompts(
            [
                {
                    "words": list(prompt.words),
                    "text": prompt.text,
                    "mean_loss": prompt.mean_loss,
                    "pictures": prompt.n,
                }
                for prompt in result.prompts
            ]
        )
        recorder.flush(LOAD_PROMISE)
        self.tell(run, f"scoring the best prompt on {config.score_images} pictures")
        self.check(run.id)
        batch = search.picture_batch
        drawn = result.prompt if result.conditioning is None else result.conditioning
        subject = (models.generator, models.classifier, search.class_index, drawn)
        score = activation_score(
            *subject, n=config.score_images, batch=batch, direction=config.direction
        )
        recorder.fields(
            score_value=score.value,
            score_low=score.low,
            score_high=score.high,
            score_n=score.n,
            score_hits=score.hits,
        )
        self.tell(run, "drawing frames of the best prompt")
        hits = tried = 0
        for frame in draw_frames(
            *subject,
            wanted=config.frames,
            tries=config.frame_tries,
            batch=batch,
            direction=config.direction,
        ):
            tried += 1
            hits += frame.hit
            recorder.frame(
                png(frame.image),
                kind="frame",
                step=0,
                seed=frame.seed,
                prompt=result.prompt,
                predicted_class=frame.predicted_class,
                target_probability=frame.target_probability,
                hit=frame.hit,
            )
            if recorder.due():
                recorder.fields(frames_hit=hits, frames_tried=tried)
                recorder.flush(LOAD_PROMISE)
                self.check(run.id)
                self._wait_for_room(run.id, recorder)
        recorder.fields(frames_hit=hits, frames_tried=tried)

    def _wait_for_room(self, run_id: str, recorder: JournalRecorder) -> None:
        while recorder.crowded():
            log("too many pictures wait for room on the disk", "warning")
            time.sleep(5)
            recorder.flush(LOAD_PROMISE)
            self.check(run_id)

    def _load(self, config: RunConfig, loading: Callable[[str], None]) -> Models:
        """Return the models of ``config``; those of the last run if they are the same."""
        placed = self._placed(config)
        wanted = model_settings(placed)
        trust.require([placed])  # also for models that are loaded already
        if self._models is None or self._models_of != wanted:
            self._models = None
            gc.unfreeze()
            self._models = trust.load_models(placed, loading)
            self._models_of = wanted
            # What is loaded stays: looking through it for garbage takes longer than many writes.
            gc.collect()
            gc.freeze()
        return self._models

    def _placed(self, config: RunConfig) -> RunConfig:
        """Place the models on this slot's device, the only one that this process sees."""
        return config.model_copy(update={"device": "cuda" if self.on_cuda else "cpu"})


class RunWorker(Worker, RunProcess):
    """A worker of a device slot that does runs."""

    KINDS = frozenset({Kind.RUN})
    PATIENCE = STORE_PATIENCE

    def __init__(self, store: Store, slot: devices.Slot) -> None:
        Worker.__init__(self, store, slot)
        RunProcess.__init__(self)
        self.on_cuda = slot.on_cuda

    def folder_of(self, run: Run) -> Path:
        return self.store.run_folder(run.id)

    def log_of(self, run: Run) -> Path:
        return log_file(self.store, run.id)

    def fits(self, config: Mapping[str, Any] | None) -> bool:
        """On a GPU, leave other models to a new process, whose runner looks for room first."""
        if self._models is None or not self.slot.on_gpu:
            return True
        return model_settings(self._placed(RunConfig.model_validate(config))) == self._models_of

    def do(self, work: Work) -> int:
        assert isinstance(work, Run)
        recorder = self._recorder(work)
        if recorder is None:
            return 0
        recorder.start(work)
        return self.carry_out(work, recorder)

    def _recorder(self, run: Run) -> Recorder | None:
        """Return what records the run; None if its journal says that it ended already."""
        deadline = time.monotonic() + START_PATIENCE
        while True:
            try:
                recorder = Recorder(self.store, run)
                if self.store.run(run.id).state in (State.SUCCEEDED, State.FAILED):
                    log("it had ended; the store had not heard of it")
                    return None
                return recorder
            except StoreError:
                if time.monotonic() > deadline or self.stopping:
                    raise
                time.sleep(1)


def _record_preview(
    recorder: JournalRecorder, config: RunConfig, step: Step, class_index: int
) -> None:
    pieces = template_pieces(config.template_text, config.suffix)
    text = "".join(a + b for a, b in zip(pieces, (*step.words, ""), strict=True))
    recorder.frame(
        png(step.image),
        kind="preview",
        step=step.step,
        seed=step.seed,
        prompt=text,
        predicted_class=step.predicted_class,
        target_probability=step.target_probability,
        hit=is_hit(step.predicted_class, class_index, config.direction),
    )


def start() -> None:
    """Prepare this process, its own, for runs."""
    torch.set_num_threads(1)
    gc.freeze()  # what was imported stays
    gc.enable()


def png(image: NDArray[np.uint8]) -> bytes:
    """Return a picture (H, W, 3) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _step_row(step: Step) -> dict[str, Any]:
    row = asdict(step)
    del row["image"], row["seed"]
    return row


if __name__ == "__main__":
    start()
    sys.exit(main(RunWorker, sys.argv[1]))
