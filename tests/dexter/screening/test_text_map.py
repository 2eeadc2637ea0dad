"""The map from texts to answers, in a space in which each word's direction is known."""

import numpy as np
import pytest

from dexter.errors import InputError
from dexter.screening import text_map
from dexter.screening.text_map import FEWEST, TextMap, rank_correlation, words_of

WORDS = [f"thing{index}" for index in range(20)]
D = 32


class Space:
    """Texts are sums of their words' directions; pictures lie elsewhere, with noise."""

    def __init__(self, seed: int = 0, count: int = 250) -> None:
        rng = np.random.default_rng(seed)
        self.directions = {word: rng.normal(0, 1, D) / np.sqrt(D) for word in WORDS}
        # Each answer depends on a direction of the space, as a classifier's may.
        self.probe = rng.normal(0, 3, D)
        said = [rng.choice(WORDS, 3, replace=False) for _ in range(count)]
        self.prompts = ["a picture of a " + " and ".join(words) for words in said]
        self.texts = np.stack([self.text(prompt) for prompt in self.prompts])
        self.pictures = self.texts + 5 + rng.normal(0, 0.1, self.texts.shape)
        self.answers = self.texts @ self.probe + rng.normal(0, 0.5, count)

    def text(self, prompt: str) -> np.ndarray:
        return 2 + np.sum([self.directions[word] for word in words_of(prompt)], axis=0)


def learned(space: Space) -> TextMap:
    return TextMap(space.texts, space.pictures, space.answers, space.prompts)


def test_texts_are_guessed_with_intervals_that_hold_their_level() -> None:
    space = Space()
    found = learned(space)
    rng = np.random.default_rng(1)
    asked = [" and ".join(rng.choice(WORDS, 3, replace=False)) for _ in range(200)]
    texts = np.stack([space.text(one) for one in asked])
    guesses = found.ask(texts, asked)
    true = texts @ space.probe
    assert rank_correlation([one.odds for one in guesses], true) > 0.98
    covered = np.mean([one.low <= t <= one.high for one, t in zip(guesses, true, strict=True)])
    assert covered >= 0.9
    assert all(one.interval[0] <= one.p <= one.interval[1] for one in guesses)
    # Asked for one at a time, the guess is the same.
    [alone] = found.ask(texts[:1], asked[:1])
    assert alone.odds == pytest.approx(guesses[0].odds)


def test_a_change_is_the_difference_of_two_guesses_and_is_surer_than_either() -> None:
    space = Space()
    found = learned(space)
    text, control = "thing0 and thing1 and thing2", "thing0 and thing1"
    pair = np.stack([space.text(text), space.text(control)])
    one, other = found.ask(pair, [text, control])
    value, low, high = found.change(pair[:1], pair[1:], known=True)
    assert value == pytest.approx(one.odds - other.odds)
    assert low < value < high
    true = space.directions["thing2"] @ space.probe
    assert low <= true <= high


def test_a_left_out_word_is_guessed_as_if_its_pictures_had_never_been_there() -> None:
    space = Space(count=200)
    word = "thing3"
    rows = [at for at, prompt in enumerate(space.prompts) if word not in words_of(prompt)]
    full = learned(space)
    blind = full.without(word)
    [gone] = blind.ask(space.text(word)[None], [word])
    fresh = TextMap(
        space.texts[rows], space.pictures[rows], space.answers[rows],
        [space.prompts[at] for at in rows],
    )  # fmt: skip
    assert gone.unseen == (word,) and blind.prompts == [space.prompts[at] for at in rows]
    [again] = fresh.ask(space.text(word)[None], [word])
    # They differ in the means and scales, which the first took of all pictures.
    assert gone.odds == pytest.approx(again.odds, abs=0.3)
    [known] = full.ask(space.text(word)[None], [word])
    assert known.unseen == () and known.high - known.low < gone.high - gone.low


def test_the_trial_leaves_each_word_out() -> None:
    trial = learned(Space()).trial
    assert trial.words == len(WORDS)
    assert trial.rank_correlation is not None and -1 <= trial.rank_correlation <= 1
    assert trial.widened >= 1 and trial.widened_known >= 1


def test_too_few_pictures_are_refused_and_too_many_thinned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = Space(count=FEWEST - 1)
    with pytest.raises(InputError, match="too few to learn from"):
        learned(few)
    monkeypatch.setattr(text_map, "MOST", 100)
    assert len(learned(Space(count=250)).prompts) == 100


def test_words_and_ranks() -> None:
    assert words_of("a picture of an old-time duck with the sea, and Sea") == [
        "old-time", "duck", "sea"
    ]  # fmt: skip
    assert rank_correlation([1, 2, 3], [10, 30, 20]) == pytest.approx(0.5)
    assert rank_correlation([1, 1, 2], [1, 1, 2]) == pytest.approx(1)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == 0
