"""Ranges of picture seeds are disjoint, and torch distinguishes all of their seeds."""

import itertools

import pytest
import torch

from dexter.seeds import MAX_RUN_SEED, picture_seeds, seed_range


def all_ranges():
    shared = [seed_range(purpose) for purpose in ("score", "frames", "evidence", "screening")]
    return shared + [seed_range("search", run) for run in range(MAX_RUN_SEED + 1)]


def test_ranges_are_disjoint_and_fit_in_32_bits():
    ranges = sorted(all_ranges())
    assert ranges[0][0] >= 0
    assert ranges[-1][1] <= 2**32
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(ranges))


def test_torch_uses_only_the_low_32_bits():
    # The reason for the limit. Should torch change, the limit may go.
    def noise(seed):
        return torch.randn(4, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(noise(5), noise(5 + 2**32))


def test_seeds_continue_where_the_last_ended():
    first = picture_seeds("search", 0, 8, run_seed=3)
    then = picture_seeds("search", 8, 8, run_seed=3)
    assert first + then == picture_seeds("search", 0, 16, run_seed=3)
    assert first[0] == seed_range("search", 3)[0]


def test_only_search_depends_on_the_run():
    assert picture_seeds("score", 0, 4, run_seed=1) == picture_seeds("score", 0, 4, run_seed=2)
    assert not set(picture_seeds("search", 0, 99, 1)) & set(picture_seeds("search", 0, 99, 2))


@pytest.mark.parametrize(
    "arguments",
    [("score", -1, 2), ("score", 0, 2**22 + 1), ("search", 0, 1, 1000), ("other", 0, 1)],
)
def test_seeds_outside_a_range_are_refused(arguments):
    with pytest.raises(ValueError):
        picture_seeds(*arguments)
