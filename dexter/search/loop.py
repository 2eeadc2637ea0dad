"""The loop of a search: what a search for words and one for embeddings share.

A step draws B pictures of prompts from fresh noise, asks the classifier, and moves what is learned.
The result is compared on fresh pictures that the loop has not seen.
"""

from __future__ import annotations

import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dexter.classifiers import class_index, others
from dexter.config import TEMPLATES, RunConfig
from dexter.errors import InputError
from dexter.generation.generator import Noise, to_uint8
from dexter.planning.estimate import BUDGET_BYTES, Estimate, estimate
from dexter.search.objective import Objective, is_hit
from dexter.search.prompt import MaskedLM, PromptModel
from dexter.search.word_gains import WordGain
from dexter.seeds import picture_seeds

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.generation.generator import Generator

FINAL_PICTURES = 16
"""Fresh pictures of each prompt in the final comparison."""


@dataclass(frozen=True)
class Step:
    """The record of a step; losses are means over the batch."""

    step: int
    """From 1."""
    losses: dict[str, float]
    """By term: "class", "feature 12", "masked_lm", and "total", their weighted sum."""
    target_probability: float
    """The classifier's probability of the target class, mean over the batch."""
    predicted_class: int
    """The index of the class predicted for ``image``."""
    hits: int
    """The number of pictures of this step with the answer that is searched, 0 to B: the target
    class, or with direction "lower" any other."""
    words: tuple[str, ...]
    """The words sampled for ``image``, the first prompt of the batch."""
    pseudo_targets: tuple[str | None, ...]
    """The word that the masked LM is trained on, per mask, if any."""
    best_words: tuple[str, ...]
    """The tuple with the lowest shrunk running mean loss so far."""
    best_loss: float
    """The mean loss of ``best_words``, not shrunk."""
    word_probabilities: tuple[dict[str, float], ...] | None
    """The most probable words of each mask, with their probabilities; None without any."""
    entropy: float | None
    """The entropy of the distribution of words, in nats, averaged over the masks; None without
    one."""
    temperature: float | None
    image: NDArray[np.uint8]
    """(H, W, 3): the first picture of the batch."""
    seed: int
    """The seed of the noise of ``image``; the run's own seed where the noise is a stream."""
    seconds: float


@dataclass(frozen=True)
class PromptRecord:
    """A prompt and its mean loss on ``n`` fresh pictures of search noise."""

    words: tuple[str, ...]
    text: str
    mean_loss: float
    n: int


@dataclass(frozen=True)
class Result:
    """The result of a run."""

    words: tuple[str, ...]
    prompt: str
    """The text for the generator, or a name for embeddings that are no text."""
    mean_loss: float
    """The mean over fresh pictures that the search did not see."""
    times_sampled: int
    """The number of times that the search sampled these words; 0 if they are only the likeliest."""
    steps: int
    stop_reason: str
    """"stable", "hits", "consecutive" or "steps" (the limit)."""
    prompts: list[PromptRecord]
    """The tuples of the final comparison, best first; the first is the answer."""
    gains: list[WordGain]
    """The gains of all words of ``prompts``, most certain first; drivers have a positive `low`."""
    peak_memory_bytes: int
    """The peak of the device on CUDA, of the process on a CPU."""
    conditioning: Tensor | None = field(default=None, compare=False)
    """The generator's conditioning (1, T, C) of a prompt that is no text; None for a text."""


