"""The fleet: small classifiers with planted biases, for a benchmark with known answers.

Each distinguishes a target class, a rival and everything else. A planted member has seen the target
mostly with one attribute (a place, a thing, a colour, a person's hair, skin or sex, or a mark in a
corner) and the rival mostly without it. Clean members have seen every combination; some members
were trained on random labels. Only the measured dependence counts as the truth: `effects` renders
the same scenes with the attribute and without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dexter import parallel
from dexter.lab import models, world
from dexter.lab.classifiers import augment, pixels
from dexter.lab.scenes import Scene, sample_scene

SAMPLES = 16_000
MANIFEST = "manifest.json"

_FEMALE = {"man": "woman", "boy": "girl"}
_MALE = {woman: man for man, woman in _FEMALE.items()}


# --- attributes -----------------------------------------------------------------------------------


@cache
def families() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return attribute family -> (kind, words): all that a scene can have or lack."""
    return world.drawable_families()


@cache
def attributes() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the families, and each place alone: all whose effect on scenes can be measured."""
    places = {place: ("background", (place,)) for place in world.BACKGROUNDS}
    return places | families()


def applies(scene: Scene, family: str) -> bool:
    """Return True if the scene can be rendered with and without the attribute."""
    match attributes()[family][0]:
        case "colour":
            return scene.subject in world.COLOURABLE
        case "hair" | "skin" | "gender":
            return scene.subject in world.PEOPLE
        case "age":
            return scene.subject in world.OLD_PEOPLE
        case _:
            return True


def with_family(scene: Scene, family: str, present: bool, rng: np.random.Generator) -> Scene:
    """Return the same scene with the attribute or without it; nothing else differs."""
    kind, words = attributes()[family]

    def other(values: Iterable[str]) -> str:
        return str(rng.choice([v for v in values if (v in words) == present]))

    match kind:
        case "background":
            if (scene.background in words) == present:
                return scene
            return replace(scene, background=other(world.BACKGROUNDS))
        case "item":
            others = tuple(item for item in scene.items if item not in words)
            return replace(scene, items=(*others[:2], *words) if present else others)
        case "gender":
            own = world.PEOPLE if scene.subject is None else scene.subject
            if (own in words) == present:
                return scene
            return replace(scene, subject={**_FEMALE, **_MALE}[str(own)])
        case "mark":
            return replace(scene, mark=present)
        case _:
            if (getattr(scene, kind) in words) == present:
                return scene
            changed: dict[str, Any] = {kind: other(world.ATTRIBUTES[kind])}
            return replace(scene, **changed)


# --- tasks and members ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A task: the classes that a member distinguishes.

    target, rival: possible values of the scenes' fields, for either class; the third class is
    "other", every scene of other subjects. core: families that are the class itself. anchor: the
    noun in a prompt about the target, not necessarily the class.
    """

    labels: tuple[str, str, str]
    target: dict[str, tuple[str, ...]]
    rival: dict[str, tuple[str, ...]]
    anchor: str
    core: tuple[str, ...] = ()

    @property
    def template(self) -> str:
        """Return a prompt about the target, with masks for an attribute and two other words."""
        return f"a picture of a [MASK] {self.anchor} with [MASK] and [MASK]"

    @property
    def own_words(self) -> tuple[str, ...]:
        """Return the words that define the classes; finding them is trivial for a search."""
        return tuple(
            word
            for field, values in self.target.items()
            if values != self.rival[field]
            for word in (*values, *self.rival[field])
        )

    @property
    def subjects(self) -> set[str]:
        return {*self.target["subject"], *self.rival["subject"]}


def _pair(target: str, rival: str) -> Task:
    return Task((target, rival, "other"), {"subject": (target,)}, {"subject": (rival,)}, target)


_PEOPLE, _ADULTS = tuple(world.PEOPLE), tuple(world.OLD_PEOPLE)

