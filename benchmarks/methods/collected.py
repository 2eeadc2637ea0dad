"""A bank of pictures and real probes of each task, drawn once and kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORK = Path("build/bench-methods")
BANK = 400
"""Pictures of a task's bank: the first round of a design, as of a screening."""
SUBJECTS = 2
"""Subjects of the class, and of its rivals, that probes are of."""
NOISES = 4
"""Pictures of a probe, on the first noises of the evidence."""


@dataclass(frozen=True)
class Collected:
    """The answers to the pictures of a task, and their embeddings.

    prompts, probes: the texts of the bank's pictures, and of the probes. said: of each probe
    (subject, word), the word "" for the subject alone. texts, probe_texts: embeddings of texts;
    pictures: of the bank's pictures. odds: classifier to the log-odds of the bank's pictures (n,);
    measured: to those of the probes' pictures (probes, `NOISES`). seconds: CPU.
    """

    prompts: list[str]
    probes: list[str]
    said: list[tuple[str, str]]
    texts: NDArray[np.float64]
    pictures: NDArray[np.float64]
    probe_texts: NDArray[np.float64]
    odds: dict[str, NDArray[np.float64]]
    measured: dict[str, NDArray[np.float64]]
    seconds: float


def collected(task: str) -> Collected:
    """Return what was seen of a task; draw its pictures unless they were drawn before."""
    path = WORK / f"{task}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".part").open("wb") as file:
            np.savez_compressed(file, **_collect(task))
        path.with_suffix(".part").rename(path)
    with np.load(path) as kept:
        names = [str(name) for name in kept["names"]]
        said = [(str(subject), str(word)) for subject, word in kept["said"]]
        return Collected(
            prompts=[str(one) for one in kept["prompts"]],
            probes=[str(one) for one in kept["probes"]],
            said=said,
            texts=kept["texts"],
            pictures=kept["pictures"],
            probe_texts=kept["probe_texts"],
            odds=dict(zip(names, kept["odds"], strict=True)),
            measured=dict(zip(names, kept["measured"], strict=True)),
            seconds=float(kept["seconds"]),
        )


def _collect(task: str) -> dict[str, Any]:
    import time

    from benchmarks.screening.tasks import topic_of
    from dexter.classifiers import load_classifier
    from dexter.generation.generator import load_generator
    from dexter.generation.pictures import Pictures
    from dexter.lab.fleet import FLEET
    from dexter.reasoning.detection import load_detector
    from dexter.reasoning.topic import load_world
    from dexter.screening.concepts import lab_pool
    from dexter.screening.design import Design, Round
    from dexter.screening.screen import member
    from dexter.seeds import picture_seeds

    begun = time.process_time()
    world = load_world()
    pool, topic = lab_pool(world), topic_of(task, world)
    names = [name for name, one in FLEET.items() if one.task == task]
    members = [member(name, load_classifier(f"lab:fleet/{name}"), 0) for name in names]
    detector = load_detector("lab")
    cells = Design(pool, topic).cells(Round(0, BANK))
    bank = [cell.request for cell in cells]
    said, probes = [], []
    slots = {slot.name: slot for slot in pool.slots}
    for subject in (*topic.subjects[:SUBJECTS], *topic.rivals[:SUBJECTS]):
        noun, own = pool.split_subject(subject)
        words = {slot: (word,) for slot, word in own.items()}
        said.append((noun, ""))
        probes.append(pool.prompt(noun, words))
        for concept in pool.concepts:
            slot = slots[concept.slot]
            if concept.slot in words or (slot.only and noun.split()[-1] not in slot.only):
                continue
            for word in concept.words:
                said.append((noun, word))
                probes.append(pool.prompt(noun, {**words, slot.name: (word,)}))
    noises = picture_seeds("evidence", 0, NOISES)
    asked = [(prompt, seed) for prompt in probes for seed in noises]
    seen: dict[tuple[str, int], Any] = {}
    answers: dict[tuple[str, int], list[float]] = {}
    for chunk, images in Pictures(load_generator("lab"), "lab").stream([*bank, *asked]):
        seen.update(zip(chunk, detector.embed(images), strict=True))
        rows = np.stack([one.classify(images) for one in members], 1)
        answers.update(zip(chunk, rows.tolist(), strict=True))
    odds = np.array([answers[request] for request in bank]).T
    measured = np.array([answers[request] for request in asked]).T
    prompts = [prompt for prompt, _ in bank]
    return {
        "names": np.array(names),
        "said": np.array(said),
        "prompts": np.array(prompts),
        "probes": np.array(probes),
        "texts": np.stack([detector.text(one) for one in prompts]).astype(np.float64),
        "pictures": np.stack([seen[request] for request in bank]).astype(np.float64),
        "probe_texts": np.stack([detector.text(one) for one in probes]).astype(np.float64),
        "odds": odds,
        "measured": measured.reshape(len(names), len(probes), NOISES),
        "seconds": time.process_time() - begun,
    }
