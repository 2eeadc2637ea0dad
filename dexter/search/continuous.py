"""The search for embeddings in place of words: a bound on what words can reach.

DiffExplainer (arXiv 2404.02618) optimises a prompt in the input of the text encoder, through the
generator, without words. Here a vector v of the table's width stands at each mask of the template,

    v* = argmin_v  E_noise L(classifier(generator(encoder(template with v), noise))),

with L the loss of the objective, by AdamW on B pictures of fresh noise a step. The vectors are
measured in standard deviations of the token table around its mean. A gradient finds the nearest
good place only, so the first steps (the share ``explore``) try tuples of words, as a search for
words does, and the vectors start at the best one. The answer is the best of the averaged vectors,
their nearest words and the words that were tried, on fresh pictures: where the search fails, the
bound is that of the words. Each vector stands for one token, as do the words that it starts from.

With ``embeddings`` "output", the whole conditioning c (T, C) that the encoder returns is optimised,

    c* = argmin_c  E_noise L(classifier(generator(c, noise))),

from that of the best words, in standard deviations of its entries around their mean over T. No
template and no words remain in it, so the words of such an answer are those that it starts from.
"""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.generation.generator import Noise
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
from dexter.search.prompt import MaskedLM
from dexter.search.tuple_history import TupleHistory, Words

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.generation.generator import Generator

NEAR = "≈"
"""The mark of a word that is only the nearest to a vector."""
FINAL_WORDS = 3
"""Tuples of words in the final comparison, beside the vectors and their nearest words."""
_KEPT = 0.8  # of the averages, per step