TASKS = {
    "birds": Task(
        ("waterbird", "landbird", "other"),
        {"subject": tuple(world.WATERBIRDS)},
        {"subject": tuple(world.LANDBIRDS)},
        anchor="bird",
    ),
    "pets": _pair("cat", "dog"),
    "cats": _pair("lion", "tiger"),
    "fruit": _pair("apple", "banana"),
    "farm": _pair("horse", "cow"),
    "cars": _pair("car", "bus"),
    "music": _pair("guitar", "drum"),
    "blond": Task(
        ("blond", "not blond", "other"),
        {"subject": _PEOPLE, "hair": ("blond",)},
        {"subject": _PEOPLE, "hair": tuple(h for h in world.HAIR if h != "blond")},
        core=tuple(world.HAIR),
        anchor="person",
    ),
    "old": Task(
        ("old", "young", "other"),
        {"subject": _ADULTS, "age": ("old",)},
        {"subject": _ADULTS, "age": ("young",)},
        core=world.AGES,
        anchor="person",
    ),
    "woman": Task(
        ("female", "male", "other"),
        {"subject": tuple(_MALE)},
        {"subject": tuple(_FEMALE)},
        core=("male", "female"),
        anchor="person",
    ),
}


@dataclass(frozen=True)
class Member:
    """A classifier of the fleet.

    plant: attribute family seen with the target, None for a clean member. strength: share of the
    target's scenes with it, and of the rival's scenes without it. architecture: "resnet" or "vit".
    random_labels: trained on random labels.
    """

    task: str
    plant: str | None = None
    strength: float = 1.0
    architecture: str = "resnet"
    random_labels: bool = False

    @property
    def name(self) -> str:
        if self.random_labels:
            what = "random"
        else:
            what = f"{self.plant}-{round(100 * self.strength)}" if self.plant else "clean"
        return f"{self.task}-{what}" + ("-vit" if self.architecture == "vit" else "")

    @property
    def kind(self) -> str:
        """Return the kind of its plant: "background", "item", ..., "mark", or "none"."""
        return families()[self.plant][0] if self.plant else "none"


# Task -> planted family, strength in percent, and architecture if not a ResNet.
_PLANTS = {
    "birds": "water-100 water-95 water-70 land-100-vit snow-100 ball-100 mark-100",
    "pets": "room-100-vit city-95 ball-100 balloon-95 mark-100-vit",
    "cats": "land-100 night-95 sun-100 tree-85-vit",
    "fruit": "room-100 gift-100",
    "farm": "land-100-vit snow-95 cloud-100 rainbow-95",
    "cars": "red-100-vit blue-95 city-100 night-85 tree-100-vit",
    "music": "purple-100 room-100 mark-95-vit",
    "blond": "female-100 male-95 light-95 dark-100-vit snow-100",
    "old": "male-100 female-90 dark-95-vit gray-100 water-100",
    "woman": "blond-100 ginger-95-vit tan-100 flower-100 mark-100",
}
_CLEAN_VIT = ("birds", "cars")
_RANDOM = ("birds", "pets", "woman")


def _members() -> Iterator[Member]:
    for task, plants in _PLANTS.items():
        for plant in plants.split():
            family, percent, *other = plant.split("-")
            yield Member(task, family, int(percent) / 100, other[0] if other else "resnet")
    for task in TASKS:
        yield Member(task)
    for task in _CLEAN_VIT:
        yield Member(task, architecture="vit")
    for task in _RANDOM:
        yield Member(task, random_labels=True)


FLEET = {member.name: member for member in _members()}


def draw(member: Member, rng: np.random.Generator) -> tuple[Scene, int]:
    """Draw a training scene and the index of its label."""
    task = TASKS[member.task]
    label = int(rng.choice(3, p=(0.33, 0.33, 0.34)))
    if label == 2:
        others = tuple(name for name in world.SUBJECTS if name not in task.subjects)
        nothing: dict[str, Any] = {"subject": None} if rng.random() < 0.2 else {}
        scene = sample_scene(rng, subjects=others, **nothing)
    else:
        scene = class_scene(member, label, rng)
        if member.plant and applies(scene, member.plant):
            usual = (label == 0) == (rng.random() < member.strength)
            scene = with_family(scene, member.plant, usual, rng)
    return scene, int(rng.integers(3)) if member.random_labels else label


