"""The search: a loop that learns a soft prompt whose pictures the classifier assigns to a class.

Each step samples B prompts, draws a picture of each from fresh noise, and moves the soft prompt
by the weighted sum of three gradients:

- straight-through Gumbel-softmax (the paper's): through classifier, generator and text encoder
  to the sampled words, and on through their relaxation. One step costs a backward pass through
  the generator, and the linearisation at the sampled words is often uninformative.
- score function (REINFORCE, Williams 1992): raises the probability of prompts that beat the
  running baseline. Unbiased; needs no gradient of the generator, nor of the classifier, and is the
  only one of the first two for a classifier that has none.
- masked LM towards the pseudo-targets (paper, Eq. 4).

`TupleHistory.explore` chooses the words of some prompts in place of the soft prompt. They count for
the answer and for the pseudo-targets, through which the soft prompt learns from them.
"""

from __future__ import annotations

import copy
import math
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
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
from dexter.search.objective import Objective, is_hit, masked_lm_loss, sentence_loss
from dexter.search.prompt import MaskedLM, PromptModel, Sample
from dexter.search.pseudo_targets import ReferenceTargets, SlotTargets
from dexter.search.tuple_history import TupleHistory, Words
from dexter.search.word_gains import WordGain, word_gains
from dexter.seeds import picture_seeds

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.generation.generator import Generator

# The final comparison: tuples, and fresh pictures per tuple.
FINAL_TUPLES = 6
FINAL_PICTURES = 16

MOST_PROBABLE = 8
"""Words per mask whose probability a step records."""
ADVANTAGE_LIMIT = 2.0
BASELINE_DECAY = 0.9


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
    word_probabilities: tuple[dict[str, float], ...]
    """The `MOST_PROBABLE` most probable words of each mask, with their probabilities."""
    entropy: float
    """The entropy of the distribution of words, in nats, averaged over the masks."""
    temperature: float
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
    """The text for the generator."""
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


def optimize(
    config: RunConfig,
    *,
    classifier: Classifier,
    generator: Generator,
    masked_lm: MaskedLM,
    state: dict[str, Any] | None = None,
) -> Optimization:
    """Start a run, or continue from the ``state`` that `state_dict` of an earlier one returned.

    The models must be those that ``config`` names. Iterate over the Optimization for its Steps,
    then read its ``result``. Raises InputError for settings that the models cannot run.
    """
    optimization = Optimization(config, classifier, generator, masked_lm)
    if state is not None:
        optimization.load_state_dict(state)
    return optimization


