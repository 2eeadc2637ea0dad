"""Core concepts by WordNet against a table made by hand, and against the lab's manifest."""

import time
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.methods.rows import Row, bootstrap
from dexter.classifiers.label_lists import builtin_labels
from dexter.reasoning.topic import World, load_world, make_topic
from dexter.reasoning.wordnet import load_wordnet

TABLE = Path(__file__).parent / "core_words.yaml"


def measure() -> list[Row]:
    """Return the rows on ImageNet's classes and on the lab's; none without WordNet."""
    begun = time.process_time()
    if load_wordnet() is None:
        return []
    by_hand, of_lab = _imagenet(), _lab()
    names = list(dict.fromkeys(one for one, *_ in by_hand))
    # The rules were chosen on every other class of the table.
    chosen, held_out = ([o for o in by_hand if o[0] in names[at::2]] for at in (0, 1))
    seconds = time.process_time() - begun
    rows = []
    for name, asked in (
        ("ImageNet, held out", held_out),
        ("ImageNet, tuned on", chosen),
        ("lab", of_lab),
    ):
        classes = [one for one, *_ in asked]
        found, today, truth = (np.array([one[at] for one in asked]) for at in (2, 3, 4))
        every = np.arange(len(asked))
        low, high = bootstrap(classes, partial(_balanced, found, truth))
        wrong = [f"{one} {word}" for one, word, say, _, is_core in asked if say != is_core]
        rows.append(
            Row(
                f"core by WordNet, {name}",
                "mean share right of core words and of others",
                _balanced(found, truth, every),
                low,
                high,
                len(set(classes)),
                "classes",
                "the words of the class name, as without WordNet",
                _balanced(today, truth, every),
                seconds,
                f"core words found {found[truth].mean():.2f}, others left alone "
                f"{1 - found[~truth].mean():.2f}; wrong: {', '.join(wrong[:40])}",
            )
        )
    return rows


def _balanced(found: NDArray[np.bool_], truth: NDArray[np.bool_], rows: NDArray[np.int64]) -> float:
    said, right = found[rows], truth[rows]
    return float(0.5 * said[right].mean() + 0.5 * (1 - said[~right].mean()))


def _imagenet() -> list[tuple[str, str, bool, bool, bool]]:
    """Return class, word, WordNet's answer, the answer without it, and the table's."""
    labels = builtin_labels("imagenet")
    asked = []
    for name, words in yaml.safe_load(TABLE.read_text()).items():
        index = next(
            at for at, label in enumerate(labels) if name in [n.strip() for n in label.split(",")]
        )
        topic = make_topic(labels, index)
        without = make_topic(labels, index, core=[""])
        for kind, is_core in (("core", True), ("other", False)):
            for word in words[kind]:
                asked.append((name, word, topic.is_core(word), without.is_core(word), is_core))
    return asked


def _lab() -> list[tuple[str, str, bool, bool, bool]]:
    world = load_world()
    labels = [label for label in world.core if label != "other"]
    asked = []
    for index, label in enumerate(labels):
        by_hand = make_topic(labels, index, world=world)
        by_wordnet = make_topic(labels, index, world=World())
        without = make_topic(labels, index, world=World(), core=[""])
        for word in world.words():
            found, today = by_wordnet.is_core(word), without.is_core(word)
            asked.append((label, word, found, today, by_hand.is_core(word)))
    return asked