class Search(Iterator[Step], ABC):
    """A search in progress. Iterate over it for its steps, then read its ``result``."""

    def __init__(
        self,
        config: RunConfig,
        classifier: Classifier,
        generator: Generator,
        masked_lm: MaskedLM,
    ) -> None:
        """Prepare the prompt; raise InputError for settings that the models cannot run."""
        self.config = config = config if classifier.gradients else config.by_scores()
        self.class_index = class_index(classifier.labels, config.class_name)
        if config.direction == "lower" and config.template in TEMPLATES:
            raise InputError(
                f"{config.template!r} does not name the class that the search is to lower",
                field="template",
                value=config.template,
                remedy="name it, as in 'a picture of a duck with [MASK]'",
            )
        self.stop_reason: str | None = None
        """The reason for the end of the run; None until then."""
        self._classifier = classifier
        self._generator = generator
        self._rng = torch.Generator().manual_seed(config.seed)
        self._prompt = PromptModel.from_config(
            config,
            masked_lm,
            generator,
            class_label=classifier.labels[self.class_index],
            others=others(classifier.labels, self.class_index),
            rng=self._rng,
        )
        self._objective = Objective(config, classifier, self.class_index)
        self._plan = _plan(config, generator, masked_lm)
        self._step = 0
        self._pictures = 0
        self._hits = 0
        self._hits_in_a_row = 0
        self._result: Result | None = None

    def __next__(self) -> Step:
        if self.stop_reason is not None:
            raise StopIteration
        start = time.perf_counter()
        self._step += 1
        return self._next_step(start)

    @abstractmethod
    def _next_step(self, start: float) -> Step:
        """Do the next step, which began at ``start`` (`time.perf_counter`)."""

    @abstractmethod
    def _final_comparison(self, stop_reason: str) -> Result:
        """Compare the best prompts on fresh pictures."""

    @property
    def result(self) -> Result:
        """Return the result of the run; raise RuntimeError before its last step."""
        if self.stop_reason is None:
            raise RuntimeError("the run has not ended: iterate over its steps first")
        if self._result is None:
            self._result = self._final_comparison(self.stop_reason)
        return self._result

    @property
    def picture_batch(self) -> int:
        """Return the batch of pictures that fits into memory without autograd."""
        return self._plan.picture_batch

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next steps depend on, as plain types and tensors.

        Restored on the same machine with one thread, the next steps are identical bit for bit.
        """
        return {
            "settings": _settings(self.config),
            "plan": asdict(self._plan),
            "rng": self._rng.get_state(),
            "step": self._step,
            "pictures": self._pictures,
            "hits": self._hits,
            "hits_in_a_row": self._hits_in_a_row,
            "stop_reason": self.stop_reason,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``; raise InputError if it is of another configuration."""
        ours = _settings(self.config)
        for name, theirs in state["settings"].items():
            if theirs != ours[name]:
                raise InputError(
                    f"the checkpoint has {theirs!r}, this run {ours[name]!r}",
                    field=name,
                    value=ours[name],
                    remedy="resume with the same settings",
                )
        # The split of the pictures affects the last bits, and may depend on the free memory.
        plan = state["plan"]
        level = plan["gradient_checkpointing"]
        if isinstance(level, bool):  # from a version where it was all or none
            level = "all" if level else "none"
        self._plan = Estimate(**{**plan, "gradient_checkpointing": level})
        self._rng.set_state(state["rng"])
        self._step = state["step"]
        self._pictures = state["pictures"]
        self._hits = state["hits"]
        self._hits_in_a_row = state["hits_in_a_row"]
        self.stop_reason = state["stop_reason"]

    def _known(self, vocabulary: Sequence[str]) -> dict[int, tuple[float, float]]:
        """Return what is known of the words of a vocabulary before the search, by index: the
        effect on the loss and its standard error."""
        config = self.config
        if config.screening is not None and config.word_effects is None:
            raise InputError(
                f"the effects of {config.screening} are in a store, which the search does not read",
                field="screening",
                value=config.screening,
                remedy="pass word_effects",
            )
        weight = config.class_weight * (1 if config.direction == "lower" else -1)
        effects = config.word_effects or {}
        return {
            index: (weight * effects[word][0], abs(weight) * effects[word][1])
            for index, word in enumerate(vocabulary)
            if word in effects
        }

    def _count_hits(self, predicted: Tensor) -> int:
        """Count the pictures (B,) with the answer that is searched; end the run if it is time."""
        config = self.config
        hit = is_hit(predicted, self.class_index, config.direction)
        self._hits += int(hit.sum())
        self._hits_in_a_row = self._hits_in_a_row + 1 if hit[0] else 0
        if config.stop == "hits" and self._hits >= config.stop_hits:
            self.stop_reason = "hits"
        elif config.stop == "consecutive" and self._hits_in_a_row >= config.stop_hits:
            self.stop_reason = "consecutive"
        elif self._step >= config.steps:
            self.stop_reason = "steps"
        return int(hit.sum())

    def _classify(
        self, conditioning: Tensor, seeds: Sequence[int | Noise], *, small_decoder: bool = True
    ) -> Pictures:
        images = self._generator.sample(
            conditioning,
            seeds,
            backprop_steps=self.config.backprop_steps,
            latent_gradient=self.config.latent_gradient,
            gradient_checkpointing=self._plan.gradient_checkpointing,
            small_decoder=small_decoder,
        )
        output = self._classifier(images)
        losses = self._objective.losses(output)
        if not bool(self._objective.total(losses).isfinite().all()):
            raise ArithmeticError(
                f"step {self._step}: the loss of a picture is not finite; "
                f"{self.config.dtype} may be too narrow for these models: try float32"
            )
        p, answers = output.probability(self.class_index), output.predicted(self.class_index)
        return Pictures(losses, p, answers, to_uint8(images[:1])[0])

    def _search_noise(self) -> Sequence[int | Noise]:
        """Return the noise of a step's pictures: one seed each, or as in the reference code."""
        if self.config.noise == "fresh":
            return self._fresh_seeds(self.config.batch)
        return [Noise(torch.Generator().manual_seed(0), self._rng)] * self.config.batch

    def _fresh_seeds(self, count: int) -> list[int]:
        seeds = picture_seeds("search", self._pictures, count, self.config.seed)
        self._pictures += count
        return seeds


@dataclass(frozen=True)
class Pictures:
    """The classifier's answers for B pictures."""

    losses: dict[str, Tensor]
    probability: Tensor
    predicted: Tensor
    first: NDArray[np.uint8]

    def detach(self) -> Pictures:
        losses = {name: loss.detach() for name, loss in self.losses.items()}
        return Pictures(losses, self.probability.detach(), self.predicted, self.first)


def join(parts: list[Pictures]) -> Pictures:
    return Pictures(
        {name: torch.cat([part.losses[name] for part in parts]) for name in parts[0].losses},
        torch.cat([part.probability for part in parts]),
        torch.cat([part.predicted for part in parts]),
        parts[0].first,
    )


def chunks(start: int, stop: int, size: int) -> list[slice]:
    return [slice(at, min(at + size, stop)) for at in range(start, stop, size)]


def _settings(config: RunConfig) -> dict[str, Any]:
    return {**config.study_settings(), "seed": config.seed}


def _plan(config: RunConfig, generator: Generator, masked_lm: MaskedLM) -> Estimate:
    """Split the pictures into batches: for the loaded models and the available memory."""
    budget = BUDGET_BYTES
    device = generator.device
    if device.type == "cuda":
        budget = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    loaded = config.model_copy(update={"generator": generator.spec, "masked_lm": masked_lm.spec})
    return estimate(loaded, budget=budget, device=device.type)


def peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak_memory() -> None:
    """Begin the peak again at the memory of now, so that it is not that of earlier work."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # another system than Linux, or a /proc that cannot be written
        Path("/proc/self/clear_refs").write_text("5")
