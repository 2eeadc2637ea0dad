"""Necessity and sufficiency over pairs, against counts by hand and against Pearl's identities."""

from typing import NamedTuple

import numpy as np
import pytest

from store.reading.causation import causation, lines


class Recorded(NamedTuple):
    control: list[float]
    treated: list[float]
    control_prompts: list[str]


def test_shares_are_those_counted_by_hand() -> None:
    # with the concept: yes yes yes no; without: no yes no no
    pairs = Recorded([0.1, 0.8, 0.3, 0.2], [0.9, 0.9, 0.5, 0.4], ["a", "a", "b", "b"])
    found = causation([pairs], 1)
    assert found is not None
    assert (found.pn.hits, found.pn.n) == (2, 3)
    assert (found.ps.hits, found.ps.n) == (2, 3)
    assert (found.pns.hits, found.pns.n) == (2, 4)
    assert found.bounds == (0.5, 0.75)
    assert found.lowest == pytest.approx(0.2) and found.highest == pytest.approx(0.45)
    assert [name for name, _ in lines(found)][:2] == ["necessity (PN)", "sufficiency (PS)"]
    assert found.json()["pns"]["value"] == 0.5


def test_a_concept_that_lowers_the_class_is_judged_by_the_decision_against_it() -> None:
    raised = Recorded([0.1, 0.8, 0.3], [0.9, 0.9, 0.2], ["a"] * 3)
    lowered = Recorded([0.9, 0.2, 0.7], [0.1, 0.1, 0.8], ["a"] * 3)
    one, other = causation([raised], 1), causation([lowered], -1)
    assert one is not None and other is not None
    assert (one.pn, one.ps, one.pns) == (other.pn, other.ps, other.pns)


def test_pns_lies_within_the_bounds_of_the_rates_and_spread_is_beyond_noise() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        control, treated = rng.random((2, 64))
        prompts = [f"p{index % 8}" for index in range(64)]
        found = causation([Recorded(control.tolist(), treated.tolist(), prompts)], 1)
        assert found is not None
        low, high = found.bounds
        assert low <= found.pns.hits / found.pns.n <= high
        assert found.pns.low <= found.pns.hits / found.pns.n <= found.pns.high
    # 8 prompts whose effects differ by a standard deviation of 0.2, noise of 0.1
    effects = rng.normal(0, 0.2, 2000)
    spreads = []
    for own in effects.reshape(-1, 8):
        changes = np.repeat(own, 16) + rng.normal(0, 0.1, 128)
        names = [f"p{index // 16}" for index in range(128)]
        found = causation([Recorded([0.0] * 128, changes.tolist(), names)], 1)
        assert found is not None and found.spread is not None
        spreads.append(found.spread**2)
    assert np.sqrt(np.mean(spreads)) == pytest.approx(0.2, abs=0.01)
    same = Recorded([0.0] * 128, rng.normal(0.3, 0.1, 128).tolist(), names)
    found = causation([same], 1)
    assert found is not None and found.spread is not None and found.spread < 0.04


def test_prompts_that_hardly_repeat_have_no_spread() -> None:
    names = ["a", "a", *(f"p{index}" for index in range(30))]
    found = causation([Recorded([0.0] * 32, [0.3] * 31 + [0.9], names)], 1)
    assert found is not None and found.spread is None
    assert not any(name == "over prompts" for name, _ in lines(found))


def test_without_pairs_nothing_is_said() -> None:
    assert causation([], 1) is None
    assert causation([Recorded([0.5], [], [])], 1) is None
    found = causation([Recorded([0.9], [0.9], ["a"])], 1)
    assert found is not None and found.ps.text == "no such pair" and found.spread is None
