"""The candidate words: whole words that masked LM and generator share.

A word is one token of the masked LM and one or more tokens of the generator. Only words in this
index have a probability: no subwords, special tokens, punctuation, single letters, or words that
the generator can only spell letter by letter.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dexter.errors import InputError

_IRREGULAR_PLURALS = {
    "child": "children",
    "foot": "feet",
    "goose": "geese",
    "man": "men",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "tooth": "teeth",
    "woman": "women",
}
_IRREGULAR_SINGULARS = {plural: singular for singular, plural in _IRREGULAR_PLURALS.items()}


@dataclass(frozen=True)
class Vocabulary:
    """The V candidate words and their tokens on both sides."""

    words: list[str]
    """The words, lower case, each once."""
    masked_lm_ids: Tensor
    """(V,) int64: the masked LM's token of each word."""
    token_ids: Tensor
    """(V, K) int64: the generator's tokens of each word, padded by repeating its last token; -1
    for a word without tokens of the generator."""
    lengths: Tensor
    """(V,) int64: the number of the K tokens that belong to the word."""

    def __len__(self) -> int:
        return len(self.words)


def build_vocabulary(
    masked_lm_tokenizer: Any,
    generator_tokenizer: Any,
    *,
    words: Sequence[str] | None = None,
    exclude: Iterable[str] = (),
    max_tokens: int = 16,
) -> Vocabulary:
    """Pair the words of two Hugging Face tokenizers.

    Args:
        words: the candidates. By default, every word of at least 2 letters that is one token of
            the masked LM and that the generator does not spell letter by letter.
        exclude: words to leave out, with their singular and plural.
        max_tokens: the largest number of the generator's tokens per word.

    Raises InputError if a word of ``words`` cannot be used (naming it), or if none is left.
    """
    known = _whole_words(masked_lm_tokenizer)
    if words is None:
        candidates = [word for word in known if len(word) > 1]
    else:
        candidates = list(dict.fromkeys(word.strip().lower() for word in words))
        _refuse(
            [word for word in candidates if word not in known],
            "not a whole word of the masked LM",
            known,
        )

    excluded = {form for word in exclude for form in word_forms(word)}
    candidates = [word for word in candidates if word not in excluded]
    tokens = _generator_tokens(generator_tokenizer, candidates, max_tokens)
    if words is None:
        pieces = generator_tokenizer.convert_ids_to_tokens
        tokens = {
            word: ids
            for word, ids in tokens.items()
            if any(len(piece.removesuffix("</w>")) > 1 for piece in pieces(ids))
        }
    else:
        _refuse(
            [word for word in candidates if word not in tokens],
            f"unknown to the generator, or more than {max_tokens} of its tokens",
            {},
        )
    if not tokens:
        raise InputError(
            "no candidate word is left", field="words", remedy="exclude fewer words or list others"
        )

    width = max(len(ids) for ids in tokens.values())
    return Vocabulary(
        words=list(tokens),
        masked_lm_ids=torch.tensor([known[word] for word in tokens]),
        token_ids=torch.tensor([ids + ids[-1:] * (width - len(ids)) for ids in tokens.values()]),
        lengths=torch.tensor([len(ids) for ids in tokens.values()]),
    )


def whole_vocabulary(masked_lm_tokenizer: Any, generator_tokenizer: Any) -> Vocabulary:
    """Return every token of the masked LM, special tokens and subwords too (reference code).

    The generator's token is the one that is spelled the same and ends a word. For an ordinary
    run `build_vocabulary` is better: here 4 in 10 of BERT's words have no token of the generator,
    and 39 letters are paired with bytes of CLIP that only look the same.
    """
    words = masked_lm_tokenizer.convert_ids_to_tokens(range(len(masked_lm_tokenizer)))
    known = generator_tokenizer.get_vocab()
    marks = any(token.endswith("</w>") for token in known)
    ids = torch.tensor([known.get(f"{word}</w>" if marks else word, -1) for word in words])
    return Vocabulary(words, torch.arange(len(words)), ids[:, None], torch.ones_like(ids))


def word_forms(word: str) -> set[str]:
    """Return a word in lower case with its English singular and plural: {"geese", "goose"}.

    All regular endings are tried: surplus forms do no harm, because forms only exclude.
    """
    word = word.strip().lower()
    forms = {word, word + "s", word + "es"}
    if word.endswith("y"):
        forms.add(word[:-1] + "ies")
    if word.endswith("fe"):
        forms.add(word[:-2] + "ves")
    if word.endswith("f"):
        forms.add(word[:-1] + "ves")
    if word.endswith("ies"):
        forms.add(word[:-3] + "y")
    if word.endswith("ves"):
        forms |= {word[:-3] + "f", word[:-3] + "fe"}
    if word.endswith("es"):
        forms.add(word[:-2])
    if word.endswith("s") and not word.endswith("ss"):
        forms.add(word[:-1])
    for table in (_IRREGULAR_PLURALS, _IRREGULAR_SINGULARS):
        if word in table:
            forms.add(table[word])
    return forms - {""}


def words_of(label: str) -> list[str]:
    """Return the words of a class label: 5 for "great grey owl, Strix nebulosa"."""
    return re.findall(r"[^\W\d_]+", label.lower())


def _whole_words(tokenizer: Any) -> dict[str, int]:
    """Return the token of each word (lower case) that the masked LM writes as one token.

    Encoding a token's text again separates words from pieces: " ing" becomes another token than
    "##ing" or RoBERTa's "ing" without its leading space.
    """
    special = set(tokenizer.all_special_ids)
    ids = [i for i in range(len(tokenizer)) if i not in special]
    texts = [text.strip() for text in tokenizer.batch_decode([[i] for i in ids])]
    words = [(i, text) for i, text in zip(ids, texts, strict=True) if text.isalpha()]
    read_back = _encode(tokenizer, [f" {text}" for _, text in words])
    found: dict[str, int] = {}
    for (i, text), tokens in zip(words, read_back, strict=True):
        # A cased model has "Sea" and "sea", one word for CLIP: take the lower case.
        if tokens == [i] and (text == text.lower() or text.lower() not in found):
            found[text.lower()] = i
    return found


def _generator_tokens(tokenizer: Any, words: list[str], max_tokens: int) -> dict[str, list[int]]:
    """Return the tokens of the words that the generator decodes from at most ``max_tokens``."""
    if not words:  # tokenizers read an empty list as one empty text
        return {}
    tokens = _encode(tokenizer, words)
    texts = tokenizer.batch_decode(tokens)
    return {
        word: ids
        for word, ids, text in zip(words, tokens, texts, strict=True)
        if 0 < len(ids) <= max_tokens and text.strip().lower() == word
    }


def _encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    # Masks would take half of the time.
    ids: list[list[int]] = tokenizer(
        texts,
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
    )["input_ids"]
    return ids


def _refuse(words: list[str], why: str, known: Iterable[str]) -> None:
    if not words:
        return
    named = ", ".join(repr(word) for word in words[:5]) + (", ..." if len(words) > 5 else "")
    near = difflib.get_close_matches(words[0], known, n=3)
    hint = f" (close to {words[0]!r}: {', '.join(near)})" if near else ""
    raise InputError(
        f"{named}: {why}", field="words", value=words, remedy=f"remove or replace them{hint}"
    )
