"""Slices by other methods, on pictures whose errors lie in a known part."""

from typing import Any

import numpy as np
import pytest

from dexter.data import baselines
from dexter.data.slices import Concept, Looked


class Spots:
    """An image-text model whose concepts are single dimensions of the embedding."""

    name = "spots"

    def fit(self, concept: str, embeddings: Any) -> Any:
        """Return one of the dimensions."""
        return embeddings[:, {"sea": 0, "forest": 1, "ball": 2}[concept]]


class Item:
    """A picture with a known place."""

    def __init__(self, name: str, place: str) -> None:
        self.name, self.groups = name, {"place": place}


def planted(n: int = 400) -> Looked:
    """Two classes, each wrong where the place is the other's; a ball is anywhere."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, n)
    sea = rng.random(n) < np.where(targets == 0, 0.8, 0.2)
    wrong = (sea == (targets == 1)) & (rng.random(n) < 0.9)
    embeddings = rng.normal(0, 0.3, (n, 4)).astype(np.float32)
    embeddings[:, 0] += np.where(sea, 1, -1)
    embeddings[:, 1] += np.where(sea, -1, 1)
    features = np.stack([2 * sea - 1 + rng.normal(0, 0.1, n),
                         0.7 * (2 * targets - 1) + rng.normal(0, 0.5, n)], 1)  # fmt: skip
    items: Any = [Item(str(at), "sea" if one else "forest") for at, one in enumerate(sea)]
    return Looked(
        items, targets, np.where(wrong, 1 - targets, targets), np.where(wrong, 0.1, 0.9),
        embeddings, features.astype(np.float32), "",
    )  # fmt: skip


def test_the_mixture_finds_the_part_with_errors() -> None:
    found = baselines.mixture_slices(planted(), ["water", "land"], group="place")
    first = {one.label: one for one in reversed(found)}
    for label, place in (("water", "forest"), ("land", "sea")):
        one = first[label]
        assert one.accuracy < 0.2 and one.gap_high < 0
        assert one.judged is not None and one.judged.group == f"place = {place}"
        assert one.judged.precision_at == 1


def test_frequent_words_divide_without_errors() -> None:
    spots: Any = Spots()
    found = baselines.frequent_slices(
        planted(), ["sea", "forest"], ["water", "land"], spots, group="place"
    )
    assert all(one.judged is not None for one in found)


def test_the_planted_conjunction_is_named() -> None:
    pytest.importorskip("sliceline")
    concepts = [Concept("sea", ("sea",)), Concept("ball", ("ball",))]
    spots: Any = Spots()
    # Half of the pictures fit the last layer: of 400, its worst group would have 21.
    found = baselines.conjunctions(planted(2000), concepts, ["water", "land"], spots)
    named = {frozenset(one.attributes) for one in found[:2]}
    assert named == {frozenset({"water", "without sea"}), frozenset({"land", "with sea"})}
    assert found[0].reweighted is not None and found[0].reweighted > 0