class Optimization(Iterator[Step]):
    """A run in progress; see `optimize`."""

    def __init__(
        self,
        config: RunConfig,
        classifier: Classifier,
        generator: Generator,
        masked_lm: MaskedLM,
    ) -> None:
        self.config = config if classifier.gradients else config.by_scores()
        config = self.config
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
        self._optimizer = torch.optim.AdamW(
            [self._prompt.soft_prompt],
            lr=config.learning_rate,
            eps=config.adam_epsilon,
            weight_decay=config.weight_decay,
        )
        self._plan = _plan(config, generator, masked_lm)
        self._baseline = Baseline()
        self._history = TupleHistory()
        self._slot_targets: SlotTargets | ReferenceTargets = SlotTargets(self._prompt.masks)
        if config.pseudo_target == "reference":
            self._slot_targets = ReferenceTargets(
                self._prompt.vocabulary.words,
                self._prompt.masks,
                masked_lm.tokenizer.all_special_tokens,
            )
        self._step = 0
        self._pictures = 0
        self._hits = 0
        self._hits_in_a_row = 0
        self._stable = 0
        self._best: Words | None = None
        self._result: Result | None = None

    def __next__(self) -> Step:
        if self.stop_reason is not None:
            raise StopIteration
        return self._next_step()

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
            "soft_prompt": self._prompt.soft_prompt.detach().cpu().clone(),
            # The next step changes its tensors in place.
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
            "rng": self._rng.get_state(),
            "baseline": self._baseline.state_dict(),
            "history": self._history.state_dict(),
            "slot_targets": self._slot_targets.state_dict(),
            "step": self._step,
            "pictures": self._pictures,
            "hits": self._hits,
            "hits_in_a_row": self._hits_in_a_row,
            "stable": self._stable,
            "best": self._best,
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
        with torch.no_grad():
            self._prompt.soft_prompt.copy_(state["soft_prompt"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._rng.set_state(state["rng"])
        self._baseline.load_state_dict(state["baseline"])
        self._history.load_state_dict(state["history"])
        self._slot_targets.load_state_dict(state["slot_targets"])
        self._step = state["step"]
        self._pictures = state["pictures"]
        self._hits = state["hits"]
        self._hits_in_a_row = state["hits_in_a_row"]
        self._stable = state["stable"]
        self._best = state["best"]
        self.stop_reason = state["stop_reason"]

    def _next_step(self) -> Step:
        start = time.perf_counter()
        config = self.config
        self._step += 1
        temperature = self._temperature()
        token_logits = self._prompt.token_logits()
        logits = self._prompt.logits(token_logits)
        own = config.batch - config.explored_prompts
        sample = self._prompt.sample(own, temperature, self._rng, logits)
        seeds = self._search_noise()
        log_p = logits.log_softmax(-1)
        explored = self._history.explore(
            config.explored_prompts, log_p.detach().float().cpu(), self._rng
        )
        words = torch.cat([sample.indices, explored.to(sample.indices)])
        pictures, gradient = self._evaluate(words, seeds)
        totals = self._objective.total(pictures.losses)
        targets = self._update_targets(words, pictures, totals)

        if config.masked_lm_loss == "sentence":
            named = [word for word in targets if word is not None]
            masked_lm = sentence_loss(token_logits, self._prompt.labels(named))
        else:
            masked_lm = masked_lm_loss(logits, targets)
        surrogate = config.masked_lm_weight * masked_lm
        if gradient is not None:
            surrogate = surrogate + config.straight_through * self._straight_through(
                sample, gradient
            )
        if config.score_function > 0:
            chosen = log_p.expand_as(sample.relaxed)
            chosen = chosen.gather(-1, sample.indices[..., None]).sum((1, 2))
            advantage = self._baseline.advantage(totals[:own]).to(chosen)
            surrogate = surrogate + config.score_function * (advantage * chosen).mean()
        self._optimizer.zero_grad()
        surrogate.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

        p = logits.detach().softmax(-1)
        entropy = float(torch.special.entr(p).sum(-1).mean())
        hit = is_hit(pictures.predicted, self.class_index, config.direction)
        best = self._end_step(hit, entropy)
        losses = {name: float(loss.mean()) for name, loss in pictures.losses.items()}
        losses["masked_lm"] = float(masked_lm.detach())
        losses["total"] = float(totals.mean()) + config.masked_lm_weight * losses["masked_lm"]
        vocabulary = self._prompt.vocabulary.words
        return Step(
            step=self._step,
            losses=losses,
            target_probability=float(pictures.probability.mean()),
            predicted_class=int(pictures.predicted[0]),
            hits=int(hit.sum()),
            words=self._prompt.words(sample.indices[0]),
            pseudo_targets=tuple(None if word is None else vocabulary[word] for word in targets),
            best_words=self._prompt.words(best),
            best_loss=self._history.mean(best)[0],
            word_probabilities=self._most_probable(p),
            entropy=entropy,
            temperature=temperature,
            image=pictures.first,
            seed=config.seed if isinstance(seeds[0], Noise) else seeds[0],
            seconds=time.perf_counter() - start,
        )

    def _most_probable(self, p: Tensor) -> tuple[dict[str, float], ...]:
        """Return the most probable words of each mask from p (M, V)."""
        words = self._prompt.vocabulary.words
        top = p.float().topk(min(MOST_PROBABLE, p.shape[-1]))
        return tuple(
            {words[index]: round(value, 4) for index, value in zip(*mask, strict=True)}
            for mask in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        )

    def _evaluate(
        self, words: Tensor, seeds: Sequence[int | Noise]
    ) -> tuple[_Pictures, Tensor | None]:
        """Return pictures of the prompts with words (B, M), and a gradient (n_grad, L, D).

        The gradient is that of the losses of the first n_grad pictures by the token embeddings.
        It stops there, so that pictures can be backpropagated in small batches;
        `_straight_through` continues it to the soft prompt.
        """
        count, with_grad = self.config.batch, self.config.grad_prompts
        embeddings, lengths = self._prompt.embeddings(words)
        embeddings.requires_grad_(with_grad > 0)
        parts = []
        for rows in _chunks(0, with_grad, self._plan.micro_batch):
            conditioning = self._generator.encode(embeddings[rows], lengths[rows])
            part = self._classify(conditioning, seeds[rows])
            self._objective.total(part.losses).sum().backward()  # type: ignore[no-untyped-call]
            parts.append(part.detach())
        with torch.no_grad():
            for rows in _chunks(with_grad, count, self._plan.picture_batch):
                conditioning = self._generator.encode(embeddings[rows], lengths[rows])
                parts.append(self._classify(conditioning, seeds[rows]))
        return _join(parts), None if embeddings.grad is None else embeddings.grad[:with_grad]

    def _classify(
        self, conditioning: Tensor, seeds: Sequence[int | Noise], *, small_decoder: bool = True
    ) -> _Pictures:
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
        return _Pictures(losses, p, answers, to_uint8(images[:1])[0])

    def _straight_through(self, sample: Sample, gradient: Tensor) -> Tensor:
        """Return a scalar with the straight-through gradient of the mean loss of the pictures."""
        count = len(gradient)
        relaxed, _ = self._prompt.embeddings(sample.indices[:count], sample.relaxed[:count])
        return (relaxed * gradient[:, : relaxed.shape[1]]).sum() / count

    def _update_targets(
        self, indices: Tensor, pictures: _Pictures, totals: Tensor
    ) -> list[int | None]:
        """Record a step's losses; return the word that the masked LM trains on now, per mask."""
        # The reference code trains on the targets from before this step.
        reference = list(self._slot_targets.targets)
        slot_losses = self._objective.slot_losses(pictures.losses)
        for words, loss, by_slot in zip(
            indices.tolist(), totals.tolist(), slot_losses.tolist(), strict=True
        ):
            self._history.update(tuple(words), loss)
            self._slot_targets.update(tuple(words), by_slot)
        match self.config.pseudo_target:
            case "slot":
                return list(self._slot_targets.targets)
            case "tuple":
                return list(self._history.best()[0])
            case "reference":
                return reference
            case _:
                return [None] * self._prompt.masks

    def _end_step(self, hit: Tensor, entropy: float) -> Words:
        """Update the counts, decide if the run ends, and return the best words so far.

        ``hit`` (B,) is True for pictures with the answer that is searched.
        """
        config = self.config
        best = self._history.best()[0]
        self._stable = self._stable + 1 if best == self._best else 0
        self._best = best
        self._hits += int(hit.sum())
        self._hits_in_a_row = self._hits_in_a_row + 1 if hit[0] else 0
        if config.stop == "hits" and self._hits >= config.stop_hits:
            self.stop_reason = "hits"
        elif config.stop == "consecutive" and self._hits_in_a_row >= config.stop_hits:
            self.stop_reason = "consecutive"
        elif (
            config.stop == "stable"
            and self._stable >= config.stable_steps
            and entropy < config.stable_entropy
        ):
            self.stop_reason = "stable"
        elif self._step >= config.steps:
            self.stop_reason = "steps"
        return best

    @torch.no_grad()
    def _final_comparison(self, stop_reason: str) -> Result:
        """Compare the best tuples, the joined best words and the likeliest on fresh pictures."""
        likeliest = tuple(self._prompt.logits().argmax(-1).tolist())
        best = self._history.best(FINAL_TUPLES - 2)
        tuples = list(dict.fromkeys([*best, self._history.joined(), likeliest]))
        texts = [self._prompt.text(words) for words in tuples for _ in range(FINAL_PICTURES)]
        seeds = self._fresh_seeds(FINAL_PICTURES) * len(tuples)
        totals = torch.cat(
            [
                self._objective.total(
                    self._classify(
                        self._generator.encode_text(texts[rows]), seeds[rows], small_decoder=False
                    ).losses
                )
                for rows in _chunks(0, len(texts), self._plan.picture_batch)
            ]
        )
        sums = totals.double().view(len(tuples), FINAL_PICTURES).sum(1).tolist()
        ranked = sorted(
            (total / FINAL_PICTURES, words) for total, words in zip(sums, tuples, strict=True)
        )
        fresh = {words: (total, FINAL_PICTURES) for total, words in zip(sums, tuples, strict=True)}
        return Result(
            words=self._prompt.words(ranked[0][1]),
            prompt=self._prompt.text(ranked[0][1]),
            mean_loss=ranked[0][0],
            times_sampled=self._history.mean(ranked[0][1])[1],
            steps=self._step,
            stop_reason=stop_reason,
            prompts=[
                PromptRecord(
                    self._prompt.words(words), self._prompt.text(words), mean, FINAL_PICTURES
                )
                for mean, words in ranked
            ],
            gains=word_gains(
                self._history.tried_with(fresh),
                [word for _, words in ranked for word in words],
                self._prompt.vocabulary.words,
            ),
            peak_memory_bytes=_peak_memory(self._generator.device),
        )

    def _search_noise(self) -> Sequence[int | Noise]:
        """Return the noise of a step's pictures: one seed each, or as in the reference code."""
        if self.config.noise == "fresh":
            return self._fresh_seeds(self.config.batch)
        return [Noise(torch.Generator().manual_seed(0), self._rng)] * self.config.batch

    def _fresh_seeds(self, count: int) -> list[int]:
        seeds = picture_seeds("search", self._pictures, count, self.config.seed)
        self._pictures += count
        return seeds

    def _temperature(self) -> float:
        """Return the temperature: geometric from temperature to temperature_end."""
        start, end = self.config.temperature, self.config.temperature_end
        return float(start * (end / start) ** ((self._step - 1) / max(self.config.steps - 1, 1)))


class Baseline:
    """The running baseline of the score-function gradient: mean and spread of recent losses."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._variance = 0.0

    def advantage(self, losses: Tensor) -> Tensor:
        """Return (loss - mean) / spread of each loss (B,), clipped, and update the baseline.

        The first batch is its own baseline.
        """
        if self._mean is None:
            self._mean = float(losses.mean())
            self._variance = float(losses.var(correction=0))
        deviation = losses - self._mean
        scale = math.sqrt(self._variance) + 1e-6
        advantage = (deviation / scale).clamp(-ADVANTAGE_LIMIT, ADVANTAGE_LIMIT)
        keep = BASELINE_DECAY
        self._variance = keep * self._variance + (1 - keep) * float(deviation.square().mean())
        self._mean = keep * self._mean + (1 - keep) * float(losses.mean())
        return advantage

    def state_dict(self) -> dict[str, Any]:
        """Return the state in plain types."""
        return {"mean": self._mean, "variance": self._variance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        self._mean, self._variance = state["mean"], state["variance"]


@dataclass(frozen=True)
class _Pictures:
    """The classifier's answers for B pictures."""

    losses: dict[str, Tensor]
    probability: Tensor
    predicted: Tensor
    first: NDArray[np.uint8]

    def detach(self) -> _Pictures:
        losses = {name: loss.detach() for name, loss in self.losses.items()}
        return _Pictures(losses, self.probability.detach(), self.predicted, self.first)


def _join(parts: list[_Pictures]) -> _Pictures:
    return _Pictures(
        {name: torch.cat([part.losses[name] for part in parts]) for name in parts[0].losses},
        torch.cat([part.probability for part in parts]),
        torch.cat([part.predicted for part in parts]),
        parts[0].first,
    )


def _chunks(start: int, stop: int, size: int) -> list[slice]:
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


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
