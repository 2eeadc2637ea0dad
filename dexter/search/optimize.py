"""The loop: learns the soft prompt whose words make pictures that the classifier takes for a class.

Each step samples B prompts, makes a picture of each from fresh noise, and moves the soft prompt
by the weighted sum of three gradients:

- straight-through Gumbel-softmax (the paper's): through classifier, generator and text encoder
  to the sampled words, and from there through their relaxation. One step costs a backward pass
  through the generator, and the linearisation at the sampled words often points nowhere useful.
- score function (REINFORCE, Williams 1992): raises the probability of prompts that did better
  than the running baseline. Unbiased, and needs no gradient of the generator.
- masked LM towards the pseudo-targets (paper, Eq. 4).

Part of the prompts are not drawn from the soft prompt: `TupleHistory.explore` chooses their words.
They count for the pseudo-targets, through which the soft prompt learns of them, and for the answer.
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

from dexter.classifiers import class_index
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.generation.generator import Noise, to_uint8
from dexter.planning.estimate import BUDGET_BYTES, Estimate, estimate
from dexter.search.objective import Objective, masked_lm_loss, sentence_loss
from dexter.search.prompt import MaskedLM, PromptModel, Sample
from dexter.search.pseudo_targets import ReferenceTargets, SlotTargets
from dexter.search.tuple_history import TupleHistory, Words
from dexter.search.word_gains import WordGain, word_gains
from dexter.seeds import picture_seeds

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.generation.generator import Generator

# At the end so many of the best tuples are compared on so many fresh pictures each.
FINAL_TUPLES = 6
FINAL_PICTURES = 16

ADVANTAGE_LIMIT = 2.0
BASELINE_DECAY = 0.9


@dataclass(frozen=True)
class Step:
    """What happened in one step; losses are means over the batch."""

    step: int
    """From 1."""
    losses: dict[str, float]
    """By the name of the term: "class", "feature 12", "masked_lm", and "total", their weighted
    sum."""
    target_probability: float
    """The classifier's probability of the target class, mean over the batch."""
    predicted_class: int
    """Index of the class that ``image`` is taken for."""
    hits: int
    """Pictures of this step that are taken for the target class, 0 to B."""
    words: tuple[str, ...]
    """The words sampled for ``image``, the first prompt of the batch."""
    pseudo_targets: tuple[str | None, ...]
    """For each mask the word that the masked LM is taught, if any."""
    best_words: tuple[str, ...]
    """The tuple with the lowest shrunk running mean loss so far."""
    best_loss: float
    """The mean loss of ``best_words``, not shrunk."""
    entropy: float
    """Of the words' distribution, nats, mean of the masks."""
    temperature: float
    image: NDArray[np.uint8]
    """(H, W, 3): the first picture of the batch."""
    seed: int
    """Of ``image``'s noise; the run's own seed where the noise is a stream."""
    seconds: float


@dataclass(frozen=True)
class PromptRecord:
    """A prompt and how it did on ``n`` fresh pictures of search noise."""

    words: tuple[str, ...]
    text: str
    mean_loss: float
    n: int


@dataclass(frozen=True)
class Result:
    """What a run found."""

    words: tuple[str, ...]
    prompt: str
    """The text that the generator is given."""
    mean_loss: float
    """Over fresh pictures that the search did not see."""
    times_sampled: int
    """How often the search itself sampled these words; 0 if they are only the likeliest."""
    steps: int
    stop_reason: str
    """"stable", "hits", "consecutive" or "steps" (the limit)."""
    prompts: list[PromptRecord]
    """The tuples compared at the end, best first; the first is the answer."""
    gains: list[WordGain]
    """Of all words of ``prompts``, the surest first: which of them carry the prompts."""
    peak_memory_bytes: int
    """Of the device on CUDA, of the process on a CPU."""


