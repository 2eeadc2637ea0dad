"""The evaluation of the lab's generator, by an evaluator that is trained only on scenes.

The evaluator is a small network with a logit for every visible word. Within each family of words
(subjects, backgrounds, hair, ...) its answer is the highest logit; each item is a yes or no.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
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
from dexter.seeds import picture_seeds

FAMILIES: dict[str, tuple[str, ...]] = {
    "subject": tuple(world.SUBJECTS),
    "background": world.BACKGROUNDS,
    **world.ATTRIBUTES,
}
LABELS = (*(word for words in FAMILIES.values() for word in words), *world.ITEMS)
_AT = {word: i for i, word in enumerate(LABELS)}


def family_slice(family: str) -> slice:
    words = FAMILIES[family]
    return slice(_AT[words[0]], _AT[words[-1]] + 1)


def _value(scene: Scene, family: str) -> str | None:
    return getattr(scene, family)  # type: ignore[no-any-return]


def train_evaluator(
    path: Path, samples: int = 240_000, seed: int = 7, checkpoint_seconds: float = 120
) -> Any:
    """Train the evaluator on scenes with independent factors; save a Hugging Face folder at `path`.

    In float32 on every machine, so that all measure with the same instrument.
    A killed training resumes from its last checkpoint, beside `path`, on new scenes.
    """
    checkpoint = path.with_name(f"{path.name}.pt")
    path.parent.mkdir(parents=True, exist_ok=True)
    state = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else None
    first = 0 if state is None else int(state["step"])
    torch.manual_seed(seed + first)
    rng = np.random.default_rng((seed, first) if first else seed)
    network = models.classifier(LABELS, widths=(48, 96, 128, 192))
    network = network.to(memory_format=torch.channels_last)
    batch = 64
    steps = samples // batch
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    if state is not None:
        for name, part in parts.items():
            part.load_state_dict(state[name])
    saved = time.monotonic()
    network.train()
    for step in range(first, steps):
        scenes = [
            sample_scene(rng, subjects=world.TAUGHT, item_counts=(0.2, 0.3, 0.3, 0.2))
            for _ in range(batch)
        ]
        images = augment(pixels(scenes), rng) * 2 - 1
        loss = scene_loss(network(images).logits, scenes)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(
                f"evaluator: {step * batch:,} of {samples:,} samples, loss {loss.item():.3f}",
                flush=True,
            )
        if time.monotonic() - saved >= checkpoint_seconds:
            saved = time.monotonic()
            states = {name: part.state_dict() for name, part in parts.items()}
            parallel.save({**states, "step": step + 1}, checkpoint)
    network.eval()
    # A kill during the write leaves no folder that looks finished.
    unfinished = path.with_name(f"{path.name}.unfinished")
    network.save_pretrained(unfinished)
    shutil.rmtree(path, ignore_errors=True)
    unfinished.rename(path)
    checkpoint.unlink(missing_ok=True)
    return network


def scene_loss(logits: Tensor, scenes: Sequence[Scene]) -> Tensor:
    """Return the cross-entropy of a scene's families and items; logits (B, LABELS)."""
    total = logits.new_zeros(())
    for family, words in FAMILIES.items():
        rows = [i for i, scene in enumerate(scenes) if _value(scene, family) in words]
        if rows:
            truth = torch.tensor([words.index(str(_value(scenes[i], family))) for i in rows])
            total = total + functional.cross_entropy(
                logits[rows, family_slice(family)], truth
            ) * len(rows) / len(scenes)
    seen = torch.tensor([[float(item in scene.items) for item in world.ITEMS] for scene in scenes])
    items = functional.binary_cross_entropy_with_logits(
        logits[:, -len(world.ITEMS) :], seen, reduction="sum"
    )
    return total + items / len(scenes)


def answers(network: Any, images: Tensor) -> list[dict[str, Any]]:
    """Return family -> word and "items" -> set of words for pictures (B, 3, 64, 64) in [0, 1]."""
    with torch.inference_mode():
        logits = network(images * 2 - 1).logits
    rows = []
    for row in logits:
        found: dict[str, Any] = {
            family: words[int(row[family_slice(family)].argmax())]
            for family, words in FAMILIES.items()
        }
        found["items"] = {
            i for i, v in zip(world.ITEMS, row[-len(world.ITEMS) :], strict=True) if v > 0
        }
        rows.append(found)
    return rows


def scene_accuracy(network: Any, count: int = 2000, seed: int = 99) -> dict[str, float]:
    """Return the evaluator's accuracy on held-out scenes, by family.

    Items have two rates: "items" for present and "no item" for absent ones.
    """
    rng = np.random.default_rng(seed)
    right: dict[str, list[bool]] = {}
    for start in range(0, count, 100):
        scenes = [sample_scene(rng) for _ in range(min(100, count - start))]
        for scene, found in zip(scenes, answers(network, pixels(scenes)), strict=True):
            for family, words in FAMILIES.items():
                if _value(scene, family) in words:
                    right.setdefault(family, []).append(found[family] == _value(scene, family))
            for item in world.ITEMS:
                key = "items" if item in scene.items else "no item"
                right.setdefault(key, []).append((item in found["items"]) == (item in scene.items))
    return {family: float(np.mean(values)) for family, values in right.items()}


MOST_WORDS = 6
"""The maximum number of content words per prompt when recognised words are counted."""