class Continuous(Search):
    """A search for embeddings in progress: M masks, V words of one token, D the table's width."""

    def __init__(
        self,
        config: RunConfig,
        classifier: Classifier,
        generator: Generator,
        masked_lm: MaskedLM,
    ) -> None:
        super().__init__(config, classifier, generator, masked_lm)
        vocabulary = self._prompt.vocabulary
        one_token = (vocabulary.lengths == 1) & (vocabulary.token_ids[:, 0] >= 0)
        self._words = one_token.nonzero()[:, 0].tolist()
        """The words, as indices into the vocabulary."""
        if not self._words:
            raise InputError(
                "no candidate word is one token of the generator",
                field="words",
                remedy="list others",
            )
        self._table = generator.token_embedding(vocabulary.token_ids[self._words, 0])
        self._centre = self._table.mean(0)
        self._spread = float((self._table - self._centre).square().mean().sqrt()) or 1.0
        self._at_output = config.embeddings == "output"
        self._started: Words = (0,) * self._prompt.masks
        """The words that the vectors start from."""
        embedded = self._table[list(self._started)]
        first = self._encode(embedded)[0] if self._at_output else embedded
        self._vectors = nn.Parameter(torch.zeros_like(first, dtype=self._table.dtype))
        """(M, D) or, at the output, (T, C); float32, in standard deviations around the centre."""
        self._average = torch.zeros_like(self._vectors)
        self._loss = 0.0
        """The running mean loss of the vectors."""
        self._optimizer = torch.optim.AdamW(
            [self._vectors],
            lr=config.learning_rate,
            eps=config.adam_epsilon,
            weight_decay=config.weight_decay,
        )
        self._tried = TupleHistory(self._known([vocabulary.words[index] for index in self._words]))
        self._trials = min(max(round(config.explore * config.steps), 1), max(config.steps - 1, 1))
        """Steps that try words."""

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "vectors": self._vectors.detach().cpu().clone(),
            "average": self._average.cpu().clone(),
            "loss": self._loss,
            "started": self._started,
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
            "tried": self._tried.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        with torch.no_grad():
            self._vectors.copy_(state["vectors"])
            self._average.copy_(state["average"])
        self._loss = state["loss"]
        self._start_from(tuple(state.get("started", self._started)))
        self._optimizer.load_state_dict(state["optimizer"])
        self._tried.load_state_dict(state["tried"])

    def _next_step(self, start: float) -> Step:
        seeds = self._search_noise()
        trial = self._step <= self._trials
        if trial:
            pictures, words, best = self._try_words(seeds)
            best_loss = self._tried.mean(tuple(best))[0]
            named, best_named = self._named(words), self._named(best)
        else:
            if self._step == self._trials + 1:
                self._start()
            pictures = self._descend(seeds)
            named, best_named = self._near(self._vectors), self._near(self._average)
            best_loss = self._loss
        hits = self._count_hits(pictures.predicted)
        losses = {name: float(loss.mean()) for name, loss in pictures.losses.items()}
        losses["total"] = float(self._objective.total(pictures.losses).mean())
        return Step(
            step=self._step,
            losses=losses,
            target_probability=float(pictures.probability.mean()),
            predicted_class=int(pictures.predicted[0]),
            hits=hits,
            words=named,
            pseudo_targets=(None,) * self._prompt.masks,
            best_words=best_named,
            best_loss=best_loss,
            word_probabilities=None,
            entropy=None,
            temperature=None,
            image=pictures.first,
            seed=self.config.seed if isinstance(seeds[0], Noise) else seeds[0],
            seconds=time.perf_counter() - start,
        )

    @torch.no_grad()
    def _try_words(self, seeds: Any) -> tuple[Pictures, Words, Words]:
        """Draw pictures of B tuples; return also the first tuple and the best one so far."""
        masks, count = self._prompt.masks, self.config.batch
        tuples = self._tried.explore(count, torch.zeros(masks, len(self._words)), self._rng)
        conditioning = torch.cat([self._encode(self._table[row]) for row in tuples])
        pictures = join(
            [
                self._classify(conditioning[rows], seeds[rows])
                for rows in chunks(0, count, self._plan.picture_batch)
            ]
        )
        losses = self._objective.total(pictures.losses)
        rows: list[Words] = [tuple(row) for row in tuples.tolist()]
        for words, loss in zip(rows, losses.tolist(), strict=True):
            self._tried.update(words, loss)
        return pictures, rows[0], self._tried.best()[0]

    @torch.no_grad()
    def _start(self) -> None:
        best = self._tried.best()[0]
        self._start_from(best)
        if not self._at_output:
            self._vectors.copy_((self._table[list(best)] - self._centre) / self._spread)
        self._average.copy_(self._vectors)
        self._loss = self._tried.mean(best)[0]

    @torch.no_grad()
    def _start_from(self, words: Words) -> None:
        self._started = words
        if self._at_output:
            self._centre = self._encode(self._table[list(words)])[0].to(self._table.dtype)
            around = self._centre - self._centre.mean(0)
            self._spread = float(around.square().mean().sqrt()) or 1.0

    def _descend(self, seeds: Any) -> Pictures:
        """Draw B pictures of the vectors and move these down the gradient of the mean loss."""
        count = self.config.batch
        parts = []
        self._optimizer.zero_grad()
        for rows in chunks(0, count, self._plan.micro_batch):
            size = len(seeds[rows])
            conditioning = self._conditioning(self._vectors).expand(size, -1, -1)
            part = self._classify(conditioning, seeds[rows])
            loss = self._objective.total(part.losses).sum() / count
            loss.backward(inputs=[self._vectors])  # type: ignore[no-untyped-call]
            parts.append(part.detach())
        self._optimizer.step()
        pictures = join(parts)
        with torch.no_grad():
            self._average.mul_(_KEPT).add_(self._vectors, alpha=1 - _KEPT)
        total = float(self._objective.total(pictures.losses).mean())
        self._loss = _KEPT * self._loss + (1 - _KEPT) * total
        return pictures

    def _conditioning(self, vectors: Tensor) -> Tensor:
        """Return the conditioning (1, T, C) of vectors."""
        placed = self._centre + self._spread * vectors
        return placed[None] if self._at_output else self._encode(placed)

    def _encode(self, embedded: Tensor) -> Tensor:
        """Return the conditioning (1, T, C) of the template with token embeddings (M, D)."""
        row = self._prompt.embeddings_of(embedded)
        return self._generator.encode(row[None], torch.tensor([len(row)]))

    def _named(self, words: Words) -> tuple[str, ...]:
        return self._prompt.words([self._words[word] for word in words])

    def _nearest(self, vectors: Tensor) -> Words:
        """Return the word with the largest cosine at each mask, around the table's mean; at the
        output, the words that the vectors start from."""
        if self._at_output:
            return self._started
        table = nn.functional.normalize(self._table - self._centre, dim=-1)
        found: list[int] = (vectors.detach() @ table.T).argmax(-1).tolist()
        return tuple(found)

    def _near(self, vectors: Tensor) -> tuple[str, ...]:
        return tuple(NEAR + word for word in self._named(self._nearest(vectors)))

    @torch.no_grad()
    def _final_comparison(self, stop_reason: str) -> Result:
        """Compare the averaged vectors, their nearest words and the best tuples of words."""
        tuples = self._tried.best(FINAL_WORDS)
        tried: list[tuple[tuple[str, ...], Tensor]] = []
        if self._step > self._trials:
            tuples.append(self._nearest(self._average))
            tried.append((self._near(self._average), self._conditioning(self._average)))
        tried += [
            (self._named(words), self._encode(self._table[list(words)]))
            for words in dict.fromkeys(tuples)
        ]
        seeds = self._fresh_seeds(FINAL_PICTURES)
        compared = []
        for named, conditioning in tried:
            losses = [
                self._objective.total(
                    self._classify(
                        conditioning.expand(len(seeds[rows]), -1, -1),
                        seeds[rows],
                        small_decoder=False,
                    ).losses
                )
                for rows in chunks(0, FINAL_PICTURES, self._plan.picture_batch)
            ]
            compared.append((float(torch.cat(losses).double().mean()), named, conditioning))
        compared.sort(key=lambda one: one[0])
        prompts = [
            PromptRecord(named, self._prompt.text_of(named), mean, FINAL_PICTURES)
            for mean, named, _ in compared
        ]
        return Result(
            words=prompts[0].words,
            prompt=prompts[0].text,
            mean_loss=prompts[0].mean_loss,
            times_sampled=0,
            steps=self._step,
            stop_reason=stop_reason,
            prompts=prompts,
            gains=[],
            peak_memory_bytes=peak_memory(self._generator.device),
            conditioning=compared[0][2],
        )
