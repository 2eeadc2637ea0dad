"""Predictiveness on fresh prompts, for classifiers whose dependence is known."""

import numpy as np
import pytest

from dexter.reasoning.topic import Topic, World
from dexter.screening.concepts import parse_pool
from dexter.screening.design import MOST_PICTURES, Design, Round
from dexter.screening.predictiveness import fresh_cells, predictiveness

POOL = parse_pool(
    """
articles: a
slots:
  place:
    position: after
    concepts: [sea, lake, wood, town, hill]
  beside:
    exclusive: false
    position: beside
    most: 2
    concepts: [ball, sun, tree, gift]
""",
    "test",
)
TOPIC = Topic("duck", ("duck",), ("crow",), frozenset(), frozenset({"duck"}), World())
DESIGN = Design(POOL, TOPIC)
CELLS = fresh_cells(DESIGN, {"sea", "ball"})


def share(name, direction, effect, noise=0.1):
    """The share for a classifier on which this concept has an effect."""
    rng = np.random.default_rng(0)
    p = {
        cell.request: effect * any(name in words for words in cell.said.values())
        + rng.normal(0, noise)
        for cell in CELLS
    }
    concept = next(concept for concept in POOL.concepts if concept.name == name)
    return predictiveness(CELLS, p, concept, direction, exclusive=concept.slot == "place")


def test_no_screening_sees_the_fresh_pictures():
    last = DESIGN.cells(Round(MOST_PICTURES - 4, 4))
    assert max(cell.seed for cell in last) < min(cell.seed for cell in CELLS)
    following = Design(POOL, TOPIC, seed=1).cells(Round(0, 4))
    assert max(cell.seed for cell in CELLS) < min(cell.seed for cell in following)


@pytest.mark.parametrize(("name", "direction"), [("sea", 1), ("ball", -1)])
def test_the_order_is_right_for_what_the_classifier_depends_on(name, direction):
    found = share(name, direction, 0.5 * direction)
    assert found.n >= 30 and found.value > 0.95 and found.low > 0.85
    nothing = share(name, direction, 0.0)
    assert nothing.low < 0.5 < nothing.high
    assert share(name, -direction, 0.5 * direction).value < 0.05


def test_equal_scores_are_in_no_order():
    assert share("sea", 1, 0.0, noise=0.0).hits == 0
