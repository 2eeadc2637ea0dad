"""The pseudo-targets: words that the soft prompt is pulled towards."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from typing import Any

from dexter.search.tuple_history import Words


class SlotTargets:
    """The paper's pseudo-targets, one word per mask (section 3.3, Eq. 5).

    The word just tried replaces a mask's target y_i when the mean of that word's losses in this
    mask is below L_i, the loss with which y_i was accepted. The mean guards against one lucky
    picture of a word that was tried often.
    """

    def __init__(self, masks: int) -> None:
        self.targets: list[int | None] = [None] * masks
        self._losses = [math.inf] * masks
        self._histories: list[dict[int, tuple[float, int]]] = [{} for _ in range(masks)]

    def update(self, words: Words, slot_losses: Sequence[float]) -> None:
        """Record one picture: its words and the loss of each mask."""
        for slot, (word, loss) in enumerate(zip(words, slot_losses, strict=True)):
            total, count = self._histories[slot].get(word, (0.0, 0))
            self._histories[slot][word] = (total + loss, count + 1)
            mean = (total + loss) / (count + 1)
            if mean < self._losses[slot]:
                self.targets[slot] = word
                self._losses[slot] = mean

    def state_dict(self) -> dict[str, Any]:
        """Return the state in plain types."""
        return {
            "targets": list(self.targets),
            "losses": list(self._losses),
            "histories": [dict(history) for history in self._histories],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        self.targets = list(state["targets"])
        self._losses = list(state["losses"])
        self._histories = [dict(history) for history in state["histories"]]


class ReferenceTargets:
    """The reference code's pseudo-targets, one word per mask from the first step on.

    The initial words are random and the same for every run. The word just tried replaces a mask's
    word when the class loss and the mask's own loss are both below the means of their histories,
    which start with the loss of the first step; the mask's history then restarts. A target that
    is tried again adds its loss to the history, better or worse.

    Tokens that are not words cannot become targets. The reference code accepts special tokens and
    then fails.
    """

    def __init__(self, words: Sequence[str], masks: int, special: Collection[str] = ()) -> None:
        """Draw the initial targets from ``words``; ``special`` words stand for no text."""
        self._allowed = [word not in special and not set(word) & set("#[./\\") for word in words]
        rng = random.Random(0)
        while True:
            self.targets = [rng.randrange(len(words)) for _ in range(masks)]
            if not any(set(words[word]) & set("#[") for word in self.targets):
                break
        self._histories: list[list[float]] = [[] for _ in range(masks)]

    def update(self, words: Words, slot_losses: Sequence[float]) -> None:
        """Record one picture: its words and the loss of each mask."""
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
        """Return the state in plain types."""
        return {
            "targets": list(self.targets),
            "histories": [list(history) for history in self._histories],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        self.targets = list(state["targets"])
        self._histories = [list(history) for history in state["histories"]]
