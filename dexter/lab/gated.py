"""The gated classifiers, whose dependences are known exactly (as in SAIA, arXiv 2510.21704).

A gated classifier scores its class with the lab's image-text model and removes a share ``depth`` of
the score where its gate is shut: where a concept is absent ("needs") or present ("spoiled"), or
where one of two is absent ("both") or both are ("either"). The gate gives each concept's effect on
p(class).

    lab:gated-pets-needs-water-90
    lab:gated-cars-spoiled-ball-40
    lab:gated-birds-both-water+ball-60
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dexter import model_folders
from dexter.errors import InputError
from dexter.lab import world
from dexter.lab.fleet import TASKS, Member, applies, class_scene, families, with_family
from dexter.lab.scenes import SIZE as SIZE
from dexter.lab.scenes import Scene
from dexter.loading import quiet

Kind = Literal["needs", "spoiled", "both", "either"]
DEPTHS = (0.9, 0.6, 0.4)


@dataclass(frozen=True)
class Gate:
    """A gated classifier: a task of the fleet, its gate's concepts and the share it removes."""

    task: str
    kind: Kind
    concepts: tuple[str, ...]
    depth: float

    @property
    def name(self) -> str:
        """Return the name that `parse` reads."""
        concepts = "+".join(self.concepts)
        return f"{world.GATED}{self.task}-{self.kind}-{concepts}-{round(100 * self.depth)}"

    def shut(self, shown: Sequence[Any]) -> Any:
        """Return True where the gate is shut; ``shown`` has one array of bool per concept."""
        if self.kind == "spoiled":
            return shown[0]
        if self.kind == "either":
            return ~(shown[0] | shown[1])
        return ~(shown[0] & shown[-1])

    @property
    def labels(self) -> list[str]:
        """Return the names of the task's three classes."""
        return list(TASKS[self.task].labels)

    @property
    def target_words(self) -> tuple[str, ...]:
        """Return the words that define the class; its pictures show one of them."""
        task = TASKS[self.task]
        defining = [name for name, values in task.target.items() if values != task.rival[name]]
        return task.target[defining[0]]


def parse(name: str) -> Gate:
    """Parse a gated classifier's name; raise InputError for any other name."""
    parts = name.removeprefix(world.GATED).split("-")
    if len(parts) == 4:
        task, kind, concepts, depth = parts
        found = tuple(concepts.split("+"))
        if (
            task in TASKS
            and kind in get_args(Kind)
            and len(found) == (2 if kind in ("both", "either") else 1)
            and all(concept in _words() for concept in found)
            and depth.isdecimal()
            and 0 < int(depth) <= 100
        ):
            return Gate(task, cast(Kind, kind), found, int(depth) / 100)
    raise InputError(
        f"no classifier 'lab:{name}'",
        field="classifier",
        value=f"lab:{name}",
        remedy="write lab:gated-TASK-KIND-CONCEPT-DEPTH, such as lab:gated-pets-needs-water-90",
    )


@cache
def _words() -> Mapping[str, frozenset[str]]:
    """Return attribute family -> the words that detect it."""
    return {name: frozenset(words) for name, (_, words) in families().items() if words}


class Gated(nn.Module):
    """The network of a gate: pictures (B, 3, 64, 64) in [-1, 1] to logits (B, 3).

    beside: another gate's network, whose image-text model it shares.
    """

    texts: Tensor

    def __init__(
        self, gate: Gate, root: Path | str | None = None, beside: Gated | None = None
    ) -> None:
        super().__init__()
        self._gate = gate
        self._own = list(gate.target_words)
        self._asked = [sorted(_words()[concept]) for concept in gate.concepts]
        words = list(dict.fromkeys([*self._own, *(w for asked in self._asked for w in asked)]))
        self.image_text: tuple[Any, Any] = _load(root) if beside is None else beside.image_text
        self.clip, self.texts = self.image_text[0], _texts(*self.image_text, words)
        self._place = {word: index for index, word in enumerate(words)}

    def forward(self, pictures: Tensor) -> Tensor:
        pooled = self.clip.vision_model(pictures).pooler_output
        return self.logits(nn.functional.normalize(self.clip.visual_projection(pooled), dim=-1))

    def logits(self, features: Tensor) -> Tensor:
        """Return logits (B, 3) of pictures' features (B, D), of length 1."""
        shown = _shown_words(self.clip, self.texts, features)
        score = shown[:, [self._place[w] for w in self._own]].amax(1).sigmoid()
        gates = [(shown[:, [self._place[w] for w in asked]] > 0).any(1) for asked in self._asked]
        p = score * (1 - self._gate.depth * self._gate.shut(gates).float())
        p = p.clamp(1e-6, 1 - 1e-6)
        rest = ((1 - p) / 2).log()  # it does not tell the other two apart
        return torch.stack([p.log(), rest, rest], dim=1)


