"""Pseudo-targets: the words that the soft prompt is pulled towards."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass
from dexter.search.tuple_history import Words


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
