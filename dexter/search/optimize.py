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
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dexter.config import RunConfig
from dexter.generation.generator import Noise
from dexter.search.continuous import Continuous
from dexter.search.loop import (
    FINAL_PICTURES,
    Pictures,
    PromptRecord,
    Result,
    Search,
    Step,
    chunks,
    join,
    peak_memory,
)
from dexter.search.objective import masked_lm_loss, sentence_loss
from dexter.search.prompt import MaskedLM, Sample
from dexter.search.pseudo_targets import ReferenceTargets, SlotTargets
from dexter.search.tuple_history import TupleHistory, Words
from dexter.search.word_gains import word_gains

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.generation.generator import Generator

FINAL_TUPLES = 6
"""Tuples of words in the final comparison."""
MOST_PROBABLE = 8
"""Words per mask whose probability a step records."""
ADVANTAGE_LIMIT = 2.0
BASELINE_DECAY = 0.9


def optimize(
    config: RunConfig,
    *,
    classifier: Classifier,
    generator: Generator,
    masked_lm: MaskedLM,
    state: dict[str, Any] | None = None,
) -> Search:
    """Start a run, or continue from the ``state`` that `state_dict` of an earlier one returned.

    The models must be those that ``config`` names. Iterate over the Search for its Steps, then
    read its ``result``. Raises InputError for settings that the models cannot run.
    """
    kind = Continuous if config.search == "continuous" else Optimization
    search = kind(config, classifier, generator, masked_lm)
    if state is not None:
        search.load_state_dict(state)
    return search


class Optimization(Search):
    """A search for words in progress; see `optimize`."""

    def __init__(
        self,
        config: RunConfig,
        classifier: Classifier,
        generator: Generator,
        masked_lm: MaskedLM,
    ) -> None:
        super().__init__(config, classifier, generator, masked_lm)
        config = self.config
        self._optimizer = torch.optim.AdamW(
            [self._prompt.soft_prompt],
            lr=config.learning_rate,
            eps=config.adam_epsilon,
            weight_decay=config.weight_decay,
        )
        self._baseline = Baseline()
        self._history = TupleHistory(self._known(self._prompt.vocabulary.words))
        self._slot_targets: SlotTargets | ReferenceTargets = SlotTargets(self._prompt.masks)
        if config.pseudo_target == "reference":
            self._slot_targets = ReferenceTargets(
                self._prompt.vocabulary.words,
                self._prompt.masks,
                masked_lm.tokenizer.all_special_tokens,
            )
        self._stable = 0
        self._best: Words | None = None

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "soft_prompt": self._prompt.soft_prompt.detach().cpu().clone(),
            # The next step changes its tensors in place.
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
            "baseline": self._baseline.state_dict(),
            "history": self._history.state_dict(),
            "slot_targets": self._slot_targets.state_dict(),
            "stable": self._stable,
            "best": self._best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        with torch.no_grad():
            self._prompt.soft_prompt.copy_(state["soft_prompt"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._baseline.load_state_dict(state["baseline"])
        self._history.load_state_dict(state["history"])
        self._slot_targets.load_state_dict(state["slot_targets"])
        self._stable = state["stable"]
        self._best = state["best"]

    def _next_step(self, start: float) -> Step:
        config = self.config
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
        hits = self._count_hits(pictures.predicted)
        best = self._end_step(entropy)
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
    ) -> tuple[Pictures, Tensor | None]:
        """Return pictures of the prompts with words (B, M), and a gradient (n_grad, L, D).

        The gradient is that of the losses of the first n_grad pictures by the token embeddings.
        It stops there, so that pictures can be backpropagated in small batches;
        `_straight_through` continues it to the soft prompt.
        """
        count, with_grad = self.config.batch, self.config.grad_prompts
        embeddings, lengths = self._prompt.embeddings(words)
        embeddings.requires_grad_(with_grad > 0)
        parts = []
        for rows in chunks(0, with_grad, self._plan.micro_batch):
            conditioning = self._generator.encode(embeddings[rows], lengths[rows])
            part = self._classify(conditioning, seeds[rows])
            self._objective.total(part.losses).sum().backward()  # type: ignore[no-untyped-call]
            parts.append(part.detach())
        with torch.no_grad():
            for rows in chunks(with_grad, count, self._plan.picture_batch):
                conditioning = self._generator.encode(embeddings[rows], lengths[rows])
                parts.append(self._classify(conditioning, seeds[rows]))
        return join(parts), None if embeddings.grad is None else embeddings.grad[:with_grad]

    def _straight_through(self, sample: Sample, gradient: Tensor) -> Tensor:
        """Return a scalar with the straight-through gradient of the mean loss of the pictures."""
        count = len(gradient)
        relaxed, _ = self._prompt.embeddings(sample.indices[:count], sample.relaxed[:count])
        return (relaxed * gradient[:, : relaxed.shape[1]]).sum() / count

    def _update_targets(
        self, indices: Tensor, pictures: Pictures, totals: Tensor
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

    def _end_step(self, entropy: float) -> Words:
        """Decide if the run ends as stable; return the best words so far."""
        config = self.config
        best = self._history.best()[0]
        self._stable = self._stable + 1 if best == self._best else 0
        self._best = best
        settled = self._stable >= config.stable_steps and entropy < config.stable_entropy
        if config.stop == "stable" and settled:
            self.stop_reason = "stable"
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
                for rows in chunks(0, len(texts), self._plan.picture_batch)
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
            peak_memory_bytes=peak_memory(self._generator.device),
        )

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
