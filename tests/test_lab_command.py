"""The lab as one looks at it: its words, its classes, its commands and its documentation."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dexter import checkpoints
from dexter.lab import shipped, world
from dexter.lab.classifiers import RECIPES
from dexter.lab.fleet import FLEET, TASKS, families

REPOSITORY = Path(__file__).parent.parent
LAB = checkpoints.find("lab")

# --- what the classes of the lab's classifiers are ------------------------------------------------


LABEL_SETS = {task: TASKS[task].labels for task in TASKS} | {
    recipe.name: recipe.labels for recipe in RECIPES.values()
}


@pytest.mark.parametrize("name", LABEL_SETS)
def test_every_class_of_the_lab_s_classifiers_has_subjects_rivals_and_core_words(name: str) -> None:
    from dexter.reasoning.world import load_world, make_topic, noun

    manifest = load_world(root=LAB.parent)
    labels = LABEL_SETS[name]
    sayable = set(world.CONTENT_WORDS)
    for index, label in enumerate(labels):
        topic = make_topic(labels, index, world=manifest)
        for part in (topic.subjects, topic.rivals):
            assert part
            assert {word for subject in part for word in subject.split()} <= sayable
        assert not set(topic.subjects) & set(topic.rivals)
        assert label == "other" or manifest.core[label]
        assert all(topic.is_core(noun(s)) or topic.is_core(s) for s in topic.subjects)


@pytest.mark.parametrize("name", TASKS)
def test_what_is_planted_can_be_asked_about_the_target(name: str) -> None:
    """It is no core word of the target, and its placebos leave it where it is."""
    from dexter.reasoning.claims import Candidate
    from dexter.reasoning.evidence import placebo_words
    from dexter.reasoning.world import load_world, make_topic

    task = TASKS[name]
    manifest = load_world(root=LAB.parent)
    topic = make_topic(task.labels, 0, world=manifest)
    for family in task.core:  # what the fleet calls core is so for the evidence too
        assert all(topic.is_core(word) for word in families()[family][1])
    for member in FLEET.values():
        if member.task != name or member.plant in (None, world.MARK):
            continue
        word = families()[member.plant][1][0]
        assert not topic.is_core(word)
        slot = manifest.slot(word)
        placebos = placebo_words(Candidate(word, slot), topic, frozenset({word}))
        assert len(placebos) == 20
        slots = [slot for slot, _ in placebos]
        assert slot == "item" or slot not in slots
        assert slots.count("background") <= 1


def test_the_shipped_manifest_is_of_this_world() -> None:
    assert json.loads((LAB / "world.json").read_text()) == json.loads(json.dumps(world.manifest()))
