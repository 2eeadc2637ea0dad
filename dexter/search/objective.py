"""What a run minimises: losses of pictures, and of the masked LM towards pseudo-targets.

    L = class + sum of features + masked LM                                  (paper, Eq. 4)

The first two are losses of pictures, and noisy; the last pulls the masked LM towards words that
did well, because gradients through the generator alone are too weak to converge (section 3.3).
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dexter.config import RunConfig
from dexter.errors import InputError

if TYPE_CHECKING:
    from dexter.classifiers import Classifier, ClassifierOutput

Words = tuple[int, ...]
"""The words of a prompt, one index into the vocabulary for each mask."""


class Objective:
    """The losses of pictures. B pictures, M masks, K classes, F penultimate units."""

    def __init__(self, config: RunConfig, classifier: Classifier, class_index: int) -> None:
        """Raises InputError where features are wanted that the classifier does not have."""
        self.class_index = class_index
        self.features = _features(config, classifier, class_index)
        self._class_loss = config.class_loss
        self._class_weight = config.class_weight
        self._feature_weight = config.feature_weight
        self._masks = config.masks

    def losses(self, output: ClassifierOutput) -> dict[str, Tensor]:
        """Each term's loss of each picture by name, not weighted: "class", "feature 12", ...

        The class's is -log(p / (1 - p)) of the target class, -log p or 1 - p; a feature's is
        minus its activation (paper, section 3.3).
        """
        losses = {"class": self._of_class(output.logits)}
        if self.features and max(self.features) >= output.features.shape[1]:
            raise InputError(
                f"features: the classifier has units 0 to {output.features.shape[1] - 1}, "
                f"not {max(self.features)}"
            )
        for unit in self.features:
            losses[f"feature {unit}"] = -output.features[:, unit]
        return losses

    def _of_class(self, logits: Tensor) -> Tensor:
        log_p = logits.log_softmax(-1)[:, self.class_index]
        match self._class_loss:
            case "bounded":
                return -log_p.expm1()
            case "cross-entropy":
                return -log_p
        target = torch.arange(logits.shape[1], device=logits.device) == self.class_index
        others = logits.masked_fill(target, -math.inf)
        return others.logsumexp(-1) - logits[:, self.class_index]

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the terms, (B,)."""
        return self.slot_losses(losses, slots=1)[:, 0]

    def slot_losses(self, losses: dict[str, Tensor], slots: int | None = None) -> Tensor:
        """What each mask answers for, (B, M): the sum of l_act over its set N_i of units.

        As in the paper the first mask has the class and each further mask a feature (the k-th,
        counted round). A mask with none of its own, or the only one, has the whole.
        """
        slots = self._masks if slots is None else slots
        shares: list[list[Tensor]] = [[] for _ in range(slots)]
        shares[0].append(self._class_weight * losses["class"])
        for k, unit in enumerate(self.features):
            mask = 1 + k % (slots - 1) if slots > 1 else 0
            shares[mask].append(self._feature_weight * losses[f"feature {unit}"])
        whole = torch.stack([term for share in shares for term in share]).sum(0)
        return torch.stack(
            [torch.stack(share).sum(0) if share else whole for share in shares], dim=1
        )


def masked_lm_loss(logits: Tensor, targets: Sequence[int | None]) -> Tensor:
    """-sum_i log s_{i, y_i} over the masks that have a target (Eq. 4); logits (M, V)."""
    log_s = logits.log_softmax(-1)
    chosen = [-log_s[slot, word] for slot, word in enumerate(targets) if word is not None]
    return torch.stack(chosen).sum() if chosen else logits.new_zeros(())