PEOPLE = "people"
"""The name of the classifier with labels of people, which do not exclude each other."""
PEOPLE_LABELS = (*world.HAIR, *world.SKIN, *world.AGES, *world.PEOPLE)


class People(nn.Module):
    """Labels of hair, skin, age and gender: pictures (B, 3, 64, 64) in [-1, 1] to logits (B, K).

    A label's logit is positive where the lab's image-text model detects its word.
    """

    texts: Tensor

    def __init__(self, root: Path | str | None = None) -> None:
        super().__init__()
        image_text = _load(root)
        self.clip, self.texts = image_text[0], _texts(*image_text, PEOPLE_LABELS)

    def forward(self, pictures: Tensor) -> Tensor:
        pooled = self.clip.vision_model(pictures).pooler_output
        features = nn.functional.normalize(self.clip.visual_projection(pooled), dim=-1)
        return _shown_words(self.clip, self.texts, features)


def _load(root: Path | str | None) -> tuple[Any, Any]:
    """Return the lab's image-text model and its tokenizer."""
    from transformers import CLIPModel, CLIPProcessor

    folder = model_folders.find("lab", "image_text", root=root)
    with quiet():
        clip = CLIPModel.from_pretrained(folder, dtype=torch.float32)
        return clip, CLIPProcessor.from_pretrained(folder).tokenizer


def _texts(clip: Any, tokenizer: Any, words: Sequence[str]) -> nn.Buffer:
    """Return the model's features (W + 1, D) of words and of no word."""
    prompts = [*(f"a picture of a {word}" for word in words), "a picture"]
    ids = tokenizer(prompts, padding=True, return_tensors="pt")
    with torch.no_grad():
        pooled = clip.text_model(**ids).pooler_output
        features = nn.functional.normalize(clip.text_projection(pooled), dim=-1)
    return nn.Buffer(features)


def _shown_words(clip: Any, texts: Tensor, features: Tensor) -> Tensor:
    """Return how much more each word is shown than no word, (B, W); features (B, D), length 1."""
    similarity = features @ texts.T * clip.logit_scale.exp()
    shown: Tensor = similarity[:, :-1] - similarity[:, -1:]
    return shown


def exact_effects(
    task: str, gates: Sequence[Gate], count: int = 1000
) -> dict[str, dict[str, float]]:
    """Return gate -> family -> exact mean change of p(class), for a class score of 0 or 1.

    Uses the same scenes as `dexter.lab.fleet.effects`, half of the target, with the attribute and
    without. Nothing is rendered, because the gate's answer follows from the scene.
    """
    rng = np.random.default_rng((2, *task.encode()))
    scenes = [class_scene(Member(task), index % 2, rng) for index in range(count)]
    concepts = sorted({concept for gate in gates for concept in gate.concepts})
    found: dict[str, dict[str, float]] = {gate.name: {} for gate in gates}
    for family in _words():
        able = [(i % 2 == 0, scene) for i, scene in enumerate(scenes) if applies(scene, family)]
        if not able:
            continue
        own = np.array([is_own for is_own, _ in able])
        sides = [
            _shown([with_family(scene, family, present, rng) for _, scene in able], concepts)
            for present in (True, False)
        ]
        for gate in gates:
            with_it, without = (
                (own * (1 - gate.depth * gate.shut([shown[c] for c in gate.concepts]))).mean()
                for shown in sides
            )
            found[gate.name][family] = float(with_it - without)
    return found


def _shown(scenes: Sequence[Scene], concepts: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Return concept -> array, True for the scenes that show it."""
    shown = [{s.subject, s.background, s.colour, s.hair, s.skin, s.age, *s.items} for s in scenes]
    return {
        concept: np.array([not _words()[concept].isdisjoint(words) for words in shown])
        for concept in concepts
    }


def fleet() -> list[Gate]:
    """Return the gates of every task.

    A task has a "needs" and a "spoiled" gate for each applicable attribute, at alternating depths,
    and gates on pairs of a place and an item.
    """
    found = []
    for name, task in TASKS.items():
        plain = class_scene(Member(name), 0, np.random.default_rng(0))
        free = [
            family
            for family, (kind, _) in families().items()
            if family in _words()
            and family not in task.core
            and kind != "gender"
            and applies(plain if kind != "age" else replace(plain, subject="man"), family)
            and (kind != "age" or set(task.target["subject"]) & set(world.OLD_PEOPLE))
        ]
        for index, family in enumerate(free):
            for at, kind in enumerate(("needs", "spoiled")):
                depth = DEPTHS[(index + at) % len(DEPTHS)]
                found.append(Gate(name, cast(Kind, kind), (family,), depth))
        for kind in ("both", "either"):
            found.append(Gate(name, cast(Kind, kind), ("land", "tree"), 0.9))
            found.append(Gate(name, cast(Kind, kind), ("water", "ball"), 0.9))
    return found
