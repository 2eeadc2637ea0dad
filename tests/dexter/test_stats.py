"""The statistics of the evidence: known answers, and properties that must hold for any data."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dexter.stats import (
    LEVEL,
    LOOKS,
    bootstrap_interval,
    clopper_pearson,
    holm,
    look_corrected,
    newcombe_interval,
    placebo_threshold,
    sign_flip_p,
    swap_threshold,
    t_quantile,
    wilson_interval,
)

differences = st.lists(st.floats(-1, 1), min_size=1, max_size=40)
some = settings(max_examples=40, deadline=None)


def exact_p(values: list[float]) -> float:
    """By all 2**n flips."""
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(values))
    ]
    slack = 1e-9 * sum(map(abs, values))
    return float(np.mean([s >= abs(sum(values)) - slack for s in sums]))


def test_the_looks_are_those_of_the_protocol() -> None:
    assert LOOKS == (32, 64, 128)
    assert pytest.approx(1 - 0.05 / 3) == LEVEL


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9))
@some
def test_sign_flips_agree_with_all_of_them(values: list[float]) -> None:
    exact = exact_p(values)
    assert sign_flip_p(values) == pytest.approx(exact, abs=4 * math.sqrt(0.25 / 20_000) + 1e-4)


@given(differences)
@example([-1.0, -1.1e-9])
@some
def test_sign_flips_know_no_side_no_scale_and_no_zero(values: list[float]) -> None:
    assume(all(4 * (v / 4) == v for v in values))  # not so of the smallest numbers there are
    p = sign_flip_p(values, 2000)
    assert 1 / 2001 <= p <= 1
    assert sign_flip_p([-v for v in values], 2000) == p
    assert sign_flip_p([v / 4 for v in values], 2000) == p


def test_the_smallest_p_is_one_in_all_flips_and_one() -> None:
    assert sign_flip_p([0.5] * 64) == 1 / 20_001
    assert sign_flip_p([0.0] * 64) == 1
    assert sign_flip_p([]) == 1


def test_under_no_effect_p_is_small_as_rarely_as_it_says() -> None:
    rng = np.random.default_rng(1)
    p = [sign_flip_p(rng.uniform(-1, 1, 32), 999) for _ in range(600)]
    for level in (0.05, 0.2, 0.5):
        expected = level + 3 * math.sqrt(level * (1 - level) / len(p))
        assert np.mean(np.array(p) <= level) <= expected


def test_holm_by_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.5]) == [0.5]


@given(st.lists(st.floats(0, 1), max_size=12))
@some
def test_holm_lies_between_the_p_and_bonferroni_and_keeps_their_order(p: list[float]) -> None:
    corrected = holm(p)
    for before, after in zip(p, corrected, strict=True):
        assert before <= after <= min(1, before * len(p)) + 1e-12
    ranked = sorted(zip(p, corrected, strict=True))
    assert [c for _, c in ranked] == sorted(corrected)


def test_looks_are_paid_for() -> None:
    assert look_corrected(0.01) == pytest.approx(0.03)
    assert look_corrected(0.5) == 1


@given(differences)
@some
def test_bootstrap_intervals_hold_the_mean_and_are_never_a_point(values: list[float]) -> None:
    low, high = bootstrap_interval(values, resamples=500)
    assert -1 - 1e-9 <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= 1 + 1e-9
    assert low < high


def test_bootstrap_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        low, high = bootstrap_interval(rng.normal(0.2, 0.3, 64).clip(-1, 1), resamples=1000)
        covered += low <= 0.2 <= high
    assert covered / 400 >= LEVEL - 0.03


def test_alike_differences_leave_room_for_what_was_missed() -> None:
    widths = []
    for n in LOOKS:
        low, high = bootstrap_interval([0.0] * n)
        assert low == -high
        # A flip of all probability that happens this often is missed by n pairs in 1 of 120 cases.
        assert (1 - high) ** n == pytest.approx((1 - LEVEL) / 2)
        widths.append(high)
    assert widths[0] > 0.1 > widths[1] > widths[2]


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    # R: binom.test(hits, n)$conf.int
    [(0, 10, 0, 0.3084971), (3, 10, 0.06673951, 0.6524529), (10, 10, 0.6915029, 1)],
)
def test_clopper_pearson_by_known_values(hits: int, n: int, low: float, high: float) -> None:
    assert clopper_pearson(hits, n, 0.95) == pytest.approx((low, high), abs=1e-6)


@given(st.integers(1, 128), st.data())
@some
def test_intervals_of_proportions(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    for low, high in (clopper_pearson(hits, n), wilson_interval(hits, n)):
        assert 0 <= low <= hits / n <= high <= 1
        assert low < high
    low, high = clopper_pearson(hits, n)
    other_low, other_high = clopper_pearson(n - hits, n)
    assert (low, high) == pytest.approx((1 - other_high, 1 - other_low))


def test_wilson_by_known_values() -> None:
    assert wilson_interval(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson_interval(0, 0) == clopper_pearson(0, 0) == (0, 1)


def test_newcombe_by_the_papers_example() -> None:
    # Newcombe 1998, table II, (a), method 10: 56/70 - 48/80.
    assert newcombe_interval(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert newcombe_interval(1, 2, 0, 0) == (-1, 1)


def test_the_placebos_threshold() -> None:
    assert placebo_threshold([]) is None
    assert placebo_threshold([-0.2] * 20) == pytest.approx(0.2)
    ramp = [(-1) ** k * k / 19 for k in range(20)]
    assert placebo_threshold(ramp) == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("probability", "freedom", "quantile"),
    [
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 3, 3.182),
        (0.995, 4, 4.604),
        (0.975, 9, 2.262),
    ],
)
def test_quantiles_are_those_of_student(probability: float, freedom: int, quantile: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(quantile, abs=1e-3)


def test_a_swap_must_exceed_what_the_other_levels_of_its_slot_predict() -> None:
    others = [0.30, 0.34, 0.28, 0.32, 0.36]
    interval = 2.776 * np.std(others, ddof=1) * math.sqrt(1 + 1 / 5)
    assert swap_threshold(0.31, others) == pytest.approx(interval, abs=1e-4)
    # Whatever the concept under test does, it does not raise the bar for itself.
    assert swap_threshold(0.9, others) == pytest.approx(interval, abs=1e-4)


def test_a_concept_that_does_not_matter_seldom_exceeds_its_threshold() -> None:
    """Once in 14 times among 6 levels, where once in 20 is aimed at."""
    rng = np.random.default_rng(0)
    exceeds = 0
    for _ in range(2000):
        tested, *others = rng.normal(size=6)
        threshold = swap_threshold(tested, others)
        assert threshold is not None
        exceeds += abs(tested - np.mean(others)) > threshold
    assert 0.05 < exceeds / 2000 < 0.09


def test_levels_that_are_effects_are_no_placebos() -> None:
    quiet = [0.50, 0.52, 0.49]
    one, two = swap_threshold(0.2, [0.9, 0.51, *quiet]), swap_threshold(0.2, [0.2, 0.51, *quiet])
    assert one is not None
    assert two is not None
    assert max(one, two) < 0.1
    # Where every swap matters none of them stands out.
    wide = swap_threshold(0.2, [0.9, 0.1, 0.35, 0.7, 0.5])
    assert wide is not None
    assert wide > 0.5


def test_few_levels_borrow_from_other_slots() -> None:
    assert swap_threshold(0.5, [0.9]) is None
    assert swap_threshold(0.5, [0.1, 0.9]) is None
    borrowed = swap_threshold(0.5, [0.1, 0.9], [[0.4, 0.42, 0.38, 0.41], [0.2, 0.8]])
    spread = float(np.std([0.4, 0.42, 0.38, 0.41], ddof=1))
    assert borrowed == pytest.approx(3.182 * spread * math.sqrt(1 + 1 / 2), abs=1e-4)