def sentence_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy of all tokens of a sentence, as the reference code has it.

    ``logits`` (L, all tokens), ``labels`` (L,). The words around the masks pull as well, and a
    mask weighs less in a longer template.
    """
    return torch.nn.functional.cross_entropy(logits, labels)


class SlotTargets:
    """The paper's pseudo-targets, a word for each mask (section 3.3, Eq. 5).

    A mask's target y_i is replaced by the word just tried when the mean of that word's own
    history of losses in this mask is below L_i, the loss that y_i was accepted with. The mean
    guards against one lucky picture of a word that was often tried.
    """

    def __init__(self, masks: int) -> None:
        self.targets: list[int | None] = [None] * masks
        self._losses = [math.inf] * masks
        self._histories: list[dict[int, tuple[float, int]]] = [{} for _ in range(masks)]

    def update(self, words: Words, slot_losses: Sequence[float]) -> None:
        """Take in one picture: its words and the loss that each mask answers for."""
        for slot, (word, loss) in enumerate(zip(words, slot_losses, strict=True)):
            total, count = self._histories[slot].get(word, (0.0, 0))
            self._histories[slot][word] = (total + loss, count + 1)
            mean = (total + loss) / (count + 1)
            if mean < self._losses[slot]:
                self.targets[slot] = word
                self._losses[slot] = mean

    def state_dict(self) -> dict[str, Any]:
        """All of it, in plain types."""
        return {
            "targets": list(self.targets),
            "losses": list(self._losses),
            "histories": [dict(history) for history in self._histories],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.targets = list(state["targets"])
        self._losses = list(state["losses"])
        self._histories = [dict(history) for history in state["histories"]]


class ReferenceTargets:
    """The reference code's pseudo-targets, one word for each mask from the first step on.

    They start as words drawn at random, the same for every run. A mask's word is replaced by the
    one just tried when the class loss and the mask's own are both below the means of their
    histories, which begin with the first step's loss; the mask's history then begins anew. A
    word tried again adds its loss to the history, be it better or worse.

    Tokens that are no words cannot become targets. The reference lets special tokens pass, and
    then ends in an error.
    """

    def __init__(self, words: Sequence[str], masks: int, special: Collection[str] = ()) -> None:
        """``words`` of the vocabulary; ``special`` ones among them stand for no text."""
        self._allowed = [word not in special and not set(word) & set("#[./\\") for word in words]
        rng = random.Random(0)
        while True:
            self.targets = [rng.randrange(len(words)) for _ in range(masks)]
            if not any(set(words[word]) & set("#[") for word in self.targets):
                break
        self._histories: list[list[float]] = [[] for _ in range(masks)]

    def update(self, words: Words, slot_losses: Sequence[float]) -> None:
        """Take in one picture: its words and the loss that each mask answers for."""
        if not self._histories[0]:
            self._histories = [[loss] for loss in slot_losses]
        below = [
            loss < sum(history) / len(history)
            for loss, history in zip(slot_losses, self._histories, strict=True)
        ]
        for slot, (word, loss) in enumerate(zip(words, slot_losses, strict=True)):
            if word == self.targets[slot]:
                self._histories[slot].append(loss)
            elif below[0] and below[slot] and self._allowed[word]:
                self._histories[slot] = [loss]
                self.targets[slot] = word

    def state_dict(self) -> dict[str, Any]:
        """All of it, in plain types."""
        return {
            "targets": list(self.targets),
            "histories": [list(history) for history in self._histories],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.targets = list(state["targets"])
        self._histories = [list(history) for history in state["histories"]]


class TupleHistory:
    """Running mean loss of every tuple of words tried; the best one is what a run answers.

    Most tuples are tried once, and one lucky picture says little. So a tuple's mean is shrunk, by
    TUPLE_PRIOR pictures, towards what its words did wherever else they stood: the mean of all
    pictures plus, for each mask, the word's own deviation from it, which is shrunk towards 0 by
    WORD_PRIOR pictures; a picture with the word in another mask counts ELSEWHERE. A word that does
    well with many others is found long before any one tuple of it has been tried twice.
    """

    TUPLE_PRIOR = 1.0
    WORD_PRIOR = 2.0
    ELSEWHERE = 0.5

    def __init__(self) -> None:
        self._sums: dict[Words, tuple[float, int]] = {}
        self._by_word: list[dict[int, tuple[float, int]]] = []
        self._total = 0.0
        self._squares = 0.0
        self._count = 0

    def update(self, words: Words, loss: float) -> None:
        """Take in one picture."""
        total, n = self._sums.get(words, (0.0, 0))
        self._sums[words] = (total + loss, n + 1)
        self._by_word = self._by_word or [{} for _ in words]
        for by_word, word in zip(self._by_word, words, strict=True):
            total, n = by_word.get(word, (0.0, 0))
            by_word[word] = (total + loss, n + 1)
        self._total += loss
        self._squares += loss * loss
        self._count += 1

    def best(self, count: int = 1) -> list[Words]:
        """The ``count`` tuples with the lowest shrunk mean, best first; ties: the older one."""
        effects = self._effects()
        mean = self._total / max(self._count, 1)

        def shrunk(words: Words) -> float:
            total, n = self._sums[words]
            prior = mean + sum(by_word[word] for by_word, word in zip(effects, words, strict=True))
            return (total + self.TUPLE_PRIOR * prior) / (n + self.TUPLE_PRIOR)

        return heapq.nsmallest(count, self._sums, key=shrunk)

    def joined(self) -> Words:
        """The best word for each mask, the strongest first; nobody may have tried them together."""
        chosen: dict[int, int] = {}
        effects = [(e, k, w) for k, own in enumerate(self._effects()) for w, e in own.items()]
        for again in (False, True):  # a word twice only where there are not enough
            for _, mask, word in sorted(effects):
                if mask not in chosen and (again or word not in chosen.values()):
                    chosen[mask] = word
        return tuple(chosen[mask] for mask in sorted(chosen))

    def explore(self, count: int, log_p: Tensor, rng: torch.Generator) -> Tensor:
        """Words worth a picture, (count, M): for each mask, evenly, what is known least or what may
        be best.

        Known least: of the words tried the fewest times, one drawn from the policy ``log_p``
        (M, V). May be best: Thompson sampling (Thompson 1933) of the words' deviations. The policy
        alone meets what it already thinks of: of a hundred words, where the start is peaked, it
        may never try the one that matters.
        """
        masks, size = log_p.shape
        effects = torch.full((masks, size), math.inf)
        for mask, own in enumerate(self._effects()):
            effects[mask, list(own)] = torch.tensor(list(own.values()))
        tries = torch.zeros(size)
        for by_word in self._by_word:
            for word, (_, n) in by_word.items():
                tries[word] += n
        mean = self._total / max(self._count, 1)
        spread = math.sqrt(max(self._squares / max(self._count, 1) - mean * mean, 0.0))
        rows = torch.empty(count, masks, dtype=torch.int64)
        for row in rows:
            taken = torch.zeros(size, dtype=torch.bool)
            for mask in range(masks):
                best = bool(torch.rand((), generator=rng) < 0.5) and self._count > 0
                if best:
                    doubt = spread / (tries + self.WORD_PRIOR).sqrt()
                    value = effects[mask] + doubt * torch.randn(size, generator=rng)
                else:
                    fewest = tries == tries[~taken].min()
                    draw = log_p[mask] - torch.empty(size).exponential_(generator=rng).log()
                    value = -draw.masked_fill(~fewest, -math.inf)
                chosen = int(value.masked_fill(taken, math.inf).argmin())
                row[mask] = chosen
                tries[chosen] += 1
                taken[chosen] = size > masks
        return rows

    def _effects(self) -> list[dict[int, float]]:
        """For each mask: what each word tried adds to the mean loss, shrunk."""
        mean = self._total / max(self._count, 1)
        anywhere: dict[int, tuple[float, int]] = {}
        for by_word in self._by_word:
            for word, (total, n) in by_word.items():
                before, m = anywhere.get(word, (0.0, 0))
                anywhere[word] = (before + total - n * mean, m + n)
        effects: list[dict[int, float]] = []
        for by_word in self._by_word:
            effects.append({})
            for word, (total, n) in anywhere.items():
                here, m = by_word.get(word, (0.0, 0))
                deviation = here - m * mean
                pictures = m + self.ELSEWHERE * (n - m) + self.WORD_PRIOR
                effects[-1][word] = (deviation + self.ELSEWHERE * (total - deviation)) / pictures
        return effects

    def tried_with(self, more: Mapping[Words, tuple[float, int]]) -> dict[Words, tuple[float, int]]:
        """Sum of losses and number of pictures of every tuple, with those of ``more`` added."""
        tried = dict(self._sums)
        for words, (total, count) in more.items():
            before, n = tried.get(words, (0.0, 0))
            tried[words] = (before + total, n + count)
        return tried

    def mean(self, words: Words) -> tuple[float, int]:
        """Mean loss of a tuple and how many pictures that is; (nan, 0) if it was never tried."""
        total, count = self._sums.get(words, (math.nan, 0))
        return total / max(count, 1), count

    def state_dict(self) -> dict[str, Any]:
        """All of it, in plain types."""
        return {
            "sums": dict(self._sums),
            "by_word": [dict(by_word) for by_word in self._by_word],
            "total": self._total,
            "squares": self._squares,
            "count": self._count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._sums = dict(state["sums"])
        self._by_word = [dict(by_word) for by_word in state["by_word"]]
        self._total = state["total"]
        self._squares = state["squares"]
        self._count = state["count"]


def _features(config: RunConfig, classifier: Classifier, class_index: int) -> tuple[int, ...]:
    """The units to raise: those given, or those of the largest weight to the class (F.3)."""
    if config.features is not None:
        if any(unit < 0 for unit in config.features):
            raise InputError(f"features: {min(config.features)} is below 0; units start at 0")
        return tuple(dict.fromkeys(config.features))
    if config.n_features == 0:
        return ()
    weight = classifier.class_weight(class_index)
    if weight is None:
        raise InputError(
            f"n_features: {classifier.spec} has no last linear layer to choose units by; "
            "name them with features, or set n_features to 0"
        )
    if config.n_features > len(weight):
        raise InputError(f"n_features: {config.n_features}, but there are {len(weight)} units")
    return tuple(weight.topk(config.n_features).indices.tolist())
