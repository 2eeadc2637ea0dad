"""The key phrases of a text, by YAKE (Campos et al., Information Sciences 509, 2020).

An own implementation of the paper. It is unsupervised and uses only the text: the case, position,
frequency, neighbours and spread of a word give its score, and its words give the score of a phrase.
Lower is better.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

_STOP_WORDS = """
    a about above across after again against all almost along also although always am among an and
    another any are around as at away be because been before behind being below beneath beside
    between beyond both but by can could did do does doing down during each either else ever every
    few for from further had has have having he her here hers him his how i if image images in into
    is it its itself just made many may me might more most much must my near neither no nor not now
    of off often on once one only onto or other others our out over own photo photograph picture
    pictures quite rather same scene several she should showing shown shows so some still style such
    than that the their them then there these they this those through throughout thus to together
    too toward towards two under until up upon us very visible was we were what when where which
    while who whom whose why will with within without would yet you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
MAX_CHARACTERS = 4000  # of a caption; no model writes longer ones


@dataclass
class _Term:
    count: int = 0
    upper: int = 0
    sentences: list[int] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    score: float = 0.0


def key_phrases(texts: Iterable[str], *, longest: int = 2) -> list[tuple[str, float, list[int]]]:
    """Return phrases of up to ``longest`` words, best first: (phrase, score, texts with it).

    Each text counts as a sentence of one document. Phrases are lower case and contain no stop word.
    """
    sentences = [_tokens(text) for text in texts]
    terms = _terms(sentences)
    found: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, sentence in enumerate(sentences):
        words = [word.lower() for word in sentence]
        for size in range(1, longest + 1):
            for at in range(len(words) - size + 1):
                phrase = tuple(words[at : at + size])
                if all(word in terms for word in phrase):
                    found[phrase].append(number)
    scored = []
    for phrase, where in found.items():
        weights = [terms[word].score for word in phrase]
        score = math.prod(weights) / (len(where) * (1 + sum(weights)))
        scored.append((score, phrase, sorted(set(where))))
    scored.sort(key=lambda entry: (entry[0], -len(entry[1]), entry[1]))
    return [(" ".join(phrase), score, where) for score, phrase, where in scored]


def _tokens(text: str) -> list[str]:
    """Split into words of letters and inner hyphens; a punctuation mark becomes "."."""
    return [
        token if token[0].isalpha() else "."
        for token in re.findall(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*|[^\w\s]", text[:MAX_CHARACTERS])
    ]


def _terms(sentences: Sequence[Sequence[str]]) -> dict[str, _Term]:
    """Return the words that are no stop words, with their scores (section 3.2 of the paper)."""
    terms: dict[str, _Term] = defaultdict(_Term)
    for number, sentence in enumerate(sentences):
        for at, token in enumerate(sentence):
            word = token.lower()
            if not _is_word(word):
                continue
            term = terms[word]
            term.count += 1
            term.upper += token[0].isupper() and at > 0
            term.sentences.append(number)
            if at and _is_word(before := sentence[at - 1].lower()):
                term.left[before] += 1
                terms[before].right[word] += 1
    counts = [term.count for term in terms.values()]
    if not counts:
        return {}
    mean = sum(counts) / len(counts)
    spread = math.sqrt(sum((count - mean) ** 2 for count in counts) / len(counts))
    most = max(counts)
    for term in terms.values():
        case = term.upper / (1 + math.log(term.count))
        position = math.log(math.log(3 + median(term.sentences)))
        frequency = term.count / (mean + spread)
        company = 1 + (_variety(term.left) + _variety(term.right)) * term.count / most
        sentences_with = len(set(term.sentences)) / len(sentences)
        term.score = (company * position) / (case + frequency / company + sentences_with / company)
    return dict(terms)


def _is_word(word: str) -> bool:
    return word != "." and len(word) > 2 and word not in STOP_WORDS


def _variety(neighbours: Counter[str]) -> float:
    """Return the share of distinct neighbours: words that go with anything carry little meaning."""
    total = sum(neighbours.values())
    return len(neighbours) / total if total else 0.0