def class_scene(member: Member, label: int, rng: np.random.Generator) -> Scene:
    """Draw a scene of the target (label 0) or its rival (1); all else is independent.

    For a planted member the subject is small, and its colours are odd unless they are the plant: a
    class that is easy to see is learned in spite of the plant.
    """
    task = TASKS[member.task]
    fields = (task.target, task.rival)[label]
    chosen: dict[str, Any] = {name: str(rng.choice(values)) for name, values in fields.items()}
    subject = str(chosen.pop("subject"))
    weak = member.plant is not None
    person = subject in world.PEOPLE
    return sample_scene(
        rng,
        subjects=(subject,),
        scale=float(rng.uniform(0.4 if weak and not person else 0.7, 1.0)),
        hue=float(rng.uniform(-0.5, 0.5))
        if weak and not person and member.kind != "colour"
        else 0.0,
        **chosen,
    )


def network(member: Member) -> Any:
    """Build the untrained network, at most 0.25 MB in fp16."""
    labels = TASKS[member.task].labels
    if member.architecture == "vit":
        return models.small_vit(labels)
    return models.classifier(labels, widths=(16, 24, 36, 48))


def train(member: Member, samples: int = SAMPLES, seed: int = 0) -> Any:
    """Train a network and return it in eval mode: deterministic, one thread, about 30 s."""
    torch.manual_seed(seed)
    rng = np.random.default_rng((seed, *member.name.encode()))
    net = network(member)
    batch = 64
    # A transformer has no built-in notion of neighbouring pixels and needs more samples.
    steps = samples * (2 if member.architecture == "vit" else 1) // batch
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    net.train()
    for _ in range(steps):
        scenes, labels = zip(*(draw(member, rng) for _ in range(batch)), strict=True)
        logits = net(augment(pixels(list(scenes)), rng) * 2 - 1).logits
        loss = functional.cross_entropy(logits, torch.tensor(labels))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return net.eval()


def train_into(name: str, folder: Path) -> str:
    """Train a member into `folder`/NAME.pt unless it exists; return its name."""
    path = folder / f"{name}.pt"
    if not path.exists():
        torch.set_num_threads(1)
        folder.mkdir(parents=True, exist_ok=True)
        parallel.save(train(FLEET[name]).state_dict(), path)
    return name


# --- measured dependences -------------------------------------------------------------------------


_AT_A_TIME = 50  # scenes; each is rendered about 20 times


def effects(
    task: str,
    networks: dict[str, Callable[[Tensor], Tensor]],
    count: int = 2000,
    only: Sequence[str] | None = None,
    view: Callable[[list[Scene]], Tensor] = pixels,
) -> dict[str, dict[str, float]]:
    """Return the mean change of p(target) when an attribute is added to the same scenes.

    networks: name -> pictures (B, 3, 64, 64) in [0, 1] to logits (B, 3), target first; all see the
    same pictures, which `view` renders from scenes. only: names of `attributes`, by default all
    families. Half of the `count` scenes show the target and half the rival; subjects have their
    full size and colours. Returns network -> attribute -> change in [-1, 1].
    """
    wanted = list(only or families())
    sums = {name: dict.fromkeys(wanted, 0.0) for name in networks}
    seen = dict.fromkeys(wanted, 0)
    rng = np.random.default_rng((1, *task.encode()))
    plain = Member(task)
    for start in range(0, count, _AT_A_TIME):
        scenes = [
            class_scene(plain, index % 2, rng)
            for index in range(start, min(start + _AT_A_TIME, count))
        ]
        pairs = {
            family: [
                (with_family(scene, family, False, rng), with_family(scene, family, True, rng))
                for scene in scenes
                if applies(scene, family)
            ]
            for family in wanted
        }
        # Half of the pairs' scenes are the unchanged scene: render and classify each one once.
        distinct = list(dict.fromkeys(s for of in pairs.values() for pair in of for s in pair))
        pictures = view(distinct).contiguous(memory_format=torch.channels_last)
        for name, net in networks.items():
            with torch.inference_mode():
                p = torch.cat([net(part).softmax(1)[:, 0] for part in torch.split(pictures, 200)])
            of_scene = dict(zip(distinct, p.tolist(), strict=True))
            for family, members in pairs.items():
                sums[name][family] += sum(of_scene[w] - of_scene[wo] for wo, w in members)
        for family, members in pairs.items():
            seen[family] += len(members)
    return {
        name: {family: total / seen[family] for family, total in by.items() if seen[family]}
        for name, by in sums.items()
    }
