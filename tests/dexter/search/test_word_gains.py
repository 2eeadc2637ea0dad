"""The drivers of a prompt, on searches with a known truth."""

from __future__ import annotations

import numpy as np

from dexter.search.word_gains import MOST_WORDS, word_gains

VOCABULARY = [f"w{k}" for k in range(40)]


def search(effects, *, seed=0, pictures=400, often=(0, 1, 2), noise=1.0, words=40):
    """A search that half the time tries the tuple ``often``, as one does that has converged."""
    rng = np.random.default_rng(seed)
    tried: dict[tuple[int, ...], tuple[float, int]] = {}
    for k in range(pictures):
        prompt = often if k % 2 else tuple(rng.choice(words, 3, replace=False).tolist())
        loss = 3.0 + sum(effects.get(word, 0.0) for word in prompt) + noise * rng.normal()
        total, n = tried.get(prompt, (0.0, 0))
        tried[prompt] = (total + loss, n + 1)
    return tried


def test_the_word_that_carries_is_distinguished_from_those_beside_it():
    gains = word_gains(search({0: -2.0}), [0, 1, 2, 0], VOCABULARY)
    assert gains[0].word == "w0"
    assert [gain.is_driver for gain in gains] == [True, False, False]
    assert 1.0 < gains[0].gain < 2.2  # shrunk
    assert all(gain.low < gain.gain < gain.high for gain in gains)


def test_two_that_carry_and_one_that_harms():
    gains = word_gains(search({0: -2.0, 1: -1.5, 2: 1.5}), [0, 1, 2], VOCABULARY)
    assert [(gain.word, gain.is_driver) for gain in gains] == [
        ("w0", True),
        ("w1", True),
        ("w2", False),
    ]
    assert gains[2].high < 0


def test_where_nothing_matters_at_most_one_search_in_twenty_says_otherwise():
    wrong = [
        any(gain.is_driver for gain in word_gains(search({}, seed=seed), range(12), VOCABULARY))
        for seed in range(200)
    ]
    assert np.mean(wrong) <= 0.05


def test_a_tuple_that_only_luck_made_the_best_does_not_carry():
    wrong = 0
    for seed in range(100):
        tried = search({}, seed=seed, often=(0, 1, 2))
        best = min(tried, key=lambda prompt: tried[prompt][0] / tried[prompt][1])
        wrong += any(gain.is_driver for gain in word_gains(tried, best, VOCABULARY))
    assert wrong <= 5


def test_pictures_are_counted_and_a_word_never_tried_has_no_gain():
    tried: dict[tuple[int, ...], tuple[float, int]]
    tried = {(0, 1): (4.0, 4), (2, 3): (1.0, 2), (0, 0): (2.0, 1)}
    gains = {gain.word: gain for gain in word_gains(tried, [0, 2, 9], VOCABULARY)}
    assert {word: gain.pictures for word, gain in gains.items()} == {"w0": 5, "w2": 2, "w9": 0}
    assert gains["w9"].gain == 0 and not gains["w9"].is_driver


def test_pictures_that_all_do_the_same_tell_nothing():
    gains = word_gains(search({}, noise=0.0), [0, 1], VOCABULARY)
    assert [(gain.gain, gain.is_driver) for gain in gains] == [(0, False), (0, False)]


def test_a_large_vocabulary():
    many = [f"w{k}" for k in range(4 * MOST_WORDS)]
    tried = search({0: -2.0}, pictures=3000, words=len(many))
    gains = {gain.word: gain for gain in word_gains(tried, [0, 1, 2, 1999], many)}
    # Nearly always together: that one of them matters is seen, but not which.
    assert 0.5 < sum(gains[word].gain for word in ("w0", "w1", "w2")) < 2.0
    assert not any(gain.is_driver for gain in gains.values())