def mixed_prompt(word: str, length: int, rng: np.random.Generator) -> str:
    """Return a prompt of ``length`` content words: the word and others that go with it.

    The others are from one random scene. An attribute always has its subject beside it, so its
    prompts have at least 2 words.
    """
    family = next((name for name, words in FAMILIES.items() if word in words), "items")
    fixed: dict[str, Any] = {} if family == "items" else {family: word}
    if family in world.ABLE:
        fixed["subject"] = str(rng.choice(world.ABLE[family]))
    scene = sample_scene(rng, **fixed)
    # 2 items in the sky and 2 on the ground: a third would hide the first.
    of_kind = (world.SKY_ITEMS, world.GROUND_ITEMS)
    items = [str(i) for kind in of_kind for i in rng.choice(tuple(kind), 2, replace=False)]
    if word in world.ITEMS and word not in items:
        items[0 if word in world.SKY_ITEMS else 2] = word
    rng.shuffle(items)
    attributes = [w for w in (scene.age, scene.skin, scene.hair, scene.colour) if w is not None]
    subject = str(scene.subject)
    others = [w for w in (subject, scene.background, *items) if w != word]
    rng.shuffle(others)
    others += attributes
    if family in world.ABLE:
        length = max(2, length)
        others = [subject, *(w for w in others if w not in (word, subject))]
    chosen = {word, *others[: length - 1]}
    named = [w for w in (*attributes, subject) if w in chosen] if subject in chosen else []
    rest = [w for w in (word, *others) if w in chosen and w not in named and w not in attributes]
    head = named or [rest.pop(0)]
    return f"a picture of a {' '.join(head)}" + (f" with {' and '.join(rest)}" if rest else "")


def recognised(
    network: Any, generator: Any, words: Iterable[str], count: int, seed: int = 5
) -> dict[str, dict[int, float]]:
    """Return the share of pictures in which the evaluator recognises each word, by prompt length.

    The number of content words per prompt cycles from 1 to `MOST_WORDS`. count: pictures per word.
    """
    rng = np.random.default_rng(seed)
    result = {}
    for word in words:
        family = next((name for name, members in FAMILIES.items() if word in members), "items")
        lengths = [1 + i % MOST_WORDS for i in range(count)]
        prompts = [mixed_prompt(word, length, rng) for length in lengths]
        hits: dict[int, list[bool]] = {}
        for length, found in zip(lengths, seen(network, generator, prompts), strict=True):
            hit = word in found["items"] if family == "items" else found[family] == word
            hits.setdefault(length, []).append(hit)
        result[word] = {length: float(np.mean(values)) for length, values in hits.items()}
    return result


def seen(network: Any, generator: Any, prompts: Sequence[str]) -> list[dict[str, Any]]:
    """Return `answers` to a generated picture of each prompt."""
    found = []
    for start in range(0, len(prompts), 256):
        texts, seeds = (
            part[start : start + 256]
            for part in (prompts, picture_seeds("evidence", 0, len(prompts)))
        )
        images = torch.from_numpy(np.stack(list(generator.pictures(texts, seeds, 64))))
        found += answers(network, images.permute(0, 3, 1, 2).float() / 255)
    return found


Choices = dict[str, dict[str, float]]
"""What was left unsaid -> value -> share of the pictures that show it."""


def kinds(network: Any, generator: Any, count: int) -> Choices:
    """Return what is drawn for the word of a kind alone: kind -> member -> share of the pictures.

    Pictures of none of the members are missing from the sum. count: pictures a kind.
    """
    result: Choices = {}
    for kind, members in world.KINDS.items():
        family = "background" if members[0] in world.BACKGROUNDS else "subject"
        found = seen(network, generator, [f"a picture of a {kind}"] * count)
        counts = Counter(row[family] for row in found)
        result[kind] = {member: counts[member] / count for member in members}
    return result


def person_choices(network: Any, generator: Any, count: int) -> tuple[Choices, dict[str, float]]:
    """Return the shares of hair, skin, age and gender in pictures of "a person", and for each pair
    of them Cramér's V: 0 where they are independent, 1 where one decides the other.

    Age counts in adults alone.
    """
    people = []
    for row in seen(network, generator, ["a picture of a person"] * count):
        if row["subject"] in world.PEOPLE:
            gender = "female" if row["subject"] in world.FEMALE else "male"
            person = {"hair": row["hair"], "skin": row["skin"], "gender": gender}
            adult = row["subject"] in world.OLD_PEOPLE
            people.append({**person, **({"age": row["age"]} if adult else {})})
    values = {
        "hair": tuple(world.HAIR),
        "skin": tuple(world.SKIN),
        "age": world.AGES,
        "gender": ("female", "male"),
    }
    shares: Choices = {}
    for name, possible in values.items():
        counts = Counter(person[name] for person in people if name in person)
        shares[name] = {value: counts[value] / max(1, counts.total()) for value in possible}
    dependence = {
        f"{one} and {other}": cramers_v(
            [(p[one], p[other]) for p in people if one in p and other in p]
        )
        for one, other in combinations(values, 2)
    }
    return shares, dependence


def cramers_v(pairs: Sequence[tuple[str, str]]) -> float:
    """Return Cramér's V of two nominal variables; nan where either of them never varies."""
    rows, columns = (sorted(set(values)) for values in zip(*pairs, strict=True))
    table = np.zeros((len(rows), len(columns)))
    for row, column in pairs:
        table[rows.index(row), columns.index(column)] += 1
    smaller = min(table.shape) - 1
    if smaller < 1:
        return float("nan")
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / len(pairs)
    chi_squared = ((table - expected) ** 2 / expected).sum()
    return float(np.sqrt(chi_squared / len(pairs) / smaller))
