"""The candidate words, on tiny tokenizers of the real kinds."""

from __future__ import annotations

import json
import random
import string
import time
from pathlib import Path

import pytest
import tiny
from transformers import BertTokenizer, CLIPTokenizer, RobertaTokenizer

from dexter.errors import InputError
from dexter.search.vocabulary import build_vocabulary, word_forms, words_of


@pytest.fixture(scope="module")
def masked_lm_tokenizer():
    return BertTokenizer.from_pretrained(tiny.masked_lm_folder())


@pytest.fixture(scope="module")
def generator_tokenizer():
    return CLIPTokenizer.from_pretrained(tiny.generator_folder() / "tokenizer")


def test_only_whole_words_known_to_both(masked_lm_tokenizer, generator_tokenizer):
    vocabulary = build_vocabulary(masked_lm_tokenizer, generator_tokenizer)
    expected = {word for word in (*tiny.WORDS, *tiny.LONG_WORDS) if len(word) > 1}
    assert set(vocabulary.words) == expected
    assert len(vocabulary) == len(expected)


def test_tokens_are_those_of_the_two_tokenizers(masked_lm_tokenizer, generator_tokenizer):
    vocabulary = build_vocabulary(masked_lm_tokenizer, generator_tokenizer)
    for row, word in enumerate(vocabulary.words):
        assert masked_lm_tokenizer(word, add_special_tokens=False).input_ids == [
            int(vocabulary.masked_lm_ids[row])
        ]
        length = int(vocabulary.lengths[row])
        assert (length > 1) == (word in tiny.LONG_WORDS)
        assert (
            generator_tokenizer(word, add_special_tokens=False).input_ids
            == vocabulary.token_ids[row, :length].tolist()
        )


def test_a_words_tokens_are_limited_by_the_room(masked_lm_tokenizer, generator_tokenizer):
    vocabulary = build_vocabulary(masked_lm_tokenizer, generator_tokenizer, max_tokens=1)
    assert vocabulary.token_ids.shape[1] == 1
    assert not set(vocabulary.words) & set(tiny.LONG_WORDS)


def test_given_words_keep_their_order_once(masked_lm_tokenizer, generator_tokenizer):
    vocabulary = build_vocabulary(
        masked_lm_tokenizer, generator_tokenizer, words=["Sea", "seagull", "lake", "sea", "a"]
    )
    assert vocabulary.words == ["sea", "seagull", "lake", "a"]


@pytest.mark.parametrize("word", ["lakes", "##ing", "[MASK]", ".", "7", "new york", ""])
def test_given_words_that_the_masked_lm_lacks_are_refused_by_name(
    word, masked_lm_tokenizer, generator_tokenizer
):
    with pytest.raises(InputError) as refusal:
        build_vocabulary(masked_lm_tokenizer, generator_tokenizer, words=["sea", word])
    assert repr(word.lower()) in str(refusal.value)
    assert "'sea'" not in str(refusal.value)


def test_the_nearest_words_are_offered(masked_lm_tokenizer, generator_tokenizer):
    with pytest.raises(InputError, match="lake"):
        build_vocabulary(masked_lm_tokenizer, generator_tokenizer, words=["lakes"])


def test_given_words_without_room_are_refused(masked_lm_tokenizer, generator_tokenizer):
    with pytest.raises(InputError, match=r"'seagull'.*more than 2"):
        build_vocabulary(
            masked_lm_tokenizer, generator_tokenizer, words=["seagull", "sea"], max_tokens=2
        )


def test_excluded_words_go_with_their_plurals(masked_lm_tokenizer, generator_tokenizer):
    vocabulary = build_vocabulary(
        masked_lm_tokenizer, generator_tokenizer, exclude=["Seas", "men", "snow"]
    )
    assert not {"sea", "man", "snow"} & set(vocabulary.words)
    # Whole words: neither "seagull" nor "woman" is a form of these.
    assert {"seagull", "woman"} <= set(vocabulary.words)


def test_nothing_left_is_refused(masked_lm_tokenizer, generator_tokenizer):
    with pytest.raises(InputError, match="no candidate word is left"):
        build_vocabulary(masked_lm_tokenizer, generator_tokenizer, words=["sea"], exclude=["sea"])


def test_words_of_a_byte_level_masked_lm(tmp_path: Path, generator_tokenizer):
    """RoBERTa writes a word's leading space into its token; a token without is a piece."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "s", "e", "a", "Ġ", "Ġs", "Ġse", "Ġsea"]
    tokens += ["se", "sea", "S", "ĠS", "ĠSe", "ĠSea", "Se", "Sea"]
    merges = ["Ġ s", "Ġs e", "Ġse a", "s e", "se a", "Ġ S", "ĠS e", "ĠSe a", "S e", "Se a"]
    (tmp_path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    tokenizer = RobertaTokenizer.from_pretrained(tmp_path)
    vocabulary = build_vocabulary(tokenizer, generator_tokenizer)
    assert "sea" in vocabulary.words
    # "Sea" is the same word to CLIP; of the two spellings the lower case is taken.
    row = vocabulary.words.index("sea")
    assert vocabulary.masked_lm_ids[row] == tokens.index("Ġsea")
    assert len(set(vocabulary.words)) == len(vocabulary.words)


def test_thirty_thousand_words_take_seconds(tmp_path: Path, generator_tokenizer):
    rng = random.Random(0)
    words = {
        "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9))) for _ in range(30000)
    }
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (tmp_path / "vocab.txt").write_text("\n".join([*special, *sorted(words)]))
    tokenizer = BertTokenizer.from_pretrained(tmp_path)
    start = time.process_time()
    build_vocabulary(tokenizer, generator_tokenizer)
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("Bird", {"bird", "birds"}),
        ("birds", {"bird", "birds"}),
        ("goose", {"goose", "geese"}),
        ("women", {"women", "woman"}),
        ("cherry", {"cherry", "cherries"}),
        ("wolves", {"wolves", "wolf"}),
        ("fox", {"fox", "foxes"}),
        ("boxes", {"boxes", "box"}),
    ],
)
def test_forms_of_a_word(word: str, forms: set[str]):
    assert forms <= word_forms(word)


def test_glass_is_no_plural():
    assert "glas" not in word_forms("glass")


def test_words_of_a_label():
    assert words_of("Great grey owl, Strix nebulosa_2") == [
        "great", "grey", "owl", "strix", "nebulosa",
    ]  # fmt: skip