def optimize(
    config: RunConfig,
    *,
    classifier: Classifier,
    generator: Generator,
    masked_lm: MaskedLM,
    state: dict[str, Any] | None = None,
) -> Optimization:
    """Start a run, or go on from the ``state`` that an earlier one's `state_dict` gave.

    The models must be those that ``config`` names. Iterate over what is returned for its Steps,
    then read its ``result``. Raises InputError for what cannot be run.
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
        self.config = config
        self.class_index = class_index(classifier.labels, config.class_name)
        self.stop_reason: str | None = None
        """Why the run ended; None while it goes on."""
        self._classifier = classifier
        self._generator = generator
        self._rng = torch.Generator().manual_seed(config.seed)
        self._prompt = PromptModel.from_config(
            config,
            masked_lm,
            generator,
            class_label=classifier.labels[self.class_index],
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
        """What the run found; after its last step."""
        if self.stop_reason is None:
            raise RuntimeError("the run has not ended: iterate over its steps first")
        if self._result is None:
            self._result = self._final_comparison(self.stop_reason)
        return self._result

    @property
    def picture_batch(self) -> int:
        """How many pictures fit into memory at a time without autograd, for score and frames."""
        return self._plan.picture_batch

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on, as plain types and tensors.

        Restored on the same machine with one thread, the next steps are the same bit for bit.
        """
        return {
            "settings": _settings(self.config),
            "plan": asdict(self._plan),
            "soft_prompt": self._prompt.soft_prompt.detach().cpu().clone(),
            # Its tensors change in place with the next step.
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
        """Go on from ``state``. Raises InputError if it is of another configuration."""
        ours = _settings(self.config)
        for name, theirs in state["settings"].items():
            if theirs != ours[name]:
                raise InputError(
                    f"{name}: the checkpoint has {theirs!r}, this run {ours[name]!r}; "
                    "resume with the same settings"
                )
        # How pictures are split shows in the last bits, and may depend on memory that was free.
        plan = state["plan"]
        level = plan["gradient_checkpointing"]
        if isinstance(level, bool):  # saved when it was all or none
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
        hits = int((pictures.predicted == self.class_index).sum())
        best = self._end_step(pictures.predicted == self.class_index, entropy)
        losses = {name: float(loss.mean()) for name, loss in pictures.losses.items()}
        losses["masked_lm"] = float(masked_lm.detach())
        losses["total"] = float(totals.mean()) + config.masked_lm_weight * losses["masked_lm"]
        vocabulary = self._prompt.vocabulary.words
        return Step(
            step=self._step,
            losses=losses,
            target_probability=float(pictures.probability.mean()),
            predicted_class=int(pictures.predicted[0]),
            hits=hits,
            words=self._prompt.words(sample.indices[0]),
            pseudo_targets=tuple(None if word is None else vocabulary[word] for word in targets),
            best_words=self._prompt.words(best),
            best_loss=self._history.mean(best)[0],
            entropy=entropy,
            temperature=temperature,
            image=pictures.first,
            seed=config.seed if isinstance(seeds[0], Noise) else seeds[0],
            seconds=time.perf_counter() - start,
        )

    def _evaluate(
        self, words: Tensor, seeds: Sequence[int | Noise]
    ) -> tuple[_Pictures, Tensor | None]:
        """Pictures of the prompts with words (B, M), and the gradient of the first n_grad
        pictures' losses by the token embeddings, (n_grad, L, D).

        The gradient stops at the embeddings, so that a few pictures at a time can be
        backpropagated; `_straight_through` takes it on to the soft prompt.
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
                f"{self.config.dtype} may be too narrow for these models, try float32"
            )
        p = output.logits.softmax(-1)
        return _Pictures(losses, p[:, self.class_index], p.argmax(-1), to_uint8(images[:1])[0])

    def _straight_through(self, sample: Sample, gradient: Tensor) -> Tensor:
        """A scalar with the straight-through gradient of the mean loss of n_grad pictures."""
        count = len(gradient)
        relaxed, _ = self._prompt.embeddings(sample.indices[:count], sample.relaxed[:count])
        return (relaxed * gradient[:, : relaxed.shape[1]]).sum() / count

    def _update_targets(
        self, indices: Tensor, pictures: _Pictures, totals: Tensor
    ) -> list[int | None]:
        """Take in a step's losses; what the masked LM is to be taught now."""
        # The reference teaches what its rule said before this step.
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
        """Keep count, and decide whether the run ends; the best words so far.

        ``hit`` (B,): whether each picture was taken for the target class.
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
        """Compare the best tuples, the best words joined, and the likeliest, on the same fresh
        pictures."""
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
        """The noise of a step's pictures: a seed each, or as the reference draws it."""
        if self.config.noise == "fresh":
            return self._fresh_seeds(self.config.batch)
        return [Noise(torch.Generator().manual_seed(0), self._rng)] * self.config.batch

    def _fresh_seeds(self, count: int) -> list[int]:
        seeds = picture_seeds("search", self._pictures, count, self.config.seed)
        self._pictures += count
        return seeds

    def _temperature(self) -> float:
        """From temperature to temperature_end by an equal factor a step."""
        start, end = self.config.temperature, self.config.temperature_end
        return float(start * (end / start) ** ((self._step - 1) / max(self.config.steps - 1, 1)))


class Baseline:
    """The running baseline of the score-function gradient: mean and spread of recent losses."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._variance = 0.0

    def advantage(self, losses: Tensor) -> Tensor:
        """(loss - mean) / spread of each loss (B,), clipped; then the losses are taken in.

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
        """All of it, in plain types."""
        return {"mean": self._mean, "variance": self._variance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._mean, self._variance = state["mean"], state["variance"]


@dataclass(frozen=True)
class _Pictures:
    """How the classifier took B pictures."""

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
    """How to split the pictures: for the models as loaded, into the memory there is."""
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
