"""The candidate words: whole words that masked LM and generator share.

A word is one token for the masked LM and a sequence of one or more tokens for the generator. The
pairing is an index, and what is not in it gets no probability at all: subwords, special tokens,
punctuation, single letters, and words that the generator could only spell letter by letter.
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
    """V candidate words and their tokens on both sides."""

    words: list[str]
    """The words, lower case, each once."""
    masked_lm_ids: Tensor
    """(V,) int64: the masked LM's token of each word."""
    token_ids: Tensor
    """(V, K) int64: the generator's tokens of each word, padded by repeating its last token; -1
    for a word that the generator does not know."""
    lengths: Tensor
    """(V,) int64: how many of the K are the word's."""

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
        words: the candidates. Without it, every word of two letters or more that is one token of
            the masked LM and of which the generator knows at least a part.
        exclude: words left out, with their singular and plural.
        max_tokens: the generator's tokens that there is room for, a word.

    Raises InputError where a word of ``words`` cannot be used (by name), or none is left.
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
        raise InputError("words: no candidate word is left; exclude fewer or name others")

    width = max(len(ids) for ids in tokens.values())
    return Vocabulary(
        words=list(tokens),
        masked_lm_ids=torch.tensor([known[word] for word in tokens]),
        token_ids=torch.tensor([ids + ids[-1:] * (width - len(ids)) for ids in tokens.values()]),
        lengths=torch.tensor([len(ids) for ids in tokens.values()]),
    )


def whole_vocabulary(masked_lm_tokenizer: Any, generator_tokenizer: Any) -> Vocabulary:
    """Every token of the masked LM, special ones and subwords too, as the reference code has it.

    The generator's token is the one that is spelled the same and ends a word. For an ordinary
    run `build_vocabulary` is better: here four in ten words of BERT's are nothing to the
    generator, and 39 letters are paired with bytes of CLIP's that only look like them.
    """
    words = masked_lm_tokenizer.convert_ids_to_tokens(range(len(masked_lm_tokenizer)))
    known = generator_tokenizer.get_vocab()
    marks = any(token.endswith("</w>") for token in known)
    ids = torch.tensor([known.get(f"{word}</w>" if marks else word, -1) for word in words])
    return Vocabulary(words, torch.arange(len(words)), ids[:, None], torch.ones_like(ids))


def word_forms(word: str) -> set[str]:
    """The word in lower case with its English singular and plural: "geese" to {geese, goose}.

    Too many forms do no harm (they only exclude), so regular endings are all tried.
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
    """The words of a class label: "great grey owl, Strix nebulosa" to six words."""
    return re.findall(r"[^\W\d_]+", label.lower())


def _whole_words(tokenizer: Any) -> dict[str, int]:
    """Each word that the masked LM writes as one token, lower case, to that token.

    Whether a token is a word and not a piece of one shows when its text is read back: " ing"
    becomes another token than "##ing" or RoBERTa's "ing" without its leading space.
    """
    special = set(tokenizer.all_special_ids)
    ids = [i for i in range(len(tokenizer)) if i not in special]
    texts = [text.strip() for text in tokenizer.batch_decode([[i] for i in ids])]
    words = [(i, text) for i, text in zip(ids, texts, strict=True) if text.isalpha()]
    read_back = _encode(tokenizer, [f" {text}" for _, text in words])
    found: dict[str, int] = {}
    for (i, text), tokens in zip(words, read_back, strict=True):
        # A cased model has "Sea" and "sea", which are one word to CLIP: its lower case is taken.
        if tokens == [i] and (text == text.lower() or text.lower() not in found):
            found[text.lower()] = i
    return found


def _generator_tokens(tokenizer: Any, words: list[str], max_tokens: int) -> dict[str, list[int]]:
    """The generator's tokens of those words that it can read back from at most ``max_tokens``."""
    if not words:  # which tokenizers read as one empty text
        return {}
    tokens = _encode(tokenizer, words)
    texts = tokenizer.batch_decode(tokens)
    return {
        word: ids
        for word, ids, text in zip(words, tokens, texts, strict=True)
        if 0 < len(ids) <= max_tokens and text.strip().lower() == word
    }


def _encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    # Half of the time would go into building the masks.
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
    hint = f" (near {words[0]!r}: {', '.join(near)})" if near else ""
    raise InputError(f"words: {named}: {why}; leave out or replace{hint}")
